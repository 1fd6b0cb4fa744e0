"""When a past canary ended: told by its own rows, by who is said to have ended it, and not by the baseline's rows."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.__main__ import main
from canary_judge.errors import DataError
from canary_judge.history import History, Label, Limit, LimitRule, OurJudge, backtest, record
from canary_judge.sources import FrameSource

START, MINUTE = datetime(2026, 3, 2, 9, 30, tzinfo=UTC), timedelta(minutes=1)
METRIC = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
CONFIG = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [METRIC | {"margin": "1.5x"}]})


def served(start=START, *, canary=60, baseline=60, times_as_bad=1.0, without=(), seed=1):
    """A canary of some minutes beside a baseline of some; minutes that are missing on the baseline's side."""
    rng = np.random.default_rng(seed)
    parts = []
    for side, minutes, share in (("baseline", baseline, 0.02), ("canary", canary, 0.02 * times_as_bad)):
        times = pd.date_range(start, periods=minutes, freq="1min") + pd.Timedelta("30s")
        requests = rng.poisson(400, minutes)
        errors = rng.binomial(requests, share)
        part = pd.DataFrame({"timestamp": times, "side": side, "requests": requests, "errors": errors})
        parts.append(part.drop(index=list(without)) if side == "baseline" else part)
    return pd.concat(parts, ignore_index=True)


def recorded(frame, *, horizon="1h", **more):
    return record(CONFIG, FrameSource(frame), Window(START, START + 60 * MINUTE), horizon=horizon, **more)


def test_a_canary_that_is_gone_at_minute_8_was_ended_there():
    gone = recorded(served(canary=8))
    assert gone.end == START + 8 * MINUTE
    assert not gone.ran_out
    whole = recorded(served(canary=8), ended_by="the planned end")  # it died, and nobody ended it
    assert whole.end == START + 60 * MINUTE
    assert whole.ran_out


@pytest.mark.parametrize(("canary", "ran_out"), [(60, True), (59, True), (57, False)])
def test_one_missing_interval_at_the_end_is_no_early_end(canary, ran_out):
    assert recorded(served(canary=canary, baseline=canary)).ran_out is ran_out
    assert recorded(served(canary=canary)).ran_out is ran_out


def test_of_a_short_plan_no_interval_may_be_missing():
    for minutes, ran_out in ((4, False), (5, True)):
        window = Window(START, START + minutes * MINUTE)
        assert record(CONFIG, FrameSource(served()), window, horizon="5m").ran_out is ran_out


def test_a_canary_that_is_silent_now_and_then_was_not_ended():
    frame = served()
    thin = frame[(frame.side == "baseline") | (frame.timestamp.dt.minute % 7 == 0)]
    assert recorded(thin).ran_out
    quiet = frame[frame.timestamp < START + 52 * MINUTE]  # both sides, as at night
    assert (
        record(CONFIG, FrameSource(quiet), Window(START, START + 60 * MINUTE), horizon="1h").end > START + 55 * MINUTE
    )


def test_who_is_said_to_have_ended_it_did():
    assert recorded(served()).ran_out
    assert not recorded(served(), ended_by="a person").ran_out
    assert not recorded(served(), horizon=None).ran_out


def test_weights_after_its_end_are_left_out():
    known = [(START, 5.0), (START + 30 * MINUTE, 25.0)]
    found = recorded(served(canary=20), weights=known)
    assert [percent for _, percent in found.weights] == [5.0]


def test_a_table_of_several_canaries_is_refused(tmp_path, capsys):
    history = History(tmp_path / "archive")
    starts = [START, START + timedelta(hours=6), START + timedelta(days=1)]
    several = pd.concat([served(one, baseline=300) for one in starts], ignore_index=True)
    for more in ({}, {"horizon": "1h"}):
        with pytest.raises(DataError, match=r"3 stretches, which begin at 2026-03-02 09:30, 2026-03-02 15:30, 2026-03"):
            history.add(several, CONFIG, **more)
    several.to_csv(tmp_path / "several.csv", index=False)
    (tmp_path / "shop.yaml").write_text(json.dumps(CONFIG.model_dump(mode="json", by_alias=True, exclude_none=True)))
    asked = ["archive", f"{tmp_path}/shop.yaml", "--data", f"{tmp_path}/several.csv", "--to", f"{tmp_path}/other"]
    assert main(asked) == 1
    assert "are these several canaries?" in capsys.readouterr().err
    assert len(history) == 0
    each = history.from_source(CONFIG, FrameSource(several), starts, length="1h", horizon="1h")
    assert len(set(each)) == 3


