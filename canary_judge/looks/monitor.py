"""A monitor holds the state of repeated looks and asks the source for each interval once, behind a watermark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError, QueryError
from canary_judge.judging.fetching import checked, fetch
from canary_judge.judging.silence import PATIENCE, given_up
from canary_judge.looks.observing import judged, taken, warmup_intervals, with_weight
from canary_judge.looks.state import Fresh, How, MonitorState, check_config
from canary_judge.looks.streams import Stream
from canary_judge.results import Judgement, Role, Side
from canary_judge.samples import CountData, Samples, collect
from canary_judge.samples.grid import intervals
from canary_judge.samples.users import is_late
from canary_judge.series import (
    Form,
    MetricSource,
    Query,
    Result,
    Window,
    duration_from,
    format_duration,
    moment_from,
    percent_from,
)
from canary_judge.wording import html_table

__all__ = ["Monitor", "refuse_what_never_works"]

# Rows of events that so large a share of the intervals had are late where they are missing.
_MOST = 0.5
# Times the margin: a larger one asks nothing.
_MOST_RECENT = 10.0


class Monitor:
    """Look at a canary as often as you like; `false_alarm_rate` holds over all looks and metrics together.

    Args:
        config: What to compare, and what is tolerated.
        start: When the canary began to serve; by default one interval before the first look.
        horizon: Planned length of the run. Most of the error is then spent on the planned end, where nearly as little
            data is needed as for a single look, and the rest on rolling back early. Without one, all of it goes to
            evidence at any look, and there is no end.
        stages: How many weights are planned: metrics by user are counted anew at each, and the stages share their
            error of harm. By default stage k has 1 / (k (k + 1)) of it.
        state: What an earlier monitor's `state()` gave; it replaces start, horizon and stages.

    Raises:
        DataError: The state belongs to another config, or the horizon is shorter than an interval.

    Examples:
        >>> import pandas as pd
        >>> from datetime import UTC
        >>> from canary_judge.sources import FrameSource
        >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> rng = np.random.default_rng(1)
        >>> sides = (("baseline", 950, 0.005), ("canary", 50, 0.05))
        >>> rows = [{"timestamp": noon + timedelta(minutes=m), "side": s, "requests": n, "errors": rng.binomial(n, p)}
        ...         for m in range(1, 61) for s, n, p in sides]
        >>> errors = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase",
        ...           "margin": "1.5x"}
        >>> config = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [errors]})
        >>> monitor = Monitor(config, start=noon, horizon="1h")
        >>> source = FrameSource(pd.DataFrame(rows))
        >>> for minute in range(1, 61):
        ...     judgement = monitor.look(source, noon + timedelta(minutes=minute))
        ...     if judgement.verdict == "fail":
        ...         break
        >>> minute < 15, judgement.action
        (True, <Action.ROLL_BACK: 'roll_back'>)
    """

    def __init__(
        self,
        config: JudgeConfig,
        *,
        start: datetime | None = None,
        horizon: str | timedelta | None = None,
        stages: int | None = None,
        state: str | bytes | MonitorState | None = None,
    ) -> None:
        checked(config)
        self.config = config
        length = None if horizon is None else duration_from(horizon, "horizon")
        self._horizon = None if length is None else length // config.interval
        if length is not None and length < config.interval:
            raise DataError(
                f"horizon {format_duration(length)} is shorter than one interval "
                f"({format_duration(config.interval)}); give a longer one"
            )
        if stages is not None and (not isinstance(stages, int) or stages < 1):
            raise DataError(f"stages is {stages!r}; give how many weights are planned, 1 or more")
        self._stages = stages
        self._steps: list[MonitorState] = []
        self._whole = True
        if not isinstance(state, str | bytes | MonitorState | None):
            raise DataError(f"state is {type(state).__name__}; give what `monitor.state()` gave, the text as it is")
        if isinstance(state, MonitorState) and state.config_hash is not None:
            check_config(config, state.config_hash)
        self._state = MonitorState.from_json(config, state) if isinstance(state, str | bytes) else state
        if self._state is None and start is not None:
            self._begin(moment_from(start, "start"))

    def _begin(self, start: datetime) -> MonitorState:
        aligned = Window(start, start + self.config.interval).aligned(self.config.interval).start
        self._state = MonitorState(
            start=aligned,
            horizon=self._horizon,
            warm_until=warmup_intervals(self.config),
            since=start + (self.config.warmup or timedelta(0)),
            stages=self._stages,
            config_hash=self.config.hash(),
        )
        return self._state

    def __repr__(self) -> str:
        """Of what, since when, and how far it is."""
        if self._state is None:
            return f"Monitor({self.config.name!r}, no look yet)"
        planned = "" if self._state.horizon is None else f" of {self._state.horizon}"
        since = f"{self._state.start:%Y-%m-%d %H:%M:%S}"
        return f"Monitor({self.config.name!r}, {self._state.consumed}{planned} intervals since {since})"

    def _repr_html_(self) -> str:
        state = self._state
        rows = [
            ["intervals seen", "none" if state is None else f"{state.consumed:,}"],
            ["planned end", "none" if self._horizon is None else f"after {self._horizon:,} intervals"],
            ["length of one", format_duration(self.config.interval)],
            ["since", "-" if state is None else f"{state.start:%Y-%m-%d %H:%M:%S %Z}"],
            ["canary", ", ".join(f"{name} {value}" for name, value in self.config.canary.items()) or "-"],
            ["metrics", ", ".join(metric.name for metric in self.config.metrics)],
        ]
        return html_table(f"Monitor of {self.config.name}", ["", ""], rows)

    @property
    def start(self) -> datetime | None:
        """The start of the first interval; None before the first look."""
        return None if self._state is None else self._state.start

    @property
    def evidence(self) -> MonitorState | None:
        """All that is known of the looks so far, frozen; None before the first look."""
        return self._state

    @property
    def watermark(self) -> datetime | None:
        """The end of the last consumed interval; None before the first look."""
        return None if self._state is None else self._state.watermark(self.config.interval)

    def overdue(self, moment: datetime) -> bool:
        """Whether the planned end has passed at this moment, whatever was read by then."""
        state = self._state
        if state is None or state.horizon is None:
            return False
        return moment >= state.start + state.horizon * self.config.interval

    def look(
        self,
        source: MetricSource | Mapping[str, MetricSource],
        until: datetime,
        *,
        weight: float | None = None,
        weight_since: datetime | None = None,
        recent: float | None = 2.0,
        fresh: Fresh = "pass",
    ) -> Judgement:
        """Fetch what is new, take it in, and judge.

        An interval that is not complete yet (a side without data, a refused query) is waited for, three intervals
        long; then it is a gap. When the source gives no answer at all nothing is consumed, and the next look goes on.

        Args:
            source: As for `judge`.
            until: The moment of the look; whole intervals up to it are read.
            weight: Percent of the traffic that the canary gets now, where it is known.
            weight_since: When this weight came into force; what was before belongs to the weight before. By default
                it is in force from the first interval that was not consumed yet.
            recent: Times the margin that the newest data at this weight are asked to rule out by themselves (see
                `MetricResult.recent`); None: only whether they are worse than the margin.
            fresh: When no evidence may be held from looks before (`LookInfo.as_of`): where the verdict becomes pass,
                at any look ("all"), or never ("none"), because nothing depends on a pass yet.

        Raises:
            ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
            QueryError: A query can never work, and this is the first look: the state is as before. In a later look it
                is a failing source: the metric's intervals are gaps.
            SourceUnavailable: A source gave no answer; the state is as before, but for a part of the look that ended
                where the weight changed or the warm-up ended.
        """
        if recent is not None and not (isinstance(recent, int | float) and 1 < recent <= _MOST_RECENT):
            raise DataError(f"recent is {recent!r}; give a number above 1, up to {_MOST_RECENT:g}, or None")
        judgement = None
        for state in self._taken(source, until, weight, weight_since, How(recent=recent, fresh=fresh)):
            self._state, judgement = judged(self.config, state)
            self._steps.append(self._state)
        assert judgement is not None  # noqa: S101
        return judgement

    def take(
        self,
        source: MetricSource | Mapping[str, MetricSource],
        until: datetime,
        *,
        weight: float | None = None,
        weight_since: datetime | None = None,
    ) -> None:
        """Read as `look` does, and judge nothing: for a past canary that is archived first and judged later."""
        for state in self._taken(source, until, weight, weight_since, How()):
            self._state = state
            self._steps.append(state)

    @property
    def steps(self) -> tuple[MonitorState, ...]:
        """What was known after each part of the last look: it has two where the weight changed within it."""
        return tuple(self._steps)

    def _taken(
        self,
        source: MetricSource | Mapping[str, MetricSource],
        until: datetime,
        weight: float | None,
        weight_since: datetime | None,
        how: How,
    ) -> Iterator[MonitorState]:
        """The state with what is new, part by part; each is to be judged before the next one is asked for."""
        interval = self.config.interval
        until = moment_from(until, "until")
        weight = None if weight is None else percent_from(weight, "weight")
        weight_since = None if weight_since is None else moment_from(weight_since, "weight_since")
        moment = Window(until - interval, until).end
        state = self._state or self._begin(moment - interval)
        # else a source failed between the parts of the last look, whose first part is kept with those of this one
        if self._whole:
            self._steps = []
        self._whole = False
        changed = None
        if weight != state.weight and weight_since is not None:
            changed = state.start + (weight_since - state.start) // interval * interval
        while True:
            before = changed is not None and state.watermark(interval) < changed
            if not before:
                state = with_weight(self.config, state, weight, weight_since)
            samples = self._read(state, source, moment, changed if before else None)
            yield taken(self.config, state, samples, weight=state.weight if before else weight, how=how)
            assert self._state is not None  # noqa: S101
            state = self._state
            # else the warm-up, or the weight before, ended inside, and the rest is judged
            if samples is None or not (before or state.consumed == state.warm_until):
                self._whole = True
                return

    def _read(
        self,
        state: MonitorState,
        source: MetricSource | Mapping[str, MetricSource],
        moment: datetime,
        changed: datetime | None,
    ) -> Samples | None:
        interval = self.config.interval
        watermark = state.watermark(interval)
        end = moment if state.horizon is None else min(moment, state.start + state.horizon * interval)
        if changed is not None:
            end = min(end, changed)
        if state.consumed < state.warm_until:  # what is left out and what is judged are read apart
            end = min(end, state.start + state.warm_until * interval)
        if end - watermark < interval:
            return None
        window = Window(watermark, end).aligned(interval)
        queries = list(self.config.queries(since=state.since or state.start, start=state.start))
        answers = fetch(self.config, source, queries, window)
        if state.consumed == 0:
            refuse_what_never_works(self.config, collect(self.config, window, answers))
        ready = _ready(self.config, state, window, moment, answers)
        if ready is None:
            return None
        if self.config.history is not None and state.consumed >= state.warm_until:
            past = Window(state.start - self.config.history, state.start).aligned(interval)
            begin = _beginning(state, answers)
            answers += fetch(
                self.config, source, [one for one in self.config.history_queries() if one.metric in begin], past
            )
        return collect(self.config, ready, answers)

    def state(self) -> str:
        """What a later `Monitor(config, state=...)` needs to go on, as JSON.

        Raises:
            DataError: There was no look yet.
        """
        if self._state is None:
            raise DataError("there was no look yet, so there is no state; call look() first")
        return self._state.to_json(self.config)


def refuse_what_never_works(config: JudgeConfig, samples: Samples) -> None:
    """QueryError where a metric that decides cannot be judged by what was read, now or later."""
    for metric in config.metrics:
        found = samples.metrics[metric.name]
        if found.error is not None and not found.temporary and metric.role is not Role.WATCH:
            raise QueryError(f"{metric.name}: {found.error}")


def _ready(
    config: JudgeConfig,
    state: MonitorState,
    window: Window,
    moment: datetime,
    answers: Sequence[tuple[Query, Result]],
) -> Window | None:
    """The intervals that may be consumed: those that are complete, and those that were waited for long enough."""
    edges = window.edges(config.interval)
    count = edges.size - 1
    overdue = max(min((moment - window.start) // config.interval - PATIENCE, count), 0)
    complete = count
    for _, result in answers:
        if result.known_until is not None:  # rows that the store has not loaded yet are no gap, however late they are
            known = max((result.known_until - window.start) // config.interval, 0)
            complete, overdue = min(complete, known), min(overdue, known)
    for query, result in answers:
        if result.error is not None or not result.complete:
            complete = 0
            break
        if result.moments is not None:
            step = round(config.interval.total_seconds() * 1e9)
            complete = min(complete, count - (1 if is_late(result.moments, step) else 0))
            if _ends(config, state, window) and result.moments.until < edges[-1]:
                # the planned end is looked at once, when all of its rows are loaded
                complete, overdue = min(complete, count - 1), min(overdue, count - 1)
            continue
        stream = state.streams.get(query.metric)
        waited = stream is not None and given_up(stream.quality, query.side)
        if waited or (query.part == "events" and not _comes_each_interval(result, stream, query.side)):
            continue
        times = [one.timestamps for one in result.series]
        present = np.zeros(count, dtype=bool)
        if times:
            place, inside = intervals(np.concatenate(times), edges)
            present[place[inside]] = True
        # gaps inside are gaps; what is late is at the end
        complete = min(complete, int(np.flatnonzero(present)[-1]) + 1 if present.any() else 0)
    usable = max(complete, overdue)
    if usable == 0:
        return None
    return Window(window.start, window.start + usable * config.interval)


def _beginning(state: MonitorState, answers: Sequence[tuple[Query, Result]]) -> set[str]:
    """The metrics that have their first values now, and whose record before the run is not known yet."""
    answered = {query.metric for query, result in answers if result.series}
    return {name for name in answered if (stream := state.streams.get(name)) is None or stream.data is None}


def _ends(config: JudgeConfig, state: MonitorState, window: Window) -> bool:
    """Whether the window reaches the planned end."""
    return state.horizon is not None and window.end >= state.start + state.horizon * config.interval


def _comes_each_interval(events: Result, stream: Stream | None, side: Side) -> bool:
    """Whether events are late when they are not there: those of a counter, and rows that most intervals had so far."""
    if events.form is Form.COUNTER:
        return bool(events.series)
    data = None if stream is None else stream.data
    if not isinstance(data, CountData):
        return True
    return bool((getattr(data.counts, f"events_{side}") > 0).mean() >= _MOST)
