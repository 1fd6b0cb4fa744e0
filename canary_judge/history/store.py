"""Past canaries on a disk or in an object store: one Parquet object each, until a day's are put into one."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.archiving import record
from canary_judge.history.asking import ask
from canary_judge.history.canary import Label, LabelKind, PastCanary
from canary_judge.history.objects import Objects
from canary_judge.history.parquet import Place, canaries_of, check_version, table_of
from canary_judge.series import MetricSource, Window
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from canary_judge.sources import FrameSource

__all__ = ["History", "Piece"]

_LABELS = "labels"
# Canaries of a compacted object that are read at once.
_AT_ONCE = 16
_META = ("id", "start", "end", "written", "label", "label_by", "label_note")
_RETRIES = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """Some canaries of one object, for a worker that reads its own.

    Attributes:
        url: Of the history.
        path: Of the object, below it.
        rows: Which of its rows.
        written: When each was archived, in seconds since 1970.
        labels: Their labels, where they were given later.
    """

    url: str
    path: str
    rows: tuple[int, ...]
    written: tuple[float, ...]
    labels: Mapping[str, Label]

    def canaries(self) -> Iterator[PastCanary]:
        """Read them, a few at a time.

        Raises:
            DataError: The object is damaged, or was put into another one meanwhile.
        """
        wanted, first, objects = set(self.rows), 0, Objects(self.url)
        try:
            for table in _tables(objects, self.path):
                mine = [number - first for number in sorted(wanted) if first <= number < first + table.num_rows]
                first += table.num_rows
                for canary in canaries_of(table.take(mine)) if mine else ():
                    yield canary.labelled(self.labels[canary.id]) if canary.id in self.labels else canary
        except FileNotFoundError as error:
            text = f"{objects.shown(self.path)}: is gone, put into another object or removed meanwhile; try again"
            raise DataError(text) from error


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
        self._objects = Objects(url)
        self.url = self._objects.url
        self.skip_corrupt = skip_corrupt
        self.skipped: list[str] = []

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

    def label(self, canary: str, kind: LabelKind, note: str = "", *, by: str) -> None:
        """Say what a canary was found to have been.

        Args:
            canary: Its id.
            kind: healthy, bad or unknown.
            note: In your words.
            by: Who says so, or from what it is known. A rollback is no truth, and is refused.
        """
        self.label_all([(canary, Label(kind=kind, by=by, note=note))])

    def label_all(self, labels: Iterable[tuple[str, Label]] | str | Path) -> int:
        """Label many: of pairs, or of a CSV file with the columns id, label, by and note; how many they were.

        Raises:
            DataError: A label is none, or no canary has the id; nothing is written then.
        """
        given = _labels_of_csv(Path(labels)) if isinstance(labels, str | Path) else list(labels)
        known = {one.id for one in self._places()}
        for number, (canary, _) in enumerate(given, 1):
            if canary not in known:
                raise DataError(f"label {number}: there is no canary {printable(canary)!r} in {self.url}")
        at = datetime.now(UTC)
        told = [
            {"id": canary, "label": one.kind, "by": one.by, "note": one.note, "at": at.isoformat()}
            for canary, one in given
        ]
        if told:
            name = f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
            self._objects.put(f"{_LABELS}/{name}.json", json.dumps(told).encode())
        return len(told)

    def compact(self, day: date | str) -> int:
        """Put the canaries of a day (of their start, UTC) into one object; how many objects that saves.

        Small objects cost a reader far more than large ones. A crash in between leaves canaries twice, and readers
        take each once.
        """
        folder = f"day={_date(day).isoformat()}"
        seen = {name: self._objects.key(name) for name in self._objects.names(folder)}
        if len(seen) < 2:
            return 0
        places = [one for one in self._every_place() if one.path in seen]  # none of what cannot be read
        self._objects.put(f"{folder}/all-{uuid.uuid4().hex}.parquet", self._rewritten(_newest(places)))
        old = {one.path for one in places}
        for path in old:
            if self._objects.key(path) == seen[path]:  # what was archived anew meanwhile stays
                self._objects.remove(path)
        return len(old) - 1

    def _rewritten(self, rows: Sequence[Place]) -> bytes:
        """The same canaries as the rows of one object."""
        canaries = [canary for piece in self._pieces(rows) for canary in replace(piece, labels={}).canaries()]
        return _bytes(table_of(canaries, written=[one.written for one in rows]), at_once=_AT_ONCE)

    def drop(self, *, before: datetime | date | str) -> int:
        """Remove the canaries that ended before a moment: the retention; how many they were."""
        moment = _moment(before)
        gone = 0
        every: dict[str, list[Place]] = {}
        for row in self._every_place():
            every.setdefault(row.path, []).append(row)
        for path, rows in every.items():
            old = [row for row in rows if row.end < moment]
            if not old:
                continue
            gone += len(old)
            kept = [row for row in rows if row.end >= moment]
            if kept:
                self._objects.put(path, self._rewritten(kept))
            else:
                self._objects.remove(path)
        return gone

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

        source = frame if isinstance(frame, FrameSource) else FrameSource(frame)
        window = source.window(config.interval)
        return self.append(record(config, source, window, every=every, horizon=horizon, **more))

    def from_source(
        self,
        config: JudgeConfig,
        source: MetricSource | Mapping[str, MetricSource],
        windows: Iterable[Window],
        *,
        every: str | timedelta | None = None,
        **more: Any,
    ) -> list[str]:
        """Archive canaries that happened before us, from a source that still has them; their ids.

        Args:
            config: What was compared.
            source: As for `judge`.
            windows: When they served: a list of deploy times is enough.
            every: Time between the looks, which are made up; by default the interval.
            more: What else is known of all of them.
        """
        return [self.append(record(config, source, window, every=every, **more)) for window in windows]

    # --- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many canaries there are."""
        return len(self._places())

    def __iter__(self) -> Iterator[PastCanary]:
        """All of them, in order of their start."""
        for piece in self.pieces():
            yield from piece.canaries()

    def read(self, canary: str) -> PastCanary:
        """The one with this id.

        Raises:
            DataError: There is none.
        """
        rows = [one for one in self._places() if one.id == canary]
        if not rows:
            raise DataError(f"there is no canary {printable(canary)!r} in {self.url}")
        return next(iter(self._pieces(rows)[0].canaries()))

    def pieces(self, *, since: datetime | None = None, until: datetime | None = None) -> list[Piece]:
        """Canaries in pieces of one object each, in order of their start.

        Args:
            since: Only those that began then or later.
            until: Only those that began before.
        """
        rows = [
            one
            for one in self._places()
            if (since is None or one.start >= since) and (until is None or one.start < until)
        ]
        return self._pieces(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row for each canary: all but what it consumed."""
        return self.query("SELECT * FROM canaries ORDER BY start, id")

    def query(self, sql: str) -> pd.DataFrame:
        """Ask in SQL (DuckDB): the tables `canaries`, `looks` and `consumed`, the latter two with the canary's id.

        Raises:
            DataError: The query cannot be answered.
        """
        return ask(self._objects, self._places(), self._labels(), sql)

    # --- objects ------------------------------------------------------------------------------------------------

    def _pieces(self, rows: Iterable[Place]) -> list[Piece]:
        labels = self._labels()
        found: list[Piece] = []
        run: list[Place] = []

        def end() -> None:
            if run:
                mine = {one.id: labels[one.id] for one in run if one.id in labels}
                written = tuple(one.written.timestamp() for one in run)
                found.append(Piece(self.url, run[0].path, tuple(one.row for one in run), written, mine))
                run.clear()

        for row in rows:
            if run and (row.path != run[0].path or len(run) >= _AT_ONCE or row.row < run[-1].row):
                end()
            run.append(row)
        end()
        return found

    def _places(self) -> list[Place]:
        """Where the newest version of each canary stands, in order of their start."""
        return _newest(self._every_place())

    def _every_place(self) -> list[Place]:
        for attempt in range(_RETRIES):
            try:
                return [row for path in self._objects.names() for row in self._places_of(path)]
            except FileNotFoundError:  # put into another object meanwhile
                if attempt == _RETRIES - 1:
                    raise
        return []

    def _places_of(self, path: str) -> list[Place]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._objects.open(path) as file:
                opened = pq.ParquetFile(file)
                check_version(opened.schema_arrow.metadata, self._objects.shown(path))
                names = [name for name in _META if name in opened.schema_arrow.names]
                plain = opened.read(columns=names).to_pylist()
                return [
                    Place(
                        path=path,
                        row=number,
                        id=one["id"],
                        start=one["start"],
                        end=one["end"],
                        written=one.get("written") or one["end"],
                        label=Label(
                            kind=cast("LabelKind", one.get("label") or "unknown"),
                            by=one.get("label_by") or "",
                            note=one.get("label_note") or "",
                        ),
                    )
                    for number, one in enumerate(plain)
                ]
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError) as error:
            text = f"{self._objects.shown(path)}: cannot be read: {printable(str(error)) or type(error).__name__}"
            if not self.skip_corrupt:
                raise DataError(f"{text}. Restore it or remove it, or leave it out with skip_corrupt=True") from error
            if text not in self.skipped:
                self.skipped.append(text)
            return []

    def _labels(self) -> dict[str, Label]:
        """The newest label of each canary that got one afterwards."""
        found: dict[str, tuple[str, Label]] = {}
        for path in self._objects.names(_LABELS, ".json"):
            try:
                told = json.loads(self._objects.read(path))
                for one in told:
                    label = Label(kind=one["label"], by=one["by"], note=one["note"])
                    if one["id"] not in found or one["at"] >= found[one["id"]][0]:
                        found[one["id"]] = (one["at"], label)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._objects.shown(path)}: holds no labels: {error}; remove it") from error
        return {canary: label for canary, (_, label) in found.items()}


def _tables(objects: Objects, path: str) -> Iterator[pa.Table]:
    """The rows of an object, a few at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with objects.open(path) as file:
            opened = pq.ParquetFile(file)
            check_version(opened.schema_arrow.metadata, objects.shown(path))
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError) as error:
        text = f"{objects.shown(path)}: cannot be read: {printable(str(error))}"
        raise DataError(f"{text}. Restore it or remove it") from error


def _bytes(table: pa.Table, *, at_once: int = 1) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=at_once)
    return buffer.getvalue()


def _day(start: datetime) -> str:
    return f"day={start.astimezone(UTC):%Y-%m-%d}"


def _newest(places: Iterable[Place]) -> list[Place]:
    found: dict[str, Place] = {}
    for one in places:
        if one.id not in found or (one.written, one.path) > (found[one.id].written, found[one.id].path):
            found[one.id] = one
    return sorted(found.values(), key=lambda one: (one.start, one.id))


def _date(day: date | str) -> date:
    try:
        return date.fromisoformat(day) if isinstance(day, str) else day
    except ValueError as error:
        raise DataError(f"day is {day!r}; give a date, as 2026-01-31") from error


def _moment(value: datetime | date | str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise DataError(f"before is {value!r}; give a date, as 2026-01-31") from error
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _labels_of_csv(path: Path) -> list[tuple[str, Label]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    missing = [name for name in ("id", "label", "by") if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column {', '.join(missing)}; give id, label, by and, if you like, note")
    found = []
    for row in reader:
        try:
            label = Label(kind=cast("LabelKind", row["label"]), by=row["by"] or "", note=row.get("note") or "")
        except DataError as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error
        found.append((row["id"], label))
    return found
