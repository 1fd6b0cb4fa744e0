"""From labels to a score and a verdict, as NetflixACAJudge-v1.0 does it.

References:
    spinnaker/kayenta, kayenta-judge: NetflixACAJudge.scala, WeightedSumScorer.scala,
    ThresholdScoreClassifier.scala.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np

from canary_judge.errors import DataError
from canary_judge.kayenta.classify import classify
from canary_judge.kayenta.documents import (
    CanaryConfig,
    CanaryJudgeResult,
    GroupScore,
    MetricClassification,
    MetricSetPair,
    Thresholds,
)

__all__ = ["judge"]

_COUNTED = ("Pass", "High", "Low", "NodataFailMetric")
_MOST_NODATA = 0.5


def judge(
    config: CanaryConfig,
    pairs: Sequence[MetricSetPair],
    thresholds: Thresholds,
    *,
    rng: np.random.Generator | None = None,
) -> CanaryJudgeResult:
    """Judge as NetflixACAJudge-v1.0 does, label for label.

    Args:
        config: The canary config.
        pairs: The data, one pair per metric and set of tags.
        thresholds: Those of the request; the config's own are read by nobody.
        rng: Noise for metrics that are constant on both sides, where Kayenta draws without a seed; a generator
            seeded with 0 when left out, so that the same data give the same answer.

    Raises:
        DataError: Where Kayenta raises and gives no verdict.

    Examples:
        >>> config = CanaryConfig.from_mapping({
        ...     "metrics": [{"name": "latency", "groups": ["g"],
        ...                  "analysisConfigurations": {"canary": {"direction": "increase", "critical": True}}}],
        ...     "classifier": {"groupWeights": {"g": 100}}})
        >>> pair = MetricSetPair(name="latency", baseline=np.arange(20.0), canary=np.arange(20.0) + 30)
        >>> result = judge(config, [pair], Thresholds(pass_=95, marginal=75))
        >>> result.classification, result.reason
        ('Fail', 'Canary Failed: The metric latency was classified as High (Critical)')
    """
    rng = np.random.default_rng(0) if rng is None else rng
    by_name = {metric.name: metric for metric in reversed(config.metrics)}  # the first of a name wins
    for pair in pairs:
        if pair.name not in by_name:
            raise DataError(f"pair {pair.name!r} has no metric in the canary config; add one of that name")
    results = tuple(classify(by_name[pair.name], pair, rng) for pair in pairs)
    if config.group_weights is None:
        raise DataError("classifier is missing in the canary config; Kayenta needs `classifier: {groupWeights: {...}}`")
    live = [result for result in results if not result.muted]
    groups = _group_scores(live)
    score, reason = _summary(live, groups, config)
    verdict = "Pass" if score >= thresholds.pass_ else "Marginal" if score >= thresholds.marginal else "Fail"
    return CanaryJudgeResult(
        results=results,
        group_scores=tuple(GroupScore(name=name, score=shown) for name, (shown, _) in groups.items()),
        score=score,
        classification=verdict,
        reason=reason,
    )


def _group_scores(live: Sequence[MetricClassification]) -> dict[str, tuple[float, float]]:
    """By group: the score that is shown, and the one that enters the sum (100 where nothing was counted)."""
    labels: dict[str, list[str]] = {}
    for result in live:
        for group in dict.fromkeys(result.groups):
            labels.setdefault(group, []).append(result.classification)
    scores = {}
    for group, given in labels.items():
        counted = sum(label in _COUNTED for label in given)
        score = 100.0 * (given.count("Pass") / counted) if counted else 0.0
        scores[group] = (score, score if counted else 100.0)
    return scores


def _summary(
    live: Sequence[MetricClassification], groups: dict[str, tuple[float, float]], config: CanaryConfig
) -> tuple[float, str]:
    """The score, and why the canary failed regardless of it."""
    for result in live:
        if result.critical and result.classification != "Pass":
            return 0.0, f"Canary Failed: {result.reason}"
    nodata = sum(result.classification == "Nodata" for result in live)
    if live and nodata / len(live) >= _MOST_NODATA:
        return 0.0, "Canary Failed: 50% or more metrics returned NODATA"
    weights = config.group_weights or {}
    unweighted = [group for group in groups if group not in weights]
    # what is left to 100 after *all* configured weights, which may be less than nothing
    share = (100 - sum(weights.values())) / len(unweighted) if unweighted else 0.0
    total = sum(score * (weights.get(group, share) / 100) for group, (_, score) in groups.items())
    return _rounded(total), ""


def _rounded(score: float) -> float:
    if not math.isfinite(score):
        raise DataError(f"the group weights give the score {score}, which Kayenta cannot round; give finite weights")
    # half up of the shortest decimal form, as BigDecimal does; a score may have as many digits as a double
    return float(Decimal(repr(score)).quantize(Decimal("0.01"), ROUND_HALF_UP, Context(prec=400)))
