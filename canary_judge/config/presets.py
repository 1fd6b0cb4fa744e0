"""Ready-made metrics of meshes and ingresses; the names and matchers stand in data/presets.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from canary_judge.config.metrics import Duration, StrictModel
from canary_judge.config.reading import nearest

__all__ = ["PresetOptions", "preset_metrics", "presets"]


class PresetOptions(StrictModel):
    """A preset with its bounds changed."""

    name: str
    error_margin: str = "1.5x or +0.1pp"
    slower_than: Duration | None = None
    slow_margin: str = "1.25x or +0.5pp"


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The presets by name: metric names, matchers, bucket bound and the labels that the sides must define."""
    text = resources.files("canary_judge").joinpath("data/presets.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def preset_metrics(options: PresetOptions) -> list[dict[str, Any]]:
    """The metrics that a preset stands for; ValueError names the nearest preset."""
    known = presets()
    if options.name not in known:
        raise ValueError(
            f"preset {options.name!r} does not exist{nearest(options.name, known)}; "
            f"there are {', '.join(sorted(known))}"
        )
    preset = known[options.name]
    total, events = (
        {"baseline": _side(preset, "baseline", key), "canary": _side(preset, "canary", key)} for key in ("total", "bad")
    )
    metrics: list[dict[str, Any]] = [
        {
            "name": "errors",
            "kind": "ratio",
            "events": events,
            "total": total,
            "harm": "increase",
            "margin": options.error_margin,
            "group": "reliability",
        },
    ]
    if preset["bucket"]:
        bucket = {side: _side(preset, side, "bucket") for side in ("baseline", "canary")}
        metrics.append(
            {
                "name": "slow requests",
                "kind": "latency",
                "histogram": bucket,
                "unit": preset["unit"],
                "slower_than": options.slower_than or preset["slower_than"],
                "margin": options.slow_margin,
                "group": "latency",
            }
        )
    metrics.append(
        {
            "name": "volume",
            "kind": "rate",
            "events": total,
            "harm": "either",
            "role": "watch",
            "unit": "requests/s",
            "group": "volume",
        }
    )
    return metrics


def _side(preset: Mapping[str, Any], side: str, key: str) -> str:
    return str(preset[key]).replace("@", str(preset["sides"][side]))
