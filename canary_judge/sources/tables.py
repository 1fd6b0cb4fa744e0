"""A tidy table as numpy columns, read from CSV without pandas, from Parquet or from a DataFrame, and checked."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct
from canary_judge.config.reading import nearest
from canary_judge.errors import ConfigError, DataError
from canary_judge.results import Side
from canary_judge.series import Window, nanoseconds

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Mask = Bool
    # what a column holds as it is read: numbers, truths, nanoseconds, sides as 0 and 1 in eight bits, or texts
    # with None for what is missing
    Raw = NDArray[Any]

__all__ = [
    "FEWEST_NUMBERED",
    "NO_TIME_OF_A_RUN",
    "Align",
    "Table",
    "is_number",
    "numbers_rows",
    "on_grid",
    "refuse_repeated",
    "strange_side",
]

Align = Literal["time", "start"]
# Bytes up to which a CSV file is read here; about what is parsed in the time that pandas takes to be imported.
_SMALL_FILE = 8_000_000
_AT_ONCE = 1 << 20
# As BigQuery and Snowflake write it: 2026-01-01 12:00:00 UTC, and 2026-01-01 12:00:00.000 Z.
_UTC = re.compile(r"\s*(UTC|GMT|Z)$")
# Times since 1970 in other units than seconds, by their size.
_FINER = ((1e17, "nanoseconds", "1e9"), (1e14, "microseconds", "1e6"), (1e11, "milliseconds", "1000"))
NO_TIME_OF_A_RUN = "{} is {}, which is no time of a run; drop such rows"
# Years that nanoseconds since 1970 can hold.
_FIRST_YEAR, _LAST_YEAR = 1677, 2262
# Whole numbers below a thousand, and thousands with a dot, as they look side by side.
_LOOKED_AT = 100_000
_FEWEST_OF_BOTH, _A_THOUSAND, _MANY_TIMES, _MOSTLY = 5, 1000, 5.0, 0.7
_MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>"})
# Of so few rows one cannot tell that a column numbers them.
FEWEST_NUMBERED = 20
# Columns of a table that has counts.
_COUNTED = ("requests", "errors", "total", "count")
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Rows in order of time, every array of shape (n,).

    Attributes:
        times: Nanoseconds since the epoch.
        canary: True for rows of the canary, False for those of the baseline.
        ok: Of a table of requests, which of them were answered well; else None.
        numbers: Columns of numbers by name, NaN for what is missing.
        texts: Other columns by name, None for what is missing.
        sorted_sides: Those of which the rows came in order of time, so that no file was appended to another.
        places: Where each row stood in the file; None where all came in order of time.
        truths: Columns of numbers that were true or false.
    """

    times: Int
    canary: Mask
    ok: Mask | None
    numbers: Mapping[str, Float]
    texts: Mapping[str, NDArray[np.object_]]
    sorted_sides: frozenset[Side] = frozenset()
    places: Int | None = None
    truths: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: pd.DataFrame | str | Path, align: Align) -> Table:
        """Read and check a table.

        Raises:
            DataError: It is malformed; the message names the column, the row and the remedy.
        """
        columns = _read(Path(data)) if isinstance(data, str | Path) else _columns(_as_pandas(data))
        if align not in ("time", "start"):
            raise ConfigError(f"align is {align!r}; it must be 'time' or 'start'")
        return _checked(columns, align)

    def __len__(self) -> int:
        return int(self.times.size)

    def rows(self, kept: Mask) -> Table:
        """A table of some of the rows."""
        return Table(
            times=self.times[kept],
            canary=self.canary[kept],
            ok=None if self.ok is None else self.ok[kept],
            numbers={name: values[kept] for name, values in self.numbers.items()},
            texts={name: values[kept] for name, values in self.texts.items()},
            sorted_sides=self.sorted_sides,
            places=None if self.places is None else self.places[kept],
            truths=self.truths,
        )

    def side(self, side: Side) -> Mask:
        """Which rows belong to a side."""
        return self.canary if side is Side.CANARY else ~self.canary

    def groups(self, names: Sequence[str], rows: Int) -> list[tuple[dict[str, str], Int]]:
        """The rows with equal values in the named columns, as texts and in their order."""
        if not names:
            return [({}, rows)]
        found: dict[tuple[str, ...], list[int]] = {}
        columns = [
            self.texts[name][rows] if name in self.texts else _as_texts(self.numbers[name][rows]) for name in names
        ]
        for row, *key in zip(rows.tolist(), *columns, strict=True):
            found.setdefault(tuple("nan" if part is None else str(part) for part in key), []).append(row)
        return [(dict(zip(names, key, strict=True)), np.array(found[key], dtype=np.int64)) for key in sorted(found)]


