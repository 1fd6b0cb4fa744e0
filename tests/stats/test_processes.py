"""Streams kept up to date equal the same statistics computed from scratch."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.stats.processes import PairedProcess, RankProcess
from canary_judge.stats.rank import mann_whitney
from canary_judge.stats.sequential import best_rho, t_mixture

VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e9, 1e9), st.just(float("nan")))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_streaming_statistic_equals_the_batch_one_exactly(rows):
    values = np.array(rows)
    process = RankProcess.start(2)
    for row in values:
        process = process.update(baseline=row[:2], canary=row[2:])
    for stream in range(2):
        b, c = values[:, stream], values[:, 2 + stream]
        kept = ~(np.isnan(b) | np.isnan(c))
        if not kept.any():
            assert process.u[stream] == 0
            continue
        batch = mann_whitney(baseline=b[kept][None, :], canary=c[kept][None, :])
        assert process.u[stream] == batch.u[0]
        assert process.z()[stream] == pytest.approx(batch.z[0], rel=1e-12, abs=1e-12)


def test_a_state_survives_json_and_goes_on_the_same():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, 2, 5)).round(1)
    rows[3, 0, 2] = np.nan
    through, stopped = RankProcess.start(5), RankProcess.start(5)
    paired, halted = PairedProcess.start(5), PairedProcess.start(5)
    for b, c in rows:
        through, stopped = through.update(baseline=b, canary=c), stopped.update(baseline=b, canary=c)
        stopped = RankProcess.from_mapping(json.loads(json.dumps(stopped.to_mapping())))
        paired, halted = paired.update(c - b), halted.update(c - b)
        halted = PairedProcess.from_mapping(json.loads(json.dumps(halted.to_mapping())))
    assert stopped.log_e(tau=1.0, rho=5.0).tolist() == through.log_e(tau=1.0, rho=5.0).tolist()
    assert halted.log_e(tau=1.0, g=5.0).tolist() == paired.log_e(tau=1.0, g=5.0).tolist()


def test_large_means_lose_no_digits():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=50)
    near, far = PairedProcess.start(1), PairedProcess.start(1)
    for one in noise:
        near, far = near.update([one]), far.update([1e8 + one])
    assert far.squares[0] == pytest.approx(near.squares[0], rel=1e-6)
    n = noise.size
    t = noise.mean() / noise.std(ddof=1) * np.sqrt(n)
    assert near.log_e(tau=1.0, g=3.0)[0] == pytest.approx(float(t_mixture(t, n - 1, n, g=3.0)), rel=1e-10)


def test_constants_and_few_values_are_no_evidence():
    ranks, paired = RankProcess.start(1), PairedProcess.start(1)
    for _ in range(20):
        ranks, paired = ranks.update(baseline=[1.0], canary=[1.0]), paired.update([0.5])
    assert ranks.log_e(tau=1.0, rho=5.0)[0] < 0
    assert paired.log_e(tau=1.0, g=5.0)[0] == 0.0
    assert RankProcess.start(1).update(baseline=[1.0], canary=[2.0]).log_e(tau=1.0, rho=5.0)[0] == 0.0


def test_both_keep_their_level_over_all_looks():
    rng = np.random.default_rng(3)
    streams, looks, alpha = 2000, 120, 0.05
    rho = best_rho(30.0, alpha=alpha)
    ranks, paired = RankProcess.start(streams), PairedProcess.start(streams)
    high = {"ranks": np.zeros(streams), "paired": np.zeros(streams)}
    for _ in range(looks):
        b, c = rng.lognormal(size=(2, streams))
        ranks, paired = ranks.update(baseline=b, canary=c), paired.update(np.log(c) - np.log(b))
        high["ranks"] = np.maximum(high["ranks"], ranks.log_e(tau=1.0, rho=rho))
        high["paired"] = np.maximum(high["paired"], paired.log_e(tau=1.0, g=10.0))
    for values in high.values():
        assert (values >= np.log(1 / alpha)).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / streams)
