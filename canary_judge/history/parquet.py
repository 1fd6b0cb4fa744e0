"""Past canaries as rows of a Parquet table: one row each, what it consumed in nested columns.

So one canary is one object, many are the rows of one object, and a reader of labels and dates reads no interval.
Readers take columns by name: an older version is read with what it lacks as unknown, a newer major one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from canary_judge._version import __version__
from canary_judge.arrays import Bool, Float, Int
from canary_judge.errors import DataError
from canary_judge.history.canary import EndedBy, Label, PastCanary, Span
from canary_judge.history.tape import Tape
from canary_judge.looks.streams import Data
from canary_judge.samples import CountData, GaugeData, RawData
from canary_judge.stats.counts import COLUMNS, Counts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SCHEMA", "Place", "canaries_of", "check_version", "schema", "table_of"]

# Major and minor version: a minor one adds columns, a major one changes what they mean.
SCHEMA = (1, 0)
_KEY = b"canary_judge"
_SIDES = ("baseline", "canary")
_GAP = "no data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a canary stands in a history, and what is known of it without reading what it consumed.

    Attributes:
        path: Of the object.
        row: Of its table.
        id: Of the canary; so are the others.
    """

    path: str
    row: int
    id: str
    start: datetime
    end: datetime
    written: datetime
    label: Label


