"""A judgement for a notebook: a self-contained fragment with a picture of each effect."""

from __future__ import annotations

import html
from collections.abc import Iterable

from canary_judge.report.rows import COLUMNS, Tone, headline, missing, reasons, row, standing, subtitle, tone, warnings
from canary_judge.results import Judgement, MetricResult, Role, Scale

__all__ = ["to_html"]

_HEX = {Tone.GOOD: "#1a7f37", Tone.OPEN: "#9a6700", Tone.BAD: "#cf222e"}


def to_html(judgement: Judgement) -> str:
    """A self-contained fragment for notebooks: verdict, reasons, a table with a picture of each effect."""
    colour = _HEX[tone(judgement.verdict)]
    rows = "".join(_html_row(metric) for metric in judgement.metrics)
    more = "".join(
        f"<p style='margin:8px 0 2px'><b>{title}</b></p><ul style='margin:0'>{_items(texts)}</ul>"
        for title, texts in (("Still missing", missing(judgement)), ("Warnings", warnings(judgement)))
        if texts
    )
    head = "".join(
        f"<th style='text-align:left;padding:3px 10px 3px 0'>{name}</th>"
        for name in ("metric", "outcome", *COLUMNS, "0 &#8596; margin")
    )
    stage = standing(judgement)
    return (
        "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.4;color:#1f2328;background:#fff;"
        "padding:10px;max-width:1100px'>"
        f"<div style='border-left:6px solid {colour};padding:2px 10px'>"
        f"<b style='font-size:16px;color:{colour}'>{html.escape(headline(judgement))}</b><br>"
        f"<span style='color:#59636e'>{html.escape(subtitle(judgement))}"
        f"{'<br>' + html.escape(stage) if stage else ''}</span></div>"
        f"<ul style='margin:8px 0'>{_items(reasons(judgement))}</ul>"
        f"<table style='border-collapse:collapse;font-size:12px'><tr>{head}</tr>{rows}</table>{more}</div>"
    )


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(text)}</li>" for text in texts)


def _html_row(metric: MetricResult) -> str:
    cells = row(metric)
    colour = _HEX[tone(metric.outcome)]
    role = "" if metric.role is Role.GATE else f" <span style='color:#59636e'>({metric.role.value})</span>"
    shown = [
        f"<b>{html.escape(metric.name)}</b>{role}",
        f"<b style='color:{colour}'>{metric.outcome.value}</b>",
        *(html.escape(cells[key]) for key in COLUMNS),
        _picture(metric, colour),
    ]
    body = "".join(f"<td style='padding:3px 10px 3px 0;white-space:nowrap'>{cell}</td>" for cell in shown)
    return f"<tr title='{html.escape(metric.reason, quote=True)}' style='border-top:1px solid #d1d9e0'>{body}</tr>"


def _picture(metric: MetricResult, colour: str) -> str:
    """The deciding interval on a line from no effect (0) to the margin (1), cut off at -2 and 4."""
    comparison = metric.comparison
    if comparison is None or comparison.margin is None or metric.deciding is None:
        return ""
    neutral = 1.0 if comparison.scale is Scale.RATIO else 0.0
    span = comparison.margin - neutral
    if span == 0:
        return ""

    def x(value: float | None, missing: float) -> float:
        position = missing if value is None else (value - neutral) / span
        return round(10 + 180 * (min(max(position, -2.0), 4.0) + 2) / 6, 1)

    low, high = metric.deciding
    ends = sorted((x(low, -2.0 if span > 0 else 4.0), x(high, 4.0 if span > 0 else -2.0)))
    zero, bound = x(neutral, 0), x(comparison.margin, 1)
    return (
        "<svg width='200' height='18' role='img' aria-label='deciding interval of the effect against the margin'>"
        f"<rect x='{zero}' y='1' width='{round(bound - zero, 1)}' height='16' fill='#eaeef2'/>"
        f"<line x1='{zero}' x2='{zero}' y1='0' y2='18' stroke='#818b98'/>"
        f"<line x1='{bound}' x2='{bound}' y1='0' y2='18' stroke='#cf222e' stroke-dasharray='3 2'/>"
        f"<line x1='{ends[0]}' x2='{ends[1]}' y1='9' y2='9' stroke='{colour}' stroke-width='3'/>"
        + (
            ""
            if comparison.effect is None
            else f"<circle cx='{x(comparison.effect, 0)}' cy='9' r='4' fill='{colour}'/>"
        )
        + "</svg>"
    )
