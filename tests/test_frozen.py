"""Copies of frozen records with other values."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from functools import cached_property

import pytest

from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.look import Look
from canary_judge.looks.state import MonitorState
from canary_judge.looks.streams import Stream
from canary_judge.results import Comparison, Quality, Recent
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import Compared

COPIED = (Assessed, Comparison, Recent, Look, Stream, MonitorState, Compared)


@dataclass(frozen=True, kw_only=True)
class Plain:
    first: int
    second: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Slotted:
    first: int
    second: int


def test_a_copy_is_what_replace_gives_and_the_first_one_stays() -> None:
    one = Plain(first=1, second=(2,))
    made = replaced(one, first=3)
    assert made == replace(one, first=3) == Plain(first=3, second=(2,))
    assert one == Plain(first=1, second=(2,))
    assert type(made) is Plain
    with pytest.raises(FrozenInstanceError):
        made.first = 4  # type: ignore[misc]


def test_a_record_with_slots_is_replaced() -> None:
    assert replaced(Slotted(1, 2), second=3) == Slotted(1, 3)
    assert replaced(Quality(coverage_baseline=1.0, coverage_canary=1.0), resets=2).resets == 2


def test_a_record_that_checks_itself_is_checked() -> None:
    with pytest.raises(ValueError, match="relative is -1.0"):
        replaced(Margin(relative=0.1), relative=-1.0)


@pytest.mark.parametrize("kind", COPIED, ids=lambda kind: kind.__name__)
def test_what_is_copied_keeps_nothing_beside_its_fields(kind: type) -> None:
    names = {one.name for one in fields(kind)}
    assert kind.__dictoffset__, "it has slots, and is made anew"
    assert not hasattr(kind, "__post_init__")
    assert not [name for name, _ in inspect.getmembers(kind, lambda one: isinstance(one, cached_property))]
    assert names


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="frist"):
        replaced(Plain(first=1), frist=2)
