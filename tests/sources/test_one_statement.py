"""One statement that answers both counts of a metric; and DuckDB, which counts files before Python sees a row."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import ConfigError
from canary_judge.results import Verdict
from canary_judge.sources import FrameSource
from canary_judge.sources.sql import SqlSource

START, STEP = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=1)
WINDOW = Window(START, START + 30 * STEP)
BOTH = """
SELECT cast(at / 60 AS int) * 60 AS time, count(*) AS total, sum(failed) AS events FROM requests
WHERE at > :start_epoch AND at <= :end_epoch AND side = '${side}' GROUP BY 1
"""


def config(events=BOTH, total=BOTH, kind="ratio", **more):
    second = "total" if kind == "ratio" else "exposure"
    metric = {"name": "errors", "kind": kind, "events": events, second: total, "harm": "increase", "margin": "1.5x"}
    sides = {side: {"side": side} for side in ("baseline", "canary")}
    return JudgeConfig.from_mapping({"name": "shop", "interval": "1m", **sides, "metrics": [metric], **more})


def requests(times_as_bad=1.0):
    """Single requests of half an hour, of which 2 % fail."""
    rng = np.random.default_rng(3)
    parts = []
    for side, number, bad in (("baseline", 40_000, 0.02), ("canary", 20_000, 0.02 * times_as_bad)):
        # none on the full minute, which a bucket counts by its start and the judge by its end
        at = START.timestamp() + np.sort(rng.uniform(0, 1799.9, number)).round(3) + 0.0005
        parts.append(pd.DataFrame({"at": at, "side": side, "failed": (rng.random(number) < bad).astype(int)}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def shop(tmp_path):
    """The same requests in SQLite, and what is sent to it."""
    made = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=sqlalchemy.NullPool)
    requests().to_sql("requests", made, index=False)
    sent = []
    sqlalchemy.event.listen(made, "before_cursor_execute", lambda *told: sent.append(told[2]))
    return made, sent


def test_one_statement_answers_both_counts_and_is_sent_once_for_a_side(shop):
    made, sent = shop
    once = judge(config(), SqlSource(made, time_is="bucket_start"), WINDOW)
    assert len([text for text in sent if "count(*)" in text]) == 2
    alone = config(BOTH.replace("count(*) AS total, ", ""), BOTH.replace(", sum(failed) AS events", ""))
    twice = judge(alone, SqlSource(made, time_is="bucket_start"), WINDOW)
    assert len([text for text in sent if "requests" in text]) == 2 + 4
    assert once.verdict is Verdict.PASS
    assert once.metrics[0].comparison == twice.metrics[0].comparison


def test_two_metrics_share_the_statement_of_their_total(shop):
    made, sent = shop
    both = config()
    slow = both.metrics[0].model_copy(update={"name": "slow"})
    twofold = both.model_copy(update={"metrics": (*both.metrics, slow)})
    judge(twofold, SqlSource(made, time_is="bucket_start"), WINDOW)
    assert len([text for text in sent if "count(*)" in text]) == 2


def test_a_rate_and_its_exposure_in_one_statement(shop):
    text = BOTH.replace("AS total", "AS exposure")
    found = judge(config(text, text, kind="rate"), SqlSource(shop[0], time_is="bucket_start"), WINDOW)
    assert found.verdict is Verdict.PASS
    assert found.metrics[0].comparison.canary == pytest.approx(0.02, rel=0.1)


def test_a_column_that_answers_tells_no_series_apart(shop):
    made, _ = shop
    for part in ("events", "total"):
        beside = config(BOTH, BOTH.replace("sum(failed) AS events", "7 AS value"))
        queries = [query for query in beside.queries() if query.part == part]
        for found in SqlSource(made, time_is="bucket_start").fetch(queries, WINDOW):
            assert [dict(one.labels) for one in found.series] == [{}]


@pytest.mark.parametrize("column", ["value", "orders"])
def test_a_statement_for_both_counts_must_name_both(shop, column):
    text = BOTH.replace("AS total", f"AS {column}").replace("WHERE", "WHERE 'total' <> '' AND")
    found = judge(config(text, text), SqlSource(shop[0], time_is="bucket_start"), WINDOW)
    assert found.verdict is not Verdict.PASS
    assert "the statement gives no column `total`; its columns are time" in found.metrics[0].reason


@pytest.mark.parametrize(
    ("events", "total", "kind"),
    [
        ("sum(rate(x[1m]))", "sum(rate(x[1m]))", "ratio"),
        ("sum(rate(x[1m]))", "sum(rate(x[1m]))", "rate"),
        ("orders", "orders", "rate"),
        (BOTH.replace("total", "value"), BOTH.replace("total", "value"), "ratio"),
        (BOTH.replace("total", "value -- total\n"), BOTH.replace("total", "value -- total\n"), "ratio"),
        ("/* a */" * 60 + "nothing", "/* a */" * 60 + "nothing", "ratio"),
        ({"baseline": "a", "canary": "b"}, {"baseline": "c", "canary": "b"}, "ratio"),
    ],
)
def test_the_same_query_for_both_counts_is_refused(events, total, kind):
    with pytest.raises(ConfigError, match=r"`events` and `(total|exposure)` are both"):
        config(events, total, kind)


@pytest.mark.parametrize("behind", ["; delete from requests", "; select 1 as time, 2 as value", "; -- no\n select 1"])
def test_more_than_one_statement_is_refused(shop, behind):
    text = BOTH + behind
    found = judge(config(text, text), SqlSource(shop[0], time_is="bucket_start"), WINDOW)
    assert "behind the `;` of the statement" in found.metrics[0].reason
    for harmless in (";", " ;\n", "; -- that is all"):
        found = judge(config(BOTH + harmless, BOTH + harmless), SqlSource(shop[0], time_is="bucket_start"), WINDOW)
        assert found.verdict is Verdict.PASS


@pytest.mark.parametrize("times_as_bad", [1.0, 3.0])
@pytest.mark.parametrize(("kind", "url"), [("parquet", "duckdb://"), ("csv", "duckdb:///:memory:?threads=1")])
def test_duckdb_counts_a_file_as_it_is_read_here(tmp_path, kind, url, times_as_bad):
    pytest.importorskip("duckdb_engine")
    rows = requests(times_as_bad)
    path = tmp_path / f"requests.{kind}"
    times = pd.to_datetime(rows["at"], unit="s", utc=True)
    table = pd.DataFrame({"timestamp": times, "side": rows["side"], "ok": rows["failed"] == 0})
    table.to_parquet(path, index=False) if kind == "parquet" else table.to_csv(path, index=False)
    counts = f"""
        SELECT time_bucket(INTERVAL '1 minute', "timestamp") AS time, count(*) AS total, count_if(NOT ok) AS events
        FROM read_{kind}('{path}')
        WHERE "timestamp" > :start AND "timestamp" <= :end AND side = '${{side}}' GROUP BY 1
    """
    counted = config(counts, counts)
    by_duckdb = judge(counted, SqlSource(url, time_is="bucket_start"), WINDOW)
    by_us = judge(config("errors", "requests"), FrameSource(path), WINDOW)
    assert by_duckdb.verdict is (Verdict.PASS if times_as_bad == 1 else Verdict.FAIL)
    assert by_duckdb.verdict is by_us.verdict
    assert by_duckdb.metrics[0].comparison == by_us.metrics[0].comparison


PRINTING = """
from canary_judge.sources.sql import SqlSource
from tests.sources.test_one_statement import WINDOW, config
said = (
    "SELECT to_timestamp(:start_epoch) AS time, count_if(sin(range) > 2) AS events, count(*) AS total "
    "FROM range(60000000) WHERE :end_epoch > 0 AND '${side}' <> ''"
)
for found in SqlSource("duckdb://?threads=1", time_is="bucket_start").fetch(list(config(said, said).queries()), WINDOW):
    assert found.error is None and found.series, found
