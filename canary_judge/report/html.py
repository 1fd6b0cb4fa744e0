"""A judgement as HTML: the picture that is read in five seconds, and everything behind it as text and a table."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable

from canary_judge.config.model import JudgeConfig
from canary_judge.pictures import bar_svg, colours, verdict_svg
from canary_judge.pictures.lettering import plain
from canary_judge.pictures.rows import healthy
from canary_judge.pictures.tokens import Theme
from canary_judge.report.rows import COLUMNS, headline, missing, reasons, row, standing, subtitle, tone, warnings
from canary_judge.results import Judgement, MetricResult, Verdict
from canary_judge.series import format_duration
from canary_judge.wording import html_table

__all__ = ["config_to_html", "metric_to_html", "to_html", "to_page"]

_HEADS = ("metric", "role", "outcome", *COLUMNS)
_CSS = (
    "{color:var(--cj-ink);background:var(--cj-paper);font:13px/1.4 system-ui,sans-serif;padding:10px;max-width:1100px;"
    "container-type:inline-size;overflow-wrap:anywhere}"
    "@ p{margin:2px 0}@ .cj-heading{font-size:15px;font-weight:700;margin:12px 0 2px}"
    "@ ul{margin:4px 0;padding-left:20px}"
    "@ .cj-soft,@ caption{color:var(--cj-dim)}@ caption{text-align:left;padding:8px 0 2px}"
    "@ .cj-table{overflow-x:auto}@ .cj-table:focus-visible{outline:2px solid var(--cj-ink)}"
    "@ table{border-collapse:collapse;font-size:12px;color:inherit;background:none;margin:0}"
    "@ tr{background:none}@ th,@ td{text-align:left;padding:3px 10px 3px 0;vertical-align:top;overflow-wrap:normal;"
    "border:0;border-top:1px solid var(--cj-track);color:inherit;background:none}"
    "@ th[scope=row]{min-width:9em;overflow-wrap:anywhere}"
    "@ .cj-good{color:var(--cj-small)}@ .cj-bad{color:var(--cj-bad)}@ .cj-open{color:var(--cj-dim)}"
    "@ svg{display:block}"
    # an SVG cannot reflow: there are two, and the room says which is shown
    "@container (max-width:559px){@ .cj-wide{display:none}@ .cj-narrow{display:block!important}}"
)


def _styled(body: str, theme: Theme) -> str:
    """The fragment in a class of its own, so that no other one on the page changes its colours."""
    key = "cjr" + hashlib.sha256(f"{body}{theme}".encode()).hexdigest()[:8]
    return f"<div class='{key}'>{_style(key, theme)}{body}</div>"


def _style(key: str, theme: Theme) -> str:
    return f"<style>{colours(f'.{key}', theme)}.{key}{_CSS.replace('@ ', f'.{key} ')}</style>"


def to_html(judgement: Judgement, *, theme: Theme = "auto") -> str:
    """A self-contained fragment: the picture at two widths, reasons, a table of every metric, what is missing.

    Args:
        judgement: Of any kind.
        theme: Of all its colours; `auto` follows the browser and the page around it.
    """
    stage = standing(judgement)
    body = (
        f"<div class='cj-wide'>{verdict_svg(judgement, theme=theme)}</div>"
        f"<div class='cj-narrow' style='display:none'>{verdict_svg(judgement, width=360, theme=theme)}</div>"
        f"{_heading(headline(judgement))}{_list('Contradiction', _contradiction(judgement))}"
        f"<p class='cj-soft'>{html.escape(subtitle(judgement))}</p>"
        + (f"<p class='cj-soft'>{html.escape(stage)}</p>" if stage else "")
        + f"{_list('Why', reasons(judgement))}{_table(judgement.metrics)}"
        + f"{_list('Still missing', missing(judgement))}{_list('Warnings', warnings(judgement))}"
    )
    return _styled(body, theme)


def _contradiction(judgement: Judgement) -> list[str]:
    """A file that somebody has edited says pass where nothing of the kind is shown."""
    if judgement.verdict is not Verdict.PASS or healthy(judgement):
        return []
    return ["the verdict is pass, but not every gate is shown safe, or a guard or the split is broken: do not advance"]


def _heading(text: str) -> str:
    """None of the page's own tags, whose outline a notebook shows beside it."""
    return f"<p class='cj-heading' role='heading' aria-level='2'>{html.escape(text)}</p>"


def _list(title: str, texts: list[str]) -> str:
    return f"{_heading(title)}<ul>{_items(texts)}</ul>" if texts else ""


def to_page(judgement: Judgement) -> str:
    """The same as a whole page in one file: no script, and nothing that is loaded from anywhere."""
    name = plain(judgement.name) or "canary"
    title = f"{name}: {headline(judgement)}"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>:root{{color-scheme:light dark}}{colours('.cj-page', 'auto')}"
        "body{margin:0;background:var(--cj-paper);color:var(--cj-ink)}main{max-width:1120px;margin:0 auto;padding:8px}"
        "h1{font:600 18px/1.3 system-ui,sans-serif;margin:8px 10px;overflow-wrap:anywhere}</style></head>"
        f"<body class='cj-page'><main><h1>{html.escape(name)}</h1>{to_html(judgement)}</main></body></html>"
    )


def metric_to_html(metric: MetricResult) -> str:
    """One metric for a notebook: its bar, the row of the judgement, why, and what is missing."""
    more = [metric.reason, *(() if metric.shortfall is None else (metric.shortfall.text,)), *metric.warnings]
    return _styled(f"{bar_svg(metric)}{_table([metric])}<ul>{_items(more)}</ul>", "auto")


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
    return "".join(f"<li>{html.escape(plain(text))}</li>" for text in texts)


def _table(metrics: Iterable[MetricResult]) -> str:
    """Every metric, those that only count in the score or are watched too; it may be wider than the room."""
    head = "".join(f"<th scope='col'>{name}</th>" for name in _HEADS)
    rows = "".join(_row(metric) for metric in metrics)
    return (
        "<div class='cj-table' tabindex='0' role='region' aria-label='metrics'><table>"
        "<caption>deciding: beyond the margin harm is shown, within it ruled out, across it undecided</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(metric: MetricResult) -> str:
    cells, weight = row(metric), tone(metric.outcome)
    outcome = f"<td class='cj-{weight.value}'><b>{metric.outcome.value}</b></td>"
    body = "".join(f"<td>{html.escape(cells[key])}</td>" for key in COLUMNS)
    return f"<tr><th scope='row'>{html.escape(cells['metric'])}</th><td>{metric.role.value}</td>{outcome}{body}</tr>"
