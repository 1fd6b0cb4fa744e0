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
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float, log_sum_exp
from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed, Lately
from canary_judge.judging.recent import nulls, tolerated
from canary_judge.judging.users import information_needed
from canary_judge.looks.design import Design
from canary_judge.looks.streams import Stream
from canary_judge.results import Comparison, Harm, LimitCheck
from canary_judge.samples import CountData, UserData
from canary_judge.special import special
from canary_judge.stats.counts import COLUMNS, Counts, without_burst
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import AtMargin, Interval, Question, directions
from canary_judge.stats.rates import RateRatioProcess
from canary_judge.stats.sequential import best_rho, normal_mixture, normal_mixture_bound
from canary_judge.stats.starts import WHOLE, StartEvidence, harm_since
from canary_judge.stats.users import users_information

__all__ = ["anytime", "is_spaced", "with_interval"]

# The mixture is tuned to no more than so many times the information of the look that tunes it.
_FURTHEST = 1000.0
# The first spaced look at instances comes when there are so many intervals.
_FIRST_CHECK = 10
# A record of instances is looked at when it has doubled; without a horizon, no more often than this.
_MOST_CHECKS = 12
# Of a slow series the first one comes when there are so many: of fewer the start is larger than what it moves.
_FIRST_SLOW_CHECK = 45
# With no event on the baseline a share of it is none; so many users then stand for the planned information.
_USERS_OF_NO_LEVEL = 1000.0
_NOTHING_CHECKED = (0.0, 0.0, 0.0, 0.0)


def anytime(config: JudgeConfig, one: Assessed, stream: Stream, design: Design) -> tuple[Assessed, Stream]:
    """The evidence of this look as evidence over all looks; and what the stream has to remember of it."""
    if one.settled is not None or (one.comparison is None and one.limit is None):
        # nothing new was learnt, but what was shown stays shown
        return replaced(one, latched=stream.latched), stream
    if one.comparison is not None and isinstance(stream.data, UserData):
        return _of_users(config, one, one.comparison, stream, design)
    # without a comparison (a limit, and no traffic on the baseline) the time that has passed stands for information
    information = float(stream.intervals) if one.comparison is None else _information(one.comparison)
    if stream.scale is None:
        stream = replaced(stream, scale=_scale(one, information, design, stream.intervals))
    progress = information / (stream.scale or information)
    if _is_spaced(one):
        stream = _spaced(one, stream, design)
    found, check = one, one.limit
    if one.comparison is not None:
        found, stream = _comparison(config, one, one.comparison, stream, design, progress)
    if check is not None:
        check, stream = _limit(config, one, check, stream, design, progress)
    return replaced(found, limit=check, latched=stream.latched), stream


def _comparison(
    config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream, design: Design, progress: float
) -> tuple[Assessed, Stream]:
    counted = None
    if one.lately is not None and isinstance(stream.data, CountData):
        counted = _Counted.of(fixed, stream.data.counts, one.lately, design.acts)

    def log_beyond(p: float | None, margin: Margin | None, harm: Harm, starts: Sequence[StartEvidence] = ()) -> float:
        """Log e of harm beyond a margin, from a single look's p-value."""
        found = _of_p_value(config, 1.0 if p is None else p, progress)
        if counted is None:
            return found
        if fixed.exact:
            return counted.beyond(margin, harm, whole=found, starts=starts)
        late = starts or [counted.since(null, upward=up) for null, up in tolerated(margin, fixed, harm)]
        return _with_starts(found, _mean([start.log_e for start in late])) if late else found

    def log_within(p: float | None, margin: Margin | None, harm: Harm) -> float:
        """Log e of harm within a margin."""
        if counted is not None and fixed.exact:
            return counted.within(margin, harm)
        return _of_p_value(config, 1.0 if p is None else p, progress)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        """The evidence of this look at another margin; what an earlier look knew of that one is not kept."""
        assert one.compared is not None  # noqa: S101  (there is a comparison)
        at = one.compared.at_margin(margin, upward=upward, only=only)
        direction = Harm.INCREASE if upward else Harm.DECREASE
        beyond = 0.0 if only == "within" else log_beyond(at.beyond, margin, direction)
        within = 0.0 if only == "beyond" else log_within(at.within, margin, direction)
        return AtMargin(
            beyond=design.spent(math.exp(-max(beyond, 0.0)), at.beyond),
            within=design.spent(math.exp(-max(within, 0.0)), at.within),
        )

    if _is_spaced(one):
        harm, beyond, within, _ = stream.checked or _NOTHING_CHECKED
    else:
        margin, direction = one.metric.parsed_margin(), one.metric.harm
        harm = _of_p_value(config, fixed.p_harm, progress)
        if counted is not None and fixed.exact:
            harm = counted.worse(direction)
        late = () if one.lately is None else one.lately.starts
        beyond = log_beyond(fixed.p_beyond_margin, margin, direction, late)
        within = log_within(fixed.p_within_margin, margin, direction)
    stream = replaced(stream, log_e_beyond=max(stream.log_e_beyond, beyond))
    found = _over_looks(fixed, stream, design, harm=harm, beyond=beyond, within=within)
    at_any_look = replaced(one, comparison=found, at_margin=None if _is_spaced(one) else at_margin)
    return at_any_look, stream


