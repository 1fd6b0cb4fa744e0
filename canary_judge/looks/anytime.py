"""Evidence of one look turned into evidence that holds over all looks, and over the planned end.

Each look has the evidence of a single planned look. Rare counts are replaced by their exact e-process, for harm over
all moments at which it may have begun (`canary_judge.stats.starts`). Every other statistic is, on the scale of its
information, a Brownian motion in the limit, so its z becomes a mixture e-process (sequential Mann-Whitney and its
kin). Instances, whose lasting differences no further interval averages out, are looked at when their record has
doubled, at equal shares of the error. With a horizon part of the error goes to all looks, the rest to the planned end,
which is one fixed look: valid by the union bound.

References:
    Robbins (1970) and Howard et al. (2021), see `canary_judge.stats.sequential`.
    Lindon & Malek (2022), see `canary_judge.stats.rates`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from canary_judge.config.metrics import GaugeMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.judging.assessed import Assessed, Lately
from canary_judge.judging.recent import nulls, tolerated
from canary_judge.looks.streams import Stream
from canary_judge.results import Comparison, Harm, LimitCheck
from canary_judge.samples import CountData
from canary_judge.stats.counts import Counts, without_burst
from canary_judge.stats.questions import Interval
from canary_judge.stats.rates import RateRatioProcess
from canary_judge.stats.sequential import best_rho, normal_mixture, normal_mixture_bound
from canary_judge.stats.starts import WHOLE, harm_since

__all__ = ["Design", "anytime", "with_interval"]

# With a horizon, this part of each error rate is spent on all looks, the rest on the planned end.
_EARLY = 0.2
# The error rate and the power at which the cost of a design is told.
_USUAL_ALPHA, _USUAL_POWER = 0.05, 0.8
# The mixture is tuned to no more than so many times the information of the look that tunes it.
_FURTHEST = 1000.0
# The first spaced look at instances comes when there are so many intervals.
_FIRST_CHECK = 10
# An e-process alone needs so much more data than one planned look (spec/statistics.md, 4.6).
_COST_OF_ALL_LOOKS = 1.75
# A record of instances is looked at when it has doubled; without a horizon, no more often than this.
_MOST_CHECKS = 12
# Of a slow series the first one comes when there are so many: of fewer the start is larger than what it moves.
_FIRST_SLOW_CHECK = 45
_NOTHING_CHECKED = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How the looks share the error.

    Attributes:
        early: Part of each error rate for all looks together.
        ended: The planned end is reached.
        horizon: Intervals to the planned end; None without one.
        acts: Judged intervals at which the weight changed, where harm is likely to begin.
    """

    early: float
    ended: bool
    horizon: int | None
    acts: tuple[int, ...] = ()

    @classmethod
    def of(cls, horizon: int | None, consumed: int, acts: tuple[int, ...] = ()) -> Design:
        """The design of a run with this horizon, so many intervals into it."""
        return cls(
            early=1.0 if horizon is None else _EARLY,
            ended=horizon is not None and consumed >= horizon,
            horizon=horizon,
            acts=acts,
        )

    @property
    def cost(self) -> float:
        """How much more data this design needs than one planned look of the whole error rate."""
        if self.horizon is None:
            return _COST_OF_ALL_LOOKS
        power = special.ndtri(_USUAL_POWER)
        usual, late = special.ndtri(1 - _USUAL_ALPHA), special.ndtri(1 - _USUAL_ALPHA * (1 - _EARLY))
        return float(((late + power) / (usual + power)) ** 2)

    def spent(self, p_any: float, p_fixed: float | None) -> float:
        """One p-value of evidence that holds at any look and of the planned end."""
        p = p_any / self.early
        if self.ended and p_fixed is not None:
            p = min(p, p_fixed / (1 - self.early))
        return min(p, 1.0)


