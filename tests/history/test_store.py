"""The archive: whole or not at all, newest version, any store, old schemas, damage that is named."""

import json
import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.errors import DataError
from canary_judge.history import History, Label, PastCanary, Span, replay
from canary_judge.history.parquet import SCHEMA, table_of
from canary_judge.history.store import _bytes
from canary_judge.history.tape import Tape
from canary_judge.sources import FrameSource
from tests.history.canaries import FOLLOWED, NOON, SHOP, followed, labelled, shop


def lines(canary):
    return list(canary.tape.unpacked())


def same(one, other):
    plain = [{name: getattr(each, name) for name in PastCanary.__slots__ if name != "tape"} for each in (one, other)]
    return plain[0] == plain[1] and lines(one) == lines(other)


def test_a_canary_is_read_as_it_was_written(history):
    whole = shop(
        1, gaps=True, ended_by="a person", ended_why="lunch", did="rolled back", deployment="v7", reconstructed=True,
        spans=(Span(what="incident", start=NOON, end=NOON + timedelta(hours=1), note="db"),),
        weights=((NOON, 5.0), (NOON + timedelta(minutes=9), 25.0)), label=Label(kind="bad", by="me", note="x"),
    )  # fmt: skip
    for canary in (whole, *(PastCanary.of(c, Tape.of_states(c, s)) for c, s, _ in map(followed, FOLLOWED))):
        assert same(history.read(history.append(canary)), canary)
    assert len(history) == 1 + len(FOLLOWED)


def test_archived_again_it_replaces_what_was_there(history):
    assert history.append(shop(1)) == history.append(shop(1, did="promoted"))
    assert [one.did for one in history] == ["promoted"]


def test_a_days_objects_become_one_and_nothing_else_changes(history):
    for number in range(12):
        history.append(shop(number, n=12))
    history.label(history.append(shop(2, n=12)), "bad", by="incident")
    before = list(history)
    assert history.compact("2026-03-01") == 3
    assert history.compact("2026-03-01") == 0
    assert [one.id for one in history] == [one.id for one in before]
    assert all(map(same, history, before))
    history.append(shop(2, n=12, did="again"))  # newer than the compacted one
    assert [one.did for one in history if one.start == before[2].start] == ["again"]
    assert len(history) == 12


def test_what_cannot_be_read_is_named_left_out_on_request_and_never_removed(tmp_path):
    history = History(tmp_path)
    good, bad = (history.append(shop(number, n=12)) for number in (0, 1))
    file = tmp_path / "day=2026-03-01" / f"{bad}.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{bad}\.parquet: cannot be read: .* skip_corrupt=True"):
        list(history)
    lenient = History(tmp_path, skip_corrupt=True)
    assert [one.id for one in lenient] == [good]
    assert len(lenient.skipped) == 1
    assert bad in lenient.skipped[0]
    history.append(shop(2, n=12))
    lenient.compact("2026-03-01")
    lenient.drop(before="2030-01-01")
    assert [one.name for one in (tmp_path / "day=2026-03-01").iterdir()] == [file.name]


def test_a_crash_between_writing_and_removing_leaves_no_canary_twice(history, monkeypatch):
    for number in range(4):
        history.append(shop(number, n=12))
    before = [one.id for one in history]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(history._objects), "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            history.compact("2026-03-01")
    assert len(history._objects.names()) == 5
    assert [one.id for one in history] == before
    history.compact("2026-03-01")
    assert len(history._objects.names()) == 1


def test_an_older_schema_is_read_by_name_and_a_newer_one_refused(tmp_path):
    history, canary = History(tmp_path), shop(1, n=12)
    whole = table_of([canary], written=[datetime.now(UTC)])
    (tmp_path / "day=2026-03-01").mkdir()
    old = whole.drop_columns(["deployment", "spans", "reconstructed", "label_note", "written"])
    order = [*reversed(old.column_names)]
    (tmp_path / "day=2026-03-01" / "old.parquet").write_bytes(_bytes(old.select(order)))
    (read,) = history
    assert lines(read) == lines(canary)
    assert read.deployment == ""
    newer = {b"canary_judge": json.dumps({"schema": [SCHEMA[0] + 1, 0], "written_by": "7.1"}).encode()}
    (tmp_path / "day=2026-03-01" / "new.parquet").write_bytes(_bytes(whole.replace_schema_metadata(newer)))
    with pytest.raises(DataError, match=rf"new\.parquet: has schema {SCHEMA[0] + 1}, .* upgrade to 7\.1 or newer"):
        len(history)
    (tmp_path / "day=2026-03-01" / "new.parquet").unlink()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "day=2026-03-01" / "else.parquet")
    with pytest.raises(
        DataError,
        match=r"else\.parquet: cannot be read: it is Parquet, but no history .* or leave it out with skip_corrupt",
    ):
        len(history)


