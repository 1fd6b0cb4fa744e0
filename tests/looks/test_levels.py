"""What repeated looks promise, by seeded simulation; the full tables are in docs/calibration-looks.md."""

import pytest

from benchmarks.repeated import Run, median, runs, share
from benchmarks.repeated_looks import cases

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CASES = cases()
CHOSEN = {
    "gauges, nothing changed (spec 4.1)": (
        "rho 0, n 60, 30 looks",
        "rho 0.6, n 60, 30 looks",
        "rho 0.9, n 120, 30 looks",
        "rho 0.6, n 120, 30 looks, no horizon",
    ),
    "what breaks gauges, n = 120, 30 looks (spec 4.3)": (
        "white noise and a swing of rho .95",
        "the canary's spread is four times the baseline's",
        "a swing that both sides share",
    ),
    "gauges at their margin (.5 sd), 30 looks": ("rho 0, n 60, failed at 1 %",),
    "counts, nothing changed: 60 intervals of 1,000 requests, .5 % errors, a look at each (spec 4.4, 4.5)": (
        "5 % of the traffic",
        "5 % of the traffic, no horizon",
        "staged weights, a rate that moves",
        "clumps of 5",
    ),
    "counts at their margin (1.5x)": ("5 % of the traffic", "clumps of 5", "30 % of requests are events"),
    "metrics at once, nothing changed, 60 looks: the whole verdict": ("5 metrics",),
}
PROMISES = [(group, title) for group, titles in CHOSEN.items() for title in titles]
REPLICATES = 48


def simulated(group, title, n=REPLICATES):
    case = next(one for one in CASES[group] if one.title == title)
    return case, runs(case.config, case.make, n, 7, case.intervals, case.looks, horizon=case.horizon)


@pytest.mark.parametrize(
    ("group", "title"), PROMISES, ids=[f"{group.split(',')[0]}: {title}" for group, title in PROMISES]
)
def test_rates_over_all_looks_are_kept(group, title):
    case, found = simulated(group, title, REPLICATES // 4 if "metrics at once" in group else REPLICATES)
    for what, nominal in case.promise:
        assert share(found, what) <= nominal + 3 * (nominal * (1 - nominal) / len(found)) ** 0.5


@pytest.mark.parametrize(
    ("group", "title", "what", "least", "latest"),
    [
        ("gauges, power, n = 120, 30 looks (spec 4.2)", "rho 0, 0.5 sd", "found", 0.85, 120),
        ("gauges, power, n = 120, 30 looks (spec 4.2)", "rho 0.6, 1 sd", "found", 0.8, 120),
        ("time to degraded and to regressed, counts (intervals of 1,000 requests)", "3x at 5 %", "found", 0.95, 35),
        ("time to degraded and to regressed, counts (intervals of 1,000 requests)", "5x at 5 %", "failed", 0.95, 20),
    ],
)
def test_harm_is_found_and_in_time(group, title, what, least, latest):
    _, found = simulated(group, title, 40)
    assert share(found, what) >= least
    assert median(found, what) <= latest


def test_a_pass_is_proven_and_comes_early_where_there_is_much_traffic():
    group = "counts, nothing changed: 60 intervals of 1,000 requests, .5 % errors, a look at each (spec 4.4, 4.5)"
    _, found = simulated(group, "50 % of the traffic", 24)
    assert isinstance(found[0], Run)
    assert share(found, "passed") > 0.7
