"""The split of the traffic: what is a finding, and from where on."""

import math

import numpy as np
import pytest
from scipy import stats

from canary_judge.stats.rates import RateRatioProcess
from canary_judge.stats.split import split_finding, users_split

# A thousandth of the error, as the docs have it.
SURE = math.log(1000)


def log_e_of(canary, whole, share, k):
    """By scipy: beta-binomial around the share over the binomial at it."""
    return stats.betabinom.logpmf(canary, whole, k * share, k * (1 - share)) - stats.binom.logpmf(canary, whole, share)


@pytest.mark.parametrize(("whole", "share"), [(20_000, 0.02), (5000, 0.2), (2000, 0.5)])
def test_users_are_missing_or_more_from_a_thousandth_on(whole, share):
    k = (1 - share) / (0.01 * share)  # looked for is a tenth of the canary's
    expected = int(share * whole)
    found = set()
    for canary in range(int(0.6 * expected), int(1.4 * expected), max(expected // 200, 1)):
        split = users_split(baseline=whole - canary, canary=canary, share=share)
        assert split.log_e == pytest.approx(log_e_of(canary, whole, share, k), abs=1e-6)
        sure = bool(split.log_e >= SURE)
        assert bool(split.finding) is sure
        found.add((sure, canary > expected))
        if sure:
            assert split.finding.startswith(
                "users are missing" if canary < expected else "more users are on the canary"
            )
    assert found >= {(True, False), (False, False), (True, True)}


def test_users_by_chance_are_no_finding():
    rng = np.random.default_rng(1)
    drawn = rng.binomial(50_000, 0.05, 3000)
    assert sum(bool(users_split(baseline=50_000 - one, canary=one, share=0.05).finding) for one in drawn) <= 6


@pytest.mark.parametrize("tolerance", [0.0, 0.25])
def test_requests_need_both_the_evidence_and_the_tolerance(tolerance):
    whole, share, found = 20_000, 0.1, set()
    for canary in range(1000, 3001, 20):
        baseline, mine = np.full(40, (whole - canary) / 40), np.full(40, canary / 40)
        split = split_finding(baseline=baseline, canary=mine, share=share, tolerance=tolerance)
        wrong = bool(split.log_e >= SURE and abs(canary / whole / share - 1) > tolerance)
        assert split.log_e == pytest.approx(log_e_of(canary, whole, share, 100.0), abs=1e-6)
        assert ("sticky sessions" in split.finding) is wrong
        found.add(wrong)
    assert found == {True, False}


def test_a_share_that_grows_is_a_finding_from_half_of_a_thousandth_on():
    """Two directions share the error."""
    found = set()
    for late in range(200, 400, 2):
        canary, baseline = np.repeat([200, late], 10) / 10, np.repeat([3800, 4000 - late], 10) / 10
        process = RateRatioProcess.start([[0.0]]).update(
            events_baseline=[[200.0]], exposure_baseline=[[4000.0]], events_canary=[[late]], exposure_canary=[[4000.0]]
        )
        share = float(canary.sum() / (canary.sum() + baseline.sum()))  # so that only the growth is a finding
        grew = max(float(process.log_e(upward=up)[0, 0]) for up in (True, False)) >= math.log(2000)
        finding = split_finding(baseline=baseline, canary=canary, share=share, tolerance=0.0).finding
        assert ("grew" in finding) is grew
        found.add(grew)
    assert found == {True, False}


@pytest.mark.parametrize(
    ("share", "canary", "said"),
    [
        (0.0, 1, "although its weight is 0"),
        (0.05, 0, "no request of 40,000 reached"),
        (1.0, 20_000, "its weight is 100"),
    ],
)
def test_the_ends(share, canary, said):
    split = split_finding(baseline=np.full(40, 1000.0), canary=np.full(40, canary / 40), share=share, tolerance=0.25)
    assert said in split.finding
