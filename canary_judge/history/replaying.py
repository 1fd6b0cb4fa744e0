"""A past canary judged again: look by look with what its run had read by then, or at one look at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.history.canary import PastCanary
from canary_judge.history.tape import Look
from canary_judge.judging.verdict import judge_samples
from canary_judge.looks.observing import judged, retaken
from canary_judge.looks.state import MonitorState
from canary_judge.looks.streams import Stream
from canary_judge.results import Judgement
from canary_judge.samples import Samples
from canary_judge.series import Window, duration_from, format_duration

__all__ = ["Looks", "looks_from", "reads_otherwise", "replay", "settings_for"]

Looks = Literal["recorded", "one"] | timedelta

# What of a metric may differ between the run and its replay: how it is judged. All else says what was read.
_JUDGED = frozenset(
    {
        "harm",
        "margin",
        "limit",
        "role",
        "group",
        "score_weight",
        "error_weight",
        "required",
        "fail_when",
        "business",
        "statistic",
        "unit",
        "unit_of_replication",
    }
)


def replay(
    config: JudgeConfig, canary: PastCanary, *, looks: Looks = "recorded", with_intervals: bool = True
) -> Iterator[tuple[Look, Judgement]]:
    """What a judge with this config would have said at each look.

    With the config of the run, and the looks of the run, it is what the run said, to the last bit.

    Args:
        config: What is asked of the data that were read: other margins, roles, levels, a part of the metrics.
        canary: What was read.
        looks: "recorded": the looks of the run. A length of time: of those, one in so long a time, and the last one.
            "one": one planned look at the end.
        with_intervals: Give each effect its interval; without them a look costs less.

    Yields:
        What had been read by each look, and the judgement.

    Raises:
        DataError: `looks` are none, or the config asks for what was not read: another interval, warm-up, history,
            metric, query or source.
    """
    if not isinstance(canary, PastCanary):
        raise DataError(f"canary is {type(canary).__name__}; give one of a History, as history.read(id)")
    looks = looks_from(looks)
    config = settings_for(config, canary)
    if looks == "one":
        yield _one_look(config, canary, with_intervals=with_intervals)
        return
    state: MonitorState | None = None
    for look in _chosen(canary, config.interval, looks):
        if state is None:
            state = replace(look.state, streams={}, consumed=0, weight=None, acts=(), passed=False)
        state, judgement = judged(config, retaken(config, state, look.state), with_intervals=with_intervals)
        yield look, judgement


def looks_from(value: object) -> Looks:
    """Looks as they may be written: recorded, one, or a length of time.

    Raises:
        DataError: They are none of it.
    """
    if value == "recorded" or value == "one":  # noqa: PLR1714  (it is one of these two texts afterwards)
        return value
    try:
        return duration_from(value, "looks")
    except CanaryJudgeError as error:
        raise DataError(f"looks is {value!r}; give 'recorded', 'one' or a length of time, as '30m'") from error


def settings_for(config: JudgeConfig, canary: PastCanary) -> JudgeConfig:
    """The config with the versions of the canary; DataError where it asks for what was not read of it."""
    then = canary.settings()
    for name in ("interval", "warmup", "history"):
        now, was = getattr(config, name), getattr(then, name)
        if now != was:
            told = ["none" if one is None else format_duration(one) for one in (now, was)]
            raise DataError(f"canary {canary.id} was read with {name} {told[1]}, and cannot be judged with {told[0]}")
    known = {metric.name: metric for metric in then.metrics}
    for metric in config.metrics:
        if metric.name not in known:
            raise DataError(
                f"canary {canary.id} has no metric {metric.name!r}; it has {', '.join(map(repr, known))}. Leave it out"
            )
        if (other := reads_otherwise(metric, known[metric.name])) is not None:
            raise DataError(f"metric {metric.name!r} of canary {canary.id} was read with another {other}")
    return config.with_sides(baseline=dict(then.baseline), canary=dict(then.canary))


def reads_otherwise(now: Metric, then: Metric) -> str | None:
    """Which part of what is read differs."""
    if now == then:
        return None
    if now.unit and then.unit and now.unit != then.unit:  # what was read is in it, and so are margin and limit
        return "unit"
    plain: list[dict[str, Any]] = [one.model_dump(exclude=set(_JUDGED)) for one in (now, then)]
    for name in dict.fromkeys((*plain[0], *plain[1])):
        if plain[0].get(name) != plain[1].get(name):
            return name
    return "unit of replication" if (now.per_user() is None) != (then.per_user() is None) else None


def _chosen(canary: PastCanary, interval: timedelta, looks: Looks) -> Iterator[Look]:
    """The looks that are replayed; an oddity of one that is left out counts for the next."""
    every = looks if isinstance(looks, timedelta) else timedelta(0)
    due: datetime | None = None
    pending: Look | None = None
    odd: tuple[str, ...] = ()
    for look in canary.tape.looks(interval):
        due = due or look.state.start + every
        odd = tuple(dict.fromkeys((*odd, *look.state.how.odd)))
        pending = replace(look, state=replace(look.state, how=replace(look.state.how, odd=odd)))
        if look.moment >= due:
            yield pending
            pending, odd = None, ()
            while every and due <= look.moment:
                due += every
    if pending is not None:
        yield pending


def _one_look(config: JudgeConfig, canary: PastCanary, *, with_intervals: bool) -> tuple[Look, Judgement]:
    state = canary.tape.last
    length = (state.consumed - state.left_out) * config.interval
    window = Window(state.start, state.start + max(length, config.interval))
    metrics = {metric.name: state.streams.get(metric.name, Stream()).samples() for metric in config.metrics}
    judgement = judge_samples(config, Samples(window=window, metrics=metrics), with_intervals=with_intervals)
    return Look(state=state, moment=state.watermark(config.interval)), judgement
