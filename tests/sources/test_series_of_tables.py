"""The series of a table: told apart once, whatever is asked of it look by look; and columns that tell none apart."""

from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import DataError
from canary_judge.history import record
from canary_judge.results import Verdict
from canary_judge.sources import FrameSource
from canary_judge.sources.tables import Table

START, MINUTE = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=1)
WINDOW = Window(START, START + 60 * MINUTE)
METRICS = [
    {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase", "margin": "1.5x"},
    {"name": "cpu", "kind": "gauge", "query": "cpu", "by": "pod", "harm": "increase", "margin": "20%"},
]
CONFIG = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": METRICS})


def pods(*, long=False, counters=False):
    rng = np.random.default_rng(1)
    parts = []
    for side, count in (("baseline", 3), ("canary", 2)):
        for pod in range(count):
            times = pd.date_range(START, periods=60, freq="1min") + pd.Timedelta("30s")
            requests = rng.poisson(500, 60)
            columns = {"requests": requests, "errors": rng.binomial(requests, 0.02), "cpu": rng.normal(5, 0.1, 60)}
            if counters:
                columns |= {name: columns[name].cumsum() for name in ("requests", "errors")}
            labels = {"timestamp": times, "side": side, "pod": f"{side}-{pod}"}
            parts.append(pd.DataFrame(labels | columns))
    table = pd.concat(parts, ignore_index=True).sort_values("timestamp", kind="stable", ignore_index=True)
    return table.melt(["timestamp", "side", "pod"], var_name="metric") if long else table


def told(source, window):
    found = source.fetch(list(CONFIG.queries()), window)
    return [[(dict(s.labels), s.timestamps.tolist(), s.values.tolist()) for s in one.series] for one in found]  # noqa: PD011


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("counters", [False, True])
def test_each_look_reads_the_rows_of_its_intervals(long, counters):
    table, names = pods(long=long, counters=counters), ["requests", "errors"] if counters else []
    source = FrameSource(table, counters=names)
    once = judge(CONFIG, source, WINDOW)
    for end in (7, 30, 60):
        window = Window(START + MINUTE, START + end * MINUTE)
        before = table[table.timestamp <= window.end]
        assert told(source, window) == told(FrameSource(before, counters=names), window)
    monitor = Monitor(CONFIG, start=START)
    for k in range(1, 61):
        last = monitor.look(source, START + k * MINUTE)
    for metric, whole in zip(last.metrics, once.metrics, strict=True):
        assert metric.comparison.baseline == pytest.approx(whole.comparison.baseline)
        assert metric.comparison.canary == pytest.approx(whole.comparison.canary)


def test_a_table_is_taken_apart_once_however_many_looks_are_recorded(monkeypatch):
    asked, groups = [], Table.groups
    monkeypatch.setattr(
        Table, "groups", lambda table, names, rows: asked.append(len(rows)) or groups(table, names, rows)
    )
    record(CONFIG, FrameSource(pods()), WINDOW, every="1m", horizon="1h")
    assert len(asked) == 2  # once a side, all columns of a row being of the same series


def test_nested_columns_tell_no_series_apart(tmp_path):
    table = pods()
    table["tags"] = [["a", "b"] if k % 2 else None for k in range(len(table))]
    table["more"] = [{"k": k} for k in range(len(table))]
    table.to_parquet(tmp_path / "nested.parquet", index=False)
    plain = judge(CONFIG, FrameSource(pods()), WINDOW)
    assert plain.verdict is Verdict.PASS
    for source in (FrameSource(table), FrameSource(tmp_path / "nested.parquet")):
        found = judge(CONFIG, source, WINDOW)
        assert [one.comparison for one in found.metrics] == [one.comparison for one in plain.metrics]


def test_an_infinite_time_of_a_database_is_no_time_of_a_run(tmp_path):
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'infinity'::TIMESTAMPTZ AS timestamp, 'canary' AS side, 1.0 AS requests) "
            f"TO '{tmp_path}/never.parquet'"
        )
    with pytest.raises(DataError, match="a timestamp is infinity, which is no time of a run; drop such rows"):
        FrameSource(tmp_path / "never.parquet")
