"""Users counted from rows: a table as a source of metrics by user."""

import hashlib
import json
import lzma
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge import JudgeConfig, Window, judge
from canary_judge.errors import ConfigError
from canary_judge.moments import Moments
from canary_judge.results import Outcome, Side
from canary_judge.series import Form, PerUser, Query, Reading, Result
from canary_judge.sources import FrameSource, refuse_without_users
from canary_judge.sources.prometheus import PrometheusSource
from canary_judge.testing import People

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
DATA = Path(__file__).parent.parent / "data" / "users"
CLICKS = PerUser(numerator="clicks", denominator="impressions")


def query(side: Side, users: PerUser = CLICKS) -> Query:
    return Query(
        metric="m", part="users", side=side, reading=Reading.USERS, expression="clicks", step=HOUR, users=users
    )


def counted(source: FrameSource, users: PerUser = CLICKS, hours: int = 48):
    window = Window(START, START + hours * HOUR)
    results = source.fetch([query(side, users) for side in Side], window)
    assert all(one.form is Form.MOMENTS for one in results)
    assert [one.error for one in results] == [None, None]
    return dict(zip(Side, (one.moments for one in results), strict=True))


def table(*rows) -> pd.DataFrame:
    """Rows of (minutes after the start, side, user, clicks, impressions)."""
    times = [START + timedelta(minutes=row[0]) for row in rows]
    names = ["side", "user", "clicks", "impressions"]
    return pd.DataFrame({"timestamp": times, **{name: [row[1 + at] for row in rows] for at, name in enumerate(names)}})


def test_the_moments_are_those_that_duckdb_gave():
    known = json.loads(lzma.decompress((DATA / "moments.json.xz").read_bytes()))
    rows = known["rows"]
    columns = {name: np.frombuffer(bytes.fromhex(text), dtype="<f4").astype(float) for name, text in rows.items()}
    digest = hashlib.sha256(b"".join(column.astype("<f4").tobytes() for column in columns.values())).hexdigest()
    assert digest == known["sha256"]
    source = FrameSource(
        pd.DataFrame(
            {
                "timestamp": [START + timedelta(seconds=float(one)) for one in columns["second"]],
                "side": np.where(columns["canary"] > 0, "canary", "baseline"),
                **{name: columns[name] for name in ("user", "clicks", "impressions")},
            }
        )
    )
    past = Window(START - timedelta(days=2), START)
    found = counted(
        source, PerUser(numerator="clicks", denominator="impressions", since=START + 6 * HOUR, past=past), 30
    )
    for side in Side:
        want = known["sides"][side.value]
        assert found[side].whole.users == want["n"]
        np.testing.assert_allclose(found[side].whole.mean, want["mean"], rtol=1e-12)
        np.testing.assert_allclose(found[side].whole.covariance, want["cov"], rtol=1e-10, atol=1e-12)
    assert sum(found[side].strays for side in Side) == known["both_sides"]


def test_a_user_is_one_whatever_his_rows():
    found = counted(
        FrameSource(
            table(
                (1, "baseline", "ann", 1, 10),
                (2, "baseline", "ann", 0, 5),
                (0.5, "canary", "bob", 2, 20),
                (4, "canary", "cat", 0, 4),
                (5, "baseline", "dan", 1, 1),
            )
        )
    )
    assert (found[Side.BASELINE].whole.users, found[Side.CANARY].whole.users) == (2, 2)
    assert found[Side.BASELINE].whole.mean[:2].tolist() == [1.0, 8.0]
    assert found[Side.CANARY].whole.largest_share == pytest.approx(20 / 24)


def test_who_is_seen_on_both_sides_is_left_out_of_either():
    rows = [
        (1, "canary", "ann", 1, 10),
        (2, "baseline", "ann", 9, 10),
        (3, "baseline", "bob", 0, 5),
        (4, "canary", "cat", 1, 1),
    ]
    found = counted(FrameSource(table(*rows)))
    assert (found[Side.BASELINE].whole.users, found[Side.CANARY].whole.users) == (1, 1)
    assert (found[Side.BASELINE].strays, found[Side.CANARY].strays) == (0, 1)  # the first row was on the canary
    # before the weight changed he may have been anywhere
    later = counted(
        FrameSource(table(*rows)),
        PerUser(numerator="clicks", denominator="impressions", since=START + timedelta(seconds=90)),
    )
    assert (later[Side.BASELINE].whole.users, later[Side.CANARY].strays) == (2, 0)


