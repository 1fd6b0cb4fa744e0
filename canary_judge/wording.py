"""How numbers, effects, sizes and lengths of time are written for a person. Every text of this library asks here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

from canary_judge.results import Comparison, Harm, LookInfo, MetricResult, Scale, TrafficSplit

__all__ = [
    "change",
    "count",
    "effect",
    "facts",
    "html_table",
    "interval",
    "level",
    "opposite",
    "short",
    "sides",
    "sizes",
    "span",
    "standing",
    "tolerated",
    "unmeasured",
    "wait",
]

# Ratios so near to 1 need more than three digits.
_NEAR_ONE = 0.005
_SHORT = 60
# A smaller part of the variance is not worth telling.
_WORTH_SAVING = 0.01


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> str:
    """A self-contained fragment for notebooks, in the colours of the page around it.

    Examples:
        >>> html_table("shop", ["metric"], [["a < b"]])[-60:]
        "le='padding:3px 12px 3px 0'>a &lt; b</td></tr></table></div>"
    """
    cell = "style='padding:3px 12px 3px 0'"
    body = "".join(
        f"<tr style='border-top:1px solid rgba(128,128,128,.35)'>"
        f"{''.join(f'<td {cell}>{html.escape(text)}</td>' for text in row)}</tr>"
        for row in rows
    )
    heads = "".join(f"<th style='text-align:left;padding:3px 12px 3px 0'>{html.escape(text)}</th>" for text in head)
    below = "".join(f"<div style='opacity:.75'>{html.escape(note)}</div>" for note in notes if note)
    return (
        "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.4;color:inherit;"
        "background:transparent;padding:10px;max-width:1100px;overflow-x:auto'>"
        f"<b style='font-size:15px'>{html.escape(title)}</b>"
        "<table style='border-collapse:collapse;font-size:12px;color:inherit'>"
        f"<tr>{heads}</tr>{body}</table>{below}</div>"
    )


def level(value: float, *, unit: str, share: bool) -> str:
    """A level in the metric's unit; shares in percent.

    Examples:
        >>> level(0.0123, unit="", share=True), level(12.5, unit="ms", share=False)
        ('1.23 %', '12.5 ms')
    """
    return f"{100 * value:.3g} %" if share else f"{value:.4g}" + (f" {unit}" if unit else "")


def change(value: float, *, unit: str, share: bool) -> str:
    """A difference of levels, with its sign; of shares in percentage points."""
    return f"{100 * value:+.3g} pp" if share else f"{value:+.4g}" + (f" {unit}" if unit else "")


def effect(value: float, scale: Scale, *, unit: str, share: bool) -> str:
    """An effect, a margin or an end of an interval: a ratio, or a difference.

    Examples:
        >>> effect(1.5, Scale.RATIO, unit="", share=True), effect(-0.001, Scale.DIFFERENCE, unit="", share=True)
        ('1.5x', '-0.1 pp')
    """
    return f"{value:.3g}x" if scale is Scale.RATIO else change(value, unit=unit, share=share)


def tolerated(value: float, scale: Scale, *, unit: str, share: bool, either: bool = False) -> str:
    """A margin, which is no estimate: as an effect, with the digits that tell it from no change.

    Args:
        value: The margin upwards, or the only one.
        scale: Its scale.
        unit: Of the metric.
        share: Its values are shares.
        either: There is one downwards, as wide, too.

    Examples:
        >>> tolerated(1.001, Scale.RATIO, unit="", share=True), tolerated(1.5, Scale.RATIO, unit="", share=True)
        ('1.001x', '1.5x')
        >>> tolerated(1.05, Scale.RATIO, unit="", share=True, either=True)
        '0.95x .. 1.05x'
    """
    if either:
        ends = opposite(value, scale), value
        return " .. ".join(tolerated(one, scale, unit=unit, share=share) for one in ends)
    apart = abs(value - 1)
    if scale is not Scale.RATIO or not 0 < apart < _NEAR_ONE:
        return effect(value, scale, unit=unit, share=share)
    return f"{value:.{2 - math.floor(math.log10(apart))}g}x"


def _factor(value: float) -> str:
    """A relative margin to four digits, or to those that tell it from no change."""
    apart = abs(value - 1)
    return f"{value:.{max(4, 2 - math.floor(math.log10(apart))) if apart else 4}g}x"


def opposite(margin: float, scale: Scale) -> float:
    """The margin downwards, of a metric of which either direction hurts."""
    return max(2 - margin, 0.0) if scale is Scale.RATIO else -margin


def unmeasured(comparison: Comparison) -> str:
    """What there is where the ratio of the sides is not known: the baseline has nothing of it."""
    return "no events" if comparison.events_baseline == comparison.events_canary == 0 else "new events"


def interval(ends: tuple[float | None, float | None], scale: Scale, *, unit: str, share: bool) -> str:
    """An interval of an effect for a table; an end without bound is "any".

    Examples:
        >>> interval((0.87, None), Scale.RATIO, unit="", share=True)
        '0.87x .. any'
    """
    low, high = ends
    lowest = "0x" if scale is Scale.RATIO else "-any"
    told = (
        missing if end is None else effect(end, scale, unit=unit, share=share)
        for end, missing in ((low, lowest), (high, "any"))
    )
    return " .. ".join(told)


def facts(comparison: Comparison, *, unit: str, share: bool, either: bool = False) -> str:
    """The measured values in a sentence: effect, interval, margin, sample sizes."""
    low, high = comparison.interval
    margin = ""
    if comparison.scale is Scale.RATIO:
        said = (
            f"canary {comparison.effect:.3g}x the baseline" if comparison.effect is not None else unmeasured(comparison)
        )
        ends = f"{0 if low is None else low:.3g} to " + ("any" if high is None else f"{high:.3g}x")
        if comparison.margin is not None:
            least = f"{_factor(opposite(comparison.margin, Scale.RATIO))} to " if either else ""
            margin = f", margin {least}{_factor(comparison.margin)}"
    else:
        said = f"canary {change(comparison.effect or 0.0, unit=unit, share=share)} against the baseline"
        ends = " to ".join("any" if end is None else change(end, unit=unit, share=share) for end in (low, high))
        if comparison.margin is not None:
            least = f"{change(-comparison.margin, unit=unit, share=share)} to " if either else ""
            margin = f", margin {least}{change(comparison.margin, unit=unit, share=share)}"
    shown = f"{comparison.level:.0%} interval {ends}{margin}" if comparison.level < 1 else margin.removeprefix(", ")
    return f"{said} ({shown}; {sizes(comparison)})" if shown else f"{said} ({sizes(comparison)})"


def short(metric: MetricResult) -> str:
    """Outcome, effect and margin of a metric in at most 60 characters; else the beginning of the reason."""
    comparison, outcome = metric.comparison, metric.outcome.value.replace("_", " ")
    if comparison is None:
        text = f"{outcome}: {metric.reason}"
    else:
        unit, share = metric.unit, metric.share
        said = unmeasured(comparison)
        if comparison.effect is not None:
            said = effect(comparison.effect, comparison.scale, unit=unit, share=share)
        text = f"{outcome}: {said}"
        if comparison.margin is not None:
            either = metric.harm is Harm.EITHER
            text += f", margin {tolerated(comparison.margin, comparison.scale, unit=unit, share=share, either=either)}"
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3].rstrip()}..."


def sizes(comparison: Comparison) -> str:
    """What the comparison rests on: events of requests, or values and what they are worth."""
    if comparison.events_canary is not None and comparison.events_baseline is not None:
        clumps = comparison.dispersion is not None and comparison.dispersion > 1
        return (
            f"{comparison.events_canary:,.0f} of {comparison.n_canary:,.0f} against "
            f"{comparison.events_baseline:,.0f} of {comparison.n_baseline:,.0f}"
            + (", like intervals with like" if comparison.strata > 1 else "")
            + (f", events clump {comparison.dispersion:.1f}-fold" if clumps else "")
        )
    if comparison.users_canary is not None and comparison.users_baseline is not None:
        saved = comparison.variance_saved or 0.0
        return f"{comparison.users_canary:,} against {comparison.users_baseline:,} users" + (
            f", CUPED saves {saved:.0%}" if saved >= _WORTH_SAVING else ""
        )
    dependent = comparison.tau is not None and comparison.tau > 1
    return (
        f"n = {comparison.n_canary:g} and {comparison.n_baseline:g}, worth {comparison.n_effective:.1f} independent"
        + (f" (tau {comparison.tau:.1f})" if dependent else "")
    )


def count(value: float) -> str:
    """A number of things; small ones with a decimal.

    Examples:
        >>> count(1234.5), count(2.34)
        ('1,234', '2.3')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def wait(seconds: float) -> str:
    """A length of time in the largest unit that leaves at least two of it, rounded up.

    Examples:
        >>> wait(19 * 60 - 5), wait(7200), wait(90)
        ('19 minutes', '2 hours', '90 seconds')
    """
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{_up(seconds / size)} {unit}"
    return f"{_up(seconds)} seconds"


