"""Error rates and power of the one-look judge, by simulation: `python -m benchmarks.one_look [replicates]`.

Each replicate goes through `judge_samples`, the way a user's data go. The command prints the tables and writes
them to docs/calibration.md; the slow tests run the same functions with fewer replicates and bound the rates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.judging import judge_samples
from canary_judge.results import Outcome, Quality
from canary_judge.samples import CountData, GaugeData, MetricSamples, Samples
from canary_judge.series import Window
from canary_judge.stats.counts import Counts

START = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Quality(coverage_baseline=1.0, coverage_canary=1.0, series_baseline=1, series_canary=1)


@dataclass(frozen=True)
class Rates:
    """Shares of the replicates: harm found (degraded or regressed), regressed, found safe, insufficient."""

    found: float
    regressed: float
    safe: float
    insufficient: float
    n: int

    def bound(self, nominal: float) -> float:
        """The nominal rate plus three standard errors of this many replicates."""
        return nominal + 3 * (nominal * (1 - nominal) / self.n) ** 0.5


def rates(
    config: JudgeConfig, make: Callable[[np.random.Generator], MetricSamples], n: int, seed: int, intervals: int
) -> Rates:
    rng = np.random.default_rng(seed)
    window = Window(START, START + intervals * timedelta(seconds=15))
    outcomes = [
        judge_samples(config, Samples(window=window, metrics={"m": make(rng)}), with_intervals=False).metrics[0].outcome
        for _ in range(n)
    ]
    share = lambda *which: sum(outcome in which for outcome in outcomes) / n  # noqa: E731
    return Rates(
        found=share(Outcome.DEGRADED, Outcome.REGRESSED, Outcome.TOLERABLE),
        regressed=share(Outcome.REGRESSED),
        safe=share(Outcome.SAFE, Outcome.TOLERABLE),
        insufficient=share(Outcome.INSUFFICIENT),
        n=n,
    )


def config(metric: dict[str, object], alpha: float) -> JudgeConfig:
    return JudgeConfig.from_mapping(
        {"name": "s", "interval": "15s", "false_alarm_rate": alpha, "metrics": [{"name": "m", **metric}]}
    )


def ar1(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """A stationary AR(1) series with standard deviation 1."""
    noise = rng.normal(size=n) * np.sqrt(1 - rho**2)
    series = np.empty(n)
    series[0] = rng.normal()
    for t in range(1, n):
        series[t] = rho * series[t - 1] + noise[t]
    return series


def gauge(
    rho: float, n: int, *, shift: float = 0.0, history: int = 480
) -> Callable[[np.random.Generator], MetricSamples]:
    """Both sides AR(1) with sd 1; the canary shifted by so many of them."""

    def make(rng: np.random.Generator) -> MetricSamples:
        data = GaugeData(
            baseline=ar1(rng, n, rho)[None, :],
            canary=ar1(rng, n, rho)[None, :] + shift,
            history=ar1(rng, history, rho) if history else np.empty(0),
        )
        return MetricSamples(data=data, quality=FULL)

    return make


def counts(
    *, share: float = 0.05, requests: int = 1000, rate: float = 0.005, ratio: float = 1.0, intervals: int = 60
) -> Callable[[np.random.Generator], MetricSamples]:
    def make(rng: np.random.Generator) -> MetricSamples:
        n_c, n_b = rng.poisson(requests * share, intervals), rng.poisson(requests * (1 - share), intervals)
        return _counted(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, min(rate * ratio, 1)), n_c)

    return make


def staged(rng: np.random.Generator) -> MetricSamples:
    """5, 25, 50 and 75 % of the traffic one after the other, while the error rate moves with the hour."""
    share = np.repeat([0.05, 0.25, 0.5, 0.75], 15)
    rate = 0.005 * np.exp(1.2 * np.sin(np.arange(60) / 20))
    n_c, n_b = rng.poisson(1000 * share), rng.poisson(1000 * (1 - share))
    return _counted(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, rate), n_c)


def clumped(ratio: float) -> Callable[[np.random.Generator], MetricSamples]:
    """Errors that come in clumps of five on average."""

    def make(rng: np.random.Generator) -> MetricSamples:
        n_c, n_b = rng.poisson(50, 60), rng.poisson(950, 60)

        def errors(n: np.ndarray, rate: float) -> np.ndarray:
            return np.minimum([rng.geometric(0.2, k).sum() for k in rng.poisson(n * rate)], n)

        return _counted(errors(n_b, 0.001), n_b, errors(n_c, 0.001 * ratio), n_c)

    return make


def _counted(e_b: np.ndarray, n_b: np.ndarray, e_c: np.ndarray, n_c: np.ndarray) -> MetricSamples:
    arrays = [np.asarray(values, dtype=float) for values in (e_b, n_b, e_c, n_c)]
    names = ("events_baseline", "exposure_baseline", "events_canary", "exposure_canary")
    return MetricSamples(data=CountData(counts=Counts(**dict(zip(names, arrays, strict=True)))), quality=FULL)


TWO_SIDED = {"kind": "gauge", "query": "q", "harm": "either", "margin": "+0.5"}
UPWARD = {"kind": "gauge", "query": "q", "harm": "increase", "margin": "+0.5"}
RATIO = {"kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}


def report(n: int) -> str:
    """All tables as Markdown."""
    lines = [
        "# Calibration of the one-look judge",
        "",
        f"Written by `python -m benchmarks.one_look {n}`: {n} replicates a row, seeded; each replicate passes through `judge_samples`.",
        "*Found* is degraded, regressed or tolerable (harm shown); the bound is the nominal rate plus three standard errors.",
        "",
        "## Gauges, nothing changed: harm found at nominal 5 %, two-sided (spec table 4.1)",
        "",
        "| rho | n | with 480 baseline samples before | insufficient | without history | insufficient | bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for rho in (0.0, 0.3, 0.6, 0.9):
        for size in (60, 120, 240):
            made = config(TWO_SIDED, 0.05)
            old, alone = (rates(made, gauge(rho, size, history=h), n, 1, size) for h in (480, 0))
            lines.append(
                f"| {rho} | {size} | {old.found:.2%} | {old.insufficient:.1%} | {alone.found:.2%} | {alone.insufficient:.1%} | {old.bound(0.05):.2%} |"
            )
    lines += [
        "",
        "## Gauges, power: harm found at nominal 5 %, two-sided, n = 120 (spec table 4.2)",
        "",
        "| rho | shift in sd | with history | without |",
        "|---|---|---|---|",
    ]
    for rho, shift in ((0.0, 0.25), (0.0, 0.5), (0.0, 1.0), (0.6, 0.5), (0.6, 1.0), (0.6, 1.5)):
        made = config(TWO_SIDED, 0.05)
        old, alone = (rates(made, gauge(rho, 120, shift=shift, history=h), n, 2, 120).found for h in (480, 0))
        lines.append(f"| {rho} | {shift} | {old:.2f} | {alone:.2f} |")
    lines += [
        "",
        "## Gauges exactly at the margin (0.5 sd): failed at nominal 1 %, found safe at nominal 5 %",
        "",
        "| rho | n | failed (bound) | safe (bound) |",
        "|---|---|---|---|",
    ]
    for rho in (0.0, 0.6):
        for size in (60, 240):
            at = rates(config(UPWARD, 0.01), gauge(rho, size, shift=0.5), n, 3, size)
            lines.append(
                f"| {rho} | {size} | {at.regressed:.2%} ({at.bound(0.01):.2%}) | {at.safe:.2%} ({at.bound(0.05):.2%}) |"
            )
    lines += [
        "",
        "## Counts: 60 intervals of 1,000 requests, 0.5 % errors, margin 1.5x, nominal 5 % (spec tables 4.4 and 4.5)",
        "",
        "| case | harm found | regressed | safe | within the bound |",
        "|---|---|---|---|---|",
    ]
    for name, make in COUNT_CASES.items():
        found = rates(config(RATIO, 0.05), make, n, 4, 60)
        promised = {"nothing": [found.found], "exactly": [found.regressed, found.safe]}.get(name.split()[0])
        kept = "-" if promised is None else "yes" if max(promised) <= found.bound(0.05) else "**no**"
        lines.append(f"| {name} | {found.found:.2%} | {found.regressed:.2%} | {found.safe:.2%} | {kept} |")
    return "\n".join([*lines, ""])


COUNT_CASES: dict[str, Callable[[np.random.Generator], MetricSamples]] = {
    "nothing changed, 5 % of the traffic": counts(),
    "nothing changed, 50 % of the traffic": counts(share=0.5),
    "nothing changed, staged weights and a rate that moves": staged,
    "nothing changed, errors in clumps of 5": clumped(1.0),
    "nothing changed, 30 % of requests are events": counts(rate=0.3),
    "exactly at the margin (1.5x)": counts(ratio=1.5),
    "exactly at the margin, 10,000 requests": counts(ratio=1.5, requests=10_000),
    "exactly at the margin, errors in clumps of 5": clumped(1.5),
    "2x, 5 % of the traffic": counts(ratio=2),
    "3x, 5 % of the traffic": counts(ratio=3),
    "5x, 5 % of the traffic": counts(ratio=5),
}


if __name__ == "__main__":
    text = report(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
    Path(__file__).parents[1].joinpath("docs", "calibration.md").write_text(text)
    print(text)
