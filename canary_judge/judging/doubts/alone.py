"""What the canary did while the baseline had nothing: it is compared with nothing, and may hide the harm."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Bool, Float, moved_onto
from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.judging.look import Look
from canary_judge.judging.silence import heard
from canary_judge.results import Harm, Quality, Side
from canary_judge.samples import CountData, GaugeData, RawData
from canary_judge.samples.levels import levels
from canary_judge.stats.counts import Counts, within_exposure
from canary_judge.stats.dispersion import dispersion
from canary_judge.stats.events import compare_counts
from canary_judge.stats.exact import binomial_tails
from canary_judge.stats.questions import directions

__all__ = ["compared_with_nothing"]

# So large a share of what the canary did is too much to be compared with nothing, whatever it was like; more of it
# where the baseline only began later.
_MOST_ALONE, _MOST_BEFORE = 0.2, 0.5
# That so many requests went all to the canary is less likely than that those of the baseline are missing.
_BY_CHANCE = 1e-3
# Of fewer levels or values nobody can tell what they are like: a restart of the baseline takes two or three.
_FEWEST = 4


def compared_with_nothing(
    look: Look, metric: Metric, data: GaugeData | CountData | RawData, quality: Quality | None = None
) -> str | None:
    """Why what has no baseline beside it forbids to find the canary safe: it is much, or beyond the margin.

    A thin stream has intervals with the canary alone; it is a hole of the baseline only where that is no chance.

    Args:
        look: For the error rate, and since when there need be no baseline.
        metric: Its harmful direction, margin and limit.
        data: With something on both sides.
        quality: Whether the baseline was read where it had no traffic: then it had none, and the canary all of it.
    """
    baseline, canary = (heard(data, side) for side in (Side.BASELINE, Side.CANARY))
    alone = canary & ~baseline
    if look.promoted is not None:  # from there on no baseline is to be expected
        alone[look.promoted :] = False
    if not alone.any():
        return None
    amount = _amount(data, canary)
    beside = float(amount[canary & baseline].sum())
    if not isinstance(data, GaugeData):
        other = float(_amount_of_baseline(data)[canary & baseline].sum())
        alone &= _no_chance(amount, baseline, share=beside / (beside + other or 1.0))
    if not alone.any():
        return None
    share = float(amount[alone].sum()) / float(amount.sum())
    what = {CountData: "traffic", RawData: "values"}.get(type(data), "intervals")
    told = f"{share:.0%} of the canary's {what} came while the baseline had none, and were compared with nothing"
    late = np.cumsum(baseline) == 0
    inside = float(amount[alone & ~late].sum()) / float(amount.sum())
    # batches that each side does at its own minute leave the baseline as alone as the canary
    read = isinstance(data, CountData) and quality is not None and _all_read(quality)
    if not read and (
        share > _MOST_BEFORE or inside > max(_MOST_ALONE, 2 * _alone_of_baseline(data, baseline & ~canary))
    ):
        return f"{told}: is a part of the baseline missing?"
    if isinstance(data, CountData):
        counts = within_exposure(data.counts) if metric.is_proportion else data.counts
        worse = _worse_counts(look.config, metric, counts, alone)
    else:
        worse = _worse_levels(look.config, metric, data, alone)
    return None if worse is None else f"{told}, and look worse: {worse}"


def _all_read(quality: Quality) -> bool:
    """Whether every interval of the baseline was read, also those without traffic."""
    return quality.coverage_baseline >= 1 and not quality.late_baseline


def _alone_of_baseline(data: GaugeData | CountData | RawData, alone: Bool) -> float:
    """What share of the baseline came while the canary had nothing."""
    if isinstance(data, GaugeData):
        return float(alone.mean())
    amount = _amount_of_baseline(data)
    return float(amount[alone].sum() / (amount.sum() or 1.0))


def _no_chance(amount: Float, baseline: Bool, *, share: float) -> Bool:
    """The pauses of the baseline in which the canary has more than falls to it alone by chance."""
    pause = np.cumsum(baseline)  # numbered by what was heard before
    amounts = np.bincount(pause, weights=np.where(baseline, 0.0, amount))
    improbable = share**amounts < _BY_CHANCE / max(int(np.count_nonzero(amounts)), 1)
    return np.asarray(improbable[pause])


def _amount(data: GaugeData | CountData | RawData, canary: Bool) -> Float:
    """What the canary has in each interval: exposure, values, or a level."""
    if isinstance(data, CountData):
        return data.counts.exposure_canary
    if isinstance(data, RawData):
        return np.bincount(data.interval_canary, minlength=canary.size).astype(np.float64)
    return canary.astype(np.float64)


def _amount_of_baseline(data: CountData | RawData) -> Float:
    if isinstance(data, CountData):
        return data.counts.exposure_baseline
    size = max(data.interval_baseline.max(initial=-1), data.interval_canary.max(initial=-1)) + 1
    return np.bincount(data.interval_baseline, minlength=size).astype(np.float64)


def _worse_counts(config: JudgeConfig, metric: Metric, counts: Counts, alone: Bool) -> str | None:
    """Its events there against all of the baseline's."""
    events, exposure = float(counts.events_canary[alone].sum()), float(counts.exposure_canary[alone].sum())
    one = Counts(
        events_baseline=counts.events_baseline.sum(keepdims=True),
        exposure_baseline=counts.exposure_baseline.sum(keepdims=True),
        events_canary=np.array([events]),
        exposure_canary=np.array([exposure]),
    )
    margin = metric.parsed_margin()
    found = compare_counts(
        one, harm=metric.harm, margin=margin, proportion=metric.is_proportion, phi=dispersion(counts)
    )
    if found is None:
        return None
    evidence = found.evidence
    p = evidence.p_harm if evidence.p_beyond_margin is None else evidence.p_beyond_margin
    if p > config.false_pass_rate:
        return None
    return f"{events / exposure:.3g} against {evidence.baseline:.3g} of the baseline at other times"


def _worse_levels(config: JudgeConfig, metric: Metric, data: GaugeData | RawData, alone: Bool) -> str | None:
    """Its median there against that of the baseline, or the limit: more of its values lie beyond than by chance."""
    if isinstance(data, RawData):
        values, usual = data.canary[alone[data.interval_canary]], data.baseline
    else:
        values, usual = levels(data, Side.CANARY)[alone], levels(data, Side.BASELINE)
        usual = usual[np.isfinite(usual)]
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    if values.size < _FEWEST or not usual.size:
        return None
    here, there, known = float(np.median(values)), np.array([float(np.median(usual))]), values[np.isfinite(values)]
    for upward in directions(metric.harm):
        bounds = (
            [] if margin is None else moved_onto(margin.shifted(there, upward=upward), known, before=there).tolist()
        )
        if limit is not None and upward is (metric.harm is Harm.INCREASE):
            bounds.append(limit)
        if any(_beyond(values, usual, bound, upward=upward) <= config.false_pass_rate for bound in bounds):
            return f"{here:.4g} against {there[0]:.4g} of the baseline at other times"
    return None


def _beyond(values: Float, usual: Float, bound: float, *, upward: bool) -> float:
    """The p-value (sign test) of "no more of the values lie beyond the bound than usually"; 1 unless most do."""
    far, often = (int((some > bound if upward else some < bound).sum()) for some in (values, usual))
    if 2 * far <= values.size:
        return 1.0
    return binomial_tails(far, values.size, (often + 1) / (usual.size + 2)).above
