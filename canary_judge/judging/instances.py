"""Gauges whose instances are kept apart: each pod is one value, however long its record."""

from __future__ import annotations

import math

import numpy as np

from canary_judge.arrays import Bool, Float, column_means, in_errors, levels_of_rows
from canary_judge.config.metrics import Metric
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.doubts.odd_spread import worth_a_word
from canary_judge.judging.doubts.odd_values import implausible, not_settled, stands_still
from canary_judge.judging.look import Look
from canary_judge.judging.shortfalls import instance_shortfall
from canary_judge.judging.values import no_relative_margin
from canary_judge.results import Harm, Outcome, Shortfall
from canary_judge.samples import GaugeData
from canary_judge.special import special
from canary_judge.stats.gauges import limit_values
from canary_judge.stats.instances import compare_instances
from canary_judge.stats.questions import Compared
from canary_judge.stats.sample_sizes import t_sample_size

__all__ = ["assess_instances"]

_FEWEST_INSTANCES = 5
# Of all that the canary's instances lived, and of their number: what is left out beyond it could hide harm.
_NOTABLE = 0.1
# Fewer instances of the canary that end are those of a rollout; so many of the baseline's must go on.
_SEVERAL, _STILL_THERE = 3, 0.8
# So many are there for this share of the time or more.
_MOST_OF_THE_TIME = 0.8
# An instance is so far from the baseline's by no chance, and so many margins away: pods differ for good.
_NO_CHANCE, _MANY_MARGINS = 1e-3, 4.0
# Of the intervals, those that an instance which was there throughout has; and of a side's instances, those which were.
_THROUGHOUT, _THROUGHOUT_TOO = 0.9, 0.5
# An instance's first values are those of its start.
_AT_FIRST = 3


def assess_instances(look: Look, metric: Metric, data: GaugeData, bare: Assessed) -> Assessed:
    """Instances against instances, over the time that both sides lived through."""
    least = look.config.min_samples
    # what one side alone lived through is no effect
    both = ~np.isnan(data.baseline).all(axis=0) & ~np.isnan(data.canary).all(axis=0)
    long_enough = [np.count_nonzero(~np.isnan(side[:, both]), axis=1) >= least for side in (data.baseline, data.canary)]
    baseline, canary = data.baseline[:, both][long_enough[0]], data.canary[:, both][long_enough[1]]
    have = len(baseline) + len(canary)
    if have < _FEWEST_INSTANCES or len(baseline) < 2 or not len(canary):
        text = (
            f"{len(baseline)} baseline and {len(canary)} canary instances have {least} intervals or more; "
            f"a comparison needs {_FEWEST_INSTANCES} of them in all, two baseline and one canary"
        )
        needs = f"needs {_FEWEST_INSTANCES} instances with {least} intervals, has {have}"
        need = instance_shortfall(have=have, required=float(_FEWEST_INSTANCES), text=needs)
        return replaced(bare, settled=(Outcome.INSUFFICIENT, text), shortfall=need)
    compared = compare_instances(
        baseline=baseline,
        canary=canary,
        harm=metric.harm,
        margin=metric.parsed_margin(),
        before=_before(data, long_enough, least),
    )
    check, limit = None, metric.parsed_limit()
    if limit is not None:
        check = limit_values(canary=levels_of_rows(canary), tau=1.0, limit=limit, harm=metric.harm)
    found = replaced(
        bare.with_comparison(compared), limit=check, shortfall=_shortfall(look, metric, baseline, compared)
    )
    if left_out := len(data.canary) - len(canary):
        text = f"{left_out} of the canary's instances have fewer than {least} intervals with values"
        lived = np.count_nonzero(~np.isnan(data.canary), axis=1)
        notable = lived[~long_enough[1]].sum() > _NOTABLE * lived.sum() or left_out > _NOTABLE * len(data.canary)
        found = found.doubted(text) if notable else replaced(found, warnings=(*found.warnings, text))
    moves = not_settled(metric, _of_themselves(canary) - _of_themselves(baseline), interval=look.config.interval)
    odd = (_gone(data), _still(baseline, canary), _far_off(metric, baseline, canary), moves)
    every = [_settled(side) for side in (baseline, canary)]
    for one in (*(one for one in odd if one is not None), *implausible(metric, *every)):
        found = found.doubted(one)
    found = replaced(found, warnings=(*found.warnings, *worth_a_word(metric, *every)))
    return no_relative_margin(found, nothing=not np.nan_to_num(baseline).any())


