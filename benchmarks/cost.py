"""What a user's workload costs: 20 mixed metrics (8 gauges, 5 ratios, 4 latencies, 2 rates, 1 of raw samples).

`python -m benchmarks.cost` follows a canary over 8,640 intervals of 15 seconds (36 hours) with a log, and tells CPU, bytes
and memory, and single looks beside looks that hold nothing; `python -m benchmarks.cost LOOKS` does so for a shorter one.
The time is this process's own on one thread (set OMP_NUM_THREADS=1), so that a shared machine matters less.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from canary_judge import JudgeConfig
from canary_judge.judging.verdict import judge_samples
from canary_judge.looks.log import StateLog
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.results import Quality
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.series import Window
from canary_judge.stats.counts import COLUMNS, Counts

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ["gauge"] * 8 + ["ratio"] * 5 + ["latency"] * 4 + ["rate"] * 2 + ["samples"]
RAW = 10
TOLD = (60, 240, 1440, 4320, 8640)
# Looks around each of these, whose middle and worst are told.
AROUND = 40


def metric(kind: str, number: int) -> dict[str, str]:
    """A metric of each kind, with a usual margin."""
    own = {
        "gauge": {"query": f"heap{number}", "margin": "10%"},
        "ratio": {"events": f"e{number}", "total": f"t{number}", "margin": "1.5x or +0.1pp"},
        "latency": {"histogram": f"lat{number}_seconds_bucket", "slower_than": "250ms", "margin": "+1pp"},
        "rate": {"events": f"e{number}", "margin": "1.5x"},
        "samples": {"query": f"l{number}", "margin": "20%"},
    }[kind]
    return {"name": f"{kind}{number}", "kind": kind, "harm": "increase", **own}


def config() -> JudgeConfig:
    """All of them."""
    metrics = [metric(kind, number) for number, kind in enumerate(KINDS)]
    return JudgeConfig.from_mapping({"name": "shop", "interval": "15s", "metrics": metrics})


def drawn(kind: str, n: int, rng: np.random.Generator) -> GaugeData | CountData | RawData:
    """A healthy canary's share of 5 %, over n intervals."""
    if kind == "gauge":
        shared = rng.normal(100, 2, n)
        return GaugeData(baseline=(shared + rng.normal(0, 4, n))[None], canary=(shared + rng.normal(0, 4, n))[None])
    if kind == "samples":
        place = np.repeat(np.arange(n), RAW)
        sides = rng.lognormal(3, 0.5, n * RAW), rng.lognormal(3, 0.5, n * RAW)
        return RawData(baseline=sides[0], canary=sides[1], interval_baseline=place, interval_canary=place)
    if kind == "rate":
        arrays = [rng.poisson(6, n), np.full(n, 180), rng.poisson(2, n), np.full(n, 60)]
    else:
        share = 0.005 if kind == "ratio" else 0.02
        exposure = rng.poisson(9500, n), rng.poisson(500, n)
        arrays = [rng.binomial(exposure[0], share), exposure[0], rng.binomial(exposure[1], share), exposure[1]]
    names = zip(COLUMNS, arrays, strict=True)
    return CountData(counts=Counts(**{name: array.astype(float) for name, array in names}))


def samples(settings: JudgeConfig, at: int, n: int, rng: np.random.Generator) -> Samples:
    """The n intervals from one on."""
    quality = Quality(coverage_baseline=1.0, coverage_canary=1.0)
    window = Window(START + at * settings.interval, START + (at + n) * settings.interval)
    found = {one.name: drawn(kind, n, rng) for one, kind in zip(settings.metrics, KINDS, strict=True)}
    return Samples(
        window=window, metrics={name: MetricSamples(data=one, quality=quality) for name, one in found.items()}
    )


def cpu(work: Callable[[], object]) -> float:
    """Its CPU seconds."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def one_judgement() -> None:
    """A past canary of 60 intervals, beside twenty plain tests."""
    from scipy import stats

    settings, rng = config(), np.random.default_rng(1)
    past = samples(settings, 0, 60, rng)
    sides = rng.normal(size=(20, 2, 60))
    ours: dict[bool, list[float]] = {True: [], False: []}
    peer = []
    for _ in range(11):
        for intervals, taken in ours.items():
            taken.append(cpu(lambda intervals=intervals: judge_samples(settings, past, with_intervals=intervals)))
        peer.append(cpu(lambda: [stats.mannwhitneyu(*pair) for pair in sides]))
    for intervals, taken in ours.items():
        ratio = np.median(np.divide(taken, peer))
        how = "with" if intervals else "without"
        print(
            f"judge_samples, 20 x 60, {how} intervals: {1e3 * np.median(taken):.0f} ms, {ratio:.1f} times twenty scipy tests"
        )


def memory() -> float:
    """The largest so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def followed(last: int, path: Path) -> None:
    """The whole watch."""
    settings, rng, imported = config(), np.random.default_rng(1), memory()
    state, costs, kept, assessed, watched = MonitorState(start=START, horizon=None), [], 0.0, 0, 0.0
    print("\n| intervals | look ms, median | worst | with nothing held | assessed of 20 | CPU s so far | log MB |")
    print("|---|---|---|---|---|---|---|")
    with StateLog(settings, path) as log:
        for at in range(last):
            new = samples(settings, at, 1, rng)
            before = state

            def look(state: MonitorState = before, new: Samples = new) -> MonitorState:
                return observe(settings, state, new, fresh="none")[0]

            begun = time.process_time()
            state = look()
            costs.append(time.process_time() - begun)
            kept += cpu(lambda state=state: log.keep(state))
            assessed += sum(one.held is not None and one.held.at == one.intervals for one in state.streams.values())
            if at + 1 in TOLD:
                watched = memory()
                bare = replace(before, streams={name: replace(one, held=None) for name, one in before.streams.items()})
                always = np.median([cpu(lambda bare=bare, new=new: look(bare, new)) for _ in range(3)])
                newest = 1e3 * np.array(costs[-AROUND:])
                print(
                    f"| {at + 1:,} | {np.median(newest):.1f} | {newest.max():.0f} | {1e3 * always:.0f} | "
                    f"{assessed / (at + 1):.2f} | {sum(costs) + kept:.0f} | {path.stat().st_size / 1e6:.1f} |",
                    flush=True,
                )
    print(
        f"\nlargest memory: {watched:.0f} MB, of which {imported:.0f} are what is imported; "
        f"{memory():.0f} MB with the last looks that hold nothing"
    )
    again = cpu(lambda: StateLog(settings, path).close())
    print(
        f"of the time the log took {kept:.1f} s; to read it back: {again:.1f} s, and, beside the run, {memory():.0f} MB"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        followed(int(sys.argv[1]) if len(sys.argv) > 1 else TOLD[-1], Path(folder) / "state")
    one_judgement()  # last: its peer brings scipy.stats, whose memory no watch has
