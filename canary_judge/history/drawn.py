"""An A/A canary that was drawn, judged at one planned look."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from canary_judge.config.model import JudgeConfig
from canary_judge.history.designs import Draw
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Harm, MetricResult, Outcome, Scale
from canary_judge.samples import Samples

__all__ = ["UNUSABLE", "Replay"]

# Exact tests of few events give p-values of 1, which are no scores.
_LARGEST = 0.999
UNUSABLE = frozenset({Outcome.NO_DATA, Outcome.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One A/A canary, judged.

    Attributes:
        outcome: Of the metric.
        score: Normal score of "worse at all", large where it looks worse; None where there was nothing to judge.
        distance: The effect over its standard error, positive where it looks worse; None where either is not known.
        error: Standard error of the effect, on the scale on which a regression of r times is `size(r)`.
        level: The baseline's level.
        scale: Of the effect.
        upper: The least harm that could not be ruled out, as an effect; infinite where there is no bound.
        window: Its start, for counting windows.
        cluster: What it shares its luck with.
        reason: Of the outcome, in the judge's words.
    """

    outcome: Outcome
    score: float | None
    error: float | None
    distance: float | None
    level: float
    scale: Scale
    upper: float
    window: float
    cluster: str
    reason: str
    harm: Harm

    @classmethod
    def of(cls, config: JudgeConfig, draw: Draw) -> Replay:
        """Judge it at one planned look."""
        (metric,) = config.metrics
        samples = Samples(window=draw.window, metrics={metric.name: draw.samples})
        result = judge_samples(config, samples).metrics[0]
        comparison = result.comparison
        usable = comparison is not None and result.outcome not in UNUSABLE
        p = comparison.p_harm if comparison is not None and usable else None
        return cls(
            outcome=result.outcome,
            score=None if p is None else -float(special.ndtri(min(max(p, 1e-300), _LARGEST))),
            error=_error(result) if usable else None,
            distance=_distance(result) if usable else None,
            level=0.0 if comparison is None else comparison.baseline or 0.0,
            scale=Scale.RATIO if comparison is None else comparison.scale,
            upper=_upper(result) if usable else math.inf,
            window=draw.window.start.timestamp(),
            cluster=draw.cluster,
            reason=result.reason,
            harm=metric.harm,
        )

    def size(self, times: float) -> float:
        """A regression of so many times, on the scale of the error."""
        if self.scale is Scale.RATIO:
            return math.log(times)
        return abs(self.level) * (times - 1)


def _error(result: MetricResult) -> float | None:
    """Standard error of the effect, from the length of its interval; of a ratio that of its logarithm."""
    comparison = result.comparison
    if comparison is None or comparison.level is None or comparison.level >= 1:
        return None
    low, high = comparison.interval
    if low is None or high is None or not high > low:
        return None
    if comparison.scale is Scale.RATIO:
        if low <= 0:
            return None
        low, high = math.log(low), math.log(high)
    return (high - low) / (2 * float(special.ndtri((1 + comparison.level) / 2)))


def _distance(result: MetricResult) -> float | None:
    """How many standard errors the effect lies on the harmful side: p-values of counts have steps, which it has not."""
    comparison, error = result.comparison, _error(result)
    if comparison is None or comparison.effect is None or error is None:
        return None
    if comparison.scale is Scale.RATIO and comparison.effect <= 0:
        return None
    effect = math.log(comparison.effect) if comparison.scale is Scale.RATIO else comparison.effect
    return (-effect if result.harm is Harm.DECREASE else effect) / error


def _upper(result: MetricResult) -> float:
    """The least harm that is not ruled out: the smallest margin that this window could have shown."""
    if result.deciding is None:
        return math.inf
    low, high = result.deciding
    end = low if result.harm is Harm.DECREASE else high
    if end is None:
        return math.inf
    if result.comparison is not None and result.comparison.scale is Scale.RATIO:
        return 1 - end if result.harm is Harm.DECREASE else end - 1
    return -end if result.harm is Harm.DECREASE else end