def test_rows_without_a_user_are_no_giant():
    rows = [(one, "canary", None if one % 2 else "ann", 1, 1) for one in range(1, 11)]
    found = counted(
        FrameSource(table(*rows, (11, "canary", "", 1, 1), (12, "baseline", "0", 1, 1), (13, "baseline", "bob", 1, 1)))
    )
    assert (found[Side.CANARY].whole.users, found[Side.CANARY].anonymous, found[Side.CANARY].rows) == (1, 6, 5)
    assert (found[Side.BASELINE].whole.users, found[Side.BASELINE].anonymous) == (1, 1)


@pytest.mark.parametrize("user", [[1, 2, 0, np.nan], ["1", "2", "", None], [1, "2", None, "0"]])
def test_numbers_and_texts_are_users(user):
    rows = [(1 + at, "baseline", one, 1, 1) for at, one in enumerate(user)]
    found = counted(FrameSource(table(*rows, (0.5, "canary", user[0], 1, 1))))
    assert found[Side.BASELINE].whole.users == 1  # the other one is on both sides
    assert found[Side.BASELINE].anonymous == 2


def test_the_time_before_is_of_the_same_users():
    rows = [
        (-60, "baseline", "ann", 3, 30),
        (-30, "baseline", "eve", 9, 90),
        (1, "canary", "ann", 1, 10),
        (2, "canary", "bob", 1, 5),
    ]
    past = Window(START - timedelta(days=1), START)
    found = counted(FrameSource(table(*rows)), PerUser(numerator="clicks", denominator="impressions", past=past))
    assert found[Side.CANARY].whole.mean.tolist() == [1.0, 7.5, 1.5, 15.0]


def test_a_cap_leaves_out_what_follows():
    rows = [(at, "canary", "bot", 1, 10) for at in range(1, 8)] + [
        (9, "canary", "ann", 1, 10),
        (10, "baseline", "bob", 1, 10),
    ]
    ratio = counted(FrameSource(table(*rows)), PerUser(numerator="clicks", denominator="impressions", cap=30))
    assert ratio[Side.CANARY].whole.mean[:2].tolist() == [2.0, 20.0]  # 3 of 30, and 1 of 10
    mean = counted(FrameSource(table(*rows)), PerUser(numerator="clicks", cap=4))
    assert mean[Side.CANARY].whole.mean[:2].tolist() == [2.5, 1.0]


def test_thirds_hold_those_who_were_there():
    rows = [
        (10, "canary", "ann", 1, 10),
        (80, "canary", "bob", 2, 10),
        (170, "canary", "ann", 3, 10),
        (30, "baseline", "cat", 0, 1),
    ]
    found = counted(FrameSource(table(*rows)), hours=3)[Side.CANARY]
    assert (found.early.users, found.early.mean[0]) == (1, 1.0)
    assert (found.late.users, found.late.mean[0]) == (1, 3.0)
    assert (found.whole.users, found.whole.mean[0]) == (2, 3.0)


def test_requests_have_users_too():
    frame = pd.DataFrame(
        {
            "timestamp": [START + timedelta(minutes=at) for at in range(1, 7)],
            "side": ["canary", "baseline"] * 3,
            "ok": [True, False, True, True, False, True],
            "user_id": ["a", "b", "a", "c", "d", "b"],
        }
    )
    found = counted(FrameSource(frame, user="user_id"), PerUser(numerator="errors", denominator="requests"))
    assert found[Side.CANARY].whole.mean[:2].tolist() == [0.5, 1.5]
    assert found[Side.BASELINE].whole.mean[:2].tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("frame", "users", "told"),
    [
        (table((1, "canary", "a", 1, 1)).drop(columns="user"), CLICKS, "needs a column 'user'"),
        (table((1, "canary", "a", 1, 1)), PerUser(numerator="klicks"), "no 'klicks', did you mean 'clicks'"),
        (table((1, "canary", "a", 1, 1)), PerUser(numerator="clicks", denominator="visits"), "no 'visits'"),
        (table((1, "canary", "a", np.inf, 1)), CLICKS, "infinite"),
    ],
)
def test_what_a_table_cannot_answer_is_told(frame, users, told):
    results = FrameSource(frame).fetch([query(side, users) for side in Side], Window(START, START + HOUR))
    assert all(told.split(",")[0] in (one.error or "") for one in results), [one.error for one in results]


