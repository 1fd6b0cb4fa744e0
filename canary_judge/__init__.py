"""A statistical canary judge: pass, marginal or fail, with reasons, and what is still missing.

Every name here is imported when it is first used, so that `import canary_judge` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_judge._version import __version__
    from canary_judge.comparing import compare
    from canary_judge.config import JudgeConfig
    from canary_judge.config.advice import advise
    from canary_judge.errors import (
        CanaryJudgeError,
        ConfigError,
        DataError,
        QueryError,
        RouterError,
        SourceError,
        SourceUnavailable,
    )
    from canary_judge.judging import judge, judge_samples
    from canary_judge.looks import Monitor
    from canary_judge.planning import plan
    from canary_judge.readiness import preflight
    from canary_judge.results import Action, Judgement, MetricResult, Outcome, Verdict
    from canary_judge.rollout import RolloutPlan
    from canary_judge.rollout.controller import Controller
    from canary_judge.routing import TrafficRouter
    from canary_judge.series import MetricSource, Window

__all__ = [
    "Action",
    "CanaryJudgeError",
    "ConfigError",
    "Controller",
    "DataError",
    "JudgeConfig",
    "Judgement",
    "MetricResult",
    "MetricSource",
    "Monitor",
    "Outcome",
    "QueryError",
    "RolloutPlan",
    "RouterError",
    "SourceError",
    "SourceUnavailable",
    "TrafficRouter",
    "Verdict",
    "Window",
    "__version__",
    "advise",
    "compare",
    "judge",
    "judge_samples",
    "plan",
    "preflight",
]

_HOME = {
    "__version__": "_version",
    "Controller": "rollout.controller",
    "JudgeConfig": "config",
    "Monitor": "looks",
    "advise": "config.advice",
    "RolloutPlan": "rollout",
    "TrafficRouter": "routing",
    "plan": "planning",
    "preflight": "readiness",
    "compare": "comparing",
    "judge": "judging",
    "judge_samples": "judging",
    **dict.fromkeys(("MetricSource", "Window"), "series"),
    **dict.fromkeys(("Action", "Judgement", "MetricResult", "Outcome", "Verdict"), "results"),
    **dict.fromkeys(
        (
            "CanaryJudgeError",
            "ConfigError",
            "DataError",
            "QueryError",
            "RouterError",
            "SourceError",
            "SourceUnavailable",
        ),
        "errors",
    ),
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
