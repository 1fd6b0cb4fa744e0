"""Tables: three shapes, and every malformed one refused with the row and the remedy."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import compare
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.judging import judge
from canary_judge.results import Outcome, Verdict
from canary_judge.sources import FrameSource, arrow, tables
from canary_judge.sources.tables import Table

TIMES = pd.date_range("2026-01-01", periods=60, freq="1min", tz="UTC")
RNG = np.random.default_rng(0)


def wide(**columns):
    return pd.concat(
        [
            pd.DataFrame({"timestamp": TIMES, "side": side, **{k: np.asarray(v(side)) for k, v in columns.items()}})
            for side in ("baseline", "canary")
        ]
    )


def heap(side):
    return np.random.default_rng(len(side)).normal(100, 5, 60)


CONFIG = JudgeConfig.parse(
    "{name: c, interval: 1m, metrics: [{name: heap, kind: gauge, query: heap, harm: increase, margin: 10%}]}"
)
COUNTS = JudgeConfig.parse(
    "{name: c, interval: 1m, metrics: [{name: e, kind: ratio, events: errors, total: requests, harm: increase, margin: 1.5x or +1pp}]}"
)


def judged(table, config=CONFIG, **options):
    source = FrameSource(table, **options)
    return judge(config, source, source.window(config.interval))


def test_wide_long_csv_and_parquet_give_the_same_judgement(tmp_path):
    table = wide(heap=heap)
    long = table.rename(columns={"heap": "value"}).assign(metric="heap")
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.csv.gz", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    expected = judged(table)
    assert expected.verdict is Verdict.PASS
    for other in (
        long,
        tmp_path / "a.csv",
        tmp_path / "a.csv.gz",
        tmp_path / "a.parquet",
        table.sample(frac=1, random_state=1),
    ):
        assert judged(other).metrics == expected.metrics


def test_epoch_seconds_and_other_zones_are_times_too():
    table = wide(heap=heap)
    seconds = table.assign(
        timestamp=table["timestamp"].astype("int64") // (10**9 if table["timestamp"].dt.unit == "ns" else 10**6)
    )
    assert judged(seconds) == judged(table)
    assert judged(table.assign(timestamp=table["timestamp"].dt.tz_convert("Asia/Tokyo"))) == judged(table)


def test_counts_per_row_are_added_up():
    table = wide(requests=lambda side: [950 if side == "baseline" else 500] * 60, errors=lambda _: [5] * 60)
    comparison = judged(table, COUNTS).metrics[0].comparison
    assert (comparison.events_canary, comparison.n_canary, comparison.n_baseline) == (300, 30_000, 57_000)


def test_cumulative_columns_are_counters_when_told_so():
    table = wide(requests=lambda _: np.cumsum([100] * 60), errors=lambda _: np.cumsum([1] * 60))
    comparison = judged(table, COUNTS, counters=["requests", "errors"]).metrics[0].comparison
    assert (comparison.events_canary, comparison.n_canary) == (59, 5900)


def requests(n=20_000, share=0.1, rate=0.02, slow=1.0, seed=0):
    rng = np.random.default_rng(seed)
    side = np.where(rng.random(n) < share, "canary", "baseline")
    latency = rng.lognormal(-2, 0.5, n) * np.where(side == "canary", slow, 1.0)
    return pd.DataFrame(
        {
            "timestamp": 1767225600 + np.sort(rng.uniform(0, 3600, n)),
            "side": side,
            "ok": rng.random(n) >= rate,
            "latency": latency,
        }
    )


REQUESTS = JudgeConfig.parse(
    """
    name: c
    interval: 1m
    metrics:
      - {name: errors, kind: ratio, events: errors, total: requests, harm: increase, margin: 1.5x or +1pp}
      - {name: slow, kind: latency, histogram: latency, unit: s, slower_than: 250ms, margin: 1.25x or +2pp}
      - {name: latency, kind: samples, query: latency, unit: s, harm: increase, margin: 10%}
    """
)


def test_request_rows_give_errors_slow_requests_and_latencies():
    table = requests()
    judgement = judged(table, REQUESTS)
    canary = table[table["side"] == "canary"]
    errors, slow, latency = (metric.comparison for metric in judgement.metrics)
    assert (errors.events_canary, errors.n_canary) == ((~canary["ok"]).sum(), len(canary))
    assert slow.events_canary == (canary["latency"] > 0.25).sum()
    assert latency.n_canary == len(canary)
    assert judgement.verdict is Verdict.PASS
    assert judged(requests(slow=1.5), REQUESTS)["latency"].outcome is Outcome.REGRESSED


def test_a_label_column_keeps_instances_apart():
    table = pd.concat([wide(heap=lambda s, k=k: heap(s) + k).assign(pod=f"pod-{k}") for k in range(4)])
    assert judged(table).metrics[0].outcome is Outcome.ERROR
    by_pod = JudgeConfig.from_mapping(
        {
            **CONFIG.model_dump(mode="json", by_alias=True),
            "metrics": [
                {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%", "by": "pod"}
            ],
        }
    )
    assert judged(table, by_pod).metrics[0].comparison.n_canary == 4


def test_two_periods_are_compared_when_shifted_onto_each_other():
    table = wide(heap=heap)
    table.loc[table["side"] == "baseline", "timestamp"] -= pd.Timedelta("1D")
    apart = judged(table)
    assert apart.metrics[0].outcome is Outcome.NO_DATA
    assert judged(table, align="start").verdict is Verdict.PASS
    source = FrameSource(table, align="start").with_rows(FrameSource(table, align="start").table)
    answers = source.fetch(list(CONFIG.queries()), source.span("1m"))
    assert not any(one.simultaneous for one in answers)


def test_repeated_rows_are_dropped_and_said():
    table = wide(heap=heap)
    twice = pd.concat([table, table.head(3)])
    result = judged(twice)
    assert result.metrics[0].comparison == judged(table).metrics[0].comparison
    assert "3 repeated rows" in result.metrics[0].warnings[0]


def test_an_unknown_name_is_an_error_of_that_metric_with_the_nearest():
    table = wide(heep=heap)
    result = judged(table).metrics[0]
    assert result.outcome is Outcome.ERROR
    assert "did you mean 'heep'" in result.reason


def test_a_column_with_text_in_it_is_named_with_the_text():
    table = wide(heap=heap).astype({"heap": object})
    table.iloc[3, table.columns.get_loc("heap")] = "abc"
    result = judged(table).metrics[0]
    assert result.outcome is Outcome.ERROR
    assert "column 'heap' is no numbers: it has 'abc'" in result.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="timestamp"), "no column 'timestamp'"),
        (lambda t: t.drop(columns="side"), "no column 'side'"),
        (lambda t: t.assign(side="control"), "'control'; it must be 'baseline' or 'canary'"),
        (lambda t: t.assign(timestamp=t["timestamp"].dt.tz_localize(None)), "has no time zone"),
        (lambda t: t.assign(timestamp=t["timestamp"].dt.tz_localize(None).astype(str)), "has no time zone"),
        (lambda t: t.assign(timestamp="yesterday-ish"), "cannot be read as times"),
        (lambda t: t.assign(timestamp=1.7e12), "divide milliseconds by 1000"),
        (lambda t: t.assign(timestamp=np.nan), "is not a number"),
        (lambda t: t.assign(metric="heap", value="x"), "column 'value' has 'x' in row 0, which is no number"),
        (lambda t: t.assign(ok="maybe"), "column 'ok' has 'maybe' in row 0"),
        (lambda t: t[t["side"] == "baseline"], "no row whose side is 'canary'"),
    ],
)
def test_malformed_tables_name_the_column_and_the_remedy(change, message):
    with pytest.raises(DataError, match=message):
        judged(change(wide(heap=heap)))


def test_two_values_at_one_time_are_refused():
    table = pd.concat([wide(heap=heap), wide(heap=lambda s: heap(s) + 1)])
    with pytest.raises(DataError, match="has two values at 2026-01-01T00:00:00"):
        judged(table)


@pytest.mark.parametrize(("name", "message"), [("x.csv", "cannot be read"), ("x.xlsx", r"give a \.csv")])
def test_unreadable_files_are_named(name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        FrameSource(tmp_path / name)


def test_one_sided_gaps_are_missing_data_and_never_a_pass():
    table = wide(heap=heap)
    table.loc[(table["side"] == "canary") & (table["timestamp"] >= TIMES[30]), "heap"] = np.nan
    result = judged(table)
    assert result.metrics[0].outcome is Outcome.INSUFFICIENT
    assert "no value in the last 30 intervals" in result.metrics[0].reason
    mostly = wide(heap=heap)
    mostly.loc[(mostly["side"] == "canary") & (np.arange(len(mostly)) % 4 > 0), "heap"] = np.nan
    assert judged(mostly).metrics[0].outcome is Outcome.INSUFFICIENT


def test_infinite_values_are_dropped_and_counted():
    table = wide(heap=heap)
    table.loc[table["side"] == "canary", "heap"] = np.inf
    result = judged(table).metrics[0]
    assert result.outcome is Outcome.NO_DATA
    assert result.quality.non_finite == 60


def test_compare_judges_two_frames_without_a_config():
    before, after = (pd.DataFrame({"timestamp": TIMES, "heap": heap(side)}) for side in ("baseline", "canary"))
    metric = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
    assert compare(baseline=before, canary=after, metrics=[metric]).verdict is Verdict.PASS
    worse = after.assign(heap=after["heap"] * 2)
    judgement = compare(baseline=before, canary=worse, metrics=[metric], false_alarm_rate=0.001)
    assert judgement.verdict is Verdict.FAIL
    assert judgement.interval_seconds == 60
    with pytest.raises(DataError, match="fewer than two timestamps"):
        compare(baseline=before.head(1), canary=after.head(1), metrics=[metric])


def test_the_window_begins_with_the_canary():
    table = wide(heap=heap)
    late = table[(table["side"] == "baseline") | (table["timestamp"] >= TIMES[20])]
    window = FrameSource(late).window(timedelta(minutes=1))
    assert window.start == TIMES[19].to_pydatetime()
    assert window.end == TIMES[59].to_pydatetime()


# --- what must never read as healthy -----------------------------------------------------------------------------


def worse_errors(**change):
    """The canary has five times the errors; some of its rows are changed."""
    table = wide(
        requests=lambda side: [9000.0 if side == "baseline" else 1000.0] * 60,
        errors=lambda side: [90.0 if side == "baseline" else 50.0] * 60,
    ).reset_index(drop=True)
    canary = table["side"] == "canary"
    for rows, value in change.values():
        table.loc[canary & rows(table), "errors"] = value
    return table


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_errors_that_are_no_numbers_are_not_zero_errors(value):
    hidden = judged(worse_errors(all=(lambda t: t["errors"] > 0, value)), COUNTS)
    assert hidden.verdict is not Verdict.PASS
    partly = judged(worse_errors(most=(lambda t: np.arange(len(t)) % 4 > 0, value)), COUNTS)
    assert partly.verdict is not Verdict.PASS


def test_error_rows_that_stop_are_not_zero_errors():
    table = worse_errors()
    errors = table[["timestamp", "side", "errors"]].rename(columns={"errors": "value"}).assign(metric="errors")
    requests = table[["timestamp", "side", "requests"]].rename(columns={"requests": "value"}).assign(metric="requests")
    kept = errors[(errors["side"] == "baseline") | (errors["timestamp"] < TIMES[6])]
    assert judged(pd.concat([kept, requests]), COUNTS).verdict is not Verdict.PASS
    none = errors[errors["side"] == "baseline"]
    assert judged(pd.concat([none, requests]), COUNTS).verdict is not Verdict.PASS


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_slow_requests_without_a_latency_are_not_fast_ones(value):
    table = requests()
    slow = (table["side"] == "canary") & (table["latency"] > 0.2)
    table.loc[slow, "latency"] = value
    judgement = judged(table, REQUESTS)
    assert judgement.verdict is not Verdict.PASS
    assert judgement["latency"].outcome is not Outcome.SAFE


def test_a_canary_that_fell_silent_does_not_pass():
    table = wide(heap=heap)
    dead = table[(table["side"] == "baseline") | (table["timestamp"] < TIMES[50])]
    assert judged(dead).verdict is not Verdict.PASS
    rows = requests()
    late = rows[(rows["side"] == "baseline") | (rows["timestamp"] < rows["timestamp"].min() + 600)]
    source = FrameSource(late)
    result = judge(REQUESTS, source, source.window(REQUESTS.interval))
    assert {metric.outcome for metric in result.metrics} & {Outcome.SAFE, Outcome.TOLERABLE} == set()


@pytest.mark.parametrize("counters", ["errors", ["erors"]])
def test_counters_that_are_no_names_are_refused(counters):
    with pytest.raises(ValueError, match="is no list of names of this table"):
        FrameSource(wide(errors=lambda _: [1.0] * 60), counters=counters)


def test_truncated_files_and_repeated_columns_are_named(tmp_path):
    path = tmp_path / "a.csv.gz"
    wide(heap=heap).to_csv(path, index=False)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        FrameSource(path)
    with pytest.raises(DataError, match="two columns 'heap'"):
        FrameSource(pd.concat([wide(heap=heap), wide(heap=heap)[["heap"]]], axis=1))


def test_reading_csv_needs_no_pandas(tmp_path):
    (tmp_path / "t.csv").write_text("timestamp,side,heap\n60,baseline,1\n60,canary,2\n")
    code = f"import sys; from canary_judge.sources import FrameSource; FrameSource({str(tmp_path / 't.csv')!r})"
    command = [sys.executable, "-c", f"{code}; print('pandas' in sys.modules)"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("small", [0, 1_000_000])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("timestamp;side;heap\n60;canary;1\n", "separate the columns with commas"),
        ("timestamp,side,heap,heap\n60,canary,1,2\n", "two columns 'heap'"),
        ("timestamp,side,heap\n,canary,1\n60,canary,1\n", "timestamp in row 0 is not a number"),
        ("timestamp,side,heap\n2026-01-01,canary,1\n", "has no time zone"),
        ("timestamp,side,heap\nsoon,canary,1\n", "cannot be read as times"),
        ("timestamp,side,heap\n1700000000000,canary,1\n", "divide milliseconds by 1000"),
        ("timestamp,side,ok\n60,canary,maybe\n", "column 'ok' has 'maybe' in row 0"),
        ("timestamp,side,metric,value\n60,canary,m,big\n", "column 'value' has 'big' in row 0"),
    ],
)
def test_a_malformed_csv_file_is_explained(tmp_path, text, message, small, monkeypatch):
    monkeypatch.setattr(tables, "_SMALL_FILE", small)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        FrameSource(tmp_path / "t.csv")


def test_a_short_line_of_a_csv_file_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("timestamp,side,heap\n60,canary\n")
    with pytest.raises(DataError, match="line 2 has 2 fields where the first line names 3"):
        FrameSource(tmp_path / "t.csv")


@pytest.mark.parametrize("small", [0, 1_000_000])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_csv_columns_are_typed_as_in_the_frame_they_came_from(tmp_path, suffix, small, monkeypatch):
    monkeypatch.setattr(tables, "_SMALL_FILE", small)
    times = pd.date_range("2026-01-01", periods=4, freq="1min", tz="UTC")
    frame = pd.DataFrame(
        {
            "timestamp": times,
            "side": ["baseline", "canary"] * 2,
            "number": [1.5, np.nan, -np.inf, 1e-300],
            "count": [1, 2, 3, 4],
            "flag": [True, False, True, False],
            "pod": ["a", "b", None, "12"],
        }
    )
    frame.to_csv(tmp_path / f"t.{suffix}", index=False)
    read, given = Table.of(tmp_path / f"t.{suffix}", "time"), Table.of(frame, "time")
    assert list(read.numbers) == list(given.numbers) == ["number", "count", "flag"]
    assert list(read.texts) == list(given.texts) == ["pod"]
    np.testing.assert_array_equal(read.times, given.times)
    for name in read.numbers:
        np.testing.assert_array_equal(read.numbers[name], given.numbers[name])
    assert read.texts["pod"].tolist() == given.texts["pod"].tolist() == ["a", "b", None, "12"]


@pytest.mark.parametrize("as_file", [False, True])
def test_numbers_may_be_labels_of_a_long_table(tmp_path, as_file):
    rows = [
        {"timestamp": 60.0 * minute, "side": side, "metric": "heap", "value": 100.0 + shard, "shard": shard}
        for minute in range(1, 31)
        for side in ("baseline", "canary")
        for shard in (1, 2, 3)
    ]
    table = pd.DataFrame(rows)
    if as_file:
        table.to_csv(tmp_path / "t.csv", index=False)
    source = FrameSource(tmp_path / "t.csv" if as_file else table)
    metric = {"name": "m", "kind": "gauge", "query": "heap", "by": "shard", "harm": "increase", "margin": "10%"}
    config = JudgeConfig.from_mapping({"name": "s", "interval": "1m", "metrics": [metric]})
    window = source.window(timedelta(minutes=1))
    answers = source.fetch(list(config.queries()), window)
    assert [one.labels for one in answers[0].series] == [{"shard": "1"}, {"shard": "2"}, {"shard": "3"}]
    assert judge(config, source, window).metrics[0].comparison.n_canary == 3


def test_another_column_of_times_is_no_concern_of_ours():
    table = wide(heap=lambda side: RNG.normal(100, 5, 60)).assign(deployed=pd.Timestamp("2026-01-01"))
    assert FrameSource(table).window(timedelta(minutes=1)).duration == timedelta(hours=1)


def drawn_table(seed, rows=400):
    rng = np.random.default_rng(seed)
    some = {
        "number": rng.normal(size=rows).round(3),
        "count": rng.integers(0, 9, rows),
        "flag": rng.random(rows) < 0.5,
        "late": np.where(np.arange(rows) < rows // 2, np.nan, rng.normal(size=rows)),
        "pod": rng.choice(["a", "b", "12", "-"], rows),
        "shard": np.where(np.arange(rows) < rows - 3, "7", rng.choice(["x", "7"])),
        "nothing": [None] * rows,
    }
    chosen = {name: some[name] for name in rng.permutation(list(some))[: rng.integers(1, len(some))]}
    moments = pd.to_datetime(1.7e9 + rng.integers(0, 1000, rows) * 0.5, unit="s", utc=True)
    frame = pd.DataFrame({"timestamp": moments, "side": rng.choice(["baseline", "canary"], rows), **chosen})
    for name in chosen:
        if name in ("number", "pod") and rng.random() < 0.5:
            frame[name] = frame[name].astype(object).where(rng.random(rows) < 0.9, None)
    return frame


@pytest.mark.parametrize("seed", range(25))
def test_large_files_are_read_as_small_ones(seed, tmp_path, monkeypatch):
    """By pyarrow in pieces of a few rows, by pandas where it is missing, and by the csv module."""
    frame = drawn_table(seed)
    frame.to_csv(tmp_path / "t.csv", index=False)
    small = Table.of(tmp_path / "t.csv", "time")
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    monkeypatch.setattr(arrow, "_BYTES", 1500)
    read = [Table.of(tmp_path / "t.csv", "time")]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "canary_judge.sources.arrow", None)
        read.append(Table.of(tmp_path / "t.csv", "time"))
    for one in read:
        np.testing.assert_array_equal(one.times, small.times)
        np.testing.assert_array_equal(one.canary, small.canary)
        assert {**one.numbers}.keys() == {**small.numbers}.keys()
        for name, values in small.numbers.items():
            np.testing.assert_array_equal(one.numbers[name], values)
        assert {name: values.tolist() for name, values in one.texts.items()} == {
            name: values.tolist() for name, values in small.texts.items()
        }


@pytest.mark.parametrize("seed", range(10))
def test_parquet_is_read_as_pandas_reads_it(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "_ROWS", 37)
    frame = drawn_table(seed)
    if seed % 2:
        frame["pod"] = pd.Categorical(np.random.default_rng(seed).choice(["a", "b"], len(frame)))
        frame = frame.sort_values("timestamp")  # an index that is not 0, 1, 2, ...
    frame.to_parquet(tmp_path / "t.parquet")
    read, given = Table.of(tmp_path / "t.parquet", "time"), Table.of(pd.read_parquet(tmp_path / "t.parquet"), "time")
    np.testing.assert_array_equal(read.times, given.times)
    np.testing.assert_array_equal(read.canary, given.canary)
    assert read.numbers.keys() == given.numbers.keys()
    for name, values in given.numbers.items():
        np.testing.assert_array_equal(read.numbers[name], values)
    assert {name: values.tolist() for name, values in read.texts.items()} == {
        name: values.tolist() for name, values in given.texts.items()
    }


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("align", ["time", "start"])
def test_many_requests_are_counted_as_few(suffix, align, tmp_path, monkeypatch):
    """In any order of rows, against a count of pandas."""
    rng = np.random.default_rng(4)
    times = pd.to_datetime(1.7e9 + rng.uniform(0, 1800, 3000).round(3), unit="s", utc=True)
    frame = pd.DataFrame(
        {
            "timestamp": times,
            "side": rng.choice(["baseline", "canary"], 3000, p=[0.9, 0.1]),
            "ok": rng.random(3000) > 0.1,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    monkeypatch.setattr(arrow, "_BYTES", 4000)
    source = FrameSource(tmp_path / f"t.{suffix}", align=align)
    metric = {"name": "e", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase", "margin": "2x"}
    config = JudgeConfig.from_mapping({"name": "s", "interval": "1m", "metrics": [metric]})
    window = source.window("1m")
    if align == "start":
        first = frame.groupby("side")["timestamp"].min()
        shift = first["canary"] - first["baseline"]
        frame.loc[frame["side"] == "baseline", "timestamp"] += shift
    inside = frame[(frame["timestamp"] > window.start) & (frame["timestamp"] <= window.end)]
    minute = (inside["timestamp"] - pd.Timedelta(1)).dt.floor("1min")
    for query, found in zip(config.queries(), source.fetch(list(config.queries()), window), strict=True):
        mine = inside["side"] == query.side.value
        if query.expression == "errors":
            mine &= ~inside["ok"]
        expected = minute[mine].value_counts()
        values = found.series[0]
        counted = {
            pd.Timestamp(at, tz="UTC") - pd.Timedelta("1min"): n
            for at, n in zip(values.timestamps, values.values, strict=True)
        }
        assert {at: n for at, n in counted.items() if n} == expected.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timestamp,side,heap\n2026-01-01T00:00:00,canary,1\n", "has no time zone; write it as"),
        ("timestamp,side,heap\n60,blue,1\n", "column 'side' has 'blue'"),
        ("timestamp,side,heap\n60,,1\n", "column 'side' has (None|nan)"),
        ("timestamp,side,heap\n60,canary,1\n60,canary\n", "Expected 3 columns, got 2"),
        ("timestamp,side,heap\n2026-01-01T00:00:00Z,canary,1\n,canary,1\n", "timestamp is missing"),
    ],
)
def test_a_large_malformed_file_is_explained(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        FrameSource(tmp_path / "t.csv")


@pytest.mark.parametrize("column", [{"timestamp": pd.Timestamp("2026-01-01")}, {"side": "blue"}, {"side": None}])
def test_a_malformed_parquet_file_is_explained(column, tmp_path):
    frame = wide(heap=heap).assign(**column)
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"(has no time zone|column 'side' has)"):
        FrameSource(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 rubbish PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        FrameSource(tmp_path / "t.parquet")


def test_quoted_cells_of_a_large_file_may_have_several_lines(tmp_path, monkeypatch):
    wide(heap=heap).assign(note="deploy of\nTuesday").to_csv(tmp_path / "t.csv", index=False)
    small = FrameSource(tmp_path / "t.csv")
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    monkeypatch.setattr(arrow, "_BYTES", 500)
    assert repr(FrameSource(tmp_path / "t.csv")) == repr(small)


def test_two_columns_of_one_name_in_parquet_are_named(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = [pa.array([1.0]), pa.array([2.0]), pa.array([60.0]), pa.array(["canary"])]
    parquet.write_table(pa.table(columns, names=["x", "x", "timestamp", "side"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="two columns 'x'"):
        FrameSource(tmp_path / "t.parquet")


def test_a_label_that_is_a_number_at_first_stays_one_text(tmp_path, monkeypatch):
    frame = wide(heap=heap).assign(release="1.10")
    frame.loc[frame.index[-1], "release"] = "1.9-rc"
    frame.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    monkeypatch.setattr(arrow, "_BYTES", 500)
    assert set(Table.of(tmp_path / "t.csv", "time").texts["release"]) == {"1.10", "1.9-rc"}


def test_other_times_are_labels_as_they_are_written(tmp_path, monkeypatch):
    wide(heap=heap).assign(built="2026-01-01T00:00:00Z").to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(tables, "_SMALL_FILE", 0)
    assert set(Table.of(tmp_path / "t.csv", "time").texts["built"]) == {"2026-01-01T00:00:00Z"}


def rows_of_users(column, *, users=300, before=True):
    """A row a minute of each user, the canary's of the last half alone; before, all are on the baseline."""
    rng, start = np.random.default_rng(1), pd.Timestamp("2026-01-01T00:00Z")
    minutes = np.sort(rng.integers(0 if before else 60, 120, 4000))
    of = rng.integers(0, users, minutes.size)
    return pd.DataFrame(
        {
            "timestamp": start + pd.to_timedelta(minutes * 60.0 + rng.uniform(0, 60, minutes.size), unit="s"),
            "side": np.where((of % 4 == 0) & (minutes >= 60), "canary", "baseline"),
            column: [f"u{one}" for one in of],
            "likes": rng.poisson(1, minutes.size).astype(float),
            "items": 3.0 + rng.poisson(3, minutes.size),
        }
    ).sort_values("timestamp")


