"""Plug-ins by entry points: a section of the config names one by its `type`, and gives it its options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import entry_points, metadata
from typing import Any

from canary_judge.config.reading import nearest
from canary_judge.errors import ConfigError

__all__ = ["available", "build", "from_environment"]


def available(group: str) -> list[str]:
    """Names that `type:` may have: ours and those of installed plug-ins."""
    return sorted({point.name for point in entry_points(group=group)})


def build(group: str, options: Mapping[str, Any], *, place: str, what: str) -> Any:
    """Build what the entry point named by `type` builds from the other options.

    Args:
        group: Of the entry points; each leads to something with `from_options`.
        options: `type` and more; `${env:NAME}` inside any text is replaced from the environment.
        place: Where the section stands, for messages.
        what: What is built, for messages.

    Raises:
        ConfigError: The type is unknown, an option is wrong, or an environment variable is not set.
    """
    kind = options.get("type")
    points = {point.name: point for point in entry_points(group=group)}
    if not isinstance(kind, str):  # whatever it holds, a password maybe, is not shown
        raise ConfigError(f"{place}.type: is no text; name one of {', '.join(sorted(points))}")
    if kind not in points:
        there_are = f"there are {', '.join(sorted(points))}"
        raise ConfigError(f"{place}.type: {kind!r} is no {what}{nearest(str(kind), points)}; {there_are}")
    rest = {key: from_environment(value, f"{place}.{key}") for key, value in options.items() if key != "type"}
    try:
        plugin = points[kind].load()
    except Exception as error:
        extras = metadata("canary-judge").get_all("Provides-Extra") or ()
        remedy = f"; pip install 'canary-judge[{kind}]'" if isinstance(error, ImportError) and kind in extras else ""
        text = f"{place}.type: {kind!r} cannot be imported: {type(error).__name__}: {error}{remedy}"
        raise ConfigError(text) from error
    try:
        return plugin.from_options(rest)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def from_environment(value: Any, place: str) -> Any:
    """The value with `${env:NAME}` replaced, in every text inside of it.

    Raises:
        ConfigError: A variable is not set; `place` says where it stands.
    """
    if isinstance(value, Mapping):
        return {key: from_environment(inner, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [from_environment(inner, place) for inner in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{place}: environment variable {match[1]} is not set; export it before the run")
        return os.environ[match[1]]

    return re.sub(r"\$\{env:(\w+)\}", replaced, value)