def _up(value: float) -> int:
    """Rounded up, but not for what rounding has added."""
    return math.ceil(value - 1e-9)


def span(seconds: float) -> str:
    """A length of time on a board: its two largest units.

    Examples:
        >>> span(3905), span(125), span(7)
        ('1h05m', '2m05s', '7s')
    """
    minutes, rest = divmod(_up(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def standing(look: LookInfo | None, split: TrafficSplit | None, *, seconds: float, interval_seconds: float) -> str:
    """Where in a run of looks a judgement stands, and the traffic split."""
    parts = []
    if look is not None:
        parts.append(f"look {look.number}, {span(seconds)}")
        if look.horizon_seconds is not None:
            parts[-1] += f" of {span(look.horizon_seconds)}" + (" (planned end reached)" if look.ended else "")
        if look.left_out:
            parts.append(f"{span(look.left_out * interval_seconds)} of warm-up left out")
        if look.seconds_to_decision:
            parts.append(f"decision expected within {span(look.seconds_to_decision)}")
        if look.as_of is not None:
            parts.append(f"some numbers as of {look.as_of:%H:%M:%S}")
    if split is not None and split.observed is not None:
        of = "users" if split.counted == "users" else "traffic"
        parts.append(f"canary gets {100 * split.observed:.3g} % of the {of} ({100 * split.configured:g} % configured)")
    return "; ".join(parts)


def sides(*, baseline: Mapping[str, str], canary: Mapping[str, str]) -> str:
    """Which versions are compared."""

    def side(labels: Mapping[str, str]) -> str:
        return ", ".join(f"{name}={value}" for name, value in labels.items()) or "unlabelled"

    return f"canary ({side(canary)}) against baseline ({side(baseline)})"
