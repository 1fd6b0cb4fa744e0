"""What the counts of both sides are made of: series of another place, service or kind of request on one side alone."""

from __future__ import annotations

import re

import numpy as np

from canary_judge.results import Side
from canary_judge.samples.grid import Parts
from canary_judge.series import Form, Result, Series

__all__ = ["foreign_series"]

# Labels that tell instances and versions apart, and buckets.
_THEIR_OWN = re.compile(
    r"(.*[_.])?(pods?|instance|node|host|hostname|container|replica|replicaset|version|revision|commit|hash|image|tag|"
    r"release|deployment|task|uid|id|ip|address|endpoint|track|side|le)([_.](name|id|ip|uid))?",
    re.IGNORECASE,
)
# Of the canary's counts what is worth a word, and what is most of them; and so many were due on the other side.
_WORTH_A_WORD, _MOST, _MANY_DUE = 0.01, 0.5, 30.0
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
