"""What is odd about counts of both sides: far better, cumulative, percentages, or none where some were due."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from canary_judge.arrays import Bool, Float, distinct
from canary_judge.config.metrics import Metric, RateMetric, RatioMetric
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.doubts.odd_totals import odd_totals
from canary_judge.judging.silence import longest_of, longest_run, runs
from canary_judge.results import Comparison, Harm, Quality, Side
from canary_judge.samples.counts import no_counts
from canary_judge.special import special
from canary_judge.stats.counts import Counts, both_exposed, strata
from canary_judge.stats.dispersion import dispersion
from canary_judge.stats.exact import rate_ratio_p_values

__all__ = ["odd_counts"]

# Of the requests, what few errors never are.
_NEARLY_ALL = 0.9
# What a metric of failures is called.
_FAILURES = re.compile(r"error|(?<![a-z])err|fail|5xx|timeout|crash|exception|reject", re.IGNORECASE)
# So many times better, and surely so, is told; so much better, or by so much of all requests, no canary is.
_IMPLAUSIBLE, _NEVER, _HALF_OF_ALL, _BY_CHANCE = 10.0, 100.0, 0.4, 1e-3
# Of fewer intervals, or fewer events in each, nothing is known of how they vary.
_FEWEST, _FEWEST_EVENTS = 3, 5.0
# So many intervals of so many requests in which there must have been two events, and there never were.
_MOST_WITH_TWO, _MANY_FOR_A_FLAG = 15.0, 20.0
# So many equal counts are no chance, where the other side takes so many values.
_FEWEST_STILL, _VARIED = 8, 5
# What percentages never exceed, and those of successes hardly fall below; of so many intervals; beside totals so large.
_PERCENT, _LARGE_PERCENT, _PERCENTAGES, _MANY = 100.0, 90.0, 8, 200.0
# A counter has been counting for so many times what an interval adds; what rises at each step is less often chance.
_LONG_SINCE, _IN_ORDER = 60.0, 1e-2
# Of the variance of chance, what so regular events have.
_REGULAR = 0.1
# Of the canary's exposure, what may be missing; where so much is due in an interval, and hardly ever less than so much.
_MOST_MUTE, _DUE, _HARDLY_LESS = 0.1, 10.0, 0.2
# Events that may be due, in independent ones, where there are none for a while; and where there are none at all.
_MOST_DUE, _MANY_DUE = 30.0, 10.0

# What is left out of small numbers is fewer than so many; so often beside none, and so many in all by no chance.
_FEWEST_GIVEN, _AS_FEW, _NEXT_TO_IT, _NEVER_BETWEEN = 5, 3, 3, 12
# How far a distribution that is cut off may be from what is left of it.
_HALVINGS, _TWICE, _MUCH = 40, 1.5, 0.7

# A margin that tolerates so many times of what hurts, and so much of all requests, is told.
_MANY_TIMES, _MANY_POINTS = 5.0, 0.05


def odd_counts(metric: Metric, counts: Counts, found: Assessed, *, expected: bool) -> Assessed:
    """The evidence, which is not safe where the counts alone forbid to believe it; and what a reader should know.

    Args:
        metric: Of counts.
        counts: One entry per interval.
        found: The evidence.
        expected: It is configured what share of the traffic the canary should have.
    """
    comparison = found.comparison
    if comparison is None:
        return found
    # a limit asks nothing of the baseline
    compared, sides = metric.margin is not None, (*Side,) if metric.margin is not None else (Side.CANARY,)
    timed = isinstance(metric, RateMetric) and metric.exposure is None  # what happens once a minute at most
    better, surely = _far_better(metric, counts, comparison)
    surely = surely and compared
    successes, meant = _nearly_all_harmful(metric, comparison) if compared else (None, False)
    totals = list(odd_totals(counts, proportion=metric.is_proportion, timed=timed, expected=expected))
    forbidden = [
        better if surely else None,
        successes if meant else None,
        *(_regular(counts, side, proportion=metric.is_proportion) for side in sides),
        _mute(counts, found.quality),
        *(_stopped(counts, side) for side in _better_without_events(metric) if side in sides),
        *(_fractions(counts, side) for side in sides if metric.is_proportion),
        *(_suppressed(counts, side) for side in sides),
        *(text for text, surely_odd in totals if surely_odd),
    ]
    told = [better if not surely else None, successes if not meant else None, _wide(metric, comparison)]
    # what happens once an interval at most is so by itself, and so is a probe
    told += [*(_flags(counts, side) for side in sides if not timed), _still(counts), *_neither(counts)]
    told += [text for text, surely_odd in totals if not surely_odd]
    found = replaced(found, warnings=(*found.warnings, *(text for text in told if text is not None)))
    for text in forbidden:
        found = found if text is None else found.doubted(text)
    return found


def _nearly_all_harmful(metric: Metric, comparison: Comparison) -> tuple[str | None, bool]:
    """Whether nearly all requests of the baseline are events that should be few, as if successes were counted.

    What is called errors hardly is nearly all; of another name it may be meant.
    """
    share = comparison.baseline or 0.0
    if not isinstance(metric, RatioMetric) or metric.harm is not Harm.INCREASE or share < _NEARLY_ALL:
        return None, False
    text = (
        f"{share:.1%} of the baseline are events, of which more would be harm: are they successes? Then it is "
        "`harm: decrease`"
    )
    named = " ".join((metric.name, *(str(one) for one in metric.texts().values())))
    return text, _FAILURES.search(named) is not None


def _wide(metric: Metric, comparison: Comparison) -> str | None:
    """That a margin tolerates many times the failures: of a share of nearly all, or in points beside hardly any."""
    margin, share = metric.parsed_margin(), comparison.baseline or 0.0
    if margin is None or not metric.is_proportion or not 0 < share < 1:
        return None
    amount = margin.amount(share)
    lacking = 1 - share
    if metric.harm is Harm.DECREASE and amount >= (_MANY_TIMES - 1) * lacking:
        return (
            f"a margin of {metric.margin} tolerates {1 + amount / lacking:.0f} times as many requests without it: "
            f"{lacking:.2g} of the baseline's, {lacking + amount:.2g} at the margin; judge these, as `harm: increase`, "
            "or give a narrower margin"
        )
    if metric.harm is Harm.INCREASE and amount >= max(_MANY_POINTS, (_MANY_TIMES - 1) * share):
        return (
            f"a margin of {metric.margin} tolerates {1 + amount / share:.0f} times the baseline's share of {share:.2g}"
            ": is its unit right?"
        )
    return None


def _better_without_events(metric: Metric) -> tuple[Side, ...]:
    """The side whose missing events make the canary look better."""
    return {Harm.INCREASE: (Side.CANARY,), Harm.DECREASE: (Side.BASELINE,)}.get(metric.harm, ())


def _far_better(metric: Metric, counts: Counts, comparison: Comparison) -> tuple[str | None, bool]:
    """Whether the canary is surely ten times better, and so much so that it is no better one.

    By the exact test of a ratio of rates, stratum by stratum (`canary_judge.stats.exact`). A fix may be as large; one
    of nearly half of all requests, or a hundredfold, is events that are not counted, or of another unit.
    """
    canary, baseline = comparison.events_canary or 0.0, comparison.events_baseline or 0.0
    fewer = metric.harm is Harm.INCREASE
    if metric.harm is Harm.EITHER or canary + baseline <= 0:  # either way it is harm then
        return None, False
    rates = canary / comparison.n_canary, baseline / comparison.n_baseline
    if not canary:
        due = rates[1] * comparison.n_canary
        enough = due >= _MANY_DUE * (comparison.dispersion or 1.0)
        told = f"the canary has no event where {due:,.0f} were to be expected: are they counted at all?"
        return told if fewer and enough else None, False
    if _IMPLAUSIBLE * rates[not fewer] > rates[fewer]:
        return None, False

    def surely(times: float) -> bool:
        tails = rate_ratio_p_values(strata(counts), ratio=1 / times if fewer else times, phi=comparison.dispersion or 1)
        return (tails.below if fewer else tails.above) <= _BY_CHANCE

    if not surely(_IMPLAUSIBLE):
        return None, False
    which = "less than a tenth" if fewer else "more than ten times that"
    far = metric.is_proportion and abs(rates[0] - rates[1]) >= _HALF_OF_ALL
    return (
        f"the canary's rate is {which} of the baseline's: are both counted, and in the same unit?",
        far or surely(_NEVER),
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
    climbs = _counts_up(events) and (_counts_up(exposure) or exposure.min() == exposure.max())
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
    if statistic > _REGULAR * df or special.chdtr(df, statistic) > (_IN_ORDER if climbs else _BY_CHANCE):
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


def _flags(counts: Counts, side: Side) -> str | None:
    """Whether events only say that there were any: no interval has two where many must, of so many that have one.

    Where none is found in this share of intervals, counts of a Poisson process have two or more in so many; what comes
    in clumps has them in more, and what comes at most once in an interval by itself is left alone where it always does.
    """
    exposed = getattr(counts, f"exposure_{side}") > 0
    events, exposure = (getattr(counts, f"{what}_{side}")[exposed] for what in ("events", "exposure"))
    if not events.size or events.max() != 1 or exposure.min() < _MANY_FOR_A_FLAG or not np.isin(events, (0, 1)).all():
        return None
    none = float((events == 0).mean())
    if none == 0 or events.size * (1 - none * (1 - math.log(none))) < _MOST_WITH_TWO:
        return None
    return (
        f"the {side}'s events are 0 or 1 in every interval, and 1 in {1 - none:.0%} of them, where counts would often "
        "be more: do they say whether there were any? Give the number of events"
    )


def _still(counts: Counts) -> str | None:
    """Whether the canary's events never change, whatever its exposure, while the baseline's do as counts."""
    some = counts.exposed()
    events, exposure, theirs = some.events_canary, some.exposure_canary, some.events_baseline
    if events.size < _FEWEST_STILL or events[0] < _FEWEST_EVENTS or (events != events[0]).any():
        return None
    if distinct(exposure).size <= events.size / 2 or distinct(theirs).size < _VARIED:  # a probe sends as many
        return None
    return (
        f"the canary's events are {events[0]:g} in every interval, whatever the total, while the baseline's vary: has "
        "their exporter died?"
    )


def _counts_up(values: Float) -> bool:
    """Whether values rise at each step, by little of what they are: levels of a counter that began long before."""
    steps = np.diff(values)
    return bool((steps > 0).all() and values[0] >= _LONG_SINCE * steps.mean())


def _mute(counts: Counts, quality: Quality | None) -> str | None:
    """Whether the canary has no value in intervals in which some exposure was due: it may have failed just there.

    Between its first interval and its last one; not where no traffic was written down, of a canary whose traffic comes
    in bursts, nor where what is missing comes with the next interval, as of a scrape that was lost.
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
    silent &= ~_caught_up(canary[inside], silent, typical)
    missing, every = int(silent.sum()), int((baseline[inside] > 0).sum())
    unknown = 0.0 if quality is None else (1 - quality.coverage_canary) * canary.size
    if missing <= _MOST_MUTE * every or unknown < missing / 2:
        return None
    return (
        f"the canary has nothing in {missing} of {every} intervals in which the baseline has traffic, and about "
        f"{typical:,.0f} in the others: was it lost, or did the canary fail there?"
    )


