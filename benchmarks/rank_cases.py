"""The work that is timed, ours and the peers', on continuous and on tied data; results are checked equal first."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from canary_judge.stats.rank import mann_whitney, mann_whitney_p_values
from canary_judge.stats.shift import shift_intervals

SHAPES = ((20, 60), (2000, 60), (1000, 240), (200, 1440))
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Data:
    """Pairs of lognormal samples; ties are the same rounded to integers."""

    pairs: int
    points: int
    ties: bool
    baseline: np.ndarray
    canary: np.ndarray

    @classmethod
    def draw(cls, pairs: int, points: int, *, ties: bool) -> Data:
        rng = np.random.default_rng(pairs * points)
        baseline, canary = rng.lognormal(3, 1, (pairs, points)), rng.lognormal(3, 1, (pairs, points))
        if ties:
            baseline, canary = np.round(baseline), np.round(canary)
        return cls(pairs, points, ties, baseline, canary)

    def __str__(self) -> str:
        return f"{self.pairs} x {self.points}, {'ties' if self.ties else 'continuous'}"


@dataclass(frozen=True)
class Case:
    """Ours against a peer. `bar` is the least ratio peer / ours that is aimed at; None where there is none."""

    name: str
    peer_name: str
    data: Data
    ours: Callable[[], object]
    peer: Callable[[], object]
    bar: float | None


def ours_mw(data: Data) -> object:
    return mann_whitney_p_values(baseline=data.baseline, canary=data.canary)


def ours_judge(data: Data) -> object:
    test = mann_whitney(baseline=data.baseline, canary=data.canary)
    half_width = Z_95 * np.sqrt(test.n_baseline * test.n_canary * (test.n_baseline + test.n_canary + 1) / 12)
    return shift_intervals(baseline=data.baseline, canary=data.canary, half_width=half_width)


def scipy_rows(data: Data) -> object:
    return stats.mannwhitneyu(data.canary, data.baseline, axis=1, method="asymptotic", alternative="greater")


def scipy_loop(data: Data) -> object:
    return [
        stats.mannwhitneyu(c, b, method="asymptotic", alternative="greater").pvalue
        for b, c in zip(data.baseline, data.canary, strict=True)
    ]


def np_sort(data: Data) -> object:
    return np.sort(np.concatenate([data.canary, data.baseline], axis=1), axis=1)


def pingouin_loop(data: Data) -> object:
    import pingouin

    return [pingouin.mwu(c, b, alternative="greater") for b, c in zip(data.baseline, data.canary, strict=True)]


def tea_tasting_loop(data: Data) -> object:
    import pandas as pd
    import tea_tasting as tt

    frames = [
        pd.DataFrame({"variant": np.repeat([0, 1], data.points), "m": np.concatenate([b, c])})
        for b, c in zip(data.baseline, data.canary, strict=True)
    ]
    experiment = tt.Experiment(m=tt.MannWhitneyU("m", alternative="greater"))
    return [experiment.analyze(frame)["m"].pvalue for frame in frames]


def check(data: Data) -> None:
    """Ours equals scipy's p-values, and brute force where all differences can be listed."""
    theirs = scipy_rows(data).pvalue  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours_mw(data)[0], theirs, rtol=1e-11)  # type: ignore[index]
    found = ours_judge(data)
    depth = int(data.points**2 / 2 - Z_95 * np.sqrt(data.points**2 * (2 * data.points + 1) / 12))
    for row in range(0, data.pairs, max(1, data.pairs // 10)):
        differences = np.sort(np.subtract.outer(data.canary[row], data.baseline[row]).ravel())
        assert found.estimate[row] == np.median(differences)  # type: ignore[attr-defined]
        assert found.lower[row] == differences[depth - 1]  # type: ignore[attr-defined]
        assert found.upper[row] == differences[data.points**2 - depth]  # type: ignore[attr-defined]


def cases() -> Iterator[Case]:
    """All paired cases; peers are named by what they do less."""
    for pairs, points in SHAPES:
        for ties in (False, True):
            data = Data.draw(pairs, points, ties=ties)
            check(data)
            small = (pairs, points) == SHAPES[0]

            def bound(work: Callable[[Data], object], data: Data = data) -> Callable[[], object]:
                return lambda: work(data)

            mw, judge, rows = bound(ours_mw), bound(ours_judge), bound(scipy_rows)
            yield Case("MW", "scipy axis=1", data, mw, rows, 2.3 if ties else 4.0)
            yield Case(
                "MW",
                "np.sort of the same rows (the limit)",
                data,
                mw,
                bound(np_sort),
                None if small else 1 / 5 if ties else 1 / 3.5,
            )
            yield Case("judge", "scipy axis=1 (MW only)", data, judge, rows, None if small else 0.5)
            if small:
                yield Case("judge", "scipy loop (MW only)", data, judge, bound(scipy_loop), 20.0)
                yield Case("judge", "pingouin loop (MW, CLES)", data, judge, bound(pingouin_loop), None)
                yield Case("judge", "tea-tasting loop (MW only)", data, judge, bound(tea_tasting_loop), None)
    for ties in (False, True):
        data = Data.draw(1, 1_000_000, ties=ties)
        yield Case("MW", "scipy", data, lambda d=data: ours_mw(d), lambda d=data: scipy_rows(d), 10.0)


R_CODE = """
args <- commandArgs(TRUE); n <- as.integer(args[1]); k <- as.integer(args[2])
x <- scan("stdin", quiet = TRUE); d <- array(x, c(n, 2, k)); out <- numeric(k)
t <- system.time(for (i in 1:k) out[i] <- wilcox.test(d[, 2, i], d[, 1, i], conf.int = TRUE, exact = FALSE)$estimate)
cat(t[["elapsed"]] / k, out, sep = "\\n")
"""


def r_seconds(data: Data, pairs: int) -> tuple[float, np.ndarray]:
    """R's own time for one `wilcox.test(conf.int = TRUE)`, in seconds, and its estimates."""
    stacked = np.stack([data.baseline[:pairs], data.canary[:pairs]], axis=1)
    done = subprocess.run(
        ["Rscript", "-e", R_CODE, str(data.points), str(pairs)],
        input="\n".join(map(repr, stacked.ravel().tolist())),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *estimates = map(float, done.stdout.split())
    return seconds, np.array(estimates)


def has_r() -> bool:
    return shutil.which("Rscript") is not None
