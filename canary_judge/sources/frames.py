"""DataFrames, CSV and Parquet as a source: tidy tables, or one row per request."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from canary_judge.arrays import Float, Int, distinct
from canary_judge.config.reading import nearest
from canary_judge.errors import ConfigError, DataError
from canary_judge.moments import UserMoments
from canary_judge.results import Side
from canary_judge.samples.pace import CUMULATIVE, climbs_evenly, climbs_with, is_stock, looks_cumulative
from canary_judge.series import Form, PerUser, Query, Reading, Result, Series, Window, duration_from, nanoseconds
from canary_judge.sources.points import FORMS
from canary_judge.sources.repeats import (
    appended,
    appended_again,
    comparable,
    rather_by_user,
    refuse_aggregated,
    refuse_numbers_that_tell_apart,
    weighed,
    without_repeats,
)
from canary_judge.sources.tables import FEWEST_NUMBERED, Align, Table, is_number, numbers_rows, on_grid
from canary_judge.sources.users import Rows, codes_of, moments_by_side, span_of, starts_of_buckets, totals_before

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from canary_judge.sources.odd_rows import Odd

__all__ = ["FrameSource"]

# A version of which so many of so many requests fail is not stable.
_FEWEST_REQUESTS, _NEARLY_ALL_FAIL = 100, 0.9
# Of fewer rows nobody can tell whether they are cumulative.
_FEWEST_OF_A_SERIES = 7
# Of more series the longest ones tell: each is held against each.
_MANY_SERIES = 100
# Of more rows of a series in an interval, each is of one request or session.
_A_ROW_EACH = 1.5
# A text of so few rows is a remark, and no label.
_A_REMARK = 0.1
_OPTIONS = {"path", "align", "counters", "user"}


class FrameSource:
    """Answers queries from a table. A query's expression is the name of a column, or of a value of `metric`.

    Three shapes are read:

    - wide: `timestamp`, `side` and one numeric column per quantity; other text columns are labels;
    - long: `timestamp`, `side`, `metric`, `value`; other columns are labels;
    - requests: one row per request with `timestamp`, `side`, `ok` (true or false) and perhaps `latency`; the names
      are then `requests`, `errors` and `latency`.

    Counts are per row (events since the previous row), unless the name is among `counters`. With a column that names
    the user of each row, metrics by user are answered: each user's rows are added up.

    Args:
        data: A DataFrame, the path of a .csv, .csv.gz or .parquet file, or the rows of another source (`table`).
        align: "time": both sides by their timestamps. "start": the baseline is shifted so that both begin together,
            to compare two periods.
        counters: Names whose values are cumulative.
        user: Name of the column with the user of each row, for metrics by user.

    Raises:
        DataError: The table is malformed; the message names the column, the row and the remedy.

    Examples:
        >>> import pandas as pd
        >>> times = pd.date_range("2026-01-01", periods=30, freq="1min", tz="UTC")
        >>> table = pd.concat([
        ...     pd.DataFrame({"timestamp": times, "side": side, "heap": np.arange(30.0) + 100})
        ...     for side in ("baseline", "canary")])
        >>> FrameSource(table).window(timedelta(minutes=1)).duration
        datetime.timedelta(seconds=1800)
    """

    def __init__(
        self,
        data: pd.DataFrame | str | Path | Table,
        *,
        align: Align = "time",
        counters: Collection[str] = (),
        user: str = "user",
    ) -> None:
        self._user = user
        self._counters = frozenset(counters)
        self._table = data if isinstance(data, Table) else Table.of(data, align)
        self._align: Align = align
        columns = {*self._table.numbers, *self._table.texts}
        self._requests = self._table.ok is not None
        refuse_aggregated(self._table)
        self._long = {"metric", "value"} <= columns
        self._names, self._labels = self._columns()
        self._codes = cache(self._users)
        self._rather_by_user = cache(partial(rather_by_user, self._table, self._user))
        self._whole = cache(self._all_series)
        self._activity = lru_cache(maxsize=16)(self._rows_of_users)
        self._appended = cache(self._appended_twice)
        self._odd = cache(self._odd_numbers)
        self._turned_round = cache(self._fails_always)
        self._by_user = lru_cache(maxsize=64)(self._moments)  # both sides, and all metrics of a look
        if isinstance(counters, str) or (strange := sorted(self._counters - set(self._names))):
            what = counters if isinstance(counters, str) else strange[0]
            raise ConfigError(
                f"counters: {what!r} is no list of names of this table; there are {', '.join(self._names)}"
            )

    def __repr__(self) -> str:
        return f"FrameSource({len(self._table)} rows, {', '.join(self._names[:8])})"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> FrameSource:
        """Build it from a config's `sources:` section: `path`, and perhaps `align`, `counters` and `user`."""
        unknown = sorted(set(options) - _OPTIONS)
        if unknown:
            raise ConfigError(f"{unknown[0]}: unknown key{nearest(unknown[0], _OPTIONS)}")
        if not isinstance(options.get("path"), str):
            raise ConfigError(f"path: is {options.get('path')!r}; give the path of a .csv or .parquet file")
        counters = options.get("counters", [])
        if not isinstance(counters, list) or not all(isinstance(name, str) for name in counters):
            raise ConfigError(f"counters: is {counters!r}; give a list of names, as in [requests_total]")
        user = options.get("user", "user")
        if not isinstance(user, str):
            raise ConfigError(f"user: is {user!r}; give the name of the column with the user of each row")
        return cls(options["path"], align=options.get("align", "time"), counters=counters, user=user)

    @property
    def table(self) -> Table:
        """The rows, in order of time."""
        return self._table

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for, as the text of a query."""
        return tuple(self._names)

    @property
    def single_requests(self) -> bool:
        """Whether each row is one request, so that rows can be drawn apart."""
        return self._requests

    def users_of_rows(self) -> Int | None:
        """Which user each row is of, shape (n,); None without such a column."""
        named = self._user in {*self._table.numbers, *self._table.texts}
        return self._codes()[0] if named else None

    def with_rows(self, table: Table) -> FrameSource:
        """The same source of other rows with the same columns."""
        return FrameSource(table, align=self._align, counters=self._counters, user=self._user)

    def window(self, interval: str | timedelta, *, baseline_alone: bool = False) -> Window:
        """From the canary's first row to the last row of either side, on the grid of the interval.

        Args:
            interval: Of the judge.
            baseline_alone: A table without a canary is taken as a whole, as where a canary is only planned.

        Raises:
            DataError: It has no row of the canary, or none at all.
        """
        interval = duration_from(interval, "interval")
        times, canary = self._table.times, self._table.canary
        if not canary.any():
            if baseline_alone:
                return self.span(interval)
            raise DataError("the table has no row whose side is 'canary'")
        return on_grid(int(times[canary.argmax()]), int(times[-1]), interval)

    def span(self, interval: str | timedelta) -> Window:
        """From the first row to the last one, whichever side they are of, on the grid of the interval."""
        times = self._table.times
        if not times.size:
            raise DataError("the table has no row")
        return on_grid(int(times[0]), int(times[-1]), duration_from(interval, "interval"))

    def usual_spacing(self) -> timedelta:
        """The median distance between two different timestamps; DataError when there are fewer than two."""
        times = distinct(self._table.times)
        if times.size < 2:
            raise DataError("the tables have fewer than two timestamps, so no interval can be told; pass interval='1m'")
        return timedelta(milliseconds=max(float(np.median(np.diff(times))) // 1e6, 1.0))

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query from the table; an unknown name is an error of that query alone."""
        first, last = np.searchsorted(
            self._table.times, [nanoseconds(window.start), nanoseconds(window.end)], side="right"
        )
        rows = cache(lambda side: first + np.flatnonzero(self._table.side(side)[first:last]))
        compared = any(query.side is Side.CANARY for query in queries)
        single = self._requests or any(query.users is not None for query in queries)
        error, word = self._appended() if single else (None, None)
        if error is not None:
            return [Result(error=error) for _ in queries]
        answers = [
            self._of_users(query, window, compared=compared)
            if query.users is not None
            else self._answer(query, rows, window, self._counted_beside(query, queries))
            for query in queries
        ]
        words = () if word is None else (word,)
        return [
            replace(answer, simultaneous=self._align == "time", warnings=(*answer.warnings, *words))
            for answer in answers
        ]

    def _counted_beside(self, query: Query, queries: Sequence[Query]) -> list[Query]:
        """What else the metric counts on the same side."""
        return [
            one
            for one in queries
            if (one.metric, one.side, one.reading) == (query.metric, query.side, Reading.COUNTS)
            and one.expression in self._names
            and one.expression not in self._counters
        ]

    def _appended_twice(self) -> tuple[str | None, str | None]:
        """Why rows count several times: an error, or a word where they came in order of time, as items of one page."""
        word = None
        repeated = {side: found for side in Side if (found := appended(self._table, side)) is not None}
        for side, found in repeated.items():
            text = appended_again(found, side)
            # items of a page are alike on both sides; a join that matches twice is not
            alone = len(repeated) == 1 and found.since is None and comparable(self._table)
            if alone or (side not in self._table.sorted_sides and not found.near):
                return f"{text} Drop these", None
            word = text
        return None, word

    def _fails_always(self) -> str | None:
        """Why `ok` may say the opposite: hardly any request of the stable version went well."""
        ok, baseline = self._table.ok, ~self._table.canary
        if ok is None or np.count_nonzero(baseline) < _FEWEST_REQUESTS:
            return None
        failed = 1 - float(ok[baseline].mean())
        if failed < _NEARLY_ALL_FAIL:
            return None
        return (
            f"{failed:.0%} of the baseline's requests are not `ok`: does the column say that they failed? Turn it round"
        )

    def _columns(self) -> tuple[list[str], list[str]]:
        table = self._table
        named = [name for name in table.texts if name not in ("metric", "value", "latency", self._user)]
        texts = [name for name in named if not self._is_a_remark(table.texts[name])]
        if self._requests:
            return ["requests", "errors", *(["latency"] if "latency" in table.numbers else [])], []
        if self._long:
            return sorted({str(name) for name in table.texts["metric"]}), [
                *texts,
                *(
                    name
                    for name, values in table.numbers.items()
                    if name != "value"
                    and not name.startswith("Unnamed")
                    and not all(numbers_rows(values[table.side(side)]) for side in Side)
                ),
            ]
        return [name for name in table.numbers if name != self._user], texts

    def _is_a_remark(self, texts: NDArray[np.object_]) -> bool:
        """Whether a text tells no series apart: one of a few rows, or another one in each row, where times differ."""
        table = self._table
        if isinstance(next((text for text in texts if text is not None), None), list | dict | np.ndarray):
            return True  # as Parquet has them
        if self._long or self._requests or not texts.size:
            return False
        for side in Side:
            rows = table.side(side)
            if (np.diff(table.times[rows]) == 0).any():
                return False
            known = [text for text in texts[rows] if text is not None]
            own = FEWEST_NUMBERED <= len(known) == len(set(known)) == np.count_nonzero(rows)
            if len(known) > _A_REMARK * np.count_nonzero(rows) and not own:
                return False
        return True

    def _of_users(self, query: Query, window: Window, *, compared: bool) -> Result:
        asked, since, until = span_of(query, window)
        if compared and self._table.canary.any():  # before its first row there was no canary to compare with
            first = int(self._table.times[self._table.canary.argmax()])
            since = min(max(since, first - 1), until)
        provenance = f"users of the {query.side} in a table of {len(self._table)} rows"
        if error := self._no_users(asked) or starts_of_buckets(self._table.times[self._table.canary], since, until):
            return Result(error=error, form=Form.MOMENTS, provenance=provenance)
        moments = self._by_user(asked, since, until)[query.side]
        odd = self._odd(asked.numerator, asked.denominator)
        return Result(form=Form.MOMENTS, moments=moments, provenance=provenance, warnings=odd.words, doubt=odd.doubt)

    def _no_users(self, asked: PerUser) -> str | None:
        """Why the table cannot tell of users; None where it can."""
        if self._user not in (known := sorted({*self._table.numbers, *self._table.texts})):
            there = f"{', '.join(known[:20])}{nearest(self._user, known)}"
            return (
                f"unit_of_replication: user needs a column {self._user!r} with the user of each row; there are {there}"
                ": name it, as FrameSource(..., user='visitor') or `user: visitor` of the source"
            )
        if self._long:
            return "users are counted in tables with a column for each quantity; this one has rows of metric and value"
        if self._align == "start":
            return "align: start compares two periods, in which the same users are on both sides"
        for name in (asked.numerator, asked.denominator):
            if name is not None and name in self._table.texts:
                return f"column {name!r} is no numbers: it has text, which cannot be added up"
            if name is not None and name not in self._names:
                return f"the table has no {name!r}{nearest(name, self._names)}; there are {', '.join(self._names)}"
            if name is not None and np.isinf(self._added_up(name)).any():
                return f"column {name!r} has an infinite value, which cannot be added up; drop such rows"
        return self._odd(asked.numerator, asked.denominator).error

    def _odd_numbers(self, numerator: str, denominator: str | None) -> Odd:
        from canary_judge.sources.odd_rows import Numbers, odd_numbers  # most tables are of no users

        y = None if denominator is None else self._added_up(denominator)
        canary, users = self._table.canary, self._codes()[0]
        rows = Numbers(canary=canary, users=users, numerator=self._added_up(numerator), denominator=y)
        return odd_numbers(PerUser(numerator=numerator, denominator=denominator), rows)

    def _users(self) -> tuple[Int, int]:
        table = self._table
        return codes_of(table.numbers[self._user] if self._user in table.numbers else table.texts[self._user])

    def _moments(self, asked: PerUser, since: int, until: int) -> dict[Side, UserMoments]:
        rows, before = self._activity(replace(asked, since=None))
        return moments_by_side(rows, asked, before, since=since, until=until)

    def _rows_of_users(self, asked: PerUser) -> tuple[Rows, Float]:
        """All rows with what is asked, and the totals of the time before the run."""
        codes, count = self._codes()
        x = self._added_up(asked.numerator)
        y = None if asked.denominator is None else self._added_up(asked.denominator)
        rows = Rows(
            times=self._table.times,
            canary=self._table.canary,
            users=codes,
            count=count,
            numerator=np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf),
            denominator=None if y is None else np.nan_to_num(y, nan=0.0, posinf=np.inf, neginf=-np.inf),
            undefined=np.isnan(x) & (True if y is None else np.nan_to_num(y) != 0),
        )
        return rows, totals_before(rows, asked)

    def _added_up(self, name: str) -> Float:
        """Row by row what is added up of a user; NaN where nothing is known."""
        table = self._table
        if table.ok is not None and name in ("requests", "errors"):
            return (np.ones(len(table)) if name == "requests" else ~table.ok).astype(float)
        return table.numbers[name]

    def _answer(self, query: Query, rows_of: Callable[[Side], Int], window: Window, beside: Sequence[Query]) -> Result:
        name = query.expression
        provenance = f"column {name!r} of the {query.side} in a table of {len(self._table)} rows"
        if (wrong := self._unanswerable(query)) is not None:
            # of a long table, rows of a name that is not there may still be written
            unknown = name not in self._names and name not in self._labels
            return Result(error=wrong, temporary=self._long and unknown, provenance=provenance)
        if self._requests:
            return self._from_requests(query, rows_of, window, provenance)
        form = FORMS[query.reading]
        if form is Form.COUNTS and name in self._counters:
            form = Form.COUNTER
        if form is Form.COUNTS and name in self._table.truths and self._counts_many(query, beside, window):
            error = f"column {name!r} holds true and false, which says whether there were any; give the number of them"
            return Result(error=error, provenance=provenance)
        if form is Form.COUNTS and self._cumulative(query, window, beside):
            return Result(error=CUMULATIVE.format(name=repr(name)), provenance=provenance)
        series, warnings = [], [*self._rather_by_user()] if form is Form.COUNTS else []
        base = self._last_before(query, window) if form is Form.COUNTER else {}
        values_of = self._table.numbers["value" if self._long else name]
        for labels, own in self._series(query, window.start, window.end):
            times, values = self._table.times[own], values_of[own]
            present = ~np.isnan(values) | (not self._long and not self._labels)
            times, values = times[present], values[present]
            if form is not Form.SAMPLES:
                if form is Form.COUNTS and not self._long:
                    refuse_numbers_that_tell_apart(self._table, own[present], name)
                times, values, repeated = without_repeats(times, values, name, query.side, counted=form is Form.COUNTS)
                if repeated:
                    warnings.append(f"{repeated} repeated rows of {name!r} were dropped")
            if not times.size:
                continue
            if (row := base.get(tuple(labels.items()))) is not None:
                times = np.concatenate([self._table.times[[row]], times])
                values = np.concatenate([values_of[[row]], values])
            series.append(Series(timestamps=times, values=values, labels=labels))
        return Result(series=tuple(series), form=form, warnings=tuple(warnings), provenance=provenance)

    def _counts_many(self, query: Query, others: Sequence[Query], window: Window) -> bool:
        """Whether a row stands for an interval, and not for one session with so many pages or seconds."""
        rows = max((own.size for _, own in self._series(query, window.start, window.end)), default=0)
        many = any(np.nanmax(self._table.numbers[other.expression], initial=0.0) > 1 for other in others)
        return many and rows <= _A_ROW_EACH * (window.duration / query.step)

    def _unanswerable(self, query: Query) -> str | None:
        """Why no row of this table answers."""
        name = query.expression
        if name in self._table.texts and name != self._user and not (self._long or self._requests):
            what = next((repr(value) for value in self._table.texts[name] if not is_number(value)), "numbers as text")
            return f"column {name!r} is no numbers: it has {what}"
        if name not in self._names:
            shown = ", ".join(self._names[:20]) or "no numbers in it"
            none = "; if none happened, write rows of 0" if self._long and query.part == "events" else ""
            return f"the table has no {name!r}{nearest(name, self._names)}; there are {shown}{none}"
        if query.reading is Reading.HISTOGRAM and "le" in {*self._table.numbers, *self._table.texts}:
            return "a table cannot give buckets (`le`); give raw latencies, or kind: ratio of slow requests and all"
        return weighed(self._table) if self._requests else None

    def _cumulative(self, query: Query, window: Window, beside: Sequence[Query]) -> bool:
        """Whether the rows so far say so; a single look may have too few of them."""
        others = [values for other in beside if other != query for values in self._so_far(other, window)]
        own = self._so_far(query, window)
        if query.part != "events":
            own = [values for values in own if not is_stock(values, others)]
        if any(map(looks_cumulative, own)):
            return True
        return any(climbs_evenly(one) and not any(climbs_with(other, one) for other in others) for one in own)

    def _so_far(self, query: Query, window: Window) -> list[Float]:
        """The values of each series, from the first row of the table to the end of the window."""
        values = self._table.numbers["value" if self._long else query.expression]
        every = sorted((own for _, own in self._series(query, None, window.end)), key=lambda own: -own.size)
        series = every[:_MANY_SERIES]
        if max((own.size for own in series), default=0) < _FEWEST_OF_A_SERIES:  # a text of each row tells none apart
            series = [np.sort(np.concatenate(every))] if every else []
        return [values[own][np.isfinite(values[own])] for own in series]

    def _last_before(self, query: Query, window: Window) -> dict[tuple[tuple[str, str], ...], int]:
        """Each cumulative series' last row at or before the window, the base of the first interval."""
        before = self._series(query, None, window.start)
        return {tuple(labels.items()): int(own[-1]) for labels, own in before}

    def _series(self, query: Query, after: datetime | None, until: datetime) -> Iterator[tuple[dict[str, str], Int]]:
        """The rows of each series in (after, until], in order of time; of those that have any."""
        bounds = [nanoseconds(moment) for moment in (after, until) if moment is not None]
        ends = np.searchsorted(self._table.times, bounds, side="right")
        first, last = (ends[0], ends[-1]) if after is not None else (0, ends[-1])
        for labels, rows in self._whole(query.expression if self._long else None, query.side):
            own = rows[slice(*np.searchsorted(rows, (first, last)))]
            if own.size:
                yield labels, own

    def _all_series(self, name: str | None, side: Side) -> list[tuple[dict[str, str], Int]]:
        """Told apart once: a row of a wide table is of the same series whichever column is asked for."""
        rows = np.flatnonzero(self._table.side(side))
        if name is not None:
            rows = rows[self._table.texts["metric"][rows] == name]
        return self._table.groups(self._labels, rows)

    def _from_requests(self, query: Query, rows_of: Callable[[Side], Int], window: Window, provenance: str) -> Result:
        if query.expression == "latency":
            if query.reading not in (Reading.SAMPLES, Reading.HISTOGRAM):
                return Result(error="latency of single requests needs kind: samples or kind: latency")
            rows = rows_of(query.side)
            times, values = self._table.times[rows], self._table.numbers["latency"][rows]
            return Result(
                series=(Series(timestamps=times, values=values),) if times.size else (),
                form=Form.SAMPLES,
                provenance=provenance,
            )
        if (turned := self._turned_round()) is not None:
            return Result(error=turned, provenance=provenance)
        if query.reading is not Reading.COUNTS:
            return Result(error=f"{query.expression!r} are counts; they need kind: ratio or kind: rate")
        # every interval of the grid has a count, also an interval without a request
        edges = window.edges(query.step)
        requests, counts = self._counted(query.side, edges, failed=query.expression == "errors")
        series = (Series(timestamps=edges[1:], values=counts.astype(float)),) if requests.any() else ()
        return Result(series=series, form=Form.COUNTS, provenance=provenance)

    def _counted(self, side: Side, edges: Int, *, failed: bool) -> tuple[Int, Int]:
        """Requests of a side in each interval, and those of them that failed where these are asked for.

        Of rows in order of time an interval is a slice, so that nothing as long as the table is made.
        """
        table = self._table
        ends = np.searchsorted(table.times, edges, side="right")
        requests = np.zeros(edges.size - 1, dtype=np.int64)
        counts = requests.copy()
        for place, (first, last) in enumerate(itertools.pairwise(ends.tolist())):
            mine = table.canary[first:last] if side is Side.CANARY else ~table.canary[first:last]
            requests[place] = np.count_nonzero(mine)
            if failed and table.ok is not None:
                counts[place] = np.count_nonzero(mine & ~table.ok[first:last])
        return requests, counts if failed else requests
