"""Kayenta's judge and the calibrated one on the same data, side by side, with the reason wherever they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from canary_judge.errors import DataError
from canary_judge.judging import judge as calibrated_judge
from canary_judge.kayenta.classify import Settings
from canary_judge.kayenta.documents import (
    CanaryConfig,
    CanaryJudgeResult,
    MetricClassification,
    MetricSetPair,
    Request,
    parse_json,
)
from canary_judge.kayenta.judging import judge
from canary_judge.kayenta.pairs import PairSource, converted, pair_labels
from canary_judge.results import Judgement, MetricResult, Outcome, Scale

__all__ = ["Difference", "SideBySide", "compare"]

_GOOD = frozenset({Outcome.SAFE, Outcome.TOLERABLE})
_BAD = frozenset({Outcome.REGRESSED})
_FEW = 4
_DEPENDENT = 1.5
_BLIND = 1e-3
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric under both judges.

    Attributes:
        metric: Its name, with its tags where it has any.
        kayenta: Kayenta's label; None where it silently skipped the metric.
        outcome: The calibrated outcome.
        agree: Both call it good, both bad, or both undecided.
        why: Why they differ, for a person; "" where they agree.
    """

    metric: str
    kayenta: str | None
    outcome: Outcome
    agree: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Two judgements of the same data.

    Attributes:
        kayenta: Kayenta's result; None where it gives no verdict at all.
        error: Why not, or "".
        judgement: The calibrated judgement.
        metrics: One line per metric.
        notes: What the conversion of the config had to decide.
    """

    kayenta: CanaryJudgeResult | None
    error: str
    judgement: Judgement
    metrics: tuple[Difference, ...]
    notes: tuple[str, ...]

    def explain(self) -> str:
        """Both verdicts, a line per metric, and the reasons where they differ."""
        ours = self.judgement
        theirs = f"no verdict: {self.error}"
        if self.kayenta is not None:
            reason = f" ({self.kayenta.reason})" if self.kayenta.reason else ""
            theirs = f"{self.kayenta.classification.upper()}  score {self.kayenta.score:g}{reason}"
        short = "" if ours.sufficient else " (not enough evidence)"
        action = ours.action.value.replace("_", " ")
        lines = [
            f"Kayenta     {theirs}",
            f"calibrated  {ours.verdict.value.upper()}  score {ours.score:g}  ->  {action}{short}",
            "",
        ]
        width = max([6, *(len(row.metric) for row in self.metrics)])
        lines.append(f"{'metric':<{width}}  {'Kayenta':<16}  calibrated")
        for row in self.metrics:
            mark = "" if row.agree else "   <- differ"
            lines.append(
                f"{row.metric:<{width}}  {row.kayenta or 'skipped':<16}  {row.outcome.value:<12}{mark}".rstrip()
            )
        if differing := [row for row in self.metrics if not row.agree]:
            lines += ["", "Where they differ:"]
            for row in differing:
                lines += [f"  {row.metric}: {row.why}", f"    calibrated: {ours[row.metric].reason}"]
        if self.notes:
            lines += ["", "The config was converted:", *(f"  - {note}" for note in self.notes)]
        return "\n".join(lines)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "kayenta": None if self.kayenta is None else self.kayenta.to_mapping(),
            "error": self.error,
            "calibrated": parse_json(self.judgement.to_json()),
            "metrics": [
                {
                    "metric": row.metric,
                    "kayenta": row.kayenta,
                    "outcome": row.outcome.value,
                    "agree": row.agree,
                    "why": row.why,
                }
                for row in self.metrics
            ],
            "notes": list(self.notes),
        }


def compare(data: object, *, rng: np.random.Generator | None = None) -> SideBySide:
    """Judge one request with both judges.

    Args:
        data: A remote judge's request, as parsed JSON.
        rng: Noise for Kayenta's constant metrics.

    Raises:
        DataError: It is no request.
        ConfigError: Its config cannot be carried over.
    """
    request = Request.from_mapping(data)
    assert isinstance(data, Mapping)  # noqa: S101  (a Request was read from it)
    labels = pair_labels(request.pairs)
    config, conversion = converted(data, request, labels)
    source = PairSource(request.pairs, labels, config.interval)
    judgement = calibrated_judge(config, source, source.window)
    theirs, error = None, ""
    try:
        theirs = judge(request.config, request.pairs, request.thresholds, rng=rng)
    except DataError as raised:
        error = str(raised)
    by_label = dict(zip(labels, theirs.results, strict=True)) if theirs else {}
    pairs = dict(zip(labels, request.pairs, strict=True))
    rows = tuple(
        _difference(request.config, by_label.get(result.name), pairs.get(result.name), result, error)
        for result in judgement.metrics
    )
    return SideBySide(kayenta=theirs, error=error, judgement=judgement, metrics=rows, notes=conversion.notes)


# --- why --------------------------------------------------------------------------------------------------------


def _difference(
    config: CanaryConfig,
    theirs: MetricClassification | None,
    pair: MetricSetPair | None,
    ours: MetricResult,
    error: str,
) -> Difference:
    if theirs is None or pair is None:
        why = error or "Kayenta skips a metric without data in silence; its group's weight is lost"
        return Difference(metric=ours.name, kayenta=None, outcome=ours.outcome, agree=False, why=why)
    label = theirs.classification
    good, bad = label == "Pass", label in ("High", "Low")
    agree = (good and ours.outcome in _GOOD) or (bad and ours.outcome in _BAD)
    agree = agree or (not good and not bad and ours.outcome not in _GOOD | _BAD)
    metric = next(metric for metric in config.metrics if metric.name == pair.name)
    settings = Settings.from_mapping(metric.analysis, f"metric {metric.name!r}")
    why = ""
    if not agree:
        why = (
            _why_bad(theirs, ours, settings)
            if bad
            else _why_good(theirs, ours, pair, settings)
            if good
            else _why_undecided(label)
        )
    return Difference(metric=ours.name, kayenta=label, outcome=ours.outcome, agree=agree, why=why)


def _why_bad(theirs: MetricClassification, ours: MetricResult, settings: Settings) -> str:
    """Kayenta says High or Low, the calibrated judge does not."""
    comparison = ours.comparison
    n = min(theirs.baseline.count, theirs.canary.count)
    said = (
        f"Kayenta says {theirs.classification} because its 98 % interval of the shift, {_interval(theirs)}, excludes 0"
    )
    if n <= _FEW:
        return (
            f"{said}; but with {n} values a side that interval is just the range of the data, so chance does it often"
        )
    if comparison is None:
        return said
    reasons = []
    if comparison.tau is not None and comparison.tau > _DEPENDENT:
        reasons.append(
            f"it takes the {n} values as independent, but each resembles the one before: they say as much as "
            f"{comparison.n_effective:.0f} independent ones (autocorrelation time {comparison.tau:.1f})"
        )
    if ours.outcome in _GOOD:
        allowed = settings.allowed_increase > 1 or settings.allowed_decrease < 1
        size = "whose estimate is beyond the allowed effect" if allowed else "of whatever size"
        reasons.append(f"it fails any shift that it can see, {size}; this one is {_size(ours)}, within the margin")
    elif ours.outcome is Outcome.DEGRADED:
        reasons.append(
            "it has no margin; here the change is real as well, but not shown to be more than what is tolerated"
        )
    if not reasons:
        reasons.append("it has no margin, no minimum of data and no check for gaps")
    return f"{said}; {'; and '.join(reasons)}"


def _why_good(theirs: MetricClassification, ours: MetricResult, pair: MetricSetPair, settings: Settings) -> str:
    """Kayenta says Pass, the calibrated judge does not."""
    if infinite := int(np.isinf(pair.baseline).sum() + np.isinf(pair.canary).sum()):
        return (
            f"one infinite value silences Kayenta's test, and there are {infinite}: it passes whatever the others are"
        )
    if not (theirs.baseline.count and theirs.canary.count):
        return "Kayenta passes a side without data under nanStrategy replace, mustHaveData and critical or not"
    shift, effect = theirs.shift, theirs.effect
    if shift is None or effect is None:
        return "Kayenta found the values equal and asked no further"
    increase = ours.comparison is not None and (ours.comparison.effect or 0) > (ours.comparison.scale is Scale.RATIO)
    bound = 0.25 * abs(shift.estimate)
    visible = shift.lower > bound if increase else shift.upper < -bound
    allowed = settings.allowed_increase if increase else settings.allowed_decrease
    if ours.outcome not in _BAD:
        return (
            "Kayenta passes whatever it does not see fail, on any amount of data (its interval of the shift is "
            f"{_interval(theirs)}); the calibrated judge wants harm beyond the margin ruled out"
        )
    if visible:
        named = "ratio of the means" if settings.measure == "meanRatio" else "share of pairs"
        backwards = settings.measure == "meanRatio" and theirs.baseline.mean < 0
        odd = "; with negative values that ratio runs backwards" if backwards else ""
        return f"Kayenta sees the shift, but its {named} is {effect:.4g} where {allowed:g} is allowed{odd}"
    if abs(shift.estimate) < _BLIND:
        return (
            "Kayenta's solver stops within 0.0001 of the answer, which is as much as this metric shifted "
            f"({shift.estimate:.2g}): it is blind here"
        )
    return (
        f"Kayenta wants its whole interval of the shift, {_interval(theirs)}, beyond a quarter of its own estimate "
        f"({shift.estimate:.4g}), and it is not, although the means are {theirs.canary.mean:.4g} against "
        f"{theirs.baseline.mean:.4g}"
    )


def _why_undecided(label: str) -> str:
    if label == "Error":
        return (
            "Kayenta could not classify the metric and leaves it out of the score: an error never fails a canary there"
        )
    return "Kayenta has no data left on one side after its preprocessing"


def _interval(theirs: MetricClassification) -> str:
    shift = theirs.shift
    if shift is None or math.isnan(shift.lower):
        return "unknown"
    return f"{shift.lower:+.4g} to {shift.upper:+.4g}"


def _size(ours: MetricResult) -> str:
    comparison = ours.comparison
    if comparison is None or comparison.effect is None:
        return "not known"
    if comparison.scale is Scale.RATIO:
        return f"{comparison.effect:.3g}x"
    return f"{comparison.effect:+.4g}"
