"""What every comparison is asked: is the canary worse at all, worse than the margin, within it? And how it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar, cast

from canary_judge.frozen import replaced
from canary_judge.results import Comparison, Harm
from canary_judge.stats.margins import Margin

__all__ = [
    "AtMargin",
    "Compared",
    "Interval",
    "MarginTest",
    "Once",
    "PValues",
    "Question",
    "Tails",
    "ask",
    "beyond",
    "directions",
    "refuse_either",
    "within",
    "worse_at_all",
]

Interval = tuple[float | None, float | None]
Question = Literal["beyond", "within"]
T = TypeVar("T")


class Tails(NamedTuple):
    """Two one-sided p-values against the same null.

    Attributes:
        above: Of "the canary is at most there": small when it is higher.
        below: Of "the canary is at least there": small when it is lower.
    """

    above: float
    below: float

    def worse(self, *, upward: bool) -> float:
        """The p-value that is small when the canary lies beyond the null, in the harmful direction."""
        return self.above if upward else self.below

    def better(self, *, upward: bool) -> float:
        """The p-value that is small when the canary lies on the harmless side of the null."""
        return self.below if upward else self.above


class AtMargin(NamedTuple):
    """p-values of "harm at most the margin" and of "harm at least the margin"."""

    beyond: float
    within: float

    @classmethod
    def of(cls, tails: Tails, *, upward: bool) -> AtMargin:
        """Those of a null that lies at the margin in the harmful direction."""
        return cls(beyond=tails.worse(upward=upward), within=tails.better(upward=upward))


class PValues(NamedTuple):
    """The three p-values of a comparison; the last two are None without a margin."""

    harm: float
    beyond: float | None
    within: float | None


class MarginTest(Protocol):
    """Tests the canary against a margin, upwards or downwards."""

    def __call__(self, margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        """The p-values at the margin in this direction; where only one is wanted, the other may be 1."""
        ...


def ask(harm: Harm, margin: Margin | None, *, at_par: Tails, at_margin: MarginTest) -> PValues:
    """The three questions in the harmful direction; both directions share the error when either hurts.

    Args:
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        at_par: Against "no difference".
        at_margin: Against the margin.

    Examples:
        >>> def at_margin(margin, *, upward, only=None):
        ...     return AtMargin(beyond=0.3, within=0.7) if upward else AtMargin(beyond=0.9, within=0.1)
        >>> ask(Harm.EITHER, Margin(relative=0.1), at_par=Tails(0.01, 0.99), at_margin=at_margin)
        PValues(harm=0.02, beyond=0.6, within=0.7)
    """
    worse = worse_at_all(harm, at_par)
    if margin is None:
        return PValues(harm=worse, beyond=None, within=None)
    if harm is not Harm.EITHER:
        return PValues(worse, *at_margin(margin, upward=harm is Harm.INCREASE))
    up, down = at_margin(margin, upward=True), at_margin(margin, upward=False)
    return PValues(harm=worse, beyond=min(1.0, 2 * min(up.beyond, down.beyond)), within=max(up.within, down.within))


def worse_at_all(harm: Harm, at_par: Tails) -> float:
    """The p-value of "not worse" from the tails at "no difference"."""
    if harm is Harm.EITHER:
        return min(1.0, 2 * min(at_par))
    return at_par.worse(upward=harm is Harm.INCREASE)


def beyond(harm: Harm, margin: Margin, at_margin: MarginTest) -> float:
    """The p-value of "harm at most the margin" alone."""
    found = [at_margin(margin, upward=upward, only="beyond").beyond for upward in directions(harm)]
    return min(1.0, len(found) * min(found))


def within(harm: Harm, margin: Margin, at_margin: MarginTest) -> float:
    """The p-value of "harm at least the margin" alone."""
    return max(at_margin(margin, upward=upward, only="within").within for upward in directions(harm))


def directions(harm: Harm) -> tuple[bool, ...]:
    """The harmful directions: upwards or not."""
    return (True, False) if harm is Harm.EITHER else (harm is Harm.INCREASE,)


def refuse_either(harm: Harm) -> None:
    """ValueError where both directions hurt: a limit bounds one of them."""
    if harm is Harm.EITHER:
        raise ValueError("harm is either; a limit needs increase (an upper bound) or decrease (a lower one)")


class Once(Generic[T]):
    """An answer that is found when it is first asked for; `functools.cache` costs more than many an answer.

    Examples:
        >>> answer = Once(lambda: 6 * 7)
        >>> answer(), answer()
        (42, 42)
    """

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], T]) -> None:
        self._find: Callable[[], T] | None = find
        self._found: T | None = None

    def __call__(self) -> T:
        """The answer."""
        if self._find is not None:
            self._found, self._find = self._find(), None
        return cast("T", self._found)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison whose effect and interval are measured when asked for: they cost more than the evidence.

    Attributes:
        evidence: All but effect and interval.
        at_margin: The evidence against any other margin.
        measure: Effect and interval at a two-sided confidence level; at level 1 no interval is looked for.
    """

    evidence: Comparison
    at_margin: MarginTest
    measure: Callable[[float], tuple[float | None, Interval]]

    def at(self, level: float) -> Comparison:
        """The comparison with its interval at this level; at level 1 the whole line, which costs nothing."""
        effect, interval = self.measure(level)
        return replaced(self.evidence, effect=effect, interval=interval, level=level)
