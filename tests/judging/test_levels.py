"""The promise, by simulation: seeded, bounded by the nominal rate plus three standard errors."""

import numpy as np
import pytest

from benchmarks.one_look import COUNT_CASES, RATIO, TWO_SIDED, UPWARD, ar1, config, counts, gauge, rates
from benchmarks.ties import ROWS, measured
from canary_judge.config.model import JudgeConfig
from canary_judge.judging import judge_samples
from canary_judge.results import Outcome
from canary_judge.samples import GaugeData, MetricSamples
from tests.builders import GAUGE, counted, quality
from tests.builders import samples as of_all

pytestmark = pytest.mark.slow
N = 1000


@pytest.mark.parametrize("history", [480, 0], ids=["history", "alone"])
@pytest.mark.parametrize("n", [60, 120, 240])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_false_alarms_of_gauges_keep_the_declared_rate(rho, n, history):
    found = rates(config(TWO_SIDED, 0.05), gauge(rho, n, history=history), N, 11, n)
    assert found.found <= found.bound(0.05)
    assert found.regressed <= found.bound(0.05)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_a_gauge_at_its_margin_is_rarely_failed_and_rarely_passed(rho):
    at = rates(config(UPWARD, 0.05), gauge(rho, 120, shift=0.5), N, 12, 120)
    assert at.regressed <= at.bound(0.05)
    assert at.safe <= at.bound(0.05)


@pytest.mark.parametrize(
    ("rho", "shift", "least"), [(0.0, 0.5, 0.90), (0.0, 1.0, 0.99), (0.6, 1.0, 0.85), (0.6, 1.5, 0.97)]
)
def test_power_of_gauges(rho, shift, least):
    """Spec table 4.2, fixed MW/sqrt(tau_hist): .97, 1, .96, 1; ours takes the larger of two estimates of tau."""
    assert rates(config(TWO_SIDED, 0.05), gauge(rho, 120, shift=shift), N, 13, 120).found >= least


@pytest.mark.parametrize("name", [name for name in COUNT_CASES if name.startswith("nothing changed")])
def test_false_alarms_of_counts_keep_the_declared_rate(name):
    found = rates(config(RATIO, 0.05), COUNT_CASES[name], N, 14, 60)
    assert found.found <= found.bound(0.05)


@pytest.mark.parametrize("name", [name for name in COUNT_CASES if "margin" in name])
def test_a_ratio_at_its_margin_is_rarely_failed_and_rarely_passed(name):
    at = rates(config(RATIO, 0.05), COUNT_CASES[name], N, 15, 60)
    assert at.regressed <= at.bound(0.05)
    assert at.safe <= at.bound(0.05)


@pytest.mark.parametrize("row", [row for row in ROWS if row.truth != "healthy"], ids=lambda row: row.name)
def test_tied_values_at_the_margin_rarely_pass(row):
    at = measured(row, 400)
    assert at.safe <= at.bound(0.05)
    if row.truth == "at the margin":
        assert at.regressed <= at.bound(0.01)


@pytest.mark.parametrize("rate", [5e-6, 2e-5])
def test_rare_errors_that_never_hit_the_canary_can_pass(rate):
    """Spec 6: 55.5 % passed where each of a few events of the baseline was taken for a clump."""
    metric = {**RATIO, "margin": "1.5x or +0.1pp"}
    assert rates(config(metric, 0.01), rare(rate), 400, 17, 60).safe >= 0.99
    at = rates(config(metric, 0.01), rare(rate, 0.001), 400, 17, 60)
    assert at.safe <= at.bound(0.05)


def rare(rate, more=0.0):
    """Independent errors, at 5 % of the traffic."""

    def make(rng):
        return counted(rng.poisson(9500 * rate, 60), 9500, rng.poisson(500 * (rate + more), 60), 500)

    return make


@pytest.mark.parametrize(("ratio", "least"), [(2, 0.85), (3, 0.99), (5, 1.0)])
def test_power_of_counts(ratio, least):
    """Spec table 4.5, pooled chi-square (no better fixed test is known there): .89, 1, 1 at 5 % of the traffic."""
    assert rates(config(RATIO, 0.05), counts(ratio=ratio), N, 16, 60).found >= least


