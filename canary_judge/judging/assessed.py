"""What is known of one metric before error rates are shared out over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from canary_judge.config.metrics import Metric
from canary_judge.frozen import replaced
from canary_judge.results import Comparison, LimitCheck, Outcome, Quality, Recent, Shortfall
from canary_judge.stats.counts import Counts
from canary_judge.stats.questions import Compared, MarginTest
from canary_judge.stats.starts import StartEvidence

__all__ = ["Assessed", "Finding", "Lately"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lately:
    """What counts say of harm since some interval; it is needed for the newest data and at any look.

    Attributes:
        phi: Dispersion that takes no late change for clumps.
        counts: Of which harm may be said.
        starts: Evidence at each tolerated ratio (`tolerated`); empty where the margin is none.
    """

    phi: float
    counts: Counts
    starts: tuple[StartEvidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A regression that was found at some look, and stands.

    Attributes:
        reason: Why, with the numbers of that look.
        at: The end of the data that it rests on.
        deciding: The deciding interval of that look.
    """

    reason: str
    at: datetime | None = None
    deciding: tuple[float | None, float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Assessed:
    """Evidence on a metric before error rates are shared out.

    Attributes:
        metric: The metric.
        quality: What was wrong with its data.
        warnings: What a reader should know.
        compared: The comparison, whose effect and interval are still to be measured.
        comparison: Its evidence; with effect and interval once they are measured.
        limit: The canary against its own limit.
        settled: An outcome that the data dictate whatever the evidence says, with its reason.
        no_safety: Why this metric cannot be found safe, though it may be found regressed.
        doubt: What of it says that the numbers may not be what they should be, and is told with a regression, too.
        shortfall: What it still needs.
        recent: What the newest data say by themselves.
        at_margin: The evidence against other margins; None where it is not known.
        lately: Of counts, what they say of harm since some interval.
        spaced: The evidence holds at looks that are spaced out only, not at any.
        latched: What was found at an earlier look, and stands: a regression.
        as_of: The end of the data that all of this rests on, where that is an earlier look's.
        shown_as_of: The same of both intervals, which are not looked for as often.
        deciding: Of that look, the deciding interval.
    """

    metric: Metric
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    compared: Compared | None = None
    comparison: Comparison | None = None
    limit: LimitCheck | None = None
    settled: tuple[Outcome, str] | None = None
    no_safety: str | None = None
    doubt: str | None = None
    shortfall: Shortfall | None = None
    recent: Recent | None = None
    at_margin: MarginTest | None = None
    lately: Lately | None = None
    spaced: bool = False
    latched: Finding | None = None
    as_of: datetime | None = None
    shown_as_of: datetime | None = None
    deciding: tuple[float | None, float | None] | None = None

    @property
    def p_within(self) -> float | None:
        """The p-value of what must be ruled out: harm beyond the margin, and beyond the limit."""
        ends = (
            None if self.comparison is None else self.comparison.p_within_margin,
            None if self.limit is None else self.limit.p_within_limit,
        )
        return max((p for p in ends if p is not None), default=None)

    def with_comparison(self, compared: Compared) -> Assessed:
        """The same with this comparison."""
        return replaced(self, compared=compared, comparison=compared.evidence, at_margin=compared.at_margin)

    def unsafe(self, reason: str) -> Assessed:
        """The same with one more reason why it cannot be found safe."""
        return replaced(self, no_safety=_with(self.no_safety, reason))

    def doubted(self, reason: str) -> Assessed:
        """The same with one more reason to doubt the numbers: not safe, and told also where harm is shown."""
        return replaced(self, no_safety=_with(self.no_safety, reason), doubt=_with(self.doubt, reason))

    def measured(self, level: float) -> Assessed:
        """The same with effect and interval, at a two-sided confidence level."""
        return self if self.compared is None else replaced(self, comparison=self.compared.at(level))


def _with(reasons: str | None, reason: str) -> str:
    return reason if reasons is None else f"{reasons}; {reason}"