def _over_looks(
    fixed: Comparison, stream: Stream, design: Design, *, harm: float, beyond: float, within: float, part: float = 1.0
) -> Comparison:
    """The comparison with p-values over all looks.

    Args:
        fixed: That of this look.
        stream: With the strongest evidence of harm beyond the margin.
        design: How the looks share the error.
        harm: Log e at this look, as the next two.
        beyond: Of harm beyond the margin.
        within: Of harm within it.
        part: Of the error of harm, that this stage may use; the logs have it already.
    """
    has_margin = fixed.p_beyond_margin is not None
    p_any = [math.exp(-max(log_e, 0.0)) for log_e in (harm, stream.log_e_beyond, within)]
    return replaced(
        fixed,
        method=f"{fixed.method}, at any look" + (" and the planned end" if design.ended else ""),
        p_harm=design.spent(p_any[0], fixed.p_harm / part),
        p_beyond_margin=design.spent(p_any[1], (fixed.p_beyond_margin or 0.0) / part) if has_margin else None,
        p_within_margin=design.spent(p_any[2], fixed.p_within_margin) if has_margin else None,
        log_e_harm=harm,
        log_e_beyond_margin=beyond if has_margin else None,
        log_e_within_margin=within if has_margin else None,
    )


def _of_users(
    config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream, design: Design
) -> tuple[Assessed, Stream]:
    """Users counted since the weight last changed: of harm, this stage has a part of the error only."""
    stream = _with_progress(config, one, fixed, stream)
    part = math.log(design.of_stage)
    # nothing of the baseline to measure the information by: the users themselves
    progress = stream.progress or fixed.n_canary / _USERS_OF_NO_LEVEL

    def log_e(p: float | None) -> float:
        return _of_p_value(config, 1.0 if p is None else p, progress)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        assert one.compared is not None  # noqa: S101  (there is a comparison)
        at = one.compared.at_margin(margin, upward=upward, only=only)
        return AtMargin(
            beyond=design.spent(math.exp(-max(log_e(at.beyond) + part, 0.0)), at.beyond / design.of_stage),
            within=design.spent(math.exp(-max(log_e(at.within), 0.0)), at.within),
        )

    harm, beyond = log_e(fixed.p_harm) + part, log_e(fixed.p_beyond_margin) + part
    stream = replaced(stream, log_e_beyond=max(stream.log_e_beyond, beyond))
    found = _over_looks(
        fixed,
        stream,
        design,
        harm=harm,
        beyond=beyond,
        within=log_e(fixed.p_within_margin),
        part=design.of_stage,
    )
    return replaced(one, comparison=found, at_margin=at_margin, latched=stream.latched), stream


def _with_progress(config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream) -> Stream:
    """The stream with what was reached of the planned information; it never falls, though a night may lower it."""
    information = users_information(fixed)
    if not information:
        return stream
    margin = one.metric.parsed_margin()
    scale = stream.scale
    if scale is None:
        alpha, power, level = config.false_pass_rate, config.power, fixed.baseline or 0.0
        scale = information if margin is None else information_needed(margin, level, alpha=alpha, power=power)
    return replaced(stream, scale=scale, progress=max(stream.progress, information / scale))


def _limit(
    config: JudgeConfig, one: Assessed, check: LimitCheck, stream: Stream, design: Design, progress: float
) -> tuple[LimitCheck, Stream]:
    beyond = _of_p_value(config, check.p_beyond_limit, progress)
    if one.spaced:
        beyond = (stream.checked or _NOTHING_CHECKED)[3]
    within = _of_p_value(config, check.p_within_limit, progress)
    stream = replaced(stream, log_e_limit=max(stream.log_e_limit, beyond))
    found = replaced(
        check,
        method=f"{check.method}, at any look",
        p_beyond_limit=design.spent(math.exp(-stream.log_e_limit), check.p_beyond_limit),
        p_within_limit=design.spent(math.exp(-max(within, 0.0)), check.p_within_limit),
    )
    return found, stream


def is_spaced(metric: Metric, *, spaced: bool) -> bool:
    """Whether evidence holds at spaced looks only: of instances, and where an assessment says so."""
    return spaced or (isinstance(metric, GaugeMetric) and bool(metric.by))


def _is_spaced(one: Assessed) -> bool:
    return is_spaced(one.metric, spaced=one.spaced)


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
    return replaced(found, comparison=replaced(found.comparison, effect=effect, interval=interval, level=level))


def _equivalent_level(
    config: JudgeConfig, one: Assessed, fixed: Comparison, stream: Stream, design: Design, level: float
) -> float:
    """The level at which a fixed interval is as wide as the confidence sequence; itself at the planned end."""
    miss = (1 - level) / 2
    if design.ended:
        return 1 - 2 * miss * (1 - design.early)
    if _is_spaced(one):
        return 1 - 2 * miss * design.early / _checks(design, stream.checks)
    if isinstance(stream.data, UserData):
        progress = stream.progress or fixed.n_canary / _USERS_OF_NO_LEVEL
    else:
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
    return replaced(
        stream,
        checks=done,
        check_at=2 * max(stream.intervals, _FIRST_CHECK),
        checked=(logs[0], logs[1], logs[2], logs[3]),
    )


