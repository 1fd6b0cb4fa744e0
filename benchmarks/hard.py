"""What real data are like and simulations are not: `python -m benchmarks.hard [replicates]`.

Clumps over several intervals, swings that both sides share or one has for itself, scrapes lost when things are slow,
series that move too slowly for tau, no event at all. Each row passes through `judge_samples`; the table is written to
docs/calibration-hard.md. (Ties: `benchmarks.ties`. Faults that begin late: `benchmarks.late_faults`.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.one_look import FULL, Rates, ar1, config, rates
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData
from canary_judge.stats.counts import Counts

Draw = Callable[[np.random.Generator], MetricSamples]


@dataclass(frozen=True)
class Row:
    """What is drawn, what is true of it, and what the row promises.

    Attributes:
        section: Where it stands.
        name: What is drawn.
        truth: healthy, at the margin, worse.
        metric: Kind, margin and the like.
        draw: The samples.
        intervals: How many.
        passes: Lower and upper bound of the share that passes; None where it is only shown.
        times: Replicates over those that are asked for.
        known: Why the promise is known to be missed.
    """

    section: str
    name: str
    truth: str
    metric: dict[str, object]
    draw: Draw
    intervals: int
    passes: tuple[float, float] | None = None
    times: float = 1.0
    known: str = ""


# --- counts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retries:
    """Errors in clumps whose members follow each other after a pause, as retries do; `share` of them the canary's.

    The canary has `times` as many, in the last intervals only where `last` says how many.
    """

    share: float
    clump: int = 1
    pause: float = 0.0
    times: float = 1.0
    rate: float = 0.005
    total: float = 10_000.0
    last: int | None = None

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        n, sides = 60, []
        for share, times in ((1 - self.share, 1.0), (self.share, self.times)):
            # clumps that began before the window reach into it
            lead = 5 + int(6 * self.clump * self.pause)
            level = np.where(np.arange(n + lead) < n + lead - (self.last or n + lead), 1.0, times)
            begun = rng.poisson(self.rate * level * self.total * share / self.clump)
            events = np.zeros(n)
            starts = np.repeat(np.arange(n + lead) + 0.0, begun) + rng.random(begun.sum()) - lead
            sizes = rng.geometric(1 / self.clump, starts.size) if self.clump > 1 else np.ones(starts.size, dtype=int)
            for at, size in zip(starts.tolist(), sizes.tolist(), strict=True):
                when = at + np.concatenate([[0.0], np.cumsum(rng.exponential(self.pause, size - 1))])
                inside = when[(when >= 0) & (when < n)].astype(int)
                np.add.at(events, inside, 1.0)
            sides.append(events)
        exposure = [np.full(n, self.total * share) for share in (1 - self.share, self.share)]
        return MetricSamples(
            data=CountData(
                counts=Counts(
                    events_baseline=sides[0],
                    exposure_baseline=exposure[0],
                    events_canary=sides[1],
                    exposure_canary=exposure[1],
                )
            ),
            quality=FULL,
        )


# --- raw values ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swinging:
    """Log-normal values of requests whose level swings: for both sides alike, and for each by itself."""

    per_interval: tuple[int, int]
    shared: float = 0.0
    own: float = 0.0
    rho: float = 0.0
    times: float = 1.0
    intervals: int = 60

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        n = self.intervals
        both, sides = self.shared * ar1(rng, n, 0.95), []
        for mean, times in zip(self.per_interval, (1.0, self.times), strict=True):
            count = rng.poisson(mean, n)
            level = np.repeat(both + self.own * ar1(rng, n, self.rho), count)
            values = times * np.exp(level + 0.5 * rng.normal(size=level.size))
            sides.append((values, np.repeat(np.arange(n), count)))
        (b, i_b), (c, i_c) = sides
        return MetricSamples(
            data=RawData(baseline=b, canary=c, interval_baseline=i_b, interval_canary=i_c), quality=FULL
        )


# --- gauges --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scrapes:
    """A gauge of which a share of the canary's (or both sides') scrapes is lost: at random, or the largest ones."""

    lost: float
    how: str
    times: float = 1.0
    intervals: int = 60

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        n = self.intervals
        b, c = (100 * times * np.exp(0.15 * rng.normal(size=n)) for times in (1.0, self.times))
        count = round(self.lost * n)
        gone = rng.permutation(n)[:count] if self.how == "at random" else np.argsort(c)[n - count :]
        c[gone] = np.nan
        if self.how == "slow, on both sides":
            b[gone] = np.nan
        return MetricSamples(data=GaugeData(baseline=b[None], canary=c[None]), quality=FULL)


@dataclass(frozen=True)
class Waves:
    """A gauge whose sides share a slow swing, with noise of their own and a record before the window."""

    shared: float
    rho: float
    times: float = 0.0
    intervals: int = 120
    history: int = 480

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        whole = self.history + self.intervals
        swing = self.shared * ar1(rng, whole, 0.95)
        b, c = (swing + ar1(rng, whole, self.rho) + shift for shift in (0.0, self.times))
        data = GaugeData(baseline=b[None, self.history :], canary=c[None, self.history :], history=b[: self.history])
        return MetricSamples(data=data, quality=FULL)


@dataclass(frozen=True)
class Slow:
    """A gauge that is a random walk, or moves like one."""

    kind: str
    times: float = 1.0
    intervals: int = 180

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        n = self.intervals

        def walk(size: int) -> np.ndarray:
            return 0.01 * np.cumsum(rng.normal(size=size))

        match self.kind:
            case "walks from par":
                b, c = walk(n), walk(n)
            case "two periods of a walk":
                both = walk(2 * n)
                b, c = both[:n], both[n:]
            case "AR .98":
                b, c = 0.1 * ar1(rng, n, 0.98), 0.1 * ar1(rng, n, 0.98)
            case _:  # saw-teeth of garbage collection
                b, c = (0.3 * ((np.arange(n) + rng.integers(45)) % 45) / 45 + 0.01 * rng.normal(size=n) for _ in "bc")
        levels = [100 * np.exp(b), 100 * self.times * np.exp(c)]
        return MetricSamples(data=GaugeData(baseline=levels[0][None], canary=levels[1][None]), quality=FULL)


RATIO = {"kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
BOTH = {**RATIO, "margin": "1.5x or +0.1pp"}
SAMPLES = {"kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
GAUGE = {"kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}
HALF_SD = {**GAUGE, "margin": "+0.5"}
AT_MOST, WIDE = (0.0, 0.05), "clumps as wide as many intervals are a handful: no method here holds 5 %"


def counts() -> list[Row]:
    section = "Clumps over several intervals (5 and 10 errors, pauses in intervals; 60 intervals)"
    rows = [
        Row(section, "independent, 5 %", "healthy", RATIO, Retries(0.05), 60),
        Row(section, "independent, 50 %", "healthy", RATIO, Retries(0.5), 60),
        Row(section, "clumps of 5, .5 apart, 5 %", "healthy", RATIO, Retries(0.05, 5, 0.5), 60),
        Row(section, "clumps of 5, .5 apart, 50 %", "healthy", RATIO, Retries(0.5, 5, 0.5), 60),
        Row(section, "clumps of 5, .5 apart, 50 %", "at the margin", RATIO, Retries(0.5, 5, 0.5, 1.5), 60, AT_MOST),
        Row(
            section,
            "clumps of 5, 1 apart, 50 %",
            "at the margin",
            RATIO,
            Retries(0.5, 5, 1.0, 1.5),
            60,
            AT_MOST,
            known=WIDE,
        ),
        Row(
            section,
            "clumps of 10, 2 apart, 50 %",
            "at the margin",
            RATIO,
            Retries(0.5, 10, 2.0, 1.5),
            60,
            AT_MOST,
            known=WIDE,
        ),
        Row(section, "independent, 5 %, 3x", "worse", RATIO, Retries(0.05, times=3.0), 60),
        Row(section, "independent, 50 %, 2x", "worse", RATIO, Retries(0.5, times=2.0), 60),
    ]
    section = "No event, or few (95 to 5 % of 10,000 requests an interval)"
    return [
        *rows,
        Row(section, "5e-6", "healthy", BOTH, Retries(0.05, rate=5e-6), 60, (0.99, 1.0)),
        Row(section, "2e-5 in clumps of 5", "healthy", BOTH, Retries(0.05, 5, 0.0, rate=2e-5), 60, (0.80, 1.0)),
        Row(section, "5e-5 + 0.1 pp", "at the margin", BOTH, Retries(0.05, times=21.0, rate=5e-5), 60, AT_MOST),
        *(
            Row("A fault in the last tenth of 60 intervals: 5x the errors", f"{rate:.1%} of {total:,}, {share:.0%} to the canary",
                "worse", RATIO, Retries(share, rate=rate, total=total, times=5.0, last=6), 60, (0.0, 0.01))
            for rate, total, share in ((0.005, 1000, 0.25), (0.02, 1000, 0.25), (0.005, 12_000, 0.25), (0.02, 1000, 0.05), (0.005, 12_000, 0.05))
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Pods:
    """Errors of pods that differ for good: the log of their rates has this standard deviation."""

    deviation: float
    pods: tuple[int, int]
    times: float = 1.0

    def __call__(self, rng: np.random.Generator) -> MetricSamples:
        n, exposure, rate = 60, 2000.0, 0.005
        sides = []
        for count, times in zip(self.pods, (1.0, self.times), strict=True):
            levels = np.exp(rng.normal(-(self.deviation**2) / 2, self.deviation, count))
            sides.append(rng.poisson(rate * exposure * times * levels[:, None], (count, n)).astype(float))
        instances = {f"pod-{number}": (float(one.sum()), exposure * n) for number, one in enumerate(sides[0])}
        counts = Counts(
            events_baseline=sides[0].sum(axis=0),
            exposure_baseline=np.full(n, exposure * self.pods[0]),
            events_canary=sides[1].sum(axis=0),
            exposure_canary=np.full(n, exposure * self.pods[1]),
        )
        return MetricSamples(data=CountData(counts=counts, instances=instances), quality=FULL)


def pods() -> list[Row]:
    section = "Counts of pods that differ for good, by the sd of their log rates (2,000 requests a pod and interval)"
    known = "four pods tell little of how pods differ; reading them with as few degrees of freedom costs too much power"
    return [
        *(Row(section, f"sd {sd:g}, 4 pods and 1", "healthy", RATIO, Pods(sd, (4, 1)), 60) for sd in (0, 0.1, 0.2, 0.4)),
        Row(section, "sd 0, 4 pods and 1, 2x", "worse", RATIO, Pods(0.0, (4, 1), 2.0), 60),
        Row(section, "sd 0.2, 4 pods and 1", "at the margin", RATIO, Pods(0.2, (4, 1), 1.5), 60, AT_MOST, known=known),
        Row(section, "sd 0.2, 12 pods and 3", "healthy", RATIO, Pods(0.2, (12, 3)), 60),
        Row(section, "sd 0.2, 12 pods and 3", "at the margin", RATIO, Pods(0.2, (12, 3), 1.5), 60, AT_MOST, known=known),
    ]  # fmt: skip


def raw_values() -> list[Row]:
    section = "Raw values (60 intervals; values of baseline and canary an interval)"
    own = "three swings in a window cannot be told from none"
    return [
        Row(section, "independent, 20:20", "healthy", SAMPLES, Swinging((20, 20)), 60),
        Row(section, "independent, 95:5", "healthy", SAMPLES, Swinging((95, 5)), 60),
        Row(section, "independent, 20:20", "at the margin", SAMPLES, Swinging((20, 20), times=1.1), 60, AT_MOST),
        Row(section, "shared swing AR .95, 20:20", "healthy", SAMPLES, Swinging((20, 20), 0.3), 60, (0.95, 1.0)),
        Row(section, "shared swing AR .95, 95:5", "healthy", SAMPLES, Swinging((95, 5), 0.3), 60, (0.80, 1.0)),
        Row(section, "shared swing AR .95, 20:20", "at the margin", SAMPLES, Swinging((20, 20), 0.3, times=1.1), 60, AT_MOST),
        Row(section, "own swings AR .6, 20:20", "healthy", SAMPLES, Swinging((20, 20), 0.0, 0.1, 0.6), 60),
        Row(section, "own swings AR .6, 20:20", "at the margin", SAMPLES, Swinging((20, 20), 0.0, 0.1, 0.6, 1.1), 60, (0.0, 0.09), 2.5),
        Row(section, "own swings AR .9, 20:20", "at the margin", SAMPLES, Swinging((20, 20), 0.0, 0.1, 0.9, 1.1), 60, AT_MOST, known=own),
    ]  # fmt: skip


def gauges() -> list[Row]:
    section = "Scrapes that are lost (gauge, sd 15 %, margin 10 %)"
    rows = [
        Row(section, f"{lost:.0%} of the canary's lost at random", "healthy", GAUGE, Scrapes(lost, "at random"), 60)
        for lost in (0.0, 0.02, 0.05)
    ]
    for intervals in (60, 240):
        rows += [
            Row(section, f"slowest {lost:.0%} of the canary's lost, {intervals} intervals", "at the margin", GAUGE,
                Scrapes(lost, "slow", 1.1, intervals), intervals, AT_MOST)
            for lost in (0.05, 0.10, 0.18)
        ]  # fmt: skip
    hole = "documented hole: what both sides lost says nothing of what it was like"
    rows.append(
        Row(section, "slowest 10% lost on both sides at once", "at the margin", GAUGE,
            Scrapes(0.10, "slow, on both sides", 1.1), 60, AT_MOST, known=hole)
    )  # fmt: skip
    section = "Swings that both sides share (gauge, margin half a standard deviation, 480 intervals of history)"
    rows += [
        Row(section, "independent, 60 intervals", "healthy", HALF_SD, Waves(0.0, 0.0, intervals=60), 60),
        Row(section, "independent, 60 intervals", "at the margin", HALF_SD, Waves(0.0, 0.0, 0.5, 60), 60, AT_MOST),
        Row(section, "shared swing, 120 intervals", "healthy", HALF_SD, Waves(1.0, 0.0), 120),
        Row(section, "shared swing, 120 intervals", "at the margin", HALF_SD, Waves(1.0, 0.0, 0.5), 120, AT_MOST),
        Row(section, "shared swing + own AR .6, 120 intervals", "healthy", HALF_SD, Waves(1.0, 0.6), 120),
        Row(section, "shared swing + own AR .6, 120 intervals", "at the margin", HALF_SD, Waves(1.0, 0.6, 0.5), 120, AT_MOST),
    ]  # fmt: skip
    section = "Series that are too slow for tau (gauge, margin 10 %, 180 intervals)"
    rows += [
        Row(section, kind, truth, GAUGE, Slow(kind, times), 180)
        for kind in ("walks from par", "two periods of a walk", "AR .98", "saw-teeth")
        for truth, times in (("at the margin", 1.1), ("worse: 2x", 2.0), ("worse: 28x", 28.0))
    ]
    return rows


ROWS = [*counts(), *pods(), *raw_values(), *gauges()]


def measured(row: Row, n: int, seed: int = 21) -> Rates:
    return rates(config(row.metric, 0.01), row.draw, n, seed, row.intervals)


def _missed(row: Row, found: Rates) -> str:
    if row.passes is None:
        return ""
    low, high = row.passes
    noise = 3 * (max(low * (1 - low), high * (1 - high)) / found.n) ** 0.5
    if low - noise <= found.safe <= high + noise:
        return f"{high:.0%} at most" if low == 0 else f"{low:.0%} at least"
    return f"**missed** ({high:.0%} at most)" if low == 0 else f"**missed** ({low:.0%} at least)"


def _of(job: tuple[int, int]) -> Rates:
    index, n = job
    return measured(ROWS[index], round(n * ROWS[index].times))


def report(n: int) -> str:
    lines = [
        "# Calibration on what real data are like",
        "",
        f"Written by `python -m benchmarks.hard {n}`: {n} replicates a row (more where a bar asks for it), seeded.",
        "Each passes through `judge_samples` at a false-alarm rate of 1 % and a false-pass rate of 5 %.",
        "Bars hold with three standard errors; a row that misses its bar says so, with what is known of the reason.",
    ]
    section = ""
    with ProcessPoolExecutor() as pool:
        for row, found in zip(ROWS, pool.map(_of, [(index, n) for index in range(len(ROWS))]), strict=True):
            if row.section != section:
                section = row.section
                lines += ["", f"## {section}", "", "| row | truth | passed | found | regressed | bar for passing |"]
                lines.append("|---|---|---|---|---|---|")
            bar = _missed(row, found)
            bar += f": {row.known}" if row.known and "missed" in bar else ""
            lines.append(
                f"| {row.name} | {row.truth} | {found.safe:.1%} | {found.found:.1%} | {found.regressed:.1%} | {bar} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    (Path(__file__).parents[1] / "docs" / "calibration-hard.md").write_text(report(count), encoding="utf-8")