def _caught_up(canary: Float, silent: Bool, typical: float) -> Bool:
    """The silent intervals whose exposure comes with the next one."""
    found = np.zeros(silent.size, dtype=bool)
    for begin, end in runs(silent):
        found[begin:end] = end < canary.size and canary[end] >= (end - begin + 1) * typical * (1 - _HARDLY_LESS)
    return found


def _stopped(counts: Counts, side: Side) -> str | None:
    """Whether a side has no event for so long that they have stopped coming, going by itself and the other side."""
    other = Side.BASELINE if side is Side.CANARY else Side.CANARY
    if np.count_nonzero(getattr(counts, f"events_{side}")) > counts.events_canary.size - _FEWEST:
        return None
    both = both_exposed(counts)
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


def _neither(counts: Counts) -> Iterator[str]:
    """Whether neither side has any event at the end, or the beginning, where many were due by its own rate."""
    some = counts.exposed()
    events = some.events_baseline + some.events_canary
    if not events.any():
        return
    place, (first, last) = np.arange(events.size), np.flatnonzero(events)[[0, -1]]
    between = (place >= first) & (place <= last)
    quiet = max(_FEWEST_STILL, 2 * longest_run(events[between] == 0))  # what comes in clumps stays away for a while
    rate = some.events_baseline.sum() / some.exposure_baseline[between].sum()
    for which, outside, why in (
        ("last", place > last, "have they stopped coming"),
        ("first", place < first, "does the source give only the newest"),
    ):
        number, due = int(outside.sum()), rate * float(some.exposure_baseline[outside].sum())
        if number >= quiet and due >= _MOST_DUE * dispersion(some.select(between)):
            yield (
                f"neither side has an event in the {which} {number} intervals, in which {due:,.0f} of the baseline "
                f"were to be expected: {why}?"
            )


