"""The statement that counts users in a database: one for all metrics, both sides, and all thirds of the time.

Built with SQLAlchemy, so that names are quoted and values are bound as each dialect does it. It needs nothing but sums,
joins and common table expressions (and a window, where a metric has a cap or sides are in a table of assignments):
covariances are sums of products of what is centred at the means of a first pass, for not all databases have
`covar_samp`, and sums of squares cancel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from canary_judge.errors import QueryError
from canary_judge.moments import UNEVEN, Moments, UserMoments
from canary_judge.results import Side
from canary_judge.series import PerUser
from canary_judge.sources.sql_tables import Activity, is_column, plain_columns, table_of
from canary_judge.sources.users import NOBODY

__all__ = ["Span", "statement", "to_moments"]

# Written out, so that what is bound are times, sides and caps.
_ZERO: Any = sa.literal_column("0")
_ONE: Any = sa.literal_column("1")
_TWO: Any = sa.literal_column("2")
_NOTHING: Any = sa.literal_column("0e0")
_UNIT: Any = sa.literal_column("1e0")
# Of a whole text; of two values some databases have a least one by this name.
_AGGREGATE = re.compile(r"\s*((count|sum|avg)\s*\((?!.*\bover\b)|(min|max)\s*\([^,]*\)\s*$)", re.IGNORECASE | re.DOTALL)
_SIDE = "side"
_PARTS = ("whole", "early", "late", "last")
_TOTALS = ("x", "y", "x0", "y0")
_UNEVEN = tuple(f"uneven_{times}" for times in UNEVEN)
_TIMES = ("earliest", "latest")
_PAIRS = list(combinations_with_replacement(range(4), 2))
# Numbers of a metric: means, covariances, the largest size and all of them.
_WIDTH = len(_TOTALS) + len(_PAIRS) + 2
# Bound values of these databases must not be compared with casts that they do not have.
_NO_CAST = ("mysql", "mariadb")


class Span(NamedTuple):
    """The time in which users are counted, and the time before the run, as the database compares its times.

    Attributes:
        since: Start, not part of it.
        until: Its end.
        early: End of its first third.
        late: Start of its last third.
        last: Start of its last twelfth.
        past: Start and end of the time before; None: it is not asked.
    """

    since: Any
    until: Any
    early: Any
    late: Any
    last: Any
    past: tuple[Any, Any] | None


def statement(
    activity: Activity, metrics: Sequence[PerUser], span: Span, sides: Mapping[Side, str], *, dialect: str
) -> sa.CompoundSelect[Any]:
    """What counts the users; its rows are read by `to_moments`.

    Args:
        activity: The tables.
        metrics: What is added up of each user; their `since` and `past` are in the span.
        span: The time.
        sides: How each side is called in the table.
        dialect: Of the database.

    Raises:
        QueryError: A numerator or denominator has a `${label}`, which would have to become text of the statement.
    """
    return _Statement(activity, metrics, span, sides, dialect).whole()


@dataclass(frozen=True, slots=True)
class _Statement:
    activity: Activity
    metrics: Sequence[PerUser]
    span: Span
    sides: Mapping[Side, str]
    dialect: str

    def whole(self) -> sa.CompoundSelect[Any]:
        users, past = self._users(), self._past()
        selects = [self._moments(users, past, part) for part in _PARTS]
        return sa.union_all(*selects, *(self._facts(users, past, side) for side in Side))

    # --- rows ---

    def _columns(self) -> list[str]:
        given = [self.activity.user, self.activity.timestamp, self.activity.side or _SIDE]
        return [*given, *plain_columns(self.metrics)]

    def _rows(self, start: Any, end: Any, name: str, *, with_side: bool) -> sa.CTE:
        """Rows of a span: u, t, their side s, and x1, y1, x2, ... of each metric."""
        table = table_of(self.activity.table, *self._columns())
        user, time = table.c[self.activity.user], table.c[self.activity.timestamp]
        columns: list[Any] = [self._binary(user).label("u"), time.label("t")]
        source: Any = table
        where = [self._after(time, start), self._upto(time, end)]
        side: Any = self._name(table.c[self.activity.side or _SIDE]) if self.activity.assignments is None else None
        if with_side:
            side, joined, source = self._side(table, user, time, end)
            where += [side.in_(list(self.sides.values())), *joined]
        canary = _ZERO if side is None else sa.case((side == self.sides[Side.CANARY], _ONE), else_=_ZERO)
        columns.append(canary.label("s"))
        for number, metric in enumerate(self.metrics):
            x = self._real(table, metric.numerator)
            undefined: Any = x.is_(None)
            columns.append(sa.func.coalesce(x, _NOTHING).label(f"x{number}"))
            if metric.denominator is not None:
                y = sa.func.coalesce(self._real(table, metric.denominator), _NOTHING)
                undefined = sa.and_(undefined, y != _NOTHING)
                columns.append(y.label(f"y{number}"))
                if self._runs(metric):
                    columns.append(y.label(f"w{number}"))
            columns.append(sa.case((undefined, _ONE), else_=_ZERO).label(f"n{number}"))
        rows = sa.select(*columns).select_from(source).where(*where).cte(name)
        return self._capped(rows, name) if any(self._runs(metric) for metric in self.metrics) else rows

    def _after(self, time: Any, bound: Any) -> Any:
        return time >= bound if self.activity.starts else time > bound

    def _upto(self, time: Any, bound: Any) -> Any:
        return time < bound if self.activity.starts else time <= bound

    def _binary(self, user: Any) -> Any:
        """A user as the bytes of his id: to many a collation Ann is ann."""
        return sa.cast(user, sa.LargeBinary) if self.dialect in _NO_CAST else user

    @staticmethod
    def _runs(metric: PerUser) -> bool:
        """Whether what follows the cap-th unit is left out."""
        return metric.cap is not None and metric.denominator is not None

    def _side(self, table: sa.TableClause, user: Any, time: Any, end: Any) -> tuple[Any, list[Any], Any]:
        """The side of a row, what joins it, and what is selected from."""
        given = self.activity.assignments
        if given is None:
            return self._name(table.c[self.activity.side or _SIDE]), [], table
        assigned = table_of(given.table, given.user, given.side, given.timestamp)
        who, since = assigned.c[given.user], assigned.c[given.timestamp]
        name = self._name(assigned.c[given.side])
        names = [sa.func.min(name).label("side"), sa.func.max(name).label("other")]
        until = sa.func.lead(since).over(partition_by=who, order_by=since).label("until")
        each = (
            sa.select(who.label("u"), *names, since.label("since"), until)
            .where(since <= end)
            .group_by(who, since)
            .cte("cj_assigned")
        )
        # who is assigned to both at one time is on both
        both = [
            sa.select(each.c.u, each.c[side].label("side"), each.c.since, each.c.until) for side in ("side", "other")
        ]
        ranges = sa.union_all(both[0], both[1].where(each.c.other != each.c.side)).cte("cj_ranges")
        valid = [time >= ranges.c.since, sa.or_(ranges.c.until.is_(None), time < ranges.c.until)]
        return ranges.c.side, valid, table.join(ranges, user == ranges.c.u)

    @staticmethod
    def _name(side: Any) -> Any:
        """The name of a side as text: to some databases a text is the number 0."""
        return sa.cast(side, sa.String(255))

    def _real(self, table: sa.TableClause, text: str) -> Any:
        """A column, or an expression of columns, as a float."""
        if "${" in text:
            raise QueryError(f"{text!r} has a label; of a metric by user only the side tells the versions apart")
        if _AGGREGATE.match(text):
            raise QueryError(
                f"{text!r} adds up rows, which is done for each user here: give what each row has, as 1 or a column"
            )
        known = table.c[text] if is_column(text) else sa.literal_column(f"({text})")
        return known * _UNIT if self.dialect in _NO_CAST else sa.cast(known, sa.Double)

    def _capped(self, rows: sa.CTE, name: str) -> sa.CTE:
        """The same without what follows the cap-th unit of a user's denominator."""
        running = [
            sa.func.sum(rows.c[f"y{number}"]).over(partition_by=rows.c.u, order_by=rows.c.t).label(f"r{number}")
            for number, metric in enumerate(self.metrics)
            if self._runs(metric)
        ]
        counted = sa.select(*rows.c, *running).cte(f"{name}_counted")
        columns: list[Any] = []
        for column in counted.c:
            number = column.name[1:]
            if column.name[0] in "xy" and number.isdigit() and self._runs(metric := self.metrics[int(number)]):
                within = counted.c[f"r{number}"] <= float(metric.cap or 0.0)
                columns.append(sa.case((within, column), else_=_NOTHING).label(column.name))
            elif column.name[0] != "r":
                columns.append(column)
        return sa.select(*columns).cte(f"{name}_capped")

    # --- users ---

    def _users(self) -> sa.CTE:
        """One row per user: rows and times on each side, and all totals of the whole time and of its parts."""
        rows = self._rows(self.span.since, self.span.until, "cj_activity", with_side=True)
        canary, time = rows.c.s, rows.c.t
        inside: dict[str, Any] = {
            "whole": None,
            "early": self._upto(time, self.span.early),
            "late": self._after(time, self.span.late),
            "last": self._after(time, self.span.last),
        }
        columns: list[Any] = [rows.c.u, sa.func.min(canary).label("s"), sa.func.max(canary).label("other")]
        for side in Side:
            mine = canary == (_ONE if side is Side.CANARY else _ZERO)
            columns += [
                sa.func.sum(sa.case((mine, _ONE), else_=_ZERO)).label(f"rows_{side}"),
                sa.func.min(sa.case((mine, time))).label(f"first_{side}"),
                sa.func.max(sa.case((mine, time))).label(f"last_{side}"),
                *self._of_side(rows, mine, side),
            ]
        for part, condition in inside.items():
            if condition is not None:
                columns.append(sa.func.max(sa.case((condition, _ONE), else_=_ZERO)).label(f"in_{part}"))
            for number, metric in enumerate(self.metrics):
                for total in ("x", "y") if metric.denominator is not None else ("x",):
                    value: Any = rows.c[f"{total}{number}"]
                    if condition is not None:
                        value = sa.case((condition, value), else_=_NOTHING)
                    columns.append(self._total(sa.func.sum(value), metric).label(f"{part}_{total}{number}"))
        return self._kept(sa.select(*columns).group_by(rows.c.u), "cj_users")

    def _of_side(self, rows: sa.CTE, mine: Any, side: Side) -> list[Any]:
        """Rows whose numerator is not known; and what the cap leaves out: all of it, and what is left."""
        found = []
        for number, metric in enumerate(self.metrics):
            found.append(sa.func.sum(sa.case((mine, rows.c[f"n{number}"]), else_=_ZERO)).label(f"n_{side}{number}"))
            if metric.cap is None:
                continue
            raw, left = ("w", "y") if self._runs(metric) else ("x", "x")
            whole, rest = (
                sa.func.sum(sa.case((mine, rows.c[f"{one}{number}"]), else_=_NOTHING)) for one in (raw, left)
            )
            found += [whole.label(f"w_{side}{number}"), self._total(rest, metric).label(f"l_{side}{number}")]
        return found

    def _past(self) -> sa.CTE | None:
        """One row per user: the totals before the run."""
        if self.span.past is None:
            return None
        rows = self._rows(*self.span.past, "cj_history", with_side=False)
        columns: list[Any] = [rows.c.u, _UNIT.label("there"), sa.func.sum(rows.c.s).label("canary")]
        for number, metric in enumerate(self.metrics):
            columns.append(self._total(sa.func.sum(rows.c[f"x{number}"]), metric).label(f"x{number}"))
            if metric.denominator is not None:
                columns.append(sa.func.sum(rows.c[f"y{number}"]).label(f"y{number}"))
        return self._kept(sa.select(*columns).group_by(rows.c.u), "cj_past")

    @staticmethod
    def _total(total: Any, metric: PerUser) -> Any:
        if metric.cap is None or metric.denominator is not None:
            return total
        # what is no number is larger than any in PostgreSQL, and is to be seen
        over = sa.and_(total > float(metric.cap), total < sa.literal_column("1e300"))
        return sa.case((over, float(metric.cap)), else_=total)

    def _kept(self, select: sa.Select[Any], name: str) -> sa.CTE:
        """It is read several times, and is to be computed once."""
        cte = select.cte(name)
        return cte.prefix_with("MATERIALIZED") if self.dialect in ("postgresql", "sqlite", "duckdb") else cte

    @staticmethod
    def _nobody(user: Any) -> Any:
        return sa.or_(user.is_(None), sa.func.lower(sa.func.trim(sa.cast(user, sa.String(64)))).in_(NOBODY))

    # --- what is told of them ---

    def _moments(self, users: sa.CTE, past: sa.CTE | None, part: str) -> sa.Select[Any]:
        """Of each side and metric: means, and covariances of what is centred at them."""
        known = _ZERO if past is None else sa.case((past.c.there.is_(None), _ZERO), else_=_ONE)
        columns: list[Any] = [users.c.s.label("s"), known.label("known")]
        for number, metric in enumerate(self.metrics):
            columns += [value.label(f"{name}{number}") for name, value in self._four(users, past, part, number, metric)]
        source: Any = users
        if past is not None:
            source = users.outerjoin(past, users.c.u == past.c.u)
        where = [users.c.s == users.c.other, sa.not_(self._nobody(users.c.u))]
        if part != "whole":
            where.append(users.c[f"in_{part}"] == _ONE)
        totals = sa.select(*columns).select_from(source).where(*where).cte(f"cj_totals_{part}")
        names = [f"{total}{number}" for number in range(len(self.metrics)) for total in _TOTALS]
        means = (
            sa.select(
                totals.c.s,
                sa.func.count().label("users"),
                sa.func.sum(totals.c.known).label("known"),
                *(sa.func.avg(totals.c[name]).label(f"m_{name}") for name in names),
            )
            .group_by(totals.c.s)
            .cte(f"cj_means_{part}")
        )
        found: list[Any] = []
        for number, metric in enumerate(self.metrics):
            found += [sa.func.max(means.c[f"m_{total}{number}"]).label(f"m_{total}{number}") for total in _TOTALS]
            off = [totals.c[f"{total}{number}"] - means.c[f"m_{total}{number}"] for total in _TOTALS]
            found += [sa.func.sum(off[a] * off[b]).label(f"c_{a}{b}_{number}") for a, b in _PAIRS]
            size = sa.func.abs(totals.c[f"{'x' if metric.denominator is None else 'y'}{number}"])
            found += [sa.func.max(size).label(f"largest{number}"), sa.func.sum(size).label(f"all{number}")]
        return (
            sa.select(
                sa.literal_column(f"'{part}'").label("part"),
                totals.c.s.label("side"),
                sa.func.max(means.c.users).label("users"),
                sa.func.max(means.c.known).label("known"),
                *(_ZERO.label(name) for name in ("anonymous", "strayed", "before", "elsewhere", "odd", *_UNEVEN)),
                *(sa.func.max(sa.case((totals.c.s < _ZERO, sa.literal(self.span.until)))).label(n) for n in _TIMES),
                *found,
            )
            .select_from(totals.join(means, totals.c.s == means.c.s))
            .group_by(totals.c.s)
        )

    def _four(
        self, users: sa.CTE, past: sa.CTE | None, part: str, number: int, metric: PerUser
    ) -> list[tuple[str, Any]]:
        alone = metric.denominator is None
        before = {
            "x0": _NOTHING if past is None else sa.func.coalesce(past.c[f"x{number}"], _NOTHING),
            # whom nobody knew yet has no past: not one of nothing
            "y0": _NOTHING if past is None else sa.func.coalesce(past.c["there" if alone else f"y{number}"], _NOTHING),
        }
        return [
            ("x", users.c[f"{part}_x{number}"]),
            ("y", _UNIT if alone else users.c[f"{part}_y{number}"]),
            *before.items(),
        ]

    def _facts(self, users: sa.CTE, past: sa.CTE | None, side: Side) -> sa.Select[Any]:
        """Strays that were on this side first, rows of all kinds, the first and the newest one."""
        mine, other = (f"first_{one}" for one in (side, Side.BASELINE if side is Side.CANARY else Side.CANARY))
        # at the same time on both: on the baseline
        first = users.c[mine] <= users.c[other] if side is Side.BASELINE else users.c[mine] < users.c[other]
        nobody, rows = self._nobody(users.c.u), users.c[f"rows_{side}"]
        stray = sa.and_(users.c.s != users.c.other, sa.not_(nobody))

        def total(condition: Any, value: Any) -> Any:
            return sa.func.coalesce(sa.func.sum(sa.case((condition, value), else_=_ZERO)), _ZERO)

        numbers: list[Any] = []
        for number, metric in enumerate(self.metrics):
            of_metric = [total(sa.not_(nobody), users.c[f"n_{side}{number}"])]
            if metric.cap is not None:
                of_metric += [total(sa.not_(nobody), users.c[f"{one}_{side}{number}"]) for one in ("w", "l")]
            numbers += [*of_metric, *[_NOTHING] * (_WIDTH - len(of_metric))]
        return sa.select(
            sa.literal_column("'rows'").label("part"),
            (_ONE if side is Side.CANARY else _ZERO).label("side"),
            total(sa.and_(stray, first), _ONE).label("users"),
            total(sa.not_(nobody), rows).label("known"),
            total(nobody, rows).label("anonymous"),
            total(stray, rows).label("strayed"),
            (self._before(past) if side is Side.CANARY else _ZERO).label("before"),
            self._elsewhere(users, side).label("elsewhere"),
            total(sa.and_(sa.not_(nobody), rows % _TWO == _ONE), _ONE).label("odd"),
            *(
                total(sa.and_(sa.not_(nobody), rows % sa.literal_column(f"{times}") != _ZERO), _ONE).label(name)
                for times, name in zip(UNEVEN, _UNEVEN, strict=True)
            ),
            sa.func.min(users.c[f"first_{side}"]).label("earliest"),
            sa.func.max(users.c[f"last_{side}"]).label("latest"),
            *(one.label(f"number{place}") for place, one in enumerate(numbers)),
        )

    def _elsewhere(self, users: sa.CTE, side: Side) -> Any:
        """Rows of users of this side alone that name no side, or another one."""
        if self.activity.assignments is not None:  # where rows name none
            return _ZERO
        table = table_of(self.activity.table, *self._columns())
        time, name = table.c[self.activity.timestamp], self._name(table.c[self.activity.side or _SIDE])
        mine = users.c.s == (_ONE if side is Side.CANARY else _ZERO)
        where = [
            mine,
            users.c.s == users.c.other,
            sa.not_(self._nobody(users.c.u)),
            self._after(time, self.span.since),
            self._upto(time, self.span.until),
            sa.or_(name.is_(None), name.not_in(list(self.sides.values()))),
        ]
        joined = table.join(users, self._binary(table.c[self.activity.user]) == users.c.u)
        return sa.select(sa.func.count()).select_from(joined).where(*where).scalar_subquery()

    def _before(self, past: sa.CTE | None) -> Any:
        """Rows of the canary (or users assigned to it) in the time when there should have been none."""
        given = self.activity.assignments
        if self.span.past is None or past is None:
            return _ZERO
        if given is None:
            return sa.select(sa.func.coalesce(sa.func.sum(past.c.canary), _ZERO)).scalar_subquery()
        assigned = table_of(given.table, given.user, given.side, given.timestamp)
        early = assigned.c[given.timestamp] < self.span.past[1]  # who is assigned as it begins begins with it
        mine = self._name(assigned.c[given.side]) == self.sides[Side.CANARY]
        return sa.select(sa.func.count()).select_from(assigned).where(early, mine).scalar_subquery()


