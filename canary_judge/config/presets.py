"""Ready-made metrics of meshes and ingresses; the names and matchers stand in data/presets.json."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, TypeAdapter

from canary_judge.config.metrics import Duration, StrictModel
from canary_judge.config.reading import nearest
from canary_judge.results import Side

__all__ = ["Preset", "PresetOptions", "preset_metrics", "presets"]


class PresetOptions(StrictModel):
    """A preset with its bounds changed."""

    name: str = Field(description="As `canary-judge presets` lists them.")
    error_margin: str = Field(default="1.5x or +0.1pp", description="Margin of the share of errors.")
    slower_than: Duration | None = Field(
        default=None, description="A bucket bound of the mesh's histogram; the preset's own if left out."
    )
    slow_margin: str = Field(default="1.25x or +0.5pp", description="Margin of the share of slow requests.")


class Preset(StrictModel):
    """What a mesh or an ingress calls its requests; `@` stands for the matchers of a side.

    Attributes:
        about: For a person.
        total: Selector of all requests.
        bad: Selector of those that failed.
        bucket: Selector of the latency histogram; None where there is none.
        unit: Of the histogram.
        slower_than: One of its bounds.
        labels: What both sides must define.
        sides: The matchers of each side.
    """

    about: str
    total: str
    bad: str
    bucket: str | None
    unit: str
    slower_than: str | None
    labels: list[str]
    sides: dict[str, str]

    def of(self, side: str, selector: str) -> str:
        """A selector with the matchers of a side."""
        return selector.replace("@", self.sides[side])

    def both(self, selector: str) -> dict[str, str]:
        """A selector for each side."""
        return {side.value: self.of(side.value, selector) for side in Side}


@cache
def presets() -> dict[str, Preset]:
    """The presets by name."""
    from importlib import resources  # few ask for a preset

    text = resources.files("canary_judge").joinpath("data/presets.json").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Preset]).validate_json(text)


def preset_metrics(options: PresetOptions) -> list[dict[str, Any]]:
    """The metrics that a preset stands for; ValueError names the nearest preset."""
    known = presets()
    if options.name not in known:
        raise ValueError(
            f"preset {options.name!r} does not exist{nearest(options.name, known)}; "
            f"there are {', '.join(sorted(known))}"
        )
    preset = known[options.name]
    total = preset.both(preset.total)
    metrics: list[dict[str, Any]] = [
        {
            "name": "errors",
            "kind": "ratio",
            "events": preset.both(preset.bad),
            "total": total,
            "harm": "increase",
            "margin": options.error_margin,
            "group": "reliability",
        },
    ]
    if preset.bucket is not None:
        metrics.append(
            {
                "name": "slow requests",
                "kind": "latency",
                "histogram": preset.both(preset.bucket),
                "unit": preset.unit,
                "slower_than": options.slower_than or preset.slower_than,
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
