"""What is kept survives, and is counted once: replicas, a process that is killed, a database that goes and comes back."""

import contextlib
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, event, inspect

from canary_judge.errors import ConfigError
from canary_judge.looks.log import Folded
from canary_judge.service.problems import StoreDown
from canary_judge.service.store import Store, Target
from tests.databases import running_postgres
from tests.service.house import SIDES, house


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url.replace("postgresql://", "postgresql+psycopg://") if url.startswith("postgresql://") else url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/judge.db"
    url = request.getfixturevalue("postgres")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return url


def evidence(runs, run):
    """What the log of a run says, as the judge has it."""
    from canary_judge.checked_lines import parse_line
    from canary_judge.config.model import JudgeConfig

    found = runs.store.get(run)
    import json

    config = JudgeConfig.from_mapping(json.loads(found.config)).with_sides(baseline=found.baseline, canary=found.canary)
    folded, crc = Folded(config), 0
    for line in runs.store.log(run):
        record, crc = parse_line(line, crc)
        folded.take(record)
    return folded.state()


def test_the_tables_are_those_of_the_migrations(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from canary_judge.service.tables import metadata

    store = Store(database)
    store.upgrade()
    store.upgrade()  # a second replica
    engine = create_engine(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == "0001"
    engine.dispose()
    store.close()


def test_replicas_that_start_together_make_the_tables_once(database):
    stores = [Store(database) for _ in range(4)]
    errors = []

    def upgrade(store):
        try:
            store.upgrade()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=upgrade, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    engine = create_engine(database)
    assert "runs" in inspect(engine).get_table_names()
    engine.dispose()
    for store in stores:
        store.close()


def test_two_replicas_count_each_interval_once(database, tmp_path):
    with house(tmp_path, database=database, serve=False) as shop:
        other = shop.opened()
        for _ in range(40):
            shop.pass_time()
            with ThreadPoolExecutor(4) as pool:
                looks = [
                    pool.submit(one.look, "shop", **SIDES, horizon="1h") for one in (shop.runs, other, shop.runs, other)
                ]
            answers = [look.result() for look in looks]
            assert len({answer.run.id for answer in answers}) == 1
            assert all(not answer.blind for answer in answers)
        run = answers[0].run.id
        state = evidence(shop.runs, run)
        assert state.consumed == 39
        counts = state.streams["errors"].data.counts
        assert counts.exposure_canary.size == 39
        alone = shop.opened()
        alone.look("shop", **SIDES, start=shop.runs.get(run).run.start, key="alone")
        found = evidence(alone, alone.store.newest("alone").id).streams["errors"].data.counts
        assert (found.events_canary == counts.events_canary).all()
        assert (found.exposure_baseline == counts.exposure_baseline).all()
        other.close()
        alone.close()


def test_a_run_is_begun_once_by_replicas_that_begin_it_together(database, tmp_path):
    with house(tmp_path, database=database, serve=False) as shop:
        others = [shop.opened() for _ in range(3)]
        found = []
        threads = [
            threading.Thread(target=lambda one=one: found.append(one.look("shop", **SIDES).run.id))
            for one in (shop.runs, *others)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        for one in others:
            one.close()


def test_a_killed_process_loses_at_most_the_look_that_it_was_at(database, tmp_path):
    """The transaction is taken back at every statement in it; the next look counts what this one would have."""
    with house(tmp_path, database=database, serve=False) as shop:
        shop.runs.look("shop", **SIDES)
        shop.pass_time(600)
        store = shop.runs.store
        before = store.newest(shop.runs.open("shop", **SIDES).key)
        order = shop.runs._order(before, None)
        for last in range(1, 5):  # at its first question, its second ...
            statements = []

            def dies(*_, statements=statements, last=last):
                statements.append(1)
                if len(statements) == last:
                    raise KeyboardInterrupt

            event.listen(store._engine, "before_cursor_execute", dies)
            try:
                with pytest.raises(KeyboardInterrupt):
                    shop.runs._workers._desk.look(order)
            finally:
                event.remove(store._engine, "before_cursor_execute", dies)
            assert store.get(before.id) == before
            assert len(store.log(before.id)) == before.sequence
        answer = shop.runs.look("shop", **SIDES)
        assert evidence(shop.runs, answer.run.id).consumed == 10


def test_a_database_that_is_gone_is_blind_and_comes_back(tmp_path):
    with house(tmp_path) as shop:
        for _ in range(20):
            shop.pass_time()
            shop.look()
        path = tmp_path / "judge.db"
        shop.runs.store._engine.dispose()
        for ending in ("", "-wal", "-shm"):
            if (one := path.with_name(f"judge.db{ending}")).exists():
                one.rename(path.with_name(f"away{ending}"))
        path.mkdir()
        answer = shop.api("POST", "/v1/looks", json={"config": "shop", **SIDES})
        assert answer.status == 502
        assert "the database gave no answer" in answer.json["message"]
        assert shop.api("GET", "/readyz").status == 503
        assert shop.api("GET", "/healthz").status == 200
        path.rmdir()
        for ending in ("", "-wal", "-shm"):
            if (one := path.with_name(f"away{ending}")).exists():
                one.rename(path.with_name(f"judge.db{ending}"))
        shop.pass_time()
        shop.runs.store._down.clear()  # a second later
        assert shop.look()["stale"] is False
        assert evidence(shop.runs, shop.runs.store.listed()[0].id).consumed == 20


def test_a_look_that_cannot_be_kept_is_not_told(tmp_path, monkeypatch):
    with house(tmp_path) as shop:
        shop.look()
        shop.pass_time(1800)

        def full(*_, **__):
            raise StoreDown("the database gave no answer: database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "keep", full)
            summary = shop.look()
            assert (summary["verdict"], summary["stale"]) == ("marginal", True)
            assert "disk is full" in summary["reason"]
        assert shop.look()["verdict"] == "pass"
        assert evidence(shop.runs, shop.runs.store.listed()[0].id).consumed == 30


def test_a_damaged_log_is_told_and_never_judged(tmp_path):
    with house(tmp_path) as shop:
        for _ in range(3):
            shop.pass_time(60)
            shop.look()
        run = shop.runs.store.listed()[0]
        with sqlite3.connect(tmp_path / "judge.db") as connection:
            (body,) = connection.execute("SELECT body FROM records WHERE sequence = 2").fetchone()
            connection.execute("UPDATE records SET body = ? WHERE sequence = 2", (body.replace(b"look", b"lOok"),))
        connection.close()
        shop.runs._workers._desk._forget(run.id)
        shop.pass_time(1200)
        summary = shop.look()
        assert (summary["verdict"], summary["stale"]) == ("marginal", True)
        assert "line 2 of the log" in summary["reason"]


def test_what_is_old_is_forgotten_and_what_is_followed_is_not(tmp_path):
    with house(tmp_path) as shop:
        shop.look()
        shop.api("POST", "/v1/runs", json={"config": "shop", **SIDES, "key": "followed"})
        assert shop.runs.store.drop(shop.now().timestamp() + 1) == 1
        (left,) = shop.runs.store.listed()
        assert left.key == "followed"
        assert shop.runs.store.log(left.id)


def test_a_target_is_written_column_by_column(database):
    store = Store(database)
    store.upgrade()
    store.put_target(Target(key="a", checksum="1", open=True, called=1.0))
    store.put_target(Target(key="a", weight=5.0), "weight")
    assert store.target("a") == Target(key="a", checksum="1", open=True, called=1.0, weight=5.0)
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "nodb://x", "postgresql+nodriver://user:hunter2@h/x"])
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match="the address of the database") as raised:
        Store(url)
    assert "hunter2" not in str(raised.value)


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "judge.db"
    store = Store(f"sqlite:///{path}")
    store.upgrade()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    store = Store(f"sqlite:///{path}")
    with pytest.raises(ConfigError, match="another version of canary-judge"):
        store.upgrade()
    store.close()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_workers_in_processes_go_on_after_one_is_killed(tmp_path):
    """The real processes: a shop in a table, two workers, one of which is killed while it is idle and once at work."""
    import os
    import signal

    import numpy as np
    import pandas as pd

    from canary_judge.service import Runs

    rng = np.random.default_rng(1)
    begin = pd.Timestamp("2026-01-01T12:00Z")
    rows = [
        {"timestamp": begin + pd.Timedelta(minutes=k), "side": side, "requests": n, "errors": rng.binomial(n, 0.005)}
        for k in range(1, 121)
        for side, n in (("baseline", 9000), ("canary", 1000))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "shop.csv", index=False)
    folder = tmp_path / "configs"
    folder.mkdir()
    with house(tmp_path, serve=False) as shop:
        text = (shop.configs / "shop.json").read_text()
    (folder / "shop.json").write_text(text)
    (folder / "sources.yaml").write_text(f"default: {{type: frame, path: {tmp_path}/shop.csv}}\n")
    clock = {}
    with Runs(folder, tmp_path / "own.db", workers=1, now=lambda: clock["now"]) as runs:
        for k in range(1, 60):
            clock["now"] = (begin + pd.Timedelta(minutes=k)).to_pydatetime()
            answer = runs.look("shop", **SIDES, start=begin.to_pydatetime(), budget=30)
            if k % 20 == 0:
                worker = runs._workers._lanes[0].process
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
                while not runs._workers._lanes[0]._life.over:
                    time.sleep(0.01)
        assert not answer.blind
        assert answer.verdict == "pass"
        assert evidence(runs, answer.run.id).consumed == 59


def test_a_stopped_worker_keeps_nobody_else_waiting_and_is_replaced(tmp_path, monkeypatch):
    import os
    import signal

    from canary_judge.service import workers
    from canary_judge.service.looking import Order, What
    from tests.service.house import noon

    url = f"sqlite:///{tmp_path}/judge.db"
    store = Store(url)
    store.upgrade()
    store.close()
    monkeypatch.setattr(workers, "_STUCK", 1.0)
    order = Order(config='{"name": "x"' + " " * 100_000 + "}", sources={}, baseline={}, canary={}, until=noon())
    both = workers.Processes(url, 2)
    names = {}
    for number in range(100):  # something for each of the two
        names.setdefault(both._lanes.index(both._lane(f"x{number}")), f"x{number}")
    assert both.ask("judge", order, names[0]).result(60).what is What.BROKEN
    os.kill(both._lanes[0].process.pid, signal.SIGSTOP)
    stuck = [both.ask("judge", order, names[0]) for _ in range(50)]  # more than a pipe holds
    assert both.ask("judge", order, names[1]).result(60).what is What.BROKEN
    time.sleep(1.2)
    assert both.ask("judge", order, names[0]).result(60).what is What.BROKEN
    assert {one.result(1).what for one in stuck} == {What.UNAVAILABLE}
    both.close()


def test_after_a_failure_the_database_is_left_alone_for_a_second(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/nowhere/judge.db")
    with pytest.raises(StoreDown):
        store.ping()
    for _ in range(100):
        with pytest.raises(StoreDown, match="unable to open"):
            store.ping()
    assert set(store._down) == {"reading"}
    store.close()


def test_a_server_that_hangs_is_not_waited_for(postgres, monkeypatch):
    """All of its processes are stopped: the kernel takes what is sent, and no answer comes."""
    import os
    import signal
    from pathlib import Path

    import psycopg

    store = Store(postgres)
    store.upgrade()
    with psycopg.connect(postgres.replace("+psycopg", "")) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone()
    server = int((Path(data) / "postmaster.pid").read_text().split()[0])
    store.ping()
    children = [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]

    def tell(number):
        for pid in (server, *children):
            with contextlib.suppress(ProcessLookupError):  # some serve a connection that is closed
                os.kill(pid, number)

    tell(signal.SIGSTOP)
    try:
        with pytest.raises(StoreDown, match="none within"):
            store.ping()
        with monkeypatch.context() as patched:
            patched.setattr(store._pool, "submit", None)  # the next ones are not even asked
            for _ in range(20):
                with pytest.raises(StoreDown, match="none within"):
                    store.ping()
    finally:
        tell(signal.SIGCONT)
    time.sleep(1.1)
    store.ping()
    store.close()


def test_a_stored_regression_rolls_back_although_nothing_can_be_written(tmp_path):
    with house(tmp_path, weight=0) as shop:
        shop.add("shop", canary_error_rate=0.05, weight=0)
        hook = {"name": "w", "namespace": "p", "phase": "Progressing", "checksum": "1", "metadata": {"config": "shop"}}
        shop.api("POST", "/flagger/rollback", json=hook)
        shop.worlds["shop"].router.set_weight(10)
        for _ in range(20):
            shop.pass_time()
            answer = shop.api("POST", "/flagger/rollback", json=hook)
        assert answer.status == 200
        shop.pass_time(300)
        with sqlite3.connect(tmp_path / "judge.db") as connection:
            connection.execute("BEGIN IMMEDIATE")  # somebody else writes, and does not end
            try:
                assert shop.api("POST", "/flagger/rollback", json=hook).status == 200
                assert shop.api("POST", "/flagger/check", json=hook).status == 412
            finally:
                connection.rollback()
        connection.close()


def test_a_look_that_nobody_can_make_leaves_the_run_free(tmp_path, monkeypatch):
    with house(tmp_path, serve=False) as shop:
        shop.runs.look("shop", **SIDES)
        shop.pass_time(300)

        def refuses(*_):
            raise BlockingIOError("no more processes")

        with monkeypatch.context() as patched:
            patched.setattr(shop.runs._workers, "ask", refuses)
            assert "no more processes" in shop.runs.look("shop", **SIDES).why
        assert shop.runs.going == 0
        assert shop.runs.look("shop", **SIDES).stale is False


def test_a_watched_run_without_new_data_does_not_ask_every_second(tmp_path):
    with house(tmp_path, serve=False) as shop:
        shop.runs.open("shop", **SIDES, watched=True)
        shop.pass_time(300)
        shop.sources["shop"].down = True
        begun = [shop.runs.tick() for _ in range(20)]
        assert sum(begun) == 1


def test_threads_that_write_to_a_file_at_once_all_do(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/judge.db")
    store.upgrade()
    with ThreadPoolExecutor(24) as pool:
        done = [pool.submit(store.put_target, Target(key=f"{k % 7}", called=float(k))) for k in range(300)]
    assert [one.exception() for one in done] == [None] * 300
    store.close()


def test_a_database_in_memory_is_refused():
    with pytest.raises(ConfigError, match="a file"):
        Store("sqlite://")
