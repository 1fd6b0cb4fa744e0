"""Tables as programs export them: k6, BigQuery, a German spreadsheet, a driver's decimals, another library's frame."""

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from canary_judge import DataError, JudgeConfig, Verdict, compare, judge
from canary_judge.errors import ConfigError
from canary_judge.sources import FrameSource
from canary_judge.sources.tables import Table

N = 120
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "1.5x",
}


def counts(seed=0, bad=1.0, **columns):
    rng, times = np.random.default_rng(seed), pd.date_range("2026-01-05", periods=N, freq="1min", tz="UTC")
    sides = []
    for side, requests, share in (("baseline", 2000, 0.01), ("canary", 200, 0.01 * bad)):
        n = rng.poisson(requests, N)
        sides.append(pd.DataFrame({"timestamp": times, "side": side, "requests": n, "errors": rng.binomial(n, share)}))
    return pd.concat(sides, ignore_index=True).assign(**columns)


def judged(table, *metrics, **more):
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": list(metrics or [ERRORS])})
    source = FrameSource(table, **more)
    return judge(config, source, source.window(config.interval))


@pytest.mark.parametrize("bad", [1.0, 5.0])
@pytest.mark.parametrize(
    "form",
    [
        lambda table: table.map(lambda value: Decimal(int(value)) if isinstance(value, int) else value),
        lambda table: table.astype({"errors": "category", "requests": "category"}),
        lambda table: table.convert_dtypes(dtype_backend="pyarrow"),
        lambda table: pytest.importorskip("pyarrow").table(table.to_dict("list")),
    ],
    ids=["decimals", "categories", "backed by arrow", "an arrow table"],
)
def test_numbers_in_other_clothes_are_numbers(form, bad):
    table = counts(bad=bad)
    found, plain = judged(form(table)), judged(table)
    assert found.verdict is (Verdict.FAIL if bad > 1 else plain.verdict)
    assert found["errors"].comparison == plain["errors"].comparison


def test_missing_decimals_are_missing():
    column = [None, Decimal("1.5"), Decimal(2)]
    table = pd.DataFrame({"timestamp": [1.0, 2.0, 3.0], "side": "canary", "level": column})
    assert Table.of(table, "time").numbers["level"].tolist()[1:] == [1.5, 2.0]
    texts = pd.DataFrame({"timestamp": [1.0, 2.0], "side": "canary", "level": [True, "x"]})
    assert "level" in Table.of(texts, "time").texts


@pytest.mark.parametrize("text", ["2026-01-01 12:00:00 UTC", "2026-01-01 12:00:00.000 Z", "2026-01-01T12:00:00Z"])
def test_times_as_warehouses_write_them(text):
    table = pd.DataFrame({"timestamp": [text], "side": ["canary"], "level": [1.0]})
    assert Table.of(table, "time").times.tolist() == [pd.Timestamp("2026-01-01 12:00", tz="UTC").value]


@pytest.mark.parametrize(("by", "remedy"), [(1e3, "milliseconds by 1000"), (1e6, "microseconds by 1e6"), (1e9, "nan")])
def test_times_in_finer_units_are_told_with_theirs(by, remedy):
    table = pd.DataFrame({"timestamp": [1767268800.0 * by], "side": ["canary"], "level": [1.0]})
    with pytest.raises(DataError, match=f"is too large for seconds since 1970; divide {remedy}"):
        Table.of(table, "time")


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_dots_of_thousands_are_refused(share, tmp_path):
    """1234 ms as 1.234, beside 873."""
    rng = np.random.default_rng(3)
    values = np.where(rng.random(400) < share, rng.integers(1001, 9000, 400), rng.integers(100, 1000, 400))
    told = [f"{value // 1000}.{value % 1000:03}" if value >= 1000 else str(value) for value in values.tolist()]
    times = pd.date_range("2026-01-05", periods=400, freq="1s", tz="UTC").astype(str)
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["timestamp,side,ms", *(f"{t},canary,{v}" for t, v in zip(times, told, strict=True))]))
    with pytest.raises(DataError, match=r"column 'ms' has \d+ beside \d\.\d+: are the dots of thousands\?"):
        Table.of(path, "time")


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).lognormal(0, 2, 500).round(3),
        np.random.default_rng(1).lognormal(3, 1, 500).round(3),
        np.random.default_rng(1).integers(0, 1000, 500).astype(float),
        np.random.default_rng(1).integers(0, 40000, 500) / 8,
        np.random.default_rng(1).integers(1000, 9000, 500) / 1000,
    ],
    ids=["seconds", "milliseconds", "whole", "eighths", "seconds beyond one"],
)
def test_numbers_of_three_decimals_are_none_of_that(values):
    table = pd.DataFrame({"timestamp": np.arange(500.0), "side": "canary", "value of it": values})
    assert Table.of(table, "time").numbers["value of it"].tolist() == values.tolist()