def _of_themselves(side: Float) -> Float:
    """What instances that were there throughout differ from their own usual level, on average; shape (n,).

    Those that come and go would move the average by what they differ for good. NaN where none is known.
    """
    there = side[np.count_nonzero(~np.isnan(side), axis=1) >= _THROUGHOUT * side.shape[1]]
    if len(there) < _THROUGHOUT_TOO * len(side):
        return np.full(side.shape[1], np.nan)
    return column_means(there - levels_of_rows(there)[:, None])


def _gone(data: GaugeData) -> str | None:
    """Instances of the canary that were heard together and are not any more, while the baseline's still are."""
    now, most = [], []
    for side in (data.baseline, data.canary):
        alive = np.count_nonzero(~np.isnan(side), axis=0)
        newest = max(1, alive.size // 10)
        now.append(int(alive[-newest:].max(initial=0)))
        # while pods are replaced both the old and the new ones are there
        most.append(int(np.quantile(alive, _MOST_OF_THE_TIME)))
    if most[1] < _SEVERAL or now[1] > most[1] / 2 or not now[1] or now[0] < _STILL_THERE * most[0]:
        return None
    return f"{most[1] - now[1]} of the canary's {most[1]} instances are not heard any more: have they died?"


def _still(baseline: Float, canary: Float) -> str | None:
    """Instances of the canary that do not move, where all of the baseline's do."""
    theirs, ours = ([row[~np.isnan(row)] for row in side] for side in (baseline, canary))
    if any((row == row[0]).all() for row in theirs):
        return None
    still = sum(stands_still(row, theirs[0]) for row in ours)
    if still:
        return f"the value of {still} of the canary's {len(canary)} instances never changed: a frozen exporter?"
    return None


def _settled(side: Float) -> Float:
    """The values of all instances, without those with which each one began."""
    rows = [row[~np.isnan(row)] for row in side]
    return np.concatenate([row[max(_AT_FIRST, row.size // 10) :] for row in rows])


def _far_off(metric: Metric, baseline: Float, canary: Float) -> str | None:
    """An instance of the canary that is many margins and far from all of the baseline's, whatever the others do.

    Each one against the baseline's instances (Crawford & Howell 1998, see `canary_judge.stats.instances`), at a level
    that all of them share.
    """
    margin = metric.parsed_margin()
    if len(canary) == 1:  # the comparison itself is with this one
        return None
    levels = [levels_of_rows(side) for side in (baseline, canary)]
    usual = float(levels[0].mean())
    if margin is None or (amount := margin.amount(usual)) <= 0:
        return None
    if min(float(one.min()) for one in levels) > 0:
        away = np.log(levels[1]) - np.log(levels[0]).mean()
        spread = float(np.log(levels[0]).std(ddof=1))
    else:
        away, spread = levels[1] - usual, float(levels[0].std(ddof=1))
    size = len(baseline)
    t = np.array([in_errors(one, spread * math.sqrt(1 + 1 / size)) for one in away.tolist()])
    beyond = levels[1] - usual
    if metric.harm is Harm.DECREASE:
        t, beyond = -t, -beyond
    elif metric.harm is Harm.EITHER:
        t, beyond = np.abs(t), np.abs(beyond)
    far = (special.stdtr(size - 1, -t) * len(canary) < _NO_CHANCE) & (beyond > _MANY_MARGINS * amount)
    if not far.any():
        return None
    worst = float(levels[1][int(np.argmax(np.where(far, beyond, -math.inf)))])
    usually = f"{float(levels[0].min()):.3g} to {float(levels[0].max()):.3g}"
    return f"far from all instances of the baseline: {int(far.sum())} of {len(canary)}, at {worst:.3g} beside {usually}"


def _before(data: GaugeData, long_enough: list[Bool], least: int) -> tuple[Float, Float] | None:
    """Usual levels of the compared instances before the window; None where the record of any is too short."""
    if not (len(data.before_baseline) and len(data.before_canary)):
        return None
    records = zip((data.before_baseline, data.before_canary), long_enough, strict=True)
    past = [record[enough] for record, enough in records]
    if not all((np.count_nonzero(~np.isnan(side), axis=1) >= least).all() for side in past):
        return None
    return levels_of_rows(past[0]), levels_of_rows(past[1])


def _shortfall(look: Look, metric: Metric, baseline: Float, compared: Compared) -> Shortfall | None:
    margin, have = metric.parsed_margin(), compared.evidence.n_effective
    spread = float(levels_of_rows(baseline).std(ddof=1))
    amount = 0.0 if margin is None else margin.amount(compared.evidence.baseline or 0.0)
    if not (spread > 0 and amount > 0):
        return None
    required = t_sample_size(amount, sd=spread, alpha=look.config.false_pass_rate, power=look.config.power)
    if required <= have:
        return None
    text = f"needs about {math.ceil(required)} instances per side; more time does not help"
    return instance_shortfall(have=have, required=required, text=text)
