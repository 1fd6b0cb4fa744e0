"""The next intervals, and the judgement of all of them so far: (config, state, samples) -> (state, judgement). Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.judging.assessed import Assessed, Finding
from canary_judge.judging.assessing import assess
from canary_judge.judging.look import POWER_OF_ONE_LOOK, Look, Newest
from canary_judge.judging.traffic import canary_share, requests, traffic_split
from canary_judge.judging.verdict import conclude
from canary_judge.looks.anytime import Design, anytime, with_interval
from canary_judge.looks.state import MonitorState, as_requests, no_requests
from canary_judge.looks.streams import Stream, append
from canary_judge.results import Judgement, LookInfo, MetricResult, Outcome, Role
from canary_judge.samples import Samples
from canary_judge.series import Window

__all__ = ["observe", "warmup_intervals"]

# The interval in which the weight changed, and the next one, whose counters still hold requests from before.
_SETTLING = 2


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
            split=no_requests(),
            split_from=state.consumed + _SETTLING,
            warm_until=max(state.warm_until, state.consumed + warmup_intervals(config)),
            acts=_with_act(state),
        )
    if samples is not None:
        state = _consume(config, state, samples)
    window = Window(state.start, max(state.watermark(config.interval), state.start + config.interval))
    design = Design.of(state.horizon, state.consumed, state.acts)
    newest = Newest(
        factor=recent,
        since=state.acts[-1] if state.acts else 0,
        acts=state.acts,
        power=POWER_OF_ONE_LOOK if design.ended else Newest().power,
        decides=design.ended,
    )
    level = config.interval_level if with_intervals else 1.0
    state, assessed = _assessed(config, state, window, design, newest, level=level)
    split = traffic_split(config, state.split, state.weight)
    look = _look(config, state, design)
    judgement = conclude(config, assessed, window, traffic=split, look=look)
    look = replace(look, seconds_to_decision=_projected(config, judgement, state))
    return _latched(state, judgement), replace(judgement, look=look)


def _with_act(state: MonitorState) -> tuple[int, ...]:
    """The judged intervals at which the weight changed, and the next one: from there on it is another weight."""
    judged = state.consumed - state.left_out
    return state.acts if judged in (0, *state.acts) else (*state.acts, judged)


def _assessed(
    config: JudgeConfig, state: MonitorState, window: Window, design: Design, newest: Newest, *, level: float
) -> tuple[MonitorState, list[Assessed]]:
    """The evidence on all metrics as evidence over all looks, and what has to be remembered of it."""
    streams = {metric.name: state.streams.get(metric.name, Stream()) for metric in config.metrics}
    whole = Samples(window=window, metrics={name: stream.samples() for name, stream in streams.items()})
    share = canary_share(config, requests(config, whole))
    left = None if state.horizon is None else (state.horizon - state.consumed) * config.interval.total_seconds()
    look = Look(config=config, window=window, cost=design.cost, newest=newest, left=left)

    def one(metric: Metric) -> Assessed:
        fixed = assess(look, metric, whole.metrics[metric.name], share)
        found, streams[metric.name] = anytime(config, fixed, streams[metric.name], design)
        return with_interval(config, fixed, found, streams[metric.name], design, level)

    assessed = [one(metric) for metric in config.metrics]
    return replace(state, streams={**state.streams, **streams}), assessed


def _latched(state: MonitorState, judgement: Judgement) -> MonitorState:
    """What was found regressed stays so."""
    streams = dict(state.streams)
    for result in judgement.metrics:
        decides = result.outcome is Outcome.REGRESSED and result.role is not Role.WATCH
        if decides and streams[result.name].latched is None:
            streams[result.name] = replace(streams[result.name], latched=_finding(result))
    return replace(state, streams=streams)


def _finding(result: MetricResult) -> Finding:
    return Finding(reason=result.reason, at=result.decided_at, deciding=result.deciding)


def _look(config: JudgeConfig, state: MonitorState, design: Design) -> LookInfo:
    return LookInfo(
        number=state.looks,
        intervals=state.consumed - state.left_out,
        left_out=state.left_out,
        horizon_seconds=None if state.horizon is None else state.horizon * config.interval.total_seconds(),
        ended=design.ended,
        seconds_to_decision=None,
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