def test_single_events_at_coarse_times_are_no_repeated_rows():
    """As k6 writes them: a row of 0 or 1 for each request, whole seconds, and labels that tell failures apart."""
    rng = np.random.default_rng(5)
    sides = []
    for side, rate, share in (("baseline", 50, 0.01), ("canary", 10, 0.1)):
        second = np.repeat(np.arange(600), rng.poisson(rate, 600))
        failed = (rng.random(second.size) < share) * 1.0
        base = {"timestamp": 1767268800.0 + second, "side": side, "status": np.where(failed > 0, "s500", "s200")}
        sides += [pd.DataFrame({**base, "metric": "requests", "value": 1.0})]
        sides += [pd.DataFrame({**base, "metric": "errors", "value": failed})]
    with pytest.raises(DataError, match="have the time and the value of the row before: single events with coarse"):
        judged(pd.concat(sides))


def test_a_flag_beside_counts_is_refused_and_a_count_of_that_name_is_a_count():
    with pytest.raises(DataError, match="a column 'ok', by which each row is one request, and a column 'requests'"):
        judged(counts(bad=5.0, ok=True))
    table = counts(bad=5.0)
    table["ok"] = table["requests"] - table["errors"]
    assert judged(table).verdict is Verdict.FAIL


def test_a_side_that_says_the_opposite_is_refused():
    table = counts(bad=5.0)
    asked = {"metrics": [ERRORS], "interval": "1m"}
    canary, baseline = table[table["side"] == "canary"], table[table["side"] == "baseline"]
    assert compare(baseline=baseline, canary=canary, **asked).verdict is Verdict.FAIL
    for frames in ({"baseline": table, "canary": canary}, {"baseline": canary, "canary": baseline}):
        with pytest.raises(DataError, match="baseline: its column 'side' has 'canary'; give the rows of the baseline"):
            compare(**frames, **asked)


def test_histograms_of_two_units_are_refused():
    slow = {"name": "slow", "kind": "latency", "slower_than": "5s", "margin": "+1pp"}
    both = {"baseline": "http_milliseconds_bucket{v='1'}", "canary": "http_seconds_bucket{v='2'}"}
    with pytest.raises(ConfigError, match="the baseline's is in ms and the canary's in s by their names"):
        JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**slow, "histogram": both}]})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("p99", "quantile"),
        ("latency_p95_ms", "quantile"),
        ("job:request_latency_ms:p99", "quantile"),
        ("latency_median", "quantile"),
        ("app.p999", "quantile"),
        ("heap", "level"),
        ("p2p_connections", "level"),
        ("step95", "level"),
        ("p99_limit + 1", "level"),
    ],
)
def test_a_quantile_is_told_by_its_name(query, found):
    gauge = {"name": "g", "kind": "gauge", "query": query, "harm": "increase", "margin": "10%"}
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [gauge]})
    assert config.metrics[0].request_statistic() == found


def test_buckets_of_a_table_are_no_latencies():
    times = pd.date_range("2026-01-05", periods=N, freq="1min", tz="UTC")
    rows = [
        pd.DataFrame({"timestamp": times, "side": side, "le": le, "latency": np.arange(N) * 1.0})
        for side in ("baseline", "canary")
        for le in ("0.1", "1", "+Inf")
    ]
    slow = {
        "name": "slow",
        "kind": "latency",
        "histogram": "latency",
        "slower_than": "1s",
        "unit": "s",
        "margin": "+1pp",
    }
    found = judged(pd.concat(rows), slow)["slow"]
    assert found.outcome.value == "error"
    assert "a table cannot give buckets (`le`)" in found.reason


def test_rows_that_stand_for_different_numbers_of_requests_are_refused():
    rng, rows = np.random.default_rng(1), 4000
    ok = rng.random(rows) < 0.9
    table = pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-01-05", tz="UTC")
            + pd.to_timedelta(np.sort(rng.uniform(0, 7200, rows)), unit="s"),
            "side": np.where(np.arange(rows) % 5, "baseline", "canary"),
            "ok": ok,
            "sample_rate": np.where(ok, 20, 1),
        }
    )
    assert "rows stand for different numbers of requests" in judged(table)["errors"].reason
    assert judged(table.assign(sample_rate=20))["errors"].outcome.value != "error"


