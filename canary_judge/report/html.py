"""A judgement for a notebook: a self-contained fragment with a picture of each effect."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from canary_judge.config.model import JudgeConfig
from canary_judge.report.rows import COLUMNS, Tone, headline, missing, reasons, row, standing, subtitle, tone, warnings
from canary_judge.results import Judgement, MetricResult, Role, Scale
from canary_judge.series import format_duration
from canary_judge.wording import html_table

__all__ = ["config_to_html", "metric_to_html", "to_html"]

# The picture's ends, in margins from no effect.
_FIRST, _LAST = -2.0, 4.0
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
        "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.4;color:inherit;"
        "background:transparent;padding:10px;max-width:1100px'>"
        f"<div style='border-left:6px solid {colour};padding:2px 10px'>"
        f"<b style='font-size:16px;color:{colour}'>{html.escape(headline(judgement))}</b><br>"
        f"<span style='opacity:.75'>{html.escape(subtitle(judgement))}"
        f"{'<br>' + html.escape(stage) if stage else ''}</span></div>"
        f"<ul style='margin:8px 0'>{_items(reasons(judgement))}</ul>"
        "<table style='border-collapse:collapse;font-size:12px;color:inherit'>"
        f"<tr>{head}</tr>{rows}</table>{more}</div>"
    )


def metric_to_html(metric: MetricResult) -> str:
    """One metric for a notebook: the row of the judgement, why, and what is missing."""
    head = "".join(
        f"<th style='text-align:left;padding:3px 10px 3px 0'>{name}</th>"
        for name in ("metric", "outcome", *COLUMNS, "0 &#8596; margin")
    )
    more = [metric.reason, *(() if metric.shortfall is None else (str(metric.shortfall.text),)), *metric.warnings]
    return (
        "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.4;color:inherit;"
        "background:transparent;padding:10px;max-width:1100px;overflow-x:auto'>"
        "<table style='border-collapse:collapse;font-size:12px;color:inherit'>"
        f"<tr>{head}</tr>{_html_row(metric)}</table><ul style='margin:8px 0'>{_items(more)}</ul></div>"
    )


def config_to_html(config: JudgeConfig) -> str:
    """A config for a notebook: a row for each metric."""
    rows = [
        [one.name, one.kind, one.harm.value, one.margin or "-", f"{one.limit or '-'}", one.role.value, one.source]
        for one in config.metrics
    ]
    rates = f"false alarms {config.false_alarm_rate:.3g}, false passes {config.false_pass_rate:.3g}"
    head = ["metric", "kind", "harm", "margin", "limit", "role", "source"]
    return html_table(config.name, head, rows, [f"every {format_duration(config.interval)}; {rates}"])


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(text)}</li>" for text in texts)


def _html_row(metric: MetricResult) -> str:
    cells = row(metric)
    colour = _HEX[tone(metric.outcome)]
    role = "" if metric.role is Role.GATE else f" <span style='opacity:.75'>({metric.role.value})</span>"
    shown = [
        f"<b>{html.escape(metric.name)}</b>{role}",
        f"<b style='color:{colour}'>{metric.outcome.value}</b>",
        *(html.escape(cells[key]) for key in COLUMNS),
        _picture(metric, colour),
    ]
    body = "".join(f"<td style='padding:3px 10px 3px 0;white-space:nowrap'>{cell}</td>" for cell in shown)
    why = html.escape(metric.reason, quote=True)
    return f"<tr title='{why}' style='border-top:1px solid rgba(128,128,128,.35)'>{body}</tr>"


def _picture(metric: MetricResult, colour: str) -> str:
    """The deciding interval on a line from no effect (0) to the margin (1), with arrows where it goes on."""
    comparison = metric.comparison
    if comparison is None or comparison.margin is None or metric.deciding is None:
        return ""
    neutral = 1.0 if comparison.scale is Scale.RATIO else 0.0
    span = comparison.margin - neutral
    if span == 0:
        return ""

    def position(value: float | None, missing: float) -> float:
        return missing if value is None else (value - neutral) / span

    def x(value: float) -> float:
        return round(10 + 180 * (min(max(value, _FIRST), _LAST) - _FIRST) / (_LAST - _FIRST), 1)

    low, high = metric.deciding
    far = math.inf if span > 0 else -math.inf
    places = sorted((position(low, -far), position(high, far)))
    zero, bound = x(0), x(1)
    return (
        "<svg width='200' height='18' role='img' aria-label='deciding interval of the effect against the margin'>"
        f"<rect x='{zero}' y='1' width='{round(bound - zero, 1)}' height='16' fill='rgba(128,128,128,.2)'/>"
        f"<line x1='{zero}' x2='{zero}' y1='0' y2='18' stroke='#818b98'/>"
        f"<line x1='{bound}' x2='{bound}' y1='0' y2='18' stroke='#cf222e' stroke-dasharray='3 2'/>"
        f"<line x1='{x(places[0])}' x2='{x(places[1])}' y1='9' y2='9' stroke='{colour}' stroke-width='3'/>"
        + (f"<path d='M1 9l8 -5v10z' fill='{colour}'/>" if places[0] < _FIRST else "")
        + (f"<path d='M199 9l-8 -5v10z' fill='{colour}'/>" if places[1] > _LAST else "")
        + (
            ""
            if comparison.effect is None
            else f"<circle cx='{x(position(comparison.effect, 0))}' cy='9' r='4' fill='{colour}'/>"
        )
        + "</svg>"
    )
