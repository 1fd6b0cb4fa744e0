"""The unit of replication: paired moments, instances with a past, clumps and instances that differ for good."""

from datetime import timedelta

import numpy as np
import pytest

from benchmarks.one_look import FULL, START, ar1, config, rates
from canary_judge.results import Harm
from canary_judge.samples.collecting import GaugeData, MetricSamples
from canary_judge.stats.counts import Counts, compare_counts, dispersion, instance_dispersion
from canary_judge.stats.gauges import compare_instances, compare_means, compare_values
from canary_judge.stats.margins import Margin
from canary_judge.stats.paired import combined_p_value, ewc_t, signed_rank

GAUGE = {"kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}


def test_a_shared_wave_cancels_where_the_moments_are_the_same():
    rng = np.random.default_rng(1)
    wave = 100 + 30 * np.sin(np.arange(120) / 6)
    b, c = wave * rng.lognormal(0, 0.05, 120), 1.1 * wave * rng.lognormal(0, 0.05, 120)
    evidence = {
        paired: compare_values(baseline=b, canary=c, tau=10.0, harm=Harm.INCREASE, margin=Margin(relative=0.05),
                               level=0.9, paired=paired).p_harm
        for paired in (False, True)
    }  # fmt: skip
    assert evidence[False] > 0.05
    assert evidence[True] < 1e-6


def test_two_periods_are_not_paired():
    rng = np.random.default_rng(2)
    data = GaugeData(baseline=rng.normal(100, 5, (1, 60)), canary=rng.normal(100, 5, (1, 60)), simultaneous=False)
    from canary_judge.judging.verdict import judge_samples
    from canary_judge.samples.collecting import Samples
    from canary_judge.series import Window

    window = Window(START, START + 60 * timedelta(seconds=15))
    samples = Samples(window=window, metrics={"m": MetricSamples(data=data, quality=FULL)})
    judged = judge_samples(config(GAUGE, 0.01), samples)
    assert judged["m"].comparison.method.startswith("Mann-Whitney")
    assert "signed" not in judged["m"].comparison.method


def test_means_of_few_and_of_many_requests_have_equal_means_and_not_equal_ranks():
    """Latency means of 1 request on one side, of 20 on the other: ranks differ, means do not."""
    rng = np.random.default_rng(3)
    found = {"ranks": 0, "means": 0}
    for _ in range(600):
        c, b = rng.lognormal(0, 1, 60), rng.lognormal(0, 1, (60, 20)).mean(axis=1)
        common = {"baseline": b, "canary": c, "margin": None, "level": 0.9}
        found["ranks"] += compare_values(tau=1.0, harm=Harm.DECREASE, **common).p_harm < 0.05
        found["means"] += compare_means(harm=Harm.DECREASE, **common).p_harm < 0.05
    assert found["ranks"] > 400
    assert found["means"] / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_the_cosine_t_test_keeps_its_level_for_moderate_dependence():
    rng = np.random.default_rng(4)
    from scipy import special

    for rho in (0.0, 0.6):
        wrong = 0
        for _ in range(2000):
            t, df = ewc_t(ar1(rng, 120, rho))
            wrong += 2 * special.stdtr(df, -abs(t)) < 0.05
        assert wrong / 2000 <= 0.058 + 3 * np.sqrt(0.05 * 0.95 / 2000)  # spec 4.1: 5.8 % at rho .6


def test_signed_ranks_of_nothing_but_zeros_are_no_evidence():
    assert signed_rank(np.zeros(12)) == (0.0, 12.0)


@pytest.mark.parametrize("p", [1e-200, 1e-12, 1e-3, 0.3, 0.5, 0.9, 1.0])
def test_combining_a_p_value_with_itself_changes_nothing(p):
    assert combined_p_value([p, p]) == pytest.approx(min(p, 1 - 1e-12), rel=1e-9)


# --- instances ---------------------------------------------------------------------------------------------------


def test_instances_are_compared_with_their_own_past():
    rng = np.random.default_rng(5)
    level_b, level_c = rng.lognormal(0, 0.5, 10), rng.lognormal(0, 0.5, 10)
    b, c = level_b[:, None] * rng.lognormal(0, 0.1, (10, 60)), 1.25 * level_c[:, None] * rng.lognormal(0, 0.1, (10, 60))
    common = {"baseline": b, "canary": c, "harm": Harm.INCREASE, "margin": Margin(relative=0.1), "level": 0.9}
    assert compare_instances(**common).p_beyond_margin > 0.01
    with_past = compare_instances(**common, before=(level_b, level_c))
    assert with_past.p_beyond_margin < 1e-6
    assert with_past.effect == pytest.approx(1.25, rel=0.05)
    assert "since before" in with_past.method


def test_instances_that_differ_for_good_are_dispersed_events():
    rng = np.random.default_rng(6)
    exposure = np.full(8, 5000.0)
    same = [instance_dispersion(rng.poisson(0.01 * exposure).astype(float), exposure) for _ in range(400)]
    assert np.mean(np.array(same) > 1) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    apart = rng.poisson(0.01 * exposure * rng.lognormal(0, 0.8, 8)).astype(float)
    assert instance_dispersion(apart, exposure) > 3


def test_what_shakes_both_sides_is_no_clump():
    rng = np.random.default_rng(7)
    rate = 0.02 * np.exp(rng.normal(0, 1, 60))
    exposure = np.full(60, 1000.0)
    shared = Counts(events_baseline=rng.poisson(rate * exposure).astype(float), exposure_baseline=exposure,
                    events_canary=rng.poisson(rate * exposure).astype(float), exposure_canary=exposure)  # fmt: skip
    assert dispersion(shared.over_time()) > 5
    assert dispersion(shared) < 2


def test_clumps_of_the_baseline_are_believed_while_the_canary_has_few_events():
    rng = np.random.default_rng(8)
    clumps = np.array([rng.geometric(0.2, k).sum() for k in rng.poisson(1.0, 60)], dtype=float)
    few = Counts(events_baseline=clumps, exposure_baseline=np.full(60, 950.0),
                 events_canary=np.zeros(60), exposure_canary=np.full(60, 50.0))  # fmt: skip
    assert dispersion(few) > 3
    assert (
        compare_counts(few, harm=Harm.INCREASE, margin=Margin(relative=0.5), level=0.9, proportion=True).dispersion > 3
    )


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_pairing_keeps_the_level(rho):
    def make(rng):
        shared = ar1(rng, 60, 0.9)
        sides = [(shared + ar1(rng, 60, rho))[None, :] for _ in range(2)]
        return MetricSamples(data=GaugeData(baseline=sides[0], canary=sides[1]), quality=FULL)

    found = rates(config({**GAUGE, "margin": "+0.5"}, 0.05), make, 800, 9, 60)
    assert found.found <= found.bound(0.05)
