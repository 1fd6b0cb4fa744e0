"""What does exist where a selector of Prometheus matched nothing: other values, other labels, other names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from canary_judge.config.reading import nearest
from canary_judge.errors import SourceError
from canary_judge.series import MetricSource, Query, Reading, Window, format_duration

__all__ = ["what_exists"]

_MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|=)\s*"((?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
# So many series, values and names are looked at, and shown.
_MOST_SERIES, _SHOWN = 50, 5


def what_exists(source: MetricSource, query: Query, labels: Mapping[str, str], window: Window) -> str:
    """A hint at what could have been meant, to be put behind a message; empty where there is none.

    Args:
        source: The source that was asked; others than Prometheus know no selectors, so nothing is asked of them.
        query: That found nothing.
        labels: Of its side, whose values are looked for in its matchers.
        window: In which something may exist.
    """
    if not hasattr(source, "is_selector"):
        return ""
    name = _metric_name(query.expression)
    if name is None:
        return ""
    try:
        return _hint(source, query, name, labels, window)
    except SourceError:
        return ""


def _hint(source: MetricSource, query: Query, name: str, labels: Mapping[str, str], window: Window) -> str:
    found = _labels_of(source, query, f"topk({_MOST_SERIES}, last_over_time({name}[{_span(window)}]))", window)
    if not found:
        start = name[: max(len(name) // 2, min(len(name), 4))]
        alike = _labels_of(
            source,
            query,
            f"topk({_MOST_SERIES}, count by (name) "
            f'(label_replace({{__name__=~"{start}.*"}}, "name", "$1", "__name__", "(.*)")))',
            window,
        )
        names = sorted({one["name"] for one in alike if "name" in one})
        return f"; there is no metric {name}{nearest(name, names)}"
    matchers = [(label, value) for label, _, value in _MATCHER.findall(query.expression)]
    known = sorted({label for one in found for label in one})
    for label, _ in matchers:
        if label not in known and label != "le":
            return f"; no series of {name} has a label {label!r}{nearest(label, known)}; there are {', '.join(known)}"
    for label, value in sorted(matchers, key=lambda one: one[1] not in labels.values()):
        values = sorted({one[label] for one in found if label in one})
        if value not in values and values:
            shown = ", ".join(map(repr, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
            return f"; {label} has the values {shown}"
    return f"; {name} exists, but no series fits all of its matchers"


def _metric_name(expression: str) -> str | None:
    """The metric of an expression: what stands before the first brace, or the whole of a name."""
    before = re.search(r"([a-zA-Z_:][\w:]*)\s*\{", expression)
    if before:
        return before[1]
    return expression.strip() if _NAME.fullmatch(expression.strip()) else None


def _labels_of(source: MetricSource, query: Query, expression: str, window: Window) -> list[Mapping[str, str]]:
    """Labels of what an expression gives at the end of the window."""
    last = Window(window.end - query.step, window.end)
    asked = replace(query, reading=Reading.LEVEL, expression=expression, part="hint", bound=None)
    (result,) = source.fetch([asked], last)
    return [one.labels for one in result.series]


def _span(window: Window) -> str:
    return format_duration(window.duration)
