"""Past canaries on a disk or in an object store: one Parquet object each, until a day's are put into one."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.archiving import record, refuse_several, served
from canary_judge.history.asking import ask
from canary_judge.history.canary import Label, LabelKind, PastCanary
from canary_judge.history.labels import given_labels, keep_labels, labels_of_csv
from canary_judge.history.objects import Objects
from canary_judge.history.parquet import Place, table_of
from canary_judge.history.pieces import AT_ONCE, Piece, Unreadable, check_whole, newest, pieces_of, places_of
from canary_judge.moments import UserMoments
from canary_judge.samples import UserData
from canary_judge.series import MetricSource, Window, format_duration, moment_from
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from canary_judge.sources import FrameSource

__all__ = ["History"]

T = TypeVar("T")

# While others put objects together, some are gone when they are to be read.
_RETRIES = 5
# Values that are compared to tell the same canary from another one.
_COMPARED = ("events_baseline", "events_canary", "exposure_baseline", "exposure_canary", "baseline", "canary")


class History:
    """An archive of past canaries.

    Args:
        url: A folder, or any URL of fsspec, as `s3://bucket/canaries`. It is made when the first canary is added.
        skip_corrupt: Leave out objects that cannot be read, and name them in `skipped`, where an error is the default.

    Attributes:
        url: The same.
        skipped: What was left out, and why, since the object was made.

    Examples:
        >>> History("memory://canaries")
        History('memory://canaries')
    """

    def __init__(self, url: str | Path, *, skip_corrupt: bool = False) -> None:
        if not isinstance(url, str | Path):
            raise DataError(f"url is {url!r}; give the archive's folder, or a URL as s3://bucket/canaries")
        self._objects = Objects(url)
        self.url = self._objects.url
        self.skip_corrupt = skip_corrupt
        self.skipped: list[str] = []

    @classmethod
    def lasting(cls, url: str | Path) -> History:
        """An archive that is there when this process has ended: for commands and services.

        Raises:
            DataError: It cannot be opened, or is in the memory of this process.
        """
        found = cls(url)
        if found._objects.in_memory:
            raise DataError(f"{url}: is in the memory of this process, and is lost when it ends; give a folder")
        return found

    def __repr__(self) -> str:
        """Where it is."""
        return f"History({self.url!r})"

    # --- filling ------------------------------------------------------------------------------------------------

    def __contains__(self, canary: object) -> bool:
        """Whether a canary of this id is archived."""
        return any(one.id == canary for one in self._places())

    def append(self, canary: PastCanary) -> str:
        """Archive a canary, in place of what was archived of it before; its id.

        It is written beside and put in place at once: readers see all of it or nothing.

        Raises:
            DataError: It could not be written.
        """
        table = table_of([canary], written=[datetime.now(UTC)])
        self._objects.put(f"{_day(canary.start)}/{canary.id}.parquet", _bytes(table))
        return canary.id

    def append_same(self, canary: PastCanary) -> str:
        """The same, but for a canary that is another one: with the same config, versions and start, and other numbers.

        What is not said of it again (its label, who ended it, what was done) stays as it is archived.

        Raises:
            DataError: One with other or more numbers is archived under its id, or it could not be written.
        """
        then = self._of_id(canary.id, _day(canary.start))  # the same canary began at the same day
        return self.append(canary if then is None else _added_to(then, canary))

    def holds(self, canary: PastCanary) -> bool:
        """Whether this canary is archived already, which `append_same` adds to."""
        return any(one.id == canary.id for one in self._places(_day(canary.start)))

    def label(self, canary: str | PastCanary, kind: LabelKind, note: str = "", *, by: str = "") -> None:
        """Say what a canary was found to have been.

        Args:
            canary: It, or its id.
            kind: healthy, bad or unknown.
            note: In your words.
            by: Who says so, or from what it is known. A rollback is no truth, and is refused.
        """
        name = canary.id if isinstance(canary, PastCanary) else canary
        self.label_all([(name, Label(kind=kind, by=by, note=note))])

    def label_all(self, labels: Iterable[tuple[str, Label]] | str | Path) -> int:
        """Label many: of pairs, or of a CSV file with the columns id, label, by and note; how many they were.

        Raises:
            DataError: A label is none, or no canary has the id; nothing is written then.
        """
        if isinstance(labels, str | Path):
            given = labels_of_csv(Path(labels))
        else:
            given = [(f"label {number}", *_checked_label(number, one)) for number, one in enumerate(labels, 1)]
        known = {one.id: one.written for one in self._places()}
        told: dict[str, Label] = {}
        for where, canary, label in given:
            if told.setdefault(canary, label) != label:
                raise DataError(f"{where}: canary {printable(canary)!r} is labelled twice, and not alike")
            if canary not in known:
                raise DataError(f"{where}: there is no canary {printable(canary)!r} in {self.url}")
        keep_labels(self._objects, [(canary, label) for _, canary, label in given], known)
        return len(given)

    def compact(self, day: date | str) -> int:
        """Put the canaries of a day (of their start, UTC) into one object; how many objects that saves.

        Small objects cost a reader far more than large ones. A crash in between leaves canaries twice, and readers
        take each once.
        """
        folder = f"day={_date(day).isoformat()}"
        seen = {name: self._objects.key(name) for name in self._objects.names(folder)}
        if len(seen) < 2:
            return 0
        # the same canary began at the same day: no other folder has it
        places = [one for one in self._every_place(folder) if one.path in seen]  # none of what cannot be read
        self._put_together(folder, newest(places), seen, {one.path for one in places})
        return max(len({one.path for one in places}) - 1, 0)

    def _put_together(
        self, folder: str, places: Sequence[Place], seen: Mapping[str, str | None], old: Iterable[str]
    ) -> None:
        """Write these canaries as one object, and remove the old ones, but for those that were written meanwhile."""
        if places:
            canaries = [one for piece in pieces_of(self._objects.anywhere, places, None) for one in piece.canaries()]
            content = _bytes(table_of(canaries, written=[one.written for one in places]), at_once=AT_ONCE)
            self._objects.put(f"{folder}/all-{uuid.uuid4().hex}.parquet", content)
        for path in old:
            if self._objects.key(path) == seen[path]:
                self._objects.remove(path)

    def drop(self, *, before: datetime | date | str) -> int:
        """Remove the canaries that ended before a moment: the retention; how many they were.

        Their labels stay, for the case that they are archived again.
        """
        moment = _moment(before)
        every = self._every_place()
        seen = {path: self._objects.key(path) for path in {one.path for one in every}}
        kept = {one.id for one in newest(every) if one.end >= moment}
        gone = {one.id for one in every} - kept
        for path in sorted(seen):
            mine = [one for one in every if one.path == path]
            if any(one.id in gone for one in mine):
                folder = path.rsplit("/", 1)[0]
                self._put_together(folder, [one for one in mine if one.id in kept], seen, [path])
        return len(gone)

    def add(
        self,
        frame: pd.DataFrame | str | Path | FrameSource,
        config: JudgeConfig,
        *,
        every: str | timedelta | None = None,
        horizon: str | timedelta | None = None,
        **more: Any,
    ) -> str:
        """Archive the canary that a table holds (DataFrame, CSV, Parquet; as for `judge --data`); its id.

        Args:
            frame: The table, or a source of one that needs other options.
            config: What was compared.
            every: Time between the looks, which are made up; by default the interval.
            horizon: Planned length.
            more: What else is known, as `label` or `ended_by`: attributes of `PastCanary`.
        """
        from canary_judge.sources import FrameSource

        _refuse_other(config)
        source = frame if isinstance(frame, FrameSource) else FrameSource(frame)
        refuse_several(source, config.interval)
        window = source.window(config.interval)
        return self.append_same(record(config, source, window, every=every, horizon=horizon, **more))

    def from_source(
        self,
        config: JudgeConfig,
        source: MetricSource | Mapping[str, MetricSource],
        windows: Iterable[Window | datetime | str],
        *,
        length: str | timedelta | None = None,
        every: str | timedelta | None = None,
        horizon: str | timedelta | None = None,
        **more: Any,
    ) -> list[str]:
        """Archive canaries that happened before us, from a source that still has them; their ids.

        Args:
            config: What was compared.
            source: As for `judge`.
            windows: When they served; or when they were deployed, with `length`.
            length: How long each of them served, where `windows` are moments.
            every: Time between the looks, which are made up; by default the interval.
            horizon: Their planned length; without one nobody knows whether they ran to their end, so that who has not
                decided by then is no miss.
            more: What else is known of all of them: attributes of `PastCanary`.

        Raises:
            DataError: Two of the windows overlap: each would have a part of the other's canary.
        """
        _refuse_other(config)
        if isinstance(windows, str | Window | datetime):
            raise DataError(f"windows is {windows!r}; give a list of windows, or of moments with `length`")
        # each of them reads it
        more = {name: tuple(one) if isinstance(one, Iterator) else one for name, one in more.items()}
        return [
            self.append_same(record(config, source, window, every=every, horizon=horizon, **more))
            for window in served(windows, length)
        ]

    # --- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many canaries there are."""
        return len(self._places())

    def __iter__(self) -> Iterator[PastCanary]:
        """All of them, in order of their start."""
        for piece in self.pieces():
            try:
                yield from piece.canaries()
            except Unreadable as error:
                if not self.skip_corrupt:
                    raise
                self._skip(str(error))

    def read(self, canary: str) -> PastCanary:
        """The one with this id.

        Raises:
            DataError: There is none.
        """
        if not isinstance(canary, str):
            raise DataError(f"the id is {canary!r}; give that of a canary, as `list` shows it")
        found = self._of_id(canary)
        if found is None:
            raise DataError(f"there is no canary {printable(canary)!r} in {self.url}")
        return found

    def _of_id(self, canary: str, folder: str = "") -> PastCanary | None:
        places = [one for one in self._places(folder) if one.id == canary]
        if not places:
            return None
        return next(iter(pieces_of(self._objects.anywhere, places, given_labels(self._objects))[0].canaries()))

    def pieces(self, *, since: datetime | str | None = None, until: datetime | str | None = None) -> list[Piece]:
        """Canaries in pieces of one object each, in order of their start.

        Args:
            since: Only those that began then or later.
            until: Only those that began before.
        """
        first, last = (None if one is None else _moment(one) for one in (since, until))
        places = [
            one
            for one in self._places()
            if (first is None or one.start >= first) and (last is None or one.start < last)
        ]
        return pieces_of(self._objects.anywhere, places, given_labels(self._objects), skip=self.skip_corrupt)

    def to_frame(self) -> pd.DataFrame:
        """One row for each canary: all but what it consumed."""
        return self.query("SELECT * FROM canaries ORDER BY start, id")

    def query(self, sql: str) -> pd.DataFrame:
        """Ask in SQL (DuckDB): the tables `canaries`, `looks` and `consumed`, the latter two with the canary's id.

        Raises:
            DataError: The query cannot be answered.
        """
        if not isinstance(sql, str) or not sql.strip():
            text = f"the query is {sql!r}; ask for something, as 'from canaries'"
            raise DataError(text)
        return self._again(lambda: ask(self._objects, self._whole(self._places()), given_labels(self._objects), sql))

    def _again(self, read: Callable[[], T]) -> T:
        """What is read while others put objects together: again where one was gone meanwhile."""
        for _ in range(_RETRIES - 1):
            with suppress(FileNotFoundError):
                return read()
        try:
            return read()
        except FileNotFoundError as error:
            raise DataError(f"the objects of {self.url} change all the time; try again") from error

    def _whole(self, places: list[Place]) -> list[Place]:
        """Those that stand in objects without damage; DuckDB looks at no check sum."""
        damaged = set()
        for path in dict.fromkeys(one.path for one in places):
            try:
                check_whole(self._objects, path)
            except Unreadable as error:
                if not self.skip_corrupt:
                    raise
                self._skip(str(error))
                damaged.add(path)
        return [one for one in places if one.path not in damaged]

    # --- where they stand ---------------------------------------------------------------------------------------

    def _places(self, folder: str = "") -> list[Place]:
        """Where the newest version of each canary stands, in order of their start."""
        return newest(self._every_place(folder))

    def _names(self, folder: str = "") -> list[str]:
        """Its objects of canaries: each in the folder of its day."""
        found = []
        for name in self._objects.names(folder):
            if name.startswith("day=") and name.count("/") == 1:
                found.append(name)
                continue
            text = (
                f"{self._objects.shown(name)}: is no object of an archive at {self.url}, where each lies in a folder "
                "day=2026-01-31; give the archive's own address, or move it away"
            )
            if not self.skip_corrupt:
                raise DataError(text)
            self._skip(text)
        return found

    def _every_place(self, folder: str = "") -> list[Place]:
        return self._again(lambda: [place for path in self._names(folder) for place in self._places_of(path)])

    def _places_of(self, path: str) -> list[Place]:
        try:
            return places_of(self._objects, path)
        except Unreadable as error:
            if not self.skip_corrupt:
                raise
            self._skip(str(error))
            return []

    def _skip(self, text: str) -> None:
        if text not in self.skipped:
            self.skipped.append(text)