def _as_texts(numbers: Float) -> list[str | None]:
    """Numbers that are labels, such as a status code or a shard."""
    return [None if np.isnan(value) else f"{value:.15g}" for value in numbers.tolist()]


def _read(path: Path) -> dict[str, Raw]:
    try:
        if path.name.endswith((".csv", ".csv.gz")):
            opened = gzip.open if path.name.endswith(".gz") else open
            with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file)
                names = _header(lines)
                if path.stat().st_size <= _SMALL_FILE:
                    return _parsed(lines, names)
            return _read_large(path, names)
        if path.suffix == ".parquet":
            from canary_judge.sources.arrow import parquet_columns  # a CSV file needs none

            return parquet_columns(path)
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow; pip install 'canary-judge[parquet]'") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except (OSError, ValueError, EOFError, csv.Error, zlib.error) as error:
        if isinstance(error, DataError):
            raise DataError(f"{path}: {error}") from error
        raise DataError(f"{path}: cannot be read: {error}") from error
    raise DataError(f"{path}: ends in {path.suffix!r}; give a .csv, .csv.gz or .parquet file")


def _read_large(path: Path, names: list[str]) -> dict[str, Raw]:
    """Read with pyarrow; where that is not there, or cannot tell types from the beginning of the file, with pandas."""
    try:
        from canary_judge.sources.arrow import NotAsTyped, csv_columns
    except ImportError:
        return _columns(_by_pandas(path))
    try:
        return csv_columns(path, names, _MISSING)
    except NotAsTyped:
        return _columns(_by_pandas(path))


def _by_pandas(path: Path) -> pd.DataFrame:
    import pandas as pd

    # pandas 3 reads floats to the last digit by itself, and warns when told to
    exact: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
    # in one piece, so that a column has one type
    frame: pd.DataFrame = pd.read_csv(path, encoding="utf-8-sig", low_memory=False, **exact)
    return frame


def _header(lines: Any) -> list[str]:
    names: list[str] | None = next(lines, None)
    if not names:
        raise DataError("is empty; it needs a first line with the names of the columns")
    if names[0].startswith(("sep=", "#")) and not {"timestamp", "side"} & set(names):
        raise DataError(f"line 1 is {names[0]!r}, and no names of columns: delete it")
    refuse_repeated(names)
    for sign, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and sign in names[0]:
            raise DataError(f"has one column only, with {what} in its name; separate the columns with commas")
    return names


def _parsed(lines: Any, names: list[str]) -> dict[str, Raw]:
    """Columns of a CSV file, typed by what they hold."""
    rows = []
    for row in lines:
        if len(row) != len(names):
            if not row:
                continue
            raise DataError(f"line {lines.line_num} has {len(row)} fields where the first line names {len(names)}")
        rows.append(row)
    texts = zip(*rows, strict=True) if rows else ((),) * len(names)
    return {name: _typed(column) for name, column in zip(names, texts, strict=True)}


def _typed(column: Sequence[str]) -> Raw:
    try:
        return np.array(column, dtype=float)
    except ValueError:
        known = [None if text in _MISSING else text for text in column]
    try:
        return np.array([np.nan if text is None else float(text) for text in known])
    except ValueError:
        pass
    if all(text in ("True", "False", "true", "false", "TRUE", "FALSE") for text in known):
        return np.array([_TRUTHS[str(text).lower()] for text in known])
    return np.array(known, dtype=object)


def _as_pandas(data: Any) -> pd.DataFrame:
    """A table of another library by its own way to pandas, as pyarrow and polars have one."""
    convert = getattr(data, "to_pandas", None)
    if convert is not None and hasattr(data, "columns"):
        data = convert()
    if not (hasattr(data, "columns") and hasattr(data, "iloc")):
        kind = type(data).__name__
        raise DataError(f"the table is {kind}; give a DataFrame, or the path of a .csv or .parquet file")
    return cast("pd.DataFrame", data)


def _columns(frame: pd.DataFrame) -> dict[str, Raw]:
    """Columns of a DataFrame; nothing here imports pandas, so that who has no frame pays nothing."""
    refuse_repeated([str(name) for name in frame.columns])
    columns: dict[str, Raw] = {}
    for name in frame.columns:
        column = frame[name]
        kind = column.dtype.kind
        if kind == "M" and str(name) == "timestamp":
            if getattr(column.dt, "tz", None) is None:
                raise DataError("column 'timestamp' has no time zone; use .dt.tz_localize('UTC')")
            _refuse_missing_times(column.isna().to_numpy())
            try:
                columns[str(name)] = column.dt.tz_convert("UTC").dt.as_unit("ns").astype("int64").to_numpy()
            except (OverflowError, ValueError) as error:  # pandas' own error is a ValueError
                raise DataError(NO_TIME_OF_A_RUN.format("a timestamp", column.max())) from error
        elif kind == "b" and not column.isna().any():
            columns[str(name)] = column.to_numpy(dtype=bool)
        elif kind in "fiub":
            columns[str(name)] = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            missing = column.isna().to_numpy()
            values = column.to_numpy(dtype=object).copy()
            values[missing] = None
            columns[str(name)] = _numbers_if_all_are(values, missing)
    if "timestamp" in columns and frame["timestamp"].dtype.kind in "iu":
        columns["timestamp"] = columns["timestamp"].astype(float)
    return columns


