"""Statements of a config: their names become parameters, and their columns are told apart.

Nothing of a label ever becomes text of a statement: `'${version}'` is sent beside it as a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy

from canary_judge.errors import QueryError
from canary_judge.series import Query, Window
from canary_judge.untrusted import printable

__all__ = ["NO_LABELS", "bound", "column_of", "odd_text", "prepared", "sent_of", "value_of"]

_STRING = re.compile(r"'(?:[^']|'')*'")
_NAMED = re.compile(rf'{_STRING.pattern}|"[^"]*"')
# Texts and comments; these are not sent, for a colon in them is no parameter.
_QUOTED = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = re.compile(r"\$\{(\w+)\}")
_SORTABLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
# Columns that answer, and tell no series apart: one statement may count events and their total.
NO_LABELS = frozenset({"time", "value", "events", "total", "exposure"})


def bound(query: Query, window: Window) -> tuple[str, dict[str, object]]:
    """The statement with names in place of labels, and all values that go with it."""
    template = query.template or query.expression
    labels = dict(query.labels)
    template = _QUOTED.sub(lambda found: found[0] if found[0][0] == "'" else " ", template)
    # a label alone in quotes is a value, too; one in the middle of a text would have to become part of it
    text = re.sub(r"'\$\{(\w+)\}'", r"${\1}", template)
    if inside := next((one for one in _STRING.findall(text) if _NAME.search(one)), None):
        raise QueryError(f"a label stands inside of the text {inside}; write it alone, as || ${{version}} ||")
    text = _NAME.sub(r":label_\1", text)
    if not re.match(r"\s*(select|with)\b", text, re.IGNORECASE):
        text = "the statement must begin with SELECT or WITH (columns need unit_of_replication: user, or kind: mean)"
        raise QueryError(text)
    if re.search(r";\s*\S", _NAMED.sub("''", text)):
        raise QueryError("there is something behind the `;` of the statement; write one SELECT")
    if not re.search(r":start(_epoch)?\b", text) or not re.search(r":end(_epoch)?\b", text):
        raise QueryError(
            "the statement must say `:start` and `:end` (or `:start_epoch`, `:end_epoch`): rows of (start, end]"
        )
    known: dict[str, object] = {
        "start": window.start,
        "end": window.end,
        "start_epoch": window.start.timestamp(),
        "end_epoch": window.end.timestamp(),
        "step": query.step.total_seconds(),
        **{f"label_{name}": value for name, value in labels.items()},
    }
    asked = set(re.findall(r"(?<![:\w\\]):(\w+)", _STRING.sub("''", text)))
    if unknown := sorted(asked - known.keys()):
        name = unknown[0].removeprefix("label_")
        raise QueryError(f"`{name}` is not defined; there are {', '.join(sorted([*labels, 'start', 'end', 'step']))}")
    return text, {name: known[name] for name in asked}


def sent_of(query: Query, window: Window) -> object:
    """The statement with its values; None where there is none."""
    try:
        text, values = bound(query, window)
    except QueryError:
        return None
    return text, frozenset(values.items())


def prepared(text: str, values: Mapping[str, object]) -> sqlalchemy.TextClause:
    """The statement with its values beside it."""
    return sqlalchemy.text(text).bindparams(
        *(
            sqlalchemy.bindparam(name, value, sqlalchemy.DateTime(timezone=value.tzinfo is not None))
            if isinstance(value, datetime)
            else sqlalchemy.bindparam(name, value)
            for name, value in values.items()
        )
    )


def column_of(names: Sequence[str], part: str, *, alone: bool) -> int:
    """Which column answers a part; `value` does so where the statement answers no other part of the metric."""
    if "time" not in names:
        raise QueryError(f"the statement gives no column `time`; its columns are {', '.join(names)}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"the statement gives two columns {twice!r}; rename one")
    for name in (part, "value") if alone else (part,):
        if name in names:
            return names.index(name)
    known = f"`{part}` or `value`" if alone else f"`{part}`"
    raise QueryError(f"the statement gives no column {known}; its columns are {', '.join(names)}")


def odd_text(times: Iterable[object]) -> str | None:
    """What is wrong with times that are texts, and are compared with `:start` letter by letter."""
    odd = next((one for one in times if isinstance(one, str) and not _SORTABLE.match(one)), None)
    if odd is None:
        return None
    shown = printable(repr(odd))
    return f"the time {shown} does not sort beside 2026-01-01 12:00:00, as `:start` is sent: rows may be missing"


def value_of(value: object, name: str) -> float:
    """A number of a row; NaN for what is null."""
    if value is None:
        return float("nan")
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise QueryError(f"column {name!r} has {value!r}, which is no number") from None