@pytest.mark.parametrize("name", ["label_note", "consumed"])
def test_a_column_that_no_version_writes_is_damage_and_one_of_a_newer_is_not(tmp_path, name):
    """The footer of a Parquet file has no check sum: a flipped bit in it is another name."""
    history, canary = History(tmp_path), shop(1, n=12)
    (tmp_path / "day=2026-03-01").mkdir()
    whole = table_of([canary], written=[datetime.now(UTC)])
    file = tmp_path / "day=2026-03-01" / "one.parquet"
    if name == "consumed":  # of what is within
        at = whole.column_names.index(name)
        inner = whole.column(name).type.value_type
        other = pa.list_(
            pa.struct([pa.field("evenvs" if one.name == "events" else one.name, one.type) for one in inner])
        )
        rows = [
            [{("evenvs" if key == "events" else key): v for key, v in row.items()} for row in one]
            for one in whole.column(name).to_pylist()
        ]
        strange = whole.set_column(at, name, pa.array(rows, type=other))
    else:
        strange = whole.rename_columns(["lábel" if one == name else one for one in whole.column_names])
        strange = strange.replace_schema_metadata(whole.schema.metadata)
    file.write_bytes(_bytes(strange))
    with pytest.raises(DataError, match=r"one\.parquet: cannot be read: it has a column .*, which no version writes"):
        history.query("SELECT count(*) FROM consumed")
    newer = {b"canary_judge": json.dumps({"schema": [SCHEMA[0], SCHEMA[1] + 1], "written_by": "7.1"}).encode()}
    more = whole.append_column("of_tomorrow", pa.array(["x"])).replace_schema_metadata(newer)
    file.write_bytes(_bytes(more))
    assert history.query("SELECT of_tomorrow FROM canaries").iloc[0, 0] == "x"


def test_retention_removes_what_ended_before_also_out_of_a_compacted_object(history):
    for number in range(8):
        history.append(shop(number, n=12))
    history.compact("2026-03-01")
    assert history.drop(before=NOON + timedelta(hours=7)) == 2
    assert [one.start for one in history] == [NOON + number * timedelta(hours=6) for number in range(2, 8)]
    assert history.drop(before="2026-03-02") == 2
    assert len(history) == 4


def test_a_moment_without_a_time_zone_is_refused(history):
    for wanted in (NOON.replace(tzinfo=None), "2026-03-01T12:00:00"):
        with pytest.raises(DataError, match="no time zone"):
            history.drop(before=wanted)
    with pytest.raises(DataError, match="no time zone"):
        history.compact(NOON.replace(tzinfo=None))


def test_retention_brings_no_older_version_back(history):
    history.append(shop(0, n=40, did="first"))
    history.append(shop(1, n=12))
    history.compact("2026-03-01")
    history.append(shop(0, n=20, did="second"))
    assert history.drop(before=NOON + timedelta(minutes=30)) == 1
    assert [one.start for one in history] == [NOON + timedelta(hours=6)]


def test_people_whose_numbers_differ_are_another_canary(history):
    config = JudgeConfig.from_mapping(
        {
            "name": "clicks",
            "interval": "30m",
            "metrics": [
                {
                    "name": "ctr",
                    "kind": "ratio",
                    "unit_of_replication": "user",
                    "events": "clicks",
                    "total": "views",
                    "harm": "decrease",
                    "margin": "10%",
                }
            ],
        }
    )

    def table(rate):
        rng = np.random.default_rng(1)
        rows = 400
        return pd.DataFrame(
            {
                "timestamp": [NOON + timedelta(seconds=9 * k) for k in range(1, rows + 1)],
                "side": np.where(np.arange(rows) % 2, "canary", "baseline"),
                "user": [f"u{k}" for k in rng.permutation(rows)],
                "clicks": rng.binomial(10, rate, rows),
                "views": 10,
            }
        )

    name = history.add(table(0.3), config, horizon="1h")
    assert history.add(table(0.3), config, horizon="1h") == name
    with pytest.raises(DataError, match="is archived with other numbers"):
        history.add(table(0.6), config, horizon="1h")


