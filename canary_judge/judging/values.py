"""Metrics of values: one per interval and side, or raw ones; from samples to evidence by ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.config.metrics import GaugeMetric, Metric, SamplesMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.doubts.biased import at_a_bound, vary_as_few
from canary_judge.judging.doubts.odd_spread import worth_a_word
from canary_judge.judging.doubts.odd_values import (
    beyond_all,
    drifts,
    frozen,
    heavy_tail,
    implausible,
    not_settled,
    one_sided,
    stuck,
)
from canary_judge.judging.look import Look
from canary_judge.judging.recent import newest, widened, with_newest
from canary_judge.judging.shortfalls import time_shortfall, would_do
from canary_judge.judging.traffic import unequal
from canary_judge.results import Harm, Outcome, Recent
from canary_judge.samples import GaugeData, RawData
from canary_judge.stats.dependence import cluster_time, ranks_tau
from canary_judge.stats.gauges import (
    Pairs,
    RankTest,
    Strata,
    compare_values,
    limit_values,
    series_tau,
)
from canary_judge.stats.margins import Margin
from canary_judge.stats.means import compare_means, compare_raw_means, ties_outweigh
from canary_judge.stats.paired import rank_scores
from canary_judge.stats.questions import AtMargin, Compared, MarginTest, Question, within
from canary_judge.stats.rank import ranks_of
from canary_judge.stats.sample_sizes import by_student, margin_sample_size, sign_sample_size
from canary_judge.stats.slow import FEWEST_SLOW, slow_limit_tail, slow_p_values
from canary_judge.stats.stratified import stratified_ranks

__all__ = ["FEWEST_EFFECTIVE", "assess_gauge", "assess_raw", "no_relative_margin", "raw_tau"]

_FEWEST_WITH_HISTORY = 4.0
# Without a record before the window, tau is an estimate from few effective samples: ask for more of them.
FEWEST_EFFECTIVE = 6.0
# With so many the sign test shows 5 % although one of them is on the wrong side.
_SIGNS = 8.0
# Of more values it takes too long to try other margins.
_MANY = 5000
# Of values beyond these the squares leave the range of floats.
_SMALLEST, _LARGEST = 1e-100, 1e100
# Of paired gauges: where more of the intervals have one side only, bounds on what the other lost say nothing.
_MOST_ONE_SIDED = 0.2
_NOWHERE: Int = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranked:
    """Two samples to be compared by ranks.

    Attributes:
        baseline: Shape (n_b,), finite.
        canary: Shape (n_c,), finite.
        tau: Autocorrelation time of the comparison.
        own_tau: Of the canary by itself, for its limit.
        least: Fewest effective samples.
        needs: What the values are, for texts.
        paired: The k-th values were taken at the same moment.
        means: The values are means of requests of unequal traffic: their means are compared.
        intervals: The interval of each value, on both sides; empty where it is not known.
        raw: The values are those of single requests.
        strata: Of raw values, the intervals within which they are compared.
        worth: What these intervals are worth.
        gapped: Of paired values: both sides with the gaps of one of them, and their intervals.
        inflation: By what factor a longer record has shown tau to be larger.
        pairs_tau: Of paired values, the tau of the differences of their ranks, where a longer record has told it.
    """

    baseline: Float
    canary: Float
    tau: float
    own_tau: float
    least: float
    needs: str
    paired: bool = False
    means: bool = False
    intervals: tuple[Int, Int] = (_NOWHERE, _NOWHERE)
    raw: bool = False
    strata: Strata | None = None
    worth: float | None = None
    gapped: tuple[Float, Float, Int] | None = None
    inflation: float = 1.0
    pairs_tau: float | None = None

    def tied(self, margin: Margin | None) -> bool:
        """Whether the margin is too fine for ranks."""
        return margin is not None and ties_outweigh(baseline=self.baseline, canary=self.canary, margin=margin)

    @property
    def has_means(self) -> bool:
        """Whether means can be compared: what belongs together is known, and squares neither overflow nor vanish."""
        largest = float(max(np.abs(self.baseline).max(initial=0.0), np.abs(self.canary).max(initial=0.0)))
        known = self.paired or self.raw
        return known and (largest == 0 or _SMALLEST < largest < _LARGEST)

    def since(self, first: int) -> _Ranked:
        """The values from an interval on, which becomes the first one."""
        kept = [interval >= first for interval in self.intervals]
        gapped = None
        if self.gapped is not None:
            later = self.gapped[2] >= first
            gapped = self.gapped[0][later], self.gapped[1][later], self.gapped[2][later] - first
        later_values = self.intervals[0][kept[0]] - first, self.intervals[1][kept[1]] - first
        return replaced(
            self,
            baseline=self.baseline[kept[0]],
            canary=self.canary[kept[1]],
            intervals=later_values,
            gapped=gapped,
            strata=None if self.strata is None else replaced(self.strata, intervals=later_values),
        )

    @property
    def stepwise(self) -> bool:
        """Whether the k-th values are of one interval each, and the same one, were it at different moments."""
        return not self.raw and self.baseline.size > 0 and np.array_equal(*self.intervals)

    @property
    def pairs(self) -> Pairs | None:
        """Both sides at the same moments; None where they are not."""
        if not self.paired:
            return None
        sides = (self.baseline, self.canary) if self.gapped is None else self.gapped[:2]
        return Pairs(baseline=sides[0], canary=sides[1], inflation=self.inflation, tau=self.pairs_tau)

    @property
    def fewest(self) -> int:
        """Values on the smaller side."""
        return min(self.baseline.size, self.canary.size)


def assess_gauge(look: Look, metric: Metric, data: GaugeData, bare: Assessed, share: float | None) -> Assessed:
    """One series per side, paired where the intervals are the same moments."""
    if metric.unit_of_replication == "instance":
        text = (
            "one averaged series per side, and the instances behind it are the unit: that healthy instances differ for "
            "good cannot be told from an effect; keep them apart with `by: pod`"
        )
        return replaced(bare, settled=(Outcome.INSUFFICIENT, text))
    whole = data.baseline[0], data.canary[0]
    # what one side alone lived through is no effect
    both = ~np.isnan(whole[0]) & ~np.isnan(whole[1])
    baseline, canary = (np.where(both, side, np.nan) for side in whole)
    alone, tau = series_tau(baseline=baseline, canary=canary, history=data.history)
    values_b, values_c = baseline[~np.isnan(baseline)], canary[~np.isnan(canary)]
    if not values_b.size or not values_c.size:
        return replaced(bare, settled=(Outcome.NO_DATA, "no interval has a value on both sides"))
    paired = data.simultaneous and values_b.size == values_c.size
    # means of few requests on one side, of many on the other: equal means, but not equal distributions
    means = isinstance(metric, GaugeMetric) and metric.request_statistic() == "mean" and unequal(share)
    if (few := vary_as_few(metric, data, share)) is not None:
        bare = replaced(bare, warnings=(*bare.warnings, few))
    if paired and (moves := not_settled(metric, values_c - values_b, interval=look.config.interval)) is not None:
        bare = replaced(bare, warnings=(*bare.warnings, moves)).doubted(moves)
    for why in (frozen(values_b, values_c), at_a_bound(metric, values_b, values_c)):
        bare = bare if why is None else bare.doubted(why)
    if paired and (odd := stuck(values_b, values_c)) is not None:
        died, surely = odd
        bare = bare.doubted(died) if surely else replaced(bare, warnings=(*bare.warnings, died))
    gapped, lost = one_sided(whole) if paired else (None, 0.0)
    if lost > _MOST_ONE_SIDED:
        text = f"{lost:.0%} of the intervals have a value on one side only: scrapes are lost when things are slow"
        gapped, bare = None, bare.doubted(text)
    ranked = _Ranked(
        baseline=values_b,
        canary=values_c,
        tau=tau,
        gapped=gapped,
        own_tau=tau if metric.limit is None else max(tau, ranks_tau(canary[None, :])),
        least=_FEWEST_WITH_HISTORY if data.history.size > baseline.size else FEWEST_EFFECTIVE,
        needs="intervals",
        paired=paired,
        means=means and paired,
        intervals=(np.flatnonzero(~np.isnan(baseline)), np.flatnonzero(~np.isnan(canary))),
        inflation=tau / alone,  # alone, the window may not be long enough to tell how slowly things swing
    )
    return _assess_ranked(look, metric, ranked, bare)


def assess_raw(look: Look, metric: Metric, data: RawData, bare: Assessed) -> Assessed:
    """Raw values of both sides."""
    taus = [
        raw_tau(side, interval)
        for side, interval in ((data.baseline, data.interval_baseline), (data.canary, data.interval_canary))
    ]
    weights = 1 / data.baseline.size, 1 / data.canary.size
    tau = (taus[0] * weights[0] + taus[1] * weights[1]) / sum(weights)
    within, both = None, (data.interval_baseline, data.interval_canary)
    if all(interval.size for interval in both):
        within = stratified_ranks(baseline=data.baseline, canary=data.canary, intervals=both)
    if all(interval.size for interval in both) and drifts(data, taus[0]):
        bare = bare.doubted(
            "the canary's values move with time where the baseline's do not: a warm-up, a leak, or things that are "
            "written down when they end, the short ones first (set `warmup`)?"
        )
    ranked = _Ranked(
        baseline=data.baseline,
        canary=data.canary,
        tau=tau if within is None else within.design_effect,
        strata=None if within is None else Strata(intervals=both, tau=within.tau),
        worth=None if within is None else within.intervals,
        own_tau=max(tau, taus[1]),
        least=FEWEST_EFFECTIVE,
        needs="values per side",
        intervals=both,
        raw=True,
    )
    return _assess_ranked(look, metric, ranked, bare)


def raw_tau(values: Float, interval: Int) -> float:
    """Tau of raw values in order of time, no less than what they share with the others of their interval."""
    tau = ranks_tau(values[None, :])
    return max(tau, cluster_time(ranks_of(values), interval)) if interval.size else tau


def _assess_ranked(look: Look, metric: Metric, ranked: _Ranked, bare: Assessed) -> Assessed:
    config, margin, limit = look.config, metric.parsed_margin(), metric.parsed_limit()
    compared = _compared(config, metric, ranked, margin)
    check = None
    if limit is not None:
        check = limit_values(canary=ranked.canary, tau=ranked.own_tau, limit=limit, harm=metric.harm)
    warnings = bare.warnings
    if margin is not None and margin.relative is not None and ranked.baseline.min() < 0 < ranked.baseline.max():
        text = "the baseline has values of both signs, so a relative margin means little; give an absolute one"
        warnings = (*warnings, text)
    if (far := beyond_all(ranked.baseline, ranked.canary, margin, limit, unit=metric.unit)) is not None:
        warnings = (*warnings, far)
    warnings = (*warnings, *worth_a_word(metric, ranked.baseline, ranked.canary))
    for odd in implausible(metric, ranked.baseline, ranked.canary):
        bare = bare.doubted(odd)
    if (tail := heavy_tail(metric, ranked.baseline, ranked.canary)) is not None:
        bare = bare.unsafe(tail)
    have, tau = compared.evidence.n_effective, compared.evidence.tau or ranked.tau
    shortfall = time_shortfall(
        look,
        needs=ranked.needs,
        have=have,
        planned=_planned(config, metric, ranked),
        tau=tau,
        least=ranked.least,
        fewest=ranked.fewest,
        margin=lambda: _margin_now(look, metric, ranked, have),
    )
    found = replaced(bare.with_comparison(compared), limit=check, warnings=warnings, shortfall=shortfall)
    fewest, needs = ranked.fewest, ranked.needs
    if fewest < config.min_samples:
        text = f"{fewest} {needs} on the smaller side, fewer than the {config.min_samples} that a comparison needs"
        return replaced(found, settled=(Outcome.INSUFFICIENT, text))
    if have < ranked.least:
        text = (
            f"{fewest} {needs} are worth only {have:.1f} independent ones (autocorrelation time {tau:.1f}), fewer than "
            f"the {ranked.least:g} that a comparison needs"
        )
        if ranked.stepwise and fewest >= FEWEST_SLOW:  # large harm can be told nevertheless
            return _slow(metric, ranked, found).unsafe(text)
        return replaced(found, settled=(Outcome.INSUFFICIENT, text))
    if ranked.worth is not None and ranked.worth < ranked.least:
        text = (
            f"the intervals are worth only {ranked.worth:.1f} independent ones, fewer than the {ranked.least:g} that a "
            "comparison needs"
        )
        return replaced(found, settled=(Outcome.INSUFFICIENT, text))
    if ranked.gapped is not None and _by_means(config, ranked, margin):
        found = found.unsafe("scrapes of one side were lost, and means do not tell what they were like")
    if not ranked.has_means and ranked.tied(margin):
        found = found.unsafe("most values are equal and the margin is finer than their steps, so ranks cannot see it")
    found = with_newest(look, replaced(found, recent=_recent(look, metric, ranked, found)))
    return no_relative_margin(found, nothing=not ranked.baseline.any())


def _margin_now(look: Look, metric: Metric, ranked: _Ranked, have: float) -> str | None:
    """The margin that the values so far would show with the wanted power when nothing changed."""
    config = look.config
    few = ranked.fewest < config.min_samples or have < ranked.least
    if few or metric.limit is not None or ranked.baseline.size > _MANY:
        return None

    def required(margin: Margin) -> float | None:
        size = margin_sample_size(
            baseline=ranked.baseline,
            margin=margin,
            harm=metric.harm,
            alpha=config.false_pass_rate,
            power=config.power,
        )
        return None if size is None else look.cost * size

    return would_do(metric.parsed_margin(), have, required, share=metric.is_proportion)


def _slow(metric: Metric, ranked: _Ranked, found: Assessed) -> Assessed:
    """The evidence against a random walk: of harm only."""
    p = slow_p_values(baseline=ranked.baseline, canary=ranked.canary, harm=metric.harm, margin=metric.parsed_margin())
    if found.compared is not None:
        evidence = replaced(
            found.compared.evidence,
            method="low frequencies against a random walk",
            p_harm=p.harm,
            p_beyond_margin=p.beyond,
            p_within_margin=p.within,
        )

        def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
            if only == "within":
                return AtMargin(beyond=1.0, within=1.0)
            direction = Harm.INCREASE if upward else Harm.DECREASE
            at = slow_p_values(baseline=ranked.baseline, canary=ranked.canary, harm=direction, margin=margin)
            return AtMargin(beyond=1.0 if at.beyond is None else at.beyond, within=1.0)

        found = found.with_comparison(replaced(found.compared, evidence=evidence, at_margin=at_margin))
    check, limit = found.limit, metric.parsed_limit()
    if check is not None and limit is not None:
        beyond = slow_limit_tail(canary=ranked.canary, limit=limit, harm=metric.harm)
        check = replaced(
            check, method="low frequencies against a random walk", p_beyond_limit=beyond, p_within_limit=1.0
        )
    return replaced(found, limit=check, spaced=True)


def _recent(look: Look, metric: Metric, ranked: _Ranked, found: Assessed) -> Recent | None:
    """What the newest values say by themselves of harm of twice the margin, and the limit."""
    factor, margin, limit = look.newest.factor, metric.parsed_margin(), metric.parsed_limit()
    comparison = found.comparison
    known = all(interval.size for interval in ranked.intervals)
    if factor is None or comparison is None or not known or (margin is None and limit is None):
        return None
    wide = None if margin is None else widened(margin, factor, metric.harm)
    alpha, power = look.config.false_pass_rate, look.newest.power
    size = 0.0
    if wide is not None:
        wanted = margin_sample_size(baseline=ranked.baseline, margin=wide, harm=metric.harm, alpha=alpha, power=power)
        size = math.inf if wanted is None else wanted
    required = size if math.isinf(size) else by_student(size, fewest=FEWEST_EFFECTIVE, alpha=alpha, power=power)
    if limit is not None:
        # the sign test of few, of which one may be off
        required = max(required if wide is not None else 0.0, _SIGNS)
    tau = comparison.tau or ranked.tau
    first, have = _first_of_newest(look, ranked, required * tau)
    length = look.intervals - first
    p_within = None
    if have >= required * tau or look.newest.decides:
        last = ranked.since(first)
        if ranked.paired:
            told = rank_scores(baseline=ranked.baseline, canary=ranked.canary, inflation=ranked.inflation)[1]
            last = replaced(last, pairs_tau=ranked.baseline.size / told)
        p_values = [0.0]
        if last.fewest == 0:
            p_values.append(1.0)
        elif wide is not None:
            at_margin = _margin_test(look.config, metric, last, wide)
            p_values.append(within(metric.harm, wide, at_margin))
        if limit is not None and last.canary.size:
            bound = limit * factor if metric.harm is Harm.INCREASE else limit / factor
            bound = bound if limit > 0 else limit
            check = limit_values(canary=last.canary, tau=ranked.own_tau, limit=bound, harm=metric.harm)
            p_values.append(check.p_within_limit)
        p_within = max(p_values)
    return newest(
        look,
        intervals=length,
        have=have / tau,
        required=required,
        p_within=p_within,
        what=f"independent {ranked.needs}",
    )


def _first_of_newest(look: Look, ranked: _Ranked, values: float) -> tuple[int, float]:
    """The interval from which on there are so many values per side, else the first one; and how many there are."""
    if look.intervals <= look.newest.since:
        return look.newest.since, 0.0
    firsts = np.arange(look.intervals - 1, look.newest.since - 1, -1)
    baseline, canary = (interval.size - np.searchsorted(interval, firsts) for interval in ranked.intervals)
    have = 2.0 * baseline * canary / np.maximum(baseline + canary, 1)  # `effective_samples` of all of them at once
    enough = have >= values
    at = int(np.argmax(enough)) if enough.any() else -1
    return int(firsts[at]), float(have[at])


def _compared(config: JudgeConfig, metric: Metric, ranked: _Ranked, margin: Margin | None) -> Compared:
    compared = compare_values(
        baseline=ranked.baseline,
        canary=ranked.canary,
        tau=ranked.tau,
        harm=metric.harm,
        margin=margin,
        spreads_differ=isinstance(metric, SamplesMetric),
        design=ranked.pairs or ranked.strata,
    )
    if not _by_means(config, ranked, margin):
        return compared
    means = _compared_means(metric, ranked, margin)
    worth, tau = compared.evidence.n_effective, compared.evidence.tau
    return replaced(means, evidence=replaced(means.evidence, n_effective=worth, tau=tau))


def _margin_test(config: JudgeConfig, metric: Metric, ranked: _Ranked, margin: Margin) -> MarginTest:
    """What `_compared` asks of a margin, and no more than that."""
    if _by_means(config, ranked, margin):
        return _compared_means(metric, ranked, margin).at_margin
    return RankTest.of(
        baseline=ranked.baseline,
        canary=ranked.canary,
        tau=ranked.tau,
        margin=margin,
        spreads_differ=isinstance(metric, SamplesMetric),
        design=ranked.pairs or ranked.strata,
    ).at_margin


def _by_means(config: JudgeConfig, ranked: _Ranked, margin: Margin | None) -> bool:
    return ranked.fewest >= config.min_samples and ranked.has_means and (ranked.means or ranked.tied(margin))


def _compared_means(metric: Metric, ranked: _Ranked, margin: Margin | None) -> Compared:
    sides = {"baseline": ranked.baseline, "canary": ranked.canary}
    if ranked.paired:
        return compare_means(**sides, harm=metric.harm, margin=margin)
    return compare_raw_means(**sides, intervals=ranked.intervals, harm=metric.harm, margin=margin)


def _planned(config: JudgeConfig, metric: Metric, ranked: _Ranked) -> float | None:
    """Independent values per side that show margin and limit with the wanted power; None when no number does."""
    margin, alpha, power = metric.parsed_margin(), config.false_pass_rate, config.power
    planned: float | None = 0.0
    if margin is not None and ranked.fewest >= config.min_samples:  # fewer cannot tell how many it takes
        planned = margin_sample_size(
            baseline=ranked.baseline, margin=margin, harm=metric.harm, alpha=alpha, power=power
        )
    if metric.limit is not None and planned is not None:
        planned = max(planned, sign_sample_size(alpha=alpha, power=power))
    return planned


def no_relative_margin(found: Assessed, *, nothing: bool) -> Assessed:
    """A margin that is a share of nothing tolerates nothing, so nothing can be found within it.

    Nor beyond it, where `nothing` but 0 was seen of the baseline: 1e-9 is no share of that.
    """
    margin, comparison = found.metric.parsed_margin(), found.comparison
    if margin is None or comparison is None or margin.amount(comparison.baseline or 0.0) != 0:
        return found
    found = found.unsafe("the baseline's level is 0, of which a relative margin is 0 too; add an absolute margin")
    if not nothing or found.compared is None:
        return found

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        return compared.at_margin(margin, upward=upward, only=only)._replace(beyond=1.0)

    compared = found.compared
    evidence = replaced(compared.evidence, p_beyond_margin=1.0)
    return found.with_comparison(replaced(compared, evidence=evidence, at_margin=at_margin))