@pytest.mark.parametrize("numbered", [False, True])
def test_a_number_of_the_row_tells_no_series_apart(numbered):
    """Rows that were exported three times, each with a number of its own."""
    long = counts().melt(id_vars=["timestamp", "side"], var_name="metric")
    again = long[(long["side"] == "canary") & (long["metric"] == "requests")]
    table = pd.concat([long, again, again], ignore_index=True)
    table = table.assign(id=np.arange(len(table))) if numbered else table
    found = judged(table)["errors"].comparison
    assert found.n_canary == counts()[lambda t: t["side"] == "canary"]["requests"].sum()


def test_what_tells_series_apart_is_named_and_not_a_quantity():
    table = pd.concat(
        [counts(seed, shard=seed, cpu=np.random.default_rng(seed).normal(50, 5, 2 * N)) for seed in range(4)]
    )
    with pytest.raises(DataError, match="differ in 'shard', a number, which tells no series apart"):
        judged(table)


@pytest.mark.parametrize("name", ["n", "hits", "count_star()", "anything"])
def test_requests_counted_by_their_outcome_are_no_single_requests(name):
    rng, times = np.random.default_rng(1), pd.date_range("2026-01-05", periods=60, freq="1min", tz="UTC")
    parts = []
    for side, mean, share in (("baseline", 900, 0.01), ("canary", 100, 0.05)):
        total = rng.poisson(mean, 60)
        bad = rng.binomial(total, share)
        for ok, number in ((True, total - bad), (False, bad)):
            parts.append(pd.DataFrame({"timestamp": times, "side": side, "ok": ok, name: number})[number > 0])
    with pytest.raises(DataError, match="are they counts of requests"):
        FrameSource(pd.concat(parts))


def test_a_number_of_single_requests_is_no_count_of_them():
    rng, n = np.random.default_rng(2), 2000
    seconds = {"random": rng.uniform(0, 7200, n).round(3), "probes": np.repeat(np.arange(n // 2) * 10.0, 2)}
    for times in seconds.values():
        FrameSource(
            pd.DataFrame(
                {
                    "timestamp": pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(times, unit="s"),
                    "side": np.tile(["baseline", "canary"], n // 2),
                    "ok": rng.random(n) > 0.02,
                    "status": rng.choice([200, 204], n),
                    **({"retry_count": rng.poisson(0.3, n)} if times is seconds["random"] else {}),
                }
            )
        )


def test_thousands_are_looked_for_in_each_metric_of_a_long_table():
    rng, times = np.random.default_rng(3), pd.date_range("2026-01-05", periods=60, freq="1min", tz="UTC")
    wide = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "requests": rng.poisson(600, 60), "ms": rng.normal(12, 1, 60)})
        for side in ("baseline", "canary")
    ).round({"ms": 3})
    assert FrameSource(wide.melt(["timestamp", "side"], var_name="metric")).names == ("ms", "requests")
    dotted = wide.assign(requests=np.where(wide["requests"] > 620, wide["requests"] / 1000 + 0.5, wide["requests"]))
    with pytest.raises(DataError, match="dots of thousands"):
        FrameSource(dotted.round({"requests": 3}).melt(["timestamp", "side"], var_name="metric"))


@pytest.mark.parametrize("order", [["user", "timestamp"], ["timestamp"]])
def test_items_of_one_page_stand_beside_each_other_in_any_order_of_the_file(order):
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(1000), 1 + rng.poisson(3, 1000))
    one = pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-01-05", tz="UTC")
            + pd.to_timedelta(rng.uniform(1, 86400, user.size).round(3), unit="s"),
            "side": np.where(user % 3 == 0, "canary", "baseline"),
            "user": user.astype(str),
            "impressions": 1,
        }
    )
    pages = one.loc[one.index.repeat(3)].sort_values(order)
    assert FrameSource(pages)._appended_twice()[0] is None
    assert "was a file appended again" in FrameSource(pd.concat([pages, pages]))._appended_twice()[0]


def test_remarks_and_numbers_of_rows_are_no_labels():
    times = pd.date_range("2026-01-05", periods=60, freq="1min", tz="UTC")
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "heap": np.arange(60.0) + 100, "pod": "a"})
        for side in ("baseline", "canary")
    )
    table["note"] = [None] * 30 + ["deploy of search"] + [None] * 89
    table["ingested"] = [f"2026-01-05T00:{k:04}" for k in range(120)]
    assert FrameSource(table)._labels == ["pod"]
    long = table[["timestamp", "side", "heap"]].melt(["timestamp", "side"], var_name="metric")
    assert FrameSource(long.reset_index(names="Unnamed: 0"))._labels == []


