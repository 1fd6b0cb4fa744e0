"""Kayenta's judge, label for label, and the way from its config to ours."""

from canary_judge.kayenta.documents import (
    CanaryConfig,
    CanaryJudgeResult,
    GroupScore,
    MetricClassification,
    MetricConfig,
    MetricSetPair,
    Request,
    SideStatistics,
    Thresholds,
    parse_json,
    to_json,
)
from canary_judge.kayenta.judging import judge

__all__ = [
    "CanaryConfig",
    "CanaryJudgeResult",
    "GroupScore",
    "MetricClassification",
    "MetricConfig",
    "MetricSetPair",
    "Request",
    "SideStatistics",
    "Thresholds",
    "judge",
    "parse_json",
    "to_json",
]
