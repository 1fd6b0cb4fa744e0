"""Questions to workers, and who is told of ends."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.service.ends import Ends
from canary_judge.service.looking import Order, Told, What
from canary_judge.service.problems import Busy, StoreDown
from canary_judge.service.questions import Questions, kept

ORDER = Order(config="{}", sources={}, until=datetime(2026, 1, 1, tzinfo=UTC), baseline={}, canary={})
KEPT = Told(what=What.KEPT, text="{}")


class Waiting:
    """Workers whose answers are given by the test."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Future[Told]]] = []

    def ask(self, what: str, order: Order, about: str) -> Future[Told]:
        self.asked.append((what, about, Future()))
        return self.asked[-1][2]

    def close(self) -> None: ...


class Dead(Waiting):
    def ask(self, what: str, order: Order, about: str) -> Future[Told]:
        raise OSError("no process can be started")


def test_a_run_is_looked_at_once_at_a_time_and_its_end_is_told_once():
    workers, told = Waiting(), []
    questions = Questions(workers, 8)
    first = questions.look("a", ORDER, ended=told.append)
    assert questions.look("a", ORDER, ended=told.append) is first
    assert (len(workers.asked), questions.going, questions.takes("a"), questions.takes("b")) == (1, 1, False, True)
    workers.asked[0][2].set_result(KEPT)
    assert (first.result(0), told, questions.going, questions.takes("a")) == (KEPT, [KEPT], 0, True)
    assert questions.look("a", ORDER, ended=told.append) is not first


def test_when_an_end_is_told_its_look_is_over():
    workers, going = Waiting(), []
    questions = Questions(workers, 8)
    found = questions.look("a", ORDER, ended=lambda _: going.append((questions.going, found.done())))
    workers.asked[0][2].set_result(KEPT)
    assert going == [(0, True)]


def test_looks_and_other_questions_are_limited_together():
    workers = Waiting()
    questions = Questions(workers, 2)
    questions.look("a", ORDER, ended=lambda _: None)
    with pytest.raises(SourceUnavailable, match="no answer within 0 s"):
        questions.answered("judge", ORDER, 0.0)
    assert questions.going == 2  # it is being answered still
    assert not questions.takes("b")
    for refused in (
        lambda: questions.look("b", ORDER, ended=lambda _: None),
        lambda: questions.answered("judge", ORDER, 0.0),
    ):
        with pytest.raises(Busy, match="2 questions are being answered already"):
            refused()
    workers.asked[1][2].set_result(KEPT)
    assert (questions.going, questions.takes("b")) == (1, True)


def test_workers_that_cannot_be_asked_hold_nobody_up():
    questions, told = Questions(Dead(), 1), []
    found = questions.look("a", ORDER, ended=told.append).result(0)
    assert (found.what, found.text) == (What.UNAVAILABLE, "nobody can look: no process can be started")
    assert told == [found]
    with pytest.raises(SourceUnavailable, match="nobody can look: no process can be started"):
        questions.answered("judge", ORDER, 0.0)
    assert questions.going == 0


def test_what_was_not_kept_is_an_error():
    assert kept(KEPT) is KEPT
    with pytest.raises(DataError, match="a query"):
        kept(Told(what=What.BROKEN, text="a query"))
    with pytest.raises(SourceUnavailable, match="a source"):
        kept(Told(what=What.UNAVAILABLE, text="a source"))


def test_an_end_that_could_not_be_read_is_told_later_and_once():
    down, told = [True], []

    def get(run: str) -> SimpleNamespace | None:
        if down[0]:
            raise StoreDown("it gave no answer")
        return {"a": SimpleNamespace(id="a", ended=True), "b": SimpleNamespace(id="b", ended=None)}.get(run)

    ends = Ends(SimpleNamespace(get=get), [lambda run: told.append(run.id)])
    ends.tell("a")
    ends.tell("b", "gone")
    assert told == []
    down[0] = False
    ends.tell()
    ends.tell()
    assert told == ["a"]


@pytest.mark.parametrize("fails", [lambda one: one.set_exception(OSError("it died")), lambda one: one.cancel()])
def test_a_worker_that_tells_nothing_holds_nobody_up(fails):
    workers, told = Waiting(), []
    questions = Questions(workers, 8)
    found = questions.look("a", ORDER, ended=told.append)
    fails(workers.asked[0][2])
    assert found.result(0).what is What.UNAVAILABLE
    assert found.result(0).text.startswith("nobody looked")
    assert (told, questions.going) == ([found.result(0)], 0)
