"""The array types that all modules speak in, how they stand in JSON, and the lengths that transforms like."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bool",
    "Float",
    "Int",
    "column_means",
    "distinct",
    "finite",
    "in_errors",
    "levels_of_rows",
    "log_sum_exp",
    "median",
    "moved_onto",
    "smooth_length",
    "variance",
]

T = TypeVar("T", bound=np.generic)

# No transform is that long.
_LONGEST = 2**36
# Rounding of two decimals, of what is added to one of them, and of the sum, in last digits.
_ROUNDED = 4 * float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True)
class _InJson:
    """Floats as {shape, values} with null for NaN, integers as a list. Only pydantic asks, for the state of looks."""

    kind: type[np.float64 | np.int64]

    def write(self, array: NDArray[Any]) -> Any:
        """Plain values."""
        if self.kind is np.int64:
            return array.tolist()
        listed = array.astype(object)
        listed[np.isnan(array)] = None
        return {"shape": list(array.shape), "values": listed.ravel().tolist()}

    def read(self, plain: Any) -> NDArray[Any]:
        """What `write` gave."""
        if self.kind is np.int64:
            return np.array(plain, dtype=np.int64)
        return np.array(plain["values"], dtype=np.float64).reshape(plain["shape"])

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # numpy is all that statistics need

        writing = core_schema.plain_serializer_function_ser_schema(self.write)
        return core_schema.no_info_plain_validator_function(self.read, serialization=writing)


def smooth_length(least: int) -> int:
    """The smallest length of at least this that a fast Fourier transform takes quickly.

    Examples:
        >>> smooth_length(241), smooth_length(17)
        (243, 18)
    """
    smooth = _smooth()
    return smooth[bisect_left(smooth, least)]


@cache
def _smooth() -> list[int]:
    """Products of 2, 3 and 5, of which fast Fourier transforms are fastest."""
    found = [1]
    for prime in (2, 3, 5):
        found.extend(one * prime for one in found if one * prime < _LONGEST)  # also of those that it has just given
    return sorted(found)


def log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the sum of exponentials along the last axis; scipy's costs ten times as much for a few values.

    Args:
        values: Shape (..., n), n at least 1, finite or -inf.

    Examples:
        >>> log_sum_exp(np.array([[0.0, 0.0], [-np.inf, 1000.0]])).round(3).tolist()
        [0.693, 1000.0]
    """
    top = values.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0])


def distinct(values: NDArray[T]) -> NDArray[T]:
    """The different values of any shape, sorted, shape (n,), NaN once; numpy's `unique` loads masked arrays for it.

    Examples:
        >>> distinct(np.array([3.0, 1.0, np.nan, 3.0, np.nan])).tolist()
        [1.0, 3.0, nan]
    """
    ordered = np.sort(values, axis=None)
    # a NaN differs from all, also from itself
    differs = (ordered[1:] != ordered[:-1]) & (ordered[:-1] == ordered[:-1])
    return np.asarray(ordered[np.concatenate((np.ones(min(1, ordered.size), dtype=bool), differs))])


def median(values: NDArray[np.float64]) -> float:
    """The median of values without NaN, shape (n,), n at least 1; numpy's costs five times as much for a few.

    Examples:
        >>> median(np.array([3.0, 1.0, 2.0])), median(np.array([1.0, 2.0, 3.0, 4.0]))
        (2.0, 2.5)
    """
    upper = values.size // 2
    if values.size % 2:
        return float(np.partition(values, upper)[upper]) + 0.0  # no -0
    parted = np.partition(values, [upper - 1, upper])
    return float(parted[upper - 1] / 2 + parted[upper] / 2) + 0.0  # the sum may be beyond all floats


def variance(values: NDArray[np.float64], *, less: int = 0) -> float:
    """The variance, over n less so many; numpy's own costs five times as much for a few values.

    Examples:
        >>> variance(np.array([1.0, 3.0])), variance(np.array([1.0, 3.0]), less=1)
        (1.0, 2.0)
    """
    centred = values - values.sum() / values.size
    return float((centred * centred).sum()) / (values.size - less)


def moved_onto(
    moved: NDArray[np.float64], others: NDArray[np.float64], *, before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Moved values, each one that is one of the others but for rounding being that one: what ties in decimals ties.

    0.7 + 0.1 is less than 0.8, and 0.2 + 0.1 more than 0.3: values of few decimals would all lie on one side of it.

    Args:
        moved: Shape (n,); what is not finite stays as it is.
        others: Shape (m,), finite.
        before: The values before they were moved, shape (n,).

    Examples:
        >>> values = np.array([0.2, 0.7])
        >>> moved_onto(values + 0.1, np.array([0.8, 0.3, 0.5]), before=values).tolist()
        [0.3, 0.8]
    """
    if not others.size:
        return moved
    known = np.sort(others)
    above = np.minimum(known.searchsorted(moved), known.size - 1)
    below = np.maximum(above - 1, 0)
    upper, lower = known[above], known[below]
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.where(moved - lower < np.abs(upper - moved), lower, upper)
        same = np.abs(near - moved) <= _ROUNDED * np.maximum(np.abs(before), np.abs(near))
    return np.where(same, near, moved)


def column_means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each column without its gaps, NaN where it has nothing else; shape (n,) of (m, n).

    Examples:
        >>> column_means(np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])).tolist()
        [2.0, 5.0, nan]
    """
    some = ~np.isnan(rows)
    number = some.sum(axis=0)
    total = np.where(some, rows, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, number, out=np.full(number.size, np.nan), where=number > 0))


def finite(value: float) -> float | None:
    """None in place of a number that is none."""
    return value if math.isfinite(value) else None


def levels_of_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row without its gaps; of a constant row its value, to the last digit, however many there are.

    Args:
        rows: Shape (m, n), NaN for gaps, of which no row is made up.

    Examples:
        >>> levels_of_rows(np.array([[0.1, 0.1, 0.1], [np.nan, 1.0, 2.0]])).tolist()
        [0.1, 1.5]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        level = np.nanmean(rows, axis=1)
        low, high = np.nanmin(rows, axis=1), np.nanmax(rows, axis=1)
    return np.asarray(np.minimum(np.maximum(level, low), high))


def in_errors(gap: float, error: float) -> float:
    """A gap in standard errors: infinite where there is no error, and 0 where there is no gap either.

    Examples:
        >>> in_errors(-3.0, 2.0), in_errors(-3.0, 0.0), in_errors(0.0, 0.0)
        (-1.5, -inf, 0.0)
    """
    if error > 0:
        return gap / error
    return math.copysign(math.inf, gap) if gap else 0.0


Float = Annotated[NDArray[np.float64], _InJson(np.float64)]
Int = Annotated[NDArray[np.int64], _InJson(np.int64)]
Bool = NDArray[np.bool_]
