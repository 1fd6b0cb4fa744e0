"""Tables that count something several times: rows that were appended again, and counters taken for counts."""

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Outcome, judge
from canary_judge.errors import DataError
from canary_judge.samples.pace import CUMULATIVE
from canary_judge.sources import FrameSource

MINUTES = pd.date_range("2026-01-01", periods=240, freq="1min", tz="UTC")


def errors_of(table):
    metric = {"name": "m", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase", "margin": "2x"}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    source = FrameSource(table)
    return {one.error for one in source.fetch(list(config.queries()), source.window("1m"))}


@pytest.mark.parametrize("twice", ["canary", "baseline", "both", "none"])
@pytest.mark.parametrize("coarse", [False, True])
def test_rows_that_were_appended_twice_are_refused(twice, coarse):
    rng = np.random.default_rng(1)
    rows = 2000
    seconds = rng.uniform(0, 3600, rows)
    table = pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.floor(seconds), unit="s"),
            "side": np.where(np.arange(rows) % 4, "baseline", "canary"),
            "ok": rng.uniform(size=rows) < 0.99,
            "latency": np.round(rng.exponential(0.1, rows), 1 if coarse else 6),
        }
    )
    again = table[table["side"] == twice] if twice in ("canary", "baseline") else table[: rows * (twice == "both")]
    errors = errors_of(pd.concat([table, again], ignore_index=True))
    if twice == "none" or coarse:  # what is written so coarsely is alike by chance
        assert errors == {None}
    else:
        side = "canary" if twice == "canary" else "baseline"
        told = f"each row of the {side} stands in the table 2 times: was a file appended again? Drop these"
        assert errors == {told}


def requests_of_a_day(rows=4000):
    rng = np.random.default_rng(2)
    seconds = np.sort(np.round(rng.uniform(0, 86_400, rows), 3))
    return pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "side": np.where(np.arange(rows) % 4, "baseline", "canary"),
            "ok": rng.uniform(size=rows) < 0.99,
        }
    )


@pytest.mark.parametrize("hours", [(0, 2), (20, 24), (9, 11)])
def test_a_part_of_a_file_that_was_appended_again_is_told_with_its_time(hours):
    table = requests_of_a_day()
    since, until = (pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(hours=hour) for hour in hours)
    again = table[table["timestamp"].between(since, until)]
    (error,) = errors_of(pd.concat([table, again], ignore_index=True))
    first, last = (again[again["side"] == "baseline"]["timestamp"].iloc[at] for at in (0, -1))
    assert error == (
        f"each row of the baseline from {first.isoformat()} to {last.isoformat()} stands in the table 2 times: "
        "was a file appended again? Drop these"
    )


def test_single_rows_that_stand_twice_here_and_there_are_let_pass():
    table = requests_of_a_day()
    assert errors_of(pd.concat([table, table.sample(400, random_state=1)], ignore_index=True)) == {None}


def test_two_requests_of_each_second_are_no_file_that_was_appended_again():
    times = pd.date_range("2026-01-01", periods=600, freq="1s", tz="UTC").repeat(2)
    both = [
        pd.DataFrame({"timestamp": times, "side": side, "ok": True, "status": 200, "path": "/health"})
        for side in ("baseline", "canary")
    ]
    assert errors_of(pd.concat(both)) == {None}


def counted(rows, canary, baseline=None):
    """A table of so many minutes; what each side counts is given for the canary, and the baseline has ten times that."""
    sides = {"canary": canary, "baseline": baseline or {name: 10 * values for name, values in canary.items()}}
    return pd.concat(
        [pd.DataFrame({"timestamp": MINUTES[:rows], "side": side, **columns}) for side, columns in sides.items()]
    )


def drawn(rows, requests, errors):
    rng = np.random.default_rng(rows)
    return {"requests": rng.poisson(requests, rows), "errors": rng.poisson(errors, rows)}


@pytest.mark.parametrize("rows", [20, 60])
@pytest.mark.parametrize("before", [0, 50_000])
def test_counters_that_began_lately_or_are_short_are_told(rows, before):
    counters = {name: before + np.cumsum(values) for name, values in drawn(rows, 600, 6).items()}
    errors = errors_of(counted(rows, counters)) - {None}
    assert errors
    assert errors <= {CUMULATIVE.format(name=repr(name)) for name in counters}


@pytest.mark.parametrize("rows", [20, 40, 60, 120, 180])
@pytest.mark.parametrize("name", ["requests", "errors"])
def test_one_counter_beside_counts_is_told(rows, name):
    columns = drawn(rows, 600, 12)
    columns[name] = np.cumsum(columns[name])
    baseline = drawn(rows, 6000, 120)
    baseline[name] = np.cumsum(baseline[name])
    assert errors_of(counted(rows, columns, baseline)) - {None} == {CUMULATIVE.format(name=repr(name))}