def test_other_numbers_under_the_same_id_are_refused_and_more_of_the_same_taken(history):
    def table(seed, n):
        rng = np.random.default_rng(seed)
        return pd.DataFrame(
            {
                "timestamp": NOON + timedelta(minutes=m),
                "side": side,
                "t": 100,
                "e": rng.binomial(100, 0.1),
                "h": rng.normal(9),
            }
            for m in range(1, n + 1)
            for side in ("baseline", "canary")
        )

    name = history.add(table(1, 20), SHOP)
    with pytest.raises(DataError, match=rf"canary {name} is archived with other numbers: .* --canary version=1\.5\.0"):
        history.add(table(2, 20), SHOP)
    assert history.add(table(1, 30), SHOP) == name
    assert history.read(name).end == NOON + timedelta(minutes=30)


def test_readers_follow_canaries_into_another_object(history):
    for number in range(4):
        history.append(shop(number, n=12))
    expected, pieces = [one.id for one in history], history.pieces()
    history.compact("2026-03-01")
    assert [one.id for piece in pieces for one in piece.canaries()] == expected
    compacted = history.pieces()
    history.drop(before=NOON + timedelta(hours=3))
    with pytest.raises(DataError, match="is gone, and its canaries are in no other object"):
        [one.id for piece in compacted for one in piece.canaries()]


def test_damage_within_an_object_is_found_and_left_out_on_request(tmp_path):
    history = History(tmp_path)
    names = [history.append(shop(number, n=30)) for number in range(2)]
    file, rng = tmp_path / "day=2026-03-01" / f"{names[0]}.parquet", random.Random(1)
    whole = file.read_bytes()
    good = [one.to_json() for _, one in replay(SHOP, shop(0, n=30), looks="one")]
    found = 0
    for _ in range(60):
        at = rng.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        lenient = History(tmp_path, skip_corrupt=True)
        canaries = list(lenient)
        assert names[1] in [one.id for one in canaries]
        for one in canaries:
            if one.id == names[0]:
                assert [text.to_json() for _, text in replay(SHOP, one, looks="one")] == good
        found += len(lenient.skipped)
    assert found > 10  # the others hit what no reader reads


def test_texts_that_cannot_be_kept_are_refused():
    with pytest.raises(DataError, match="is no text that can be kept"):
        Label(kind="bad", by="me", note="caf\udce9")
    with pytest.raises(DataError, match="is no text that can be kept"):
        shop(0, n=12, ended_why="caf\udce9")
    with pytest.raises(DataError, match="the address of the archive is empty"):
        History("")


def test_it_can_be_asked_in_sql(history):
    for number in range(3):
        history.append(shop(number, gaps=True, label=labelled("healthy")))
    found = history.query(
        "SELECT metric, side, count(*) AS n, sum(total) AS total, count(gap) AS gaps FROM consumed "
        "GROUP BY ALL ORDER BY metric, side"
    )
    assert found["n"].tolist() == [180] * 4
    assert found["gaps"].tolist() == [0, 0, 27, 27]
    assert found["total"][0] == pytest.approx(3 * 60 * 950, rel=0.02)
    assert history.query("SELECT count(*) AS n FROM looks")["n"][0] == 3 * 61
    assert history.query("SELECT count(*) AS n FROM canaries WHERE label = 'healthy'")["n"][0] == 3
    with pytest.raises(DataError, match="the query cannot be answered: .*nowhere"):
        history.query("SELECT * FROM nowhere")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{other}'",
        "COPY canaries TO '{secret}'",
        "ATTACH '{secret}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM history",
    ],
)
def test_a_question_reads_and_writes_no_other_file(history, tmp_path, sql):
    history.append(shop(0, n=12))
    secret, other = tmp_path / "secret.txt", tmp_path / "other.parquet"
    secret.write_text("a password")
    pd.DataFrame({"a": [1]}).to_parquet(other)
    with pytest.raises(DataError, match="the query cannot be answered"):
        history.query(sql.format(secret=secret, other=other))
    assert secret.read_text() == "a password"
    assert len(history.query("SELECT id FROM canaries")) == 1


def test_an_empty_history_is_none_to_read_and_can_be_asked(history):
    assert len(history) == 0
    assert list(history) == []
    assert history.to_frame().empty
    assert history.query("SELECT count(*) AS n FROM consumed")["n"][0] == 0
    with pytest.raises(DataError, match="there is no canary 'x'"):
        history.read("x")


