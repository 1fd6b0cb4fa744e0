"""The contract of `MetricSource`, as plain functions that raise AssertionError."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from canary_judge.results import Side
from canary_judge.series import Form, MetricSource, Query, Reading, Result, Window

__all__ = ["KnownSeries", "SourceHarness", "known_data", "source_checks"]

_START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_STEP = timedelta(seconds=15)
_WINDOW = Window(_START, _START + 20 * _STEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSeries:
    """One series that a harness must put into its store.

    Attributes:
        name: What is measured.
        side: Baseline or canary.
        points: (seconds since the epoch, value); NaN is a point with no value.
        labels: Further labels.
        cumulative: The values are a counter's.
    """

    name: str
    side: Side
    points: tuple[tuple[float, float], ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    cumulative: bool = False


class SourceHarness(Protocol):
    """How the checks reach a source under test."""

    def source(self, data: Sequence[KnownSeries]) -> MetricSource:
        """A source whose store holds exactly these series."""
        ...

    def expression(self, name: str, side: Side) -> str:
        """The query, in the source's language, that selects the series of this name and side."""
        ...


def known_data() -> tuple[KnownSeries, ...]:
    """The data behind the checks: a level, a gap, NaN, counters with a reset and a birth."""
    begin = _START.timestamp()
    seconds = _STEP.total_seconds()
    grid = [begin + seconds * k for k in range(21)]
    series = []
    for side in Side:
        level = tuple((when, 10.0 + k) for k, when in enumerate(grid))
        series += [
            KnownSeries(name="level", side=side, points=level),
            KnownSeries(name="undefined", side=side, points=((grid[1], 1.0), (grid[2], np.nan), (grid[3], 3.0))),
        ]
        counted = [float(5 * k) for k in range(11)] + [float(3 * k) for k in range(10)]
        series.append(
            KnownSeries(
                name="counted_total",
                side=side,
                points=tuple(zip(grid, counted, strict=True)),
                labels={"instance": f"{side}-1"},
                cumulative=True,
            )
        )
    return tuple(series)


def source_checks() -> tuple[Callable[[SourceHarness], None], ...]:
    """Every check; each takes a harness and raises AssertionError with what is wrong."""
    return (
        check_that_every_query_is_answered_in_order,
        check_that_timestamps_are_increasing_integers_inside_the_window,
        check_that_values_arrive_unchanged,
        check_that_an_undefined_point_is_no_number_and_no_gap_is_filled_with_one,
        check_that_nothing_found_is_an_empty_answer_and_no_exception,
        check_that_a_refused_query_does_not_hurt_the_others,
        check_that_counters_are_raw_and_carry_their_base,
        check_that_a_second_fetch_says_the_same,
        check_that_no_query_is_no_answer,
    )


def _query(harness: SourceHarness, name: str, reading: Reading, side: Side = Side.CANARY) -> Query:
    return Query(
        metric=name,
        part="value",
        side=side,
        reading=reading,
        expression=harness.expression(name, side),
        step=_STEP,
    )


def _fetch(harness: SourceHarness, *queries: Query) -> list[Result]:
    results = list(harness.source(known_data()).fetch(queries, _WINDOW))
    assert len(results) == len(queries), f"{len(queries)} queries got {len(results)} results"  # noqa: S101
    return results


def _expect(condition: bool, message: str) -> None:  # noqa: FBT001
    if not condition:
        raise AssertionError(message)


def check_that_every_query_is_answered_in_order(harness: SourceHarness) -> None:
    """Results come in the order of the queries, one each."""
    level, counted = _fetch(
        harness, _query(harness, "level", Reading.LEVEL), _query(harness, "counted_total", Reading.COUNTS)
    )
    _expect(level.form is Form.LEVEL, f"a level was answered with {level.form}")
    _expect(counted.form in (Form.COUNTER, Form.COUNTS), f"a count was answered with {counted.form}")


def check_that_timestamps_are_increasing_integers_inside_the_window(harness: SourceHarness) -> None:
    """Timestamps are int64 nanoseconds in (start, end], strictly increasing."""
    (result,) = _fetch(harness, _query(harness, "level", Reading.LEVEL))
    _expect(len(result.series) == 1, f"one series was put in, {len(result.series)} came out")
    times = result.series[0].timestamps
    _expect(times.dtype == np.int64, f"timestamps are {times.dtype}, not int64 nanoseconds")
    _expect(bool((np.diff(times) > 0).all()), "timestamps do not increase")
    inside = (times > _WINDOW.start.timestamp() * 1e9) & (times <= _WINDOW.end.timestamp() * 1e9)
    _expect(bool(inside.all()), "a timestamp lies outside of (start, end]")


def check_that_values_arrive_unchanged(harness: SourceHarness) -> None:
    """A level sampled on the grid comes back value by value."""
    (result,) = _fetch(harness, _query(harness, "level", Reading.LEVEL))
    expected = [11.0 + k for k in range(20)]
    _expect(result.series[0].values.tolist() == expected, f"expected {expected}, got {result.series[0].values}")


def check_that_an_undefined_point_is_no_number_and_no_gap_is_filled_with_one(harness: SourceHarness) -> None:
    """NaN stays NaN (or is left out); it never becomes a number such as 0."""
    (result,) = _fetch(harness, _query(harness, "undefined", Reading.LEVEL))
    at = int((_START + 2 * _STEP).timestamp() * 1e9)
    for one in result.series:
        value = one.values[one.timestamps == at]
        _expect(bool(np.isnan(value).all()), f"the undefined point became {value}")


def check_that_nothing_found_is_an_empty_answer_and_no_exception(harness: SourceHarness) -> None:
    """A name that does not exist gives no series, or an error of that query; never a number."""
    (result,) = _fetch(harness, _query(harness, "does_not_exist", Reading.LEVEL))
    _expect(not result.series, f"{len(result.series)} series came from nowhere")


def check_that_a_refused_query_does_not_hurt_the_others(harness: SourceHarness) -> None:
    """One unanswerable query leaves the others answered."""
    missing, level = _fetch(
        harness, _query(harness, "does_not_exist", Reading.LEVEL), _query(harness, "level", Reading.LEVEL)
    )
    _expect(not missing.series and len(level.series) == 1, "the good query was not answered")


def check_that_counters_are_raw_and_carry_their_base(harness: SourceHarness) -> None:
    """A counter comes back with its reset, and with its last point at or before the start; or as exact counts."""
    (result,) = _fetch(harness, _query(harness, "counted_total", Reading.COUNTS))
    values = result.series[0].values
    if result.form is Form.COUNTS:
        _expect(float(values.sum()) == 77.0, f"77 events were counted, {values.sum()} came out")
        return
    _expect(float(values[0]) == 0.0, "the last point at or before the window's start is missing")
    _expect(values.tolist().count(50.0) == 1 and float(values[-1]) == 27.0, f"the raw counter is {values}")


def check_that_a_second_fetch_says_the_same(harness: SourceHarness) -> None:
    """Fetching twice gives equal points."""
    query = _query(harness, "level", Reading.LEVEL)
    source = harness.source(known_data())
    first, second = (source.fetch([query], _WINDOW)[0].series[0] for _ in range(2))
    _expect(first.timestamps.tolist() == second.timestamps.tolist(), "the timestamps differ")
    _expect(first.values.tolist() == second.values.tolist(), "the values differ")


def check_that_no_query_is_no_answer(harness: SourceHarness) -> None:
    """An empty list of queries gives an empty list of results."""
    _fetch(harness)