@pytest.mark.parametrize(("column", "told"), [
    ("user", True), ("user_id", True), ("customerId", True), ("visitor_key", True), ("colour", False), ("userid", True),
])  # fmt: skip
@pytest.mark.parametrize("before", [True, False])
def test_counts_of_rows_of_users_are_told_whatever_the_column_is_called(column, told, before):
    metric = {"name": "m", "kind": "ratio", "events": "likes", "total": "items", "harm": "decrease", "margin": "10%"}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    source = FrameSource(rows_of_users(column, before=before))
    warnings = judge(config, source, source.window("1m"))["m"].warnings
    assert any(f"(column {column!r}), and what one user does is alike" in one for one in warnings) is told
    assert any(one.endswith(f"and the source `user: {column}`") for one in warnings) is (told and column != "user")


def test_many_series_are_not_each_held_against_each(monkeypatch):
    from canary_judge.sources import frames

    asked = []
    monkeypatch.setattr(frames, "is_stock", lambda values, others: asked.append(len(others)))
    metric = {"name": "m", "kind": "ratio", "events": "likes", "total": "items", "harm": "decrease", "margin": "10%"}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    source = FrameSource(rows_of_users("colour", users=500))
    source.fetch(list(config.queries()), source.window("1m"))
    assert asked
    assert max(asked) <= 100
    assert len(asked) <= 2 * 100
