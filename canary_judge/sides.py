"""Baseline and canary, and something of each, never told apart by position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = ["Side", "Sides"]

T = TypeVar("T")
S = TypeVar("S")


class Side(StrEnum):
    """The stable version or the new one."""

    BASELINE = "baseline"
    CANARY = "canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides(Generic[T]):
    """Something of each side, never told apart by position.

    Examples:
        >>> Sides(baseline=950, canary=50).map(float)
        Sides(baseline=950.0, canary=50.0)
        >>> Sides.of(lambda side: side.value)[Side.CANARY]
        'canary'
    """

    baseline: T
    canary: T

    @classmethod
    def of(cls, made: Callable[[Side], T]) -> Sides[T]:
        """What is made of each side."""
        return cls(baseline=made(Side.BASELINE), canary=made(Side.CANARY))

    def __getitem__(self, side: Side) -> T:
        return self.canary if side is Side.CANARY else self.baseline

    def map(self, change: Callable[[T], S]) -> Sides[S]:
        """The same of both sides, changed."""
        return Sides(baseline=change(self.baseline), canary=change(self.canary))
