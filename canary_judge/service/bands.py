"""Our judgements in Kayenta's words: labels, scores in the caller's band, statistics of the sides.

Orca fails a canary whose score is at most `marginal`, Argo one below it; both pass one from `pass` on. So an undecided
canary has an integer strictly between the two, and thresholds that leave none are refused.

References:
    spinnaker/orca: MonitorKayentaCanaryTask, AggregateCanaryResultsTask; argo-rollouts: metricproviders/kayenta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np

from canary_judge.errors import DataError
from canary_judge.kayenta import Thresholds
from canary_judge.kayenta.documents import as_json
from canary_judge.results import Harm, Judgement, MetricResult, Outcome, Role, Scale, Verdict
from canary_judge.series import duration_from
from canary_judge.service.looking import told_verdict
from canary_judge.service.shown import shown

# Kayenta's callers see one text only.
_MOST_WARNINGS = 5

__all__ = ["JUDGE", "band_of", "judge_result", "score_in", "settings_of", "statistics_of", "verdict_in"]

JUDGE = "canary_judge"
_DEFAULT = Thresholds(pass_=95, marginal=75)
_UNDECIDED = frozenset({Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT})
_BAD = frozenset({Outcome.REGRESSED, Outcome.DEGRADED})


def settings_of(canary_config: object) -> tuple[bool, timedelta | None]:
    """Whether a window is judged at one planned look, and the planned length of many.

    They are `looks` and `horizon` of `judge.judgeConfigurations.canary_judge`.
    """
    found = canary_config
    for key in ("judge", "judgeConfigurations", JUDGE):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return False, None
    looks, horizon = found.get("looks", "many"), found.get("horizon")
    if looks not in ("once", "many"):
        raise DataError(f"judgeConfigurations.{JUDGE}.looks is {shown(looks)}; give once or many")
    where = f"judgeConfigurations.{JUDGE}.horizon"
    return looks == "once", None if horizon is None else duration_from(horizon, where)


def band_of(thresholds: Thresholds | None) -> Thresholds:
    """The thresholds, or Kayenta's usual ones; DataError where they leave no room for a canary that is undecided.

    Examples:
        >>> band_of(None)
        Thresholds(pass_=95, marginal=75)
    """
    band = thresholds or _DEFAULT
    fine = math.isfinite(band.pass_) and band.pass_ - band.marginal >= 2 and band.marginal >= 1 and band.pass_ <= 100
    if not fine:
        raise DataError(
            f"thresholds pass {band.pass_:g}, marginal {band.marginal:g}: between them must be room for a canary that "
            "is undecided, and below them for one that fails: give a marginal of at least 1, and a pass of at least 2 "
            "more, up to 100"
        )
    return band


def score_in(band: Thresholds, verdict: Verdict) -> int:
    """100 for a pass, 0 for a fail, the integer in the middle of the band for what is undecided.

    Examples:
        >>> [score_in(Thresholds(pass_=95, marginal=75), verdict) for verdict in Verdict]
        [100, 85, 0]
    """
    if verdict is Verdict.MARGINAL:
        return math.floor((band.pass_ + band.marginal) / 2)
    return 100 if verdict is Verdict.PASS else 0


def verdict_in(verdict: Verdict) -> str:
    """Kayenta's word for a verdict."""
    return {Verdict.PASS: "Pass", Verdict.MARGINAL: "Marginal", Verdict.FAIL: "Fail"}[verdict]


