"""The largest tolerated degradation, as a value that every procedure understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.results import Harm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["Margin", "ask"]


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

    def amount(self, level: float) -> float:
        """The margin in the metric's unit at a baseline level."""
        return max((self.relative or 0.0) * abs(level), self.absolute or 0.0)

    def shifted(self, baseline: Float, *, upward: bool) -> Float:
        """The baseline, worse by exactly the margin.

        Relative margins scale each value (by its magnitude, so that negative values move in the harmful
        direction too), absolute ones shift it; no result depends on the unit of measurement.
        """
        amount = np.maximum((self.relative or 0.0) * np.abs(baseline), self.absolute or 0.0)
        return baseline + amount if upward else baseline - amount


def ask(
    questions: Callable[..., tuple[float, float | None, float | None]], harm: Harm
) -> tuple[float, float | None, float | None]:
    """The three one-sided p-values in the harmful direction; both directions share the error when either hurts.

    Args:
        questions: `questions(upward=bool)` gives p of "no harm", "harm <= margin", "harm >= margin" that way.
        harm: The harmful direction.
    """
    if harm is not Harm.EITHER:
        return questions(upward=harm is Harm.INCREASE)
    up, down = questions(upward=True), questions(upward=False)
    beyond = None if up[1] is None or down[1] is None else min(1.0, 2 * min(up[1], down[1]))
    within = None if up[2] is None or down[2] is None else max(up[2], down[2])
    return min(1.0, 2 * min(up[0], down[0])), beyond, within