def anytime(config: JudgeConfig, one: Assessed, stream: Stream, design: Design) -> tuple[Assessed, Stream]:
    """The evidence of this look as evidence over all looks; and what the stream has to remember of it."""
    if one.settled is not None or (one.comparison is None and one.limit is None):
        # nothing new was learnt, but what was shown stays shown
        return replace(one, latched=stream.latched), stream
    # without a comparison (a limit, and no traffic on the baseline) the time that has passed stands for information
    information = float(stream.intervals) if one.comparison is None else _information(one.comparison)
    if stream.scale is None:
        stream = replace(stream, scale=_scale(one, information, design, stream.intervals))
    progress = information / (stream.scale or information)
    if _is_spaced(one):
        stream = _spaced(one, stream, design)
    comparison, check = one.comparison, one.limit
    if comparison is not None:
        comparison, stream = _comparison(config, one, comparison, stream, design, progress)
    if check is not None:
        check, stream = _limit(config, one, check, stream, design, progress)
    return replace(one, comparison=comparison, limit=check, latched=stream.latched), stream


def _comparison(
    config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream, design: Design, progress: float
) -> tuple[Comparison, Stream]:
    if _is_spaced(one):
        harm, beyond, within, _ = stream.checked or _NOTHING_CHECKED
    else:
        harm, beyond, within = (_of_p_value(config, p, progress) for p in _p_values(fixed))
        if isinstance(stream.data, CountData):
            beyond = _beyond(one, fixed, design, whole=beyond)
            if fixed.exact and one.lately is not None:
                harm, within = _exact(one, stream.data.counts, one.lately, design)
    stream = replace(stream, log_e_beyond=max(stream.log_e_beyond, beyond))
    has_margin = fixed.p_beyond_margin is not None
    p_any = [math.exp(-max(log_e, 0.0)) for log_e in (harm, stream.log_e_beyond, within)]
    found = replace(
        fixed,
        method=f"{fixed.method}, at any look" + (" and the planned end" if design.ended else ""),
        p_harm=design.spent(p_any[0], fixed.p_harm),
        p_beyond_margin=design.spent(p_any[1], fixed.p_beyond_margin) if has_margin else None,
        p_within_margin=design.spent(p_any[2], fixed.p_within_margin) if has_margin else None,
        log_e_harm=harm,
        log_e_beyond_margin=beyond if has_margin else None,
        log_e_within_margin=within if has_margin else None,
    )
    return found, stream


def _limit(
    config: JudgeConfig, one: Assessed, check: LimitCheck, stream: Stream, design: Design, progress: float
) -> tuple[LimitCheck, Stream]:
    beyond = _of_p_value(config, check.p_beyond_limit, progress)
    if one.spaced:
        beyond = (stream.checked or _NOTHING_CHECKED)[3]
    within = _of_p_value(config, check.p_within_limit, progress)
    stream = replace(stream, log_e_limit=max(stream.log_e_limit, beyond))
    found = replace(
        check,
        method=f"{check.method}, at any look",
        p_beyond_limit=design.spent(math.exp(-stream.log_e_limit), check.p_beyond_limit),
        p_within_limit=design.spent(math.exp(-max(within, 0.0)), check.p_within_limit),
    )
    return found, stream


def _is_spaced(one: Assessed) -> bool:
    return one.spaced or (isinstance(one.metric, GaugeMetric) and bool(one.metric.by))


def _p_values(fixed: Comparison) -> tuple[float, float, float]:
    return (
        fixed.p_harm,
        1.0 if fixed.p_beyond_margin is None else fixed.p_beyond_margin,
        1.0 if fixed.p_within_margin is None else fixed.p_within_margin,
    )


# --- on the scale of information ---------------------------------------------------------------------------------


def _information(fixed: Comparison) -> float:
    """What the variance of the estimated effect is inversely proportional to."""
    if fixed.events_canary is None:
        return fixed.n_effective
    n_b, n_c = fixed.n_baseline, fixed.n_canary
    return n_b * n_c / (n_b + n_c) / (fixed.dispersion or 1.0)


def _scale(one: Assessed, information: float, design: Design, intervals: int) -> float:
    """The information at which the mixture is to be most sensitive: what one planned look at the margin needs."""
    need = one.shortfall
    if need is not None and need.required is not None and need.have > 0:
        return information * min(need.required / design.cost / need.have, _FURTHEST)
    if design.horizon is not None:
        return information * max(design.horizon / max(intervals, 1), 1.0)
    return information


