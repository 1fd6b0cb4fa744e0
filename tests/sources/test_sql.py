"""The SQL source: the conformance kit, a real PostgreSQL, and what goes wrong in statements and answers."""

import contextlib
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.results import Outcome, Side, Verdict
from canary_judge.series import Form, Query, Reading
from canary_judge.sources import FrameSource, from_config
from canary_judge.sources.sql import SqlSource
from canary_judge.testing.sources import check_that_counters_are_raw_and_carry_their_base, source_checks
from tests.databases import running_mariadb, running_postgres

START, STEP = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=1)
WINDOW = Window(START, START + 30 * STEP)
BETWEEN = "at > :start_epoch and at <= :end_epoch"
ORDERS = f"select at as time, 1 as value from orders where {BETWEEN} and release = '${{version}}'"


def engine(path):
    return sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)


@pytest.fixture
def shop(tmp_path):
    """Visits, and orders of 5 % of them."""
    rng = np.random.default_rng(1)
    made = engine(tmp_path / "shop.db")
    rows = []
    for release, number in (("1", 9000), ("2", 1000)):
        at = START.timestamp() + np.sort(rng.uniform(0, 1800, number)).round(3)
        rows += [(float(t), release, int(o)) for t, o in zip(at, rng.random(number) < 0.05, strict=True)]
    with made.begin() as connection:
        connection.exec_driver_sql("create table visits (at real, release text, ordered integer)")
        connection.execute(
            sqlalchemy.text("insert into visits values (:a, :r, :o)"),
            [dict(zip("aro", row, strict=True)) for row in rows],
        )
        connection.exec_driver_sql("create view orders as select at, release from visits where ordered")
    return made, rows


def ratio(**more):
    metric = {
        "name": "conversion",
        "kind": "ratio",
        "events": ORDERS,
        "total": ORDERS.replace("orders", "visits"),
        "harm": "decrease",
        "margin": "40%",
        **more,
    }
    sides = {"baseline": {"version": "1"}, "canary": {"version": "2"}}
    return JudgeConfig.from_mapping({"name": "shop", "interval": "1m", **sides, "metrics": [metric]})


def query(template, reading=Reading.COUNTS, part="value", **labels):
    return Query(
        metric="m",
        part=part,
        side=Side.CANARY,
        reading=reading,
        expression=template,
        step=STEP,
        template=template,
        labels=tuple(({"version": "2"} | labels).items()),
    )


def answer(source, template, **more):
    (found,) = source.fetch([query(template, **more)], WINDOW)
    return found


def numbers(series):
    return np.asarray(getattr(series, "values"))  # noqa: B009  (no frame)


def test_orders_of_a_database_are_judged_as_those_of_a_table(shop):
    made, rows = shop
    config = ratio()
    found = judge(config, SqlSource(made), WINDOW)
    table = pd.DataFrame(
        {
            "timestamp": pd.to_datetime([at for at, _, _ in rows], unit="s", utc=True),
            "side": ["canary" if release == "2" else "baseline" for _, release, _ in rows],
            "ok": [not ordered for _, _, ordered in rows],
        }
    )
    plain = JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1m",
            "metrics": [
                {
                    "name": "c",
                    "kind": "ratio",
                    "events": "errors",
                    "total": "requests",
                    "harm": "decrease",
                    "margin": "40%",
                }
            ],
        }
    )
    same = judge(plain, FrameSource(table), WINDOW)
    assert found.verdict is same.verdict
    for name in ("events_canary", "n_canary", "events_baseline", "n_baseline", "p_harm", "p_within_margin"):
        assert getattr(found.metrics[0].comparison, name) == getattr(same.metrics[0].comparison, name)


def test_repeated_looks_come_to_the_same_counts(shop):
    config, source = ratio(), SqlSource(shop[0])
    monitor = Monitor(config, start=START)
    for minute in range(1, 34):
        judgement = monitor.look(source, START + minute * STEP)
    whole = judge(config, source, WINDOW).metrics[0].comparison
    assert judgement.metrics[0].comparison.events_canary == whole.events_canary
    assert judgement.metrics[0].comparison.n_baseline == whole.n_baseline


