"""A judgement as text, JSON, DataFrame and HTML.

Text is for a terminal, HTML for a notebook; both say the verdict first, then why, then metric by metric.
"""

from __future__ import annotations

import html
import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from canary_judge.results import (
    Comparison,
    Judgement,
    MetricResult,
    Outcome,
    Role,
    Scale,
    Verdict,
)

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import TypeAdapter

__all__ = ["from_json", "to_board", "to_frame", "to_html", "to_json", "to_text"]

_GOOD, _OPEN, _BAD = "good", "open", "bad"
_TONE = {
    Outcome.SAFE: _GOOD,
    Outcome.TOLERABLE: _GOOD,
    Outcome.REGRESSED: _BAD,
    Verdict.PASS: _GOOD,
    Verdict.FAIL: _BAD,
}
_ANSI = {_GOOD: "\x1b[32m", _OPEN: "\x1b[33m", _BAD: "\x1b[31m"}
_HEX = {_GOOD: "#1a7f37", _OPEN: "#9a6700", _BAD: "#cf222e"}


# --- JSON --------------------------------------------------------------------------------------------------------


@cache
def _adapter() -> TypeAdapter[Judgement]:
    from pydantic import TypeAdapter  # noqa: PLC0415  (reading a verdict needs none)

    return TypeAdapter(Judgement)


def to_json(judgement: Judgement, *, indent: int | None = None) -> str:
    """The judgement as JSON; ends of intervals without bound are null.

    Raises:
        ValueError: A number is not finite: a bug, for it would not survive.
    """
    data = _adapter().dump_python(judgement, mode="json")
    return json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False)


def from_json(text: str | bytes) -> Judgement:
    """The judgement that `to_json` wrote."""
    return _adapter().validate_json(text)


# --- numbers for people ------------------------------------------------------------------------------------------


def _is_share(metric: MetricResult) -> bool:
    return metric.kind in {"ratio", "latency"}


def _level(value: float | None, metric: MetricResult) -> str:
    if value is None:
        return "-"
    if _is_share(metric):
        return f"{100 * value:.3g} %"
    return f"{value:.4g}" + (f" {metric.unit}" if metric.unit else "")


def _effect(value: float | None, comparison: Comparison, metric: MetricResult, *, missing: str) -> str:
    if value is None:
        return missing
    if comparison.scale is Scale.RATIO:
        return f"{value:.3g}x"
    if _is_share(metric):
        return f"{100 * value:+.3g} pp"
    return f"{value:+.4g}" + (f" {metric.unit}" if metric.unit else "")


def _interval(metric: MetricResult) -> str:
    comparison = metric.comparison
    if comparison is None:
        return "-"
    low, high = comparison.interval
    lowest = "0x" if comparison.scale is Scale.RATIO else "-any"
    return f"{_effect(low, comparison, metric, missing=lowest)} .. {_effect(high, comparison, metric, missing='any')}"


def _row(metric: MetricResult) -> dict[str, str]:
    comparison = metric.comparison
    bound = _effect(comparison.margin, comparison, metric, missing="-") if comparison else "-"
    if metric.limit is not None:
        bound = (f"{bound}, " if bound != "-" else "") + f"limit {_level(metric.limit.limit, metric)}"
    return {
        "metric": metric.name,
        "role": metric.role.value,
        "outcome": metric.outcome.value,
        "baseline": _level(comparison.baseline, metric) if comparison else "-",
        "canary": _level(comparison.canary, metric) if comparison else "-",
        "effect": _effect(comparison.effect, comparison, metric, missing="new events") if comparison else "-",
        "interval": _interval(metric),
        "margin": bound,
    }


def _headline(judgement: Judgement) -> str:
    action = judgement.action.value.replace("_", " ")
    text = f"{judgement.verdict.value.upper()}  score {judgement.score:.1f}  ->  {action}"
    return text + ("" if judgement.sufficient else "  (not enough evidence)")


def _subtitle(judgement: Judgement) -> str:
    def side(labels: dict[str, str]) -> str:
        return ", ".join(f"{name}={value}" for name, value in labels.items()) or "unlabelled"

    end = judgement.end.strftime("%H:%M:%S" if judgement.start.date() == judgement.end.date() else "%Y-%m-%d %H:%M:%S")
    return (
        f"{judgement.name}: canary ({side(judgement.canary)}) against baseline ({side(judgement.baseline)}), "
        f"{judgement.start:%Y-%m-%d %H:%M:%S} to {end} UTC"
    )


# --- text --------------------------------------------------------------------------------------------------------


