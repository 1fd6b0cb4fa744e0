"""What a table calls its sides: another name than ours, or ours in other letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from canary_judge.moments import UserMoments
from canary_judge.results import Side
from canary_judge.sources.sql_database import Database
from canary_judge.sources.sql_tables import Activity, table_of
from canary_judge.untrusted import printable

__all__ = ["Names"]

# So many sides are named, and so many are looked at.
_MOST_SIDES, _MOST_NAMES = 6, 50
# A larger share of a side's rows under a name like its own is missing.
_FEW_MISSPELT = 0.01


class Names:
    """The names of sides in the table that tells them.

    Args:
        database: Where it is.
        activity: What users did.
        example: Gives a time of that table, as the database has it.
    """

    def __init__(self, database: Database, activity: Activity, example: Callable[[], object]) -> None:
        self._database, self._activity, self._example = database, activity, example
        self._asked: dict[tuple[int, tuple[str, ...]], tuple[int, str | None]] = {}
        given = activity.assignments
        self.column = (activity.side if given is None else given.side) or "side"

    def unknown(self, since: int, called: Sequence[str], moments: Mapping[Side, UserMoments]) -> tuple[str, ...]:
        """Of sides without a row: what else the table calls its sides."""
        empty = [side for side, one in moments.items() if not one.rows and not one.anonymous]
        if not empty:
            return ()
        return _unknown(self._rows(since)[:_MOST_SIDES], dict(zip(Side, called, strict=True)), empty, self.column)

    def misspelt(self, since: int, called: tuple[str, ...], moments: Mapping[Side, UserMoments]) -> str | None:
        """Why rows of a side are left out; asked anew where there are twice as many: it reads all of them."""
        rows = sum(one.rows for one in moments.values())
        asked, answer = self._asked.get((since, called), (0, None))
        if rows and rows >= 2 * asked:
            answer = _misspelt(self._rows(since), dict(zip(Side, called, strict=True)))
            self._asked[since, called] = rows, answer
        return answer

    def _rows(self, since: int) -> Sequence[Sequence[Any]]:
        """How often each name is there."""
        since_there = self._database.comparable(since, self._example(), self._activity.timestamp)
        return self._database.rows(_sides_in(self._activity, since_there), _MOST_NAMES)[1]


def _sides_in(activity: Activity, since: Any) -> Any:
    """What asks how often each side's name stands in the table that tells sides, of users who did something since."""
    given = activity.assignments
    did = table_of(activity.table, activity.side or "side", activity.timestamp, activity.user)
    lately = did.c[activity.timestamp] > since
    if given is None:
        column, where = did.c[activity.side or "side"], lately
    else:  # other experiments, too, assign users there
        table = table_of(given.table, given.side, given.user)
        column = table.c[given.side]
        where = table.c[given.user].in_(sa.select(did.c[activity.user]).where(lately))
    rows = sa.func.count()
    return (
        sa.select(column, rows)
        .where(column.is_not(None), where)
        .group_by(column)
        .order_by(rows.desc())
        .limit(_MOST_NAMES)
    )


def _unknown(
    rows: Sequence[Sequence[Any]], called: Mapping[Side, str], empty: Sequence[Side], column: str
) -> tuple[str, ...]:
    """What `_sides_in` says of sides without a row; nothing where these have only not begun."""
    there = {str(name): int(number) for name, number in rows}
    if set(there) <= set(called.values()):
        return ()
    names = ", ".join(f"{printable(repr(name))} ({number:,} rows)" for name, number in there.items())
    return tuple(
        f"no row has {called[side]!r} for the {side}; the table's sides are {names}: name them with labels, as "
        f"{side}: {{{column}: ...}}"
        for side in empty
        if called[side] not in there
    )


def _misspelt(rows: Sequence[Sequence[Any]], called: Mapping[Side, str]) -> str | None:
    """Why rows of a side may be left out: what `_sides_in` gives has its name in other letters, or with spaces."""
    there = {str(name): int(number) for name, number in rows}
    for side, name in called.items():
        alike = {
            other: number
            for other, number in there.items()
            if other not in called.values() and other.strip().casefold() == name.strip().casefold()
        }
        if sum(alike.values()) > _FEW_MISSPELT * (there.get(name, 0) + sum(alike.values())):
            names = ", ".join(f"{printable(repr(other))} ({number:,} rows)" for other, number in alike.items())
            return f"the {side} is {name!r}, and rows that say {names} are left out: are they its, too? Clean the table"
    return None
