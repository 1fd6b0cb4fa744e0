"""What a history of the baseline says of a config: whether it refutes the declared rates, and what margins it can show.

The promise of a false-alarm rate comes from the method; past data can refute it, and cannot show a rate of 1 % in any
usual time. So each design has its own line with what it is blind to, nothing is pooled, and nothing is chosen by its
alarms.

References:
    Korn & Graubard (1998), Wilks (1941): see `canary_judge.stats.trials`.
    A/A tests: Kohavi, R., Tang, D. & Xu, Y. (2020), Trustworthy Online Controlled Experiments, chapter 19.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Literal

import numpy as np
from scipy import special

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.designs import Design, Draw, draws_of
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Harm, MetricResult, Outcome, Role, Scale
from canary_judge.samples import Samples
from canary_judge.series import MetricSource, Window, duration_from, format_duration
from canary_judge.stats.trials import (
    clopper_pearson,
    effective_number,
    independent_to_show,
    noise_factor,
    planned_power,
    tolerance_rank,
)

__all__ = ["Calibration", "Line", "Suggestion", "calibrate"]

Finding = Literal["refuted", "shown", "not refuted", "too little"]

# Regressions that are planned for: so many times the baseline's level.
EFFECTS = (1.25, 1.5, 2.0, 3.0)
# Of fewer deployments, and fewer pods in all, nothing is known of how pods of another deployment differ.
_FEWEST_DEPLOYMENTS, _FEWEST_PODS = 7, 20
# A margin that is to be shown in so many windows; one so many times the user's is another question.
_SHOWN_IN, _LEVEL, _FAR = 0.9, 0.95, 3.0
_TOO_LITTLE, _TIMES_DECLARED = 0.10, 5.0
_UNUSABLE = frozenset({Outcome.NO_DATA, Outcome.ERROR})
_MOST_WINDOWS = 5000


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
        low: Lower end (95 %) of the rate; None where no rate can be told.
        high: Upper end.
        finding: refuted, shown, not refuted, or too little.
        text: The finding in words.
        noise: How many times as far as they should the scores scatter, and its interval; None of too few.
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
    low: float | None
    high: float | None
    finding: Finding
    text: str
    noise: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What one metric can decide in windows like these; nothing of it was chosen by alarms.

    Attributes:
        metric: Name of the metric.
        design: By whose draws it is known.
        shown: Windows in which the configured margin was shown, of all.
        windows: All of them.
        margin: The margin that would be shown in 90 % of windows; None where no draw has a bound.
        sure: How sure that is.
        power: Share of windows in which a regression of each size would be found.
        decides: Whether the metric can decide at all.
        text: In words.
    """

    metric: str
    design: str
    shown: int
    windows: int
    margin: str | None
    sure: float
    power: Mapping[str, float]
    decides: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a history says of a config.

    Attributes:
        name: Of the config.
        declared: The false-alarm rate that it declares.
        windows: Judged windows.
        dropped: Windows that were left out, because something else happened in them.
        length: Of a window, in seconds.
        share: The canary's share of the traffic.
        lines: One for each metric and design.
        suggestions: One for each metric that some design can draw.
        missing: Metrics that no design can draw, and why.
    """

    name: str
    declared: float
    windows: int
    dropped: int
    length: float
    share: float
    lines: tuple[Line, ...]
    suggestions: tuple[Suggestion, ...]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def refuted(self) -> bool:
        """Whether a design that draws what is routed refutes the declared rate."""
        return any(line.finding == "refuted" and line.routed for line in self.lines)

    @property
    def decides(self) -> bool:
        """Whether every metric that is asked for can decide, as far as this history tells."""
        return bool(self.suggestions) and not self.missing and all(one.decides for one in self.suggestions)

    def to_json(self, *, indent: int | None = None) -> str:
        """All of it as JSON; an end without bound is null."""
        return json.dumps(_plain(asdict(self)), indent=indent, allow_nan=False)

    def explain(self) -> str:
        """In words: a line for each design, what would be found, what margins can be shown."""
        from canary_judge.history.calibration_told import explained

        return explained(self)

    def __repr__(self) -> str:
        """Of what, from how much."""
        return f"Calibration({self.name!r}, {self.windows} windows, refuted: {self.refuted}, decides: {self.decides})"


def calibrate(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    span: Window,
    *,
    length: str | timedelta,
    weight: float,
    instances: int = 1,
    draws: int = 20,
    without: Sequence[Window] = (),
) -> Calibration:
    """Judge canaries that are no canaries, drawn from the baseline's past.

    Args:
        config: What is judged; the baseline's labels are asked for.
        source: As for `judge`. Of a table only the baseline's rows are used; one of single requests (`ok`) is drawn
            apart request by request, or user by user where it has a column of users.
        span: The past, in which the baseline was healthy and nothing was deployed but for `without`.
        length: Of a window: how long a canary is judged.
        weight: Percent of the traffic that a canary gets.
        instances: Of a canary, for metrics with `by`.
        draws: Of each window, where it can be drawn anew.
        without: Deploys, incidents and past canaries: windows that touch one are left out.

    Raises:
        DataError: The span holds no window, or a number makes no sense.
        SourceUnavailable: A source gave no answer.

    References:
        docs/calibrate.md, and the measurements that it names.
    """
    step = duration_from(length, "length")
    _refuse(config, step, weight, instances, draws)
    windows, dropped = _windows(span.aligned(config.interval), step, config.interval, without)
    rng = np.random.default_rng(0)  # the same answer for the same past
    replays: dict[tuple[str, Design], list[_Replay]] = {}
    singles = {metric.name: _single(config, metric) for metric in config.metrics}
    drawn = draws_of(config, source, windows, share=weight / 100, instances=instances, draws=draws, rng=rng)
    for name, draw in drawn:
        replays.setdefault((name, draw.design), []).append(_Replay.of(singles[name], draw))
    lines = [_line(name, design, some, config) for (name, design), some in replays.items()]
    order = {metric.name: number for number, metric in enumerate(config.metrics)}
    lines.sort(key=lambda line: (order[line.metric], not line.routed))
    suggestions = []
    for metric in config.metrics:
        routed = [(design, some) for (name, design), some in replays.items() if name == metric.name and design.routed]
        if routed:
            suggestions.append(_suggestion(metric, *routed[0], config))
    told = {one.metric for one in suggestions}
    return Calibration(
        name=config.name,
        declared=config.false_alarm_rate,
        windows=len(windows),
        dropped=dropped,
        length=step / timedelta(seconds=1),
        share=weight / 100,
        lines=tuple(lines),
        suggestions=tuple(suggestions),
        missing={metric.name: _why_not(metric) for metric in config.metrics if metric.name not in told},
    )


def _refuse(config: JudgeConfig, length: timedelta, weight: float, instances: int, draws: int) -> None:
    if length < 2 * config.interval:
        raise DataError(
            f"length is {format_duration(length)}; give two intervals ({format_duration(config.interval)}) or more"
        )
    if not 0 < weight < 100:
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
    return config.model_copy(update={"metrics": (alone,), "warmup": None, "traffic": None, "groups": {}})


# --- replays ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replay:
    """One A/A canary, judged.

    Attributes:
        outcome: Of the metric.
        score: Normal score of "worse at all", large where it looks worse; None where there was nothing to judge.
        error: Standard error of the effect, on the scale on which a regression of r times is `size(r)`.
        level: The baseline's level.
        scale: Of the effect.
        upper: The least harm that could not be ruled out, as an effect; infinite where there is no bound.
        window: Its start, for counting windows.
        cluster: What it shares its luck with.
        pods: How many pods stand behind the draw.
    """

    outcome: Outcome
    score: float | None
    error: float | None
    level: float
    scale: Scale
    upper: float
    window: float
    cluster: str
    harm: Harm

    @classmethod
    def of(cls, config: JudgeConfig, draw: Draw) -> _Replay:
        """Judge it at one planned look."""
        (metric,) = config.metrics
        samples = Samples(window=draw.window, metrics={metric.name: draw.samples})
        result = judge_samples(config, samples).metrics[0]
        comparison = result.comparison
        usable = comparison is not None and result.outcome not in _UNUSABLE
        p = comparison.p_harm if comparison is not None and usable else None
        return cls(
            outcome=result.outcome,
            score=None if p is None else -float(special.ndtri(min(max(p, 1e-300), 1 - 1e-16))),
            error=_error(result) if usable else None,
            level=0.0 if comparison is None else comparison.baseline or 0.0,
            scale=Scale.RATIO if comparison is None else comparison.scale,
            upper=_upper(result) if usable else math.inf,
            window=draw.window.start.timestamp(),
            cluster=draw.cluster,
            harm=metric.harm,
        )

    def size(self, times: float) -> float:
        """A regression of so many times, on the scale of the error."""
        if self.scale is Scale.RATIO:
            return math.log(times)
        return abs(self.level) * (times - 1)


def _error(result: MetricResult) -> float | None:
    """Standard error of the effect, from the length of its interval; of a ratio that of its logarithm."""
    comparison = result.comparison
    if comparison is None or comparison.level is None or comparison.level >= 1:
        return None
    low, high = comparison.interval
    if low is None or high is None or not high > low:
        return None
    if comparison.scale is Scale.RATIO:
        if low <= 0:
            return None
        low, high = math.log(low), math.log(high)
    return (high - low) / (2 * float(special.ndtri((1 + comparison.level) / 2)))


def _upper(result: MetricResult) -> float:
    """The least harm that is not ruled out: the smallest margin that this window could have shown."""
    if result.deciding is None:
        return math.inf
    low, high = result.deciding
    end = low if result.harm is Harm.DECREASE else high
    if end is None:
        return math.inf
    if result.comparison is not None and result.comparison.scale is Scale.RATIO:
        return 1 - end if result.harm is Harm.DECREASE else end - 1
    return -end if result.harm is Harm.DECREASE else end


# --- rates -----------------------------------------------------------------------------------------------------------


def _line(name: str, design: Design, replays: Sequence[_Replay], config: JudgeConfig) -> Line:
    declared = config.false_alarm_rate
    alarms = [one.outcome is Outcome.REGRESSED for one in replays]
    unsure = sum(one.outcome in (*_UNUSABLE, Outcome.INSUFFICIENT) for one in replays)
    scores = [0.0 if one.score is None else one.score for one in replays]
    clusters = [one.cluster for one in replays]
    worth = effective_number(alarms, scores, clusters, declared=declared)
    low, high, finding, text = _told(sum(alarms), len(replays), worth, declared)
    pods = {pod for one in clusters for pod in one.split(", ")} if "pod" in design.name else set()
    if pods and len(set(clusters)) < _FEWEST_DEPLOYMENTS and len(pods) < _FEWEST_PODS:
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
            low=None,
            high=None,
            finding="too little",
            text=f"{len(set(clusters))} deployments, {len(pods)} pods: too few for a rate",
        )
    known = [one.score for one in replays if one.score is not None]
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
        low=low,
        high=high,
        finding=finding,
        text=text,
        noise=noise_factor(known, worth) if known and worth > 1 else None,
    )


def _told(alarms: int, total: int, worth: float, declared: float) -> tuple[float, float, Finding, str]:
    low, high = clopper_pearson(alarms / total * worth, worth)
    own = "" if worth > 0.95 * total else f", worth {worth:.0f} independent ones"
    seen = f"{alarms} of {total} replays raised an alarm{own}"
    span = f"the rate lies between {_percent(low)} and {_percent(high)} %"
    if low > declared:
        return low, high, "refuted", f"{seen}: {span}, more than the {100 * declared:g} % declared"
    if high <= declared:
        return low, high, "shown", f"{seen}: {span}, within the {100 * declared:g} % declared"
    if high > max(_TOO_LITTLE, _TIMES_DECLARED * declared):
        needed = independent_to_show(declared)
        more = f"to show {100 * declared:g} % takes {needed} windows without an alarm"
        return low, high, "too little", f"{seen}: {span}; that is too little history to say more ({more})"
    return low, high, "not refuted", f"{seen}: {span}, which does not contradict the {100 * declared:g} % declared"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"


# --- what it can decide ----------------------------------------------------------------------------------------------


def _suggestion(metric: Metric, design: Design, replays: Sequence[_Replay], config: JudgeConfig) -> Suggestion:
    starts = sorted({one.window for one in replays})
    shown = sum(
        np.mean([one.outcome in (Outcome.SAFE, Outcome.TOLERABLE) for one in replays if one.window == start]) >= 0.5
        for start in starts
    )
    margin = metric.parsed_margin()
    level = float(np.median([one.level for one in replays]))
    scale = replays[0].scale
    own = math.inf
    if margin is not None:
        own = (margin.relative or 0.0) if scale is Scale.RATIO else margin.amount(level)
    # a margin that is not shown is, in the sense of the rank, an alarm of the order statistic
    uppers = np.sort([one.upper for one in replays])
    worth = effective_number(
        [one.upper > np.quantile(uppers, _SHOWN_IN, method="lower") for one in replays],
        [0.0 if one.score is None else one.score for one in replays],
        [one.cluster for one in replays],
        declared=1 - _SHOWN_IN,
    )
    rank, sure = tolerance_rank(worth, _SHOWN_IN, _LEVEL)
    at = uppers[min(math.ceil(rank / max(math.floor(worth), 1) * uppers.size), uppers.size) - 1]
    errors = [one.error for one in replays if one.error]
    power = {}
    if errors:
        typical = [one for one in replays if one.error]
        for times in EFFECTS:
            found = [
                planned_power([one.error or 1.0], one.size(times), alpha=config.false_alarm_rate) for one in typical
            ]
            power[f"x{times:g}"] = float(np.sum(found)) / len(replays)
    never = not math.isfinite(at)
    wider = None if never else _margin_text(metric, scale, float(at))
    far = never or (math.isfinite(own) and at > _FAR * own)
    weak = power.get(f"x{EFFECTS[-1]:g}", 0.0) < 0.5
    decides = bool(not far and shown > 0)
    return Suggestion(
        metric=metric.name,
        design=design.name,
        shown=int(shown),
        windows=len(starts),
        margin=wider,
        sure=sure,
        power=power,
        decides=decides,
        text=_suggested(
            metric, int(shown), len(starts), wider, sure, enough=bool(at <= own), decides=decides, weak=weak
        ),
    )


def _suggested(
    metric: Metric, shown: int, windows: int, wider: str | None, sure: float, *, enough: bool, decides: bool, weak: bool
) -> str:
    own = f"margin {metric.margin}: shown in {shown} of {windows} windows" if metric.margin else "no margin"
    confidence = "" if sure >= _LEVEL else f" ({sure:.0%} sure, because the windows are worth so few independent ones)"
    if enough:
        return f"{own}, as it would be in 90 %{confidence}"
    more = "no margin would be" if wider is None else f"{wider} would be in 90 %{confidence}"
    if decides:
        return f"{own}; {more}, or longer windows, or more weight"
    hint = "; regressions of 3 times would be found in less than half of them" if weak else ""
    way = "`by: pod`, " if metric.kind == "gauge" else ""
    return f"cannot decide here: {own}; {more}{hint}: make it `role: watch`, or take {way}longer windows or more weight"


def _margin_text(metric: Metric, scale: Scale, upper: float) -> str:
    """A margin rounded up, as a config has it."""
    if scale is Scale.RATIO:
        if metric.harm is Harm.DECREASE:
            return f"{_up(100 * upper):g}%"
        return f"{1 + _up(upper):g}x" if upper >= 0.2 else f"{_up(100 * upper):g}%"
    return f"+{_up(100 * upper):g}pp" if metric.is_proportion else f"+{_up(upper):g}"


def _up(value: float) -> float:
    """Rounded up to two digits."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.12g}")


def _why_not(metric: Metric) -> str:
    if metric.per_user() is not None:
        return "moments of users are not drawn apart; give a table of their rows"
    if metric.kind in ("ratio", "rate", "latency"):
        return "recorded counts are not thinned, because clumps of errors fall apart: give a table of single requests"
    return "there is too little of it in any window"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