def to_text(judgement: Judgement, *, color: bool = False) -> str:
    """Verdict, reasons, a table with a line per metric, what is missing, warnings."""

    def paint(text: str, key: Outcome | Verdict) -> str:
        return f"{_ANSI[_TONE.get(key, _OPEN)]}{text}\x1b[0m" if color else text

    rows = [_row(metric) for metric in judgement.metrics]
    columns = list(rows[0]) if rows else []
    width = {name: max(len(name), *(len(row[name]) for row in rows)) for name in columns}
    lines = [paint(_headline(judgement), judgement.verdict), _subtitle(judgement)]
    lines += [_stage(judgement)] if judgement.look is not None or judgement.traffic is not None else []
    lines += ["", "Why:"]
    lines += [f"  - {reason}" for reason in judgement.reasons]
    lines += ["", "  ".join(name.ljust(width[name]) for name in columns).rstrip()]
    for metric, row in zip(judgement.metrics, rows, strict=True):
        cells = [row[name].ljust(width[name]) for name in columns]
        cells[2] = paint(cells[2], metric.outcome)
        lines.append("  ".join(cells).rstrip())
    scored = [group for group in judgement.groups if group.score is not None]
    if len(scored) > 1:
        lines += ["", "Groups: " + ", ".join(f"{g.name} {g.score:.0f} (weight {g.weight:g})" for g in scored)]
    missing = [metric for metric in judgement.metrics if metric.shortfall is not None]
    if missing:
        lines += ["", "Still missing:"]
        lines += [f"  - {metric.name}: {metric.shortfall.text}" for metric in missing if metric.shortfall]
    if said := _all_warnings(judgement):
        lines += ["", "Warnings:"] + [f"  - {text}" for text in said]
    return "\n".join(lines)


def _stage(judgement: Judgement) -> str:
    """Where in a run of looks this stands, and the traffic split."""
    parts = []
    look = judgement.look
    if look is not None:
        seconds = (judgement.end - judgement.start).total_seconds()
        parts.append(f"look {look.number}, {_span(seconds)}")
        if look.horizon_seconds is not None:
            parts[-1] += f" of {_span(look.horizon_seconds)}" + (" (planned end reached)" if look.ended else "")
        if look.left_out:
            parts.append(f"{_span(look.left_out * judgement.interval_seconds)} of warm-up left out")
        if look.seconds_to_decision:
            parts.append(f"decision expected within {_span(look.seconds_to_decision)}")
    split = judgement.traffic
    if split is not None and split.observed is not None:
        parts.append(
            f"canary gets {100 * split.observed:.3g} % of the traffic ({100 * split.configured:g} % configured)"
        )
    return "; ".join(parts)


def _span(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def to_board(judgement: Judgement, *, false_pass_rate: float, color: bool = False, ascii_only: bool = False) -> str:
    """A run of looks at a glance: evidence of harm and of safety, each as a bar that is full where it decides.

    Args:
        judgement: Of this look.
        false_pass_rate: The config's, against which the evidence of safety is held.
        color: With ANSI colours.
        ascii_only: For terminals that know no block characters.
    """
    full, empty = ("#", ".") if ascii_only else ("\u2588", "\u2591")

    def paint(text: str, key: Outcome | Verdict) -> str:
        return f"{_ANSI[_TONE.get(key, _OPEN)]}{text}\x1b[0m" if color else text

    def bar(p: float | None, level: float) -> str:
        if p is None:
            return "-"
        part = 1.0 if p <= level else max(0.0, math.log(max(p, 1e-300)) / math.log(level))
        # a bar is full only when the threshold is reached
        filled = 10 if part >= 1 else min(int(10 * part), 9)
        return full * filled + empty * (10 - filled) + f" {math.floor(100 * part):>3} %"

    rows = []
    for metric in judgement.metrics:
        row = _row(metric)
        rows.append(
            {
                **{
                    key: row[key] for key in ("metric", "outcome", "baseline", "canary", "effect", "interval", "margin")
                },
                "harm beyond margin": bar(metric.p_beyond, judgement.false_alarm_rate),
                "within margin": bar(metric.p_within, false_pass_rate),
            }
        )
    columns = list(rows[0])
    width = {name: max(len(name), *(len(row[name]) for row in rows)) for name in columns}
    lines = [paint(_headline(judgement), judgement.verdict), _subtitle(judgement), _stage(judgement), ""]
    lines.append("  ".join(name.ljust(width[name]) for name in columns).rstrip())
    for metric, row in zip(judgement.metrics, rows, strict=True):
        cells = [row[name].ljust(width[name]) for name in columns]
        cells[1] = paint(cells[1], metric.outcome)
        lines.append("  ".join(cells).rstrip())
    missing = [metric for metric in judgement.metrics if metric.shortfall is not None]
    lines += [""] if missing else []
    lines += [f"  {metric.name}: {metric.shortfall.text}" for metric in missing if metric.shortfall]
    if judgement.traffic is not None and judgement.traffic.finding:
        lines += ["", f"  traffic split: {judgement.traffic.finding}"]
    return "\n".join(lines)


def _all_warnings(judgement: Judgement) -> list[str]:
    own = [f"{metric.name}: {text}" for metric in judgement.metrics for text in metric.warnings]
    return own + list(judgement.warnings)


# --- DataFrame ---------------------------------------------------------------------------------------------------


def to_frame(judgement: Judgement) -> pd.DataFrame:
    """One row per metric; evidence, limit, shortfall and quality as prefixed columns."""
    import pandas as pd  # noqa: PLC0415  (only where a frame is asked for)

    data = _adapter().dump_python(judgement, mode="json")
    rows = []
    for metric in data["metrics"]:
        row: dict[str, Any] = {}
        for key, value in metric.items():
            if key == "warnings":
                row[key] = "; ".join(value)
            elif isinstance(value, dict):
                row |= {f"{key}_{name}": inner for name, inner in value.items() if name != "interval"}
                if "interval" in value:
                    row["interval_low"], row["interval_high"] = value["interval"]
            elif key not in {"comparison", "limit", "shortfall", "quality"}:
                row[key] = value
        rows.append({name.removeprefix("comparison_"): value for name, value in row.items()})
    return pd.DataFrame(rows).set_index("name")


# --- HTML --------------------------------------------------------------------------------------------------------


def to_html(judgement: Judgement) -> str:
    """A self-contained fragment for notebooks: verdict, reasons, a table with a picture of each effect."""
    tone = _HEX[_TONE.get(judgement.verdict, _OPEN)]
    rows = "".join(_html_row(metric) for metric in judgement.metrics)
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in judgement.reasons)
    missing = "".join(
        f"<li>{html.escape(metric.name)}: {html.escape(metric.shortfall.text)}</li>"
        for metric in judgement.metrics
        if metric.shortfall
    )
    warned = "".join(f"<li>{html.escape(text)}</li>" for text in _all_warnings(judgement))
    more = f"<p style='margin:8px 0 2px'><b>Still missing</b></p><ul style='margin:0'>{missing}</ul>" if missing else ""
    more += f"<p style='margin:8px 0 2px'><b>Warnings</b></p><ul style='margin:0'>{warned}</ul>" if warned else ""
    head = "".join(
        f"<th style='text-align:left;padding:3px 10px 3px 0'>{name}</th>"
        for name in (
            "metric",
            "outcome",
            "baseline",
            "canary",
            "effect",
            "interval",
            "margin",
            "0 &#8596; margin",
        )
    )
    return (
        "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.4;color:#1f2328;background:#fff;"
        "padding:10px;max-width:1100px'>"
        f"<div style='border-left:6px solid {tone};padding:2px 10px'>"
        f"<b style='font-size:16px;color:{tone}'>{html.escape(_headline(judgement))}</b><br>"
        f"<span style='color:#59636e'>{html.escape(_subtitle(judgement))}"
        f"{'<br>' + html.escape(stage) if (stage := _stage(judgement)) else ''}</span></div>"
        f"<ul style='margin:8px 0'>{reasons}</ul>"
        f"<table style='border-collapse:collapse;font-size:12px'><tr>{head}</tr>{rows}</table>{more}</div>"
    )


