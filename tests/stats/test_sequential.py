"""E-processes: against independent implementations, by exact enumeration, and on their edges."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from canary_judge.stats.rates import RateRatioProcess
from canary_judge.stats.sequential import best_rho, normal_mixture, normal_mixture_bound
from canary_judge.stats.split import multinomial_log_e
from tests.stats.test_vectors import cases


@pytest.mark.parametrize(("inputs", "expected"), cases("normal_mixture"))
def test_the_normal_mixture_equals_confseq(inputs, expected):
    one_sided = inputs["one_sided"]
    rho = best_rho(inputs["v_opt"], alpha=inputs["alpha_opt"], one_sided=one_sided)
    log_e = normal_mixture(inputs["s"], inputs["v"], rho=rho, one_sided=one_sided)
    assert float(log_e) == pytest.approx(expected["log_mixture"], rel=1e-10, abs=1e-12)
    bound = normal_mixture_bound(inputs["v"], rho=rho, alpha=inputs["alpha"], one_sided=one_sided)
    if inputs["v"] > 0:
        assert float(bound) == pytest.approx(expected["bound"], rel=1e-9)


@pytest.mark.parametrize(("inputs", "expected"), cases("multinomial_dirichlet_e"))
def test_the_dirichlet_multinomial_equals_savvi(inputs, expected):
    if not isinstance(expected["log_e"], float):
        pytest.skip("savvi overflows: it keeps odds, not their logarithm")
    log_e = multinomial_log_e(inputs["counts"], inputs["theta0"], k=inputs["k"])
    assert log_e == pytest.approx(float(expected["log_e"]), rel=1e-9, abs=1e-9)


# --- the rate ratio ----------------------------------------------------------------------------------------------


def direct(counts, null, *, upward):
    """The mixture by its definition, one interval and one node after the other."""
    from canary_judge.stats.rates import _nodes, _prior

    nodes = _nodes()
    inside = nodes > null + 1e-12 if upward else nodes < null - 1e-12
    weights = np.where(inside, _prior(nodes - null), 0.0)
    weights /= weights.sum()
    terms = []
    for d, w in zip(nodes, weights, strict=True):
        if w == 0:
            continue
        total = np.log(w)
        for b, n_b, c, n_c in counts:
            theta = n_c / (n_b + n_c)
            p, p0 = (theta * np.exp(x) / (theta * np.exp(x) + 1 - theta) for x in (d, null))
            total += special.xlogy(c, p / p0) + special.xlogy(b, (1 - p) / (1 - p0))
        terms.append(total)
    return special.logsumexp(terms)


def process(counts, nulls):
    b, n_b, c, n_c = np.array(counts, dtype=float).T
    return RateRatioProcess.start([nulls]).update(
        events_baseline=[b], exposure_baseline=[n_b], events_canary=[c], exposure_canary=[n_c]
    )


def test_the_rate_ratio_process_is_its_definition_with_changing_shares():
    rng = np.random.default_rng(1)
    counts = [
        (rng.poisson(9), n_b, rng.poisson(2), n_c) for n_b, n_c in [(950, 50), (750, 250), (500, 500), (0, 9)] * 3
    ]
    usable = [row for row in counts if row[1] > 0]
    nulls = [0.0, np.log(1.5), np.log(0.7)]
    for upward in (True, False):
        found = process(counts, nulls).log_e(upward=upward)[0]
        assert found == pytest.approx([direct(usable, null, upward=upward) for null in nulls], rel=1e-10, abs=1e-10)


def test_updates_one_by_one_equal_one_update():
    counts = [(5, 900, 1, 100), (0, 900, 0, 100), (7, 500, 9, 500)]
    together = process(counts, [0.0, 0.4])
    one_by_one = RateRatioProcess.start([[0.0, 0.4]])
    for b, n_b, c, n_c in counts:
        one_by_one = one_by_one.update(
            events_baseline=[[b]], exposure_baseline=[[n_b]], events_canary=[[c]], exposure_canary=[[n_c]]
        )
    assert one_by_one.likelihood == pytest.approx(together.likelihood, rel=1e-13)


def test_no_event_is_no_evidence():
    assert np.abs(process([(0, 900, 0, 100)], [0.0, 0.4]).log_e(upward=True)).max() < 1e-12
    low, high = process([(0, 900, 0, 100)], [0.0]).interval(alpha=0.05)
    assert low[0] == -np.inf
    assert high[0] == np.inf


SHARES = [(30, 30), (57, 3), (20, 4), (8, 40)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_the_expectation_of_the_e_value_is_at_most_one_by_exact_enumeration(share, rate):
    """Over both binomials, for harm and safety, at the null and beyond it: E[e] <= 1 (spec F1)."""
    n_b, n_c = share
    b, c = np.arange(n_b + 1), np.arange(n_c + 1)
    for null, upward, truths in (
        (0.0, True, (0.0, -0.3)),
        (np.log(1.5), True, (np.log(1.5), 0.0)),
        (np.log(1.5), False, (np.log(1.5), np.log(1.9))),
    ):
        grid = np.array([(x, n_b, y, n_c) for x, y in itertools.product(b, c)], dtype=float)
        state = RateRatioProcess.start(np.full((len(grid), 1), null)).update(
            events_baseline=grid[:, :1],
            exposure_baseline=grid[:, 1:2],
            events_canary=grid[:, 2:3],
            exposure_canary=grid[:, 3:],
        )
        e = np.exp(state.log_e(upward=upward)[:, 0])
        for truth in truths:
            p_c = rate * np.exp(truth)
            if p_c >= 1:
                continue
            probability = stats.binom.pmf(grid[:, 0], n_b, rate) * stats.binom.pmf(grid[:, 2], n_c, p_c)
            assert float(probability @ e) <= 1 + 1e-9


def test_two_intervals_with_different_shares_keep_the_expectation():
    """The product over intervals, enumerated over both: a change of weight needs nothing."""
    first, second = (9, 3), (5, 6)
    outcomes, probability = [], []
    for b1, c1, b2, c2 in itertools.product(*(range(n + 1) for n in (*first, *second))):
        outcomes.append((b1, c1, b2, c2))
        p = 1.0
        for k, n, rate in ((b1, first[0], 0.1), (c1, first[1], 0.1), (b2, second[0], 0.3), (c2, second[1], 0.3)):
            p *= stats.binom.pmf(k, n, rate)
        probability.append(p)
    table = np.array(outcomes, dtype=float)
    state = RateRatioProcess.start(np.zeros((len(table), 1))).update(
        events_baseline=table[:, [0, 2]],
        exposure_baseline=np.tile([first[0], second[0]], (len(table), 1)),
        events_canary=table[:, [1, 3]],
        exposure_canary=np.tile([first[1], second[1]], (len(table), 1)),
    )
    assert float(np.array(probability) @ np.exp(state.log_e(upward=True)[:, 0])) <= 1 + 1e-9


def test_the_confidence_sequence_covers_at_every_look():
    rng = np.random.default_rng(11)
    reps, looks, truth = 600, 40, np.log(2.0)
    state = RateRatioProcess.start(np.zeros((reps, 1)))
    missed = np.zeros(reps, dtype=bool)
    for _ in range(looks):
        state = state.update(
            events_baseline=rng.poisson(5.0, (reps, 1)),
            exposure_baseline=np.full((reps, 1), 950.0),
            events_canary=rng.poisson(5.0 * 50 / 950 * 2, (reps, 1)),
            exposure_canary=np.full((reps, 1), 50.0),
        )
        low, high = state.interval(alpha=0.1)
        missed |= (low > truth) | (high < truth)
    assert missed.mean() <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / reps)
    assert (high - low).mean() < 1.6
