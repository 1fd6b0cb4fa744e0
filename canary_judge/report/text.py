"""A judgement for a terminal: the whole report, and the board of a run of looks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from canary_judge.report.rows import COLUMNS, Tone, headline, missing, reasons, row, standing, subtitle, tone, warnings
from canary_judge.results import Judgement, Outcome, Verdict
from canary_judge.untrusted import printable

__all__ = ["in_short", "to_board", "to_text"]

_ANSI = {Tone.GOOD: "\x1b[32m", Tone.OPEN: "\x1b[33m", Tone.BAD: "\x1b[31m"}
_BAR = 10  # characters
_NARROWEST, _SHORTEST_NAME = 30, 8
# What a narrow terminal does without, in this order.
_DROPPED = ("role", "baseline", "canary", "margin", "effect", "within margin", "deciding", "harm beyond margin")


def in_short(judgement: Judgement) -> str:
    """A line for a log: verdict, score, action, the first reason."""
    why = reasons(judgement)
    more = f" (and {len(why) - 1} more)" if len(why) > 1 else ""
    return printable(f"{judgement.name}: {headline(judgement)}: {why[0] if why else ''}{more}")


def to_text(judgement: Judgement, *, color: bool = False, width: int | None = None) -> str:
    """Verdict, reasons, a table with a line per metric, what is missing, warnings.

    Args:
        judgement: Of any kind.
        color: With ANSI colours.
        width: Longest line; a table that is wider loses the columns that say least, and texts are wrapped.
    """
    lines = [_painted(headline(judgement), judgement.verdict, color=color), *_wrapped(subtitle(judgement), width)]
    if judgement.look is not None or judgement.traffic is not None:
        lines += _wrapped(standing(judgement), width)
    lines += ["", "Why:"]
    lines += [line for reason in reasons(judgement) for line in _wrapped(f"  - {reason}", width)]
    lines += ["", *_table(judgement, [row(metric) for metric in judgement.metrics], color=color, width=width)]
    scored = [group for group in judgement.groups if group.score is not None]
    if len(scored) > 1:
        lines += [
            "",
            "Groups: " + ", ".join(f"{printable(g.name)} {g.score:.0f} (weight {g.weight:g})" for g in scored),
        ]
    for title, texts in (("Still missing:", missing(judgement)), ("Warnings:", warnings(judgement))):
        if texts:
            lines += ["", title, *(line for text in texts for line in _wrapped(f"  - {text}", width))]
    return "\n".join(lines)


def to_board(
    judgement: Judgement,
    *,
    false_pass_rate: float,
    color: bool = False,
    ascii_only: bool = False,
    width: int | None = None,
) -> str:
    """A run of looks at a glance: evidence of harm and of safety, each as a bar that is full where it decides.

    Args:
        judgement: Of this look.
        false_pass_rate: The config's, against which the evidence of safety is held.
        color: With ANSI colours.
        ascii_only: For terminals that know no block characters.
        width: As for `to_text`.
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
    lines = [title, *_wrapped(subtitle(judgement), width), *_wrapped(standing(judgement), width), ""]
    lines += _table(judgement, rows, color=color, width=width)
    if needs := missing(judgement):
        lines += ["", *(line for text in needs for line in _wrapped(f"  {text}", width))]
    if judgement.traffic is not None and judgement.traffic.finding:
        lines += ["", f"  traffic split: {printable(judgement.traffic.finding)}"]
    return "\n".join(lines)


def _painted(text: str, key: Outcome | Verdict, *, color: bool) -> str:
    return f"{_ANSI[tone(key)]}{text}\x1b[0m" if color else text


def _wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most so many characters, the later ones indented as the first."""
    if width is None or len(text) <= width:
        return [text]
    head = len(text) - len(text.lstrip(" -"))
    return textwrap.wrap(text, max(width, _NARROWEST), subsequent_indent=" " * head, break_on_hyphens=False)


def _table(judgement: Judgement, rows: Sequence[dict[str, str]], *, color: bool, width: int | None) -> list[str]:
    """A header and a line per metric, whose outcome is coloured."""
    columns = list(rows[0]) if rows else []
    wide = {name: max(len(name), *(len(cells[name]) for cells in rows)) for name in columns}
    if width is not None:
        for name in _DROPPED:
            if sum(wide[one] + 2 for one in columns) - 2 > width and name in columns:
                columns.remove(name)
        over = sum(wide[one] + 2 for one in columns) - 2 - width
        if over > 0 and "metric" in columns:  # the names of metrics are cut last
            wide["metric"] = max(wide["metric"] - over, _SHORTEST_NAME)
    lines = ["  ".join(name.ljust(wide[name]) for name in columns).rstrip()]
    for metric, cells in zip(judgement.metrics, rows, strict=True):
        padded = {name: _cut(cells[name], wide[name]).ljust(wide[name]) for name in columns}
        padded["outcome"] = _painted(padded["outcome"], metric.outcome, color=color)
        lines.append("  ".join(padded.values()).rstrip())
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."


def _bar(p: float | None, level: float, *, ascii_only: bool) -> str:
    if p is None:
        return "-"
    full, empty = ("#", ".") if ascii_only else ("\u2588", "\u2591")
    part = 1.0 if p <= level else max(0.0, math.log(max(p, 1e-300)) / math.log(level))
    # a bar is full only when the threshold is reached
    filled = _BAR if part >= 1 else min(int(_BAR * part), _BAR - 1)
    return full * filled + empty * (_BAR - filled) + f" {math.floor(100 * part):>3} %"
