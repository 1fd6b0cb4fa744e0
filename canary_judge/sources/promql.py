"""What a query of PromQL can mean to the judge, and which answers to it are refused: pure checks of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from canary_judge.errors import QueryError, SourceError
from canary_judge.results import Side
from canary_judge.series import Form, Query, Result, Series, format_duration, parse_duration, selector

__all__ = [
    "is_selector",
    "promql_length",
    "refuse_many",
    "refuse_unless_per_interval",
    "series_of",
    "unix_seconds",
    "with_position",
    "without_overlaps",
    "without_shared",
    "without_twins",
]

_SELECTOR = re.compile(
    r"""(?=[\w:{])(?:[a-zA-Z_:][\w:]*)?\s*(\{(?:[^{}"'`]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*\})?"""
)


# Selectors with matchers, and nothing of what stands in quotes.
_WITHIN = re.compile(r"""[a-zA-Z_:][\w:]*\s*\{(?:[^{}"'`]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*\}""")


def is_selector(expression: str) -> bool:
    """Whether an expression is a bare selector, which is read as it was scraped."""
    return _SELECTOR.fullmatch(expression.strip()) is not None


def _overlaps_of(queries: Sequence[Query]) -> dict[tuple[str, str], tuple[str, str]]:
    """What might be selected on both sides within functions: by metric and part a selector of each side.

    Of the series themselves an answer of a function tells nothing, so that a baseline that selects the canary, too, is
    seen by asking for series that both have.

    Examples:
        >>> from canary_judge.series import Reading
        >>> texts = {Side.BASELINE: 'sum(rate(r{p=~"a-.*"}[1m]))', Side.CANARY: 'sum(rate(r{p=~"a-canary-.*"}[1m]))'}
        >>> _overlaps_of([Query(metric="m", part="total", side=side, reading=Reading.COUNTS, expression=text,
        ...                     step=timedelta(minutes=1)) for side, text in texts.items()])
        {('m', 'total'): ('r{p=~"a-.*"}', 'r{p=~"a-canary-.*"}')}
    """
    known: dict[tuple[str, str], dict[Side, tuple[str, ...]]] = {}
    for query in queries:
        inside = () if is_selector(query.expression) else tuple(one[0] for one in _WITHIN.finditer(query.expression))
        known.setdefault((query.metric, query.part), {})[query.side] = inside
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for place, sides in known.items():
        texts = sides.get(Side.BASELINE, ()), sides.get(Side.CANARY, ())
        # where one has more of them, it may take away what it should not have
        for pair in zip(*texts, strict=True) if len(texts[0]) == len(texts[1]) else ():
            names = {text[: text.index("{")].strip() for text in pair}
            if len(names) == 1 and pair[0] != pair[1]:
                found.setdefault(place, pair)
    return found


def promql_length(duration: timedelta) -> str:
    """A length of time as PromQL writes it, to the millisecond."""
    return f"{duration // timedelta(milliseconds=1)}ms"


def unix_seconds(moment: datetime) -> str:
    """A moment as the API takes it, to the millisecond."""
    return f"{(moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1):.3f}"


def refuse_many(expression: str, points: float, most: int) -> None:
    """Refuse more raw samples than may be read."""
    if points > most:
        raise QueryError(
            f"{expression} has {points:,.0f} raw samples in the window, more than max_samples = {most:,}; "
            "shorten the window, narrow the selector, or use a recording rule that sums the instances"
        )


def with_position(message: str, expression: str) -> str:
    """Turn `1:34: parse error: ...` into the place in the query."""
    found = re.search(r"(\d+):(\d+): (.*)", message)
    if not found or "\n" in expression:
        return f"{message} (query: {expression})"
    column = int(found[2])
    rest = expression[column - 1 :] or "its end"
    return f"{message[: found.start()]}{found[3]} at character {column}, before {rest!r} (query: {expression})"


def without_overlaps(
    queries: Sequence[Query], answers: Sequence[Result], in_common: Callable[[tuple[str, str]], int]
) -> list[Result]:
    """Refuse expressions of which both sides select the same series within functions.

    Args:
        queries: What was asked.
        answers: To each of them.
        in_common: How many series two selectors have in common; where it raises SourceError that is told.
    """
    pairs = zip(queries, answers, strict=True)
    heard = {(one.metric, one.part) for one, answer in pairs if answer.series and one.side is Side.CANARY}
    shared, unsure = {}, {}
    for place, pair in _overlaps_of(queries).items():
        if place not in heard:  # asked for again once there is a canary
            continue
        try:
            if number := in_common(pair):
                shared[place] = (
                    f"baseline and canary both select {number} series of {pair[0]} and {pair[1]}; make the selectors "
                    "exclusive"
                )
        except SourceError as error:
            unsure[place] = f"it could not be told whether both sides select the same series: {error}"
    checked = []
    for query, answer in zip(queries, answers, strict=True):
        place = query.metric, query.part
        if answer.error is None and place in shared:
            answer = replace(answer, series=(), error=shared[place])  # noqa: PLW2901
        elif place in unsure:
            answer = replace(answer, warnings=(*answer.warnings, unsure[place]))  # noqa: PLW2901
        checked.append(answer)
    return checked


# By their names these are counters; of gauges and conditions, as `up == 0`, samples may be what is meant.
_SCRAPES = re.compile(
    r"\bcount_over_time\s*\(\s*([\w:]+_(?:total|bucket|seconds_count|seconds_sum))\b\s*(?:\{[^}]*\})?\s*\["
)


def refuse_unless_per_interval(query: Query) -> None:
    """Counts by an expression must be events of one interval: anything else counts events many times, or a level."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`', "", query.expression)
    for opening, closing in ("{}", "()", "[]"):
        if bare.count(opening) != bare.count(closing):
            raise QueryError(f"parse error: {query.expression} has not as many {opening!r} as {closing!r}")
    ranges = re.findall(r"\[([^\]]*)\]", bare)
    if counter := _SCRAPES.search(bare):
        raise QueryError(
            f"{query.expression} counts how often {counter[1]} was scraped, and not what it counts; give the counter "
            f"itself, or increase({counter[1]}[{format_duration(query.step)}])"
        )
    step = query.step // timedelta(milliseconds=1)
    try:
        fit = bool(ranges) and all(parse_duration(text) // timedelta(milliseconds=1) == step for text in ranges)
    except ValueError:
        fit = False
    if not (fit and re.search(r"\b(increase|count_over_time|sum_over_time)\s*\(", query.expression)):
        raise QueryError(
            f"{query.expression} is no bare counter selector and no increase(...[{format_duration(query.step)}]) over "
            "exactly one interval; give the counter itself, or use [${interval}]"
        )


def without_twins(queries: Sequence[Query], answers: Sequence[Result]) -> list[Result]:
    """Refuse what asks the same of both sides: a forgotten ${label} would compare the baseline with itself."""
    sides: dict[tuple[str, str, str], set[Side]] = {}
    for query in queries:
        sides.setdefault((query.metric, query.part, query.expression), set()).add(query.side)
    return [
        replace(
            answer, series=(), error=f"both sides ask {query.expression}; tell them apart with a label, as ${{version}}"
        )
        if len(sides[query.metric, query.part, query.expression]) > 1
        else answer
        for query, answer in zip(queries, answers, strict=True)
    ]


def without_shared(queries: Sequence[Query], answers: Sequence[Result]) -> list[Result]:
    """Refuse gauges of which a series is on both sides: a baseline selector that also matches the canary dilutes it."""
    owners: dict[tuple[str, str], dict[Side, set[frozenset[tuple[str, str]]]]] = {}
    for query, answer in zip(queries, answers, strict=True):
        # of a bare selector all labels are there; what is aggregated may well be named alike on both sides
        if answer.form is Form.LEVEL and is_selector(query.expression):
            found = {frozenset(one.labels.items()) for one in answer.series if one.labels}
            owners.setdefault((query.metric, query.part), {})[query.side] = found
    checked = []
    for query, answer in zip(queries, answers, strict=True):
        sides = owners.get((query.metric, query.part), {})
        both = sides.get(Side.BASELINE, set()) & sides.get(Side.CANARY, set())
        if both:
            shown = selector(dict(min(both, key=sorted)))
            text = f"baseline and canary both select the series {shown}; make the selectors exclusive"
            answer = replace(answer, series=(), error=text)  # noqa: PLW2901
        checked.append(answer)
    return checked


def series_of(item: Mapping[str, Any]) -> Series:
    """One series of an answer."""
    labels = {name: str(value) for name, value in item["metric"].items() if name != "__name__"}
    if "histograms" in item or "histogram" in item:  # though there may be floats beside them
        raise QueryError(
            f"{labels} is a native histogram, of which `kind: latency` reads the share of slow requests; here it needs "
            "a function, as histogram_count(...)"
        )
    pairs = item["values"] if "values" in item else [item["value"]]
    times = np.array([pair[0] for pair in pairs], dtype=float)
    return Series(
        timestamps=np.rint(times * 1e3).astype(np.int64) * 1_000_000,
        values=np.array([float(pair[1]) for pair in pairs]),  # numpy reads texts at a tenth of the speed
        labels=labels,
    )