def _html_row(metric: MetricResult) -> str:
    row = _row(metric)
    tone = _HEX[_TONE.get(metric.outcome, _OPEN)]
    role = "" if metric.role is Role.GATE else f" <span style='color:#59636e'>({metric.role.value})</span>"
    cells = [
        f"<b>{html.escape(metric.name)}</b>{role}",
        f"<b style='color:{tone}'>{metric.outcome.value}</b>",
        *(html.escape(row[key]) for key in ("baseline", "canary", "effect", "interval", "margin")),
        _picture(metric, tone),
    ]
    body = "".join(f"<td style='padding:3px 10px 3px 0;white-space:nowrap'>{cell}</td>" for cell in cells)
    return f"<tr title='{html.escape(metric.reason, quote=True)}' style='border-top:1px solid #d1d9e0'>{body}</tr>"


def _picture(metric: MetricResult, tone: str) -> str:
    """The interval of the effect on a line from no effect (0) to the margin (1), cut off at -2 and 4."""
    comparison = metric.comparison
    if comparison is None or comparison.margin is None or comparison.effect is None:
        return ""
    neutral = 1.0 if comparison.scale is Scale.RATIO else 0.0
    span = comparison.margin - neutral
    if span == 0:
        return ""

    def x(value: float | None, missing: float) -> float:
        position = missing if value is None else (value - neutral) / span
        return round(10 + 180 * (min(max(position, -2.0), 4.0) + 2) / 6, 1)

    low, high = comparison.interval
    ends = sorted((x(low, -2.0 if span > 0 else 4.0), x(high, 4.0 if span > 0 else -2.0)))
    zero, bound = x(neutral, 0), x(comparison.margin, 1)
    return (
        "<svg width='200' height='18' role='img' aria-label='interval of the effect against the margin'>"
        f"<rect x='{zero}' y='1' width='{round(bound - zero, 1)}' height='16' fill='#eaeef2'/>"
        f"<line x1='{zero}' x2='{zero}' y1='0' y2='18' stroke='#818b98'/>"
        f"<line x1='{bound}' x2='{bound}' y1='0' y2='18' stroke='#cf222e' stroke-dasharray='3 2'/>"
        f"<line x1='{ends[0]}' x2='{ends[1]}' y1='9' y2='9' stroke='{tone}' stroke-width='3'/>"
        f"<circle cx='{x(comparison.effect, 0)}' cy='9' r='4' fill='{tone}'/></svg>"
    )
