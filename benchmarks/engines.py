"""The recipes of docs/history.md on Spark and Ray, where they are installed: `python -m benchmarks.engines`.

Each judges the pieces of one archive of drawn canaries; what it gives must be the backtest's own bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.history import CONFIG, past
from canary_judge.history import Backtest, History, OurJudge, backtest
from canary_judge.history.backtesting import judge_piece

Rows = Iterable[dict[str, Any]]


def on_spark(pieces: Sequence[Any], judges: list[Any]) -> Rows:
    """One group for each piece."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()

    def judged(frame: pd.DataFrame) -> pd.DataFrame:
        number = int(frame["piece"].iloc[0])
        return pd.DataFrame([{"piece": number, "row": json.dumps(row)} for row in judge_piece(pieces[number], judges)])

    groups = spark.createDataFrame(pd.DataFrame({"piece": range(len(pieces))})).groupBy("piece")
    found = groups.applyInPandas(judged, schema="piece long, row string").toPandas()
    spark.stop()
    return [json.loads(text) for text in found.sort_values("piece", kind="stable")["row"]]


def on_ray(pieces: Sequence[Any], judges: list[Any]) -> Rows:
    """One task for each piece."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    judged = [ray.remote(judge_piece).remote(piece, judges) for piece in pieces]
    rows = [row for some in ray.get(judged) for row in some]
    ray.shutdown()
    return rows


def main(count: int) -> None:
    """Each engine that is there."""
    engines: dict[str, Callable[[Sequence[Any], list[Any]], Rows]] = {"pyspark": on_spark, "ray": on_ray}
    with tempfile.TemporaryDirectory() as folder:
        history, rng = History(Path(folder) / "archive"), np.random.default_rng(1)
        for number in range(count):
            history.append(past(number, 60, rng, looks=False))
        judges = [OurJudge(config=CONFIG, looks="one")]
        expected, pieces = backtest(judges, history).to_json(), history.pieces()
        for name, run in engines.items():
            if find_spec(name) is None:
                print(f"{name}: not installed")
                continue
            same = Backtest.of_rows(judges, run(pieces, judges)).to_json() == expected
            print(f"{name}: {len(pieces)} pieces of {count} canaries, {'the same bytes' if same else 'OTHER BYTES'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
