"""Where metrics come from: frames and files, Prometheus, and whatever is installed as an entry point.

`PrometheusSource`, `FrameSource`, `SqlSource` and `HttpSource` are imported when first used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from canary_judge import plugins
from canary_judge.errors import ConfigError

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource
    from canary_judge.sources.frames import FrameSource
    from canary_judge.sources.http import HttpSource
    from canary_judge.sources.prometheus import PrometheusSource
    from canary_judge.sources.sql import SqlSource

__all__ = [
    "FrameSource",
    "HttpSource",
    "PrometheusSource",
    "SqlSource",
    "available",
    "from_config",
    "refuse_without_users",
]

GROUP = "canary_judge.sources"
_HOME = {
    "FrameSource": "frames",
    "HttpSource": "http",
    "PrometheusSource": "prometheus",
    "SqlSource": "sql",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge.sources' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.sources.{_HOME[name]}"), name)


def refuse_without_users(config: JudgeConfig, sources: Mapping[str, MetricSource]) -> None:
    """Refuse metrics by user of a source that can never answer them; ConfigError names the metric."""
    for metric in config.metrics:
        source = sources.get(metric.source)
        if source is not None and metric.per_user() is not None and not getattr(source, "answers_users", True):
            from canary_judge.sources.users import NO_USERS

            kind = type(source).__name__.removesuffix("Source")
            raise ConfigError(f"{metric.name}: {NO_USERS.format(kind=kind)}")


def available() -> list[str]:
    """Names that `type:` may have: ours and those of installed plug-ins."""
    return plugins.available(GROUP)


def from_config(options: Mapping[str, Any], *, name: str = "default") -> MetricSource:
    """Build a source from its section of the config.

    Args:
        options: `type` names an entry point of the group `canary_judge.sources`; the rest goes to its
            `from_options`. `${env:NAME}` inside any text is replaced from the environment.
        name: Name of the section, for messages.

    Raises:
        ConfigError: The type is unknown, an option is wrong, or an environment variable is not set.
    """
    source: MetricSource = plugins.build(GROUP, options, place=f"sources.{name}", what="source")
    return source
