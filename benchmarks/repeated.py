"""What repeated looks promise, by simulation: shared by the slow tests and `python -m benchmarks.repeated_looks`.

Every look goes through `observe`, the way a monitor's data go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from benchmarks.one_look import START
from canary_judge.config.model import JudgeConfig
from canary_judge.looks import MonitorState, observe
from canary_judge.results import Outcome, Verdict
from canary_judge.samples import CountData, GaugeData, MetricSamples, Samples
from canary_judge.series import Window

STEP = timedelta(seconds=15)
FOUND = {Outcome.DEGRADED, Outcome.REGRESSED, Outcome.TOLERABLE}


@dataclass(frozen=True)
class Run:
    """One simulated canary: when harm was found, when it failed, when it passed (intervals; None: never)."""

    found: int | None
    failed: int | None
    passed: int | None


def cut(samples: MetricSamples, start: int, end: int) -> MetricSamples:
    """The intervals [start, end) of a whole run."""
    data = samples.data
    if isinstance(data, GaugeData):
        data = replace(data, baseline=data.baseline[:, start:end], canary=data.canary[:, start:end])
    elif isinstance(data, CountData):
        data = replace(
            data, counts=data.counts.select(np.isin(np.arange(data.counts.events_canary.size), np.arange(start, end)))
        )
    return replace(samples, data=data)


def run(config: JudgeConfig, metrics: dict[str, MetricSamples], intervals: int, looks: int, *, horizon: bool) -> Run:
    """Look at a run so many times, evenly spaced; stop when it has failed."""
    state = MonitorState(start=START, horizon=intervals if horizon else None)
    ends = np.unique(np.linspace(0, intervals, looks + 1).round().astype(int))
    found = failed = passed = None
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        window = Window(START + start * STEP, START + end * STEP)
        samples = Samples(window=window, metrics={name: cut(one, start, end) for name, one in metrics.items()})
        state, judgement = observe(config, state, samples, with_intervals=False)
        if found is None and any(metric.outcome in FOUND for metric in judgement.metrics):
            found = end
        if passed is None and judgement.verdict is Verdict.PASS:
            passed = end
        if judgement.verdict is Verdict.FAIL:
            failed = end
            break
    return Run(found=found, failed=failed, passed=passed)


def runs(
    config: JudgeConfig,
    make: Callable[[np.random.Generator], MetricSamples | dict[str, MetricSamples]],
    n: int,
    seed: int,
    intervals: int,
    looks: int,
    *,
    horizon: bool,
) -> list[Run]:
    """Independent runs, seeded."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n):
        made = make(rng)
        metrics = made if isinstance(made, dict) else {"m": made}
        results.append(run(config, metrics, intervals, looks, horizon=horizon))
    return results


def share(results: list[Run], what: str) -> float:
    """Share of the runs in which it ever happened."""
    return sum(getattr(one, what) is not None for one in results) / len(results)


def median(results: list[Run], what: str) -> float:
    """Median time over all runs; infinite when more than half never got there."""
    times = [getattr(one, what) for one in results]
    return float(np.median([np.inf if time is None else time for time in times]))
