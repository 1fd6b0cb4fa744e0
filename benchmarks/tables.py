"""Ten million request rows, read and counted per minute, beside duckdb counting the same: `python -m benchmarks.tables [rows]`.

We read the file, and ask it in SQL through duckdb (docs/sql.md). Each in a process of its own, on one thread of
duckdb: CPU seconds after the imports, and the largest memory with them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

_MEASURED = """
import resource, sys, time
{imports}
begun = time.process_time()
{work}
print(time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, *counted)
"""
_OURS = {
    "imports": "from canary_judge import JudgeConfig\nfrom canary_judge.sources import FrameSource",
    "work": """
metric = {"name": "e", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase", "margin": "1.5x"}
source = FrameSource(sys.argv[1])
config = JudgeConfig.from_mapping({"name": "s", "interval": "1m", "metrics": [metric]})
found = source.fetch(list(config.queries()), source.window("1m"))
sums = [int(one.series[0].values.sum()) for one in found]
counted = sums[0] + sums[1], sums[2] + sums[3]
""",
}
_SQL = {
    "imports": "from datetime import UTC, datetime\nfrom canary_judge import JudgeConfig, Window\n"
    "import duckdb_engine\nfrom canary_judge.sources.sql import SqlSource",
    "work": """
read = f"read_{'parquet' if sys.argv[1].endswith('parquet') else 'csv'}('{sys.argv[1]}')"
counts = f'''
SELECT time_bucket(INTERVAL '1 minute', "timestamp") AS time, count(*) AS total, count_if(NOT ok) AS events
FROM {read} WHERE "timestamp" >= :start AND "timestamp" < :end AND side = '${{side}}' GROUP BY 1
'''
metric = {"name": "e", "kind": "ratio", "events": counts, "total": counts, "harm": "increase", "margin": "1.5x"}
sides = {side: {"side": side} for side in ("baseline", "canary")}
config = JudgeConfig.from_mapping({"name": "s", "interval": "1m", **sides, "metrics": [metric]})
window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 6, tzinfo=UTC))
source = SqlSource("duckdb://?threads=1", time_is="bucket_start", timeout=600)
found = source.fetch(list(config.queries()), window)
assert not any(one.error for one in found), found
sums = [int(one.series[0].values.sum()) for one in found]
counted = sums[0] + sums[1], sums[2] + sums[3]
""",
}
_DUCKDB = {
    "imports": "import duckdb",
    "work": """
connection = duckdb.connect()
connection.execute("set threads = 1")
connection.execute("set enable_progress_bar = false")
table = f"read_{'parquet' if sys.argv[1].endswith('parquet') else 'csv'}('{sys.argv[1]}')"
rows = connection.execute(
    f"select time_bucket(interval '1 minute', timestamp), side, count(*), count_if(not ok) from {table} group by all"
).fetchall()
counted = sum(row[3] for row in rows), sum(row[2] for row in rows)
""",
}


def write(rows: int, folder: Path) -> list[Path]:
    """Both files, in order of time."""
    rng = np.random.default_rng(1)
    start = np.datetime64("2026-01-01", "ms").astype("int64")
    times = start + np.sort(rng.integers(1, 6 * 3600 * 1000, rows))
    table = pa.table(
        {
            "timestamp": pa.array(times, type=pa.timestamp("ms", tz="UTC")),
            "side": np.where(rng.random(rows) < 0.05, "canary", "baseline"),
            "ok": rng.random(rows) > 0.005,
        }
    )
    parquet.write_table(table, folder / "rows.parquet")
    csv.write_csv(table, folder / "rows.csv")
    return [folder / "rows.parquet", folder / "rows.csv"]


def measured(parts: dict[str, str], path: Path) -> tuple[float, float, list[str]]:
    """CPU seconds, MB, and what was counted."""
    command = [sys.executable, "-c", _MEASURED.format(**parts), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory, *counted = done.stdout.split()
    return float(seconds), float(memory), counted


def main(rows: int) -> None:
    """A row a file: medians of three."""
    print("| file | ours s | through SQL s | duckdb s | ratio | through SQL | ours MB | through SQL MB | duckdb MB |")
    print("|" + "---|" * 9)
    with tempfile.TemporaryDirectory() as folder:
        # in another process: what follows inherits the largest memory of this one
        with ProcessPoolExecutor(1) as pool:
            paths = pool.submit(write, rows, Path(folder)).result()
        for path in paths:
            runs = [[measured(parts, path) for parts in (_OURS, _SQL, _DUCKDB)] for _ in range(3)]
            assert all(one[2] == run[0][2] for run in runs for one in run), runs
            ours, sql, theirs = np.median([[one[:2] for one in run] for run in runs], axis=0)
            print(
                f"| {path.suffix[1:]} | {ours[0]:.2f} | {sql[0]:.2f} | {theirs[0]:.2f} | {ours[0] / theirs[0]:.2f} | "
                f"{sql[0] / theirs[0]:.2f} | {ours[1]:.0f} | {sql[1]:.0f} | {theirs[1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
