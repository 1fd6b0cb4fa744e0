"""Streams kept up to date equal the same statistics computed from scratch."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_judge.stats.processes import RankProcess
from canary_judge.stats.rank import mann_whitney
from canary_judge.stats.sequential import best_rho

VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e9, 1e9), st.just(float("nan")))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=40))
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
    for b, c in rows:
        through, stopped = through.update(baseline=b, canary=c), stopped.update(baseline=b, canary=c)
        stopped = RankProcess.from_mapping(json.loads(json.dumps(stopped.to_mapping())))
    assert stopped.log_e(tau=1.0, rho=5.0).tolist() == through.log_e(tau=1.0, rho=5.0).tolist()


def test_constants_and_few_values_are_no_evidence():
    ranks = RankProcess.start(1)
    for _ in range(20):
        ranks = ranks.update(baseline=[1.0], canary=[1.0])
    assert ranks.log_e(tau=1.0, rho=5.0)[0] < 0
    assert RankProcess.start(1).update(baseline=[1.0], canary=[2.0]).log_e(tau=1.0, rho=5.0)[0] == 0.0


def test_the_level_is_kept_over_all_looks():
    rng = np.random.default_rng(3)
    streams, looks, alpha = 2000, 120, 0.05
    rho = best_rho(30.0, alpha=alpha)
    ranks, high = RankProcess.start(streams), np.zeros(streams)
    for _ in range(looks):
        b, c = rng.lognormal(size=(2, streams))
        ranks = ranks.update(baseline=b, canary=c)
        high = np.maximum(high, ranks.log_e(tau=1.0, rho=rho))
    assert (high >= np.log(1 / alpha)).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / streams)
