"""The page of a run: the judgement's own HTML, and what the looks before said. No script, nothing from elsewhere."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from canary_judge.report import to_html
from canary_judge.service.answers import Answer
from canary_judge.service.shown import one_line
from canary_judge.service.store import Look, Run
from canary_judge.wording import sides, span

__all__ = ["page_of", "page_of_all"]

_STYLE = """
:root{color-scheme:light dark;--line:#d0d7de;--soft:#57606a;--good:#1a7f37;--open:#7d4e00;--bad:#b3202c;
--back:#fff;--text:#1f2328}
@media (prefers-color-scheme:dark){:root{--line:#3d444d;--soft:#a8b0ba;--good:#4ac26b;--open:#e0a83a;--bad:#ff8182;
--back:#0d1117;--text:#e6edf3}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1100px;padding:16px;font:15px/1.5 system-ui,sans-serif;background:var(--back);
color:var(--text)}
h1{font-size:1.3rem;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:24px 0 8px}
p{margin:4px 0}.soft{color:var(--soft)}
.note{border-left:5px solid var(--open);padding:4px 12px;margin:12px 0}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px;padding:4px}
.wide:focus-visible,a:focus-visible{outline:3px solid #0969da;outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:14px}
.looks th,.looks td{text-align:left;padding:4px 12px 4px 4px;border-bottom:1px solid var(--line);vertical-align:top}
.looks td:not(:last-child){white-space:nowrap}
.pass{color:var(--good)}.marginal{color:var(--open)}.fail{color:var(--bad)}
a{color:inherit}
@media (max-width:640px){.looks thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.looks tr{display:block;padding:6px 0;border-bottom:1px solid var(--line)}
.looks td{display:inline-block;border:0;padding:2px 8px 2px 0}.looks td:last-child{display:block}
.looks td:not(:last-child){white-space:normal}}
""".replace("\n", "")
_SHOWN = 200


def _document(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'><meta name='robots' content='noindex'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def page_of(answer: Answer, looks: Sequence[Look]) -> str:
    """The page of one run."""
    run, judgement = answer.run, answer.judgement
    compared = sides(baseline=run.baseline, canary=run.canary)
    facts = [
        f"state <b>{html.escape(run.state)}</b>",
        f"began {_moment(run.begun.timestamp())}",
        "no planned end" if run.length is None else f"planned for {html.escape(span(run.length.total_seconds()))}",
        "no look yet" if run.looked is None else f"last look {_moment(run.looked)}",
    ]
    if run.weight is not None:
        facts.append(f"canary gets {run.weight:g} %")
    note = (
        f"<p class='note'><b>{'blind' if answer.blind else 'stale'}</b>: {_text(answer.why)}</p>" if answer.why else ""
    )
    shown = (
        "<p>No look yet.</p>"
        if judgement is None
        else f"<div class='wide judgement' tabindex='0' role='region' aria-label='judgement'>{to_html(judgement)}</div>"
    )
    which = f"key {_text(run.key)}, attempt {run.attempt}, config {_text(run.config_hash[:12])}"
    return _document(
        f"{run.config_name}: {answer.verdict}",
        f"<h1>{_text(run.config_name)}: {_text(compared)}</h1><p class='soft'>{', '.join(facts)}</p>"
        f"<p class='soft'><a href='../runs'>all runs</a>; {which}</p>"
        f"{note}{shown}{_history(looks)}",
    )


def _history(looks: Sequence[Look]) -> str:
    """The looks, the newest first; a row for those in a row that said the same."""
    if not looks:
        return ""
    rows = []
    for _, same in itertools.groupby(looks, key=lambda look: (look.verdict, look.score, look.weight, look.reason)):
        first, *rest = same
        last = rest[-1] if rest else first
        times = _moment(first.moment)
        if rest:
            end = _moment(last.moment)
            times += f" to {end[11:] if end[:10] == times[:10] else end} ({len(rest) + 1} looks)"
        rows.append(
            f"<tr><td>{times}</td><td class='{last.verdict}'><b>{last.verdict}</b></td><td>{last.score:.1f}</td>"
            f"<td>{'-' if last.weight is None else f'{last.weight:g} %'}</td><td>{_text(last.reason)}</td></tr>"
        )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("data until", "verdict", "score", "weight", "why"))
    left_out = f"<p class='soft'>The newest {_SHOWN} of {len(rows)}.</p>" if len(rows) > _SHOWN else ""
    shown = "".join(rows[::-1][:_SHOWN])
    return (
        f"<h2>The looks</h2>{left_out}<div class='wide' tabindex='0' role='region' aria-label='looks'>"
        f"<table class='looks'><thead><tr>{head}</tr></thead><tbody>{shown}</tbody></table></div>"
    )


def page_of_all(runs: Sequence[Run]) -> str:
    """The newest runs."""
    rows = "".join(
        f"<tr><td>{_moment(run.begun.timestamp())}</td><td><a href='runs/{run.id}'>{_text(run.config_name)}</a></td>"
        f"<td>{_text(sides(baseline=run.baseline, canary=run.canary))}</td><td>{_text(run.state)}</td>"
        f"<td class='{run.verdict or ''}'><b>{run.verdict or '-'}</b></td></tr>"
        for run in runs
    )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("began", "config", "versions", "state", "verdict"))
    table = (
        f"<div class='wide' tabindex='0' role='region' aria-label='runs'><table class='looks'><thead><tr>{head}</tr>"
        f"</thead><tbody>{rows}</tbody></table></div>"
    )
    return _document("canary_judge: runs", f"<h1>Runs</h1>{table if runs else '<p>None yet.</p>'}")


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _text(text: str) -> str:
    return html.escape(one_line(text))
