"""What a judgement says: frozen values and the closed sets they use.

Nothing here computes. Display methods import `canary_judge.report` when they are called, so that reading a
verdict in a controller costs no pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from canary_judge.sides import Side, Sides

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from canary_judge.samples import Samples

__all__ = [
    "Action", "Comparison", "GroupScore", "Harm", "Judgement", "LimitCheck", "LookInfo", "MetricResult", "Outcome",
    "Quality", "Recent", "Role", "Scale", "Shortfall", "Side", "Sides", "TrafficSplit", "Verdict",
]  # fmt: skip


class Harm(StrEnum):
    """The direction in which a change hurts."""

    INCREASE = "increase"
    DECREASE = "decrease"
    EITHER = "either"


class Role(StrEnum):
    """What a metric may decide.

    A gate fails the canary and must be shown within its margin to pass it; a guard only fails it; a score
    metric only moves the score; a watched metric is only shown.
    """

    GATE = "gate"
    GUARD = "guard"
    SCORE = "score"
    WATCH = "watch"

    @property
    def decides(self) -> bool:
        """Whether a regression of such a metric fails the canary by itself."""
        return self in (Role.GATE, Role.GUARD)


class Outcome(StrEnum):
    """What the data say about one metric."""

    SAFE = "safe"
    TOLERABLE = "tolerable"
    DEGRADED = "degraded"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    INSUFFICIENT = "insufficient"
    NO_DATA = "no_data"
    ERROR = "error"


class Verdict(StrEnum):
    """What is said about the canary."""

    PASS = "pass"  # noqa: S105
    MARGINAL = "marginal"
    FAIL = "fail"


class Action(StrEnum):
    """What to do with the traffic."""

    ADVANCE = "advance"
    HOLD = "hold"
    ROLL_BACK = "roll_back"


class Scale(StrEnum):
    """How an effect is expressed: canary / baseline, or canary - baseline in the metric's unit."""

    RATIO = "ratio"
    DIFFERENCE = "difference"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The evidence that compares the canary with the baseline.

    Attributes:
        method: The procedure, by name.
        scale: Whether `effect`, `interval` and `margin` are ratios or differences.
        effect: Estimated effect; None when it has no finite value (a ratio to zero events).
        interval: Confidence interval of the effect; None marks an end without bound.
        level: Confidence level of `interval`, two-sided; 1 is the whole line.
        margin: Largest tolerated effect, on the same scale; None when nothing is tolerated or judged.
        baseline: Level of the baseline (median, or rate), in the metric's unit.
        canary: Level of the canary; of users, less what they differed from the baseline's before the run.
        p_harm: One-sided p-value of "no harm".
        p_beyond_margin: One-sided p-value of "harm at most the margin"; None without a margin.
        p_within_margin: One-sided p-value of "harm at least the margin"; None without a margin.
        n_baseline, n_canary: Samples: intervals, events' exposure, raw values or instances.
        n_effective: Samples per side that independent data would need to carry as much information.
        tau: Integrated autocorrelation time, in samples (1 = independent); None for counts.
        dispersion: Variance of the counts over that of independent events (1 = independent); None otherwise.
        events_baseline, events_canary: Events, for counts.
        exact: The events are few enough for the exact test that is conditional on all of them.
        strata: Into how many strata of like traffic the intervals were put; like is compared with like.
        users_baseline, users_canary: Users, where they are the unit; None for other metrics, as the two below.
        variance_saved: Share of the variance that what the users did before the run explains (CUPED).
        standard_error: Of the difference of the levels.
        log_e_harm: With repeated looks: natural log of the e-value against "no harm" at this look.
        log_e_beyond_margin: The same against "harm at most the margin".
        log_e_within_margin: The same against "harm at least the margin".
    """

    method: str
    scale: Scale
    effect: float | None = None
    interval: tuple[float | None, float | None] = (None, None)
    level: float = 1.0
    margin: float | None
    baseline: float | None
    canary: float | None
    p_harm: float
    p_beyond_margin: float | None
    p_within_margin: float | None
    n_baseline: float
    n_canary: float
    n_effective: float
    tau: float | None = None
    dispersion: float | None = None
    events_baseline: float | None = None
    events_canary: float | None = None
    exact: bool = False
    strata: int = 1
    users_baseline: int | None = None
    users_canary: int | None = None
    variance_saved: float | None = None
    standard_error: float | None = None
    log_e_harm: float | None = None
    log_e_beyond_margin: float | None = None
    log_e_within_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCheck:
    """The evidence on an absolute bound of the canary's own level.

    Attributes:
        method: The procedure, by name.
        limit: The bound, in the metric's unit.
        canary: The canary's level.
        p_beyond_limit: One-sided p-value of "the canary keeps the limit".
        p_within_limit: One-sided p-value of "the canary breaks the limit".
    """

    method: str
    limit: float
    canary: float
    p_beyond_limit: float
    p_within_limit: float


@dataclass(frozen=True, kw_only=True)
class Recent:
    """What the newest data say by themselves, whatever the hours before them said.

    Attributes:
        seconds: Length of the newest data that are looked at.
        factor: They must rule out harm of so many times the margin (or the limit).
        shown: Whether they do.
        p_within: p-value of "harm of that size", held against `false_pass_rate`; None where it cannot be asked.
        have: What they hold, in effective terms: canary events, requests or values.
        required: How many show that size with the planned power.
        worse: What the newest data say of harm beyond the margin (CUSUM): 1 and less nothing, from 3 on it is worse.
        worse_seconds: How long it has been looking worse, where it is.
        text: Why harm of that size is not ruled out; empty where it is, or is not asked.
        change: Since when it is worse, and how it was before; empty where it is not, or always was.
    """

    seconds: float
    factor: float
    shown: bool
    p_within: float | None
    have: float
    required: float | None
    worse: float | None = None
    worse_seconds: float | None = None
    text: str = ""
    change: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What an undecided metric still needs.

    Attributes:
        needs: What is counted: "intervals", "canary events", "canary requests" or "instances".
        have: How many there are, in effective terms.
        required: How many would show safety at the margin with the configured power.
        seconds: More time at this weight, None when it cannot be told or no time would do.
        weight_percent: The canary's traffic share that would do in the same time, None when none would.
        text: The same for a person.
        margin: The margin at which what there is would do, as it is written in a config; None when none is known.
    """

    needs: str
    have: float
    required: float | None
    seconds: float | None
    weight_percent: float | None
    text: str
    margin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What was wrong with the data of one metric, or that nothing was.

    Attributes:
        coverage_baseline: Share of the intervals since the baseline's first sample that have a usable one.
        coverage_canary: The same for the canary.
        silent_baseline, silent_canary: Intervals without a value (of counts: without traffic) at the end.
        late_baseline, late_canary: Intervals before the first sample, of which the coverage does not speak.
        resets, resets_canary: Counter resets of both sides, and those of the canary.
        falls: Falls of counters that were no restart, both sides; they counted nothing.
        event_series_baseline, event_series_canary: Series of events; None where that is not known.
        absent_events_baseline, absent_events_canary: Intervals without a value of the events, read as no events.
        zeros_written: Somewhere on either side no events were written as 0, so that where nothing is written is a hole.
        lost_events_baseline, lost_events_canary: Events that may have happened and do not count.
        lost_exposure_baseline, lost_exposure_canary: Exposure (requests) that may have been left out.
        births: Counter series that appeared inside the window and were counted from zero.
        births_dropped: Series that appeared without proof that they began at zero; first value dropped.
        non_finite, non_finite_canary: NaN and infinite points dropped of both sides, and those of the canary.
        canary_share: The canary's share of the exposure (requests), None where it cannot be known.
        unread: Intervals at the end of the window that could not be read, for their queries failed.
        series_baseline, series_canary: Series read.
    """

    coverage_baseline: float
    coverage_canary: float
    silent_baseline: int = 0
    silent_canary: int = 0
    resets: int = 0
    resets_canary: int = 0
    births: int = 0
    births_dropped: int = 0
    non_finite: int = 0
    falls: int = 0
    non_finite_canary: int = 0
    event_series_baseline: int | None = None
    event_series_canary: int | None = None
    absent_events_baseline: int = 0
    absent_events_canary: int = 0
    zeros_written: bool = False
    lost_events_baseline: float = 0.0
    lost_events_canary: float = 0.0
    lost_exposure_baseline: float = 0.0
    lost_exposure_canary: float = 0.0
    canary_share: float | None = None
    unread: int = 0
    series_baseline: int = 0
    series_canary: int = 0
    late_baseline: int = 0
    late_canary: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One metric's outcome, why, and every number behind it.

    Attributes:
        share: Its levels are shares of a total, which are shown in percent.
        credit: Its share of its score weight (0, 0.5 or 1), None where it does not count in the score.
        p_worse: p-value of "not worse", held against `false_alarm_rate`: over all metrics, and over all looks.
        recent: What the newest data say by themselves; None where that is not asked.
        p_beyond: The same of "harm at most the margin".
        harm_level: What its own evidence of it (`comparison`) is held against: a part of `false_alarm_rate`.
        p_within: p-value of "harm at least the margin", held against `false_pass_rate`.
        margin: As it is written in the config, data or not.
        deciding: The interval whose ends are the margins at which the evidence just decides (`judging.deciding`): safe
            left of the margin, regressed right of it, undecided across it. None marks an end without bound.
        decided_at: End of the data on which a regression was found; with repeated looks it stands from then on.
    """

    name: str
    kind: str
    role: Role
    group: str
    score_weight: float
    harm: Harm
    unit: str
    share: bool = False
    outcome: Outcome
    credit: float | None
    reason: str
    comparison: Comparison | None = None
    limit: LimitCheck | None = None
    shortfall: Shortfall | None = None
    quality: Quality | None = None
    recent: Recent | None = None
    warnings: tuple[str, ...] = ()
    p_worse: float | None = None
    p_beyond: float | None = None
    p_within: float | None = None
    margin: str | None = None
    harm_level: float | None = None
    deciding: tuple[float | None, float | None] | None = None
    decided_at: datetime | None = None

    def __str__(self) -> str:
        """Name and `short`."""
        return f"{self.name}: {self.short}"

    def _repr_html_(self) -> str:
        from canary_judge import report

        return report.metric_to_html(self)

    @property
    def short(self) -> str:
        """Outcome, effect and margin in at most 60 characters, for a line of a log or a chat."""
        from canary_judge import report

        return report.short(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplit:
    """The canary's share of the requests (or of the users), as configured and as observed.

    Attributes:
        configured: The share the canary should get, as a fraction.
        observed: The share it got.
        canary_requests: Requests of the canary since the weight last changed; its users, where these are counted.
        requests: Requests of both sides; or their users.
        log_e: Log e-value against "the requests are split as configured", valid at any look.
        finding: What is wrong with the split, and where to look; empty when nothing is.
        counted: What is counted: requests or users.
    """

    configured: float
    observed: float | None
    canary_requests: float
    requests: float
    log_e: float
    finding: str
    counted: str = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookInfo:
    """Where a judgement stands in a run of repeated looks.

    Attributes:
        number: How many looks have consumed data, this one included.
        intervals: Intervals consumed and judged.
        left_out: Intervals consumed but left out (the warm-up after a start or a change of weight).
        horizon_seconds: Planned length of the run; None without one.
        ended: The planned end is reached: no further look can change the judgement.
        seconds_to_decision: Projected time until the last undecided gate can be decided; None when it cannot be told.
        as_of: The end of the data of the oldest evidence or interval that stands; None when all is of this look.
    """

    number: int
    intervals: int
    left_out: int
    horizon_seconds: float | None
    ended: bool
    seconds_to_decision: float | None
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """The score of one group of metrics, 0 to 100; None while no metric of it counts."""

    name: str
    weight: float
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The scored verdict on a canary, with its reasons.

    Attributes:
        name: The config's name.
        verdict: pass, marginal or fail.
        score: 0 to 100.
        action: advance, hold or roll_back.
        sufficient: False when metrics without enough evidence kept the canary from passing.
        reasons: Why, in order of weight, for a person.
        metrics: One result per metric, in the config's order.
        groups: One score per group.
        warnings: What is wrong with the config or the data as a whole.
        false_alarm_rate: The promise that was kept.
        false_pass_rate: The other one: how often a canary at its margin may be found safe.
        start: Start of the judged window, UTC.
        end: End of the judged window, UTC.
        interval_seconds: Length of one interval of the grid.
        baseline: Labels of the baseline.
        canary: Labels of the canary.
        config_hash: SHA-256 of the config without its sides and sources.
        version: The version of this library.
        traffic: The traffic split, where a share is configured.
        look: Where in a run of repeated looks this judgement stands; None for a single planned look.
    """

    name: str
    verdict: Verdict
    score: float
    action: Action
    sufficient: bool
    reasons: tuple[str, ...]
    metrics: tuple[MetricResult, ...]
    groups: tuple[GroupScore, ...]
    warnings: tuple[str, ...]
    false_alarm_rate: float
    start: datetime
    end: datetime
    interval_seconds: float
    baseline: dict[str, str]
    canary: dict[str, str]
    config_hash: str
    version: str
    false_pass_rate: float | None = None
    traffic: TrafficSplit | None = None
    look: LookInfo | None = None

    def __getitem__(self, name: str) -> MetricResult:
        """The result of one metric, by name; KeyError lists the names there are."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"{name!r} is no metric of this judgement; there are {[m.name for m in self.metrics]}")

    def __str__(self) -> str:
        """Verdict, score, action, and the first reason."""
        from canary_judge import report

        return report.in_short(self)

    def explain(self, *, color: bool = False, width: int | None = None) -> str:
        """The judgement as text: verdict, reasons, a line per metric, what is missing; in lines of at most `width`."""
        from canary_judge import report

        return report.to_text(self, color=color, width=width)

    def to_json(self, *, indent: int | None = None) -> str:
        """The judgement as JSON; `from_json` gives an equal judgement back."""
        from canary_judge import report

        return report.to_json(self, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Judgement:
        """The judgement that `to_json` wrote; ValueError names what does not fit."""
        from canary_judge import report

        return report.from_json(text)

    def to_html(self, *, whole_page: bool = False) -> str:
        """Picture, reasons and table as a fragment, or as a file for a browser; no script, nothing from elsewhere."""
        from canary_judge import report

        return report.to_page(self) if whole_page else report.to_html(self)

    def plot(
        self,
        metric: str | None = None,
        *,
        looks: Sequence[Judgement] = (),
        samples: Samples | None = None,
        theme: Literal["light", "dark", "print"] = "light",
        ax: Axes | None = None,
    ) -> Axes:
        """Draw it with matplotlib: `plots.verdict`; or one metric over all looks of the run: `plots.depth`."""
        from canary_judge import plots

        if metric is None:
            return plots.verdict(self, theme=theme, ax=ax)
        return plots.depth(self, metric, looks=looks, samples=samples, theme=theme, ax=ax)

    def to_frame(self) -> pd.DataFrame:
        """One row per metric, every number a column."""
        from canary_judge import report

        return report.to_frame(self)

    def _repr_html_(self) -> str:
        from canary_judge import report

        return report.to_html(self)