def test_a_text_of_each_row_hides_no_counter():
    table = counted(60, {name: np.cumsum(values) for name, values in drawn(60, 600, 6).items()})
    assert errors_of(table.assign(local=table["timestamp"].dt.strftime("%H:%M:%S CET"))) - {None}


@pytest.mark.parametrize("exact", [False, True])
def test_traffic_that_is_driven_up_is_no_counter(exact):
    up = np.arange(1, 61)
    ramp = drawn(60, 600 * up, 6 * up)
    if exact:  # as load tests send it
        ramp["requests"] = 600 * up
    assert errors_of(counted(60, ramp)) == {None}


def test_counts_of_a_stage_that_follows_a_stage_are_no_counter():
    steps = np.repeat([50, 250, 500, 1000], 15)
    assert errors_of(counted(60, {"requests": steps, "errors": steps // 50})) == {None}


@pytest.mark.parametrize("kind", ["number", "text"])
def test_rows_of_one_moment_are_not_dropped_for_having_a_number_of_their_own(kind):
    rng = np.random.default_rng(0)
    rows = []
    for side, many in (("baseline", 1), ("canary", 10)):
        for at in rng.integers(1, 14_400, 200):
            when = MINUTES[0] + pd.Timedelta(seconds=int(at))
            rows += [(when, side, 1, int(rng.integers(1, 10**6))) for _ in range(many)]
    table = pd.DataFrame(rows, columns=["timestamp", "side", "crashes", "request"])
    if kind == "text":
        table["request"] = "r" + table["request"].astype(str)
    metric = {"name": "m", "kind": "rate", "events": "crashes", "harm": "increase", "margin": "2x"}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    source = FrameSource(table)
    if kind == "text":
        assert judge(config, source, source.window("1m"))["m"].outcome is Outcome.REGRESSED
        return
    with pytest.raises(DataError, match="differ in 'request', a number, which tells no series apart"):
        judge(config, source, source.window("1m"))


@pytest.mark.parametrize("turned", [False, True])
def test_a_column_that_says_failed_is_not_ok(turned):
    table = requests_of_a_day()
    (error,) = errors_of(table.assign(ok=~table["ok"] if turned else table["ok"]))
    assert (error is not None) is turned
    assert not turned or "99% of the baseline's requests are not `ok`: does the column say that they failed?" in error


@pytest.mark.parametrize("jitter", [0, 1])
def test_a_load_test_without_an_error_is_no_counter(jitter):
    requests = 500 * np.arange(1, 31) + np.random.default_rng(3).integers(-jitter, jitter + 1, 30)
    zero = np.zeros(30, dtype=int)
    assert errors_of(counted(30, {"requests": requests, "errors": zero})) == {None}


@pytest.mark.parametrize("seed", range(5))
def test_users_with_several_rows_of_one_minute_are_no_file_that_was_appended(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(400):
        for minute in rng.integers(0, 360, rng.poisson(1.5) + 1):
            rows += [(int(minute), f"u{user}")] * int(rng.geometric(0.5))
    table = pd.DataFrame(rows, columns=["minute", "user"]).sort_values("minute", kind="stable")
    table["timestamp"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(table["minute"], unit="min")
    table = table.assign(side=np.where(table["user"].str[-1].isin(list("13579")), "canary", "baseline"), views=1)
    assert FrameSource(table.drop(columns="minute"), user="user")._appended_twice() == (None, None)


@pytest.mark.parametrize("items", [2, 4])
def test_items_of_one_page_are_no_file_that_was_appended(items):
    """Several impressions of one page: at the same moment, of the same user, alike but for rare clicks."""
    rng, pages = np.random.default_rng(items), 2000
    seconds = np.sort(rng.uniform(0, 86_400, pages)).round(3)
    user = rng.integers(0, 1500, pages)
    table = pd.DataFrame(
        {
            "timestamp": np.repeat(pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"), items),
            "side": np.repeat(np.where(user % 10 < 3, "canary", "baseline"), items),
            "user": np.repeat(user, items).astype(str),
            "impressions": 1,
            "clicks": (rng.random(pages * items) < 0.004) * 1,
        }
    )
    error, word = FrameSource(table, user="user")._appended_twice()
    assert error is None
    assert word.startswith("each row of the ")  # it may have been sorted since, which is said
    error, _ = FrameSource(pd.concat([table, table], ignore_index=True), user="user")._appended_twice()
    assert "was a file appended again? Drop these" in error


def test_exports_that_overlap_are_dropped_with_a_word():
    columns = drawn(60, 600, 6)
    table = counted(60, columns).reset_index(drop=True)
    again = table[table["timestamp"] >= MINUTES[58]]
    numbered = pd.concat([table, again], ignore_index=True).reset_index(names="row")
    assert errors_of(numbered) == {None}
