"""An A/A canary that was drawn, judged at one planned look or watched to its planned end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import levels_of_rows
from canary_judge.config.model import JudgeConfig
from canary_judge.history.designs import Draw
from canary_judge.history.injecting import Fault
from canary_judge.history.watching import can_be_watched, watched
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Harm, MetricResult, Outcome, Scale
from canary_judge.samples import AnyData, GaugeData, Samples
from canary_judge.special import special

__all__ = ["UNUSABLE", "Replay"]

# Exact tests of few events give p-values of 1, which are no scores.
_LARGEST = 0.999
# Of fewer, nothing is known of how they differ.
_FEWEST_INSTANCES = 3
UNUSABLE = frozenset({Outcome.NO_DATA, Outcome.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One A/A canary, judged.

    Attributes:
        outcome: Of the metric: of one planned look, or where the canary was watched of its looks. All else is of the
            one look.
        score: Normal score of "worse at all", large where it looks worse; None where there was nothing to judge.
        distance: The effect over its standard error, positive where it looks worse; None where either is not known.
        error: Standard error of the effect, on the scale on which a regression of r times is `size(r)`.
        level: The baseline's level.
        scale: Of the effect.
        upper: The least harm that could not be ruled out, as an effect; infinite where there is no bound.
        window: Its start, for counting windows.
        cluster: What it shares its luck with.
        reason: Of the outcome, in the judge's words.
        harm: The harmful direction.
        fault: What was put into the canary; None of a healthy one.
        of_canary: Share of the effect's variance that the number of the canary's events has; 0 of other metrics.
        is_share: The level is a share, of at most 1.
        tau: Integrated autocorrelation time in intervals; None where it was not looked for.
        dispersion: Of counts, over that of independent events; None otherwise.
        instances: Standard deviation of the instances' levels as a share of their mean; None without instances.
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
    fault: Fault | None = None
    of_canary: float = 0.0
    is_share: bool = False
    tau: float | None = None
    dispersion: float | None = None
    instances: float | None = None

    @classmethod
    def of(cls, config: JudgeConfig, draw: Draw, every: int | None = None) -> Replay:
        """Judge it at one planned look, or watch it at a look every so many intervals."""
        (metric,) = config.metrics
        samples = Samples(window=draw.window, metrics={metric.name: draw.samples})
        result = judge_samples(config, samples).metrics[0]
        comparison = result.comparison
        usable = comparison is not None and result.outcome not in UNUSABLE
        p = comparison.p_harm if comparison is not None and usable else None
        said = watched(config, draw, every) if every and usable and can_be_watched(draw) else result
        return cls(
            outcome=said.outcome,
            score=None if p is None else -float(special.ndtri(min(max(p, 1e-300), _LARGEST))),
            error=(error := _error(result, config.false_pass_rate) if usable else None),
            distance=_distance(result, error),
            level=0.0 if comparison is None else comparison.baseline or 0.0,
            scale=Scale.RATIO if comparison is None else comparison.scale,
            upper=_upper(result) if usable else math.inf,
            window=draw.window.start.timestamp(),
            cluster=draw.cluster,
            reason=said.reason,
            harm=metric.harm,
            fault=draw.fault,
            of_canary=_of_canary(result),
            is_share=metric.is_proportion,
            tau=None if comparison is None else comparison.tau,
            dispersion=None if comparison is None else comparison.dispersion,
            instances=_instances(draw.samples.data),
        )

    def size(self, times: float) -> float:
        """A regression of so many times, on the scale of the error; of what must not fall, to so small a part.

        A share of events cannot rise beyond all of them.
        """
        if self.is_share and self.harm is not Harm.DECREASE and self.level > 0:
            times = max(min(times, 1 / self.level), 1.0)
        if self.scale is Scale.RATIO:
            return math.log(times)
        return abs(self.level) * (1 - 1 / times if self.harm is Harm.DECREASE else times - 1)

    def error_at(self, times: float) -> float:
        """The standard error that a regression of so many times would have: more events are known better."""
        events = 1 / times if self.harm is Harm.DECREASE else times
        changed = 1 / events if self.scale is Scale.RATIO else events
        return (self.error or 1.0) * math.sqrt(1 + self.of_canary * (changed - 1))

    def harmful(self, margin: float) -> float:
        """Harm of so much, a share of the level or a difference, on the scale of the error."""
        if self.scale is not Scale.RATIO or not math.isfinite(margin):
            return margin
        if self.harm is not Harm.DECREASE:
            return math.log1p(margin)
        return -math.log1p(-margin) if margin < 1 else math.inf


def _error(result: MetricResult, false_pass_rate: float) -> float | None:
    """Standard error of the effect, from the length of its interval; of a ratio that of its logarithm.

    Where it has none, what is ruled out lies so many of them from the effect.
    """
    comparison = result.comparison
    if comparison is None or comparison.level is None or comparison.level >= 1:
        return None
    (low, high), errors = comparison.interval, 2 * float(special.ndtri((1 + comparison.level) / 2))
    if low is None or high is None:
        ends = (None, None) if result.deciding is None else result.deciding
        low, high = (ends[0], comparison.effect) if result.harm is Harm.DECREASE else (comparison.effect, ends[1])
        errors = -float(special.ndtri(false_pass_rate))
    if low is None or high is None or not high > low:
        return None
    if comparison.scale is Scale.RATIO:
        if low <= 0:
            return None
        low, high = math.log(low), math.log(high)
    return (high - low) / errors


def _instances(data: AnyData | None) -> float | None:
    if not isinstance(data, GaugeData) or len(data.names_baseline) < _FEWEST_INSTANCES:
        return None
    known = data.baseline[~np.isnan(data.baseline).all(axis=1)]
    if len(known) < _FEWEST_INSTANCES:
        return None
    levels = levels_of_rows(known)
    mean = abs(float(levels.mean()))
    return float(levels.std(ddof=1)) / mean if mean > 0 else None


def _of_canary(result: MetricResult) -> float:
    """Of events the variance of each side goes with their number: of the log of a ratio with its inverse."""
    one = result.comparison
    if one is None or not one.events_baseline or not one.events_canary or one.users_canary is not None:
        return 0.0
    if one.scale is Scale.RATIO:
        return one.events_baseline / (one.events_baseline + one.events_canary)
    sides = one.events_canary / one.n_canary**2, one.events_baseline / one.n_baseline**2
    return sides[0] / sum(sides)


def _distance(result: MetricResult, error: float | None) -> float | None:
    """How many standard errors the effect lies on the harmful side: p-values of counts have steps, which it has not."""
    comparison = result.comparison
    if comparison is None or comparison.effect is None or error is None:
        return None
    if comparison.scale is Scale.RATIO and comparison.effect <= 0:
        return None
    effect = math.log(comparison.effect) if comparison.scale is Scale.RATIO else comparison.effect
    return (-effect if result.harm is Harm.DECREASE else effect) / error


def _upper(result: MetricResult) -> float:
    """The least harm that is not ruled out: the smallest margin that this window could have shown.

    An end many margins away is not looked for: where only data are lacking, that of the interval stands for it.
    """
    comparison = result.comparison
    low, high = (None, None) if result.deciding is None else result.deciding
    if low is None and high is None and result.shortfall is not None and comparison is not None:
        low, high = comparison.interval
    end = low if result.harm is Harm.DECREASE else high
    if end is None:
        return math.inf
    if comparison is not None and comparison.scale is Scale.RATIO:
        return 1 - end if result.harm is Harm.DECREASE else end - 1
    return -end if result.harm is Harm.DECREASE else end
