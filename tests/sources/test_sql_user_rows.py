"""Rows of users in a database that are not counted as somebody may believe: without a side, twice, at an hour's start."""

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from canary_judge import JudgeConfig, judge
from canary_judge.results import Outcome
from canary_judge.series import Window
from canary_judge.sources import from_config
from canary_judge.sources.sql import SqlSource
from canary_judge.testing import People
from tests.sources.test_sql_users import ASSIGNED, END, HOUR, SIDE, START, sqlite

MINUTES = {"name": "m", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "10%"}


def config(**more):
    return JudgeConfig.from_mapping({"name": "x", "interval": "1h", "metrics": [MINUTES], **more})


@pytest.fixture(scope="module")
def worse():
    """A canary 30 % worse, of a fifth of 4,000 users."""
    frame = People(users=4000, weights=((0.0, 20.0),)).draw(7).frame(START)
    return frame.assign(minutes=np.where(frame.side == "canary", 0.7, 1.0) * frame.minutes)


def judged(folder, frame, activity=SIDE):
    with sqlite(folder, frame) as (url, options):
        return judge(config(), SqlSource(url, activity=activity, **options), Window(START + 3 * HOUR, END))["m"]


@pytest.mark.parametrize("name", [None, "", "ctl"])
def test_rows_of_one_side_that_name_none_are_told(tmp_path, worse, name):
    """Without a third of the baseline's rows the canary would look as good."""
    lost = (worse.side == "baseline") & (np.random.default_rng(1).random(len(worse)) < 0.3)
    found = judged(tmp_path, worse.assign(side=worse.side.astype(object).where(~lost, name)))
    assert found.outcome is Outcome.INSUFFICIENT
    assert "of its users without a side, or with a third one" in found.reason


def test_a_third_version_with_users_of_its_own_is_nobody_s_business(tmp_path, worse):
    third = worse.user % 3 == 0
    found = judged(tmp_path, worse.assign(side=worse.side.astype(object).where(~third, "other")))
    assert "third one" not in found.reason
    assert found.comparison.p_harm < 0.05


@pytest.mark.parametrize("side", ["canary", "baseline"])
def test_rows_of_one_side_that_a_join_makes_three_of_are_seen(tmp_path, worse, side):
    found = judged(
        tmp_path, pd.concat([worse, *[worse[worse.side == side]] * 2]).sort_values("timestamp", kind="stable")
    )
    assert found.outcome is not Outcome.SAFE
    assert f"every user of the {side} has a multiple of 3 of rows" in found.reason


def test_who_is_assigned_to_both_sides_at_one_time_is_on_both(tmp_path, worse):
    """Not on the canary, whose name comes later: a quarter of the baseline would make it healthy."""
    with sqlite(tmp_path, worse) as (url, options):
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql(
                "insert into exposures select user, 'canary', since from exposures where variant = 'baseline' and user % 4 = 0"
            )
        found = judge(config(), SqlSource(url, activity=ASSIGNED, **options), Window(START + 3 * HOUR, END))["m"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "were seen on the baseline, too" in found.reason


@pytest.mark.parametrize(("time_is", "before"), [(None, True), ("bucket_start", False)])
def test_rows_by_the_start_of_their_hour_begin_with_the_run(tmp_path, worse, time_is, before):
    """A row at the start is of the time before, but where a time is the start of what it counts."""
    rows = worse[worse.timestamp >= START + 3 * HOUR].assign(timestamp=lambda one: one.timestamp.dt.floor("1h"))
    past = worse[(worse.timestamp < START + 3 * HOUR) & (worse.side == "baseline")]
    with sqlite(tmp_path, pd.concat([past, rows])) as (url, _):
        options = {"type": "sql", "url": url, "table": "events", **({"time_is": time_is} if time_is else {})}
        whole = config(history="3h", sources={"default": options})
        found = judge(whole, from_config(whole.sources["default"]), Window(START + 3 * HOUR, END))["m"]
    assert ("it ran already" in found.reason) is before
    assert found.comparison.p_harm < 0.01


@pytest.mark.parametrize("twice", ["canary", "baseline", "neither"])
def test_rows_of_one_side_that_a_join_doubles_are_seen(tmp_path, twice):
    """A canary 30 % worse would pass with twice its rows."""
    frame = People(users=4000, weights=((0.0, 20.0),)).draw(7).frame(START)
    bad = frame.assign(minutes=np.where(frame.side == "canary", 0.7, 1.0) * frame.minutes)
    rows = pd.concat([bad, bad[bad.side == twice]]).sort_values("timestamp", kind="stable")
    metric = {"name": "m", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "10%"}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1h", "metrics": [metric]})
    with sqlite(tmp_path, rows) as (url, options):
        found = judge(config, SqlSource(url, activity=SIDE, **options), Window(START + 3 * HOUR, END))["m"]
    assert found.outcome is not Outcome.SAFE
    assert (f"every user of the {twice} has an even number of rows" in found.reason) is (twice != "neither")
