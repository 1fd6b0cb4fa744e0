"""Columns that grow by a few values at each look, and are not copied at each look.

A column is the beginning of a longer array, whose rest is free for what comes next. Whoever adds to a column gets a
longer one, and the shorter one stays as it is; the first to do so adds in place, any other makes a copy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import ref

import numpy as np
from numpy.typing import NDArray

__all__ = ["grown"]

T = TypeVar("T", bound=np.generic)

# So many times as long as what it holds is an array that is made.
_ROOM = 1.125
_LOCK = threading.Lock()


@dataclass(slots=True)
class _Room:
    """An array with room, of which so many values are in use."""

    array: ref[NDArray[Any]]
    used: int


_ROOMS: dict[int, _Room] = {}


def grown(column: NDArray[T], new: NDArray[T]) -> NDArray[T]:
    """A column with new values after those that it has, of the same type; both of shape (n,).

    Examples:
        >>> one = grown(np.array([1.0]), np.array([2.0]))
        >>> two, other = grown(one, np.array([3.0])), grown(one, np.array([4.0]))
        >>> one.tolist(), two.tolist(), other.tolist()
        ([1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    """
    size = column.size + new.size
    with _LOCK:
        room = _ROOMS.get(id(column.base))
        whole = None if room is None or not _is_all(column, room) or new.dtype != column.dtype else room.array()
        if room is None or whole is None or size > whole.size:
            whole = np.empty(int(size * _ROOM) + 1, dtype=np.result_type(column, new))
            whole[: column.size] = column
            number = id(whole)
            room = _ROOMS[number] = _Room(ref(whole, lambda _: _ROOMS.pop(number, None)), column.size)
        whole[column.size : size] = new
        room.used = size
        return whole[:size]


def _is_all(column: NDArray[Any], room: _Room) -> bool:
    """Whether it is all that is used: nobody has more of the array than that, so what is as long is the same."""
    return room.used == column.size and column.strides == (column.itemsize,)
