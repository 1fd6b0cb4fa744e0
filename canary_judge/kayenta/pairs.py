"""Metric set pairs as a source for the calibrated judge, and a config with one metric per pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.kayenta.convert import Conversion, to_config
from canary_judge.kayenta.documents import MetricSetPair, Request
from canary_judge.results import Side
from canary_judge.series import Form, Query, Result, Series, Window, format_duration, nanoseconds

__all__ = ["PairSource", "both_of", "converted", "pair_labels"]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Milliseconds since 1970, of the year 9999.
_LATEST = 253_402_300_800_000


class PairSource:
    """Answers queries from metric set pairs: values in order, one per interval, without times, as Kayenta has them."""

    def __init__(self, pairs: Sequence[MetricSetPair], labels: Sequence[str], step: timedelta) -> None:
        pairs = [_of_one_time(pair) for pair in pairs]
        self._pairs = dict(zip(labels, pairs, strict=True))
        self._step = step
        longest = max((max(pair.baseline.size, pair.canary.size) for pair in pairs), default=0)
        self.window = Window(_EPOCH, _EPOCH + step * max(longest, 1))

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """One series per side, NaN where a value is missing."""
        start, step = nanoseconds(window.start), self._step // timedelta(microseconds=1) * 1000
        results = []
        for query in queries:
            pair = self._pairs.get(query.expression)
            values = np.empty(0)
            if pair is not None:
                values = pair.baseline if query.side is Side.BASELINE else pair.canary
            times = start + step * np.arange(1, values.size + 1, dtype=np.int64)
            series = (Series(timestamps=times, values=values),) if values.size else ()
            # values without timestamps: nothing says that the k-th ones belong to the same moment
            where = f"metric set pair {query.expression!r}"
            results.append(Result(series=series, form=Form.LEVEL, simultaneous=False, provenance=where))
        return results


def _of_one_time(pair: MetricSetPair) -> MetricSetPair:
    """The pair from the later beginning on, where the request says when each side begins.

    A store may begin a side with its first value; without times the k-th values would be compared with each other.
    Sides that have no time in common are of an offset that is meant, and stay as Kayenta has them.
    """
    begun, steps = both_of(pair, "startTimeMillis"), both_of(pair, "stepMillis")
    if begun is None or steps is None or steps[0] != steps[1] or steps[0] <= 0:
        return pair
    later = round((begun[1] - begun[0]) / steps[0])
    baseline, canary = pair.baseline[max(later, 0) :], pair.canary[max(-later, 0) :]
    both = min(baseline.size, canary.size)
    return replace(pair, baseline=baseline[:both], canary=canary[:both]) if later and both else pair


def both_of(pair: MetricSetPair, key: str) -> tuple[float, float] | None:
    """A time of the scopes of control and experiment, in milliseconds; None where one of them has none.

    Raises:
        DataError: It is no time.
    """
    found = []
    for name in ("control", "experiment"):
        scope = pair.scopes.get(name)
        value = scope.get(key) if isinstance(scope, Mapping) else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        if not abs(value) <= _LATEST:  # also not a number
            raise DataError(f"metric set pair {pair.name!r}: scopes.{name}.{key} is {value!s:.20}; give milliseconds")
        found.append(float(value))
    return found[0], found[1]


def _step(pairs: Sequence[MetricSetPair]) -> timedelta:
    for pair in pairs:
        for scope in pair.scopes.values():
            step = scope.get("stepMillis") if isinstance(scope, Mapping) else None
            if isinstance(step, int | float) and not isinstance(step, bool) and 1 <= step <= 86_400_000:
                return timedelta(milliseconds=int(step))
    return timedelta(minutes=1)


def pair_labels(pairs: Sequence[MetricSetPair]) -> list[str]:
    """A name per pair: the metric's, with its tags where it has any."""
    names: list[str] = []
    for pair in pairs:
        tags = ", ".join(f"{key}={value}" for key, value in sorted(pair.tags.items()))
        name = f"{pair.name} {{{tags}}}" if tags else pair.name
        same = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{same + 1}" if same else name)
    return names


def converted(
    data: Mapping[str, Any], request: Request, labels: Sequence[str], more: Mapping[str, Any] | None = None
) -> tuple[JudgeConfig, Conversion]:
    """The config of a request with one metric per pair, as Kayenta judges them; a metric without a pair stays.

    Args:
        data: The request, as it was read.
        request: The same.
        labels: Of its pairs.
        more: Keys that replace those of the converted config.
    """
    conversion = to_config(data["canaryConfig"], interval=format_duration(_step(request.pairs)), by_name=True)
    thresholds = request.thresholds
    score = {"pass": thresholds.pass_, "marginal": thresholds.marginal}
    known = 0 <= thresholds.marginal <= thresholds.pass_ <= 100
    settings = {**conversion.data, **({"score": score} if known else {}), **(more or {})}
    metrics = []
    for metric in settings["metrics"]:
        own = [label for label, pair in zip(labels, request.pairs, strict=True) if pair.name == metric["name"]]
        metrics += [{**metric, "name": label, "query": label} for label in own] or [metric]
    return JudgeConfig.from_mapping({**settings, "metrics": metrics}, name="converted config"), conversion
