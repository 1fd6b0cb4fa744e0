"""Where metrics come from: frames and files, Prometheus, and whatever is installed as an entry point.

`PrometheusSource`, `FrameSource` and `compare` are imported when first used.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from canary_judge.errors import ConfigError

if TYPE_CHECKING:
    from canary_judge.series import MetricSource
    from canary_judge.sources.frames import FrameSource, compare
    from canary_judge.sources.prometheus import PrometheusSource

__all__ = ["FrameSource", "PrometheusSource", "available", "compare", "from_config"]

GROUP = "canary_judge.sources"
_HOME = {"FrameSource": "frames", "compare": "frames", "PrometheusSource": "prometheus"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge.sources' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.sources.{_HOME[name]}"), name)


def available() -> list[str]:
    """Names that `type:` may have: ours and those of installed plug-ins."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def from_config(options: Mapping[str, Any], *, name: str = "default") -> MetricSource:
    """Build a source from its section of the config.

    Args:
        options: `type` names an entry point of the group `canary_judge.sources`; the rest goes to its
            `from_options`. `${env:NAME}` inside any text is replaced from the environment.
        name: Name of the section, for messages.

    Raises:
        ConfigError: The type is unknown, an option is wrong, or an environment variable is not set.
    """
    place = f"sources.{name}"
    kind = options.get("type")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if not isinstance(kind, str) or kind not in points:
        near = difflib.get_close_matches(str(kind), list(points), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{place}.type: {kind!r} is no source{hint}; there are {', '.join(sorted(points))}")
    rest = {key: _from_environment(value, f"{place}.{key}") for key, value in options.items() if key != "type"}
    factory = points[kind].load().from_options
    try:
        source: MetricSource = factory(rest)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    return source


def _from_environment(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _from_environment(inner, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_environment(inner, place) for inner in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{place}: environment variable {match[1]} is not set; export it before the run")
        return os.environ[match[1]]

    return re.sub(r"\$\{env:(\w+)\}", replaced, value)