def _of_p_value(config: JudgeConfig, p: float, progress: float) -> float:
    """Log e of a one-sided p-value of a single look, read as a z with this share of the planned information."""
    z = -float(special.ndtri(min(max(p, 1e-300), 1 - 1e-16)))
    rho = best_rho(1.0, alpha=config.false_alarm_rate)
    return float(normal_mixture(z * math.sqrt(progress), progress, rho=rho))


# --- the interval ------------------------------------------------------------------------------------------------


def with_interval(
    config: JudgeConfig, fixed: Assessed, found: Assessed, stream: Stream, design: Design, level: float
) -> Assessed:
    """The evidence with the effect and its confidence sequence; at level 1 the effect alone.

    Args:
        config: For its error rates.
        fixed: The evidence of this look.
        found: The same as evidence over all looks.
        stream: What is remembered.
        design: How the looks share the error.
        level: Two-sided confidence level over all looks.
    """
    if fixed.comparison is None or fixed.compared is None or found.comparison is None:
        return found
    interval: Interval = (None, None)
    exact = isinstance(stream.data, CountData) and fixed.comparison.exact and fixed.settled is None
    if exact and isinstance(stream.data, CountData) and not design.ended and level < 1:
        interval = _ratio_interval(stream.data.counts, fixed.comparison.dispersion or 1.0, (1 - level) * design.early)
    if interval != (None, None) or level == 1:
        effect = fixed.compared.at(1.0).effect
    else:
        shown = fixed.compared.at(_equivalent_level(config, fixed, fixed.comparison, stream, design, level))
        effect, interval = shown.effect, shown.interval
    return replace(found, comparison=replace(found.comparison, effect=effect, interval=interval, level=level))


def _equivalent_level(
    config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream, design: Design, level: float
) -> float:
    """The level at which a fixed interval is as wide as the confidence sequence; itself at the planned end."""
    miss = (1 - level) / 2
    if design.ended:
        return 1 - 2 * miss * (1 - design.early)
    if _is_spaced(one):
        return 1 - 2 * miss * design.early / _checks(design, stream.checks)
    information = _information(fixed)
    progress = information / (stream.scale or _scale(one, information, design, stream.intervals) or information)
    rho = best_rho(1.0, alpha=config.false_alarm_rate)
    bound = float(normal_mixture_bound(progress, rho=rho, alpha=miss * design.early)) / math.sqrt(progress)
    return min(1 - 2 * float(special.ndtr(-bound)), 1 - 1e-12)


# --- instances: spaced looks -------------------------------------------------------------------------------------


def _checks(design: Design, done: int) -> float:
    """Into how many parts the error is split: one for each doubling up to the horizon, or a series that converges."""
    if design.horizon is not None:
        return max(math.ceil(math.log2(max(design.horizon / _FIRST_CHECK, 1.0))) + 1, 1)
    number = min(max(done, 1), _MOST_CHECKS)
    return number * (number + 1)


def _spaced(one: Assessed, stream: Stream, design: Design) -> Stream:
    """The stream with the evidence of the last spaced look, taken anew where one is due."""
    due = max(stream.check_at, _FIRST_SLOW_CHECK if one.spaced else 0)
    if stream.intervals < due or (design.horizon is None and stream.checks >= _MOST_CHECKS):
        return stream
    done = stream.checks + 1
    share = _checks(design, done)
    harm, beyond, within = (1.0, 1.0, 1.0) if one.comparison is None else _p_values(one.comparison)
    limit = 1.0 if one.limit is None else one.limit.p_beyond_limit
    logs = [-math.log(min(max(p, 1e-300) * share, 1.0)) for p in (harm, beyond, within, limit)]
    return replace(
        stream,
        checks=done,
        check_at=2 * max(stream.intervals, _FIRST_CHECK),
        checked=(logs[0], logs[1], logs[2], logs[3]),
    )


# --- rare counts: the exact process ------------------------------------------------------------------------------


