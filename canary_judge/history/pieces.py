"""Some canaries of one object of a history, for a worker that reads its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from canary_judge.errors import DataError
from canary_judge.history.canary import Label, PastCanary
from canary_judge.history.labels import Given
from canary_judge.history.objects import Objects
from canary_judge.history.parquet import Place, canaries_of, check_version
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AT_ONCE", "Piece", "Unreadable", "check_whole", "newest", "pieces_of", "places_of", "told"]

# Canaries that are read at once.
AT_ONCE = 16
# A thread of Arrow that still holds a Python file aborts the process at its end (apache/arrow#34314).
_THREADS = False
_META = ("id", "start", "end", "written", "label", "label_by", "label_note")
# While others put objects together, some are gone when they are to be read.
_RETRIES = 5


class Unreadable(DataError):
    """An object that cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some canaries of one object.

    Attributes:
        url: Of the history.
        path: Of the object, below it.
        rows: Which of its rows.
        ids: Of their canaries.
        written: When each was archived, in seconds since 1970.
        labels: Of each.
        skip: Leave out what cannot be read.
    """

    url: str
    path: str
    rows: tuple[int, ...]
    ids: tuple[str, ...]
    written: tuple[float, ...]
    labels: Mapping[str, Label] = field(default_factory=dict)
    skip: bool = False

    def canaries(self) -> Iterator[PastCanary]:
        """Read them, a few at a time, also where they were put into another object meanwhile.

        Raises:
            Unreadable: The object is damaged, or they are in none any more.
        """
        objects, left = Objects(self.url), list(zip(self.rows, self.ids, strict=True))
        path = self.path
        for _ in range(_RETRIES):
            try:
                for canary in _read(objects, path, left):
                    left = left[1:]
                    yield canary.labelled(self.labels.get(canary.id, canary.label))
            except FileNotFoundError:
                wanted = [name for _, name in left]
                found = {one.id: one for one in newest(_every(objects)) if one.id in wanted}
                places = [found[name] for name in wanted if name in found]
                if len(places) == len(wanted) and len({one.path for one in places}) > 1:
                    for piece in pieces_of(self.url, places, None):
                        yield from replace(piece, labels=self.labels).canaries()
                    return
                if len(places) != len(wanted):
                    break
                path, left = places[0].path, [(one.row, one.id) for one in places]
                continue
            return
        other = "; what is in the memory of one process is not in another's: give a folder" if objects.in_memory else ""
        raise Unreadable(f"{objects.shown(self.path)}: is gone, and its canaries are in no other object{other}")


def _read(objects: Objects, path: str, wanted: list[tuple[int, str]]) -> Iterator[PastCanary]:
    """The canaries of these rows, which must be those of these ids."""
    import pyarrow as pa

    rows, first = dict(wanted), 0
    try:
        for table in _tables(objects, path):
            mine = [number for number in rows if first <= number < first + table.num_rows]
            part = table.take([number - first for number in mine]) if mine else None
            first += table.num_rows
            for number, canary in zip(mine, canaries_of(part) if part is not None else (), strict=True):
                if canary.id != rows[number]:
                    raise FileNotFoundError(path)  # another object has taken its place
                yield canary
    except FileNotFoundError:
        raise
    except DataError as error:
        raise error if isinstance(error, Unreadable) else _unreadable(objects, path, error) from error
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        raise _unreadable(objects, path, error) from error


def check_whole(objects: Objects, path: str) -> None:
    """Read an object to its end, for its check sums.

    Raises:
        Unreadable: It is damaged.
        FileNotFoundError: It is gone.
    """
    import pyarrow as pa

    try:
        for _ in _tables(objects, path):
            pass
    except (FileNotFoundError, DataError):
        raise
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        raise _unreadable(objects, path, error) from error


def _tables(objects: Objects, path: str) -> Iterator[pa.Table]:
    """The rows of an object, a few at a time."""
    import pyarrow.parquet as pq

    with objects.open(path) as file:
        opened = pq.ParquetFile(file, page_checksum_verification=True)
        check_version(opened.schema_arrow, objects.shown(path))
        for group in range(opened.num_row_groups):
            yield opened.read_row_group(group, use_threads=_THREADS)


def _unreadable(objects: Objects, path: str, error: Exception) -> Unreadable:
    text = printable(" ".join(str(error).split()).rstrip(".")) or type(error).__name__
    remedy = "restore it or remove it, or leave it out with skip_corrupt=True (--skip-corrupt)"
    return Unreadable(f"{objects.shown(path)}: cannot be read: {text}; {remedy}")


# --- where they stand ------------------------------------------------------------------------------------------------


def places_of(objects: Objects, path: str) -> list[Place]:
    """The canaries of an object, without what they consumed.

    Raises:
        Unreadable: It is damaged.
        DataError: A newer version wrote it, or it is no history.
        FileNotFoundError: It is gone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with objects.open(path) as file:
            opened = pq.ParquetFile(file, page_checksum_verification=True)
            check_version(opened.schema_arrow, objects.shown(path))
            names = [name for name in _META if name in opened.schema_arrow.names]
            plain = opened.read(columns=names, use_threads=_THREADS).to_pylist()
            return [
                Place(
                    path=path,
                    row=number,
                    id=one["id"],
                    start=one["start"],
                    end=one["end"],
                    written=one.get("written") or one["end"],
                    label=Label.read(one.get("label"), one.get("label_by"), one.get("label_note")),
                )
                for number, one in enumerate(plain)
            ]
    except (FileNotFoundError, DataError):
        raise
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        raise _unreadable(objects, path, error) from error


def _every(objects: Objects) -> Iterator[Place]:
    for path in objects.names():
        try:
            yield from places_of(objects, path)
        except (FileNotFoundError, Unreadable):
            continue


def newest(places: Iterable[Place]) -> list[Place]:
    """Where the newest version of each canary stands, in order of their start."""
    found: dict[str, Place] = {}
    for one in places:
        if one.id not in found or (one.written, one.path) > (found[one.id].written, found[one.id].path):
            found[one.id] = one
    return sorted(found.values(), key=lambda one: (one.start, one.id))


def pieces_of(url: str, places: Iterable[Place], given: Given | None, *, skip: bool = False) -> list[Piece]:
    """Pieces of one object each, and of few canaries, in this order; without labels those of the objects count."""
    found: list[Piece] = []
    run: list[Place] = []

    def end() -> None:
        if run:
            found.append(
                Piece(
                    url=url,
                    path=run[0].path,
                    rows=tuple(one.row for one in run),
                    ids=tuple(one.id for one in run),
                    written=tuple(one.written.timestamp() for one in run),
                    labels={} if given is None else {one.id: given.of(one) for one in run},
                    skip=skip,
                )
            )
            run.clear()

    for place in places:
        if run and (place.path != run[0].path or len(run) >= AT_ONCE or place.row < run[-1].row):
            end()
        run.append(place)
    end()
    return found


def told(piece: Piece) -> str:
    """By which a piece is known again: its canaries, when they were archived, and their labels."""
    labels = [(name, one.kind, one.by, one.note) for name, one in sorted(piece.labels.items())]
    return json.dumps([piece.ids, piece.written, labels])
