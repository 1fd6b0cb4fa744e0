"""Users counted by databases: the same numbers as from rows, on real servers, and what may go wrong."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from canary_judge import JudgeConfig, Window, judge
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.results import Outcome, Side
from canary_judge.series import PerUser, Query, Reading
from canary_judge.sources import FrameSource, from_config
from canary_judge.sources.sql import SqlSource
from canary_judge.sources.sql_tables import Activity, Assignments
from canary_judge.testing import People
from tests.databases import running_mariadb, running_postgres

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
END = START + 30 * HOUR
SIDE = Activity(table="events", user="user", timestamp="timestamp", side="side")
ASSIGNED = Activity(
    table="events",
    user="user",
    timestamp="timestamp",
    assignments=Assignments(table="exposures", user="user", side="variant", timestamp="since"),
)
ASKED = {
    "clicks": PerUser(numerator="clicks", denominator="impressions"),
    "capped": PerUser(numerator="clicks", denominator="impressions", cap=30),
    "minutes": PerUser(numerator="minutes"),
    "capped minutes": PerUser(numerator="minutes", cap=12),
    "stars": PerUser(numerator="rating", denominator="ratings"),
}


WEEK_BEFORE = Window(START - timedelta(days=7), START)
SPAN = Window(START, END)


def queries(since=START + 6 * HOUR, past=WEEK_BEFORE, asked=ASKED, labels=None):
    return [
        Query(
            metric=name,
            part="users",
            side=side,
            reading=Reading.USERS,
            expression=one.numerator,
            step=HOUR,
            labels=tuple((labels or {}).get(side, {}).items()),
            users=PerUser(numerator=one.numerator, denominator=one.denominator, cap=one.cap, since=since, past=past),
        )
        for name, one in asked.items()
        for side in Side
    ]


def people() -> pd.DataFrame:
    frame = People(users=2000, weights=((0.0, 6.0),), bots=0.001, leak=0.02).draw(7).frame(START)
    frame.loc[frame.index[::50], "user"] = 0
    frame.loc[frame.index[::70], "clicks"] = np.nan
    frame.loc[frame.index[::90], ["minutes", "impressions"]] = np.nan
    return frame


@pytest.fixture(scope="module")
def frame():
    return people()


def exposures(frame: pd.DataFrame) -> pd.DataFrame:
    """A row whenever a user is on another side than before."""
    run = frame[frame.timestamp > START]
    moved = run.groupby("user").side.transform(lambda side: side != side.shift())
    return pd.DataFrame({"user": run.user, "variant": run.side, "since": run.timestamp})[moved.to_numpy()]


def same(one, two):
    """Two answers, number by number."""
    for a, b in zip(one, two, strict=True):
        assert a.error is None, a.error
        assert b.error is None, b.error
        for part in ("whole", "early", "late"):
            x, y = getattr(a.moments, part), getattr(b.moments, part)
            assert x.users == y.users
            np.testing.assert_allclose(y.mean, x.mean, rtol=1e-10)
            np.testing.assert_allclose(y.covariance, x.covariance, rtol=1e-10, atol=1e-10 * np.abs(x.covariance).max())
            assert y.largest_share == pytest.approx(x.largest_share, rel=1e-10)
        assert b.moments.capped == pytest.approx(a.moments.capped, rel=1e-9)
        for name in (
            "strays",
            "strayed",
            "anonymous",
            "rows",
            "odd",
            "undefined",
            "known",
            "before",
            "earliest",
            "latest",
            "since",
            "until",
        ):
            assert getattr(a.moments, name) == getattr(b.moments, name), name


def as_seconds(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].dt.as_unit("us").astype("int64") / 1e6 for name in columns})


def as_naive(frame: pd.DataFrame, zone: str, *columns: str) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].dt.tz_convert(zone).dt.tz_localize(None) for name in columns})


@contextmanager
def sqlite(folder, frame):
    url = f"sqlite:///{folder}/shop.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    as_seconds(frame, "timestamp").to_sql("events", engine, index=False)
    as_seconds(exposures(frame), "since").to_sql("exposures", engine, index=False)
    yield url, {}


@contextmanager
def sqlite_with_texts(folder, frame):
    url = f"sqlite:///{folder}/texts.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    as_naive(frame, "UTC", "timestamp").to_sql("events", engine, index=False)
    as_naive(exposures(frame), "UTC", "since").to_sql("exposures", engine, index=False)
    yield url, {"timezone": "UTC"}


@contextmanager
def duckdb(folder, frame):
    found = pytest.importorskip("duckdb")
    pytest.importorskip("duckdb_engine")
    connection = found.connect(f"{folder}/shop.duckdb")
    connection.register("rows_", frame)
    connection.register("assigned_", exposures(frame))
    connection.execute("create table events as select * from rows_")
    connection.execute("create table exposures as select * from assigned_")
    connection.close()
    yield f"duckdb:///{folder}/shop.duckdb", {}


@contextmanager
def duckdb_naive(folder, frame):
    found = pytest.importorskip("duckdb")
    pytest.importorskip("duckdb_engine")
    connection = found.connect(f"{folder}/naive.duckdb")
    rows = as_naive(frame, "America/New_York", "timestamp")
    connection.register("rows_", rows)
    connection.register("assigned_", as_naive(exposures(frame), "America/New_York", "since"))
    connection.execute("create table events as select * from rows_")
    connection.execute("create table exposures as select * from assigned_")
    connection.close()
    yield f"duckdb:///{folder}/naive.duckdb", {"timezone": "America/New_York"}


@contextmanager
def postgres(folder, frame):
    with running_postgres(folder) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        frame.to_sql("events", engine, index=False, method="multi", chunksize=5000)
        exposures(frame).to_sql("exposures", engine, index=False, method="multi", chunksize=5000)
        yield url, {}


@contextmanager
def mariadb(folder, frame):
    with running_mariadb(folder) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        kinds = {"timestamp": sa.dialects.mysql.DATETIME(fsp=6)}
        as_naive(frame, "UTC", "timestamp").to_sql(
            "events", engine, index=False, dtype=kinds, method="multi", chunksize=5000
        )
        kinds = {"since": sa.dialects.mysql.DATETIME(fsp=6)}
        as_naive(exposures(frame), "UTC", "since").to_sql("exposures", engine, index=False, dtype=kinds)
        yield url, {"timezone": "UTC"}


STORES = [sqlite, sqlite_with_texts, duckdb, duckdb_naive, postgres, mariadb]


@pytest.fixture(scope="module", params=STORES, ids=lambda store: store.__name__)
def store(request, tmp_path_factory, frame):
    with request.param(tmp_path_factory.mktemp("store"), frame) as found:
        yield found


def test_a_database_counts_as_rows_are_counted(store, frame):
    url, options = store
    window = Window(START + 3 * HOUR, END)
    for asked in (queries(), queries(past=None), queries(since=None)):
        same(FrameSource(frame).fetch(asked, window), SqlSource(url, activity=SIDE, **options).fetch(asked, window))


def test_a_table_of_assignments_says_the_same(store, frame):
    url, options = store
    window, asked = Window(START, END), queries(since=START + HOUR)
    one = FrameSource(frame[frame.user != 0]).fetch(asked, window)
    two = SqlSource(url, activity=ASSIGNED, **options).fetch(asked, window)
    for a, b in zip(one, two, strict=True):
        assert a.moments.whole.users == b.moments.whole.users
        np.testing.assert_allclose(b.moments.whole.mean, a.moments.whole.mean, rtol=1e-10)
        np.testing.assert_allclose(b.moments.whole.covariance, a.moments.whole.covariance, rtol=1e-9, atol=1e-9)
        assert a.moments.strays == b.moments.strays


@pytest.fixture
def shop(tmp_path, frame):
    with sqlite(tmp_path, frame) as (url, _):
        yield url


ORDERS = "select timestamp as time, clicks as value from events where timestamp > :start_epoch and timestamp <= :end_epoch and side = '${version}'"
SHOWN = ORDERS.replace("clicks", "impressions")


def ordinary() -> JudgeConfig:
    return JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1h",
            "baseline": {"version": "baseline"},
            "canary": {"version": "canary"},
            "metrics": [
                {
                    "name": "clicks",
                    "kind": "ratio",
                    "events": ORDERS,
                    "total": SHOWN,
                    "harm": "decrease",
                    "margin": "50%",
                }
            ],
        }
    )


def told(source, asked=None, window=SPAN) -> str:
    return source.fetch(asked or queries(), window)[0].error or ""


def test_a_judgement_from_a_config(shop, monkeypatch):
    monkeypatch.setenv("SHOP", shop)
    metric = {
        "name": "clicks",
        "kind": "ratio",
        "events": "clicks",
        "total": "impressions",
        "unit_of_replication": "user",
        "harm": "decrease",
        "margin": "60%",
        "source": "warehouse",
    }
    config = JudgeConfig.from_mapping(
        {
            "name": "feed",
            "interval": "1h",
            "history": "7d",
            "metrics": [metric],
            "sources": {
                "warehouse": {
                    "type": "sql",
                    "url": "${env:SHOP}",
                    "table": "events",
                    "user": "user",
                    "timestamp": "timestamp",
                    "side": "side",
                }
            },
        }
    )
    source = {"warehouse": from_config(config.sources["warehouse"])}
    found = judge(config, source, Window(START, START + 48 * HOUR))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "users were seen on the canary, at least 100" in found.reason
    assert any("users were seen on both sides and are left out" in text for text in found.warnings)


def test_the_side_may_be_a_version(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/v.db"
    renamed = (
        as_seconds(frame, "timestamp")
        .rename(columns={"side": "release"})
        .replace({"release": {"baseline": "1.4", "canary": "1.5"}})
    )
    renamed.to_sql("events", sa.create_engine(url, poolclass=sa.NullPool), index=False)
    activity = Activity(table="events", user="user", timestamp="timestamp", side="release")
    labels = {Side.BASELINE: {"release": "1.4", "pod": "x"}, Side.CANARY: {"release": "1.5"}}
    same(
        FrameSource(frame).fetch(queries(), Window(START, END)),
        SqlSource(url, activity=activity).fetch(queries(labels=labels), Window(START, END)),
    )
    alike = {side: {"release": "1.5"} for side in Side}
    assert "both sides are called '1.5'" in told(SqlSource(url, activity=activity), queries(labels=alike))


def test_a_side_that_is_called_otherwise_is_told(shop, frame):
    labels = {Side.BASELINE: {"side": "baseline"}, Side.CANARY: {"side": "cannary"}}
    for activity in (SIDE, ASSIGNED):
        named = {side: {"variant": one["side"]} for side, one in labels.items()} if activity is ASSIGNED else labels
        found = SqlSource(shop, activity=activity).fetch(queries(labels=named), Window(START, END))
        (text,) = found[1].warnings
        assert text.startswith("no row has 'cannary' for the canary; the table's sides are 'baseline' (")
        assert "'canary' (" in text
    # what has only not begun is no mistake
    before = Window(START - 6 * HOUR, START - 5 * HOUR)
    early = SqlSource(shop, activity=SIDE).fetch(queries(since=before.start, past=None), before)
    assert [one.warnings for one in early] == [()] * len(early)


@pytest.mark.parametrize("other", ["Canary", "canary ", " CANARY"])
def test_rows_of_a_side_that_is_spelt_otherwise_are_not_left_out_in_silence(tmp_path, frame, other):
    moved = (frame["side"] == "canary") & (frame["user"].astype(str).str[-1] == "3")
    with sqlite(tmp_path, frame.assign(side=frame["side"].mask(moved, other))) as (url, _):
        found = SqlSource(url, activity=SIDE).fetch(queries(), SPAN)
    assert all(f"the canary is 'canary', and rows that say {other!r} (" in one.error for one in found)
    few = moved & (np.arange(len(frame)) < 2)
    (tmp_path / "few").mkdir()
    with sqlite(tmp_path / "few", frame.assign(side=frame["side"].mask(few, other))) as (url, _):
        assert not any(one.error for one in SqlSource(url, activity=SIDE).fetch(queries(), SPAN))


@pytest.mark.parametrize("value", ["1.5' or '1'='1", 'x"; drop table events; --', "${user}", "a\\'b", ":since"])
def test_no_value_becomes_a_part_of_the_statement(shop, frame, value):
    activity = Activity(table="events", user="user", timestamp="timestamp", side="side")
    labels = {Side.BASELINE: {}, Side.CANARY: {"side": value}}
    found = SqlSource(shop, activity=activity).fetch(queries(labels=labels), Window(START, END))
    assert [one.error for one in found] == [None] * len(found)
    assert found[1].moments.rows == 0
    assert found[0].moments.rows > 0


def test_names_are_quoted(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/odd.db"
    odd = as_seconds(frame, "timestamp").rename(columns={"user": "select", "side": "group", "timestamp": "at time"})
    odd.to_sql('the "events"', sa.create_engine(url, poolclass=sa.NullPool), index=False)
    activity = Activity(table='the "events"', user="select", timestamp="at time", side="group")
    same(
        FrameSource(frame).fetch(queries(), Window(START, END)),
        SqlSource(url, activity=activity).fetch(queries(), Window(START, END)),
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"table": "event"}, "no such table"),
        ({"user": "person"}, "person"),
        ({"timestamp": "when_"}, "when_"),
        ({"side": "variant"}, "variant"),
        ({"timestamp": "side"}, "no time"),
    ],
)
def test_what_is_misspelt_is_an_error_of_the_metric(shop, change, text):
    source = SqlSource(
        shop,
        activity=Activity(**{"table": "events", "user": "user", "timestamp": "timestamp", "side": "side", **change}),
    )
    assert text in told(source)


def test_columns_that_are_not_there_and_expressions(shop, frame):
    source = SqlSource(shop, activity=SIDE)
    assert "klicks" in told(source, queries(asked={"m": PerUser(numerator="klicks")}))
    assert "has a label" in told(
        source, queries(asked={"m": PerUser(numerator="case when x = '${version}' then 1 end")})
    )
    expression = {"m": PerUser(numerator="case when clicks > 0 then 1 else 0 end", denominator="1")}
    rows = frame.assign(some=(frame.clicks > 0).astype(float), one=1.0)
    plain = {"m": PerUser(numerator="some", denominator="one")}
    same(
        FrameSource(rows).fetch(queries(asked=plain), Window(START, END)),
        source.fetch(queries(asked=expression), Window(START, END)),
    )


@pytest.mark.parametrize(("numerator", "refused"), [
    ("whole / 7", True), ("whole/seven", True), ("1.0 * whole / 7", False), ("minutes / 7", False),
    ("cast(whole / 7 as integer)", False), ("whole", False), ("(side = 'a/b')", False), ("whole /* of 7 */", False),
    ("case when 1.0 * whole / 7 > 2 then 1 else 0 end", False), ("length('a / b')", False),
])  # fmt: skip
def test_whole_numbers_are_not_divided_without_a_remainder(tmp_path, frame, numerator, refused):
    rows = frame.assign(whole=np.arange(len(frame)) % 50, seven=7)
    with sqlite(tmp_path, rows) as (url, _):
        error = told(SqlSource(url, activity=SIDE), queries(asked={"m": PerUser(numerator=numerator)}))
    assert error == (
        f"'{numerator}' gives whole numbers: this database divides whole columns without a remainder. Write "
        f"1.0 * {numerator}"
        if refused
        else ""
    )


def test_without_a_table_users_are_nowhere(shop):
    assert "needs the `table` of the source" in told(SqlSource(shop))


def test_times_without_a_zone_need_one_to_be_said(tmp_path, frame):
    with sqlite_with_texts(tmp_path, frame) as (url, _):
        assert "no time zone" in told(SqlSource(url, activity=SIDE))
        assert "no time zone" not in told(SqlSource(url, activity=SIDE, timezone="UTC"))
    url = f"sqlite:///{tmp_path}/iso.db"
    frame.head(50).assign(timestamp=[one.isoformat() for one in frame.timestamp.head(50)]).to_sql(
        "events", sa.create_engine(url, poolclass=sa.NullPool), index=False
    )
    assert "does not sort by time" in told(SqlSource(url, activity=SIDE))
    milliseconds = f"sqlite:///{tmp_path}/ms.db"
    as_seconds(frame.head(50), "timestamp").assign(timestamp=lambda one: 1000 * one.timestamp).to_sql(
        "events", sa.create_engine(milliseconds, poolclass=sa.NullPool), index=False
    )
    assert "divide milliseconds by 1000" in told(SqlSource(milliseconds, activity=SIDE))


def test_an_empty_table_is_told(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/none.db"
    as_seconds(frame.head(0), "timestamp").to_sql("events", sa.create_engine(url, poolclass=sa.NullPool), index=False)
    assert "no row" in told(SqlSource(url, activity=SIDE))


def test_a_time_without_rows_has_no_users(shop):
    found = SqlSource(shop, activity=SIDE).fetch(
        queries(since=None, past=None), Window(START + 100 * HOUR, START + 101 * HOUR)
    )
    assert [one.error for one in found] == [None] * len(found)
    assert {one.moments.whole.users for one in found} == {0}
    assert {one.moments.latest for one in found} == {None}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"side": "side"}, "table: is missing"),
        (
            {"table": "t", "side": "s", "assignments": {"table": "a", "user": "u", "side": "s", "timestamp": "t"}},
            "give one of them",
        ),
        ({"table": "t", "assignments": {"table": "a"}}, "assignments"),
        ({"delay": "soon"}, "delay"),
        ({"every": "-1h"}, "every"),
        ({"max_bytes": 1000}, "only BigQuery has"),
        ({"tabel": "t"}, "did you mean 'table'"),
        ({"timezone": "Mars"}, "timezone"),
    ],
)
def test_options_that_cannot_be_meant(options, text):
    with pytest.raises(ConfigError, match=text.replace("?", r"\?")):
        from_config({"type": "sql", "url": "sqlite://", **options})


def test_a_statement_that_takes_too_long_is_no_answer(tmp_path, frame):
    with running_postgres(tmp_path) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        frame.head(10).to_sql("rows", engine, index=False)
        with engine.begin() as connection:
            connection.exec_driver_sql('create view events as select "rows".* from "rows", pg_sleep(5)')
        with pytest.raises(SourceUnavailable):
            SqlSource(url, activity=SIDE, timeout=0.5).fetch(queries(), Window(START, END))


def test_what_would_be_sent_can_be_read(shop):
    (text,) = SqlSource(shop, activity=SIDE).statements(queries(), Window(START, END))
    assert "MATERIALIZED" in text
    assert "'canary'" in text
    assert ":" not in text.replace("'", "")
    # both sides of a metric are counted at once
    assert [f" AS whole_x{place}," in text for place in range(len(ASKED) + 1)] == [*[True] * len(ASKED), False]


@pytest.mark.parametrize("name", ["users", "activity", "past", "history"])
def test_tables_may_have_any_name(tmp_path, frame, name):
    url = f"sqlite:///{tmp_path}/n.db"
    as_seconds(frame, "timestamp").to_sql(name, sa.create_engine(url, poolclass=sa.NullPool), index=False)
    activity = Activity(table=name, user="user", timestamp="timestamp", side="side")
    assert told(SqlSource(url, activity=activity)) == ""


def test_texts_are_no_numbers(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/t.db"
    as_seconds(frame.head(60), "timestamp").assign(clicks="1,234").to_sql(
        "events", sa.create_engine(url, poolclass=sa.NullPool), index=False
    )
    assert "column 'clicks' has the text" in told(SqlSource(url, activity=SIDE))


def test_times_of_another_form_further_down_are_seen(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/m.db"
    rows = as_naive(frame.head(400), "UTC", "timestamp")
    rows["timestamp"] = [one.isoformat(sep="T" if place > 300 else " ") for place, one in enumerate(rows.timestamp)]
    rows.to_sql("events", sa.create_engine(url, poolclass=sa.NullPool), index=False)
    assert "does not sort by time" in told(SqlSource(url, activity=SIDE, timezone="UTC"))


def test_assignments_in_other_times_cannot_be_compared(tmp_path, frame):
    url = f"sqlite:///{tmp_path}/a.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    as_seconds(frame, "timestamp").to_sql("events", engine, index=False)
    as_naive(exposures(frame), "UTC", "since").to_sql("exposures", engine, index=False)
    assert "they cannot be compared" in told(SqlSource(url, activity=ASSIGNED, timezone="UTC"))


@pytest.mark.parametrize(("seconds", "before"), [(-1, True), (0, False), (1, False)])
def test_who_is_assigned_as_the_run_begins_was_not_there_before(tmp_path, frame, seconds, before):
    url = f"sqlite:///{tmp_path}/a.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    as_seconds(frame, "timestamp").to_sql("events", engine, index=False)
    given = exposures(frame).assign(since=START + timedelta(seconds=seconds)).drop_duplicates("user")
    as_seconds(given, "since").to_sql("exposures", engine, index=False)
    found = SqlSource(url, activity=ASSIGNED).fetch(queries(since=START), SPAN)
    number = int((given.variant == "canary").sum()) if before else 0
    assert max(one.moments.before for one in found) == number


def test_the_hour_in_which_clocks_are_changed_is_refused(tmp_path):
    day = datetime(2026, 10, 25, tzinfo=UTC)
    rows = pd.DataFrame(
        {
            "timestamp": pd.date_range(day, periods=30, freq="10min"),
            "side": ["baseline", "canary"] * 15,
            "user": range(1, 31),
            "minutes": 1.0,
        }
    )
    url = f"sqlite:///{tmp_path}/dst.db"
    as_naive(rows, "Europe/Berlin", "timestamp").to_sql(
        "events", sa.create_engine(url, poolclass=sa.NullPool), index=False
    )
    source = SqlSource(url, activity=SIDE, timezone="Europe/Berlin")
    asked = queries(since=day, past=None, asked={"m": PerUser(numerator="minutes")})
    assert "the hour in which the clocks are changed" in told(source, asked, Window(day, day + timedelta(minutes=75)))
    assert told(source, asked, Window(day - HOUR, day + timedelta(hours=2, minutes=30))) != ""  # it begins in it
    later = queries(since=day + 2 * HOUR, past=None, asked={"m": PerUser(numerator="minutes")})
    assert told(source, later, Window(day + 2 * HOUR, day + 4 * HOUR)) == ""


def test_both_sides_that_ask_the_same_are_one_side(shop):
    config = ordinary().model_copy(update={"canary": {"version": "baseline"}})
    found = judge(config, SqlSource(shop), SPAN)["clicks"]
    assert found.outcome is Outcome.ERROR
    assert "both sides ask the same" in found.reason


def test_a_missing_file_is_no_empty_database(tmp_path):
    with pytest.raises(SourceUnavailable, match="no such file"):
        SqlSource(f"sqlite:///{tmp_path}/typo.db", activity=SIDE).fetch(queries(), SPAN)
    assert not (tmp_path / "typo.db").exists()


def test_a_secret_behind_the_question_mark_is_not_shown():
    pytest.importorskip("psycopg")
    source = SqlSource("postgresql+psycopg://me@127.0.0.1:9/db?password=s3cretPW", timeout=5)
    assert "s3cret" not in repr(source) + source.url
    with pytest.raises(SourceUnavailable) as caught:
        source.fetch(list(ordinary().queries()), SPAN)
    assert "s3cret" not in str(caught.value)


def test_an_engine_of_somebody_else_is_given_back_as_it_was(store):
    url, options = store
    engine = (
        sa.create_engine(url, pool_size=1, max_overflow=0)
        if not url.startswith(("sqlite", "duckdb"))
        else sa.create_engine(url, poolclass=sa.StaticPool)
    )
    reads = {
        "mariadb": "select @@max_statement_time",
        "postgresql": "show statement_timeout",
        "sqlite": "pragma query_only",
        "duckdb": "select current_setting('TimeZone')",
    }
    with engine.connect() as connection:
        before = connection.exec_driver_sql(reads[engine.dialect.name]).scalar()
    SqlSource(engine, activity=SIDE, timeout=7, workers=1, **options).fetch(queries(), SPAN)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(reads[engine.dialect.name]).scalar() == before
    engine.dispose()


def test_users_are_told_apart_by_their_bytes(tmp_path):
    times = pd.to_datetime([START + timedelta(minutes=at) for at in range(1, 5)])
    rows = pd.DataFrame(
        {
            "timestamp": times,
            "side": ["canary", "canary", "baseline", "baseline"],
            "user": ["Ann", "ann", "bob", "Bob"],
            "minutes": 1.0,
        }
    )
    with mariadb(tmp_path, rows) as (url, options):
        found = SqlSource(url, activity=SIDE, **options).fetch(
            queries(since=START, past=None, asked={"m": PerUser(numerator="minutes")}), SPAN
        )
        assert [one.moments.whole.users for one in found] == [2, 2]


def test_a_comment_may_have_an_apostrophe(shop):
    text = "-- don't ask\n" + ORDERS.replace("select", "select /* :nothing 'here */", 1)
    config = ordinary()
    metric = config.metrics[0].model_copy(update={"events": text})
    found = judge(config.model_copy(update={"metrics": (metric,)}), SqlSource(shop), SPAN)["clicks"]
    assert found.outcome is not Outcome.ERROR
