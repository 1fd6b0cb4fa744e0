"""What a calibration has found: the rates by design, what was found of faults, and what each metric can decide."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from canary_judge.errors import DataError
from canary_judge.history.suggesting import Suggestion
from canary_judge.series import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Calibration", "Finding", "Finds", "Line", "percent"]

Finding = Literal["refuted", "shown", "not refuted", "too little"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One metric in one design.

    Attributes:
        metric: Name of the metric.
        design: Name of the design; with what its alarms are about and what it cannot see.
        shows: See `design`.
        blind: See `design`.
        routed: The design draws what a router draws: its alarms can refute the declared rate.
        alarms: Replays that raised an alarm although nothing differed.
        total: Replays.
        unsure: Of them, those in which there was too little to judge: silence is no calm.
        worth: How many independent ones they are worth.
        clusters: What shares its luck, as "9 stretches of time" or "1 deployment of 8 pods".
        low: Lower end (95 %) of the rate; None where no rate can be told.
        high: Upper end.
        finding: refuted, shown, not refuted, or too little.
        text: The finding in words.
        noise: How many times as far as they should the effects scatter, and its interval; None of too few.
    """

    metric: str
    design: str
    shows: str
    blind: str
    routed: bool
    alarms: int
    total: int
    unsure: int
    worth: float
    clusters: str
    low: float | None
    high: float | None
    finding: Finding
    text: str
    noise: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finds:
    """In how many windows a fault was found that had been put into one canary of each.

    Attributes:
        metric: Name of the metric.
        design: By which the canaries were drawn.
        windows: All windows.
        found: Windows in which the metric failed the canary, by the name of the fault
            (`canary_judge.history.FAULTS`); a fault that this metric cannot have is not in it.
    """

    metric: str
    design: str
    windows: int
    found: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a history says of a config.

    Attributes:
        name: Of the config.
        declared: The false-alarm rate that it declares.
        windows: Windows of this past; some may have nothing of a metric.
        dropped: Windows that were left out, because something else happened in them.
        length: What is judged of a window, in seconds.
        share: The canary's share of the traffic.
        instances: Of the canary, where instances are kept apart.
        warmup: Seconds of each canary before that, which are not judged.
        looks: Seconds from one look at a canary to the next; None where each has one look, at its planned end.
        at_one_look: Metrics that had one look all the same.
        since: When the first window begins.
        until: When the last one ends.
        lines: One for each metric and design.
        suggestions: One for each metric that some design can draw.
        history: How many seconds of `history:` would tell how gauges follow themselves, and how pods differed before;
            None without gauges.
        finds: What faults each of these metrics found.
        missing: Metrics that no design can draw, and why.
        watched: Metrics of `role: watch`, which refute nothing and need not decide.
    """

    name: str
    declared: float
    windows: int
    dropped: int
    length: float
    share: float
    lines: tuple[Line, ...]
    suggestions: tuple[Suggestion, ...]
    history: float | None = None
    finds: tuple[Finds, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    instances: int = 1
    warmup: float = 0.0
    looks: float | None = None
    at_one_look: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def _asked(self) -> list[Line]:
        """Lines that count: of designs that draw what is routed, and of metrics that decide."""
        return [line for line in self.lines if line.routed and line.metric not in self.watched]

    @property
    def refuted(self) -> bool:
        """Whether a design that draws what is routed refutes the declared rate."""
        return any(line.finding == "refuted" for line in self._asked)

    @property
    def too_little(self) -> bool:
        """Whether the history says nothing on the declared rate of some metric."""
        return any(line.finding == "too little" for line in self._asked)

    @property
    def decides(self) -> bool:
        """Whether every metric that is asked for can decide, as far as this history tells."""
        asked = [one for one in self.suggestions if one.metric not in self.watched]
        return bool(asked) and not self.missing.keys() - set(self.watched) and all(one.decides for one in asked)

    def notes(self) -> dict[tuple[str, ...], str]:
        """Comments for the text of the config, by what they stand beside (`canary_judge.config.noted`)."""
        notes: dict[tuple[str, ...], str] = {("metrics", one.metric, "margin"): one.note for one in self.suggestions}
        for name, why in self.missing.items():
            notes["metrics", name, "margin"] = f"not known here: {why}"
        return {**notes, ("history",): f"{self.enough_history} would do"} if self.enough_history else notes

    @property
    def enough_history(self) -> str:
        """The length of `history:` that would do, rounded up to minutes or hours; empty where none is needed."""
        if self.history is None:
            return ""
        unit = 3600 if self.history > 2 * 3600 else 60
        return format_duration(timedelta(seconds=math.ceil(self.history / unit) * unit))

    def to_json(self, *, indent: int | None = None) -> str:
        """All of it as JSON; an end without bound is null."""
        return json.dumps(_plain(asdict(self)), indent=indent, allow_nan=False)

    def explain(self) -> str:
        """In words: a line for each design, what would be found, what margins can be shown."""
        from canary_judge.history.calibration_told import explained

        return explained(self)

    def plot(
        self, metric: str | None = None, *, theme: Literal["light", "dark", "print"] = "light", ax: Axes | None = None
    ) -> Axes:
        """The rates of one metric by design as a picture (`canary_judge.plots.calibration`; extra `plot`).

        Args:
            metric: Its name; by default that of the first line that is refuted, else of the first one.
            theme: `light`, `dark` or `print`.
            ax: Where to.

        Raises:
            DataError: No design drew such a metric.
        """
        from canary_judge import plots

        shown = [*(line for line in self.lines if line.finding == "refuted"), *self.lines]
        name = metric or (shown[0].metric if shown else "")
        rates = [
            plots.DesignRate(
                design=line.design,
                alarms=line.alarms,
                replays=line.total,
                effective=line.worth,
                clusters=line.clusters,
                blind_to=line.blind,
                fits=line.routed,
                withheld="" if line.low is not None else line.text,
            )
            for line in self.lines
            if line.metric == name
        ]
        if not rates:
            known = ", ".join(dict.fromkeys(one.metric for one in self.lines))
            raise DataError(f"no design drew a metric {name!r}; there are {known}")
        return plots.calibration(rates, declared=self.declared, metric=name, theme=theme, ax=ax)

    def __repr__(self) -> str:
        """Of what, from how much."""
        return f"Calibration({self.name!r}, {self.windows} windows, refuted: {self.refuted}, decides: {self.decides})"


def percent(share: float) -> str:
    """A share as percent, in no more digits than are known."""
    return f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