def _numbers_if_all_are(values: Raw, missing: Mask) -> Raw:
    """Decimals of a database and categories that are numbers, as numbers."""
    known = values[~missing]
    if not known.size or not all(isinstance(value, Number) and not isinstance(value, bool) for value in known):
        return values
    found = np.full(values.size, np.nan)
    try:
        found[~missing] = [float(value) for value in known]
    except OverflowError:
        return values
    return found


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse two columns of one name."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the table has two columns {repeated[0]!r}; rename or drop one")


def _checked(columns: dict[str, Raw], align: str) -> Table:
    for name in ("timestamp", "side"):
        if name not in columns:
            like = [one for one in columns if one.strip().lower() == name]
            hint = f": rename {like[0]!r}" if like else nearest(name, columns)
            raise DataError(f"the table has no column {name!r}{hint}; its columns are {', '.join(columns)}")
    canary = _sides(columns.pop("side"))
    times = _times(columns.pop("timestamp"))
    ok = _truths(columns.pop("ok")) if "metric" not in columns and _tells_requests_apart(columns) else None
    for name in ("value", "latency"):
        if name in columns:
            columns[name] = _numbers(columns[name], name)
    if "metric" in columns:
        columns["metric"] = columns["metric"].astype(object)
    if align == "start" and canary.any() and not canary.all():
        times = np.where(canary, times, times + times[canary].min() - times[~canary].min())
    for name, values in columns.items():
        if values.dtype.kind == "f":
            for own in _by_metric(values, columns.get("metric") if name == "value" else None):
                _refuse_dots_of_thousands(own, name)
    order: Int | slice = slice(None)
    sorted_sides, places = frozenset(Side), None
    if not _in_order(times):
        sorted_sides = frozenset(
            side for side, mine in zip(Side, (~canary, canary), strict=True) if _in_order(times[mine])
        )
        order = places = np.argsort(times, kind="stable")
    return Table(
        times=times[order],
        canary=canary[order],
        ok=None if ok is None else ok[order],
        numbers={
            name: values[order].astype(float, copy=False) for name, values in columns.items() if values.dtype != object
        },
        texts={name: values[order] for name, values in columns.items() if values.dtype == object},
        sorted_sides=sorted_sides,
        places=places,
        truths=frozenset(name for name, values in columns.items() if values.dtype == bool),
    )


def _tells_requests_apart(columns: Mapping[str, Raw]) -> bool:
    """Whether there is a column `ok`, by which each row is one request; a count of that name is a number."""
    if "ok" not in columns:
        return False
    ok = columns["ok"]
    if ok.dtype.kind == "f" and np.isfinite(ok).any() and not np.isin(ok[np.isfinite(ok)], (0.0, 1.0)).all():
        return False
    counted = [name for name in _COUNTED if name in columns and columns[name].dtype.kind == "f"]
    if counted and any(np.nanmax(columns[name], initial=0.0) > 1 for name in counted):
        raise DataError(
            f"the table has a column 'ok', by which each row is one request, and a column {counted[0]!r} of more than "
            "one: drop or rename one of them"
        )
    return True


