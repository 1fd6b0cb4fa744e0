"""Known faults, put into a canary that was none: what would the judge have found?

A fault is put into the canary of an A/A draw, after both sides were drawn, and its noise stays. Counts are not
multiplied, because that makes clumps: successes become events one by one. The baseline is never touched.

References:
    Basiri, A. et al. (2016), IEEE Software 33(3), doi:10.1109/MS.2016.60 (faults on purpose, against what is steady).
    docs/calibrate.md has what the sizes stand for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.config.metrics import Metric
from canary_judge.results import Harm
from canary_judge.samples import GaugeData
from canary_judge.sources.tables import Table

__all__ = ["FAULTS", "Fault", "faulty_gauges", "faulty_rows"]

Shape = Literal["constant", "leak", "late", "one of several", "longer tail", "wider"]

# From this part of the window on a late fault is there.
_LATE = 2 / 3
# Of requests, one of so many is served by the bad one; of values, the slowest share has the longer tail.
_SEVERAL, _SLOWEST = 5, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: As it is shown.
        text: What happens.
        shape: Over time and over what is measured.
        size: How many times as bad it is where it is there at all; of "wider", the log of a value lies so many times
            as far from its median.
    """

    name: str
    text: str
    shape: Shape
    size: float

    @property
    def constant(self) -> bool:
        """It is a regression of so many times, as power is told for."""
        return self.shape == "constant"

    def times(self, place: Float, hit: Bool) -> Float:
        """How many times as bad everything is, 1 and more.

        Args:
            place: Where in the window, 0 to 1.
            hit: What "one of several" is.
        """
        if self.shape == "leak":
            return 1 + (self.size - 1) * place
        there = place > _LATE if self.shape == "late" else hit if self.shape == "one of several" else True
        found: Float = np.where(there, self.size, 1.0) * np.ones_like(place)
        return found


FAULTS = (
    Fault(name="x1.5", text="1.5 times as bad throughout", shape="constant", size=1.5),
    Fault(name="x2", text="twice as bad throughout", shape="constant", size=2.0),
    Fault(name="x3", text="three times as bad throughout", shape="constant", size=3.0),
    Fault(name="leak", text="worse all the time, twice as bad at the end", shape="leak", size=2.0),
    Fault(name="late", text="twice as bad in the last third", shape="late", size=2.0),
    Fault(
        name="one bad", text="one instance, or a fifth of requests, 3 times as bad", shape="one of several", size=3.0
    ),
    Fault(name="tail", text="the slowest tenth 3 times as slow", shape="longer tail", size=3.0),
    Fault(name="spread", text="half as far again from the median", shape="wider", size=1.5),
)


def faulty_gauges(data: GaugeData, fault: Fault, harm: Harm, rng: np.random.Generator) -> GaugeData | None:
    """A fault in the canary's instances; None where these values cannot have it.

    Args:
        data: An A/A draw.
        fault: What happens; a longer tail and a wider spread are of single requests.
        harm: In which direction; upwards where both hurt.
        rng: Picks the bad instance.
    """
    instances, intervals = data.canary.shape
    if fault.shape in ("longer tail", "wider") or (fault.shape == "one of several" and instances < 2):
        return None
    hit = (np.arange(instances) == rng.integers(instances))[:, None]
    place = np.broadcast_to((np.arange(intervals) + 0.5) / intervals, data.canary.shape)
    worse = _worse(data.canary, fault.times(place, hit), harm)
    return None if worse is None else replace(data, canary=worse)


def faulty_rows(
    table: Table,
    canary: Bool,
    users: Int | None,
    metrics: Sequence[Metric],
    fault: Fault,
    rng: np.random.Generator,
) -> tuple[Table, frozenset[str]]:
    """A fault in the canary's single requests, and the names of the metrics that can have it.

    Args:
        table: Requests of one window, in order of time.
        canary: Which of them are the canary's, shape (n,).
        users: Which user each is of, shape (n,): the bad instance is that of a fifth of them; None: of a fifth of the
            requests.
        metrics: Which are to suffer.
        fault: What happens.
        rng: Picks what is hit.
    """
    since = table.times - table.times[0]
    place = since / max(float(since[-1]), 1.0)
    codes = np.arange(len(table)) if users is None else users
    hit = (rng.random(int(codes.max()) + 1) < 1 / _SEVERAL)[codes]
    times = fault.times(place, hit)
    ok, numbers, reached = table.ok, dict(table.numbers), set()
    done: set[str] = set()
    for metric in metrics:
        name = _column(metric)
        column, of_metric = name, np.ones(len(table), dtype=bool)
        if "metric" in table.texts:  # of a long table
            column, of_metric = "value", table.texts["metric"] == name
        if name == "errors" and ok is not None:
            if fault.shape in ("longer tail", "wider"):
                continue
            if name not in done:
                ok = ~_more_events(~ok, canary, times, metric.harm, rng)
        elif column in numbers and (canary & of_metric).any():
            if name not in done:
                rows = slice(None) if of_metric.all() else of_metric
                changed = _faulty_column(numbers[column][rows], canary[rows], times[rows], fault, metric.harm, rng)
                if changed is None:
                    continue
                numbers[column] = numbers[column].copy()
                numbers[column][rows] = changed
        else:
            continue
        done.add(name)
        reached.add(metric.name)
    return replace(table, ok=ok, numbers=numbers), frozenset(reached)


def _column(metric: Metric) -> str:
    """The name of what gets worse of a metric."""
    return str(next(iter(metric.texts().values()))[1])


def _faulty_column(
    values: Float, canary: Bool, times: Float, fault: Fault, harm: Harm, rng: np.random.Generator
) -> Float | None:
    own = values[canary]
    known = own[np.isfinite(own)]
    if not known.size:
        return None
    changed = values.copy()
    if fault.shape == "wider":
        middle = float(np.median(known))
        if known.min() <= 0:
            return None
        changed[canary] = middle * (own / middle) ** fault.size
    elif fault.shape == "longer tail":
        if harm is Harm.DECREASE or known.min() < 0 or _of_events(known):
            return None
        changed[canary] = np.where(own >= np.quantile(known, _SLOWEST), own * fault.size, own)
    elif _of_events(values[np.isfinite(values)]):
        events = _more_events(values == 1, canary, times, harm, rng)
        changed[canary] = np.where(np.isfinite(own), events[canary].astype(float), own)
    else:
        worse = _worse(own, times[canary], harm)
        if worse is None:
            return None
        changed[canary] = worse
    return changed


def _of_events(values: Float) -> bool:
    """Whether each value says that something happened or did not."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def _more_events(events: Bool, canary: Bool, times: Float, harm: Harm, rng: np.random.Generator) -> Bool:
    """So many times the events of the canary: successes become events, or fewer of them are left.

    How many become events goes by the rate of both sides: by the canary's own its noise would be multiplied, too.
    """
    luck = rng.random(events.size)
    if harm is Harm.DECREASE:
        return events & ~(canary & (luck > 1 / times))
    share = float(events.mean())
    turned = np.minimum((times - 1) * share / max(1 - share, 1e-12), 1.0)
    return events | (canary & (luck < turned))


def _worse(values: Float, times: Float, harm: Harm) -> Float | None:
    """Values so many times as bad; where their mean is below 0, so many times its size is added."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    level = float(known.mean())
    if level == 0 or not math.isfinite(level):
        return None
    factor = 1 / times if harm is Harm.DECREASE else times
    found: Float = values * factor if level > 0 else values + (factor - 1) * abs(level)
    return found
