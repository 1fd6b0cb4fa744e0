"""What a run consumed, look by look: the lines of its log (`canary_judge.looks.log`) without the evidence, in columns.

The intervals stand in columns, once for the whole run; each look keeps how many of them it had, and all else that it
read. So a replay has at each look what the run had, to the last bit, and the columns can be asked by SQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, cast

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.checked_lines import Line
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.looks.log import Folded, Increments
from canary_judge.looks.rows import numbers, runs_of
from canary_judge.looks.state import MonitorState
from canary_judge.looks.streams import EVIDENCE, Data
from canary_judge.samples import CountData, GaugeData, RawData
from canary_judge.stats.counts import COLUMNS

__all__ = ["Look", "Tape"]

_SIDES = ("baseline", "canary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a run had read by one of its looks.

    Attributes:
        state: It, without any evidence.
        moment: The end of the last interval that was read.
    """

    state: MonitorState
    moment: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class Tape:
    """What a run consumed.

    Attributes:
        lines: One JSON text for each look, in order; the first one begins the log.
        data: The judged intervals of each metric at the last look; metrics by user have none, their moments stand in
            the lines.
    """

    lines: tuple[str, ...]
    data: Mapping[str, Data]

    @classmethod
    def of_lines(cls, lines: Iterable[Line]) -> Tape:
        """Of the lines of a log of looks.

        Raises:
            DataError: They are no such lines, or there is none.
        """
        folded, kept = Folded(None), []
        for line in lines:
            kept.append(json.dumps(line))
            folded.take(json.loads(kept[-1]))  # which it changes
        state = folded.state()
        if state is None:
            raise DataError("there was no look, so there is nothing to archive")
        data = {name: one.data for name, one in state.streams.items() if isinstance(one.data, _IN_COLUMNS)}
        places = {name: _Places(one) for name, one in data.items()}
        packed = []
        for text in kept:
            bare = _without_evidence(json.loads(text))
            if "data" in bare:
                bare["data"] = {
                    name: places[name].pack(part) if name in places else part for name, part in bare["data"].items()
                }
            packed.append(json.dumps(bare, separators=(",", ":"), allow_nan=False))
        return cls(lines=tuple(packed), data=data)

    @classmethod
    def of_states(cls, config: JudgeConfig, states: Iterable[MonitorState]) -> Tape:
        """Of what a monitor knew after each look (`Monitor.steps`)."""
        return cls.of_lines(Increments(config).records(*states))

    def unpacked(self) -> Iterator[Line]:
        """The lines with their data in them again."""
        return self._unpacked(numbers)

    def _unpacked(self, as_told: Callable[[Float], Any]) -> Iterator[Line]:
        places = {name: _Places(one) for name, one in self.data.items()}
        for text in self.lines:
            line: Line = json.loads(text)
            if "data" in line:
                line["data"] = {
                    name: places[name].unpack(part, as_told) if name in places else part
                    for name, part in line["data"].items()
                }
            yield line

    def looks(self, interval: timedelta) -> Iterator[Look]:
        """What the run had read by each of its looks."""
        folded = Folded(None)
        for line in self._unpacked(np.asarray):
            folded.take(line)
            if (state := folded.state()) is not None:
                yield Look(state=state, moment=state.watermark(interval))

    @cached_property
    def horizon(self) -> int | None:
        """Planned length of the run in intervals; None without one."""
        return next((found["horizon"] for text in self.lines if (found := json.loads(text).get("changed"))), None)

    def moments(self, interval: timedelta) -> Iterator[tuple[datetime, float | None]]:
        """The end of what each look had read, and the weight that it was told, without reading the intervals."""
        told: dict[str, Any] = {}
        for text in self.lines:
            told |= json.loads(text).get("changed", {})
            if "start" in told:
                start = datetime.fromisoformat(told["start"])
                yield start.astimezone(UTC) + told.get("consumed", 0) * interval, told.get("weight")

    def intervals(self) -> tuple[Int, Int]:
        """How many intervals were judged by each look, and how many had passed: with those of warm-ups."""
        told: dict[str, Any] = {}
        judged, passed, count = [0], [0], 0
        for text in self.lines:
            line = json.loads(text)
            told |= line.get("changed", {})
            count += line.get("judged", 0)
            judged.append(count)
            passed.append(told.get("consumed", 0))
        return np.array(judged), np.array(passed)

    @cached_property
    def last(self) -> MonitorState:
        """What the run had read by its last look; several judges ask for it."""
        folded = Folded(None)
        for line in self._unpacked(np.asarray):
            folded.take(line)
        state = folded.state()
        assert state is not None  # noqa: S101  (there is a look, see of_lines)
        return state

    def __reduce__(self) -> tuple[Any, ...]:
        """What is found again is not sent along."""
        return _tape, (self.lines, self.data)


