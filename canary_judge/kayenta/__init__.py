"""Kayenta's judge, label for label, and the way from its config to ours.

::

    from canary_judge import kayenta

    result = kayenta.judge(request.config, request.pairs, request.thresholds)   # NetflixACAJudge-v1.0
    conversion = kayenta.to_config(canary_config)                               # conversion.config, conversion.notes
    print(kayenta.compare(request_object).explain())                            # both judges, and why they differ
"""

from canary_judge.kayenta.compare import Difference, SideBySide, compare
from canary_judge.kayenta.convert import Conversion, to_config
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
    as_json,
    parse_json,
    to_json,
)
from canary_judge.kayenta.judging import judge

__all__ = [
    "CanaryConfig",
    "CanaryJudgeResult",
    "Conversion",
    "Difference",
    "GroupScore",
    "MetricClassification",
    "MetricConfig",
    "MetricSetPair",
    "Request",
    "SideBySide",
    "SideStatistics",
    "Thresholds",
    "as_json",
    "compare",
    "judge",
    "parse_json",
    "to_config",
    "to_json",
]
