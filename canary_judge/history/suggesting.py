"""What a metric can decide in windows like those of a history: which margin is shown, which regression is found.

References:
    Wilks (1941), see `canary_judge.stats.trials.tolerance_rank`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.history.designs import Design
from canary_judge.history.drawn import Replay
from canary_judge.results import Harm, Outcome, Role, Scale
from canary_judge.stats.trials import effective_number, planned_power, tolerance_rank

__all__ = ["EFFECTS", "Suggestion", "suggested"]

# Regressions that are planned for: so many times the baseline's level.
EFFECTS = (1.25, 1.5, 2.0, 3.0)
# A margin that is to be shown in so many windows; one so many times the user's is another question.
_SHOWN_IN, _LEVEL, _FAR = 0.9, 0.95, 3.0
# Kinds of which one look also asks the ends of the window (`canary_judge.judging.ends`).
_SCANNED = ("ratio", "rate", "latency")
# Of windows that are worth so few independent ones, nothing is said.
_LEAST_SURE = 0.5
# From here on the first two digits tell it from 1.
_SOME_TAU = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What one metric can decide in windows like these; nothing of it was chosen by alarms.

    Attributes:
        metric: Name of the metric.
        design: By whose draws it is known.
        shown: Windows in which the configured margin was shown, of all; one in which some draws show it counts in part.
        windows: All of them.
        margin: The margin that would be shown in 90 % of windows, never below the configured one; None where no draw
            has a bound.
        enough: It is the configured one.
        sure: How sure that is.
        power: Share of windows in which a regression of each size would be seen to be worse at all.
        fails: Share of windows in which it would fail the canary, because harm beyond the margin is shown.
        seen_in: Windows in which a regression of each size would be seen more likely than not.
        tau: Integrated autocorrelation time in intervals, the windows' median; None where it is not looked for.
        dispersion: Of counts, over that of independent events, the windows' median; None of other metrics.
        instances: How far the instances' levels lie apart, their standard deviation as a share of the level; None where
            they are not kept apart.
        decides: Whether the metric can decide at all.
        text: In words.
    """

    metric: str
    design: str
    shown: int
    windows: int
    margin: str | None
    enough: bool
    sure: float
    power: Mapping[str, float]
    fails: Mapping[str, float]
    seen_in: Mapping[str, int]
    tau: float | None
    dispersion: float | None
    instances: float | None
    decides: bool
    text: str

    @property
    def measured(self) -> str:
        """What was measured on the way, in words; empty where there was nothing, or nothing varies."""
        parts: list[str] = []
        if not self.power:
            return ""
        if self.tau is not None:
            far = f"values follow each other over {self.tau:.2g} intervals"
            parts.append(far if self.tau >= _SOME_TAU else "values do not follow each other")
        if self.dispersion is not None:
            wide = f"events scatter {self.dispersion:.2g}x as wide as independent ones"
            parts.append(wide if self.dispersion >= _SOME_TAU else "events scatter as independent ones")
        if self.instances is not None:
            parts.append(f"instances differ by {100 * self.instances:.2g} %")
        return ", ".join(parts)

    @property
    def note(self) -> str:
        """The finding as a comment beside the margin."""
        wider = "" if self.power else "; it never varies in this history, or has no event"
        if self.power and self.margin is not None and self.sure >= _LEAST_SURE:
            wider = f"; {'and' if self.enough else self.margin} would be in 90 %, {self.sure:.0%} sure"
        cannot = "" if self.decides else "; too little to decide here"
        measured = f"; {self.measured}" if self.measured else ""
        return f"shown in {self.shown} of {self.windows} windows{wider}{cannot}{measured}"