@pytest.mark.parametrize("text", ["9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "1500-01-01T00:00:00+00:00"])
def test_a_time_that_means_never_is_named(text, tmp_path):
    (tmp_path / "t.csv").write_text(f"timestamp,side,v\n2026-01-05T00:00:00Z,baseline,1\n{text},canary,2\n")
    with pytest.raises(DataError, match="in row 1 is .* no time of a run; drop such rows"):
        FrameSource(tmp_path / "t.csv")
    frame = pd.DataFrame({"timestamp": [pd.Timestamp(text)], "side": "canary", "v": 1.0})
    frame.to_parquet(tmp_path / "t.parquet")
    for table in (frame, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match="no time of a run; drop such rows"):
            FrameSource(table)


def test_a_date_is_no_time(tmp_path):
    frame = pd.DataFrame({"timestamp": [date(2026, 1, 5)], "side": "canary", "v": 1.0})
    frame.to_parquet(tmp_path / "t.parquet")
    for table in (frame, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match=r"is the date 2026-01-05.*write it as 2026-01-05T00:00:00\+00:00"):
            FrameSource(table)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"baseline": {}}, "baseline is dict; give a DataFrame"),
        ({"metrics": {"name": "m"}}, "metrics is dict; give a list"),
    ],
)
def test_compare_names_what_is_no_table_and_no_list(wrong, told):
    frame = pd.DataFrame({"timestamp": pd.date_range("2026-01-05", periods=9, freq="1min", tz="UTC"), "v": 1.0})
    with pytest.raises(DataError, match=told):
        compare(**{"baseline": frame, "canary": frame, "metrics": [], **wrong})


@pytest.mark.parametrize(("name", "cumulative"), [("stairs", False), ("stock", False), ("counter", True)])
def test_stages_of_a_load_test_and_stocks_are_no_counters(name, cumulative):
    rng = np.random.default_rng(1)
    times = pd.date_range("2026-01-05", periods=60, freq="1D" if name == "stock" else "1min", tz="UTC")
    parts = []
    for side, size in (("baseline", 1.0), ("canary", 0.1)):
        total = {
            "stairs": np.repeat([300, 600, 900, 1200, 1500, 1800], 10),
            "stock": 50_000 * size + np.cumsum(rng.poisson(9, 60)),
            "counter": 50_000 * size + np.cumsum(rng.poisson(90, 60)),
        }[name]
        share = rng.poisson(0.9, 60) if name == "counter" else rng.binomial(total.astype(int), 0.01)
        parts.append(pd.DataFrame({"timestamp": times, "side": side, "requests": total, "errors": share}))
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1d" if name == "stock" else "1m", "metrics": [ERRORS]})
    source = FrameSource(pd.concat(parts))
    reason = judge(config, source, source.window(config.interval))["errors"].reason
    assert ("name it among `counters:`" in reason) is cumulative


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("retry_count", lambda rng, n: rng.poisson(0.3, n)),
        ("country_code", lambda rng, n: rng.integers(100, 900, n)),
        ("total_ms", lambda rng, n: rng.integers(20, 90, n)),
        ("restart_count", lambda rng, n: rng.poisson(0.1, n)),
    ],
)
def test_numbers_of_probes_are_no_counts_of_requests(name, values):
    rng, times = np.random.default_rng(5), pd.date_range("2026-01-05", periods=720, freq="30s", tz="UTC")
    FrameSource(
        pd.concat(
            pd.DataFrame({"timestamp": times, "side": side, "ok": rng.random(720) > 0.02, name: values(rng, 720)})
            for side in ("baseline", "canary")
        )
    )


def test_orders_of_one_minute_with_ids_are_single_ones():
    rng = np.random.default_rng(6)
    times = pd.date_range("2026-01-05", periods=60, freq="1min", tz="UTC").repeat(50)
    FrameSource(
        pd.concat(
            pd.DataFrame(
                {
                    "timestamp": times,
                    "side": side,
                    "ok": rng.random(3000) > 0.02,
                    "order": [f"{side[0]}{k}" for k in range(3000)],
                    "requests_count": rng.integers(1, 30, 3000),
                }
            )
            for side in ("baseline", "canary")
        )
    )
