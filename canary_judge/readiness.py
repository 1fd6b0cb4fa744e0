"""Before a canary gets traffic, or is judged: can the queries work at all, and do the data fit the config?

A misspelt label, a bucket that does not exist, scrapes that are rarer than the interval: each gives "not enough
evidence" for ever, which a tired person reads as "wait". So the last few minutes are read once, and what can never
work is an error that names the query, what is there instead, and the remedy. A canary without traffic yet is normal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError
from canary_judge.judging.fetching import checked, fetch
from canary_judge.judging.traffic import MOST_FOR_A_CANARY
from canary_judge.planning import Plan, plan
from canary_judge.results import Role, Side
from canary_judge.samples import CountData, MetricSamples, Samples, UserData, collect
from canary_judge.series import (
    MetricSource,
    Query,
    Reading,
    Result,
    Window,
    by_name,
    duration_from,
    format_duration,
    moment_from,
    percent_from,
)
from canary_judge.sources.existing import what_exists
from canary_judge.wording import wait

__all__ = ["Preflight", "SideSeen", "check_first", "preflight"]

# What is read: so many intervals, but no shorter and no longer than this.
_INTERVALS, _SHORTEST, _LONGEST = 30, timedelta(minutes=10), timedelta(hours=6)
# Points that come so much later than the interval asks for, never fit.
_TOO_RARE = 1.05
# Hints cost a query each.
_MOST_HINTS = 6
_USUAL_WEIGHT, _LEAST_WEIGHT, _MOST_WEIGHT = 5.0, 0.001, 99.9


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSeen:
    """What the queries of one side of one metric found.

    Attributes:
        metric: The metric.
        side: baseline or canary.
        series: Series found.
        points: Points of them.
        spacing_seconds: Usual time between two points of a series; None where that is not known.
        events: Events seen, for counts.
        exposure: Their total (requests), for counts; users, where these are the unit.
        resets: Counter resets.
        queries: What was asked.
    """

    metric: str
    side: str
    series: int
    points: int
    spacing_seconds: float | None
    events: float | None
    exposure: float | None
    resets: int
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was found before the start.

    Attributes:
        name: The config's name.
        start: Start of what was read.
        end: Its end.
        seen: One entry per metric and side.
        errors: What can never work, with the remedy.
        warnings: What looks wrong, and may be meant.
    """

    name: str
    start: datetime
    end: datetime
    seen: tuple[SideSeen, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of a start."""
        return not self.errors

    def explain(self) -> str:
        """The findings as text."""
        head = ["metric", "side", "series", "points every", "events", "of", "resets"]
        rows = [
            [
                one.metric,
                one.side,
                str(one.series),
                "-" if one.spacing_seconds is None else format_duration(timedelta(seconds=one.spacing_seconds)),
                "-" if one.events is None else f"{one.events:,.0f}",
                "-" if one.exposure is None else f"{one.exposure:,.0f}",
                str(one.resets),
            ]
            for one in self.seen
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        lines = [f"{self.name}: preflight, {self.start:%Y-%m-%d %H:%M:%S} to {self.end:%H:%M:%S} UTC", ""]
        for row in (head, *rows):
            cells = [
                cell.ljust(width) if k < 2 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        for title, texts in (("Errors", self.errors), ("Warnings", self.warnings)):
            if texts:
                lines += ["", f"{title}:", *(f"  - {text}" for text in texts)]
        return "\n".join([*lines, "", "ready" if self.ok else "not ready"])

    def to_json(self) -> str:
        """The findings as JSON."""
        plain = {**asdict(self), "ok": self.ok, "start": self.start.isoformat(), "end": self.end.isoformat()}
        return json.dumps(plain, indent=2, allow_nan=False)


def preflight(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    *,
    until: str | datetime | None = None,
    horizon: str | timedelta | None = None,
    weight: float | None = None,
) -> Preflight:
    """Read the last intervals of both sides once, and tell what can never work and what looks wrong.

    Args:
        config: The config, with its sides.
        source: As for `judge`.
        until: The moment up to which is read; by default now, or the end of a table.
        horizon: Planned length, where there is one: margins that it cannot show are told.
        weight: Percent of the traffic that the canary is to get, for the same; by default that of the config's
            `traffic`, else 5.

    Returns:
        The findings; `ok` is False when there are errors.

    Raises:
        ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
        SourceUnavailable: A source gave no answer at all.

    Examples:
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(seed=1)
        >>> world.clock.seconds = 3600
        >>> found = preflight(world.config, world.source, until=world.clock.now())
        >>> found.ok, [(one.side, one.series) for one in found.seen]
        (True, [('baseline', 2), ('canary', 2)])
    """
    checked(config)
    length = None if horizon is None else duration_from(horizon, "horizon")
    if weight is None and config.traffic is not None and _LEAST_WEIGHT <= (config.traffic.weight or 0.0) < _MOST_WEIGHT:
        weight = config.traffic.weight
    planned = (
        _USUAL_WEIGHT if weight is None else percent_from(weight, "weight", lowest=_LEAST_WEIGHT, highest=_MOST_WEIGHT)
    )
    window = _window(config, source, None if until is None else moment_from(until, "until"))
    queries = list(config.queries(start=window.start))
    answers = fetch(config, source, queries, window)
    samples = collect(config, window, answers)
    look = _Look(config=config, source=source, window=window, answers=answers, samples=samples)
    spacing = look.spacing()
    seen = [look.seen(metric, side, spacing) for metric in config.metrics for side in Side]
    errors, warnings = look.findings(spacing)
    if not errors and length is not None:
        warnings += _too_long(plan(config, source, window, weights=(planned,)), length)
    return Preflight(
        name=config.name,
        start=window.start,
        end=window.end,
        seen=tuple(seen),
        errors=tuple(dict.fromkeys(errors)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def check_first(found: Preflight) -> Preflight:
    """The findings; ConfigError with all errors where there are any."""
    if found.errors:
        shown = "\n".join(f"  {text}" for text in found.errors)
        raise ConfigError(f"preflight: {len(found.errors)} of the config's queries can never work\n{shown}")
    return found


def _window(config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], until: datetime | None) -> Window:
    step = config.interval
    length = min(max(_INTERVALS * step, _SHORTEST), max(_LONGEST, step))
    sources = list(source.values()) if isinstance(source, Mapping) else [source]
    table = next((one for one in sources if hasattr(one, "window")), None)
    if until is None and table is not None:
        whole: Window = table.window(step, baseline_alone=True)
        return Window(max(whole.start, whole.end - length), whole.end)
    # the newest interval may not have been scraped yet
    end = (datetime.now(UTC) if until is None else until) - step
    return Window(end - length, end).aligned(step)


def _too_long(planned: Plan, horizon: timedelta) -> list[str]:
    weight, limit = planned.weights[0], horizon.total_seconds()
    found = []
    for one in planned.metrics:
        needs = one.seconds[0]
        if needs is None or needs > limit:
            length = "no time at all would do" if needs is None else f"it takes about {wait(needs)}"
            why = f" ({one.problem})" if one.problem else ""
            found.append(
                f"{one.name}: {length} to show its margin at {weight:g} % of the traffic, and {wait(limit)} are "
                f"planned{why}; see `canary-judge plan`"
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """What was asked, and answered."""

    config: JudgeConfig
    source: MetricSource | Mapping[str, MetricSource]
    window: Window
    answers: Sequence[tuple[Query, Result]]
    samples: Samples

    def of(self, metric: Metric, side: Side) -> list[tuple[Query, Result]]:
        return [(query, result) for query, result in self.answers if query.metric == metric.name and query.side is side]

    def spacing(self) -> dict[tuple[str, Side], float]:
        """Usual seconds between the points as they were scraped, of each metric and side where that is known."""
        found: dict[tuple[str, Side], float] = {}
        for query, result in [*self.answers, *self._scrapes()]:
            if query.reading is Reading.LEVEL or not _scraped(query, result):
                continue
            steps = [np.diff(one.timestamps) for one in result.series if one.timestamps.size > 2]
            if steps:
                usual = float(np.median(np.concatenate(steps))) / 1e9
                found[query.metric, query.side] = max(usual, found.get((query.metric, query.side), 0.0))
        return found

    def _scrapes(self) -> list[tuple[Query, Result]]:
        """Gauges as they were scraped: evaluated once an interval they look as regular as one asks."""
        sources = by_name(self.source)
        levels = [
            replace(query, reading=Reading.SAMPLES)
            for query, result in self.answers
            if query.reading is Reading.LEVEL and result.series and query.side is Side.BASELINE
        ]
        names = {metric.name: metric.source for metric in self.config.metrics}
        asked = [query for query in levels if hasattr(sources.get(names[query.metric]), "is_selector")]
        asked = [query for query in asked if sources[names[query.metric]].is_selector(query.expression)]  # type: ignore[attr-defined]
        return fetch(self.config, self.source, asked, self.window) if asked else []

    def seen(self, metric: Metric, side: Side, spacing: Mapping[tuple[str, Side], float]) -> SideSeen:
        asked = self.of(metric, side)
        samples = self.samples.metrics[metric.name]
        events = exposure = None
        if isinstance(samples.data, CountData):
            counts = samples.data.counts
            events = float(getattr(counts, f"events_{side}").sum())
            exposure = float(getattr(counts, f"exposure_{side}").sum())
        elif isinstance(samples.data, UserData):
            exposure = float(getattr(samples.data, str(side)).whole.users)
        return SideSeen(
            metric=metric.name,
            side=str(side),
            series=sum(len(result.series) + bool(_rows(result)) for _, result in asked),
            points=sum(_rows(result) + sum(one.timestamps.size for one in result.series) for _, result in asked),
            spacing_seconds=spacing.get((metric.name, side)),
            events=events,
            exposure=exposure,
            resets=0 if samples.quality is None else samples.quality.resets,
            queries=tuple(query.expression for query, _ in asked),
        )

    def findings(self, spacing: Mapping[tuple[str, Side], float]) -> tuple[list[str], list[str]]:
        """Errors and warnings."""
        errors: list[str] = []
        warnings: list[str] = []
        hints = 0
        for metric in self.config.metrics:
            fatal = errors if metric.role is not Role.WATCH else warnings
            samples = self.samples.metrics[metric.name]
            if samples.error is not None:
                (warnings if samples.temporary else fatal).append(f"{metric.name}: {samples.error}")
                continue
            empty = self._empty(metric)
            eventless = [] if empty else self._eventless(metric)
            for query in [*empty, *eventless]:
                hint = self._hint(query) if hints < _MOST_HINTS else ""
                hints += 1
                told = f"{metric.name}: {query.part} of the {query.side} returned nothing: {query.expression}{hint}"
                alone = query.side is Side.CANARY and not any(one.side is Side.BASELINE for one in empty)
                if query in eventless:
                    warnings.append(f"{told} (no event on either side is normal where there is none)")
                elif alone:
                    warnings.append(f"{told} (no traffic yet is normal)")
                else:
                    fatal.append(told)
            if empty:
                continue
            if (rare := self._too_rare(metric, spacing)) is not None:
                fatal.append(rare)
            warnings += self._swapped(metric, samples)
            warnings += [f"{metric.name}: {text}" for text in samples.warnings]
        return errors, warnings + self._waiting()

    def _waiting(self) -> list[str]:
        """All metrics are judged up to the same moment: one whose rows come late makes the others wait."""
        sources = by_name(self.source)
        counted = {metric.source for metric in self.config.metrics if metric.per_user() is None}
        late = {name: getattr(sources.get(name), "delay", timedelta(0)) for name in sorted(counted)}
        return [
            f"source {name!r} has its rows {format_duration(delay)} late, and all metrics that are not by user wait "
            "for them: a fault would be seen so much later; judge them by a config of their own"
            for name, delay in late.items()
            if delay >= self.config.interval and len(late) > 1
        ]

    def _empty(self, metric: Metric) -> list[Query]:
        """Queries that found nothing, and should have: events may be absent where nothing happened."""
        found = []
        for side in Side:
            asked = self.of(metric, side)
            anything = any(result.series for query, result in asked if query.part != "events")
            for query, result in asked:
                if not result.series and not _rows(result) and not (query.part == "events" and anything):
                    found.append(query)
        return found

    def _eventless(self, metric: Metric) -> list[Query]:
        """The baseline's events, where neither side has a series of them: a misspelt selector looks like that, too."""
        if getattr(metric, "absent_is_zero", False):
            return []
        asked = [(query, result) for side in Side for query, result in self.of(metric, side) if query.part == "events"]
        return [] if any(result.series for _, result in asked) else [query for query, _ in asked[:1]]

    def _hint(self, query: Query) -> str:
        names = {metric.name: metric.source for metric in self.config.metrics}
        sources = by_name(self.source)
        labels = self.config.canary if query.side is Side.CANARY else self.config.baseline
        return what_exists(sources[names[query.metric]], query, labels, self.window)

    def _too_rare(self, metric: Metric, spacing: Mapping[tuple[str, Side], float]) -> str | None:
        step = self.config.interval.total_seconds()
        usual = max((spacing.get((metric.name, side), 0.0) for side in Side), default=0.0)
        if usual <= _TOO_RARE * step:
            return None
        every = format_duration(timedelta(seconds=round(usual)))
        return (
            f"{metric.name}: points come every {every}, more rarely than the interval of "
            f"{format_duration(self.config.interval)}; set `interval: {every}` or a multiple of it"
        )

    def _swapped(self, metric: Metric, samples: MetricSamples) -> list[str]:
        share = None if samples.quality is None else samples.quality.canary_share
        if isinstance(metric, GaugeMetric) or share is None or share <= MOST_FOR_A_CANARY:
            return []
        told = f"the canary has {share:.0%} of the requests: are baseline and canary swapped?"
        return [f"{metric.name}: {told} (the baseline is the stable version)"]


def _rows(result: Result) -> int:
    """Rows of users that were counted."""
    return 0 if result.moments is None else result.moments.rows


def _scraped(query: Query, result: Result) -> bool:
    """Whether the points stand where the store has them, not where they were evaluated."""
    return query.reading is not Reading.COUNTS or result.form.value == "counter"