def _beyond(one: Assessed, fixed: Comparison, design: Design, *, whole: float) -> float:
    """Log e of harm beyond the margin: since any interval, where the margin is a ratio; else over the whole run."""
    margin, lately = one.metric.parsed_margin(), one.lately
    if lately is None or margin is None:
        return min(whole, 0.0) if fixed.exact else whole
    if at_margin := tolerated(one.metric, fixed):
        late = _mean([start.log_e for start in lately.starts])
        return _with_starts(_pooled(lately.counts, fixed, at_margin) if fixed.exact else whole, late)
    if not fixed.exact:
        return whole
    # of two parts the larger counts, and of one it is not known as a ratio
    relative = nulls(margin.relative or 0.0, one.metric.harm)
    if not relative:
        return min(whole, 0.0)
    late = _mean([_since_any(lately, at, upward=up, design=design) for at, up in relative])
    return min(whole, _with_starts(_pooled(lately.counts, fixed, relative), late))


def _since_any(lately: Lately, null: float, *, upward: bool, design: Design) -> float:
    return harm_since(lately.counts, null=null, upward=upward, phi=lately.phi, acts=design.acts).log_e


def _with_starts(whole: float, late: float) -> float:
    """Log of the e-value of harm over the whole run, or since some interval."""
    return float(np.logaddexp(whole + math.log(WHOLE), late))


def _pooled(counts: Counts, fixed: Comparison, ratios: Sequence[tuple[float, bool]]) -> float:
    """Log e of harm beyond these ratios over the whole run."""
    phi = fixed.dispersion or 1.0
    return _mean([min(float(one.log_e(upward=up, phi=phi)[0, 1]) for one in _both(counts, [at])) for at, up in ratios])


def _exact(one: Assessed, counts: Counts, lately: Lately, design: Design) -> tuple[float, float]:
    """Log e of harm at all, since any interval, and of "within the margin" of a rate ratio, over the whole run.

    Neither may rest on one interval: a burst is one event, however many errors it brings, and how large bursts are is
    not known in the first minutes. So each must also hold without the largest one.
    """
    margin, phi = one.metric.parsed_margin(), (one.comparison.dispersion if one.comparison else None) or 1.0
    relative = margin.relative if margin is not None else None
    ups = [math.log1p(relative)] if relative else []
    downs = [math.log1p(-relative)] if relative and relative < 1 else []
    both = _both(counts, [*ups, *downs])
    pooled = both if lately.counts is counts else _both(lately.counts, [])

    def asked(*, upward: bool) -> tuple[float, float]:
        whole = min(float(process.log_e(upward=upward, phi=phi)[0, 0]) for process in pooled)
        harm = _with_starts(whole, _since_any(lately, 0.0, upward=upward, design=design))
        if not (ups if upward else downs):
            return harm, 0.0 if upward or not relative else math.inf  # no rate is that low
        place = 1 if upward else 1 + len(ups)
        return harm, min(float(process.log_e(upward=not upward, phi=phi)[0, place]) for process in both)

    if one.metric.harm is not Harm.EITHER:
        return asked(upward=one.metric.harm is Harm.INCREASE)
    up, down = asked(upward=True), asked(upward=False)
    return _mean([up[0], down[0]]), min(up[1], down[1])


def _mean(logs: Sequence[float]) -> float:
    """Log of the mean of e-values, which is one."""
    return float(special.logsumexp(logs)) - math.log(len(logs))


def _both(counts: Counts, ratios: Sequence[float]) -> list[RateRatioProcess]:
    """Of all events, and of those without a burst."""
    return [_process(some, ratios) for some in (counts, without_burst(counts, fewest=1)) if some is not None]


def _process(counts: Counts, ratios: Sequence[float]) -> RateRatioProcess:
    return RateRatioProcess.start([[0.0, *ratios]]).update(
        events_baseline=counts.events_baseline,
        exposure_baseline=counts.exposure_baseline,
        events_canary=counts.events_canary,
        exposure_canary=counts.exposure_canary,
    )


def _ratio_interval(counts: Counts, phi: float, alpha: float) -> Interval:
    low, high = _process(counts, []).interval(alpha=alpha, phi=phi)
    return (
        float(np.exp(low[0])) if np.isfinite(low[0]) else None,
        float(np.exp(high[0])) if np.isfinite(high[0]) else None,
    )