def _suppressed(counts: Counts, side: Side) -> str | None:
    """Whether small numbers are left out, as for privacy: often none, often a few, and never fewer than these.

    What is left must be of a Poisson distribution that is cut off there: as spread, and with as much of it below. What
    comes in batches is neither.
    """
    exposed = getattr(counts, f"exposure_{side}") > 0
    events = getattr(counts, f"events_{side}")[exposed]
    have = events[events > 0]
    if not have.size or have.size == events.size or (fewest := float(have.min())) < _FEWEST_GIVEN:
        return None
    none, so_few = events.size - have.size, int((have == fewest).sum())
    beside = int(((have > fewest) & (have <= fewest + _NEXT_TO_IT)).sum())
    if so_few < _AS_FEW or not beside or min(none, so_few) * (fewest - 1) < _NEVER_BETWEEN:
        return None
    if (events != np.rint(events)).any() or len(runs(events == 0)) < _AS_FEW:  # it may have been switched off
        return None
    below, spread = _cut_off(fewest, float(have.mean()))
    share = none / events.size
    if not (share / _TWICE <= below <= _TWICE * share and _MUCH * spread <= float(have.var()) <= spread / _MUCH):
        return None
    return (
        f"the {side} has no event in {none} of {events.size} intervals and never fewer than {fewest:g} in the others, "
        f"just {fewest:g} in {so_few}: are small numbers left out (as by HAVING, or for privacy)? Have them given"
    )


def _cut_off(fewest: float, mean: float) -> tuple[float, float]:
    """Of a Poisson distribution whose part from `fewest` on has this mean: what is below it, and the variance of it.

    The part has the mean rate * P(X >= fewest - 1) / P(X >= fewest), by which the rate is found (Johnson, Kemp & Kotz
    2005, *Univariate Discrete Distributions*, section 4.10).
    """

    def above(number: float, rate: float) -> float:
        return float(special.pdtrc(number - 1, rate))

    low, high = 0.0, mean
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        part = above(fewest, rate)
        low, high = (rate, high) if not part or rate * above(fewest - 1, rate) < mean * part else (low, rate)
    part = above(fewest, high)
    square = high * high * above(fewest - 2, high)
    return 1 - part, square / part + mean - mean * mean if part else 0.0


def _fractions(counts: Counts, side: Side) -> str | None:
    """Whether events are a percentage or a rate, which a look of few intervals could not tell."""
    events, exposure = getattr(counts, f"events_{side}"), getattr(counts, f"exposure_{side}")
    some = events > 0
    why = no_counts(events[some], exposure[some], fewest=2)
    return None if why is None else f"{side}: {why}"
