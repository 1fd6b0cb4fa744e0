"""What a query of PromQL can mean to the judge, and which answers to it are refused: pure checks of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from canary_judge.errors import QueryError
from canary_judge.results import Side
from canary_judge.series import Form, Query, Result, format_duration, parse_duration, selector

__all__ = [
    "is_selector",
    "refuse_many",
    "refuse_unless_per_interval",
    "with_position",
    "without_shared",
    "without_twins",
]

_SELECTOR = re.compile(
    r"""(?=[\w:{])(?:[a-zA-Z_:][\w:]*)?\s*(\{(?:[^{}"'`]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*\})?"""
)


def is_selector(expression: str) -> bool:
    """Whether an expression is a bare selector, which is read as it was scraped."""
    return _SELECTOR.fullmatch(expression.strip()) is not None


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


def refuse_unless_per_interval(query: Query) -> None:
    """Counts by an expression must be events of one interval: anything else counts events many times, or a level."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", query.expression)
    for opening, closing in ("{}", "()", "[]"):
        if bare.count(opening) != bare.count(closing):
            raise QueryError(f"parse error: {query.expression} has not as many {opening!r} as {closing!r}")
    ranges = re.findall(r"\[([^\]]*)\]", query.expression)
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