@pytest.mark.parametrize(
    ("frame", "more", "told"),
    [
        ({"canary": 8}, [], ["the canary ends 52m before the planned end, so that no judge passes it"]),
        ({"canary": 8}, ["--ended-by", "the planned end"], []),
        ({"baseline": 90}, [], ["30m of the table lie behind the planned end, and are left out"]),
        ({}, ["--ended-by", "a person"], ["the canary was ended, so that no judge passes it"]),
        ({}, [], []),
    ],
)
def test_what_an_archive_leaves_out_is_said_as_it_is(tmp_path, capsys, frame, more, told):
    served(**frame).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "shop.yaml").write_text(json.dumps(CONFIG.model_dump(mode="json", by_alias=True, exclude_none=True)))
    asked = ["archive", f"{tmp_path}/shop.yaml", "--data", f"{tmp_path}/t.csv", "--to", f"{tmp_path}/a", *more]
    assert main([*asked, "--horizon", "1h"]) == 0
    said = [line.split("--horizon: ")[1].split(";")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == told


def test_a_canary_that_is_away_for_a_while_is_one(tmp_path):
    history = History(tmp_path / "archive")
    night = pd.concat([served(), served(START + timedelta(minutes=110), seed=2)[lambda one: one.side == "canary"]])
    through = pd.concat([night, served(START + timedelta(hours=1), baseline=110, canary=0)]).sort_values("timestamp")
    assert history.add(through, CONFIG)
    for pause in (timedelta(hours=2), timedelta(hours=3)):  # its weight was 0 for a while
        again = served(START + pause, seed=2)[lambda one: one.side == "canary"]
        beside = served(baseline=300, canary=60)
        assert History(tmp_path / str(pause)).add(pd.concat([beside, again]).sort_values("timestamp"), CONFIG)
    nothing_beside = pd.concat([served(), served(START + timedelta(hours=9), seed=2)])
    assert History(tmp_path / "another").add(nothing_beside, CONFIG)


def test_harm_is_counted_where_the_baseline_is_known(tmp_path):
    history = History(tmp_path)
    for number in range(8):
        begin = START + number * timedelta(hours=3)
        hole = served(begin, without=range(10, 40), seed=number)
        history.append(record(CONFIG, FrameSource(hole), Window(begin, begin + 60 * MINUTE), horizon="1h"))
    excess = backtest(OurJudge(config=CONFIG), history).to_frame()["excess"]
    assert abs(excess.mean()) < 12  # of 240 errors in the hole; one standard error is 5
    assert excess.abs().max() < 60


def test_what_others_ended_says_nothing_of_how_soon_a_judge_is(tmp_path):
    history = History(tmp_path)
    for number in range(9):
        begin = START + number * timedelta(hours=3)
        frame = served(begin, canary=6 if number else 60, times_as_bad=3.0, seed=number)
        label = Label(kind="bad", by="the incident's report")
        history.append(
            record(CONFIG, FrameSource(frame), Window(begin, begin + 60 * MINUTE), horizon="1h", label=label)
        )
    nobody = LimitRule(limits=(Limit(metric="errors", most=0.9),), name="nobody")
    told = backtest([OurJudge(config=CONFIG), nobody], history).explain()
    line = next(line for line in told.splitlines() if line.startswith("nobody"))
    assert "mean of the bad not cut" in told
    assert "60 minutes" in line
    whole = backtest(nobody, history).to_frame().set_index("cut").loc[False, "excess"]
    assert f"{whole:,.0f} bad requests beyond the baseline's share" in told  # of the one that ran its hour
    assert "those it does not fail counted to their end" in told
