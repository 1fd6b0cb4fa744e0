"""A judgement for a terminal: the whole report, and the board of a run of looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from canary_judge.report.rows import COLUMNS, Tone, headline, missing, reasons, row, standing, subtitle, tone, warnings
from canary_judge.results import Judgement, Outcome, Verdict
from canary_judge.wording import printable

__all__ = ["to_board", "to_text"]

_ANSI = {Tone.GOOD: "\x1b[32m", Tone.OPEN: "\x1b[33m", Tone.BAD: "\x1b[31m"}
_BAR = 10  # characters


def to_text(judgement: Judgement, *, color: bool = False) -> str:
    """Verdict, reasons, a table with a line per metric, what is missing, warnings."""
    lines = [_painted(headline(judgement), judgement.verdict, color=color), subtitle(judgement)]
    lines += [standing(judgement)] if judgement.look is not None or judgement.traffic is not None else []
    lines += ["", "Why:"]
    lines += [f"  - {reason}" for reason in reasons(judgement)]
    lines += ["", *_table(judgement, [row(metric) for metric in judgement.metrics], color=color)]
    scored = [group for group in judgement.groups if group.score is not None]
    if len(scored) > 1:
        lines += [
            "",
            "Groups: " + ", ".join(f"{printable(g.name)} {g.score:.0f} (weight {g.weight:g})" for g in scored),
        ]
    for title, texts in (("Still missing:", missing(judgement)), ("Warnings:", warnings(judgement))):
        if texts:
            lines += ["", title, *(f"  - {text}" for text in texts)]
    return "\n".join(lines)


def to_board(judgement: Judgement, *, false_pass_rate: float, color: bool = False, ascii_only: bool = False) -> str:
    """A run of looks at a glance: evidence of harm and of safety, each as a bar that is full where it decides.

    Args:
        judgement: Of this look.
        false_pass_rate: The config's, against which the evidence of safety is held.
        color: With ANSI colours.
        ascii_only: For terminals that know no block characters.
    """
    rows = []
    for metric in judgement.metrics:
        cells = row(metric)
        rows.append(
            {
                **{key: cells[key] for key in ("metric", "outcome", *COLUMNS)},
                "harm beyond margin": _bar(metric.p_beyond, judgement.false_alarm_rate, ascii_only=ascii_only),
                "within margin": _bar(metric.p_within, false_pass_rate, ascii_only=ascii_only),
            }
        )
    title = _painted(headline(judgement), judgement.verdict, color=color)
    lines = [title, subtitle(judgement), standing(judgement), "", *_table(judgement, rows, color=color)]
    if needs := missing(judgement):
        lines += ["", *(f"  {text}" for text in needs)]
    if judgement.traffic is not None and judgement.traffic.finding:
        lines += ["", f"  traffic split: {printable(judgement.traffic.finding)}"]
    return "\n".join(lines)


def _painted(text: str, key: Outcome | Verdict, *, color: bool) -> str:
    return f"{_ANSI[tone(key)]}{text}\x1b[0m" if color else text


def _table(judgement: Judgement, rows: Sequence[dict[str, str]], *, color: bool) -> list[str]:
    """A header and a line per metric, whose outcome is coloured."""
    columns = list(rows[0]) if rows else []
    width = {name: max(len(name), *(len(cells[name]) for cells in rows)) for name in columns}
    lines = ["  ".join(name.ljust(width[name]) for name in columns).rstrip()]
    for metric, cells in zip(judgement.metrics, rows, strict=True):
        padded = {name: cells[name].ljust(width[name]) for name in columns}
        padded["outcome"] = _painted(padded["outcome"], metric.outcome, color=color)
        lines.append("  ".join(padded.values()).rstrip())
    return lines


def _bar(p: float | None, level: float, *, ascii_only: bool) -> str:
    if p is None:
        return "-"
    full, empty = ("#", ".") if ascii_only else ("\u2588", "\u2591")
    part = 1.0 if p <= level else max(0.0, math.log(max(p, 1e-300)) / math.log(level))
    # a bar is full only when the threshold is reached
    filled = _BAR if part >= 1 else min(int(_BAR * part), _BAR - 1)
    return full * filled + empty * (_BAR - filled) + f" {math.floor(100 * part):>3} %"
