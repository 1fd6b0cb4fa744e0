"""Inputs that look like health: a side that stands still, another unit, sides that were swapped, one interval."""

import numpy as np
import pytest

from canary_judge import Outcome, Verdict, judge_samples
from tests.builders import GAUGE, RATIO, config, counted, gauged, samples

N = 60
RNG = np.random.default_rng(1)
BUSY = RNG.normal(100, 3, N)


def judged(metric, one, **more):
    return judge_samples(config(metric, **more), samples(one))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6 / 3])
def test_a_canary_that_stands_still_beside_a_busy_baseline_is_no_healthy_one(scale):
    still = 100.37 if scale == 1 else np.rint(scale * 100.37)  # bytes are whole numbers
    found = judged(GAUGE, gauged(np.rint(scale * BUSY) if scale > 1 else BUSY, np.full(N, still)))
    assert found.verdict is Verdict.MARGINAL
    assert "never changed while the baseline's did: a frozen exporter?" in found["m"].reason


@pytest.mark.parametrize(
    ("baseline", "canary"),
    [
        (np.round(BUSY / 10), np.full(N, 10.0)),  # few values: pods, queues
        (np.full(N, 100.3), np.full(N, 100.3)),
        (BUSY, np.full(N, 100.0)),  # a limit
        (BUSY * 600, np.full(N, 60_000.0)),
        (np.rint(BUSY * 2**20), np.full(N, 100.0 * 2**20)),
        (np.abs(BUSY - 100), np.zeros(N)),  # idle
        (BUSY, RNG.normal(100, 3, N)),
    ],
)
def test_values_that_hardly_ever_change_are_none(baseline, canary):
    assert "frozen" not in judged(GAUGE, gauged(baseline, canary))["m"].reason


@pytest.mark.parametrize(("margin", "told"), [("+5", True), ("+2", False), ("500%", False), ("500% or +5", False)])
def test_a_margin_of_another_unit_is_told(margin, told):
    shares = RNG.uniform(0.3, 0.6, N)
    found = judged({**GAUGE, "margin": margin}, gauged(shares, shares[::-1]))
    assert any("more than five times the largest level" in text for text in found["m"].warnings) is told


@pytest.mark.parametrize("intervals", [1, 2, 3])
def test_events_of_one_or_two_intervals_do_not_pass(intervals):
    many = np.full(intervals, 1e5)
    found = judged({**RATIO, "margin": "2x"}, counted(many / 100, many, many / 100, many))
    assert (found["m"].outcome is Outcome.SAFE) is (intervals == 3)
    if intervals < 3:
        assert "cannot be told of fewer than 3" in found["m"].reason


@pytest.mark.parametrize(("share", "told"), [(0.95, True), (0.5, False), (0.05, False)])
def test_a_canary_with_most_of_the_requests_may_be_the_baseline(share, told):
    one = counted(100.0, np.full(N, 1e4 * (1 - share)), 100.0, np.full(N, 1e4 * share), canary_share=share)
    said = f"the canary has {share:.0%} of the requests: are baseline and canary swapped?"
    assert any(said in text for text in judged(RATIO, one).warnings) is told
    assert not any("swapped" in text for text in judged(RATIO, one, traffic={"weight": 100 * share}).warnings)