def to_moments(
    rows: Sequence[Sequence[Any]],
    metrics: int,
    *,
    since: int,
    until: int,
    past: bool,
    moment: Callable[[Any], int],
) -> list[dict[Side, UserMoments]]:
    """What the rows of the statement say, metric by metric.

    Args:
        rows: As the database gave them.
        metrics: How many there are.
        since: Start of the time, in nanoseconds.
        until: Its end.
        past: Whether the time before the run was asked.
        moment: Reads a time of the database.

    Raises:
        QueryError: A time is none.
    """
    found: list[dict[Side, dict[str, Any]]] = [
        {side: {**{part: Moments() for part in _PARTS}, "known": 0 if past else None} for side in Side}
        for _ in range(metrics)
    ]
    for part, place, users, known, anonymous, strayed, before, elsewhere, odd, *rest in rows:
        uneven, (earliest, latest), numbers = rest[: len(UNEVEN)], rest[len(UNEVEN) :][:2], rest[len(UNEVEN) + 2 :]
        side = Side.CANARY if int(place) else Side.BASELINE
        for number in range(metrics):
            mine, values = found[number][side], numbers[number * _WIDTH : (number + 1) * _WIDTH]
            if part == "rows":
                mine |= {"strays": int(users), "rows": int(known), "anonymous": int(anonymous)}
                mine |= {"strayed": int(strayed), "before": int(before), "elsewhere": int(elsewhere)}
                mine |= {"odd": int(odd), "uneven": tuple(map(int, uneven)), "undefined": int(values[0])}
                mine["capped"] = 1 - float(values[2]) / float(values[1]) if values[1] else 0.0
                mine |= {
                    name: None if at is None else moment(at)
                    for name, at in (("earliest", earliest), ("latest", latest))
                }
            else:
                mine[str(part)] = _read(int(users), values)
                if part == "whole" and past:
                    mine["known"] = int(known)
    return [{side: UserMoments(**known, since=since, until=until) for side, known in one.items()} for one in found]


def _read(users: int, numbers: Sequence[Any]) -> Moments:
    values = [float("nan") if one is None else float(one) for one in numbers]
    covariance = np.zeros((4, 4))
    for (a, b), value in zip(_PAIRS, values[4:-2], strict=True):
        covariance[a, b] = covariance[b, a] = value / (users - 1) if users > 1 else 0.0
    largest, whole = values[-2:]
    return Moments(
        users=users, mean=np.array(values[:4]), covariance=covariance, largest_share=largest / whole if whole else 0.0
    )
