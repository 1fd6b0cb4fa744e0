"""`python -m canary_judge.testing FILE`: simulated visits, to try metrics by user on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from canary_judge.testing.people import People, Visits

__all__ = ["main"]


def _write(visits: Visits, path: Path, start: datetime) -> None:
    """Write the visits as a table `events`: a DuckDB file (.duckdb), or .parquet, or .csv.

    Args:
        visits: What was drawn.
        path: The file; it must not be there yet.
        start: The start of the run.
    """
    frame = visits.frame(start)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".duckdb":
        import duckdb

        with duckdb.connect(str(path)) as connection:
            connection.register("visits", frame)
            connection.execute("create table events as select * from visits")
    else:
        frame.to_csv(path, index=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m canary_judge.testing FILE`."""
    parser = argparse.ArgumentParser(
        prog="python -m canary_judge.testing",
        description="Simulated visits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a .duckdb, .parquet or .csv file that is not there yet")
    parser.add_argument("--users", type=int, default=60_000, help="how many there are; about three of four come")
    parser.add_argument("--hours", type=int, default=36, help="length of the run, which ends now")
    parser.add_argument("--weight", type=float, default=2.0, help="percent of the users that the canary gets")
    parser.add_argument("--lift", type=float, default=0.0, help="effect of the canary on clicks and minutes, as -0.05")
    parser.add_argument("--stars", type=float, default=0.0, help="effect of the canary on ratings, as -0.3")
    parser.add_argument("--bots", type=float, default=0.0005, help="share of the users that are none")
    parser.add_argument("--days-before", type=float, default=7.0, help="length of the record before the run")
    parser.add_argument("--seed", type=int, default=1, help="other people for another one")
    asked = parser.parse_args(arguments)
    if asked.file.exists():
        parser.error(f"{asked.file} is there already; name another file, or remove it")
    if asked.file.suffix == ".duckdb" and find_spec("duckdb") is None:
        parser.error("a .duckdb file needs duckdb: pip install duckdb-engine; or name a .parquet or .csv file")
    people = People(
        users=asked.users,
        hours=asked.hours,
        weights=((0.0, asked.weight),),
        lift=asked.lift,
        stars=asked.stars,
        bots=asked.bots,
        days_before=asked.days_before,
    )
    start = (datetime.now(UTC) - timedelta(hours=asked.hours)).replace(second=0, microsecond=0)
    visits = people.draw(asked.seed)
    _write(visits, asked.file, start)
    print(f"{visits.user.size:,} visits of {len(np.unique(visits.user)):,} users")
    print(f"for a look: --start {start:%Y-%m-%dT%H:%M:%SZ} --horizon {asked.hours}h --weight {asked.weight:g}")


if __name__ == "__main__":
    main()