def _refuse_other(config: object) -> None:
    if not isinstance(config, JudgeConfig):
        raise DataError(f"config is {type(config).__name__}; give JudgeConfig.load(path)")


def _checked_label(number: int, one: object) -> tuple[str, Label]:
    if not (isinstance(one, tuple | list) and len(one) == 2 and isinstance(one[1], Label)):
        raise DataError(f"label {number}: is {one!r}; give pairs of an id and Label(kind='bad', by='incident 7')")
    if not isinstance(one[0], str):
        raise DataError(f"label {number}: is of {type(one[0]).__name__}; give the id of a canary")
    return one[0], one[1]


def _added_to(old: PastCanary, new: PastCanary) -> PastCanary:
    """A canary that is archived again, with what is known of it already."""
    if not _alike(old, new):
        raise DataError(
            f"canary {new.id} is archived with other numbers: the same config, versions and start are those of "
            "another canary. Give both their versions, as --canary version=1.5.0"
        )
    then, now = old.tape.last, new.tape.last
    if now.consumed < then.consumed:
        raise DataError(
            f"canary {new.id} is archived with {then.consumed} intervals, and this has {now.consumed}: a torn log, or "
            "a part of the table? Give all of it, or another archive"
        )
    if now.horizon is None and then.horizon is not None:
        length = format_duration(then.horizon * old.interval)
        raise DataError(f"canary {new.id} is archived with a planned length of {length}; give it again")
    known: dict[str, Any] = {
        name: getattr(old, name)
        for name in ("did", "ended_why", "deployment", "spans", "judgement")
        if not getattr(new, name)
    }
    if new.ended_by == "unknown":
        known["ended_by"] = old.ended_by
    if new.label.kind == "unknown":
        known["label"] = old.label
    return replace(new, **known)


