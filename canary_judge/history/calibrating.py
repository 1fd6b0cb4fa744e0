"""What a history of the baseline says of a config: whether it refutes the declared rates, and what margins it can show.

The promise of a false-alarm rate comes from the method; past data can refute it, and cannot show a rate of 1 % in any
usual time. So each design has its own line with what it is blind to, nothing is pooled, and nothing is chosen by its
alarms.

References:
    Korn & Graubard (1998), Wilks (1941): see `canary_judge.stats.trials`.
    A/A tests: Kohavi, R., Tang, D. & Xu, Y. (2020), Trustworthy Online Controlled Experiments, chapter 19.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from canary_judge.config.metrics import Metric, RateMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.history.calibration import Calibration, Finding, Finds, Line, percent
from canary_judge.history.designs import Design, How, Piece, draws_of, pieces_of
from canary_judge.history.drawn import UNUSABLE, Replay
from canary_judge.history.injecting import FAULTS
from canary_judge.history.past_baselines import archived_pieces
from canary_judge.history.replaying import looks_from
from canary_judge.history.store import History
from canary_judge.history.suggesting import Suggestion, suggested
from canary_judge.looks.observing import warmup_intervals
from canary_judge.results import Outcome, Role
from canary_judge.series import MetricSource, Window, duration_from, format_duration, percent_from
from canary_judge.stats.trials import (
    clopper_pearson,
    effective_number,
    independent_to_show,
    noise_factor,
)

__all__ = ["calibrate"]

_Replays = dict[tuple[str, Design], list[Replay]]

# Of fewer deployments, and fewer pods in all, nothing is known of how pods of another deployment differ.
_FEWEST_DEPLOYMENTS, _FEWEST_PODS = 7, 20
_TOO_LITTLE, _TIMES_DECLARED = 0.10, 5.0
_MOST_WINDOWS = 5000
# Of a history, how many correlation times tell one from another, and how many windows.
_TIMES_TAU, _HISTORY_WINDOWS = 30, 8


def calibrate(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource] | History,
    span: Window | None = None,
    *,
    length: str | timedelta,
    weight: float,
    instances: int = 1,
    draws: int = 20,
    looks: str | timedelta = "one",
    without: Iterable[Window] = (),
) -> Calibration:
    """Judge canaries that are no canaries, drawn from the baseline's past.

    Args:
        config: What is judged; the baseline's labels are asked for.
        source: As for `judge`. Of a table only the baseline's rows are used; rows of single requests (those of a table
            with `ok`, and of raw latencies) are drawn apart, or user by user where there is a column of users. Or an
            archive: the baselines of its canaries of this name, but for those that are labelled bad.
        span: The past, in which the baseline was healthy and nothing was deployed but for `without`; of an archive all
            of it.
        length: Of a window: how long a canary runs; of it a `warmup:` is not judged.
        weight: Percent of the traffic that a canary gets.
        instances: Of a canary, for metrics with `by`.
        draws: Of each window, where it can be drawn anew.
        looks: "one": each canary is judged once, at its planned end, as `judge` does; or how often it is looked at
            until then, as `watch` and `rollout` do. That takes so many times as long.
        without: Deploys, incidents and past canaries: windows that touch one are left out.

    Raises:
        DataError: The span holds no window, or a number makes no sense.
        SourceUnavailable: A source gave no answer.

    References:
        docs/calibrate.md, and the measurements that it names.
    """
    left_out = [without] if isinstance(without, Window) else list(without)
    if strange := [one for one in left_out if not isinstance(one, Window)]:
        raise DataError(f"without has {strange[0]!r}; give a list of Window(start, end)")
    step, warmup = _judged(config, duration_from(length, "length"))
    config = config.model_copy(update={"warmup": None})
    every = _every(config, looks)
    _refuse(weight, instances, draws)
    past = _Past.of(config, source, span, step, left_out)
    rng = np.random.default_rng(0)  # the same answer for the same past
    how = How(share=weight / 100, instances=instances, draws=draws, rng=rng, faults=FAULTS)
    replays, faulty = _replayed(past, how, every)
    # a design that gave nothing to judge is none; of one that a router could draw, the reason is told
    empty = {key: some for key, some in replays.items() if all(one.outcome in UNUSABLE for one in some)}
    broken = {name: some[0].reason for (name, design), some in empty.items() if design.routed}
    replays = {key: some for key, some in replays.items() if key not in empty}
    seen = [one.window for some in replays.values() for one in some]
    suggestions, finds = _of_routed(past.config, replays, faulty)
    told = {one.metric for one in suggestions}
    return Calibration(
        name=config.name,
        declared=config.false_alarm_rate,
        windows=past.windows,
        dropped=past.dropped,
        length=step // config.interval * config.interval / timedelta(seconds=1),
        share=weight / 100,
        lines=_lines(past.config, replays),
        suggestions=suggestions,
        history=_history(suggestions, config, step),
        finds=finds,
        missing=_missing([metric for metric in config.metrics if metric.name not in told], broken, past.pieces),
        watched=tuple(metric.name for metric in config.metrics if metric.role is Role.WATCH),
        instances=instances,
        warmup=warmup / timedelta(seconds=1),
        looks=None if every is None else every * config.interval / timedelta(seconds=1),
        at_one_look=() if every is None else tuple(one.name for one in config.metrics if one.per_user() is not None),
        since=datetime.fromtimestamp(min(seen), UTC) if seen else None,
        until=datetime.fromtimestamp(max(seen), UTC) + step if seen else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """The past of a baseline, in windows.

    Attributes:
        config: What is judged; of a source without a canary, whose labels are missing.
        pieces: The windows that could be read, read anew each time.
        windows: How many there are.
        dropped: How many were left out.
    """

    config: JudgeConfig
    pieces: Callable[[], Iterable[Piece]]
    windows: int
    dropped: int

    @classmethod
    def of(
        cls,
        config: JudgeConfig,
        source: MetricSource | Mapping[str, MetricSource] | History,
        span: Window | None,
        length: timedelta,
        left_out: Sequence[Window],
    ) -> _Past:
        """That of a source in a span, or of all canaries of an archive."""
        if not isinstance(source, History | Mapping) and not hasattr(source, "fetch"):
            raise DataError(
                f"source is {type(source).__name__}; give History(url), FrameSource(table), or another source"
            )
        if isinstance(source, History):
            if span is not None or left_out:
                raise ConfigError("span and without do not go with an archive: label its canaries, or drop them")
            archived, dropped = archived_pieces(config, source, length)
            return cls(config=config, pieces=lambda: archived, windows=len(archived), dropped=dropped)
        if span is None:
            raise ConfigError("span is missing: give the past of the baseline as a Window")
        windows, dropped = _windows(span.aligned(config.interval), length, config.interval, left_out)
        config = config.with_sides(baseline={}, canary=dict(config.baseline))
        return cls(
            config=config, pieces=partial(pieces_of, config, source, windows), windows=len(windows), dropped=dropped
        )


def _replayed(past: _Past, how: How, every: int | None) -> tuple[_Replays, _Replays]:
    """What was judged of each metric and design: draws of the past as it was, and those with a fault."""
    singles = {metric.name: _single(past.config, metric) for metric in past.config.metrics}
    healthy: _Replays = {}
    faulty: _Replays = {}
    for name, draw in draws_of(past.config, past.pieces(), how):
        which = healthy if draw.fault is None else faulty
        which.setdefault((name, draw.design), []).append(Replay.of(singles[name], draw, every))
    return healthy, faulty


def _lines(config: JudgeConfig, replays: _Replays) -> tuple[Line, ...]:
    """One a metric and design, in the order of the config, what a router could draw first."""
    order = {metric.name: number for number, metric in enumerate(config.metrics)}
    lines = [_line(name, design, some, config) for (name, design), some in replays.items()]
    return tuple(sorted(lines, key=lambda line: (order[line.metric], not line.routed)))


def _of_routed(
    config: JudgeConfig, replays: _Replays, faulty: _Replays
) -> tuple[tuple[Suggestion, ...], tuple[Finds, ...]]:
    """What the first design that a router could draw says of each metric: which margin it can show, what it finds."""
    first: dict[str, Design] = {}
    for name, design in replays:
        if design.routed:
            first.setdefault(name, design)
    asked = [(metric, first[metric.name]) for metric in config.metrics if metric.name in first]
    return (
        tuple(suggested(metric, design, replays[metric.name, design], config) for metric, design in asked),
        tuple(_finds(metric.name, design, faulty.get((metric.name, design), ())) for metric, design in asked),
    )


def _judged(config: JudgeConfig, length: timedelta) -> tuple[timedelta, timedelta]:
    """What of a length is judged, and what is warm-up: no canary of the past warms up, so that much less is drawn."""
    warm = warmup_intervals(config) * config.interval
    if length - warm < 2 * config.interval:
        beside = f" beside the warmup of {format_duration(warm)}" if warm else ""
        raise DataError(
            f"length is {format_duration(length)}; give two intervals ({format_duration(2 * config.interval)}) "
            f"or more{beside}"
        )
    return length - warm, warm


def _every(config: JudgeConfig, looks: str | timedelta) -> int | None:
    """Intervals from look to look; None for one look."""
    found = looks_from(looks)
    if found == "one":
        return None
    if not isinstance(found, timedelta) or found < config.interval:
        raise DataError(f"looks is {looks!r}; give 'one', or {format_duration(config.interval)} or more, as '5m'")
    return found // config.interval


def _refuse(weight: float, instances: int, draws: int) -> None:
    if not 0 < percent_from(weight, "weight") < 100:
        raise DataError(f"weight is {weight!r}; give the percent of the traffic that a canary gets, between 0 and 100")
    if instances < 1:
        raise DataError(f"instances is {instances}; give how many a canary has, 1 or more")
    if draws < 1:
        raise DataError(f"draws is {draws}; give 1 or more")


def _windows(
    span: Window, length: timedelta, interval: timedelta, without: Sequence[Window]
) -> tuple[list[Window], int]:
    """Windows that begin half a length after each other, and how many of them were left out."""
    step = max(length // 2 // interval * interval, interval)
    whole = length // interval * interval
    starts = range(max((span.duration - whole) // step + 1, 0))
    every = [Window(span.start + number * step, span.start + number * step + whole) for number in starts]
    if len(every) > _MOST_WINDOWS:
        raise DataError(f"the span holds {len(every):,} windows; give a shorter one, or longer windows")
    outside = [other for other in without if other.end <= span.start or span.end <= other.start]
    if outside and len(outside) == len(without):  # of a list of incidents some may be of other times
        other = outside[0]
        raise DataError(
            f"without: {other.start:%Y-%m-%d %H:%M} to {other.end:%Y-%m-%d %H:%M} UTC lies outside the span, "
            f"{span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC, and drops nothing: is its date right?"
        )
    kept = [one for one in every if not any(one.start < other.end and other.start < one.end for other in without)]
    if not kept:
        told = f" that touches none of the {len(without)} spans to be left out" if every else ""
        raise DataError(
            f"the span of {format_duration(span.duration)} holds no window of {format_duration(whole)}{told}"
        )
    return kept, len(every) - len(kept)


def _single(config: JudgeConfig, metric: Metric) -> JudgeConfig:
    """A config in which the metric decides by itself."""
    alone = metric.model_copy(update={"role": Role.GATE})
    return config.model_copy(update={"metrics": (alone,), "traffic": None, "groups": {}})


def _history(suggestions: Sequence[Suggestion], config: JudgeConfig, length: timedelta) -> float | None:
    """Of gauges: thirty times the longest correlation time, and eight windows at least."""
    # instances are compared with each other, and not with how they were before
    gauges = {metric.name for metric in config.metrics if metric.kind == "gauge" and not metric.by}
    taus = [one.tau or 1.0 for one in suggestions if one.metric in gauges]
    if not taus:
        return None
    return max(_TIMES_TAU * max(taus) * config.interval.total_seconds(), _HISTORY_WINDOWS * length.total_seconds())


def _finds(name: str, design: Design, replays: Sequence[Replay]) -> Finds:
    by_fault: dict[str, list[bool]] = {}
    for one in replays:
        assert one.fault is not None  # noqa: S101  (see _replayed)
        by_fault.setdefault(one.fault.name, []).append(one.outcome is Outcome.REGRESSED)
    return Finds(
        metric=name,
        design=design.name,
        windows=max(map(len, by_fault.values()), default=0),
        found={fault: sum(hits) for fault, hits in by_fault.items()},
    )


# --- rates -----------------------------------------------------------------------------------------------------------


def _line(name: str, design: Design, replays: Sequence[Replay], config: JudgeConfig) -> Line:
    declared = config.false_alarm_rate
    alarms = [one.outcome is Outcome.REGRESSED for one in replays]
    unsure = sum(one.outcome in (*UNUSABLE, Outcome.INSUFFICIENT) for one in replays)
    scores = [0.0 if one.score is None else one.score for one in replays]
    clusters = [one.cluster for one in replays]
    pods = {pod for one in clusters for pod in one.split(", ")} if "pod" in design.name else set()
    if pods:
        clusters = _deployments(clusters)
    worth = effective_number(alarms, scores, clusters, declared=declared)
    low, high, finding, text = _told(sum(alarms), len(replays), worth, declared)
    if 2 * unsure > len(replays) and finding != "refuted":  # silence is no calm
        finding = "too little"
        text = f"{unsure} of {len(replays)} replays had too little to decide, so that no alarm says nothing"
    shared = f"{_number(len(set(clusters)), 'stretch', 'es')} of time"
    if pods:
        shared = f"{_number(len(set(clusters)), 'deployment')} of {_number(len(pods), 'pod')}"
    few = bool(pods) and len(set(clusters)) < _FEWEST_DEPLOYMENTS and len(pods) < _FEWEST_PODS
    if few:
        finding, text = "too little", f"{shared}: too few for a rate"
    told = not few and (2 * unsure <= len(replays) or finding == "refuted")
    known = [one.distance for one in replays if one.distance is not None]
    return Line(
        metric=name,
        design=design.name,
        shows=design.shows,
        blind=design.blind,
        routed=design.routed,
        alarms=sum(alarms),
        total=len(replays),
        unsure=unsure,
        worth=worth,
        clusters=shared,
        low=low if told else None,
        high=high if told else None,
        finding=finding,
        text=text,
        noise=noise_factor(known, worth) if known and worth > 1 and not few else None,
    )


def _deployments(sets: Sequence[str]) -> list[str]:
    """The deployment of each set of pods: one that has half of the pods of another is no other deployment.

    A pod that is restarted has a new name; and in a window that holds a deploy the pods of both are there.

    Examples:
        >>> _deployments(["a, b, c", "a, b, d", "e, f", "a, b, d, e, f"])
        ['a, b, c', 'a, b, c', 'e, f', 'e, f']
    """
    found: dict[str, str] = {}
    first: list[tuple[frozenset[str], str]] = []
    for one in sorted(dict.fromkeys(sets), key=lambda names: (names.count(", "), names)):
        pods = frozenset(one.split(", "))
        same = next((name for known, name in first if 2 * len(pods & known) >= len(known)), None)
        if same is None:
            first.append((pods, one))
        found[one] = same or one
    return [found[one] for one in sets]


def _number(count: int, one: str, more: str = "s") -> str:
    return f"{count} {one}{more if count != 1 else ''}"


def _told(alarms: int, total: int, worth: float, declared: float) -> tuple[float, float, Finding, str]:
    low, high = clopper_pearson(alarms / total * worth, worth)
    few = "one independent one" if round(worth) == 1 else f"{worth:.0f} independent ones"
    own = "" if worth > 0.95 * total else f", worth {few}"
    seen = f"{alarms} of {total} replays raised an alarm{own}"
    span = f"the rate lies between {percent(low)} and {percent(high)} %"
    if low > declared:
        return low, high, "refuted", f"{seen}: {span}, more than the {100 * declared:g} % declared"
    if high <= declared:
        return low, high, "shown", f"{seen}: {span}, within the {100 * declared:g} % declared"
    if high > max(_TOO_LITTLE, _TIMES_DECLARED * declared):
        needed = independent_to_show(declared)
        more = f"to show {100 * declared:g} % takes {needed} windows without an alarm"
        return low, high, "too little", f"{seen}: {span}; that is too little history to say more ({more})"
    return low, high, "not refuted", f"{seen}: {span}, which does not contradict the {100 * declared:g} % declared"


def _missing(
    metrics: Sequence[Metric], broken: Mapping[str, str], pieces: Callable[[], Iterable[Piece]]
) -> dict[str, str]:
    """Why nothing is told of these metrics; the past is read again only where no draw of it told why."""
    if all(metric.name in broken for metric in metrics):
        return {metric.name: broken[metric.name] for metric in metrics}
    first = next(iter(pieces()))
    return {metric.name: broken.get(metric.name) or _why_not(metric, first) for metric in metrics}


def _why_not(metric: Metric, piece: Piece) -> str:
    """Why no design that is routed draws a metric: an error of its query before all."""
    found = piece.metrics[metric.name]
    single = metric.source in piece.tables and piece.tables[metric.source].single_requests
    if found.error is not None:
        return found.error
    if found.data is None:
        return "the query returned nothing for the baseline; check the selectors and the window"
    if metric.per_user() is not None:
        drawn = "of users only their errors are drawn, and of a table of single requests (columns `ok` and `user`)"
        return "no window has users enough" if single else f"{drawn}; no past data can be drawn for this one"
    if isinstance(metric, RateMetric) and metric.exposure is None:
        return "a rate by time cannot be drawn with a part of the requests: give it an `exposure`, or make it a ratio"
    if metric.kind in ("ratio", "rate", "latency"):
        if single:
            return "no window has requests (or users) enough to be drawn apart"
        return "recorded counts are not thinned, because clumps of errors fall apart: give a table of single requests"
    return "there is too little of it in any window"