def schema() -> pa.Schema:
    """Of the table; its metadata say which version it is."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    labels = pa.map_(pa.string(), pa.string())
    span = pa.struct([("what", pa.string()), ("start", moment), ("end", moment), ("note", pa.string())])
    consumed = pa.struct(
        [
            ("metric", pa.string()),
            ("side", pa.string()),
            ("instance", pa.string()),
            ("interval", pa.int32()),
            ("events", pa.float64()),
            ("total", pa.float64()),
            ("value", pa.float64()),
            ("gap", pa.string()),
        ]
    )
    look = pa.struct([("moment", moment), ("weight", pa.float64()), ("read", pa.string())])
    fields = [
        ("id", pa.string()),
        ("name", pa.string()),
        ("config", pa.string()),
        ("config_hash", pa.string()),
        ("version", pa.string()),
        ("baseline", labels),
        ("canary", labels),
        ("start", moment),
        ("end", moment),
        ("interval_seconds", pa.float64()),
        ("horizon", pa.int32()),
        ("weights", pa.list_(pa.struct([("moment", moment), ("percent", pa.float64())]))),
        ("judgement", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("did", pa.string()),
        ("ended_by", pa.string()),
        ("ended_why", pa.string()),
        ("deployment", pa.string()),
        ("spans", pa.list_(span)),
        ("label", pa.string()),
        ("label_by", pa.string()),
        ("label_note", pa.string()),
        ("reconstructed", pa.bool_()),
        ("written", moment),
        ("looks", pa.list_(look)),
        ("consumed", pa.list_(consumed)),
    ]
    told = {"schema": list(SCHEMA), "written_by": __version__}
    return pa.schema(fields, metadata={_KEY: json.dumps(told).encode()})


def check_version(found: pa.Schema, what: str) -> None:
    """Refuse what is no history, what a newer version wrote, and names that no version has: they are damaged.

    Raises:
        DataError: It names the file, and the version that is needed.
        ValueError: It is no history, or a column is called as none is.
    """
    metadata: Mapping[bytes, bytes] | None = found.metadata
    if metadata is None or _KEY not in metadata:
        raise ValueError(f"it is Parquet, but no history of canary_judge: its metadata have no {_KEY.decode()!r}")
    try:
        told = json.loads(metadata[_KEY])
        major, by = int(told["schema"][0]), str(told["written_by"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{what}: its metadata {_KEY.decode()!r} cannot be read: {error}") from error
    if major > SCHEMA[0]:
        raise DataError(
            f"{what}: has schema {major}, and this version of canary_judge ({__version__}) reads up to {SCHEMA[0]}; "
            f"upgrade to {by} or newer"
        )
    known = set(_names(schema()))
    strange = [name for name in _names(found) if name not in known]
    if strange and int(told["schema"][1]) <= SCHEMA[1]:  # the footer has no check sum
        raise ValueError(f"it has a column {strange[0]!r}, which no version writes")


def _names(of: pa.Schema) -> Iterator[str]:
    """The names of all columns, and of what is in them."""
    import pyarrow as pa

    for one in of:
        yield one.name
        if pa.types.is_list(one.type) and pa.types.is_struct(one.type.value_type):
            yield from (f"{one.name}.{inner.name}" for inner in one.type.value_type)


# --- canaries -> rows ------------------------------------------------------------------------------------------------


def table_of(canaries: Sequence[PastCanary], *, written: Sequence[datetime]) -> pa.Table:
    """A row for each, and when it was archived."""
    import pyarrow as pa

    rows = [_row(one, at) for one, at in zip(canaries, written, strict=True)]
    of = schema()
    columns = {
        one.name: pa.array([row[one.name] for row in rows], type=one.type) for one in of if one.name != "consumed"
    }
    parts = [_consumed(one.tape.data) for one in canaries]
    offsets = np.concatenate([[0], np.cumsum([len(part["metric"]) for part in parts])]).astype(np.int32)
    kind = of.field("consumed").type.value_type
    flat = [
        pa.concat_arrays([pa.array(part[inner.name], type=inner.type, from_pandas=True) for part in parts])
        for inner in kind
    ]
    columns["consumed"] = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(flat, fields=list(kind)))
    return pa.Table.from_arrays([columns[one.name] for one in of], schema=of)


def _row(canary: PastCanary, written: datetime) -> dict[str, Any]:
    config = canary.settings()
    judgement = canary.judged()
    looks: list[dict[str, Any]] = [{"moment": canary.start, "weight": None, "read": canary.tape.lines[0]}]
    for text, (moment, weight) in zip(canary.tape.lines[1:], canary.tape.moments(config.interval), strict=True):
        looks.append({"moment": moment, "weight": weight, "read": text})
    return {
        "id": canary.id,
        "name": config.name,
        "config": canary.config,
        "config_hash": config.hash(),
        "version": canary.version,
        "baseline": list(config.baseline.items()),
        "canary": list(config.canary.items()),
        "start": canary.start,
        "end": canary.end,
        "interval_seconds": config.interval.total_seconds(),
        "horizon": canary.tape.horizon,
        "weights": [{"moment": moment, "percent": percent} for moment, percent in canary.weights],
        "judgement": canary.judgement,
        "verdict": None if judgement is None else judgement.verdict.value,
        "score": None if judgement is None else judgement.score,
        "did": canary.did,
        "ended_by": canary.ended_by,
        "ended_why": canary.ended_why,
        "deployment": canary.deployment,
        "spans": [{"what": one.what, "start": one.start, "end": one.end, "note": one.note} for one in canary.spans],
        "label": canary.label.kind,
        "label_by": canary.label.by,
        "label_note": canary.label.note,
        "reconstructed": canary.reconstructed,
        "written": written,
        "looks": looks,
    }


def _consumed(data: Mapping[str, Data]) -> dict[str, Any]:
    """What was consumed, number by number, in columns."""
    parts: dict[str, list[Any]] = {
        name: [] for name in ("metric", "side", "instance", "interval", "events", "total", "value", "gap")
    }

    def add(metric: str, side: str, instance: str | None, count: int, **columns: Any) -> None:
        parts["metric"] += [metric] * count
        parts["side"] += [side] * count
        parts["instance"] += [instance] * count
        for name in ("interval", "events", "total", "value", "gap"):
            parts[name] += columns.get(name, [None] * count)

    for metric, one in data.items():
        for side in _SIDES:
            match one:
                case CountData(counts=counts):
                    total = getattr(counts, f"exposure_{side}")
                    add(
                        metric,
                        side,
                        None,
                        total.size,
                        interval=list(range(total.size)),
                        events=getattr(counts, f"events_{side}").tolist(),
                        total=total.tolist(),
                        gap=[None if known else _GAP for known in (total > 0).tolist()],
                    )
                case GaugeData():
                    names = getattr(one, f"names_{side}")
                    for number, values in enumerate(getattr(one, side)):
                        add(
                            metric,
                            side,
                            names[number] if names else f"#{number}",
                            values.size,
                            interval=list(range(values.size)),
                            value=values.tolist(),
                            gap=[_GAP if missing else None for missing in np.isnan(values).tolist()],
                        )
                case RawData():
                    values = getattr(one, side)
                    add(
                        metric,
                        side,
                        None,
                        values.size,
                        interval=getattr(one, f"interval_{side}").tolist(),
                        value=values.tolist(),
                    )
    return parts


# --- rows -> canaries ------------------------------------------------------------------------------------------------


def canaries_of(table: pa.Table) -> Iterator[PastCanary]:
    """The canaries of its rows; what an older version did not write is unknown."""
    unknown = {one.name: None for one in schema()}
    plain = table.drop_columns([name for name in ("looks", "consumed") if name in table.column_names]).to_pylist()
    looks, consumed = (table.column(name).combine_chunks() for name in ("looks", "consumed"))
    numbers, at = _Consumed.of(consumed.values), consumed.offsets.to_pylist()
    for number, row in enumerate(plain):
        lines = tuple(cast("Iterable[str]", looks[number].values.field("read").to_pylist()))
        yield _canary({**unknown, **row}, Tape(lines=lines, data=numbers.data(lines, slice(*at[number : number + 2]))))


def _canary(row: Mapping[str, Any], tape: Tape) -> PastCanary:
    return PastCanary(
        id=row["id"],
        config=row["config"],
        version=row["version"],
        start=_utc(row["start"]),
        end=_utc(row["end"]),
        tape=tape,
        weights=tuple((_utc(one["moment"]), one["percent"]) for one in row["weights"] or ()),
        judgement=row["judgement"],
        did=row["did"] or "",
        ended_by=cast("EndedBy", row["ended_by"] or "unknown"),
        ended_why=row["ended_why"] or "",
        deployment=row["deployment"] or "",
        spans=tuple(
            # an older version took those that end before they begin
            Span(what=one["what"], start=ends[0], end=ends[1], note=one["note"] or "")
            for one in row["spans"] or ()
            for ends in [sorted((_utc(one["start"]), _utc(one["end"])))]
        ),
        label=Label.read(row["label"], row["label_by"], row["label_note"]),
        reconstructed=bool(row["reconstructed"]),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Consumed:
    """What several canaries consumed, one entry for each row of it.

    Attributes:
        names: Of metrics.
        metric: Which of them, shape (n,).
        canary: Of the canary, not of the baseline, shape (n,).
        instance: Another number for another instance, shape (n,).
        interval: Shape (n,).
        numbers: Columns of numbers, NaN for what is unknown, each of shape (n,).
    """

    names: Sequence[str]
    metric: Int
    canary: Bool
    instance: Int
    interval: Int
    numbers: Mapping[str, Float]

    @classmethod
    def of(cls, rows: pa.StructArray) -> _Consumed:
        """Of the rows of one or more canaries."""
        metric, side, instance = (rows.field(name).dictionary_encode() for name in ("metric", "side", "instance"))
        sides = side.dictionary.to_pylist()
        return cls(
            names=metric.dictionary.to_pylist(),
            metric=metric.indices.to_numpy(zero_copy_only=False),
            canary=np.array([one == "canary" for one in sides], dtype=bool)[
                side.indices.to_numpy(zero_copy_only=False)
            ],
            instance=instance.indices.fill_null(-1).to_numpy(zero_copy_only=False),
            interval=rows.field("interval").to_numpy(zero_copy_only=False).astype(np.int64),
            numbers={
                name: rows.field(name).to_numpy(zero_copy_only=False).astype(float)
                for name in ("events", "total", "value")
            },
        )

    def data(self, lines: Sequence[str], rows: slice) -> dict[str, Data]:
        """The data of each metric of one canary: its rows, and the kinds that its lines tell."""
        kinds: dict[str, str] = {}
        for text in lines:
            # most lines of a run tell of none, and are read again for what they tell
            parts = json.loads(text).get("data", {}) if '"whole"' in text else {}
            kinds |= {metric: part["whole"] for metric, part in parts.items() if "whole" in part}
        codes, canary = self.metric[rows], self.canary[rows]
        found: dict[str, Data] = {}
        for metric, kind in kinds.items():
            mine = codes == (self.names.index(metric) if metric in self.names else -1)
            sides = [rows.start + np.flatnonzero(mine & part) for part in (~canary, canary)]
            if kind == "CountData":
                columns = [self.numbers[name][part] for part in sides for name in ("events", "total")]
                found[metric] = CountData(counts=Counts(**dict(zip(COLUMNS, columns, strict=True))))
            elif kind == "GaugeData":
                matrices = [_matrix(self.numbers["value"][part], self.instance[part]) for part in sides]
                width = max((one.shape[1] for one in matrices if one.size), default=0)
                baseline, canaries = (one if one.size else np.empty((0, width)) for one in matrices)
                found[metric] = GaugeData(baseline=baseline, canary=canaries)
            elif kind == "RawData":
                values, places = ([column[part] for part in sides] for column in (self.numbers["value"], self.interval))
                found[metric] = RawData(
                    baseline=values[0], canary=values[1], interval_baseline=places[0], interval_canary=places[1]
                )
        return found


def _matrix(values: Float, instances: np.ndarray[Any, Any]) -> Float:
    """One row for each instance, in the order in which they stand."""
    if not values.size:
        return np.empty((0, 0))
    starts = np.flatnonzero(np.diff(instances, prepend=instances[0] - 1))
    return values.reshape(starts.size, -1)
