"""Repeated looks: evidence that stays valid whenever one looks.

`observe` is pure: (config, state, samples) -> (state, judgement). `Monitor` holds the state and asks the source. Each
interval is consumed once, behind a watermark; the state survives a restart as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from canary_judge._version import __version__
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.judging.assessing import Assessed, assess, canary_share, requests, traffic_split
from canary_judge.judging.verdict import conclude, fetch
from canary_judge.looks.anytime import Design, anytime, equivalent_level
from canary_judge.looks.evidence import Stream, append, dumps, stream_from_json, stream_to_json
from canary_judge.results import Judgement, LookInfo, Outcome, Role
from canary_judge.samples.collecting import Samples, collect
from canary_judge.series import MetricSource, Query, Result, Window, format_duration, parse_duration
from canary_judge.stats.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Monitor", "MonitorState", "observe"]

# Intervals that a late point is waited for; after that it is a gap.
_PATIENCE = 3
# The interval in which the weight changed, and the next one, whose counters still hold requests from before.
_SETTLING = 2
_FORMAT = 2


def _no_requests() -> Counts:
    return _as_requests(np.empty(0), np.empty(0))


def _as_requests(baseline: Any, canary: Any) -> Counts:
    nothing = np.zeros(len(baseline))
    return Counts(events_baseline=nothing, exposure_baseline=baseline, events_canary=nothing, exposure_canary=canary)


_PLAIN = ("horizon", "consumed", "looks", "left_out", "warm_until", "weight", "split_from")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MonitorState:
    """All that repeated looks need to know of the looks before.

    Attributes:
        start: Start of the run, aligned to the interval.
        horizon: Planned length in intervals; None without one.
        consumed: Intervals consumed since the start; the watermark is `start + consumed * interval`.
        looks: Looks that consumed data.
        left_out: Intervals of the warm-up, consumed but not judged.
        warm_until: Intervals up to this one belong to the warm-up.
        weight: Percent of the traffic that the canary gets, as last told.
        split: Requests of both sides, interval by interval, since the weight last changed and had settled.
        split_from: Intervals up to this one saw the weight change, and say nothing of the split.
        streams: By metric.
    """

    start: datetime
    horizon: int | None
    consumed: int = 0
    looks: int = 0
    left_out: int = 0
    warm_until: int = 0
    weight: float | None = None
    split: Counts = field(default_factory=_no_requests)
    split_from: int = 0
    streams: Mapping[str, Stream] = field(default_factory=dict)

    def watermark(self, interval: timedelta) -> datetime:
        """The end of the last consumed interval."""
        return self.start + self.consumed * interval

    def to_json(self, config: JudgeConfig) -> str:
        """The state as JSON, which only this config can take up again."""
        return dumps(
            {
                "format": _FORMAT,
                "version": __version__,
                "config": config.hash(),
                "start": self.start.isoformat(),
                "horizon": self.horizon,
                "consumed": self.consumed,
                "looks": self.looks,
                "left_out": self.left_out,
                "warm_until": self.warm_until,
                "weight": self.weight,
                "split_from": self.split_from,
                "split": [self.split.exposure_baseline.tolist(), self.split.exposure_canary.tolist()],
                "streams": {name: stream_to_json(stream) for name, stream in self.streams.items()},
            }
        )

    @classmethod
    def from_json(cls, config: JudgeConfig, text: str | bytes) -> Self:
        """The state that `to_json` wrote; DataError says what does not fit."""
        try:
            plain: dict[str, Any] = json.loads(text)
            if plain["format"] != _FORMAT:
                raise DataError(f"the monitor state has format {plain['format']!r}, this version reads {_FORMAT}")
            if plain["config"] != config.hash():
                raise DataError(
                    "the monitor state belongs to another config: evidence gathered under one set of metrics, margins "
                    "and rates says nothing under another. Start again without the state, or restore the config"
                )
            baseline, canary = (np.array(side, dtype=float) for side in plain["split"])
            return cls(
                start=datetime.fromisoformat(plain["start"]),
                **{name: plain[name] for name in _PLAIN},
                split=_as_requests(baseline, canary),
                streams={name: stream_from_json(stream) for name, stream in plain["streams"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"this is no monitor state: {type(error).__name__}: {error}; delete it to start again"
            ) from error


def _warmup(config: JudgeConfig) -> int:
    """Intervals that a warm-up touches."""
    return 0 if config.warmup is None else -(-config.warmup // config.interval)


def observe(
    config: JudgeConfig,
    state: MonitorState,
    samples: Samples | None,
    *,
    weight: float | None = None,
    intervals: bool = True,
) -> tuple[MonitorState, Judgement]:
    """Take in the next intervals and judge all of them so far: no I/O, no clock.

    Args:
        config: The same at every look.
        state: Of the look before.
        samples: The intervals from the watermark on; None when there is none, and nothing is looked at twice.
        weight: Percent of the traffic that the canary gets from now on, where the caller knows it.
        intervals: Give each effect its confidence sequence; without them a look costs half as much.

    Returns:
        The next state, and a judgement that may be acted on at any look.

    Raises:
        DataError: The samples do not begin at the watermark.
    """
    if weight is not None and weight != state.weight:
        # what was consumed before the change is judged; from here on the canary warms up again
        state = replace(
            state,
            weight=weight,
            split=_no_requests(),
            split_from=state.consumed + _SETTLING,
            warm_until=max(state.warm_until, state.consumed + _warmup(config)),
        )
    if samples is not None:
        state = _consume(config, state, samples)
    design = Design.of(state.horizon, state.consumed)
    window = Window(state.start, max(state.watermark(config.interval), state.start + config.interval))
    whole = Samples(
        window=window,
        metrics={metric.name: state.streams.get(metric.name, Stream()).samples() for metric in config.metrics},
    )
    share = canary_share(config, whole)
    level = 1 - 2 * max(config.false_alarm_rate, config.false_pass_rate)
    assessed: list[Assessed] = []
    streams = dict(state.streams)
    for metric in config.metrics:
        own = whole.metrics[metric.name]
        fixed = assess(config, metric, own, window, share, level=1.0, cost=design.cost)
        shown_level = level if intervals else 1.0
        found, stream = anytime(config, fixed, streams.get(metric.name, Stream()), design, shown_level)
        if intervals and found.comparison is not None and found.comparison.interval == (None, None):
            wide = equivalent_level(config, fixed, stream, design, level)
            shown = assess(config, metric, own, window, share, level=wide).comparison
            if shown is not None:
                found = replace(found, comparison=replace(found.comparison, interval=shown.interval, level=level))
        streams[metric.name] = stream
        assessed.append(found)
    look = LookInfo(
        number=state.looks,
        intervals=state.consumed - state.left_out,
        left_out=state.left_out,
        horizon_seconds=None if state.horizon is None else state.horizon * config.interval.total_seconds(),
        ended=design.ended,
        seconds_to_decision=None,
    )
    judgement = conclude(config, assessed, window, traffic=traffic_split(config, state.split, state.weight), look=look)
    for result in judgement.metrics:
        if (
            result.outcome is Outcome.REGRESSED
            and result.role is not Role.WATCH
            and streams[result.name].latched is None
        ):
            streams[result.name] = replace(streams[result.name], latched=result.reason)
    judgement = replace(judgement, look=replace(look, seconds_to_decision=_projected(config, judgement, state)))
    return replace(state, streams=streams), judgement


def _consume(config: JudgeConfig, state: MonitorState, samples: Samples) -> MonitorState:
    watermark = state.watermark(config.interval)
    if samples.window.start != watermark:
        raise DataError(
            f"the samples begin at {samples.window.start.isoformat()}, but {watermark.isoformat()} is where the looks "
            "before ended; every interval is consumed once, in order"
        )
    count = samples.window.duration // config.interval
    if state.horizon is not None and state.consumed + count > state.horizon:
        raise DataError(
            f"the samples reach beyond the planned end of {state.horizon} intervals; plan longer from the start"
        )
    counts = requests(config, samples)
    seen = {
        side: np.zeros(count) if counts is None else getattr(counts, f"exposure_{side}")
        for side in ("baseline", "canary")
    }
    settled = max(state.split_from - state.consumed, 0)
    split = _as_requests(
        np.concatenate([state.split.exposure_baseline, seen["baseline"][settled:]]),
        np.concatenate([state.split.exposure_canary, seen["canary"][settled:]]),
    )
    warm = state.consumed < state.warm_until
    streams = dict(state.streams)
    if not warm:
        for metric in config.metrics:
            streams[metric.name] = append(streams.get(metric.name, Stream()), samples.metrics[metric.name], count)
    return replace(
        state,
        consumed=state.consumed + count,
        looks=state.looks + 1,
        left_out=state.left_out + (count if warm else 0),
        split=split,
        streams=streams,
    )


def _projected(config: JudgeConfig, judgement: Judgement, state: MonitorState) -> float | None:
    """Seconds until every undecided gate can be decided; the planned end comes at the latest. None: not known."""
    open_gates = [
        metric for metric in judgement.metrics
        if metric.role is Role.GATE and metric.outcome not in {Outcome.SAFE, Outcome.TOLERABLE, Outcome.REGRESSED}
    ]  # fmt: skip
    if not open_gates:
        return 0.0
    waits = [metric.shortfall.seconds if metric.shortfall is not None else None for metric in open_gates]
    known = [wait for wait in waits if wait is not None]
    wait = max(known) if len(known) == len(waits) else None
    if state.horizon is None:
        return wait
    left = max((state.horizon - state.consumed) * config.interval.total_seconds(), 0.0)
    return left if wait is None else min(wait, left)


class Monitor:
    """Look at a canary as often as you like; `false_alarm_rate` holds over all looks and metrics together.

    Args:
        config: What to compare, and what is tolerated.
        start: When the canary began to serve; by default one interval before the first look.
        horizon: Planned length of the run. Most of the error is then spent on the planned end, where nearly as little
            data is needed as for a single look, and the rest on rolling back early. Without one, all of it goes to
            evidence at any look, and there is no end.
        state: What an earlier monitor's `state()` gave; it replaces start and horizon.

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
        state: str | bytes | None = None,
    ) -> None:
        self.config = config
        length = parse_duration(horizon) if isinstance(horizon, str) else horizon
        self._horizon = None if length is None else length // config.interval
        if length is not None and length < config.interval:
            raise DataError(
                f"horizon {format_duration(length)} is shorter than one interval "
                f"({format_duration(config.interval)}); give a longer one"
            )
        self._state = MonitorState.from_json(config, state) if state is not None else None
        if self._state is None and start is not None:
            self._begin(start)

    def _begin(self, start: datetime) -> MonitorState:
        aligned = Window(start, start + self.config.interval).aligned(self.config.interval).start
        self._state = MonitorState(start=aligned, horizon=self._horizon, warm_until=_warmup(self.config))
        return self._state

    @property
    def start(self) -> datetime | None:
        """The start of the first interval; None before the first look."""
        return None if self._state is None else self._state.start

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

        Raises:
            ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
            SourceUnavailable: A source gave no answer; the state is as before.
        """
        interval = self.config.interval
        moment = Window(until - interval, until).end
        state = self._state or self._begin(moment - interval)
        changed = None
        if weight != state.weight and weight_since is not None:
            changed = state.start + (weight_since - state.start) // interval * interval
        while True:
            before = changed is not None and state.watermark(interval) < changed
            samples = self._read(state, source, moment, changed if before else None)
            state, judgement = observe(self.config, state, samples, weight=state.weight if before else weight)
            self._state = state
            # else the warm-up, or the weight before, ended inside, and the rest is judged
            if samples is None or not (before or state.consumed == state.warm_until):
                return judgement

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
        answers = fetch(self.config, source, list(self.config.queries()), window)
        ready = _ready(self.config, state, window, moment, answers)
        if ready is None:
            return None
        if not state.streams and self.config.history is not None and state.consumed >= state.warm_until:
            past = Window(state.start - self.config.history, state.start).aligned(interval)
            answers += fetch(self.config, source, list(self.config.history_queries()), past)
        return collect(self.config, ready, answers)

    def state(self) -> str:
        """What a later `Monitor(config, state=...)` needs to go on, as JSON.

        Raises:
            DataError: There was no look yet.
        """
        if self._state is None:
            raise DataError("there was no look yet, so there is no state; call look() first")
        return self._state.to_json(self.config)


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
    overdue = max(min((moment - window.start) // config.interval - _PATIENCE, count), 0)
    complete = count
    for query, result in answers:
        if result.error is not None or not result.complete:
            complete = 0
            break
        stream = state.streams.get(query.metric)
        if query.part not in ("value", "total", "exposure", "histogram") or _is_silent(stream, query):
            continue
        times = [one.timestamps for one in result.series]
        present = np.zeros(count, dtype=bool)
        if times:
            at = np.searchsorted(edges, np.concatenate(times), side="left") - 1
            present[at[(at >= 0) & (at < count)]] = True
        # gaps inside are gaps; what is late is at the end
        complete = min(complete, int(np.flatnonzero(present)[-1]) + 1 if present.any() else 0)
    usable = max(complete, overdue)
    if usable == 0:
        return None
    return Window(window.start, window.start + usable * config.interval)


def _is_silent(stream: Stream | None, query: Query) -> bool:
    """Whether this side was given up on already, so that it need not be waited for at every look."""
    quality = stream.quality if stream is not None else None
    if quality is None:
        return False
    return (quality.silent_canary if query.side == "canary" else quality.silent_baseline) >= _PATIENCE
