"""Tied values, where the margin is finer than their steps: `python -m benchmarks.ties [replicates]`.

Ratings, whole milliseconds and small counts through `judge_samples`; the table is written to docs/calibration-ties.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.one_look import FULL, Rates, ar1, config, rates
from canary_judge.samples import GaugeData, MetricSamples, RawData

Draw = Callable[[np.random.Generator], MetricSamples]
INTERVALS = 120


class Row(NamedTuple):
    """What is drawn, whether it may pass, and how."""

    name: str
    harm: str
    margin: str
    truth: str
    kind: str
    draw: Draw


def raw(rng: np.random.Generator, baseline: np.ndarray, canary: np.ndarray) -> MetricSamples:
    sizes = baseline.size, canary.size
    intervals = [np.sort(rng.integers(0, INTERVALS, size)) for size in sizes]
    data = RawData(baseline=baseline, canary=canary, interval_baseline=intervals[0], interval_canary=intervals[1])
    return MetricSamples(data=data, quality=FULL)


def stars(mean: float, size: int = 1000) -> Draw:
    """Ratings of 1 to 5 whose mean is 4.00 on the baseline."""

    def drawn(rng: np.random.Generator, level: float, size: int) -> np.ndarray:
        return 1.0 + rng.binomial(4, (level - 1) / 4, size)

    return lambda rng: raw(rng, drawn(rng, 4.0, 20_000), drawn(rng, mean, size))


def milliseconds(median: float, factor: float) -> Draw:
    """Log-normal latencies, rounded to whole milliseconds; the factor is that of the rounded means."""
    wanted = factor * _rounded_mean(median)
    high = median * 2
    low = median
    while high - low > 1e-9:
        low, high = ((low + high) / 2, high) if _rounded_mean((low + high) / 2) < wanted else (low, (low + high) / 2)

    def draw(rng: np.random.Generator) -> MetricSamples:
        baseline, canary = (
            np.rint(level * rng.lognormal(0, 0.5, size)) for level, size in ((median, 5000), (low, 1000))
        )
        return raw(rng, baseline, canary)

    return draw


def _rounded_mean(median: float) -> float:
    steps = np.arange(0, 400)
    return float(stats.lognorm.sf((steps + 0.5) / median, 0.5).sum())


def small_counts(mean: float, rho: float, base: float = 1.0) -> Draw:
    """A gauge of small whole numbers, whose ranks follow an AR(1)."""

    def draw(rng: np.random.Generator) -> MetricSamples:
        sides = [stats.poisson.ppf(stats.norm.cdf(ar1(rng, INTERVALS, rho)), level) for level in (base, mean)]
        return MetricSamples(data=GaugeData(baseline=sides[0][None], canary=sides[1][None]), quality=FULL)

    return draw


ROWS = [
    Row("ratings 4.00 -> 3.86, margin .05", "decrease", "+0.05", "worse", "samples", stars(3.86)),
    Row("ratings 4.00 -> 3.95, margin .05", "decrease", "+0.05", "at the margin", "samples", stars(3.95)),
    Row("ratings unchanged, margin .05", "decrease", "+0.05", "healthy", "samples", stars(4.0)),
    Row("ratings unchanged, 8000 of the canary", "decrease", "+0.05", "healthy", "samples", stars(4.0, 8000)),
    Row("whole ms, median 2, 1.2x, margin 10 %", "increase", "10%", "worse", "samples", milliseconds(2, 1.2)),
    Row("whole ms, median 2, 1.1x, margin 10 %", "increase", "10%", "at the margin", "samples", milliseconds(2, 1.1)),
    Row("whole ms, median 2, unchanged", "increase", "10%", "healthy", "samples", milliseconds(2, 1.0)),
    Row("counts, mean .2 -> .3, margin +.1", "increase", "+0.1", "at the margin", "gauge", small_counts(0.3, 0.0, 0.2)),
    Row("counts, mean 1 -> 1.2, margin +.2", "increase", "+0.2", "at the margin", "gauge", small_counts(1.2, 0.0)),
    Row("the same, rho .6", "increase", "+0.2", "at the margin", "gauge", small_counts(1.2, 0.6)),
    Row("counts, mean 1, unchanged, margin +.5", "increase", "+0.5", "healthy", "gauge", small_counts(1.0, 0.0)),
]


def measured(row: Row, n: int, seed: int = 11) -> Rates:
    query = {"name": "m", "kind": row.kind, "query": "q", "harm": row.harm, "margin": row.margin}
    return rates(config(query, 0.01), row.draw, n, seed, INTERVALS)


def report(n: int) -> str:
    lines = [
        "# Calibration where values are tied",
        "",
        f"Written by `python -m benchmarks.ties {n}`: {n} replicates a row, seeded; each passes through `judge_samples`.",
        f"A row at the margin may pass in 5 % ({0.05 + 3 * (0.05 * 0.95 / n) ** 0.5:.1%} with three standard errors).",
        "",
        "| row | truth | passed | regressed (nominal 1 %) |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        found = measured(row, n)
        lines.append(f"| {row.name} | {row.truth} | {found.safe:.1%} | {found.regressed:.1%} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    (Path(__file__).parents[1] / "docs" / "calibration-ties.md").write_text(report(count), encoding="utf-8")
