"""The beta-binomial mixture and the quantile test against confseq; its level on dependent looks."""

import numpy as np
import pytest

from canary_judge.stats.quantiles import beta_binomial_mixture, quantile_log_e
from canary_judge.stats.sequential import best_rho
from tests.stats.test_vectors import cases


@pytest.mark.parametrize(("inputs", "expected"), cases("beta_binomial_mixture"))
def test_the_beta_binomial_mixture_equals_confseq(inputs, expected):
    one_sided = inputs["one_sided"]
    rho = float(best_rho(inputs["v_opt"], alpha=inputs["alpha_opt"], one_sided=one_sided))
    log_e = beta_binomial_mixture(inputs["s"], inputs["v"], g=inputs["g"], h=inputs["h"], rho=rho, one_sided=one_sided)
    assert float(log_e) == pytest.approx(expected["log_mixture"], rel=1e-9, abs=1e-9)


def values(written):
    """A list, or a range as in 1..1000 or 85+1..85+1000."""
    if not isinstance(written, str):
        return np.array(written, dtype=float)
    shift = float(written.split("+")[0]) if "+" in written else 0.0
    last = float(written.rsplit("..", 1)[1].rsplit("+", 1)[-1])
    return shift + np.arange(1.0, last + 1)


@pytest.mark.parametrize(("inputs", "expected"), cases("quantile_ab_test"))
def test_the_quantile_test_equals_confseq(inputs, expected):
    if not isinstance(expected["p_value"], float) or not inputs["a"] or not inputs["b"]:
        pytest.skip("confseq gives no value")
    a, b = (values(inputs[side]) for side in ("a", "b"))
    log_e = quantile_log_e(a, b, quantile=inputs["quantile_p"], planned=inputs["t_opt"], alpha=inputs["alpha_opt"])
    assert min(1.0, np.exp(-min(log_e, 700))) == pytest.approx(expected["p_value"], rel=1e-6)


def test_the_quantile_test_keeps_its_level_over_looks():
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(150):
        b, c = rng.lognormal(size=(2, 400))
        wrong += any(quantile_log_e(b[:n], c[:n], quantile=0.9, planned=200) >= np.log(20) for n in range(40, 401, 40))
    assert wrong / 150 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
