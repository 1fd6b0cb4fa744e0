"""Large CSV files and Parquet, read with pyarrow piece by piece: ten million rows become columns without a loop."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from canary_judge.errors import DataError
from canary_judge.results import Side
from canary_judge.sources.tables import NO_TIME_OF_A_RUN, refuse_repeated, strange_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NotAsTyped", "csv_columns", "parquet_columns"]

Raw = Any
# Rows of Parquet, and bytes of CSV, that are read at once.
_ROWS, _BYTES = 1 << 16, 1 << 22


class NotAsTyped(Exception):
    """A column is of another type further down than it is at the beginning."""


def parquet_columns(path: Path) -> dict[str, Raw]:
    """The columns of a Parquet file, as `canary_judge.sources.tables` has them.

    Raises:
        DataError: A time has no zone, or a side is none.
        OSError, ValueError: The file cannot be read.
    """
    with parquet.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20) as file:
        names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        refuse_repeated(names)
        batches = file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False)
        return _gathered(names, batches, rows=file.metadata.num_rows)


def csv_columns(path: Path, names: list[str], missing: Iterable[str]) -> dict[str, Raw]:
    """The columns of a CSV file, plain or packed with gzip.

    Args:
        path: The file.
        names: Of its columns.
        missing: How nothing is written.

    Raises:
        NotAsTyped: Only reading all of a column tells what it holds.
        DataError: A time has no zone, a side is none, or a line has another number of fields than the first one.
        OSError, ValueError: The file cannot be read.
    """

    def opened(types: dict[str, pa.DataType]) -> csv.CSVStreamingReader:
        return csv.open_csv(
            pa.input_stream(str(path), compression="gzip" if path.name.endswith(".gz") else None),
            read_options=csv.ReadOptions(block_size=_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=list(missing),
                strings_can_be_null=True,
                true_values=["True", "true", "TRUE"],
                false_values=["False", "false", "FALSE"],
            ),
        )

    try:
        with opened({}) as reader:
            types = {one.name: _wide(one.name, one.type) for one in reader.schema}
        with opened(types) as reader:
            return _gathered(names, reader)
    except pa.ArrowInvalid as error:
        text = " ".join(str(error).split())
        if "conversion error" in text:
            raise NotAsTyped(text) from error
        raise DataError(text) from error


def _wide(name: str, kind: pa.DataType) -> pa.DataType:
    """Whole numbers may have fractions further down, and nothing may be a number; other times than ours are labels."""
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_date(kind) or pa.types.is_time(kind) or (pa.types.is_timestamp(kind) and name != "timestamp"):
        return pa.string()
    return kind


def _gathered(names: list[str], batches: Iterable[pa.RecordBatch], rows: int | None = None) -> dict[str, Raw]:
    """Each column of all batches as one array; where the number of rows is known, put in place as it is read."""
    columns = {name: _Column(rows) for name in names}
    for batch in batches:
        for name in names:
            columns[name].add(_piece(name, batch.column(name)))
    return {name: columns.pop(name).whole() for name in names}


class _Column:
    """A column that grows by pieces; where some have values that others lack, they become objects."""

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._array: NDArray[Any] | None = None
        self._used = 0
        self._pieces: list[NDArray[Any]] = []

    def add(self, piece: NDArray[Any]) -> None:
        if self._rows is None:
            self._pieces.append(piece)
            return
        if self._array is None:
            self._array = np.empty(self._rows, dtype=piece.dtype)
        elif self._array.dtype != piece.dtype:
            self._array = self._array.astype(object)
        self._array[self._used : self._used + piece.size] = piece
        self._used += piece.size

    def whole(self) -> NDArray[Any]:
        if self._array is not None:
            return self._array
        if len({piece.dtype for piece in self._pieces}) > 1:
            self._pieces = [piece.astype(object) for piece in self._pieces]
        return np.concatenate(self._pieces) if self._pieces else np.empty(0)


def _piece(name: str, column: pa.Array) -> NDArray[Any]:
    kind = column.type
    if name == "timestamp" and pa.types.is_timestamp(kind):
        if kind.tz is None:
            first = next((str(one) for one in column if one.is_valid), "?")
            raise DataError(f"timestamp {first!r} has no time zone; write it as {first}+00:00")
        if column.null_count:
            raise DataError("a timestamp is missing; drop such rows")
        try:
            return np.asarray(column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()))
        except pa.ArrowInvalid as error:
            raise DataError(NO_TIME_OF_A_RUN.format("a timestamp", _latest(column))) from error
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if name == "side" and (text or pa.types.is_dictionary(kind)):
        return _sides(column)
    if pa.types.is_boolean(kind) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    if text:
        column = column.dictionary_encode()
    if isinstance(column, pa.DictionaryArray):  # one text for all rows that have it
        known = np.array([*column.dictionary.to_pylist(), None], dtype=object)
        return np.asarray(known[_codes(column)])
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def _latest(column: pa.Array) -> object:
    """What is too far away for nanoseconds; databases write infinity as a time beyond those of Python."""
    try:
        return max(column.to_pylist())
    except (OverflowError, ValueError):
        return "infinity"


def _codes(column: pa.DictionaryArray) -> NDArray[np.int64]:
    """The place of each value in the dictionary; -1 where there is none."""
    return np.asarray(column.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False))


def _sides(column: pa.Array) -> NDArray[np.int8]:
    """1 for rows of the canary, 0 for those of the baseline."""
    column = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    known = [*column.dictionary.to_pylist(), None]
    codes = _codes(column)
    for code in np.unique(codes).tolist():
        if known[code] not in (Side.BASELINE.value, Side.CANARY.value):
            raise DataError(strange_side(known[code]))
    return np.array([one == Side.CANARY.value for one in known], dtype=np.int8)[codes]
