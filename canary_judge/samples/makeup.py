"""What the counts of both sides are made of: series of another place, service or kind of request on one side alone."""

from __future__ import annotations

import re

import numpy as np

from canary_judge.results import Side
from canary_judge.samples.grid import Parts
from canary_judge.series import Form, Result, Series

__all__ = ["foreign_series", "misspelt_matcher"]

# Labels that tell instances and versions apart, and buckets.
_THEIR_OWN = re.compile(
    r"(.*[_.])?(pods?|instance|node|host|hostname|container|replica|replicaset|version|revision|commit|hash|image|tag|"
    r"release|deployment|task|uid|id|ip|address|endpoint|track|side|le)([_.](name|id|ip|uid))?",
    re.IGNORECASE,
)
# Of the canary's counts what is worth a word, and what is most of them; and so many were due on the other side.
_WORTH_A_WORD, _MOST, _MANY_DUE = 0.01, 0.5, 30.0
# A selector and its matchers, as PromQL writes them.
_SELECTOR = re.compile(r"\s*([a-zA-Z_:][\w:]*)\s*\{(.*)\}\s*", re.DOTALL)
_MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|=)\s*"([^"\\]*)"')
# Series that are compared.
_MOST_SERIES = 10_000


def foreign_series(parts: Parts) -> tuple[str | None, bool]:
    """That counts of the canary have a label that no series of the baseline has, though others of them have its labels.

    A selector without the namespace, a second service that has the same version, an outcome that is new. Words without
    numbers, for every look says them anew.

    Returns:
        What to say, if anything; and whether most of the canary's counts are such, beside all that the baseline has.

    Examples:
        >>> def one(value, **labels):
        ...     return Series(timestamps=np.array([1, 2]), values=np.array([0.0, value]), labels=labels)
        >>> baseline = Result(form=Form.COUNTER, series=(one(900.0, namespace="prod"),))
        >>> canary = Result(form=Form.COUNTER, series=(one(100.0, namespace="prod"), one(300.0, namespace="staging")))
        >>> foreign_series({("total", Side.BASELINE): baseline, ("total", Side.CANARY): canary})[0][:80]
        "most of the canary's `total` has namespace='staging', which no series of the bas"
    """
    for part in ("total", "exposure", "histogram"):
        sides = [_amounts(parts.get((part, side))) for side in Side]
        if all(1 <= len(one) <= _MOST_SERIES for one in sides) and (found := _foreign(*sides)) is not None:
            share, label, value, surely = found
            much = "most" if share >= _MOST else "a part"
            text = (
                f"{much} of the canary's `{part}` has {label}={value!r}, which no series of the baseline has: is it "
                "other traffic, or another outcome? Narrow the selector, or give each its metric"
            )
            return text, surely
    return None, False


_Amounts = list[tuple[dict[str, str], float]]


def _amounts(result: Result | None) -> _Amounts:
    """The labels of each series, and what it counted."""
    if result is None or result.form not in (Form.COUNTER, Form.COUNTS):
        return []
    buckets = any("le" in one.labels for one in result.series)
    whole = [one for one in result.series if not buckets or one.labels.get("le") == "+Inf"]
    return [(dict(one.labels), _counted(one, result.form)) for one in whole]


def _counted(one: Series, form: Form) -> float:
    values = one.values[np.isfinite(one.values)]
    if form is Form.COUNTER:
        values = np.maximum(np.diff(values), 0.0)
    return float(values.sum())


def _foreign(baseline: _Amounts, canary: _Amounts) -> tuple[float, str, str, bool] | None:
    """The label of which most is foreign: its share, its name, its largest value, and whether it comes beside all."""
    all_of = [sum(amount for _, amount in side) for side in (baseline, canary)]
    if min(all_of) <= 0:
        return None
    found = []
    for label in {name: None for labels, _ in canary for name in labels if not _THEIR_OWN.fullmatch(name)}:
        there = {labels.get(label, "") for labels, _ in baseline}
        here = {labels.get(label, "") for labels, _ in canary}
        new: dict[str, float] = {}
        for labels, amount in canary:
            if (value := labels.get(label, "")) not in there:
                new[value] = new.get(value, 0.0) + amount
        share = sum(new.values()) / all_of[1]
        # where all of it is foreign, the label tells the versions apart
        if _WORTH_A_WORD <= share < 1 and here & there and share * all_of[0] >= _MANY_DUE:
            lacking = sum(amount for labels, amount in baseline if labels.get(label, "") not in here)
            surely = share >= _MOST and lacking < _WORTH_A_WORD * all_of[0]
            found.append((share, label, max(new, key=lambda value: new[value]), surely))
    return max(found, default=None)


def misspelt_matcher(events: str, total: str, parts: Parts) -> str | None:
    """Why a selector of events that finds nothing cannot find any, going by the labels of the total's own series.

    Args:
        events: The selector, of the same metric as the total.
        total: That of the total.
        parts: The answers.

    Examples:
        >>> seen = Series(timestamps=np.array([1]), values=np.array([0.0]), labels={"code": "500"})
        >>> parts = {("total", Side.CANARY): Result(form=Form.COUNTER, series=(seen,))}
        >>> misspelt_matcher('r{status=~"5.."}', "r{}", parts)
        "no series of `total` has a label 'status', by which `events` are selected; there are code"
        >>> misspelt_matcher('r{code=~"5"}', "r{}", parts)
        'code=~"5" has to match all of a value, and there is 500; write 5..'
        >>> misspelt_matcher('r{code=~"5.."}', "r{}", parts) is None
        True
    """
    selector, whole = _SELECTOR.fullmatch(events), _SELECTOR.fullmatch(total)
    if selector is None or whole is None or selector[1] != whole[1]:
        return None
    labels = [one.labels for side in Side for one in parts.get(("total", side), Result()).series]
    known = sorted({name for one in labels for name in one})
    for name, operator, value in _MATCHER.findall(selector[2]) if known else ():
        if "${" in value or not value:
            continue
        if name not in known:
            there = ", ".join(known)
            return f"no series of `total` has a label {name!r}, by which `events` are selected; there are {there}"
        values = sorted({one.get(name, "") for one in labels})
        if value in values or (operator == "=~" and any(_is(value, one) for one in values)):
            continue
        patterns = {value.lower().replace("x", "."), *([value] if operator == "=~" else [])}
        meant = next((one for one in values for pattern in patterns if _nearly(pattern, one)), None)
        if meant is not None:
            return (
                f'{name}{operator}"{value}" has to match all of a value, and there is {meant}; write '
                f"{meant[0]}{'.' * (len(meant) - 1)}"
            )
    return None


def _is(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:  # of another dialect
        return True


def _nearly(pattern: str, value: str) -> bool:
    """Whether a pattern that does not match a whole code matches its beginning, or is how people write its class."""
    try:
        begins = re.match(pattern, value)
    except re.error:
        return False
    return value.isdigit() and begins is not None and len(pattern) <= len(value)
