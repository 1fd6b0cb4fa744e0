"""What is odd about counts of both sides: far better, cumulative, percentages, or none where some were due."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from canary_judge.arrays import Bool, Float
from canary_judge.config.metrics import Metric, RateMetric, RatioMetric
from canary_judge.judging.silence import longest_of
from canary_judge.results import Comparison, Harm, Side
from canary_judge.samples.counts import is_scaled
from canary_judge.stats.counts import Counts
from canary_judge.stats.dispersion import dispersion
from canary_judge.stats.exact import binomial_tails, deflated

__all__ = ["odd_counts"]

# Of the requests, what few errors never are.
_NEARLY_ALL = 0.9
# A canary that is so many times better, and surely so, is no better one.
_IMPLAUSIBLE, _BY_CHANCE = 10.0, 1e-3
# Of fewer intervals, or fewer events in each, nothing is known of how they vary.
_FEWEST, _FEWEST_EVENTS = 3, 5.0
# What percentages never exceed, and are more than where they are small; of so many intervals; beside totals so large.
_PERCENT, _LARGE_PERCENT, _PERCENTAGES, _MANY = 100.0, 20.0, 8, 200.0
# Of the variance of chance, what so regular events have.
_REGULAR = 0.1
# Of the canary's exposure, what may be missing; where so much is due in an interval, and hardly ever less than so much.
_MOST_MUTE, _DUE, _HARDLY_LESS = 0.05, 10.0, 0.2
# Events that may be due, in independent ones, where there are none.
_MOST_DUE = 30.0


def odd_counts(metric: Metric, counts: Counts, comparison: Comparison) -> Iterator[str]:
    """What forbids to believe that the canary is safe, by the counts alone."""
    found = [
        _nearly_all_harmful(metric, comparison),
        _far_better(metric, comparison),
        *(_regular(counts, side, proportion=metric.is_proportion) for side in Side),
        _mute(counts),
        *(_stopped(counts, side) for side in _better_without_events(metric)),
        *(_fractions(counts, side) for side in Side),
    ]
    yield from (one for one in found if one is not None)


def _nearly_all_harmful(metric: Metric, comparison: Comparison) -> str | None:
    """Whether nearly all requests of the baseline are events that should be few: what is counted are successes."""
    share = comparison.baseline or 0.0
    if not isinstance(metric, RatioMetric) or metric.harm is not Harm.INCREASE or share < _NEARLY_ALL:
        return None
    return (
        f"{share:.1%} of the baseline are events, of which more would be harm: are they successes? Then it is "
        "`harm: decrease`"
    )


def _better_without_events(metric: Metric) -> tuple[Side, ...]:
    """The side whose missing events make the canary look better."""
    return {Harm.INCREASE: (Side.CANARY,), Harm.DECREASE: (Side.BASELINE,)}.get(metric.harm, ())


def _far_better(metric: Metric, comparison: Comparison) -> str | None:
    """Whether the canary is surely ten times better: its events are not counted, or those of one side in another unit.

    By the exact test of a ratio of rates (`canary_judge.stats.exact`).
    """
    canary, baseline = comparison.events_canary or 0.0, comparison.events_baseline or 0.0
    if metric.harm is Harm.EITHER or canary + baseline <= 0:  # either way it is harm then
        return None
    if not canary and isinstance(metric, RatioMetric | RateMetric) and metric.absent_is_zero:
        return None
    fewer = metric.harm is Harm.INCREASE
    odds = comparison.n_canary / comparison.n_baseline * (1 / _IMPLAUSIBLE if fewer else _IMPLAUSIBLE)
    tails = binomial_tails(canary, canary + baseline, odds / (1 + odds))
    if deflated(tails.below if fewer else tails.above, comparison.dispersion or 1.0) > _BY_CHANCE:
        return None
    if not canary:
        due = baseline / comparison.n_baseline * comparison.n_canary
        return (
            f"the canary has no event where {due:,.0f} were to be expected: are they counted at all? If there were none"
            + (
                ", set `absent_is_zero: true`"
                if isinstance(metric, RatioMetric | RateMetric)
                else ", promote it by hand"
            )
        )
    which = "less than a tenth" if fewer else "more than ten times that"
    return (
        f"the canary's rate is {which} of the baseline's: are both counted, and in the same unit? If it is so much "
        "better, promote it by hand"
    )


def _regular(counts: Counts, side: Side, *, proportion: bool) -> str | None:
    """Whether events vary far less than chance lets them, as levels of a counter and percentages do.

    Pearson's statistic given the exposure, which is that of chi square (McCullagh & Nelder 1989, section 4.5), from
    below. Events that are always the same may be those of a probe.
    """
    exposed = getattr(counts, f"exposure_{side}") > 0
    events, exposure = (getattr(counts, f"{what}_{side}")[exposed] for what in ("events", "exposure"))
    if events.size < _FEWEST or (events[-1] < events[0] and events.max() > _PERCENT):
        return None
    if events.mean() < _FEWEST_EVENTS or events.min() == events.max():
        return None
    climbs = (np.diff(events) >= 0).all() and (np.diff(exposure) >= 0).all()
    percent = (
        events.size >= _PERCENTAGES
        and events.mean() >= _LARGE_PERCENT
        and events.max() <= _PERCENT
        and exposure.min() >= _MANY
        and proportion
    )
    if not climbs and not percent:
        return None
    share = events.sum() / exposure.sum()
    variance = exposure * share * (1 - share if proportion else 1.0)
    if share >= 1 and proportion:
        return None
    statistic, df = float(((events - share * exposure) ** 2 / variance).sum()), events.size - 1
    if statistic > _REGULAR * df or special.chdtr(df, statistic) > _BY_CHANCE:
        return None
    if climbs:
        return (
            f"the {side}'s events never fall, from {events[0]:,.0f} to {events[-1]:,.0f}, and vary far less than "
            "counts of their size: are they cumulative? Name the columns among `counters:` of the source"
        )
    return (
        f"the {side}'s events are {events.min():g} to {events.max():g} in every interval, whatever the total, and vary "
        "far less than counts of their size: are they percentages? Give the number of events, or `kind: gauge`"
    )


def _mute(counts: Counts) -> str | None:
    """Whether the canary has no exposure in intervals in which some was due: it may have failed just there.

    Between its first interval and its last one; not of a canary whose traffic comes in bursts, nor where what is
    missing comes with the next interval, as of a scrape that was lost.
    """
    canary, baseline = counts.exposure_canary, counts.exposure_baseline
    heard = np.flatnonzero(canary)
    if not _FEWEST <= heard.size < canary.size:
        return None
    inside = slice(int(heard[0]), int(heard[-1]) + 1)
    silent = (canary[inside] == 0) & (baseline[inside] > 0)
    if not silent.any():
        return None
    own = canary[heard]
    typical = float(np.median(own))
    if typical < _DUE or float(np.quantile(own, 0.05)) < _HARDLY_LESS * typical:
        return None
    silent &= ~_made_up(canary[inside], silent, typical)
    missing, every = int(silent.sum()), int((baseline[inside] > 0).sum())
    if missing <= _MOST_MUTE * every:
        return None
    return (
        f"the canary has nothing in {missing} of {every} intervals in which the baseline has traffic, and about "
        f"{typical:,.0f} in the others: was it lost, or did the canary fail there?"
    )


def _made_up(canary: Float, silent: Bool, typical: float) -> Bool:
    """The silent intervals whose exposure comes with the next one."""
    found = np.zeros(silent.size, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    for begin, end in edges.reshape(-1, 2):
        found[begin:end] = end < canary.size and canary[end] >= (end - begin + 1) * typical * (1 - _HARDLY_LESS)
    return found


def _stopped(counts: Counts, side: Side) -> str | None:
    """Whether a side has no event for so long that they have stopped coming, going by itself and the other side."""
    other = Side.BASELINE if side is Side.CANARY else Side.CANARY
    if np.count_nonzero(getattr(counts, f"events_{side}")) > counts.events_canary.size - _FEWEST:
        return None
    both = (counts.exposure_canary > 0) & (counts.exposure_baseline > 0)
    events, exposure = (getattr(counts, f"{what}_{side}")[both] for what in ("events", "exposure"))
    run = longest_of(events == 0)
    if run.stop - run.start < _FEWEST or not events.any():
        return None
    theirs = getattr(counts, f"events_{other}")[both][run].sum() / getattr(counts, f"exposure_{other}")[both][run].sum()
    rest = exposure.sum() - exposure[run].sum()
    own = events.sum() / rest if rest > 0 else 0.0
    due = min(theirs, own) * float(exposure[run].sum())
    if due < _MOST_DUE:
        return None
    others = np.ones(counts.events_canary.size, dtype=bool)
    others[np.flatnonzero(both)[run]] = False
    if due < _MOST_DUE * dispersion(counts.select(others)):  # what comes in clumps stays away for a while
        return None
    return (
        f"the {side} has no event in {run.stop - run.start} intervals in a row, in which {due:,.0f} were to be "
        "expected: have they stopped coming?"
    )


def _fractions(counts: Counts, side: Side) -> str | None:
    """Whether events are no whole numbers where the total is: they are a percentage, or a rate."""
    events, exposure = getattr(counts, f"events_{side}"), getattr(counts, f"exposure_{side}")
    broken = events[events != np.rint(events)]
    if broken.size < 2 or broken.size < events.size / 2 or events.max() > _PERCENT or is_scaled(broken):
        return None
    if (exposure != np.rint(exposure)).any():
        return None
    return (
        f"the {side}'s events of {broken[0]:g} in an interval, of a total that is whole, are no counts but a "
        "percentage or a rate: give the number of events, or `kind: gauge`"
    )
