"""The largest tolerated degradation, as a value that every procedure understands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float
from canary_judge.results import Harm, Scale

__all__ = ["Margin", "scale_of", "wider_share"]


def wider_share(share: float, factor: float, *, rises: bool) -> float:
    """A relative margin, as a share of the baseline, so many times as wide.

    A fall by twice 60 % would be one below nothing: it is one to 40 % of 40 %.

    Examples:
        >>> wider_share(0.1, 2, rises=False), wider_share(0.6, 2, rises=True)
        (0.2, 1.2)
        >>> round(wider_share(0.6, 2, rises=False), 2)
        0.84
    """
    wide = share * factor
    return wide if rises or wide < 1 else 1 - max(1 - share, 0.0) ** factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """A margin relative to the baseline, absolute in the metric's unit, or both: then the larger applies.

    Attributes:
        relative: Share of the baseline's level, 0.1 for 10 %; None when only `absolute` is given.
        absolute: Amount in the metric's unit; None when only `relative` is given.

    Examples:
        >>> Margin(relative=0.1).amount(200.0)
        20.0
        >>> Margin(relative=0.5, absolute=0.001).amount(0.0004)
        0.001
        >>> Margin(relative=0.1).shown(Harm.DECREASE, Scale.RATIO, level=200.0)
        0.9
    """

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        """Refuse a margin that tolerates nothing or makes no sense."""
        if self.relative is None and self.absolute is None:
            raise ValueError("a margin needs `relative`, `absolute` or both")
        for name in ("relative", "absolute"):
            value = getattr(self, name)
            if value is not None and not (0 < value < np.inf):
                raise ValueError(f"{name} is {value}; it must be positive and finite")
        if self.relative is not None and 1 + self.relative == 1:
            raise ValueError(f"relative is {self.relative}; times it, nothing is another number: give a larger one")

    def amount(self, level: float) -> float:
        """The margin in the metric's unit at a baseline level."""
        return max((self.relative or 0.0) * abs(level), self.absolute or 0.0)

    def by_share(self, level: float) -> bool:
        """Whether at this baseline level the relative part is the larger one."""
        return self.relative is not None and self.relative * abs(level) > (self.absolute or 0.0)

    def shifted(self, baseline: Float, *, upward: bool) -> Float:
        """The baseline, worse by exactly the margin.

        Relative margins scale each value (by its magnitude, so that negative values move in the harmful
        direction too), absolute ones shift it; no result depends on the unit of measurement.
        """
        with np.errstate(over="ignore"):  # beyond the range of floats it is worse than anything
            amount = np.maximum((self.relative or 0.0) * np.abs(baseline), self.absolute or 0.0)
            return baseline + amount if upward else baseline - amount

    def factor(self, *, upward: bool) -> float:
        """Canary / baseline at the relative margin."""
        return 1 + (self.relative or 0.0) if upward else 1 - (self.relative or 0.0)

    def times(self, factor: float) -> Margin:
        """A margin so many times as wide.

        Examples:
            >>> Margin(relative=0.1).times(2), Margin(absolute=3.0).times(2)
            (Margin(relative=0.2, absolute=None), Margin(relative=None, absolute=6.0))
        """
        return Margin(
            relative=None if self.relative is None else self.relative * factor,
            absolute=None if self.absolute is None else self.absolute * factor,
        )

    def shown(self, harm: Harm, scale: Scale, *, level: float) -> float | None:
        """The margin as an effect in the harmful direction: a ratio, or a difference at this baseline level."""
        if scale is Scale.DIFFERENCE:
            return -self.amount(level) if harm is Harm.DECREASE else self.amount(level)
        return None if self.relative is None else self.factor(upward=harm is not Harm.DECREASE)


def scale_of(margin: Margin | None, *, lowest: float) -> Scale:
    """Effects are shown as ratios where the margin is one and no value forbids it."""
    relative = margin is not None and margin.absolute is None
    return Scale.RATIO if relative and lowest > 0 else Scale.DIFFERENCE