# --- rare counts: the exact process ------------------------------------------------------------------------------


class _WholeRun:
    """Evidence on rate ratios over the whole run: of all events, and of those without a burst.

    Neither harm nor safety may rest on one interval: a burst is one event, however many errors it brings, and how large
    bursts are is not known in the first minutes. So each must also hold without the largest one.
    """

    def __init__(self, counts: Counts, phi: float) -> None:
        some = [one for one in (counts, without_burst(counts, fewest=1)) if one is not None]
        self._parts = [(_process(one, [0.0]), one) for one in some]
        self._phi = phi

    def log_e(self, null: float, *, upward: bool) -> float:
        """Log e against "the log ratio is at most the null" (upward), or at least."""
        processes = (process.against([null], **_sides(one)) if null else process for process, one in self._parts)
        return min(float(process.log_e(upward=upward, phi=self._phi)[0, 0]) for process in processes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counted:
    """Log e of rare events: harm at all and beyond a margin since any interval, and within it over the whole run.

    Attributes:
        fixed: The comparison of this look.
        run: The whole run.
        trusted: That of which harm may be said.
        lately: Those counts, and their dispersion.
        acts: The changes of weight.
    """

    fixed: Comparison
    run: _WholeRun
    trusted: _WholeRun
    lately: Lately
    acts: tuple[int, ...]

    @classmethod
    def of(cls, fixed: Comparison, counts: Counts, lately: Lately, acts: tuple[int, ...]) -> _Counted:
        """The evidence of all intervals."""
        phi = fixed.dispersion or 1.0
        run = _WholeRun(counts, phi)
        trusted = run if lately.counts is counts else _WholeRun(lately.counts, phi)
        return cls(fixed=fixed, run=run, trusted=trusted, lately=lately, acts=acts)

    def worse(self, harm: Harm) -> float:
        """Of harm at all."""
        return _mean([self._since_any(0.0, upward=up) for up in directions(harm)])

    def beyond(self, margin: Margin | None, harm: Harm, *, whole: float, starts: Sequence[StartEvidence] = ()) -> float:
        """Of harm beyond a margin.

        Args:
            margin: The tolerated degradation.
            harm: The harmful direction.
            whole: Log e of it over the whole run, of the test that bounds both parts of a margin.
            starts: Of harm since some interval at this margin, where it has been computed.
        """
        at_margin = tolerated(margin, self.fixed, harm)
        if at_margin:
            pooled = _mean([self.trusted.log_e(null, upward=up) for null, up in at_margin])
            found = starts or [self.since(null, upward=up) for null, up in at_margin]
            return _with_starts(pooled, _mean([start.log_e for start in found]))
        if relative := self._relative(margin, harm):  # of two parts the larger counts, and of one it is no known ratio
            return min(whole, _mean([self._since_any(null, upward=up) for null, up in relative]))
        return min(whole, 0.0)

    def within(self, margin: Margin | None, harm: Harm) -> float:
        """Of harm within a margin."""
        found = {up: self.run.log_e(null, upward=not up) for null, up in self._relative(margin, harm)}
        # a rate cannot fall by more than all of it, so that is ruled out
        impossible = math.inf if margin is not None and (margin.relative or 0.0) >= 1 else 0.0
        return min(found.get(up, 0.0 if up else impossible) for up in directions(harm))

    def since(self, null: float, *, upward: bool) -> StartEvidence:
        """Of harm beyond a log ratio since any interval."""
        return harm_since(self.lately.counts, null=null, upward=upward, phi=self.lately.phi, acts=self.acts)

    def _since_any(self, null: float, *, upward: bool) -> float:
        return _with_starts(self.trusted.log_e(null, upward=upward), self.since(null, upward=upward).log_e)

    @staticmethod
    def _relative(margin: Margin | None, harm: Harm) -> list[tuple[float, bool]]:
        return nulls(0.0 if margin is None else margin.relative or 0.0, harm)


def _with_starts(whole: float, late: float) -> float:
    """Log of the e-value of harm over the whole run, or since some interval."""
    return float(np.logaddexp(whole + math.log(WHOLE), late))


def _mean(logs: Sequence[float]) -> float:
    """Log of the mean of e-values, which is one."""
    return float(log_sum_exp(np.asarray(logs, dtype=float))) - math.log(len(logs))


def _process(counts: Counts, ratios: Sequence[float]) -> RateRatioProcess:
    return RateRatioProcess.start([list(ratios)]).update(**_sides(counts))


def _sides(counts: Counts) -> dict[str, Float]:
    return {name: getattr(counts, name) for name in COLUMNS}


def _ratio_interval(counts: Counts, phi: float, alpha: float) -> Interval:
    low, high = _process(counts, [0.0]).interval(alpha=alpha, phi=phi)
    return (
        float(np.exp(low[0])) if np.isfinite(low[0]) else None,
        float(np.exp(high[0])) if np.isfinite(high[0]) else None,
    )
