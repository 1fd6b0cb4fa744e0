"""What all metrics of a look share: the config, the window, and what the design of the looks costs."""

from __future__ import annotations

from dataclasses import dataclass

from canary_judge.config.model import JudgeConfig
from canary_judge.series import Window

__all__ = ["Look"]

_LONGEST_WAIT_SECONDS = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What all metrics of a look share.

    Attributes:
        config: For levels, power and minimum samples.
        window: The judged window.
        cost: How much more data the design of the looks needs than one planned look.
        both: Intervals since both sides have had a value; all of the window where that is not known.
    """

    config: JudgeConfig
    window: Window
    cost: float = 1.0
    both: int | None = None

    @property
    def intervals(self) -> int:
        """Intervals of the window."""
        return self.window.duration // self.config.interval

    def more_time(self, factor: float) -> float | None:
        """Seconds until there are so many times the data, at the pace since both sides have any.

        None when there are enough, or no realistic time would do.
        """
        so_far = self.intervals if self.both is None else self.both
        seconds = so_far * self.config.interval.total_seconds() * (factor - 1)
        return seconds if 0 < seconds <= _LONGEST_WAIT_SECONDS else None
