"""What text and HTML show alike: the headline, where it stands, a row per metric, what is missing, warnings."""

from __future__ import annotations

from enum import StrEnum

from canary_judge import wording
from canary_judge.results import Comparison, Harm, Judgement, MetricResult, Outcome, Role, Verdict
from canary_judge.untrusted import printable
from canary_judge.wording import effect, interval, level, sides, tolerated, unmeasured

__all__ = ["COLUMNS", "Tone", "headline", "missing", "reasons", "row", "standing", "subtitle", "tone", "warnings"]

_UNDECIDED = frozenset({Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR})
COLUMNS = ("baseline", "canary", "effect", "deciding", "margin")


class Tone(StrEnum):
    """How good a thing is, for its colour."""

    GOOD = "good"
    OPEN = "open"
    BAD = "bad"


_TONE = {
    Outcome.SAFE: Tone.GOOD,
    Outcome.TOLERABLE: Tone.GOOD,
    Outcome.REGRESSED: Tone.BAD,
    Verdict.PASS: Tone.GOOD,
    Verdict.FAIL: Tone.BAD,
}


def tone(key: Outcome | Verdict) -> Tone:
    """Good, bad or open."""
    return _TONE.get(key, Tone.OPEN)


def headline(judgement: Judgement) -> str:
    """Verdict, score, action."""
    action = judgement.action.value.replace("_", " ")
    text = f"{judgement.verdict.value.upper()}  score {judgement.score:.1f}  ->  {action}"
    return text + ("" if judgement.sufficient else "  (not enough evidence)")


def subtitle(judgement: Judgement) -> str:
    """What was compared, and when."""
    end = judgement.end.strftime("%H:%M:%S" if judgement.start.date() == judgement.end.date() else "%Y-%m-%d %H:%M:%S")
    compared = sides(baseline=judgement.baseline, canary=judgement.canary)
    return _line(f"{judgement.name}: {compared}, {judgement.start:%Y-%m-%d %H:%M:%S} to {end} UTC")


def standing(judgement: Judgement) -> str:
    """Where in a run of looks this stands, and the traffic split."""
    seconds = (judgement.end - judgement.start).total_seconds()
    every = judgement.interval_seconds
    return _line(wording.standing(judgement.look, judgement.traffic, seconds=seconds, interval_seconds=every))


def row(metric: MetricResult) -> dict[str, str]:
    """One metric, column by column."""
    comparison = metric.comparison
    cells = {**dict.fromkeys(COLUMNS, "-"), "margin": metric.margin or "-"}
    if comparison is not None:
        cells |= _compared(metric, comparison)
    if metric.limit is not None:
        bound = f"limit {level(metric.limit.limit, unit=metric.unit, share=metric.share)}"
        cells["margin"] = bound if cells["margin"] == "-" else f"{cells['margin']}, {bound}"
    shown = {key: _line(text) for key, text in cells.items()}
    return {"metric": _line(metric.name), "role": metric.role.value, "outcome": metric.outcome.value, **shown}


def _compared(metric: MetricResult, comparison: Comparison) -> dict[str, str]:
    unit, share = metric.unit, metric.share

    def shown(value: float | None, otherwise: str) -> str:
        return otherwise if value is None else effect(value, comparison.scale, unit=unit, share=share)

    def at(value: float | None) -> str:
        return "-" if value is None else level(value, unit=unit, share=share)

    return {
        "baseline": at(comparison.baseline),
        "canary": at(comparison.canary),
        "effect": shown(comparison.effect, unmeasured(comparison)),
        "deciding": "-"
        if metric.deciding is None
        else interval(metric.deciding, comparison.scale, unit=unit, share=share),
        "margin": metric.margin or "-"
        if comparison.margin is None
        else tolerated(comparison.margin, comparison.scale, unit=unit, share=share, either=metric.harm is Harm.EITHER),
    }


def reasons(judgement: Judgement) -> list[str]:
    """Why; of a finding of an earlier look, since when it stands."""
    stands = {
        f"{metric.name}: {metric.reason}": f" (found at {metric.decided_at:%Y-%m-%d %H:%M:%S} UTC, which stands)"
        for metric in judgement.metrics
        if metric.decided_at is not None and metric.decided_at < judgement.end
    }
    return [_line(text + stands.get(text, "")) for text in judgement.reasons]


def missing(judgement: Judgement) -> list[str]:
    """What undecided metrics still need; and what holds a gate, where another metric has decided without it."""
    found = []
    for metric in judgement.metrics:
        shortfall = None if metric.shortfall is None else metric.shortfall.text
        told = f"{metric.name}: {metric.reason}" in judgement.reasons or (
            shortfall is not None and shortfall in metric.reason
        )
        if metric.role is Role.GATE and metric.outcome in _UNDECIDED and not told:
            found.append(f"{metric.name}: {metric.reason}")
        if shortfall is not None:
            found.append(f"{metric.name}: {shortfall}")
    return [_line(text) for text in found]


def warnings(judgement: Judgement) -> list[str]:
    """Those of the metrics, then those of the whole."""
    own = [f"{metric.name}: {text}" for metric in judgement.metrics for text in metric.warnings]
    return [_line(text) for text in (*own, *judgement.warnings)]


def _line(text: str) -> str:
    """One line in which nothing moves the cursor, whatever a label, a name or a server said."""
    return printable(text).replace("\n", "\\n")
