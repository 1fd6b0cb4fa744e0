"""What is told of how values spread, decides nothing, and is told of nothing that is ordinary."""

import numpy as np
import pytest

from canary_judge.judging.doubts.odd_spread import worth_a_word
from tests.builders import GAUGE, config

SAMPLES = {"name": "m", "kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
N = 60


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def told(metric, baseline, canary):
    return list(worth_a_word(config(metric).metrics[0], np.asarray(baseline, float), np.asarray(canary, float)))


@pytest.mark.parametrize("top", [100.0, 1.0, 50.0])
def test_a_canary_at_the_end_of_the_scale(rng, top):
    baseline = np.minimum(rng.normal(0.93 * top, 0.03 * top, N), top)
    (text,) = told(GAUGE, baseline, np.full(N, top))
    assert f"100% of the canary's values are {top:g}, the largest of both sides" in text


def test_a_share_that_is_at_its_best(rng):
    baseline = np.minimum(rng.normal(99.5, 0.4, N), 100)
    assert told({**GAUGE, "harm": "decrease"}, baseline, np.full(N, 100.0)) == []


def test_latencies_cut_off_at_a_time_out(rng):
    baseline, canary = (np.minimum(rng.lognormal(mu, 0.5, 900), 50) for mu in (3.4, 4.3))
    (text,) = told(SAMPLES, baseline, canary)
    assert "is there an end of the scale" in text


def test_a_level_that_climbs_until_it_is_killed(rng):
    (text,) = told(GAUGE, rng.normal(300, 5, N), 120 + 70 * (np.arange(N) % 5) + rng.normal(0, 3, N))
    assert "does it climb and begin anew?" in text


def test_requests_that_fail_at_once(rng):
    baseline, slow = rng.lognormal(4, 0.5, 5000), rng.lognormal(4.3, 0.5, 600)
    (text,) = told(SAMPLES, baseline, np.append(slow, rng.lognormal(1.5, 0.3, 300)))
    assert "requests that fail at once?" in text


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("harm", ["increase", "decrease"])
def test_one_pod_beside_the_mean_of_many_and_levels_of_few_values(seed, harm):
    rng = np.random.default_rng(seed)
    pods = rng.normal(100, 20, (60, N))
    metric = {**GAUGE, "harm": harm}
    assert told(metric, pods.mean(axis=0), rng.normal(100, 20, N)) == []
    assert told(metric, *(np.where(rng.random(N) < 0.6, 0, rng.exponential(5, N)) for _ in range(2))) == []
    assert told(metric, *(rng.integers(3, 5, N) for _ in range(2))) == []
    assert told(metric, *(np.minimum(rng.normal(99, 3, N), 100) for _ in range(2))) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("harm", ["increase", "decrease"])
@pytest.mark.parametrize("times", [0.5, 1.0, 1.3, 3.0])
def test_ordinary_values(seed, harm, times):
    rng = np.random.default_rng(seed)
    for metric, draw in (
        (GAUGE, lambda m: m * rng.normal(100, 5, N)),
        (GAUGE, lambda m: np.rint(m * rng.normal(40, 3, N))),
        (SAMPLES, lambda m: m * rng.lognormal(4, 0.5, 900)),
    ):
        assert told({**metric, "harm": harm}, draw(1.0), draw(times)) == []