def _alike(one: PastCanary, other: PastCanary) -> bool:
    """Whether one has the first numbers of the other: the same canary, read for longer or with other looks."""
    last = [canary.tape.last.streams for canary in (one, other)]
    for name in last[0].keys() & last[1].keys():
        users = [streams[name].data for streams in last]
        if not all(isinstance(data, UserData) for data in users):
            continue
        sides = [(data.baseline, data.canary) for data in users if isinstance(data, UserData)]
        told = [[_users(one) for one in pair] for pair in sides]
        if [one.until for one in sides[0]] == [one.until for one in sides[1]] and told[0] != told[1]:
            return False
    shared = one.tape.data.keys() & other.tape.data.keys()
    for name in shared:
        pair = one.tape.data[name], other.tape.data[name]
        arrays = [getattr(data, "counts", data) for data in pair]
        for column in _COMPARED:
            values = [np.atleast_2d(getattr(each, column)) for each in arrays if hasattr(each, column)]
            if len(values) == 2:
                rows, width = (min(each.shape[axis] for each in values) for axis in (0, 1))
                if not np.array_equal(values[0][:rows, :width], values[1][:rows, :width], equal_nan=True):
                    return False
    return True


def _users(one: UserMoments) -> tuple[int, list[float]]:
    return one.whole.users, one.whole.mean.tolist()


def _bytes(table: pa.Table, *, at_once: int = 1) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=at_once, write_page_checksum=True)
    return buffer.getvalue()


def _day(start: datetime) -> str:
    return f"day={start.astimezone(UTC):%Y-%m-%d}"


def _date(day: date | str) -> date:
    if isinstance(day, datetime):
        return moment_from(day, "day").astimezone(UTC).date()
    try:
        found = date.fromisoformat(day) if isinstance(day, str) else day
    except ValueError as error:
        raise DataError(f"day is {day!r}; give a date, as 2026-01-31") from error
    if not isinstance(found, date):
        raise DataError(f"day is {day!r}; give a date, as 2026-01-31")
    return found


def _moment(value: datetime | date | str) -> datetime:
    """A moment; of a date its beginning, in UTC."""
    if isinstance(value, str):
        given = value
        for read in (date.fromisoformat, datetime.fromisoformat):
            with suppress(ValueError):
                value = read(given)
                break
        else:
            raise DataError(f"the moment is {given!r}; give a date, as 2026-01-31")
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return moment_from(value, "the moment")
