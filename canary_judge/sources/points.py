"""Points as a store has them, put in order: moved to the end of their buckets, cut to the window, and checked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

import numpy as np

from canary_judge.arrays import Int
from canary_judge.errors import QueryError, SourceError, SourceUnavailable
from canary_judge.samples.pace import CUMULATIVE, looks_cumulative
from canary_judge.series import Form, Query, Reading, Result, Series, Window, nanoseconds

__all__ = ["FORMS", "Labels", "TimeIs", "failed", "provenance_of", "to_result", "twins"]

TimeIs = Literal["moment", "bucket_start", "bucket_end"]
# Names and values of labels, in the order of the names.
Labels = tuple[tuple[str, str], ...]
# So many times tell how far apart they are; of rare events the logarithm of a chance, and what is many in a bucket.
_SOME, _HARDLY, _SURELY, _MANY = 5, -8.0, -14.0, 10.0
# An hour and a day, in nanoseconds.
_UNITS = (3_600_000_000_000, 86_400_000_000_000)
# What is read of a store that counts what is new in each row.
FORMS = {
    Reading.LEVEL: Form.LEVEL,
    Reading.COUNTS: Form.COUNTS,
    Reading.SAMPLES: Form.SAMPLES,
    Reading.HISTOGRAM: Form.SAMPLES,
}


def twins(queries: Sequence[Query], asked: Sequence[object]) -> dict[int, str]:
    """What is wrong with queries that ask the same of both sides: a forgotten label compares the baseline with itself.

    Args:
        queries: Of one fetch.
        asked: What is sent for each, with the labels in it; None where that is not known.

    Returns:
        The error of a query, by its place.
    """
    found: dict[int, str] = {}
    for place, (query, sent) in enumerate(zip(queries, asked, strict=True)):
        for other, (second, same) in enumerate(zip(queries, asked, strict=True)):
            alike = (query.metric, query.part) == (second.metric, second.part) and query.side is not second.side
            if alike and sent is not None and sent == same:
                text = "both sides ask the same; tell them apart with a label, as ${version}"
                found[place] = found[other] = text
    return found


def provenance_of(query: Query, url: str) -> str:
    """What was asked and where, on one line."""
    return f"{' '.join((query.template or query.expression).split())} at {url}"


def failed(query: Query, error: SourceError, url: str) -> Result:
    """The result of a query that was not answered; it may be asked again where the store was only not to be reached."""
    return Result(
        error=str(error),
        temporary=isinstance(error, SourceUnavailable),
        complete=False,
        provenance=provenance_of(query, url),
    )


def to_result(
    found: Mapping[Labels, Sequence[tuple[int, float]]],
    query: Query,
    window: Window,
    *,
    time_is: TimeIs | None,
    provenance: str,
    lenient: bool = False,
) -> Result:
    """The answer to a query.

    Args:
        found: Time (nanoseconds since the epoch) and value of each point, by series.
        query: What was asked.
        window: Of which points are wanted.
        time_is: What a time says of a count: its moment, or the start or the end of the bucket that is counted.
        provenance: As in `Result`.
        lenient: One bucket more at either end is no finding: some stores round a window up.

    Raises:
        QueryError: It is not said what the times are, two points are at one time, or the counts never fall.
    """
    form = FORMS[query.reading]
    if time_is != "moment" and (lenient or (form is Form.COUNTS and time_is is not None)):  # rows may be of any time
        _refuse_coarser(found, query, rare=not lenient)
    moved = _moved(found, query, form, time_is)
    start, end = nanoseconds(window.start), nanoseconds(window.end)
    step = query.step // timedelta(microseconds=1) * 1000
    slack = step if lenient else 0
    series, outside, after = [], 0, 0
    for key in sorted(moved):
        points = sorted(moved[key])
        inside = [point for point in points if start < point[0] <= end]
        outside += sum(
            not start - slack <= at <= end + slack for at, _ in points
        )  # one at the start is of the interval before
        after += sum(at == end + step for at, _ in points)
        if inside:
            one = Series(
                timestamps=np.array([at for at, _ in inside], dtype=np.int64),
                values=np.array([value for _, value in inside]),
                labels=dict(key),
            )
            series.append(_checked(one, form, query))
    if form is Form.COUNTS and query.part == "events" and len(series) == 1:
        series = [_with_zeros(series[0], window.edges(query.step))]
    told = f"{outside} rows of {query.part} lie outside of the window and are left out"
    if time_is == "bucket_start" and form is Form.COUNTS and after == outside:
        told += ": a bucket by its start holds what is `>= :start` and `< :end`"
    warnings = (told,) if outside else ()
    return Result(
        series=tuple(series),
        form=form,
        warnings=warnings,
        complete=not outside,  # whatever moved them there may have moved others away
        sparse=form is Form.COUNTS and query.part == "events",
        provenance=provenance,
    )


def _moved(
    found: Mapping[Labels, Sequence[tuple[int, float]]], query: Query, form: Form, time_is: TimeIs | None
) -> Mapping[Labels, Sequence[tuple[int, float]]]:
    """Each point at the end of the bucket that it counts, in which it belongs."""
    step = query.step // timedelta(microseconds=1) * 1000
    times = [at for points in found.values() for at, _ in points]
    if form is Form.COUNTS and time_is is None and times and all(at % step == 0 for at in times):
        raise QueryError(
            "all times lie on the grid: does `time` name the start of the bucket that a row counts (as of "
            "date_trunc), or its end? Set `time_is: bucket_start`, `bucket_end` or `moment` of the source"
        )
    if time_is != "bucket_start" or form is not Form.COUNTS:
        return found
    if any(at % step for at in times):
        raise QueryError(
            f"the start of a bucket lies inside of an interval of {step / 1e9:g} s: are the buckets shorter? Aggregate "
            "by the interval (`:step`, ${step:s}), or give the end of each bucket (`time_is: bucket_end`)"
        )
    return {key: [(at + step, value) for at, value in points] for key, points in found.items()}


def _refuse_coarser(found: Mapping[Labels, Sequence[tuple[int, float]]], query: Query, *, rare: bool) -> None:
    """Some stores answer long windows in longer steps, and say nothing of it; and so does a wrong date_trunc.

    Where only buckets with any are given they may be so far apart by chance.
    """
    step = query.step // timedelta(microseconds=1) * 1000
    for points in found.values():
        times = sorted(at for at, _ in points)
        usual = math.gcd(*(after - before for before, after in itertools.pairwise(times)))
        if usual <= step:
            continue
        if rare:
            # a job may run every five minutes; what is cut to an hour or a day is so by the clock
            if usual not in _UNITS or any(at % usual for at in times):
                continue
            chance = (len(times) - 1) * math.log(step / usual)
            known = [value for _, value in points if math.isfinite(value)]
            mean = math.fsum(known) / max(len(known), 1)
            coarser = chance <= (_HARDLY if mean >= _MANY else _SURELY)
        else:
            coarser = len(times) >= _SOME
        if coarser:
            raise QueryError(
                f"the store answered in steps of {usual / 1e9:g} s where {step / 1e9:g} s were asked: look more often, "
                "aggregate by the interval, or set a longer `interval`"
            )


def _checked(one: Series, form: Form, query: Query) -> Series:
    if form is not Form.SAMPLES and (np.diff(one.timestamps) == 0).any():
        if form is Form.COUNTS:  # rows of single events
            at, place = np.unique(one.timestamps, return_inverse=True)
            sums = np.bincount(place, weights=one.values).astype(np.float64)
            one = Series(timestamps=at, values=sums, labels=one.labels)
        else:
            when = np.datetime64(int(one.timestamps[1:][np.diff(one.timestamps) == 0][0]), "ns")
            raise QueryError(f"two rows of {query.part} have the time {when}Z; aggregate them, or select a label, too")
    if form is Form.COUNTS and looks_cumulative(one.values[np.isfinite(one.values)]):
        raise QueryError(
            CUMULATIVE.format(name=repr(query.part)).replace(
                "name it among `counters:` of the source", "count what is new of each row"
            )
        )
    return one


def _with_zeros(one: Series, edges: Int) -> Series:
    """The store has answered: an interval without a row of events had none; without any row it may be a typo."""
    seen = np.searchsorted(edges, one.timestamps, side="left")
    empty = np.setdiff1d(np.arange(1, edges.size), seen)
    times = np.concatenate([one.timestamps, edges[empty]])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([one.values, np.zeros(empty.size)])
    return Series(timestamps=times[order], values=values[order], labels=one.labels)
