"""What an archive and a backtest cost: `python -m benchmarks.history [SHARE [WHO]]`.

SHARE is that of the full size (default: .01), WHO one of those that can work ("2 processes"; default: each of them).

First 200 drawn canaries are followed live, archived, and replayed on everything that can work: the judgements must be the
same to the byte. Then past canaries of 5 metrics, as many as the full size times the share: one look each, and look by
look, by 1 and 2 workers, beside a loop of scipy's Mann-Whitney over as many metrics in the same run.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.cost import drawn as drawn_data
from benchmarks.cost import metric
from benchmarks.replay_cases import START, STEP, drawn
from canary_judge import JudgeConfig, Monitor, Window
from canary_judge.history import History, OurJudge, PastCanary, backtest, of_log, replay
from canary_judge.history.tape import Tape
from canary_judge.looks.log import StateLog
from canary_judge.looks.observing import taken
from canary_judge.looks.state import How, MonitorState
from canary_judge.results import Quality
from canary_judge.samples import MetricSamples, Samples

LIVE = 200
# canaries, intervals, looks
FULL = ((100_000, 60, "one"), (10_000, 1440, "one"), (2_000, 60, "recorded"), (50, 1440, "recorded"))
KINDS = ("gauge", "gauge", "ratio", "latency", "rate")
CONFIG = JudgeConfig.from_mapping(
    {"name": "shop", "interval": "1m", "metrics": [metric(kind, number) for number, kind in enumerate(KINDS)]}
)
MINUTE = timedelta(minutes=1)


def followed(number: int, folder: Path) -> tuple[PastCanary, list[str]] | None:
    """A drawn canary followed live with a log; None where it is one of a single look, or nothing was read."""
    case = drawn(number)
    if case.looks == 1:
        return None
    config, window = JudgeConfig.from_mapping(case.config), Window(START, START + case.intervals * STEP)
    begun = {"start": window.start, "horizon": window.duration if case.planned else None}
    monitor, weights, weight, said = Monitor(config, **begun), dict(case.weights), None, []
    log_file = folder / f"{number}.log"
    with StateLog(config, log_file) as log:
        for look in range(case.looks):
            weight = weights.get(look, weight)
            until = window.start + (look + 1) * window.duration / case.looks
            said.append(monitor.look(case, until, weight=weight).to_json())
            log.keep(*monitor.steps)
    return of_log(config, log_file), said


def live(folder: Path) -> None:
    """Archive live runs, and say it again."""
    history, said, number = History(folder / "live"), {}, 0
    while len(said) < LIVE:
        found = followed(number, folder)
        number += 1
        if found is None:
            continue
        canary = found[0]
        canary = PastCanary(**{name: getattr(canary, name) for name in PastCanary.__slots__} | {"id": f"{number:04}"})
        said[history.append(canary)] = found[1]
    for when in ("as archived", "after compact"):
        wrong = 0
        for canary in history:
            again = [judgement.to_json() for _, judgement in replay(canary.settings(), canary)]
            rest = iter(
                again
            )  # a look whose weight changed within it has two parts, of which the live run showed the second
            wrong += not (all(one in rest for one in said[canary.id]) and again[-1] == said[canary.id][-1])
        print(f"{LIVE} live runs {when}: {wrong} replays that say something else", flush=True)
        history.compact(f"{START:%Y-%m-%d}")


def past(number: int, n: int, rng: np.random.Generator, *, looks: bool) -> PastCanary:
    """A healthy canary of 5 metrics."""
    start = datetime(2026, 1, 1, tzinfo=UTC) + number * timedelta(hours=3)
    quality = Quality(coverage_baseline=1.0, coverage_canary=1.0)
    state, states = MonitorState(start=start, horizon=n), []
    step = 1 if looks else n
    for first in range(0, n, step):
        window = Window(start + first * MINUTE, start + (first + step) * MINUTE)
        data = {one.name: drawn_data(kind, step, rng) for one, kind in zip(CONFIG.metrics, KINDS, strict=True)}
        found = {name: MetricSamples(data=one, quality=quality) for name, one in data.items()}
        state = taken(CONFIG, state, Samples(window=window, metrics=found), how=How())
        states.append(state)
    return PastCanary.of(CONFIG, Tape.of_states(CONFIG, states), ended_by="the planned end")


def executors() -> dict[str, Callable[[], Executor | None]]:
    """Who works."""
    found: dict[str, Callable[[], Executor | None]] = {
        "serial": lambda: None,
        "2 threads": lambda: ThreadPoolExecutor(2),
        "1 process": lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn")),
        "2 processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return found
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    return found | {"dask, 2 workers": lambda: Client(cluster).get_executor()}


def scipy_loop(count: int, n: int) -> float:
    """Seconds of a loop of plain tests, one for each metric of each canary."""
    sides = np.random.default_rng(1).normal(size=(len(KINDS), 2, n))
    begun = time.perf_counter()
    for _ in range(min(count, 200)):
        for pair in sides:
            stats.mannwhitneyu(*pair)
    return (time.perf_counter() - begun) * count / min(count, 200)


def measured(folder: Path, share: float, only: str | None) -> None:
    """The table."""
    who = {name: made for name, made in executors().items() if only in (None, name)}
    print("\n| canaries | intervals | looks | who | s | canaries/s | scipy loop / ours | peak MB |\n|" + "---|" * 8)
    for full, n, looks in FULL:
        count = max(round(full * share), 2)
        history, rng = History(folder / f"{looks}-{n}"), np.random.default_rng(1)
        for number in range(count):
            history.append(past(number, n, rng, looks=looks == "recorded"))
        for day in sorted({name.split("/")[0][4:] for name in history._objects.names()}):  # noqa: SLF001
            history.compact(day)
        judge, first, peer = OurJudge(config=CONFIG, looks=looks), None, scipy_loop(count, n)  # type: ignore[arg-type]
        for name, made in who.items():
            executor: Any = made()
            begun = time.perf_counter()
            found = backtest(judge, history, executor).to_json()
            seconds = time.perf_counter() - begun
            if isinstance(executor, ThreadPoolExecutor | ProcessPoolExecutor):
                executor.shutdown()
            first = first or found
            assert found == first, f"{name} gives other bytes"
            peak = max(resource.getrusage(one).ru_maxrss for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            print(
                f"| {count:,} | {n:,} | {looks} | {name} | {seconds:.1f} | {count / seconds:.1f} | {peer / seconds:.2f} | "
                f"{peak / 1024:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        live(Path(place))
        share, only = [*sys.argv[1:], "0.01"][0], [*sys.argv[2:], None][0]
        measured(Path(place), float(share), only)
