"""Labels that were given afterwards: small objects of JSON, of which the newest counts."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from canary_judge.errors import DataError
from canary_judge.history.canary import Label, LabelKind
from canary_judge.history.objects import Objects
from canary_judge.history.parquet import Place
from canary_judge.series import moment_from
from canary_judge.untrusted import printable

__all__ = ["Given", "given_labels", "keep_labels", "labels_of_csv"]

_FOLDER = "labels"
_TICK = timedelta(microseconds=1)


class Given:
    """The labels of canaries: those given afterwards, unless a canary was archived with another one since then."""

    def __init__(self, newest: dict[str, tuple[datetime, Label]]) -> None:
        self._newest = newest

    def moments(self) -> dict[str, datetime]:
        """When the newest label of each canary was given."""
        return {canary: at for canary, (at, _) in self._newest.items()}

    def of(self, place: Place) -> Label:
        """What a canary was found to have been."""
        at, label = self._newest.get(place.id, (None, None))
        if at is None or label is None or (place.label.kind != "unknown" and place.written > at):
            return place.label if place.label.kind == "unknown" else replace(place.label, at=place.written)
        return replace(label, at=at)


def given_labels(objects: Objects) -> Given:
    """All of them.

    Raises:
        DataError: An object holds none; it is named.
    """
    found: dict[str, tuple[datetime, Label]] = {}
    for path in objects.names(_FOLDER, ".json"):
        try:
            for one in json.loads(objects.read(path)):
                at = moment_from(one["at"], "at")
                if one["id"] not in found or at >= found[one["id"]][0]:
                    found[one["id"]] = (at, Label(kind=one["label"], by=one["by"], note=one["note"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{objects.shown(path)}: holds no labels: {error}; remove it") from error
    return Given(found)


def keep_labels(objects: Objects, labels: Sequence[tuple[str, Label]], archived: Mapping[str, datetime]) -> None:
    """Write them down, all at once.

    Args:
        objects: Of the history.
        labels: Which canaries, and what they were found to have been.
        archived: When each canary was archived.
    """
    given = given_labels(objects).moments()
    known = {canary: max(archived.get(canary, at), at) for canary, at in given.items()} | {
        canary: at for canary, at in archived.items() if canary not in given
    }
    # a label that is given now is newer than those that are there, whatever another machine's clock says
    at = max([datetime.now(UTC), *(known[canary] + _TICK for canary, _ in labels if canary in known)])
    told = [
        {"id": canary, "label": one.kind, "by": one.by, "note": one.note, "at": at.isoformat()}
        for canary, one in labels
    ]
    if told:
        objects.put(f"{_FOLDER}/{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json", json.dumps(told).encode())


def labels_of_csv(path: Path) -> list[tuple[str, str, Label]]:
    """Where in the file, which canary, and its label; as spreadsheets write them, with `;` or tabs and empty lines.

    Raises:
        DataError: It cannot be read, or a line is no label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if text.lower().startswith("sep="):  # Excel's first line
        text = text.partition("\n")[2]
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=max(",;\t", key=first.count))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    try:
        return list(_rows(path, reader))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: is no CSV: {error}") from error


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterable[tuple[str, str, Label]]:
    names = list(reader.fieldnames or [])
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{path}: has the column {twice[0]!r} twice; keep one of them")
    missing = [name for name in ("id", "label", "by") if name not in names]
    if missing:
        raise DataError(
            f"{path}: has no column {', '.join(missing)}, but {', '.join(map(printable, names)) or 'none'}; give id, "
            "label, by and, if you like, note"
        )
    said: dict[str, Label] = {}
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{where}: has more or fewer fields than the first line names")
        told = {name: value.strip() for name, value in row.items()}
        if not told["label"]:  # not known yet
            if told["by"]:
                raise DataError(f"{where}: label is ''; give one of healthy, bad, unknown")
            continue
        try:
            label = Label(kind=cast("LabelKind", told["label"].lower()), by=told["by"], note=told.get("note", ""))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        known = said.get(told["id"])
        if known is not None and known != label:
            raise DataError(f"{where}: canary {told['id']!r} is labelled twice, and not alike")
        said[told["id"]] = label
        if known is None:
            yield where, told["id"], label
    if not said:
        raise DataError(f"{path}: labels no canary; give a line for each")
