"""The data of a metric in a log of looks: the intervals that a look added, as plain JSON, and read back."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter

from canary_judge.arrays import Float, Int
from canary_judge.looks.streams import Data
from canary_judge.samples import CountData, GaugeData, RawData, UserData
from canary_judge.stats.counts import COLUMNS, Counts

__all__ = ["Rows", "extend", "floats", "numbers", "rows_of", "runs_of", "whole_rows"]


def rows_of(old: Data | None, new: Data | None, before: int) -> dict[str, Any] | None:
    """The new intervals of a metric, and what else changed of its data; `whole` where they are all there are."""
    if new is None:
        return None
    if isinstance(new, UserData):
        asked = not isinstance(old, UserData) or new.baseline is not old.baseline or new.canary is not old.canary
        return None if not asked else {"whole": "UserData", "users": _moments().dump_python(new, mode="json")}
    if not _goes_on(old, new):
        old, before = None, 0
    found: dict[str, Any] = {} if old is not None else {"whole": type(new).__name__}
    if isinstance(new, CountData):
        found["rows"] = [numbers(getattr(new.counts, name)[before:]) for name in COLUMNS]
        instances = old.instances if isinstance(old, CountData) else {}
        if other := {name: list(pair) for name, pair in new.instances.items() if instances.get(name) != pair}:
            found |= _instances(instances, other)
    elif isinstance(new, GaugeData):
        found["width"] = new.baseline.shape[1] - before
        for side in ("baseline", "canary"):
            found[side] = [numbers(row[before:]) for row in getattr(new, side)]
        for name in _BESIDE:
            value, was = getattr(new, name), None if old is None else getattr(old, name)
            if was is None or not np.array_equal(value, was, equal_nan=isinstance(value, np.ndarray)):
                found[name] = _plain(value)
    else:
        for side in ("baseline", "canary"):
            interval = getattr(new, f"interval_{side}")
            first = int(np.searchsorted(interval, before)) if old is not None else 0
            found[side] = numbers(getattr(new, side)[first:])
            found[f"interval_{side}"] = runs_of(interval[first:])
    return found


_BESIDE = ("history", "simultaneous", "names_baseline", "names_canary", "before_baseline", "before_canary")


def _goes_on(old: Data | None, new: Data) -> bool:
    """Whether the new data are the old ones with intervals, and maybe instances, after them."""
    if type(old) is not type(new):
        return False
    if not isinstance(old, GaugeData) or not isinstance(new, GaugeData):
        return True
    for side in ("baseline", "canary"):
        names, more = getattr(old, f"names_{side}"), getattr(new, f"names_{side}")
        rows, now = len(getattr(old, side)), len(getattr(new, side))
        if more[: len(names)] != names or (rows != now and not more) or (more and len(names) != rows):
            return False
    return True


def _instances(before: Mapping[str, tuple[float, float]], other: Mapping[str, list[float]]) -> dict[str, Any]:
    """Totals of instances: by how much they grew where that gives the new ones exactly."""
    grown = {}
    if before and list(other) == list(before):
        for name, pair in other.items():
            steps = [now - was for now, was in zip(pair, before[name], strict=True)]
            if [was + step for was, step in zip(before[name], steps, strict=True)] != pair:
                break
            grown[name] = steps
    if len(grown) == len(other) == len(before):
        return {"grown": [[_number(step) for step in steps] for steps in grown.values()]}
    return {"instances": {name: [_number(one) for one in pair] for name, pair in other.items()}}


def _number(value: float) -> float | int | None:
    """Whole numbers without a point, and null for NaN."""
    if math.isnan(value):
        return None
    whole = value.is_integer() and abs(value) < 2**53 and (value or math.copysign(1.0, value) > 0)
    return int(value) if whole else value


def numbers(values: Float) -> list[float | int | None]:
    """Floats as JSON has them: whole ones without a point, and null for NaN."""
    return [_number(value) for value in values.tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "values": numbers(value.ravel())}
    return list(value) if isinstance(value, tuple) else value


def runs_of(values: Int) -> list[int]:
    """Value, how often, value, how often ..."""
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1)) if values.size else values
    return np.stack([values[starts], np.diff(starts, append=values.size)], axis=1).ravel().tolist()


# --- and read back ----------------------------------------------------------------------------------------------


class Rows(Protocol):
    """The data of one metric, as look after look adds to them."""

    def take(self, part: Mapping[str, Any]) -> None:
        """What one look added."""
        ...

    def data(self) -> Data:
        """All of it."""
        ...


def extend(column: array[float], values: Iterable[float | None] | Float) -> None:
    """Add what `numbers` gave, or an array."""
    if isinstance(values, np.ndarray):
        column.frombytes(values.astype(np.float64).tobytes())
        return
    column.extend(math.nan if value is None else value for value in values)


def floats(column: array[float]) -> Float:
    """A column as an array of its own."""
    return np.array(column, dtype=np.float64)


class _CountRows:
    def __init__(self) -> None:
        self._columns = [array("d") for _ in COLUMNS]
        self._instances: dict[str, tuple[float, float]] = {}

    def take(self, part: Mapping[str, Any]) -> None:
        for column, rows in zip(self._columns, part["rows"], strict=True):
            extend(column, rows)
        if "grown" in part:
            known = self._instances
            steps = zip(list(known), part["grown"], strict=True)
            self._instances = {n: (known[n][0] + float(e), known[n][1] + float(x)) for n, (e, x) in steps}
        if "instances" in part:  # not in place: looks before have them
            self._instances = self._instances | {n: (float(e), float(x)) for n, (e, x) in part["instances"].items()}

    def data(self) -> CountData:
        columns = dict(zip(COLUMNS, map(floats, self._columns), strict=True))
        return CountData(counts=Counts(**columns), instances=self._instances)


class _GaugeRows:
    def __init__(self) -> None:
        self._sides: dict[str, list[array[float]]] = {"baseline": [], "canary": []}
        self._width = 0
        self._beside: dict[str, Any] = {}

    def take(self, part: Mapping[str, Any]) -> None:
        self._beside |= {name: part[name] for name in _BESIDE if name in part}
        width = self._width + part["width"]
        for side, rows in self._sides.items():
            while len(rows) < len(part[side]):  # an instance that was not there yet has gaps
                rows.append(array("d", [math.nan] * self._width))
            for row, values in zip(rows, part[side], strict=True):
                extend(row, values)
        self._width = width

    def data(self) -> GaugeData:
        beside: dict[str, Any] = {
            name: np.array([math.nan if one is None else one for one in value["values"]], dtype=float).reshape(
                value["shape"]
            )
            if isinstance(value, dict)
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in self._beside.items()
        }
        sides: dict[str, Any] = {
            side: np.array(rows, dtype=float).reshape(-1, self._width) for side, rows in self._sides.items()
        }
        return GaugeData(**beside, **sides)


class _RawRows:
    def __init__(self) -> None:
        self._values = {"baseline": array("d"), "canary": array("d")}
        self._places = {side: array("q") for side in self._values}

    def take(self, part: Mapping[str, Any]) -> None:
        for side, column in self._values.items():
            extend(column, part[side])
            runs = part[f"interval_{side}"]
            for place, number in zip(runs[::2], runs[1::2], strict=True):
                self._places[side].extend([place] * number)

    def data(self) -> RawData:
        values: dict[str, Any] = {side: floats(column) for side, column in self._values.items()}
        places = {f"interval_{side}": np.array(column, dtype=np.int64) for side, column in self._places.items()}
        return RawData(**{**values, **places})


class _UserRows:
    """Moments stand as they are: the last ones count."""

    def __init__(self) -> None:
        self._last: UserData | None = None

    def take(self, part: Mapping[str, Any]) -> None:
        self._last = _moments().validate_python(part["users"])

    def data(self) -> UserData:
        assert self._last is not None  # noqa: S101  (it is made for a part that is taken)
        return self._last


@cache
def _moments() -> TypeAdapter[UserData]:
    return TypeAdapter(UserData)


def whole_rows(kind: str) -> Rows:
    """Of this kind of data, none yet."""
    return _ROWS[kind]()


_ROWS: dict[str, type[Rows]] = {
    "CountData": _CountRows,
    "GaugeData": _GaugeRows,
    "RawData": _RawRows,
    "UserData": _UserRows,
}