@pytest.fixture(scope="module", params=["sqlite", "duckdb", "postgres", "mariadb"])
def database(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/points.db"
    elif request.param == "duckdb":
        pytest.importorskip("duckdb_engine")
        yield f"duckdb:///{folder}/points.duckdb"
    else:
        with {"postgres": running_postgres, "mariadb": running_mariadb}[request.param](folder) as url:
            yield url


class Harness:
    """Each series as rows of one table."""

    def __init__(self, url):
        self.url = url

    def source(self, data):
        made = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with made.begin() as connection:
            connection.exec_driver_sql("drop table if exists points")
            kinds = "name varchar(40), side varchar(40), happened double precision, value double precision"
            connection.exec_driver_sql(f"create table points ({kinds})")
            rows = [
                {"n": one.name, "s": one.side.value, "a": at, "v": None if np.isnan(value) else value}
                for one in data
                for at, value in one.points
            ]
            connection.execute(sqlalchemy.text("insert into points values (:n, :s, :a, :v)"), rows)
        return SqlSource(made, time_is="moment")

    def expression(self, name, side):
        if not name.replace("_", "").isalnum():
            return name
        inside = BETWEEN.replace("at ", "happened ")
        return (
            f"select happened as time, value from points where {inside} and name = '{name}' and side = '{side.value}'"
        )


@pytest.mark.parametrize(
    "check", [one for one in source_checks() if one is not check_that_counters_are_raw_and_carry_their_base]
)
def test_the_contract_of_sources_holds(check, database):
    """But for counters: what a table counts, it counts in rows."""
    check(Harness(database))


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("delete from visits where at > :start and at < :end", "must begin with SELECT or WITH"),
        ("select 1", "must say `:start` and `:end`"),
        (f"select at, 1 as value from visits where {BETWEEN}", "gives no column `time`; its columns are at, value"),
        (f"select at as time, 1 as number from visits where {BETWEEN}", "no column `value` or `value`"),
        (f"select at as time, 1 as value, 2 as value from visits where {BETWEEN}", "two columns 'value'"),
        (f"select at as time, release as value from visits where {BETWEEN}", "has '1', which is no number"),
        (f"select 'soon' as time, 1 as value from visits where {BETWEEN}", "'soon', which is no time"),
        (f"select '2026-01-01 12:00' as time, 1 as value from visits where {BETWEEN}", "which has no time zone"),
        (f"select at * 1000 as time, 1 as value from visits where {BETWEEN}", "divide milliseconds by 1000"),
        (f"select at as time, 1 as value from missing where {BETWEEN}", "no such table"),
        (f"select at as time 1 from visits where {BETWEEN}", "syntax"),
        (
            f"select at as time, 1 as value from visits where {BETWEEN} and release = :release",
            "`release` is not defined",
        ),
        (f"select at as time, 1 as value from visits where {BETWEEN} and release = ${{typo}}", "`typo` is not defined"),
        (
            f"select at as time, 1 as value from visits where {BETWEEN} and release like 'v${{version}}%'",
            "write it alone",
        ),
        (
            f"select cast(at / 60 as int) * 60 as time, count(*) as value from visits where {BETWEEN} group by 1",
            "Set `time_is",
        ),
        (
            f"select distinct cast(at as int) / 60 * 60 + 30 as time, cast(at as int) / 60 as value from visits where {BETWEEN}",
            "it is cumulative",
        ),
    ],
)
def test_what_a_statement_cannot_mean_is_told(shop, template, told):
    found = answer(SqlSource(shop[0]), template)
    assert found.error is not None
    assert told.replace("`value` or `value`", "`value`") in found.error.replace("`value` or `value`", "`value`")
    assert not found.temporary


def test_the_start_of_a_bucket_is_moved_to_the_interval_that_it_counts(shop):
    made, rows = shop
    buckets = f"select cast(at / 60 as int) * 60 as time, count(*) as value from visits where {BETWEEN} group by 1"
    found = answer(SqlSource(made, time_is="bucket_start"), buckets)
    counted = np.histogram([at for at, _, _ in rows], bins=START.timestamp() + 60 * np.arange(31))[0]
    assert numbers(found.series[0]).tolist() == counted.tolist()
    assert found.series[0].timestamps[0] == (START + STEP).timestamp() * 1e9


def test_an_interval_without_a_row_of_events_had_none(shop):
    rare = f"select at as time, 1 as events from visits where {BETWEEN} and at < :start_epoch + 90"
    found = answer(SqlSource(shop[0]), rare, part="events")
    assert found.series[0].timestamps[-1] == WINDOW.end.timestamp() * 1e9
    assert (numbers(found.series[0])[-28:] == 0).all()
    assert answer(SqlSource(shop[0]), f"{rare} and 0", part="events").series == ()
    plain = answer(SqlSource(shop[0]), rare.replace("events", "value"))
    assert plain.series[0].timestamps[-1] < (START + 2 * STEP).timestamp() * 1e9