def judge_result(
    judgement: Judgement,
    band: Thresholds,
    values: Mapping[str, Mapping[str, Sequence[float | None]]],
    *,
    names: Mapping[str, tuple[str, str, Mapping[str, str]]] | None = None,
    note: str = "",
) -> dict[str, Any]:
    """The result object of a judge of Kayenta's.

    Args:
        judgement: What is told.
        band: The caller's thresholds.
        values: By metric and side, interval by interval.
        names: By metric: name, id and tags of its pair; the metric's own name is both by default.
        note: What is to be said beside the reason.
    """
    own: Mapping[str, str] = {}
    known = {metric.name: (metric.name, metric.name, own) for metric in judgement.metrics} | dict(names or {})
    verdict, held = told_verdict(judgement)
    warned = [f"{metric.name}: {text}" for metric in judgement.metrics for text in metric.warnings]
    reasons = [*([held] if held else judgement.reasons), *([note] if note else []), *warned[:_MOST_WARNINGS]]
    return {
        "judgeName": JUDGE,
        "results": [_result(metric, values.get(metric.name, {}), *known[metric.name]) for metric in judgement.metrics],
        "groupScores": [
            {
                "name": group.name,
                "score": 0 if group.score is None else round(group.score),
                "classification": "Nodata" if group.score is None else "",
                "classificationReason": "",
            }
            for group in judgement.groups
        ],
        "score": {
            "score": score_in(band, verdict),
            "classification": verdict_in(verdict),
            "classificationReason": "; ".join(reasons) or str(judgement),
        },
    }


def statistics_of(values: Sequence[float | None]) -> dict[str, Any]:
    """Count, mean, min, max and standard deviation of what is known; all 0 where nothing is, as in Kayenta."""
    known = np.array([value for value in values if value is not None], dtype=float)
    if not known.size:
        return {"count": 0, "mean": 0.0, "min": 0.0, "max": 0.0, "std": 0.0}
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(known.std(ddof=1)) if known.size > 1 else 0.0
    least, most = float(known.min()), float(known.max())
    found = {"mean": float(known.mean()), "min": least, "max": most, "std": spread}
    return {"count": int(known.size), **{name: _finite(value) for name, value in found.items()}}


def _result(
    metric: MetricResult,
    values: Mapping[str, Sequence[float | None]],
    name: str,
    identity: str,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    label, reason = _label(metric), metric.reason
    if metric.outcome in _UNDECIDED and metric.shortfall is not None and metric.shortfall.text not in reason:
        reason = f"{reason}; {metric.shortfall.text}"
    return {
        "name": name,
        "id": identity,
        "tags": dict(tags),
        "classification": label,
        "classificationReason": reason,
        "groups": [metric.group],
        "experimentMetadata": {"stats": statistics_of(values.get("canary", ()))},
        "controlMetadata": {"stats": statistics_of(values.get("baseline", ()))},
        "resultMetadata": _evidence(metric),
        "critical": metric.outcome is Outcome.REGRESSED and metric.role is Role.GATE,
        "muted": metric.role is Role.WATCH,
    }


def _label(metric: MetricResult) -> str:
    if metric.outcome in _BAD:
        return "High" if _is_higher(metric) else "Low"
    if metric.outcome is Outcome.NO_DATA and metric.role is Role.GATE:
        return "NodataFailMetric"
    if metric.outcome is Outcome.ERROR:
        return "Error"
    return "Nodata" if metric.outcome in _UNDECIDED or metric.outcome is Outcome.NO_DATA else "Pass"


def _is_higher(metric: MetricResult) -> bool:
    comparison = metric.comparison
    if comparison is None or comparison.effect is None:
        return metric.harm is not Harm.DECREASE
    return comparison.effect >= (1.0 if comparison.scale is Scale.RATIO else 0.0)


def _evidence(metric: MetricResult) -> dict[str, Any]:
    """Interval, margin and evidence, in the map that Kayenta hands on unread."""
    found: dict[str, Any] = {"outcome": metric.outcome.value, "role": metric.role.value, "margin": metric.margin}
    comparison = metric.comparison
    if comparison is not None:
        found = {key: value for key, value in asdict(comparison).items() if value is not None} | found
        found["scale"], found["interval"] = comparison.scale.value, list(comparison.interval)
        if comparison.baseline and comparison.canary is not None:
            found["ratio"] = comparison.canary / comparison.baseline
    if metric.deciding is not None:
        found["deciding"] = list(metric.deciding)
    if metric.shortfall is not None:
        found["missing"] = metric.shortfall.text
    return {name: _finite(value) for name, value in found.items()}


def _finite(value: Any) -> Any:
    """The value, or the text that stands for a number that JSON cannot write."""
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return as_json(value) if isinstance(value, float) else value