def _tape(lines: tuple[str, ...], data: Mapping[str, Data]) -> Tape:
    return Tape(lines=lines, data=data)


_IN_COLUMNS = (CountData, GaugeData, RawData)


def _without_evidence(line: Line) -> Line:
    if "changed" not in line:
        return dict(line)
    changed = {name: value for name, value in line["changed"].items() if name != "passed"}
    if "streams" in changed:
        changed["streams"] = {
            name: {key: value for key, value in stream.items() if key not in EVIDENCE}
            for name, stream in changed["streams"].items()
        }
    return {**line, "changed": changed}


class _Places:
    """Where the data of one metric stand in its columns, look by look.

    A part of a look whose numbers are those of the columns is packed as where they stand; one that differs, because an
    instance was told apart only later, stays as it is.
    """

    def __init__(self, data: Data) -> None:
        self._data = data
        self._at = dict.fromkeys(_SIDES, 0)

    def pack(self, part: Mapping[str, Any]) -> dict[str, Any]:
        width = self._begin(part)
        packed = {**part, "packed": width}
        for key in self._keys(part):
            packed.pop(key)
        if "width" in part:  # of gauges, how many instances there were
            packed |= {side: len(part[side]) for side in _SIDES}
        found = packed if self._restored(packed, width, numbers) == part else dict(part)
        self._end(width)
        return found

    def unpack(self, part: Mapping[str, Any], as_told: Callable[[Float], Any]) -> dict[str, Any]:
        width = self._begin(part)
        found = self._restored(part, width, as_told) if "packed" in part else dict(part)
        self._end(width)
        return found

    @staticmethod
    def _keys(part: Mapping[str, Any]) -> list[str]:
        """What of it is numbers of the columns."""
        if "rows" in part:
            return ["rows"]
        return [key for key in part if key in _SIDES or key in ("interval_baseline", "interval_canary")]

    def _begin(self, part: Mapping[str, Any]) -> dict[str, int]:
        """How many numbers it has of each side."""
        if "whole" in part:
            self._at = dict.fromkeys(_SIDES, 0)
        if "packed" in part:
            return cast("dict[str, int]", part["packed"])
        if "rows" in part:
            return dict.fromkeys(_SIDES, len(part["rows"][0]))
        if "width" in part:
            return dict.fromkeys(_SIDES, part["width"])
        return {side: len(part[side]) for side in _SIDES}

    def _end(self, width: Mapping[str, int]) -> None:
        self._at = {side: self._at[side] + width[side] for side in _SIDES}

    def _restored(
        self, packed: Mapping[str, Any], width: Mapping[str, int], as_told: Callable[[Float], Any]
    ) -> dict[str, Any]:
        part = {key: value for key, value in packed.items() if key != "packed"}
        some = {side: slice(self._at[side], self._at[side] + width[side]) for side in _SIDES}
        match self._data:
            case CountData(counts=counts):
                part["rows"] = [as_told(getattr(counts, name)[some["baseline"]]) for name in COLUMNS]
            case GaugeData():
                for side in _SIDES:
                    part[side] = [as_told(row[some[side]]) for row in getattr(self._data, side)[: packed[side]]]
            case RawData():
                for side in _SIDES:
                    part[side] = as_told(getattr(self._data, side)[some[side]])
                    part[f"interval_{side}"] = runs_of(getattr(self._data, f"interval_{side}")[some[side]])
        return part