def test_a_label_is_a_value_and_never_a_part_of_the_statement(shop):
    made, rows = shop
    for nasty in ("2' or '1'='1", "2; drop table visits", "2' --", '2"', "2\\'", ":start", "${version}"):
        found = answer(SqlSource(made), ORDERS, version=nasty)
        assert found.error is None
        assert found.series == ()
    unquoted = ORDERS.replace("'${version}'", "${version}")
    assert sum(numbers(answer(SqlSource(made), unquoted).series[0])) == sum(o for _, r, o in rows if r == "2")
    with made.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from visits").scalar() == len(rows)


def test_nothing_is_written_whatever_the_statement_does(shop):
    made, rows = shop
    sneaky = f"with gone as (select 1) select at as time, 1 as value from visits where {BETWEEN}; delete from visits"
    assert answer(SqlSource(made), sneaky).error is not None
    with made.begin() as connection:  # and the engine of the caller can still write
        assert connection.exec_driver_sql("select count(*) from visits").scalar() == len(rows)
        connection.exec_driver_sql("insert into visits values (0, '9', 0)")


def test_more_rows_than_may_be_read_are_refused(shop):
    config = ratio().model_copy(update={"max_samples": 100})
    result = judge(config, SqlSource(shop[0]), WINDOW).metrics[0]
    assert result.outcome is Outcome.ERROR
    assert "more than max_samples = 100" in result.reason


def test_other_columns_are_labels_and_nulls_are_undefined(shop):
    levels = f"select at as time, case when ordered then null else 7 end as value, release from visits where {BETWEEN}"
    found = answer(SqlSource(shop[0]), levels, reading=Reading.SAMPLES)
    assert found.form is Form.SAMPLES
    assert [dict(one.labels) for one in found.series] == [{"release": "1"}, {"release": "2"}]
    assert np.isnan(numbers(found.series[1])).any()
    assert set(numbers(found.series[1])[~np.isnan(numbers(found.series[1]))]) == {7.0}


def test_times_without_a_zone_need_one_to_be_said(shop):
    local = f"select '2026-01-01 13:00:30' as time, count(*) as value from visits where {BETWEEN}"
    found = answer(SqlSource(shop[0], timezone="Europe/Berlin"), local)
    assert found.series[0].timestamps[0] == (START + STEP / 2).timestamp() * 1e9
    with pytest.raises(ConfigError, match="timezone: 'Berlin' is none"):
        SqlSource(shop[0], timezone="Berlin")


def test_rows_outside_of_the_window_are_told(shop):
    late = f"select at + 3600 as time, 1 as value from visits where {BETWEEN}"
    found = answer(SqlSource(shop[0]), late)
    assert found.series == ()
    assert "10000 rows of value lie outside of the window" in found.warnings[0]
    assert not found.complete
    edge = f"select :start_epoch as time, 1 as value from visits where {BETWEEN} limit 1"
    inclusive = answer(SqlSource(shop[0], time_is="moment"), edge)
    assert (inclusive.series, inclusive.warnings, inclusive.complete) == ((), (), True)


def test_a_statement_that_takes_too_long_is_no_answer(shop):
    endless = f"with recursive n(x) as (select 1 union all select x + 1 from n where x < 3000000) select max(x) as value, {START.timestamp() + 30} as time from n where :start_epoch < :end_epoch"
    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.05 s"):
        answer(SqlSource(shop[0], timeout=0.05), endless)


def test_a_server_that_is_not_there_is_no_fault_of_the_statement(tmp_path):
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    source = SqlSource(f"postgresql+psycopg://me@/shop?host={tmp_path}")  # no socket in this folder
    with pytest.raises(SourceUnavailable, match="No such file"):
        answer(source, ORDERS)


