"""Error rates, power and speed of repeated looks: `python -m benchmarks.repeated_looks [replicates]`.

Writes docs/calibration-looks.md. Every look passes through `observe`. The slow tests bound the same rates with fewer
replicates (tests/looks/test_levels.py). 4000 replicates take several hours on 4 cores; an interrupted run goes on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.one_look import RATIO, TWO_SIDED, UPWARD, clumped, config, counts, gauge, staged
from benchmarks.repeated import Run, median, runs, share
from canary_judge.config.model import JudgeConfig
from canary_judge.samples import MetricSamples

# an interrupted run goes on from here; deleted when the page is written
NOTES = Path(__file__).parents[1] / ".calibration-looks.notes"
# Each part of a row has its seed; fixed, so that a row does not depend on how many workers share it.
_PARTS = 8
Make = Callable[[np.random.Generator], MetricSamples | dict[str, MetricSamples]]


@dataclass(frozen=True)
class Case:
    """One row: what is simulated, and how often it is looked at."""

    title: str
    make: Make
    config: JudgeConfig
    intervals: int
    looks: int
    horizon: bool = True
    # what may happen, and how often at most
    promise: tuple[tuple[str, float], ...] = ()


def mixed(rng: np.random.Generator) -> MetricSamples:
    """White noise and a slow swing, of which AR(1) sees only the first (spec table 4.3)."""
    fast, slow = gauge(0.0, 120)(rng), gauge(0.95, 120)(rng)
    data = {name: getattr(fast.data, name) + getattr(slow.data, name) for name in ("baseline", "canary", "history")}
    return MetricSamples(data=type(fast.data)(**data), quality=fast.quality)


def skewed(rng: np.random.Generator) -> MetricSamples:
    made = gauge(0.6, 120)(rng)
    data = {name: np.exp(getattr(made.data, name)) for name in ("baseline", "canary", "history")}
    return MetricSamples(data=type(made.data)(**data), quality=made.quality)


def wider(factor: float) -> Make:
    """The canary's spread is so many times the baseline's."""

    def make(rng: np.random.Generator) -> MetricSamples:
        made = gauge(0.0, 120)(rng)
        data = {"baseline": made.data.baseline, "canary": factor * made.data.canary, "history": made.data.history}
        return MetricSamples(data=type(made.data)(**data), quality=made.quality)

    return make


def shared(rng: np.random.Generator) -> MetricSamples:
    """A slow swing that both sides share."""
    made, swing = gauge(0.0, 120)(rng), gauge(0.95, 120)(rng)
    wave = swing.data.baseline
    data = {
        "baseline": made.data.baseline + wave,
        "canary": made.data.canary + wave,
        "history": made.data.history + swing.data.history,
    }
    return MetricSamples(data=type(made.data)(**data), quality=made.quality)


def many(kinds: int) -> tuple[JudgeConfig, Make]:
    """So many metrics at once, gauges and ratios in turn, none of them changed."""
    metrics = [{"name": f"m{k}", **(UPWARD if k % 2 else RATIO)} for k in range(kinds)]
    made = JudgeConfig.from_mapping({"name": "s", "interval": "15s", "false_alarm_rate": 0.05, "metrics": metrics})
    makers = [gauge(0.3, 60) if k % 2 else counts() for k in range(kinds)]
    return made, lambda rng: {f"m{k}": make(rng) for k, make in enumerate(makers)}


def cases() -> dict[str, list[Case]]:
    two, rare = config(TWO_SIDED, 0.05), config(RATIO, 0.05)
    strict = config(UPWARD, 0.01)
    null = (("found", 0.05),)
    margin = (("failed", 0.05), ("passed", 0.05))
    groups: dict[str, list[Case]] = {"gauges, nothing changed (spec 4.1)": []}
    for rho in (0.0, 0.3, 0.6, 0.9):
        for size in (60, 120, 240):
            for looks in (1, 30, 100) if size == 120 else (30,):
                groups["gauges, nothing changed (spec 4.1)"].append(
                    Case(
                        f"rho {rho:g}, n {size}, {looks} look{'s' * (looks > 1)}",
                        gauge(rho, size),
                        two,
                        size,
                        looks,
                        promise=null,
                    )
                )
        groups["gauges, nothing changed (spec 4.1)"].append(
            Case(
                f"rho {rho:g}, n 120, 30 looks, no horizon", gauge(rho, 120), two, 120, 30, horizon=False, promise=null
            )
        )
    groups["gauges, power, n = 120, 30 looks (spec 4.2)"] = [
        Case(
            f"rho {rho:g}, {shift:g} sd{'' if horizon else ', no horizon'}",
            gauge(rho, 120, shift=shift),
            two,
            120,
            30,
            horizon=horizon,
        )
        for rho, shift in ((0.0, 0.25), (0.0, 0.5), (0.0, 1.0), (0.6, 0.5), (0.6, 1.0), (0.6, 1.5), (0.6, 2.0))
        for horizon in (True, False)
    ]
    groups["what breaks gauges, n = 120, 30 looks (spec 4.3)"] = [
        Case("white noise and a swing of rho .95", mixed, two, 120, 30, promise=null),
        Case("lognormal, rho .6", skewed, two, 120, 30, promise=null),
        Case("the canary's spread is twice the baseline's", wider(2.0), two, 120, 30, promise=null),
        Case("the canary's spread is four times the baseline's", wider(4.0), two, 120, 30, promise=null),
        Case("a swing that both sides share", shared, two, 120, 30, promise=null),
    ]
    groups["gauges at their margin (.5 sd), 30 looks"] = [
        Case(
            f"rho {rho:g}, n {size}, failed at 1 %",
            gauge(rho, size, shift=0.5),
            strict,
            size,
            30,
            promise=(("failed", 0.01), ("passed", 0.05)),
        )
        for rho in (0.0, 0.6)
        for size in (60, 240)
    ]
    groups["counts, nothing changed: 60 intervals of 1,000 requests, .5 % errors, a look at each (spec 4.4, 4.5)"] = [
        Case("5 % of the traffic", counts(), rare, 60, 60, promise=null),
        Case("5 % of the traffic, no horizon", counts(), rare, 60, 60, horizon=False, promise=null),
        Case("50 % of the traffic", counts(share=0.5), rare, 60, 60, promise=null),
        Case("staged weights, a rate that moves", staged, rare, 60, 60, promise=null),
        Case("clumps of 5", clumped(1.0), rare, 60, 60, promise=null),
        Case("30 % of requests are events", counts(rate=0.3), rare, 60, 60, promise=null),
    ]
    groups["counts at their margin (1.5x)"] = [
        Case("5 % of the traffic", counts(ratio=1.5), rare, 60, 60, promise=margin),
        Case("no horizon", counts(ratio=1.5), rare, 60, 60, horizon=False, promise=margin),
        Case("10,000 requests", counts(ratio=1.5, requests=10_000), rare, 60, 60, promise=margin),
        Case("clumps of 5", clumped(1.5), rare, 60, 60, promise=margin),
        Case("30 % of requests are events", counts(rate=0.3, ratio=1.5), rare, 60, 60, promise=margin),
    ]
    groups["time to degraded and to regressed, counts (intervals of 1,000 requests)"] = [
        Case(f"{ratio}x at {100 * part:g} %", counts(share=part, ratio=ratio), config(RATIO, 0.01), 60, 60)
        for ratio in (2, 3, 5)
        for part in (0.01, 0.05, 0.1)
    ]
    latency = {"kind": "latency", "histogram": "h_seconds", "slower_than": "1s", "margin": "1.25x"}
    # a lognormal latency (sigma .5) whose 5 % slowest pass the bound: 1.25x and 1.5x slower put 11.5 % and 20.2 % beyond
    groups["time to degraded and to regressed, share of slow requests when latency grows"] = [
        Case(
            f"latency {factor}x at {100 * part:g} %",
            counts(share=part, rate=0.05, ratio=ratio),
            config(latency, 0.01),
            60,
            60,
        )
        for factor, ratio in ((1.25, 2.30), (1.5, 4.04))
        for part in (0.01, 0.05, 0.1)
    ]
    groups["metrics at once, nothing changed, 60 looks: the whole verdict"] = [
        Case(f"{kinds} metrics", many(kinds)[1], many(kinds)[0], 60, 60, promise=(("failed", 0.05), ("found", 0.05)))
        for kinds in (5, 10, 20)
    ]
    return groups


def simulate(job: tuple[str, int, int, int]) -> list[Run]:
    group, index, n, seed = job
    case = cases()[group][index]
    return runs(case.config, case.make, n, seed, case.intervals, case.looks, horizon=case.horizon)


def finished(n: int) -> dict[tuple[str, str], str]:
    """Rows that an interrupted run with at least as many replicates has left in its notes."""
    if not NOTES.exists():
        return {}
    rows = [line.split("\t") for line in NOTES.read_text().splitlines()]
    return {(group, title): row for size, group, title, row in rows if int(size) >= n}


def report(n: int, workers: int) -> str:
    done = finished(n)
    lines = [
        "# Calibration of repeated looks",
        "",
        "Written by `python -m benchmarks.repeated_looks`, seeded; the table says how many runs stand behind each row. Every look passes through `observe`. With a horizon unless a row says otherwise.",
        "*Found* is harm shown at any look (degraded, regressed or tolerable), nominal 5 % unless a row says 1 %; *kept* compares with the nominal rate plus three standard errors. Medians are in intervals, over all runs; `-` is never in half of them. The same number of runs as the argument (metrics at once: ten times it) gives a row again.",
        "",
    ]
    begun = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        for group, members in cases().items():
            lines += [
                f"## {group[0].upper()}{group[1:]}",
                "",
                "| case | runs | found | failed | passed | kept | median found / failed / passed |",
                "|---|---|---|---|---|---|---|",
            ]
            for index, case in enumerate(members):
                if (kept_row := done.get((group, case.title))) is not None:
                    lines.append(kept_row)
                    continue
                size = n // 10 if "metrics at once" in group else n
                jobs = [(group, index, len(range(part, size, _PARTS)), 1000 * index + part) for part in range(_PARTS)]
                found = [one for some in pool.map(simulate, jobs) for one in some]
                broken = [
                    what
                    for what, nominal in case.promise
                    if share(found, what) > nominal + 3 * (nominal * (1 - nominal) / len(found)) ** 0.5
                ]
                kept = "-" if not case.promise else "yes" if not broken else f"**no: {', '.join(broken)}**"
                rates = " | ".join(f"{share(found, what):.2%}" for what in ("found", "failed", "passed"))
                times = " / ".join(
                    f"{when:g}" if np.isfinite(when := median(found, what)) else "-"
                    for what in ("found", "failed", "passed")
                )
                lines.append(f"| {case.title} | {len(found)} | {rates} | {kept} | {times} |")
                with NOTES.open("a") as notes:
                    notes.write(f"{n}\t{group}\t{case.title}\t{lines[-1]}\n")
                print(lines[-1], f"{time_since(begun)}", flush=True)
            lines.append("")
    return "\n".join(lines)


def time_since(begun: float) -> str:
    return f"{(time.monotonic() - begun) / 60:.0f} min"


if __name__ == "__main__":
    text = report(int(sys.argv[1]) if len(sys.argv) > 1 else 4000, int(os.environ.get("CANARY_JUDGE_WORKERS", "4")))
    Path(__file__).parents[1].joinpath("docs", "calibration-looks.md").write_text(text)
    NOTES.unlink(missing_ok=True)
    print(text)