def suggested(metric: Metric, design: Design, replays: Sequence[Replay], config: JudgeConfig) -> Suggestion:
    """What the A/A replays of one metric say of margins and regressions.

    The margin is an order statistic of what each window could have shown at best, so nothing is fitted, and the power
    is that of each window's own standard error, averaged: windows differ, and the average window is none of them.

    Args:
        metric: What is asked of it.
        design: By which the replays were drawn.
        replays: One or more.
        config: For its error rates.
    """
    shown, windows = _shown(replays)
    margin = metric.parsed_margin()
    level = float(np.median([one.level for one in replays]))
    scale = replays[0].scale
    own = math.inf
    if margin is not None:
        own = (margin.relative or 0.0) if scale is Scale.RATIO else margin.amount(level)
    # a margin that is not shown is, in the sense of the rank, an alarm of the order statistic
    uppers = np.sort([one.upper for one in replays])
    cut = float(np.quantile(uppers, _SHOWN_IN, method="lower"))
    worth = effective_number(
        # where the cut has no bound, all without a bound lie beyond it
        [one.upper > cut or not math.isfinite(one.upper) for one in replays],
        [0.0 if one.score is None else one.score for one in replays],
        [one.cluster for one in replays],
        declared=1 - _SHOWN_IN,
    )
    rank, sure = tolerance_rank(worth, _SHOWN_IN, _LEVEL)
    at = uppers[min(math.ceil(rank / max(math.floor(worth), 1) * uppers.size), uppers.size) - 1]
    # where no window has a standard error nothing is known
    seen = _power(metric, replays, config, 0.0) if any(one.error for one in replays) else {}
    beyond = 0.0 if metric.fail_when == "any_harm" else own
    power, fails = _averaged(seen), _averaged(_power(metric, replays, config, beyond) if seen else {})
    never = not math.isfinite(at)
    enough = bool(at <= own)
    wider = (
        metric.margin if enough and math.isfinite(own) else None if never else _margin_text(metric, scale, float(at))
    )
    far = never or (math.isfinite(own) and at > _FAR * own)
    weak = power.get(f"x{EFFECTS[-1]:g}", 0.0) < 0.5
    blind = not power  # nothing varied: what it would find is not known
    # the order statistic of few windows is the worst of them: what most of them show is not undone by that
    decides = bool((not far and shown > 0) or 2 * shown >= windows) and sure >= _LEAST_SURE and not blind
    return Suggestion(
        metric=metric.name,
        design=design.name,
        shown=shown,
        windows=windows,
        margin=wider,
        enough=enough and metric.margin is not None,
        sure=sure,
        power=power,
        fails=fails,
        seen_in=_windows_seen(seen, replays),
        tau=_median([one.tau for one in replays]),
        dispersion=_median([one.dispersion for one in replays]),
        instances=_median([one.instances for one in replays]),
        decides=decides,
        text=_in_words(
            metric,
            _Told(
                shown=shown,
                windows=windows,
                wider=wider,
                sure=sure,
                unbounded=int(np.isinf(uppers).sum()),
                draws=uppers.size,
                enough=enough,
                decides=decides,
                weak=weak,
                blind=blind,
                pods="pod" in design.name,
            ),
        ),
    )


def _shown(replays: Sequence[Replay]) -> tuple[int, int]:
    """In how many windows the margin was shown, and how many there are.

    Of a window with several draws the share of them counts: a majority would be all or nothing.
    """
    draws: dict[float, list[bool]] = {}
    for one in replays:
        draws.setdefault(one.window, []).append(one.outcome in (Outcome.SAFE, Outcome.TOLERABLE))
    return round(sum(sum(some) / len(some) for some in draws.values())), len(draws)


def _alpha(metric: Metric, config: JudgeConfig) -> float:
    """What one look may spend on the whole window: of counts half of the error is spent on its ends."""
    scanned = metric.kind in _SCANNED and metric.per_user() is None
    return config.false_alarm_rate / 2 if scanned else config.false_alarm_rate


def _power(metric: Metric, replays: Sequence[Replay], config: JudgeConfig, beyond: float) -> dict[str, list[float]]:
    """Of each replay the power to show harm beyond so much, for each regression; 0 without a standard error."""
    alpha = _alpha(metric, config)
    return {
        f"x{times:g}": [
            planned_power([one.error_at(times)], one.size(times) - one.harmful(beyond), alpha=alpha)
            if one.error
            else 0.0
            for one in replays
        ]
        for times in EFFECTS
    }


def _averaged(power: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: float(np.sum(some)) / len(some) for name, some in power.items()}


def _windows_seen(power: Mapping[str, list[float]], replays: Sequence[Replay]) -> dict[str, int]:
    """Windows in which a regression of each size would be seen more likely than not, on average over their draws."""
    found = {}
    for name, some in power.items():
        draws: dict[float, list[float]] = {}
        for one, known in zip(replays, some, strict=True):
            draws.setdefault(one.window, []).append(known)
        found[name] = sum(sum(each) > len(each) / 2 for each in draws.values())
    return found


def _median(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.median(known)) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is put into words."""

    shown: int
    windows: int
    wider: str | None
    sure: float
    unbounded: int
    draws: int
    enough: bool
    decides: bool
    weak: bool
    blind: bool
    pods: bool


def _in_words(metric: Metric, told: _Told) -> str:
    own = f"margin {metric.margin}: shown in {told.shown} of {told.windows} windows" if metric.margin else "no margin"
    if told.sure < _LEAST_SURE:
        longer = "one of more deployments" if told.pods else "a longer one"
        return f"{own}, which are worth too few independent ones to say more: give a past that is {longer}"
    if told.blind:
        why = "it never varies, or has no event"
        return f"{own}, but no standard error of it is known ({why}): what it would find is not known"
    confidence = (
        "" if told.sure >= _LEVEL else f" ({told.sure:.0%} sure, because the windows are worth so few independent ones)"
    )
    if told.enough:
        return f"{own}, and would be in 90 %{confidence}"
    if told.wider is None:
        more = f"in {told.unbounded} of {told.draws} draws no margin at all could be shown"
    else:
        more = f"a margin of {told.wider} would be shown in 90 %{confidence}"
    if told.decides:
        return f"{own}; {more}"
    hint = "; regressions of 3x would be seen in less than half of them" if told.weak else ""
    way = "`by: pod`, " if isinstance(metric, GaugeMetric) and not metric.by else ""
    watch = "" if metric.role is Role.WATCH else ", or make it `role: watch`"
    look = "" if told.wider is not None else ", or judge one of these windows: pauses and gaps hold at any weight"
    return f"cannot decide here: {own}; {more}{hint}: take {way}longer windows or more weight{watch}{look}"


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
