"""Frozen records that pass through many hands: a copy with other values, without the cost of making a new one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["replaced"]

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import replace as replaced  # whose names and types the type checker knows
else:

    def replaced(one: T, /, **changes: Any) -> T:
        """`dataclasses.replace`; of a dataclass without slots and `__post_init__` by a copy of what it holds.

        A frozen dataclass that is made sets each of its fields by a call: of twenty fields, a dozen times a metric,
        that was a tenth of what a look costs. Such a class must keep nothing beside its fields.

        Examples:
            >>> from dataclasses import dataclass
            >>> @dataclass(frozen=True)
            ... class Point:
            ...     x: int
            ...     y: int
            >>> replaced(Point(1, 2), y=3)
            Point(x=1, y=3)
        """
        kind = type(one)
        if not kind.__dictoffset__ or hasattr(kind, "__post_init__") or not changes.keys() <= one.__dict__.keys():
            return replace(one, **changes)
        made = object.__new__(kind)
        made.__dict__.update(one.__dict__, **changes)
        return made