print("answered")
"""


def test_duckdb_prints_nothing_where_our_answer_is():
    pytest.importorskip("duckdb_engine")
    done = subprocess.run([sys.executable, "-c", PRINTING], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("answered\n", "")  # a bar comes after two seconds


SEPARATE = [
    BOTH.replace("count(*) AS total, sum(failed) AS events", "count(*) AS events").replace("WHERE", "WHERE failed AND"),
    BOTH.replace(", sum(failed) AS events", ""),
]


def test_rows_of_events_that_stopped_coming_on_both_sides_are_told(shop):
    made, _ = shop
    with made.begin() as connection:
        gone = START.timestamp() + 900
        connection.exec_driver_sql(f"update requests set failed = 0 where at > {gone}")
        connection.exec_driver_sql(f"update requests set failed = 1 where at > {gone} and side = 'canary'")
        connection.exec_driver_sql(f"create table failures as select * from requests where failed and at <= {gone}")
    late = [SEPARATE[0].replace("FROM requests", "FROM failures"), SEPARATE[1]]
    found = judge(config(*late), SqlSource(made, time_is="bucket_start"), WINDOW)
    assert any("neither side has an event in the last 15 intervals" in one for one in found.metrics[0].warnings)


def test_an_interval_without_a_row_of_rare_events_had_none_and_needs_no_word(shop):
    found = judge(config(*SEPARATE), SqlSource(shop[0], time_is="bucket_start"), WINDOW)
    assert found.verdict is Verdict.PASS
    assert not any("without a value of the events" in text for text in found.metrics[0].warnings)


def test_looks_without_a_row_of_rare_events_had_none_either(shop):
    monitor, source = Monitor(config(*SEPARATE), start=START), SqlSource(shop[0], time_is="bucket_start")
    with shop[0].begin() as connection:
        connection.exec_driver_sql("update requests set failed = 0 where cast(at / 60 as int) % 3 = 0")
    for k in range(1, 31):
        found = monitor.look(source, START + k * STEP)
    assert (found.metrics[0].quality.absent_events_baseline, found.metrics[0].quality.absent_events_canary) == (0, 0)
    assert found.verdict is Verdict.PASS


def test_times_as_text_that_do_not_sort_are_told(tmp_path):
    made = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'text.db'}", poolclass=sqlalchemy.NullPool)
    rows = requests().head(20_000)
    text = """
    SELECT at AS time, count(*) AS total, sum(failed) AS events FROM requests
    WHERE at > :start AND at <= :end AND side = '${side}' GROUP BY 1
    """
    for form, odd in (("%Y-%m-%dT%H:%M:%S", True), ("%Y-%m-%d %H:%M:%S", False)):
        written = pd.to_datetime(rows["at"], unit="s").dt.strftime(form)
        rows.assign(at=written).to_sql("requests", made, index=False, if_exists="replace")
        night = Window(START, START + 13 * 60 * STEP)  # a `T` of this day sorts before the next one
        (found, *_) = SqlSource(made, timezone="UTC", time_is="moment").fetch(list(config(text, text).queries()), night)
        assert found.series
        assert found.complete is not odd
        assert any("does not sort beside" in one for one in found.warnings) is odd


def test_rows_of_whole_seconds_are_asked_for_as_their_buckets_hold_them(tmp_path):
    made = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=sqlalchemy.NullPool)
    rows = requests()
    rows.assign(at=np.floor(rows["at"])).to_sql("requests", made, index=False)
    minute = Window(START, START + STEP)

    def fetched(text):
        (found, *_) = SqlSource(made, time_is="bucket_start").fetch(list(config(text, text).queries()), minute)
        return found

    late = fetched(BOTH)
    assert not late.complete
    assert "1 rows of events lie outside of the window" in late.warnings[0]
    assert "a bucket by its start holds what is `>= :start` and `< :end`" in late.warnings[0]
    right = BOTH.replace("at > :start_epoch AND at <= :end_epoch", "at >= :start_epoch AND at < :end_epoch")
    assert (fetched(right).complete, fetched(right).warnings) == (True, ())
    assert judge(config(right, right), SqlSource(made, time_is="bucket_start"), WINDOW).verdict is Verdict.PASS
