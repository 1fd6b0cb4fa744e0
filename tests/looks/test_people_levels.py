"""Metrics by user keep their promises on simulated people with bots: the short form of `python -m benchmarks.people`."""

import math

import numpy as np
import pytest

from benchmarks.people import REQUESTS, SCENARIOS, Scenario, run

RUNS = 40
KNOWN = {one.name: one for one in SCENARIOS}


def bound(rate: float) -> float:
    return rate + 3 * math.sqrt(rate * (1 - rate) / RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bots", "minutes per user"])
def test_alarms_passes_and_intervals(name):
    found = np.array([run(KNOWN[name], seed) for seed in range(700, 700 + RUNS)], dtype=float).mean(axis=0)
    alarm, at_margin, passed, at_end, covered, _ = found
    assert max(alarm, at_margin) <= bound(0.01)
    assert max(passed, at_end) <= bound(0.05)
    assert covered >= 0.9 - 3 * math.sqrt(0.09 / RUNS)


@pytest.mark.slow
def test_the_same_people_judged_by_request_break_them():
    """That the test above can fail: bots make every fourth canary at its margin pass."""
    bots = Scenario("bots, as requests", KNOWN["bots"].people, REQUESTS)
    found = np.array([run(bots, seed) for seed in range(700, 700 + RUNS // 2)], dtype=float).mean(axis=0)
    assert found[2] > bound(0.05)
