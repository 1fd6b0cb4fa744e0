"""What a plan says: the time at each weight, per gate."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from canary_judge.wording import html_table, wait

__all__ = ["DAY", "MetricPlan", "Need", "Plan", "plan_to_json"]

DAY = 86400.0


def plan_to_json(found: Plan) -> str:
    """The plan as JSON: seconds by metric and weight, null where no time would do."""
    return json.dumps({**asdict(found), "feasible": found.feasible}, indent=2, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one metric needs.

    Attributes:
        measured: What the baseline does, for a person.
        seconds: Time at each weight; None where no time would do.
        problem: Why no time would do, or what else is needed.
    """

    measured: str
    seconds: tuple[float | None, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPlan:
    """What one metric needs.

    Attributes:
        name: The metric.
        measured: What the baseline does, for a person.
        seconds: Time at each weight until safety is shown; None where no time would do.
        problem: Why no time would do, or what else is needed; empty when nothing is.
        halved: How many times as long it takes at half of the margin; None without one.
        doubled: The same at twice the margin.
    """

    name: str
    measured: str
    seconds: tuple[float | None, ...]
    problem: str = ""
    halved: float | None = None
    doubled: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Time until a healthy canary is shown to be within every gate's margin.

    Attributes:
        name: The config's name.
        weights: Shares of the traffic, in percent.
        power: Probability that a canary that does no harm is shown to do none by then.
        metrics: One entry per gate.
        start: Start of the measured window.
        end: Its end.
    """

    name: str
    weights: tuple[float, ...]
    power: float
    metrics: tuple[MetricPlan, ...]
    start: str
    end: str

    def seconds(self, weight: float) -> float | None:
        """Time at this weight until every gate is shown; None when one never is."""
        place = self.weights.index(weight)
        times = [metric.seconds[place] for metric in self.metrics]
        known = [time for time in times if time is not None]
        return max(known, default=0.0) if len(known) == len(times) else None

    def bottleneck(self, weight: float) -> str | None:
        """The gate that takes longest at this weight; None without gates."""
        place = self.weights.index(weight)
        times = [(math.inf if (time := one.seconds[place]) is None else time, one.name) for one in self.metrics]
        return max(times)[1] if times else None

    @property
    def feasible(self) -> bool:
        """Some weight shows every gate within a day."""
        times = [self.seconds(weight) for weight in self.weights]
        return any(time is not None and time <= DAY for time in times)

    def _title(self) -> str:
        return f"{self.name}: time until a harmless canary is shown to be within its margins, power {self.power:.0%}"

    def _table(self) -> list[list[str]]:
        head = ["metric", "measured", *(f"{weight:g} %" for weight in self.weights)]
        rows = [[one.name, one.measured, *(_time(seconds) for seconds in one.seconds)] for one in self.metrics]
        return [head, *rows, ["all gates", "", *(_time(self.seconds(weight)) for weight in self.weights)]]

    def __str__(self) -> str:
        """Name, and the time at each weight."""
        times = ", ".join(f"{_time(self.seconds(weight))} at {weight:g} %" for weight in self.weights)
        return f"{self.name}: safety shown after {times}"

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        return html_table(self._title(), head, rows, self._conclusions())

    def explain(self) -> str:
        """The plan as text."""
        head, *rows = self._table()
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

        def line(row: Sequence[str]) -> str:
            left = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            return "  ".join([*left, *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))])

        lines = [
            self._title(),
            f"measured on the baseline, {self.start} to {self.end}",
            "",
            *(line(row).rstrip() for row in (head, *rows)),
            "",
            *self._conclusions(),
        ]
        return "\n".join(lines)

    def _conclusions(self) -> list[str]:
        lines = [f"{one.name}: {one.problem}" for one in self.metrics if one.problem]
        slowest = {weight: self.bottleneck(weight) for weight in self.weights}
        if not self.metrics:
            return ["There is no gate, so nothing has to be shown."]
        groups: dict[str, list[float]] = {}
        for weight, name in slowest.items():
            groups.setdefault(name or "", []).append(weight)
        lines += [
            f"Bottleneck at {', '.join(f'{weight:g}' for weight in weights)} %: {name}"
            for name, weights in groups.items()
        ]
        fits = [weight for weight in self.weights if (time := self.seconds(weight)) is not None and time <= DAY]
        if not fits:
            lines.append(
                "No weight shows this within a day: use a wider margin, another metric, or another strategy "
                "(a dark launch, a shadow of the traffic, a longer soak)."
            )
        else:
            time = self.seconds(fits[0])
            lines.append(f"The smallest weight that does within a day is {fits[0]:g} %: {_time(time)}.")
        ever = any(self.seconds(weight) is not None for weight in self.weights)
        for one in self.metrics:
            if ever and one.name in groups and one.halved is not None and one.doubled is not None:
                lines.append(
                    f"{one.name}: half of its margin would take about {one.halved:.2g} times as long, twice its margin "
                    f"{one.doubled:.2g} times."
                )
        return lines


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"> {wait(30 * DAY)}" if seconds > 30 * DAY else wait(seconds)