def _by_metric(values: Float, metric: Raw | None) -> Iterator[Float]:
    """Some of the values, those of each metric of a long table by themselves."""
    step = max(1, values.size // _LOOKED_AT)
    some = values[::step]
    if metric is None:
        yield some
        return
    names = metric[::step]
    for name in dict.fromkeys(names.tolist()):
        yield some[names == name]


def _refuse_dots_of_thousands(values: Float, name: str) -> None:
    """A column in which 1234 stands as 1.234 beside 873: whole numbers up to 999, and others of three decimals."""
    known = values[np.isfinite(values)]
    whole = known == np.rint(known)
    small, large = known[whole], known[~whole]
    if min(small.size, large.size) < _FEWEST_OF_BOTH or large.min() < 1 or np.abs(known).max() >= _A_THOUSAND:
        return
    thousandths = large * _A_THOUSAND
    if (np.abs(thousandths - np.rint(thousandths)) > 1e-6).any() or np.median(small) < _MANY_TIMES * np.median(large):
        return
    tens = np.rint(thousandths) % 10 != 0  # of numbers with one or two decimals there is none
    if tens.mean() >= _MOSTLY and distinct(small).size >= _FEWEST_OF_BOTH:
        raise DataError(
            f"column {name!r} has {small[0]:g} beside {large[0]:.3f}: are the dots of thousands? Leave them out"
        )


def _in_order(times: Int) -> bool:
    """In pieces: the differences of all rows would take as much memory as the rows."""
    pieces = (times[first : first + _AT_ONCE + 1] for first in range(0, times.size, _AT_ONCE))
    return all(bool((piece[1:] >= piece[:-1]).all()) for piece in pieces)


def _sides(column: Raw) -> Mask:
    """Which rows are the canary's."""
    if column.dtype == np.int8:  # told apart when they were read
        return column.astype(bool)
    known = {side.value for side in Side}
    given = column.tolist()
    for row, value in enumerate(given):
        if not (isinstance(value, str) and value in known):
            raise DataError(f"{strange_side(value)} (row {row})")
    return np.array([value == Side.CANARY.value for value in given], dtype=bool)


def strange_side(value: object) -> str:
    """What is wrong with a value of the column `side`."""
    return f"column 'side' has {value!r}; it must be 'baseline' or 'canary': rename it before"


def _times(column: Raw) -> Int:
    """Nanoseconds since the epoch; naive times are refused, for their zone would be guessed."""
    if column.dtype == np.int64:
        return column
    if column.dtype == bool:
        raise DataError("column 'timestamp' cannot be read as times: it holds true and false")
    if column.dtype != object:
        if not np.isfinite(column).all():
            raise DataError(f"timestamp in row {int(np.argmin(np.isfinite(column)))} is not a number; drop such rows")
        if (largest := float(np.abs(column).max(initial=0.0))) > 1e11:
            unit, by = next((unit, by) for least, unit, by in _FINER if largest > least)
            raise DataError(f"timestamp {largest:g} is too large for seconds since 1970; divide {unit} by {by}")
        return np.rint(column * 1e6).astype(np.int64) * 1000
    _refuse_missing_times(np.array([value is None for value in column], dtype=bool))
    return np.array([_time(value, row) for row, value in enumerate(column)], dtype=np.int64)


def _time(value: Any, row: int) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        raise DataError(
            f"timestamp in row {row} is the date {value}, without a time and a zone; write it as {value}T00:00:00+00:00"
        )
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(_UTC.sub("+00:00", value))
    except (ValueError, TypeError) as error:
        raise DataError(f"column 'timestamp' cannot be read as times: {error} (row {row})") from error
    if moment.tzinfo is None:
        raise DataError(f"timestamp {str(value)!r} has no time zone; write it as {moment.isoformat()}+00:00")
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:  # as "never" is written in databases
        raise DataError(NO_TIME_OF_A_RUN.format(f"timestamp in row {row}", value))
    return nanoseconds(moment.astimezone(UTC))


def _refuse_missing_times(missing: Mask) -> None:
    if missing.any():
        raise DataError(f"timestamp in row {int(missing.argmax())} is missing; drop such rows")


def _numbers(column: Raw, name: str) -> Float:
    if column.dtype != object:
        return column.astype(float)
    numbers = np.full(column.size, np.nan)
    for row, value in enumerate(column):
        try:
            numbers[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise DataError(f"column {name!r} has {value!r} in row {row}, which is no number") from None
    return numbers


def _truths(column: Raw) -> Mask:
    if column.dtype == bool:
        return column
    truths = np.zeros(column.size, dtype=bool)
    for row, value in enumerate(column.tolist()):
        truth = _TRUTHS.get(str(value).lower())
        if truth is None:
            raise DataError(f"column 'ok' has {value!r} in row {row}; it must be true or false")
        truths[row] = truth
    return truths


def numbers_rows(values: Float) -> bool:
    """Whether each row has its own number, which is no label of a series."""
    first = values[:FEWEST_NUMBERED]
    return distinct(first).size == FEWEST_NUMBERED and distinct(values).size == values.size


def is_number(value: object) -> bool:
    """Whether it is one, or a text of one, or nothing."""
    try:
        float(str(value))
    except ValueError:
        return value is None
    return True


def on_grid(first: int, last: int, interval: timedelta) -> Window:
    """The window of whole intervals that holds these moments, in nanoseconds."""
    step = interval // timedelta(microseconds=1) * 1000
    start, end = (first - 1) // step * step, -(-last // step) * step
    return Window(*(datetime.fromtimestamp(moment // 1000 / 1e6, UTC) for moment in (start, max(end, start + step))))
