"""The next intervals, and the judgement of all of them so far: (config, state, samples) -> (state, judgement). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed, Finding
from canary_judge.judging.assessing import assess
from canary_judge.judging.look import POWER_OF_ONE_LOOK, Look, Newest
from canary_judge.judging.missing import objections
from canary_judge.judging.traffic import canary_share, most_users, requests, traffic_split
from canary_judge.judging.verdict import conclude
from canary_judge.looks.anytime import anytime, is_spaced, with_interval
from canary_judge.looks.design import Design
from canary_judge.looks.held import Key, calm, due, hold, shows, standing, with_held_intervals
from canary_judge.looks.state import Fresh, How, MonitorState, as_requests, no_requests
from canary_judge.looks.streams import Stream, append, of_next_stage
from canary_judge.results import Judgement, LookInfo, MetricResult, Outcome, Role, Verdict
from canary_judge.samples import Samples
from canary_judge.series import Window, format_duration

__all__ = ["judged", "observe", "retaken", "taken", "warmup_intervals", "with_weight"]

# The interval in which the weight changed, and the next one, whose counters still hold requests from before.
_SETTLING = 2
# Percent: what a promoted canary gets.
_ALL = 100.0


def warmup_intervals(config: JudgeConfig) -> int:
    """Intervals that a warm-up touches."""
    return 0 if config.warmup is None else -(-config.warmup // config.interval)


def observe(
    config: JudgeConfig,
    state: MonitorState,
    samples: Samples | None,
    *,
    weight: float | None = None,
    with_intervals: bool = True,
    recent: float | None = 2.0,
    fresh: Fresh = "pass",
) -> tuple[MonitorState, Judgement]:
    """Take in the next intervals and judge all of them so far: no I/O, no clock.

    Args:
        config: The same at every look.
        state: Of the look before.
        samples: The intervals from the watermark on; None when there is none, and nothing is looked at twice.
        weight: Percent of the traffic that the canary gets from now on, where the caller knows it.
        with_intervals: Give each effect its confidence sequence; without them a look costs less.
        recent: Times the margin that the newest data at this weight are asked to rule out by themselves; None: only
            whether they are worse than the margin.
        fresh: When no evidence may be held from looks before: where the verdict becomes pass ("pass"), at any look
            ("all"), or never ("none"), because nothing depends on a pass yet.

    Returns:
        The next state, and a judgement that may be acted on at any look.

    Raises:
        DataError: The samples do not begin at the watermark.
    """
    return judged(
        config,
        taken(config, state, samples, weight=weight, how=How(recent=recent, fresh=fresh)),
        with_intervals=with_intervals,
    )


def taken(
    config: JudgeConfig, state: MonitorState, samples: Samples | None, *, weight: float | None = None, how: How
) -> MonitorState:
    """The state with the next intervals, which are still to be judged; the arguments are those of `observe`.

    What is odd about the samples is added to `how`.
    """
    state = with_weight(config, state, weight)
    odd: tuple[str, ...] = ()
    if samples is not None:
        odd = tuple(metric.name for metric in config.metrics if not calm(samples.metrics[metric.name]))
        state = _consume(config, state, samples)
    return replaced(state, how=replaced(how, odd=odd))


def judged(config: JudgeConfig, state: MonitorState, *, with_intervals: bool = True) -> tuple[MonitorState, Judgement]:
    """Judge all intervals so far, some of which `taken` has added; see `observe`."""
    how = state.how
    recent, fresh = how.recent, how.fresh
    window = Window(state.start, max(state.watermark(config.interval), state.start + config.interval))
    design = Design.of(state.horizon, state.consumed, state.acts, state.stages)
    newest = Newest(
        factor=recent,
        since=state.acts[-1] if state.acts else 0,
        acts=state.acts,
        power=POWER_OF_ONE_LOOK if design.ended else Newest().power,
        decides=design.ended,
    )
    level = config.interval_level if with_intervals else 1.0
    run = _Run(config, state, window, design, newest, level)
    split = traffic_split(config, state.split, state.weight, users=most_users(run.samples))
    found = run.standing(how.odd) if fresh != "all" and not design.ended else {}
    stale: set[str] = set()
    while True:
        found |= run.assessed([metric for metric in config.metrics if metric.name not in found], again=stale)
        assessed = [found[metric.name] for metric in config.metrics]
        judgement = conclude(config, assessed, window, traffic=split, look=_look(config, state, design, assessed))
        stale = _stale(judgement, found, run.streams, anew=fresh == "pass" and not state.passed)
        if not stale:
            break
        found = {name: one for name, one in found.items() if name not in stale}
    # a pass has begun when it rested on fresh evidence once
    passed = judgement.verdict is Verdict.PASS and (state.passed or all(one.as_of is None for one in found.values()))
    state = replaced(state, streams=run.remembered(judgement, found), passed=passed)
    look = judgement.look
    assert look is not None  # noqa: S101
    look = replaced(look, seconds_to_decision=_projected(config, judgement, state))
    return _latched(state, judgement), replaced(judgement, look=look)


def retaken(config: JudgeConfig, state: MonitorState, then: MonitorState) -> MonitorState:
    """The state of a replay, with what the recorded run had taken in by one of its looks; it is still to be judged.

    Args:
        config: Of the replay, which may ask something else of the same data.
        state: Of the replay after the look before.
        then: Of the recorded run at this look.
    """
    moved = then.weight != state.weight or then.acts != state.acts
    streams = {}
    for metric in config.metrics:
        known = state.streams.get(metric.name, Stream())
        if moved and then.since is not None:
            known = of_next_stage(known, then.since)
        streams[metric.name] = then.streams.get(metric.name, Stream()).with_evidence_of(known)
    return replaced(then, passed=state.passed, streams=streams)


def with_weight(
    config: JudgeConfig, state: MonitorState, weight: float | None, since: datetime | None = None
) -> MonitorState:
    """The state once the canary gets this share of the traffic; the same where it does already.

    Args:
        config: Its warm-up begins again.
        state: Of what was consumed before the change, which is judged.
        weight: Percent; None: as before.
        since: When it came into force, for users, who are counted to the moment; the watermark by default.
    """
    if weight is None or weight == state.weight:
        return state
    watermark = state.watermark(config.interval)
    settled = max(since or watermark, watermark) + (config.warmup or timedelta(0))
    if state.consumed == 0 and state.since is not None:  # the first weight that is told is the one of the start
        settled = max(settled, state.since)
    streams = {name: of_next_stage(stream, settled) for name, stream in state.streams.items()}
    return replaced(
        state,
        weight=weight,
        split=no_requests(),
        split_from=state.consumed + _SETTLING,
        warm_until=max(state.warm_until, state.consumed + warmup_intervals(config)),
        acts=_with_act(state),
        since=settled,
        streams=streams,
    )


def _stale(
    judgement: Judgement, found: Mapping[str, Assessed], streams: Mapping[str, Stream], *, anew: bool
) -> set[str]:
    """Held metrics that must be assessed after all: all for a new pass, and where what they led to is no longer so."""
    if (
        anew
        and judgement.verdict is Verdict.PASS
        and (held := {n for n, one in found.items() if one.as_of is not None})
    ):
        return held
    older = [name for name, one in found.items() if one.shown_as_of is not None]
    before = {name: stream.held.outcome for name in older if (stream := streams[name]).held is not None}
    return {
        result.name for result in judgement.metrics if result.outcome is not before.get(result.name, result.outcome)
    }


def _with_act(state: MonitorState) -> tuple[int, ...]:
    """The judged intervals at which the weight changed, and the next one: from there on it is another weight."""
    judged = state.consumed - state.left_out
    return state.acts if judged in (0, *state.acts) else (*state.acts, judged)


def _nothing_yet(config: JudgeConfig, state: MonitorState) -> str | None:
    """Why no interval is judged yet."""
    if state.consumed > state.left_out:
        return None
    if config.warmup is None or not state.left_out:
        return "nothing is judged yet: no interval is complete"
    return f"nothing is judged yet: the first {format_duration(config.warmup)} are warm-up, and none after is complete"


class _Run:
    """All metrics at one look: those whose evidence is held, and those that are assessed.

    Attributes:
        streams: What is remembered of each metric.
        samples: All that was read of them.
    """

    def __init__(
        self, config: JudgeConfig, state: MonitorState, window: Window, design: Design, newest: Newest, level: float
    ) -> None:
        self._config, self._window, self._design, self._level = config, window, design, level
        self.streams = {metric.name: state.streams.get(metric.name, Stream()) for metric in config.metrics}
        self._samples = {name: stream.samples() for name, stream in self.streams.items()}
        self.samples = Samples(window=window, metrics=self._samples)
        self._share = canary_share(config, requests(config, self.samples), weight=state.weight)
        left = None if state.horizon is None else (state.horizon - state.consumed) * config.interval.total_seconds()
        promoted = newest.since if state.weight is not None and state.weight >= _ALL else None
        self._look = Look(
            config=config,
            window=window,
            left_out=state.left_out,
            cost=design.cost,
            newest=newest,
            left=left,
            stages=state.stages,
            promoted=promoted,
            nothing=_nothing_yet(config, state),
            weighted=state.weight is not None,
        )
        self._keys = {metric.name: self._key(metric) for metric in config.metrics}
        self._places = {metric.name: place / len(config.metrics) for place, metric in enumerate(config.metrics)}

    def _key(self, metric: Metric) -> Key:
        samples, newest = self._samples[metric.name], self._look.newest
        objected = samples.data is not None and (
            samples.doubt is not None or any(True for _ in objections(self._look, metric, samples))
        )
        return Key(
            since=newest.since,
            factor=newest.factor,
            level=self._level,
            objected=objected,
            kind=type(samples.data).__name__,
        )

    def standing(self, odd: Collection[str]) -> dict[str, Assessed]:
        """What need not be assessed at this look, as it was; all that is odd must be."""
        found = {}
        for metric in self._config.metrics:
            stream, samples = self.streams[metric.name], self._samples[metric.name]
            if stream.held is None or metric.name in odd:
                continue
            if not due(
                stream.held,
                self._keys[metric.name],
                samples.data,
                at=stream.intervals,
                place=self._places[metric.name],
                safety_level=self._config.false_pass_rate,
                check_at=stream.check_at if is_spaced(metric, spaced=stream.held.spaced) else None,
            ):
                bare = Assessed(metric=metric, quality=samples.quality, latched=stream.latched)
                found[metric.name] = standing(stream.held, bare)
        return found

    def assessed(self, metrics: Iterable[Metric], again: Collection[str]) -> dict[str, Assessed]:
        """The evidence on these metrics as evidence over all looks; with intervals of now for those assessed again."""
        return {metric.name: self._assess(metric, again=metric.name in again) for metric in metrics}

    def _assess(self, metric: Metric, *, again: bool) -> Assessed:
        fixed = assess(self._look, metric, self._samples[metric.name], self._share)
        found, stream = anytime(self._config, fixed, self.streams[metric.name], self._design)
        self.streams[metric.name] = stream
        place, held = self._places[metric.name], stream.held
        shown = again or self._design.ended or shows(held, self._keys[metric.name], at=stream.intervals, place=place)
        if not shown and held is not None:
            measured = with_interval(self._config, fixed, found, stream, self._design, 1.0)
            if (as_before := with_held_intervals(measured, held)) is not None:
                return as_before
        return with_interval(self._config, fixed, found, stream, self._design, self._level)

    def remembered(self, judgement: Judgement, found: Mapping[str, Assessed]) -> dict[str, Stream]:
        """The streams, with what was assessed at this look."""
        streams = dict(self.streams)
        for result in judgement.metrics:
            one, stream = found[result.name], streams[result.name]
            if one.as_of is None and stream.intervals:
                data, key = self._samples[result.name].data, self._keys[result.name]
                held = hold(one, result, data, key, at=stream.intervals, moment=self._window.end, before=stream.held)
                streams[result.name] = replaced(stream, held=held)
        return streams


def _latched(state: MonitorState, judgement: Judgement) -> MonitorState:
    """What was found regressed stays so."""
    streams = dict(state.streams)
    for result in judgement.metrics:
        decides = result.outcome is Outcome.REGRESSED and result.role is not Role.WATCH
        if decides and streams[result.name].latched is None:
            streams[result.name] = replaced(streams[result.name], latched=_finding(result))
    return replaced(state, streams=streams)


def _finding(result: MetricResult) -> Finding:
    return Finding(reason=result.reason, at=result.decided_at, deciding=result.deciding)


def _look(config: JudgeConfig, state: MonitorState, design: Design, assessed: Sequence[Assessed]) -> LookInfo:
    end = state.watermark(config.interval)
    return LookInfo(
        number=state.looks,
        intervals=state.consumed - state.left_out,
        left_out=state.left_out,
        horizon_seconds=None if state.horizon is None else state.horizon * config.interval.total_seconds(),
        ended=design.ended,
        seconds_to_decision=None,
        as_of=min(
            (at for one in assessed for at in (one.as_of, one.shown_as_of) if at is not None and at < end), default=None
        ),
    )


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
    split = as_requests(
        baseline=np.concatenate([state.split.exposure_baseline, seen["baseline"][settled:]]),
        canary=np.concatenate([state.split.exposure_canary, seen["canary"][settled:]]),
    )
    warm = state.consumed < state.warm_until
    streams = dict(state.streams)
    if not warm:
        for metric in config.metrics:
            streams[metric.name] = append(streams.get(metric.name, Stream()), samples.metrics[metric.name], count)
    return replaced(
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
        metric
        for metric in judgement.metrics
        if metric.role is Role.GATE and metric.outcome not in {Outcome.SAFE, Outcome.TOLERABLE, Outcome.REGRESSED}
    ]
    if not open_gates:
        return 0.0
    waits = [metric.shortfall.seconds if metric.shortfall is not None else None for metric in open_gates]
    known = [wait for wait in waits if wait is not None]
    wait = max(known) if len(known) == len(waits) else None
    if state.horizon is None:
        return wait
    left = max((state.horizon - state.consumed) * config.interval.total_seconds(), 0.0)
    return left if wait is None else min(wait, left)
