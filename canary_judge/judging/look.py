"""What all metrics of a look share: the config, the window, and what the design of the looks costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from canary_judge.config.model import JudgeConfig
from canary_judge.series import Window

__all__ = ["LONGEST_WAIT_SECONDS", "POWER_OF_ONE_LOOK", "Look", "Newest"]

POWER_OF_ONE_LOOK = 0.99
LONGEST_WAIT_SECONDS = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """What is asked of the newest data by themselves.

    Attributes:
        factor: Times the margin that they must rule out; None when only "not worse lately" is asked.
        since: The first interval that may be among them: when the present weight came into force.
        acts: Judged intervals at which the weight changed, where harm is likely to begin.
        power: With which they are to do so when nothing changed. Where they do not, the next look asks again, so that
            few and fresh data are better than many: less power is less delay, and no more chances for a fault.
        decides: Whether a metric is found safe only if they do: at one planned look, and at a planned end.
        scan: Whether harm is looked for at the end of the window by itself, too: at one planned look.
    """

    factor: float | None = 2.0
    since: int = 0
    acts: tuple[int, ...] = ()
    power: float = 0.6
    decides: bool = False
    scan: bool = False

    @classmethod
    def of_one_look(cls) -> Newest:
        """No second look comes, so that nearly every healthy canary must be shown at this one."""
        return cls(power=POWER_OF_ONE_LOOK, decides=True, scan=True)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What all metrics of a look share.

    Attributes:
        config: For levels, power and minimum samples.
        window: The judged window.
        left_out: Intervals of it that are not judged: those of warm-ups.
        cost: How much more data the design of the looks needs than one planned look.
        both: Intervals since both sides have had a value; all of the window where that is not known.
        newest: What is asked of the newest data by themselves.
        left: Seconds to the planned end; None without one.
        stages: At how many weights the canary is to be judged until then; None where that is not known.
        promoted: The interval since which the canary has all of the traffic, and no baseline beside it; None: it has
            not.
        nothing: Why no interval is judged yet; None where some are.
        weighted: It is known what share of the traffic the canary should have, beside the config's `traffic`.
    """

    config: JudgeConfig
    window: Window
    left_out: int = 0
    cost: float = 1.0
    both: int | None = None
    newest: Newest = field(default_factory=Newest)
    left: float | None = None
    stages: int | None = None
    promoted: int | None = None
    nothing: str | None = None
    weighted: bool = False

    @property
    def intervals(self) -> int:
        """Intervals of the window that are judged."""
        return self.window.duration // self.config.interval - self.left_out

    def more_time(self, factor: float) -> float | None:
        """Seconds until there are so many times the data, at the pace since both sides have any.

        None when there are enough, or no realistic time would do.
        """
        so_far = self.intervals if self.both is None else self.both
        seconds = so_far * self.config.interval.total_seconds() * (factor - 1)
        return seconds if 0 < seconds <= LONGEST_WAIT_SECONDS else None
