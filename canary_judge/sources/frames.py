"""DataFrames, CSV and Parquet as a source: tidy tables, or one row per request."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from canary_judge.config import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.judging import judge
from canary_judge.results import Judgement, Side
from canary_judge.series import Form, Query, Reading, Result, Series, Window, format_duration, nanoseconds

__all__ = ["FrameSource", "compare"]

# pandas 3 reads floats to the last digit by itself, and warns when told to
_EXACT_FLOATS: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
_OPTIONS = {"path", "align", "counters"}


class FrameSource:
    """Answers queries from a table. A query's expression is the name of a column, or of a value of `metric`.

    Three shapes are read:

    - wide: `timestamp`, `side` and one numeric column per quantity; other text columns are labels;
    - long: `timestamp`, `side`, `metric`, `value`; other columns are labels;
    - requests: one row per request with `timestamp`, `side`, `ok` (true or false) and perhaps `latency`; the names
      are then `requests`, `errors` and `latency`.

    Counts are per row (events since the previous row), unless the name is among `counters`.

    Args:
        data: A DataFrame, or the path of a .csv, .csv.gz or .parquet file.
        align: "time": both sides by their timestamps. "start": the baseline is shifted so that both begin together,
            to compare two periods.
        counters: Names whose values are cumulative.

    Raises:
        DataError: The table is malformed; the message names the column, the row and the remedy.

    Examples:
        >>> times = pd.date_range("2026-01-01", periods=30, freq="1min", tz="UTC")
        >>> table = pd.concat([
        ...     pd.DataFrame({"timestamp": times, "side": side, "heap": np.arange(30.0) + 100})
        ...     for side in ("baseline", "canary")])
        >>> FrameSource(table).window(timedelta(minutes=1)).duration
        datetime.timedelta(seconds=1800)
    """

    def __init__(
        self,
        data: pd.DataFrame | str | Path,
        *,
        align: Literal["time", "start"] = "time",
        counters: Collection[str] = (),
    ) -> None:
        frame = _read(Path(data)) if isinstance(data, str | Path) else data
        if align not in ("time", "start"):
            raise ConfigError(f"align is {align!r}; it must be 'time' or 'start'")
        self._counters = frozenset(counters)
        self._table = _checked(frame, align)
        self._requests = "ok" in self._table.columns and "metric" not in self._table.columns
        self._long = {"metric", "value"} <= set(self._table.columns)
        self._names, self._labels = self._columns()
        if isinstance(counters, str) or (strange := sorted(self._counters - set(self._names))):
            what = counters if isinstance(counters, str) else strange[0]
            raise ConfigError(
                f"counters: {what!r} is no list of names of this table; there are {', '.join(self._names)}"
            )

    def __repr__(self) -> str:
        return f"FrameSource({len(self._table)} rows, {', '.join(self._names[:8])})"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> FrameSource:
        """Build it from a config's `sources:` section: `path`, and perhaps `align` and `counters`."""
        unknown = sorted(set(options) - _OPTIONS)
        if unknown:
            near = difflib.get_close_matches(unknown[0], sorted(_OPTIONS), n=1)
            raise ConfigError(f"{unknown[0]}: unknown key{f'; did you mean {near[0]!r}?' if near else ''}")
        if not isinstance(options.get("path"), str):
            raise ConfigError(f"path: is {options.get('path')!r}; give the path of a .csv or .parquet file")
        counters = options.get("counters", [])
        if not isinstance(counters, list) or not all(isinstance(name, str) for name in counters):
            raise ConfigError(f"counters: is {counters!r}; give a list of names, as in [requests_total]")
        return cls(options["path"], align=options.get("align", "time"), counters=counters)

    def window(self, interval: timedelta) -> Window:
        """From the canary's first row to the last row of either side, on the grid of the interval."""
        times = self._table["timestamp"].to_numpy()
        canary = times[(self._table["side"] == Side.CANARY.value).to_numpy()]
        if not canary.size:
            raise DataError("the table has no row whose side is 'canary'")
        step = interval // timedelta(microseconds=1) * 1000
        start = (int(canary.min()) - 1) // step * step
        end = -(-int(times.max()) // step) * step
        return Window(
            *(datetime.fromtimestamp(moment // 1000 / 1e6, UTC) for moment in (start, max(end, start + step)))
        )

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query from the table; an unknown name is an error of that query alone."""
        start, end = nanoseconds(window.start), nanoseconds(window.end)
        times = self._table["timestamp"].to_numpy()
        by_side = {
            side: self._table[(times > start) & (times <= end) & (self._table["side"] == side.value).to_numpy()]
            for side in Side
        }
        return [self._answer(query, by_side[query.side], window) for query in queries]

    def _columns(self) -> tuple[list[str], list[str]]:
        table = self._table
        rest = [name for name in table.columns if name not in ("timestamp", "side")]
        if self._requests:
            return ["requests", "errors", *(["latency"] if "latency" in rest else [])], []
        if self._long:
            return sorted(table["metric"].unique()), [n for n in rest if n not in ("metric", "value")]
        numeric = [name for name in rest if pd.api.types.is_numeric_dtype(table[name])]
        return numeric, [name for name in rest if name not in numeric]

    def _answer(self, query: Query, table: pd.DataFrame, window: Window) -> Result:
        name = query.expression
        provenance = f"column {name!r} of the {query.side} in a table of {len(self._table)} rows"
        if name in self._labels and not self._long:
            given = self._table[name]
            texts = given[pd.to_numeric(given, errors="coerce").isna() & given.notna()]
            what = repr(texts.iloc[0]) if len(texts) else f"the type {given.dtype}"
            return Result(error=f"column {name!r} is no numbers: it has {what}", provenance=provenance)
        if name not in self._names:
            near = difflib.get_close_matches(name, self._names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            shown = ", ".join(self._names[:20]) or "no numbers in it"
            return Result(error=f"the table has no {name!r}{hint}; there are {shown}", provenance=provenance)
        if self._requests:
            return self._from_requests(query, table, window, provenance)
        if self._long:
            table = table[table["metric"] == name]
        column = "value" if self._long else name
        raw = query.reading in (Reading.SAMPLES, Reading.HISTOGRAM)
        series, warnings = [], []
        for labels, part in self._split(table):
            times, values = part["timestamp"].to_numpy(), part[column].to_numpy(dtype=float)
            present = ~part[column].isna().to_numpy() | (not self._long and not self._labels)
            times, values = times[present], values[present]
            if not raw:
                times, values, repeated = _without_repeats(times, values, name, query.side)
                if repeated:
                    warnings.append(f"{repeated} repeated rows of {name!r} were dropped")
            if times.size:
                series.append(Series(timestamps=times, values=values, labels=labels))
        if raw:
            form = Form.SAMPLES
        elif query.reading is Reading.LEVEL:
            form = Form.LEVEL
        else:
            form = Form.COUNTER if name in self._counters else Form.COUNTS
        if form is Form.COUNTER:
            series = self._with_base(query, series, window, column)
        return Result(series=tuple(series), form=form, warnings=tuple(warnings), provenance=provenance)

    def _with_base(self, query: Query, series: list[Series], window: Window, column: str) -> list[Series]:
        """Each cumulative series with its last row at or before the window, the base of the first interval."""
        table = self._table
        before = (table["timestamp"] <= nanoseconds(window.start)) & (table["side"] == query.side.value)
        if self._long:
            before &= table["metric"] == query.expression
        earlier = {tuple(labels.items()): part for labels, part in self._split(table[before])}
        found = []
        for one in series:
            part = earlier.get(tuple(one.labels.items()))
            if part is not None and len(part):
                one = Series(  # noqa: PLW2901
                    timestamps=np.concatenate([part["timestamp"].to_numpy()[-1:], one.timestamps]),
                    values=np.concatenate([part[column].to_numpy(dtype=float)[-1:], one.values]),  # noqa: PD011
                    labels=one.labels,
                )
            found.append(one)
        return found

    def _split(self, table: pd.DataFrame) -> list[tuple[dict[str, str], pd.DataFrame]]:
        if not self._labels:
            return [({}, table)]
        groups = table.groupby(self._labels, sort=True, dropna=False)
        return [
            ({name: str(value) for name, value in zip(self._labels, key, strict=True)}, part) for key, part in groups
        ]

    def _from_requests(self, query: Query, table: pd.DataFrame, window: Window, provenance: str) -> Result:
        times = table["timestamp"].to_numpy()
        if query.expression == "latency":
            if query.reading not in (Reading.SAMPLES, Reading.HISTOGRAM):
                return Result(error="latency of single requests needs kind: samples or kind: latency")
            values = table["latency"].to_numpy(dtype=float)
            return Result(
                series=(Series(timestamps=times, values=values),) if times.size else (),
                form=Form.SAMPLES,
                provenance=provenance,
            )
        if query.reading is not Reading.COUNTS:
            return Result(error=f"{query.expression!r} are counts; they need kind: ratio or kind: rate")
        # every interval of the grid has a count, also an interval without a request
        edges = window.edges(query.step)
        counted = times if query.expression == "requests" else times[~table["ok"].to_numpy(dtype=bool)]
        counts = np.bincount(np.searchsorted(edges, counted, side="left") - 1, minlength=edges.size - 1)
        series = (Series(timestamps=edges[1:], values=counts.astype(float)),) if times.size else ()
        return Result(series=series, form=Form.COUNTS, provenance=provenance)


def compare(
    *,
    baseline: pd.DataFrame,
    canary: pd.DataFrame,
    metrics: Sequence[Mapping[str, Any]],
    interval: str | None = None,
    align: Literal["time", "start"] = "time",
    **settings: Any,
) -> Judgement:
    """Judge two DataFrames, one per side, without a config file.

    Args:
        baseline: A table as `FrameSource` reads it, without the column `side`.
        canary: The same for the canary.
        metrics: As in a config.
        interval: Length of one interval; the usual spacing of the rows when left out.
        align: "start" compares two periods.
        settings: Any other key of a config, such as `false_alarm_rate`.

    Examples:
        >>> times = pd.date_range("2026-01-01", periods=60, freq="1min", tz="UTC")
        >>> rng = np.random.default_rng(1)
        >>> before, after = (pd.DataFrame({"timestamp": times, "heap": rng.normal(100, 5, 60)}) for _ in range(2))
        >>> gauge = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
        >>> compare(baseline=before, canary=after, metrics=[gauge]).verdict
        <Verdict.PASS: 'pass'>
    """
    table = pd.concat([baseline.assign(side="baseline"), canary.assign(side="canary")], ignore_index=True)
    source = FrameSource(table, align=align)
    step = interval or _usual_spacing(source)
    data = {
        "name": "comparison",
        **settings,
        "interval": step,
        "metrics": [dict(metric) for metric in metrics],
    }
    config = JudgeConfig.from_mapping(data, name="compare")
    return judge(config, source, source.window(config.interval))


def _usual_spacing(source: FrameSource) -> str:
    times = np.unique(source._table["timestamp"].to_numpy())  # noqa: SLF001  (same module)
    if times.size < 2:
        raise DataError("the tables have fewer than two timestamps, so no interval can be told; pass interval='1m'")
    return format_duration(timedelta(milliseconds=max(float(np.median(np.diff(times))) // 1e6, 1.0)))


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.name.endswith((".csv", ".csv.gz")):
            table: pd.DataFrame = pd.read_csv(path, **_EXACT_FLOATS)
            return table
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow; pip install 'canary-judge[parquet]'") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    raise DataError(f"{path}: ends in {path.suffix!r}; give a .csv, .csv.gz or .parquet file")


def _checked(frame: pd.DataFrame, align: str) -> pd.DataFrame:
    for name in ("timestamp", "side"):
        if name not in frame.columns:
            raise DataError(f"the table has no column {name!r}; its columns are {', '.join(map(str, frame.columns))}")
    if repeated := sorted(map(str, frame.columns[frame.columns.duplicated()])):
        raise DataError(f"the table has two columns {repeated[0]!r}; rename or drop one")
    table = frame.reset_index(drop=True).rename(columns=str)
    sides = {side.value for side in Side}
    strange = [value for value in table["side"].unique() if value not in sides]
    if strange:
        raise DataError(f"column 'side' has {strange[0]!r}; it must be 'baseline' or 'canary': rename it before")
    table = table.assign(side=table["side"].astype(str), timestamp=_times(table["timestamp"]))
    for name in table.columns:
        if name in ("timestamp", "side", "ok", "metric"):
            continue
        if name in ("value", "latency"):
            table[name] = _numbers(table[name], name)
        elif pd.api.types.is_bool_dtype(table[name]):
            table[name] = table[name].astype(float)
    if "ok" in table.columns and "metric" not in table.columns:
        table["ok"] = _truths(table["ok"])
    if align == "start":
        first = table.groupby("side")["timestamp"].min()
        if len(first) == 2:
            shift = int(first["canary"]) - int(first["baseline"])
            table.loc[table["side"] == "baseline", "timestamp"] += shift
    return table.sort_values("timestamp", kind="stable", ignore_index=True)


def _times(column: pd.Series[Any]) -> Any:
    """Nanoseconds since the epoch; naive times are refused, for their zone would be guessed."""
    if pd.api.types.is_numeric_dtype(column):
        seconds = column.to_numpy(dtype=float)
        if not np.isfinite(seconds).all():
            raise DataError(f"timestamp in row {int(np.argmin(np.isfinite(seconds)))} is not a number; drop such rows")
        if np.abs(seconds).max(initial=0.0) > 1e11:
            raise DataError(
                f"timestamp {seconds.max():g} is too large for seconds since 1970; divide milliseconds by 1000"
            )
        return np.rint(seconds * 1e6).astype(np.int64) * 1000
    try:
        # ISO texts with differing offsets need utc=True, which would also accept naive ones: look first
        if not pd.api.types.is_datetime64_any_dtype(column):
            if column.isna().any():
                raise DataError(f"timestamp in row {int(column.isna().to_numpy().argmax())} is missing; drop such rows")
            naive = [text for text in column.astype(str).head(1000) if pd.Timestamp(text).tzinfo is None]
            if naive:
                raise DataError(f"timestamp {naive[0]!r} has no time zone; write it as {naive[0]}+00:00")
        elif getattr(column.dt, "tz", None) is None:
            raise DataError("column 'timestamp' has no time zone; use .dt.tz_localize('UTC')")
        iso = {} if pd.api.types.is_datetime64_any_dtype(column) else {"format": "ISO8601"}
        stamps = pd.to_datetime(column, utc=True, **iso).dt.as_unit("ns")  # type: ignore[call-overload]
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"column 'timestamp' cannot be read as times: {error}") from error
    if stamps.isna().any():
        raise DataError(f"timestamp in row {int(stamps.isna().to_numpy().argmax())} is missing; drop such rows")
    return stamps.astype("int64").to_numpy()


def _numbers(column: pd.Series[Any], name: str) -> Any:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & column.notna()
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DataError(f"column {name!r} has {column.iloc[row]!r} in row {row}, which is no number")
    return numbers.astype(float)


def _truths(column: pd.Series[Any]) -> Any:
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    truths = column.astype(str).str.lower().map(known)
    if truths.isna().any():
        row = int(truths.isna().to_numpy().argmax())
        raise DataError(f"column 'ok' has {column.iloc[row]!r} in row {row}; it must be true or false")
    return truths.astype(bool)


def _without_repeats(times: Any, values: Any, name: str, side: Side) -> tuple[Any, Any, int]:
    """Rows with the same time and value are one; two values at one time cannot both be right."""
    same = np.diff(times) == 0
    if not same.any():
        return times, values, 0
    differ = same & ~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1])))
    if differ.any():
        row = int(np.argmax(differ))
        when = pd.Timestamp(int(times[row]), tz="UTC").isoformat()
        raise DataError(
            f"{name!r} of the {side} has two values at {when} ({values[row]:g} and {values[row + 1]:g}); "
            "keep one, or add a label column (as pod) that tells the series apart"
        )
    keep = np.concatenate([[True], ~same])
    return times[keep], values[keep], int(same.sum())
