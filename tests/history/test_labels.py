"""Labels of past canaries: given afterwards, by whom and when, one by one or from a table."""

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from canary_judge.errors import DataError
from canary_judge.history import History, Label
from tests.history.canaries import shop


def test_an_archive_knows_when_a_label_was_given(tmp_path):
    history = History(tmp_path)
    first, second = history.append(shop(1, n=12)), history.append(shop(2, n=12))
    before = datetime.now(UTC)
    history.label(first, "bad", "pager", by="incident 7")
    told = history.query("SELECT label_at FROM canaries ORDER BY label_at NULLS LAST").label_at
    assert before <= told[0] <= datetime.now(UTC)
    assert pd.isna(told[1])
    assert {one.id: one.label.at is not None for one in history} == {first: True, second: False}
    with pytest.raises(DataError, match="label 'bad' has no `by`: say who says so"):
        history.label(second, "bad", "pager")


def test_labels_are_given_afterwards_and_a_rollback_is_no_truth(history, tmp_path):
    ids = [history.append(shop(number, n=12)) for number in range(3)]
    history.label(ids[0], "bad", "pager", by="incident 7")
    history.label(ids[0], "healthy", "false alarm after all", by="post mortem")
    assert [one.label.kind for one in history] == ["healthy", "unknown", "unknown"]
    table = tmp_path / "labels.csv"
    table.write_text(f"id,label,by,note\n{ids[1]},bad,incident 8,\n{ids[2]},healthy,nobody complained,a week\n")
    assert history.label_all(table) == 2
    assert [one.label.kind for one in history] == ["healthy", "bad", "healthy"]
    assert list(history.to_frame()["label_by"]) == ["post mortem", "incident 8", "nobody complained"]
    for text, told in (
        ("id,label,by\nx,bad,me\n", "there is no canary 'x'"),
        (f"id,label,by\n{ids[1]},broken,me\n", "line 2: label is 'broken'; give one of healthy, bad, unknown"),
        (f"id,label,by\n{ids[1]},bad,Rollback\n", "is no truth"),
        ("id,label\n", "has no column by"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=told):
            history.label_all(table)
    assert [one.label.kind for one in history] == ["healthy", "bad", "healthy"]


def test_a_label_of_a_slow_clock_is_newer_than_those_that_are_there(history, monkeypatch):
    name = history.append(shop(0, n=12))
    history.label(name, "healthy", by="Alice")

    class Slow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(minutes=3)

    monkeypatch.setattr("canary_judge.history.labels.datetime", Slow)
    history.label(name, "bad", by="Bob")
    assert history.read(name).label.by == "Bob"


def test_a_label_that_came_with_the_canary_later_counts(history):
    name = history.append(shop(0, n=12))
    history.label(name, "healthy", by="me")
    history.append(shop(0, n=12, label=Label(kind="bad", by="incident")))
    assert [one.label.kind for one in history] == ["bad"]
    history.append(shop(0, n=12))
    assert [one.label.kind for one in history] == ["healthy"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('id,label,by,note\n{0},bad,me,"open\n{1},bad,me,x\n', "is no CSV"),
        ("id,label,by\n{0},bad,me\n{0},healthy,me\n", "is labelled twice, and not alike"),
        ("id,label,by\n{0},bad,me,more\n", "has more or fewer fields"),
        ("id,label,by\n{0},bad\n", "has more or fewer fields"),
        ("id,label,by\n{0},bad,auto-rollback\n", "is no truth"),
    ],
)
def test_a_table_of_labels_is_taken_whole_or_not_at_all(tmp_path, text, told):
    history, table = History(tmp_path / "a"), tmp_path / "labels.csv"
    names = [history.append(shop(number, n=12)) for number in range(2)]
    table.write_text(text.format(*names))
    with pytest.raises(DataError, match=told):
        history.label_all(table)
    assert {one.label.kind for one in history} == {"unknown"}


def test_a_label_without_a_time_zone_is_named(tmp_path):
    history = History(tmp_path / "a")
    name = history.append(shop(0, n=12))
    history.label(name, "healthy", by="Alice")
    (tmp_path / "a/labels/x.json").write_text(
        json.dumps([{"id": name, "label": "bad", "by": "Bob", "note": "", "at": "2029-01-01T00:00:00"}])
    )
    with pytest.raises(DataError, match=r"x\.json: holds no labels: .*no time zone"):
        list(history)


@pytest.mark.parametrize(
    "text",
    [
        "id;label;by;note\r\n{0};bad;Jörg;orders fell\r\n{1};healthy;nobody;\r\n",
        "ID\tLabel\tBy\tNote\n{0}\tBad\tJörg\torders fell\n{1}\tHEALTHY\tnobody\t\n",
        "id, label, by, note\n {0} , bad, Jörg, orders fell\n{1}, healthy, nobody,\n,,,\n,,,\n",
        "id,label,by,note\n{0},bad,Jörg,orders fell\n{0},bad,Jörg,orders fell\n{1},healthy,nobody,\n",
    ],
)
def test_labels_are_read_as_spreadsheets_write_them(tmp_path, text):
    history, table = History(tmp_path / "a"), tmp_path / "labels.csv"
    names = [history.append(shop(number, n=12)) for number in range(2)]
    table.write_text(text.format(*names), encoding="utf-8-sig")
    assert history.label_all(table) == 2
    found = {one.id: one.label for one in history}
    assert [(found[name].kind, found[name].by) for name in names] == [("bad", "Jörg"), ("healthy", "nobody")]
    assert found[names[0]].note == "orders fell"


def test_labels_in_another_encoding_say_what_to_do(tmp_path):
    table = tmp_path / "labels.csv"
    for encoding in ("utf-16", "latin-1"):
        table.write_text("id,label,by\nx,bad,Jörg\n", encoding=encoding)
        with pytest.raises(DataError, match="save it as CSV in UTF-8"):
            History(tmp_path / "a").label_all(table)
    table.write_text("canary|label|by\nx|bad|me\n")
    with pytest.raises(DataError, match=r"has no column id, label, by, but canary\|label\|by"):
        History(tmp_path / "a").label_all(table)


def test_a_table_as_a_spreadsheet_leaves_it(tmp_path):
    """Excel's first line, columns without a name, and canaries whose label is not known yet."""
    history = History(tmp_path / "h")
    ids = [history.append(shop(number, n=12)) for number in range(2)]
    table = tmp_path / "labels.csv"
    table.write_text(f"sep=,\nid,label,by,note,,\n{ids[0]},bad,me,,,\n{ids[1]},,,,,\n")
    assert history.label_all(table) == 1
    assert [one.label.kind for one in history] == ["bad", "unknown"]
    table.write_text(f"id,label,by\n{ids[1]},,me\n")
    with pytest.raises(DataError, match="line 2: label is ''"):
        history.label_all(table)