def test_a_table_and_a_source_are_archived_with_looks_that_are_made_up(history):
    rng = np.random.default_rng(1)
    rows = [
        {
            "timestamp": NOON + timedelta(minutes=m),
            "side": s,
            "t": n,
            "e": rng.binomial(n, 0.01),
            "h": 100 + rng.normal(),
        }
        for m in range(1, 61)
        for s, n in (("baseline", 950), ("canary", 50))
    ]
    frame = pd.DataFrame(rows)
    one = history.read(history.add(frame, SHOP, every="10m"))
    assert one.reconstructed
    assert len(one.tape.lines) == 7
    half = NOON + timedelta(minutes=30)
    windows = [Window(NOON, half), Window(half, NOON + timedelta(hours=1))]
    ids = history.from_source(
        SHOP.with_sides(canary={"version": "2"}), FrameSource(frame), windows, ended_by="the planned end"
    )
    assert [history.read(each).end for each in ids] == [half, NOON + timedelta(hours=1)]


def test_a_url_that_nobody_serves_is_an_error():
    with pytest.raises(DataError, match="nosuch://x: cannot be opened"):
        History("nosuch://x")


def _append(url, numbers, done):
    history = History(url)
    for number in numbers:
        done.put((number, history.append(shop(number, n=12))))


@pytest.mark.slow
def test_no_append_is_lost_or_halved_when_writers_are_killed(tmp_path):
    """1,000 appends from 8 processes, 50 of which are killed in between."""
    context = multiprocessing.get_context("fork")
    done, rng = context.SimpleQueue(), random.Random(1)
    todo, kills, finished, running = list(range(1000)), 0, {}, {}
    while todo or running:
        while todo and len(running) < 8:
            some, todo = todo[:25], todo[25:]
            writer = context.Process(target=_append, args=(str(tmp_path), some, done))
            writer.start()
            running[writer] = some
        if kills < 50 and rng.random() < 0.5:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(rng.choice(list(running)).pid, signal.SIGKILL)
                kills += 1
        time.sleep(0.01)
        while not done.empty():
            number, name = done.get()
            finished[number] = name
        for writer in [one for one in running if not one.is_alive()]:
            todo += [number for number in running.pop(writer) if number not in finished]
    history = History(tmp_path)
    found = {one.id: one for one in history}
    assert set(finished.values()) <= set(found)
    assert len(found) == 1000
    assert kills == 50
    assert same(found[finished[7]], shop(7, n=12))


def test_a_question_of_a_damaged_object_is_an_error_that_names_it(tmp_path):
    history = History(tmp_path / "a")
    names = [history.append(shop(number, n=12)) for number in range(2)]
    path = next((tmp_path / "a").glob(f"*/{names[0]}.parquet"))
    asked, found = "SELECT count(*) AS n, sum(total) AS t FROM consumed", 0
    whole = path.read_bytes()
    for at in range(4, len(whole) - 8, 97):  # beside the magic numbers and the length of the footer
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        answer, told = None, names[0]
        try:
            answer = history.query(asked)
        except DataError as error:
            told, found = str(error), found + 1
        assert names[0] in told or "the query cannot be answered" in told
        if answer is not None:  # the byte is no part of any number
            path.write_bytes(whole)
            pd.testing.assert_frame_equal(answer, history.query(asked))
    assert found > 20
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 0x55]) + whole[501:])
    lenient = History(tmp_path / "a", skip_corrupt=True)
    assert lenient.query("SELECT count(*) AS n FROM canaries")["n"][0] == 1
    assert names[0] in lenient.skipped[0]


def test_a_file_that_labels_nobody_and_windows_that_are_a_text_are_refused(tmp_path):
    history = History(tmp_path / "a")
    history.append(shop(0, n=12))
    (tmp_path / "labels.csv").write_text("id,label,by\n")
    with pytest.raises(DataError, match="labels no canary"):
        history.label_all(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="give a list of windows"):
        history.from_source(SHOP, FrameSource.__new__(FrameSource), "2026-01-03T12:00Z", length="1h")


def test_an_incident_of_another_year_is_a_slip_of_the_pen():
    incident = Span(what="incident", start=NOON - timedelta(days=365), end=NOON - timedelta(days=364))
    with pytest.raises(DataError, match="is far from the canary, which served from .*; is the date right?"):
        shop(0, n=12, spans=(incident,))
    near = Span(what="incident", start=NOON - timedelta(days=2), end=NOON - timedelta(days=1))
    assert shop(0, n=12, spans=(near,)).spans == (near,)