def test_a_password_is_never_shown(monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    options = {"type": "sql", "url": "postgresql+psycopg://me:${env:SHOP_PASSWORD}@127.0.0.1:1/shop"}
    with contextlib.suppress(ConfigError):  # without its driver there is no source
        source = from_config(options)
        assert "hunter2" not in repr(source)
        with pytest.raises(SourceUnavailable) as caught:
            answer(source, ORDERS)
        assert "hunter2" not in str(caught.value)
    for url in ("nonsense://me:hunter2@host/x", "://hunter2", "postgresql+nodriver://me:hunter2@h/x"):
        with pytest.raises(ConfigError) as refused:
            from_config({"type": "sql", "url": url})
        assert "hunter2" not in str(refused.value)


# --- a real PostgreSQL ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with running_postgres(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture(scope="module")
def warehouse(postgres):
    made = sqlalchemy.create_engine(postgres, poolclass=sqlalchemy.NullPool)
    with made.begin() as connection:
        connection.exec_driver_sql(
            """create table plays as
               select '2026-01-01 12:00+00'::timestamptz + (random() * 1800) * interval '1 second' as at,
                      case when random() < .1 then '2' else '1' end as release, random() < .3 as finished
               from generate_series(1, 20000)"""
        )
    return postgres


PLAYS = "select at as time, 1 as value from plays where at > :start and at <= :end and release = '${version}'"


def test_a_real_postgresql_is_judged(warehouse):
    metric = {
        "name": "finished",
        "kind": "ratio",
        "events": f"{PLAYS} and finished",
        "total": PLAYS,
        "harm": "decrease",
        "margin": "20%",
    }
    sides = {"baseline": {"version": "1"}, "canary": {"version": "2"}}
    config = JudgeConfig.from_mapping(
        {
            "name": "plays",
            "interval": "1m",
            **sides,
            "metrics": [metric],
            "sources": {"default": {"type": "sql", "url": warehouse}},
        }
    )
    found = judge(config, from_config(config.sources["default"]), WINDOW)
    assert found.verdict is Verdict.PASS
    with sqlalchemy.create_engine(warehouse, poolclass=sqlalchemy.NullPool).connect() as connection:
        counted = connection.exec_driver_sql("select count(*) from plays where release = '2'").scalar()
    assert found.metrics[0].comparison.n_canary == counted


def test_buckets_of_a_real_postgresql(warehouse):
    buckets = (
        "select date_trunc('minute', at) as time, count(*) as value from plays "
        "where at > :start and at <= :end group by 1"
    )
    assert "Set `time_is" in answer(SqlSource(warehouse), buckets).error
    found = answer(SqlSource(warehouse, time_is="bucket_start"), buckets)
    assert numbers(found.series[0]).sum() == 20_000
    assert numbers(found.series[0]).size == 30


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_bounds_are_in_the_zone_that_is_named_whatever_the_session_s_is(warehouse, zone):
    """A time without a zone beside a column with one is read in the session's: half of the rows would not be asked for."""
    source = SqlSource(warehouse, timezone="UTC")
    engine = sqlalchemy.create_engine(warehouse, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"alter role me set timezone to '{zone}'")
    try:
        found = answer(source, "select at as time, 1 as value from plays where at > :start and at <= :end")
        assert numbers(found.series[0]).sum() == 20_000
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("alter role me reset timezone")


def test_a_duckdb_reads_bounds_in_the_zone_that_is_named_and_keeps_its_own(tmp_path):
    pytest.importorskip("duckdb_engine")
    engine = sqlalchemy.create_engine("duckdb:///:memory:", poolclass=sqlalchemy.StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("set TimeZone = 'America/New_York'")
        connection.exec_driver_sql("create table plays as select '2026-01-01 12:05:07+00'::timestamptz as moment")
    found = answer(
        SqlSource(engine, timezone="UTC", workers=1),
        "select moment as time, 1 as value from plays where moment > :start and moment <= :end",
    )
    assert numbers(found.series[0]).sum() == 1
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select current_setting('TimeZone')").scalar() == "America/New_York"


@pytest.mark.parametrize(("seconds", "refused"), [(60, False), (3600, True)])
def test_events_in_longer_buckets_than_totals_are_refused(tmp_path, seconds, refused):
    """Else they would be clumps of hundreds, and nothing could ever be told."""
    url = f"sqlite:///{tmp_path}/shop.db"
    rng = np.random.default_rng(1)
    at = pd.DataFrame({"at": 1767268800 + np.sort(rng.uniform(0, 4 * 3600, 20_000))})
    at.to_sql("orders", sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool), index=False)
    text = (
        f"select cast(at / {seconds} as integer) * {seconds} as time, count(*) as events from orders "
        "where at >= :start_epoch and at < :end_epoch group by 1"
    )
    query = Query(
        metric="orders",
        part="events",
        side=Side.CANARY,
        reading=Reading.COUNTS,
        expression="",
        step=STEP,
        template=text,
    )
    (found,) = SqlSource(url, time_is="bucket_start").fetch([query], Window(START, START + timedelta(hours=4)))
    assert ("in steps of 3600 s" in (found.error or "")) is refused


def test_a_real_postgresql_is_not_written_and_not_waited_for_without_end(warehouse):
    sneaky = "with gone as (delete from plays returning at) select at as time, 1 as value from gone where at > :start and at <= :end"
    assert "read-only" in answer(SqlSource(warehouse), sneaky).error
    slow = "select at as time, 1 as value from plays, pg_sleep(30) where at > :start and at <= :end"
    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        answer(SqlSource(warehouse, timeout=0.5), slow)
    assert time.monotonic() - began < 10