METRIC = {
    "name": "clicks",
    "kind": "ratio",
    "events": "clicks",
    "total": "impressions",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "10%",
}


def config(**more) -> JudgeConfig:
    return JudgeConfig.from_mapping({"name": "feed", "interval": "1h", "metrics": [{**METRIC, **more}]})


def test_two_periods_hold_the_same_users():
    source = FrameSource(table((1, "canary", "a", 1, 1), (2, "baseline", "a", 1, 1)), align="start")
    (result, _) = source.fetch([query(side) for side in Side], Window(START, START + HOUR))
    assert "compares two periods" in result.error


def test_prometheus_is_refused_before_anything_is_asked():
    with pytest.raises(ConfigError, match=r"clicks: Prometheus keeps no users"):
        refuse_without_users(config(), {"default": PrometheusSource("http://127.0.0.1:9")})


@pytest.mark.parametrize(
    "result",
    [Result(form=Form.COUNTS), Result(form=Form.MOMENTS, moments=None), Result()],
    ids=["counts", "none", "level"],
)
def test_a_source_that_does_not_know_users_is_no_silent_fall_back(result):
    class Other:
        def fetch(self, queries, window):
            return [result for _ in queries]

    found = judge(config(), Other(), Window(START, START + 48 * HOUR))["clicks"]
    assert found.outcome in (Outcome.ERROR, Outcome.NO_DATA)


def whole(**change):
    return {
        "whole": Moments(**{"users": 3, "mean": np.ones(4), "covariance": np.eye(4), "largest_share": 0.5} | change)
    }


@pytest.mark.parametrize(
    "change",
    [
        whole(mean=np.array([np.nan, 1, 0, 0])),
        whole(covariance=np.full((4, 4), np.inf)),
        whole(covariance=-np.eye(4)),
        whole(mean=np.ones(3)),
        whole(largest_share=np.nan),
        whole(largest_share=7.0),
        {"capped": np.nan},
        {"strayed": -1},
        {"undefined": -1},
        {"known": -5},
    ],
)
def test_moments_that_are_none_are_refused(change):
    class Broken:
        def fetch(self, queries, window):
            source = FrameSource(table((1, "canary", "a", 1, 1), (2, "baseline", "b", 1, 1)))
            results = source.fetch(queries, window)
            return [replace(one, moments=replace(one.moments, **change)) for one in results]

    found = judge(config(), Broken(), Window(START, START + 48 * HOUR))["clicks"]
    assert found.outcome is Outcome.ERROR
    assert "moments that are none" in found.reason


def test_users_where_none_are_asked_for_are_refused():
    class Eager:
        def fetch(self, queries, window):
            return FrameSource(table((1, "canary", "a", 1, 1), (2, "baseline", "b", 1, 1))).fetch(
                [query(one.side) for one in queries], window
            )

    found = judge(config(unit_of_replication="request"), Eager(), Window(START, START + 48 * HOUR))["clicks"]
    assert found.outcome is Outcome.ERROR


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_pieces_of_rows_matter(seed):
    rng = np.random.default_rng(seed)
    frame = People(users=60, hours=12, weights=((0, 30.0),), leak=0.1, days_before=1).draw(seed).frame(START)
    if frame.side.nunique() < 2:
        return
    pieces = frame.copy()
    half = rng.random(len(pieces)) < 0.5
    extra = pieces[half].copy()
    for name in ("clicks", "impressions"):
        part = np.floor(extra[name] / 2)
        extra[name] -= part
        pieces.loc[half, name] = part
    shuffled = pd.concat([pieces, extra]).sample(frac=1, random_state=int(rng.integers(1000)))
    past = Window(START - timedelta(days=1), START)
    asked = PerUser(numerator="clicks", denominator="impressions", past=past)
    one, two = counted(FrameSource(frame), asked, 12), counted(FrameSource(shuffled), asked, 12)
    for side in Side:
        for part in ("whole", "early", "late"):
            a, b = getattr(one[side], part), getattr(two[side], part)
            assert a.users == b.users
            np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9)
            np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-9, atol=1e-9)
        assert one[side].strays == two[side].strays