@pytest.mark.parametrize("n", [60, 120])
def test_no_pass_below_the_gate_of_effective_samples(n):
    rng = np.random.default_rng(17)
    made = config(UPWARD, 0.05)
    for _ in range(300):
        samples = gauge(0.9, n)(rng)
        result = judge_samples(made, of_all(samples, n)).metrics[0]
        if result.comparison.n_effective < 4:
            assert result.outcome is Outcome.INSUFFICIENT


def test_ten_metrics_together_keep_the_declared_rate():
    made = JudgeConfig.from_mapping(
        {
            "name": "s",
            "interval": "15s",
            "false_alarm_rate": 0.05,
            "metrics": [{**UPWARD, "name": f"m{i}"} for i in range(10)],
        }
    )
    rng = np.random.default_rng(18)
    alarms = 0
    for _ in range(400):
        samples = {f"m{i}": gauge(0.3, 60)(rng) for i in range(10)}
        judgement = judge_samples(made, of_all(samples), with_intervals=False)
        alarms += any(m.outcome in {Outcome.DEGRADED, Outcome.REGRESSED, Outcome.TOLERABLE} for m in judgement.metrics)
    assert alarms / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_unequal_traffic_misleads_a_rank_test_of_error_rates_and_not_the_judge():
    """Spec table 4.4: 50 against 950 requests an interval, 0.5 % errors. Per-interval rates go wrong both ways."""
    made = JudgeConfig.from_mapping(
        {
            "name": "s",
            "interval": "15s",
            "false_alarm_rate": 0.02,
            "metrics": [
                {
                    "name": "rate",
                    "kind": "gauge",
                    "query": "q",
                    "harm": "either",
                    "margin": "50%",
                    "statistic": "ratio",
                },
                {"name": "ratio", **RATIO, "harm": "either", "margin": "50%"},
            ],
        }
    )
    plain = JudgeConfig.from_mapping(
        {
            "name": "s",
            "interval": "15s",
            "false_alarm_rate": 0.02,
            "metrics": [{"name": "rate", "kind": "gauge", "query": "q", "harm": "either", "margin": "+1"}],
        }
    )
    for ratio in (1, 3):
        rng = np.random.default_rng(19)
        refused = wrong = seen = 0
        for _ in range(200):
            n_c, n_b = rng.poisson(50, 60), rng.poisson(950, 60)
            e_c, e_b = rng.binomial(n_c, 0.005 * ratio), rng.binomial(n_b, 0.005)
            series = MetricSamples(
                data=GaugeData(baseline=(e_b / n_b)[None, :], canary=(e_c / n_c)[None, :]), quality=quality()
            )
            judgement = judge_samples(made, of_all({"rate": series, "ratio": counted(e_b, n_b, e_c, n_c)}))
            refused += judgement["rate"].outcome is Outcome.ERROR
            found = judgement["ratio"].outcome in {Outcome.DEGRADED, Outcome.REGRESSED}
            seen += found and judgement["ratio"].comparison.effect > 1
            naive = judge_samples(plain, of_all({"rate": series}))["rate"].comparison
            wrong += naive.p_harm <= 0.02 and naive.effect <= 0 and naive.baseline > naive.canary
        assert refused == 200
        assert (seen >= 190) if ratio == 3 else (seen <= 12)
        if ratio == 1:
            assert wrong > 150, "the naive rank test calls nearly every healthy canary different"


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_pairing_keeps_the_level(rho):
    def make(rng):
        shared = ar1(rng, 60, 0.9)
        sides = [(shared + ar1(rng, 60, rho))[None, :] for _ in range(2)]
        return MetricSamples(data=GaugeData(baseline=sides[0], canary=sides[1]), quality=quality())

    found = rates(config({**GAUGE, "margin": "+0.5"}, 0.05), make, 800, 9, 60)
    assert found.found <= found.bound(0.05)
