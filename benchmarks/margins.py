"""What a margin costs, and what `history` is for: `python -m benchmarks.margins [replicates]`.

The table and the sentence of docs/guide.md, "Margins and time", printed as Markdown.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import timedelta

import numpy as np

from benchmarks.one_look import FULL, ar1, config, rates
from canary_judge.results import Harm
from canary_judge.samples import GaugeData, MetricSamples
from canary_judge.stats.margins import Margin
from canary_judge.stats.sample_sizes import margin_sample_size, rate_ratio_events
from canary_judge.wording import wait

MARGINS = (0.1, 0.25, 0.5, 1.0, 2.0)
SHARE, ALPHA, POWER = 0.05, 0.05, 0.8
ERRORS_PER_MINUTE = 0.005 * 50
INTERVALS, RHO = 60, 0.95


def costs() -> list[str]:
    baseline = np.exp(0.15 * np.random.default_rng(2).normal(size=400))
    lines = []
    for margin in MARGINS:
        events = rate_ratio_events(1 + margin, canary_share=SHARE, alpha=ALPHA, power=POWER)
        length = wait(timedelta(minutes=events / ERRORS_PER_MINUTE).total_seconds())
        intervals = margin_sample_size(
            baseline=baseline, margin=Margin(relative=margin), harm=Harm.INCREASE, alpha=ALPHA, power=POWER
        )
        least = config({"kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}, ALPHA).min_samples
        lines.append(f"| {margin:.0%} | {events:.0f} | {length} | {max(math.ceil(intervals), least)} |")
    return lines


def swinging(history: int, shift: float) -> Callable[[np.random.Generator], MetricSamples]:
    """White noise plus a swing of the same size, for each side by itself."""

    def draw(rng: np.random.Generator) -> MetricSamples:
        baseline, canary = (rng.normal(size=n) + ar1(rng, n, RHO) for n in (history + INTERVALS, INTERVALS))
        data = GaugeData(baseline=baseline[None, history:], canary=canary[None] + shift, history=baseline[:history])
        return MetricSamples(data=data, quality=FULL)

    return draw


def history(replicates: int) -> list[str]:
    metric = {"kind": "gauge", "query": "q", "margin": "+0.7"}
    lines = []
    for length in (0, 480, 1440):
        found = rates(config({**metric, "harm": "either"}, ALPHA), swinging(length, 0.0), replicates, 3, INTERVALS)
        passed = rates(config({**metric, "harm": "increase"}, ALPHA), swinging(length, 0.7), replicates, 4, INTERVALS)
        lines.append(f"| {length} | {found.found:.1%} | {passed.safe:.1%} |")
    return lines


if __name__ == "__main__":
    print("| margin | canary events that rule it out | 50 requests a minute, 0.5 % errors | gauge, intervals |")
    print("|---|---|---|---|", *costs(), sep="\n")
    print("\n| intervals of history | healthy, harm found | at the margin, passed |")
    print("|---|---|---|", *history(int(sys.argv[1]) if len(sys.argv) > 1 else 400), sep="\n")
