"""What is odd about totals: those of all traffic, of a probe, running ones, of windows that overlap, and no counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from canary_judge.arrays import Float, distinct, median
from canary_judge.results import Side
from canary_judge.special import special
from canary_judge.stats.counts import Counts

__all__ = ["odd_totals"]

# So many equal totals are no chance, where they vary.
_FEWEST_EQUAL = 8
# Of the variance of chance, what is too little for requests; and that this little comes by chance.
_REGULAR, _BY_CHANCE = 0.1, 1e-3
# A router that deals out every hundredth request makes totals as regular: not of so small a share, and it makes them
# follow the other side's.
_DEALT_OUT, _FOLLOWS, _ROUNDED_AWAY = 0.005, 0.5, 0.3
# Of the requests of an interval, what a probe sends, and in what share of the baseline's intervals.
_FEWEST_A_PROBE, _OF_A_PROBE, _ALWAYS = 3.0, 10.0, 0.9
# Of the variance of chance, what counts that bend by chance have at least; the median of a squared normal score.
_OF_CHANCE, _MEDIAN_SQUARE = 0.3, 0.455
# Of so many intervals; what a step has of the variance of chance; how many times that of a step the values have; that
# this comes by chance; of so many events; and of so many steps that are one, as numbers made up for a trial have not.
_FEWEST_STEPS, _SMALL_STEPS, _SMOOTH, _SURELY, _FEWEST_EVENTS, _FEWEST_CHANGES = 20, 0.3, 3.0, 1e-4, 40.0, 5
# Percentages of so many intervals are no more than this, vary so much less than counts, beside totals so large, and are
# alike where the totals are so many times apart.
_PERCENTAGES, _PERCENT, _ROUNDED, _MANY, _APART, _AT_LEAST = 8, 100.0, 0.5, 200.0, 2.0, 2.5

# Of so many totals that rise; steps of the first one; what is as even by chance from zero on, and anywhere.
_FEWEST_RISES, _FIRST, _EVEN, _TOO_EVEN = 4, 3.0, 0.02, 1e-4
# Standard errors.
_CLEARLY = 3.0
# Whole numbers beyond it have no units; of so many different multiples; logarithm of a chance that is none.
_LARGEST, _FEWEST_MULTIPLES, _NEARLY_ALL, _NO_CHANCE = 2.0**53, 4, 1 - 1e-9, -23.0
# The same of both sides' events, of which a single one is 0 or 1 on both where a clock makes it.
_SAME_BY_CHANCE = -16.0
# Of the variance of two independent totals, what those have of which one is a copy with a part lost.
_MIRRORED = 0.4


def odd_totals(counts: Counts, *, proportion: bool, timed: bool, expected: bool) -> Iterator[tuple[str, bool]]:
    """Why these counts may not be what was asked for; and whether that forbids to believe them.

    Args:
        counts: One entry per interval.
        proportion: The exposure counts trials of which each is an event or not.
        timed: The exposure is time.
        expected: It is configured what share of the traffic the canary should have, so that another one is told.
    """
    some = counts.exposed()
    if proportion and (running := _running(some)) is not None:
        yield running
    if some.exposure_canary.size < _FEWEST_EQUAL:
        return
    # of what is counted by time nothing tells a mirror from a filter without effect
    yield from _said(_same_events(some, timed=timed), surely=not timed)
    if not timed and not expected:
        # a mirror that copies every request has a weight of 50 %
        yield from _said(_same_total(some), surely=True)
        yield from _said(_probe(counts, some), surely=some.exposure_canary.mean() <= _OF_A_PROBE)
    for side in Side:  # what is made smoothly, as CPU seconds are used, is counted by no chance
        yield from _said(_overlapping(some, side, proportion=proportion), surely=proportion)
    if proportion:
        yield from _said(_percentages(some), surely=True)
    yield from _said(_multiples(some, "events", proportion=proportion), surely=True)
    if not timed:
        # requests of one client may come together
        yield from _said(_multiples(some, "exposure", proportion=False), surely=False)
        yield from _said(_both_multiplied(some), surely=False)


def _said(text: str | None, *, surely: object) -> Iterator[tuple[str, bool]]:
    if text is not None:
        yield text, bool(surely)


def _same_total(some: Counts) -> str | None:
    """Whether both sides have the same total in every interval, which varies by chance: it is that of all traffic.

    What a load test sends to both has a profile, whose steps hardly change.
    """
    one, other = some.exposure_baseline, some.exposure_canary
    if (one != other).any() or distinct(one).size <= one.size / 2:
        return None
    if not _bends(one):
        return None
    return (
        f"both sides have the same total in each of {one.size} intervals: is it that of all traffic? Count each side's "
        "own, or, where every request is mirrored, say `traffic: {weight: 50}`"
    )


def _bends(totals: Float) -> bool:
    """Whether totals bend as by chance; those of a load that is made hardly do."""
    bends = totals[:-2] - 2 * totals[1:-1] + totals[2:]
    return median(bends * bends) >= _OF_CHANCE * _MEDIAN_SQUARE * 6 * float(totals.mean())


def _same_events(some: Counts, *, timed: bool) -> str | None:
    """Whether both sides have the same events in every interval, by no chance, and totals that are not the same ones.

    Given those of both together, a side has half of them with at most binom(2 e, e) / 4^e. Of requests that are
    mirrored the totals go together, too, also where some are lost.
    """
    one, other = some.events_baseline, some.events_canary
    if one.size < _FEWEST_STEPS / 2 or (one != other).any() or (one != np.rint(one)).any() or one.max() >= _LARGEST:
        return None
    if _below_chance(one, _ROUNDED) or (timed and one.max() <= 1):  # what a clock makes
        return None
    if not timed:
        share = float(some.exposure_canary.sum()) / float(some.exposure_baseline.sum())
        apart = some.exposure_canary - share * some.exposure_baseline
        if float((apart * apart).sum()) < _MIRRORED * share * (1 + share) * float(some.exposure_baseline.sum()):
            return None
    chance = special.gammaln(2 * one + 1) - 2 * special.gammaln(one + 1) - 2 * one * np.log(2)
    if float(chance.sum()) > _SAME_BY_CHANCE:
        return None
    return (
        f"both sides have the same events in each of {one.size} intervals, {one.sum():,.0f} in all: are they those of "
        "all traffic? Count each side's own; a filter may have no effect"
    )


def _running(some: Counts) -> tuple[str, bool] | None:
    """Whether both sides' totals rise in every interval, more evenly than counts can: running sums; and surely so.

    Second differences of Poisson counts of mean v have the variance 6 v; those of a sum of them twice that of one step
    (as in `canary_judge.samples.pace.climbs_evenly`). But clients that come and stay make such totals, too: then their
    events go with the totals, and fall now and then.
    """
    sides = some.exposure_baseline, some.exposure_canary
    if sides[0].size < _FEWEST_RISES or min(float((one[1:] - one[:-1]).min()) for one in sides) <= 0:
        return None
    steps = [one[1:] - one[:-1] for one in sides]
    made = [(step[1:] - step[:-1]) ** 2 / (2 * float(step.mean())) for step in steps]
    if _level(made) < _TOO_EVEN:  # not even a sum of counts: a load that is made to rise
        return None
    from_zero = all(one[0] <= _FIRST * median(step) for one, step in zip(sides, steps, strict=True))
    if _evenness(sides) > (_EVEN if from_zero else _TOO_EVEN):
        return None
    text = (
        f"the totals of both sides rise in each of {sides[0].size} intervals, from {sides[1][0]:,.0f} to "
        f"{sides[1][-1]:,.0f} on the canary, and more evenly than counts do: are they running sums? Count what is new "
        "in each interval"
    )
    events = some.events_baseline, some.events_canary
    never_fall = all((one[1:] >= one[:-1]).all() for one in events)
    return text, _left_behind(events, sides) or (never_fall and _evenness(events) <= _EVEN)


def _evenness(sides: Sequence[Float]) -> float:
    """The chance that Poisson counts bend as little."""
    return _level([(one[2:] - 2 * one[1:-1] + one[:-2]) ** 2 / (6 * np.maximum(one[1:-1], 1.0)) for one in sides])


def _level(squares: Sequence[Float]) -> float:
    """The chance of so small a sum of squared second differences, each over its variance.

    Neighbours have a correlation of -2/3, and the next ones of 1/6: the sum is that of fewer independent ones
    (Satterthwaite 1946, doi:10.2307/3002019).

    Args:
        squares: One array a series, shape (m,) each, of one length.
    """
    m = squares[0].size
    fewer = 1 + 2 * ((m - 1) / m * 4 / 9 + max(m - 2, 0) / m / 36)
    df = len(squares) * m / fewer
    return float(special.chdtr(df, sum(float(one.sum()) for one in squares) / fewer))


def _left_behind(events: Sequence[Float], totals: Sequence[Float]) -> bool:
    """Whether events do not go with the totals: fewer of them in the second half, by no chance."""
    all_events, all_totals = (np.add(*both) for both in (events, totals))
    half = all_events.size // 2
    number, share = float(all_events.sum()), float(all_totals[half:].sum() / all_totals.sum())
    late = float(all_events[half:].sum())
    return bool(late - number * share < -_CLEARLY * np.sqrt(max(number * share * (1 - share), 1.0)))


def _probe(counts: Counts, some: Counts) -> str | None:
    """Whether the canary's total hardly varies while the baseline's does as requests do: a probe alone reaches it."""
    theirs, own = some.exposure_baseline, some.exposure_canary
    # of a thin stream only the intervals with a request are left
    if own.mean() < _FEWEST_A_PROBE or own.size < _ALWAYS * np.count_nonzero(counts.exposure_baseline):
        return None
    if not _below_chance(own, _REGULAR) or _below_chance(theirs, _ROUNDED):
        return None
    if own.sum() >= _DEALT_OUT * theirs.sum():
        dealt = float(theirs.std() / theirs.mean() * own.mean())  # how far a router that deals out would move it
        still = own.min() == own.max()
        if dealt < (_ROUNDED_AWAY if still else 1.0) or (not still and np.corrcoef(own, theirs)[0, 1] > _FOLLOWS):
            return None
    low, high = own.min(), own.max()
    number = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return (
        f"the canary's total is {number} in each of {own.size} intervals, while the baseline's varies as requests do: "
        "does anything but a probe reach it? Give `traffic: {weight: ...}`"
    )


def _below_chance(values: Float, share: float) -> bool:
    """Whether values vary less than this share of what chance gives counts of their size, and surely so."""
    mean, df = float(values.mean()), values.size - 1
    statistic = float(((values - mean) ** 2).sum()) / mean if mean > 0 else float(df)
    return statistic < share * df and float(special.chdtr(df, statistic)) <= _BY_CHANCE


def _overlapping(some: Counts, side: Side, *, proportion: bool) -> str | None:
    """Whether a side's counts go from interval to interval by less than chance, though they go far: of rolling windows.

    What is left of the events without their share of the exposure is by chance alone, whatever moves the traffic: of
    independent ones neighbours differ by twice their variance.
    """
    events, exposure = getattr(some, f"events_{side}"), getattr(some, f"exposure_{side}")
    share = float(events.sum()) / float(exposure.sum())
    of_chance = float(events.sum()) * (max(1 - share, 0.0) if proportion else 1.0) / events.size
    if events.size < _FEWEST_STEPS or of_chance * events.size < _FEWEST_EVENTS:
        return None
    if np.count_nonzero(events[1:] != events[:-1]) < _FEWEST_CHANGES:
        return None
    left = events - share * exposure
    steps = left[1:] - left[:-1]
    of_steps = float((steps * steps).mean()) / 2
    if of_steps >= _SMALL_STEPS * of_chance or float(left.var()) <= _SMOOTH * of_steps:
        return None
    df = 2 * steps.size / 3  # neighbouring steps share a value
    if float(special.chdtr(df, df * of_steps / of_chance)) > _SURELY:
        return None
    return (
        f"the {side}'s counts differ from those of the interval before by far less than chance lets them: are they of "
        "windows that overlap, as increase(...[1h]) every minute? Count what is new in each interval"
    )


def _multiples(some: Counts, what: Literal["events", "exposure"], *, proportion: bool) -> str | None:
    """Whether all of a side's events or totals are multiples of a whole number, by no chance going by the other side's.

    As where a client sends each twice, a join matches several rows, or one of so many is kept and stands for all of
    them. What events a total cuts off say nothing; and the other side must not come in such batches itself, of which a
    larger one has more odd ones: it varies as single events do, or its events are no more than this side's.
    """
    sides = {side: getattr(some, f"{what}_{side}") for side in Side}
    if any((one != np.rint(one)).any() or one.max() >= _LARGEST for one in sides.values()):
        return None
    for side, other in ((Side.BASELINE, Side.CANARY), (Side.CANARY, Side.BASELINE)):
        told = [
            (sides[one] > 0) & ((sides[one] < getattr(some, f"exposure_{one}")) | (not proportion))
            for one in (side, other)
        ]
        own, theirs = sides[side][told[0]], sides[other][told[1]]
        if min(own.size, theirs.size) < _FEWEST_EQUAL or distinct(own).size < _FEWEST_MULTIPLES:
            continue
        unit = int(np.gcd.reduce(own.astype(np.int64)))
        if unit < 2:
            continue
        if what == "exposure" and not (_bends(own) and _bends(theirs)):
            continue
        none = float((theirs % unit != 0).mean())
        chance = own.size * np.log1p(-min(none, _NEARLY_ALL))
        if chance > _NO_CHANCE:
            continue
        as_many = min(1.0, float(own.mean() / theirs.mean()))
        if chance * as_many <= _NO_CHANCE or _by_steps(some, what, other) < 1 + (unit - 1) / 4:
            name = "events" if what == "events" else "totals"
            return (
                f"the {side}'s {name} are multiples of {unit} in each of {own.size} intervals, and the {other}'s are "
                f"not in {none:.0%}: is each counted {unit} times (as by a join), are they scaled up from a sample, or "
                "do they come together?"
            )
    return None


def _both_multiplied(some: Counts) -> str | None:
    """Whether the totals of both sides are multiples of the same number, and the events of neither."""
    events, totals = (
        np.concatenate([getattr(some, f"{what}_{side}") for side in Side]) for what in ("events", "exposure")
    )
    if any((one != np.rint(one)).any() or one.max() >= _LARGEST for one in (events, totals)):
        return None
    unit, of_events = (int(np.gcd.reduce(one.astype(np.int64))) for one in (totals, events))
    if unit < 2 or of_events != 1 or distinct(totals).size < _FEWEST_MULTIPLES or not _bends(some.exposure_baseline):
        return None
    return (
        f"the totals of both sides are multiples of {unit} in each of {some.events_canary.size} intervals, and the "
        f"events are not: do requests come together, or is each counted {unit} times, as by a join? That makes every "
        "rate look smaller"
    )


def _by_steps(some: Counts, what: Literal["events", "exposure"], side: Side) -> float:
    """Variance of a side's events or totals over that of single ones, by what neighbours differ in."""
    values, exposure = getattr(some, f"{what}_{side}"), getattr(some, f"exposure_{side}")
    left = values - float(values.sum()) / float(exposure.sum()) * exposure if what == "events" else values
    steps = left[1:] - left[:-1]
    return float((steps * steps).mean()) / 2 / max(float(values.mean()), 1e-300)


def _percentages(some: Counts) -> str | None:
    """Whether both sides' events are small whole numbers that vary too little for counts: percentages, rounded."""
    sides = (some.events_baseline, some.events_canary)
    if some.exposure_canary.size < _PERCENTAGES or max(float(one.max()) for one in sides) > _PERCENT:
        return None
    totals = float(some.exposure_baseline.sum()), float(some.exposure_canary.sum())
    if min(some.exposure_baseline.min(), some.exposure_canary.min()) < _MANY or max(totals) < _APART * min(totals):
        return None
    moving = any(one.min() != one.max() for one in sides)  # what always fails once may be a probe
    if not moving or not all(one.mean() >= _AT_LEAST and _below_chance(one, _ROUNDED) for one in sides):
        return None
    rates = [float(one.sum()) / total for one, total in zip(sides, totals, strict=True)]
    if max(rates) < _APART * min(rates):  # they go as the total does
        return None
    low, high = min(float(one.min()) for one in sides), max(float(one.max()) for one in sides)
    return (
        f"the events of both sides are {low:g} to {high:g} in every interval, whatever the total, and vary far less "
        "than counts do: are they percentages, rounded? Give the number of events, or `kind: gauge`"
    )
