"""The benchmarks compare equal work, and their ratio points the right way; no test here looks at a time."""

import time

import numpy as np
import pytest

from benchmarks.paired import paired
from benchmarks.rank_cases import Data, check, np_sort, ours_judge, scipy_loop, scipy_rows
from benchmarks.speed import _csv, machine


@pytest.mark.parametrize("ties", [False, True])
def test_ours_and_the_peers_agree_on_the_work(ties):
    data = Data.draw(4, 60, ties=ties)
    check(data)
    np.testing.assert_allclose(scipy_loop(data), scipy_rows(data).pvalue, rtol=1e-12)
    assert np_sort(data).shape == (4, 120)
    assert ours_judge(data).estimate.shape == (4,)


def test_a_wrong_result_stops_the_benchmark():
    data = Data.draw(4, 60, ties=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.rank_cases.ours_mw", lambda _: (np.full(4, 0.5), None))
        with pytest.raises(AssertionError):
            check(data)


def test_the_ratio_is_the_peers_time_over_ours():
    ratio = paired(lambda: time.sleep(0.002), lambda: time.sleep(0.02), rounds=3)
    assert ratio.median > 1
    assert ratio.spread[0] <= ratio.median <= ratio.spread[1]


def test_the_machine_and_the_data_are_described():
    assert "numpy" in machine()
    assert _csv().startswith("timestamp,side,heap,requests,errors\n")
