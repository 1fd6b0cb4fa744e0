"""pytest-benchmark cases, for a history of one machine: `pytest benchmarks/bench_rank.py -n 0 -o python_files='bench_*.py'`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rank_cases import SHAPES, Data, check, np_sort, ours_judge, ours_mw, scipy_rows
from canary_judge import kayenta

WORK = {"mann_whitney": ours_mw, "judge": ours_judge, "scipy_axis_1": scipy_rows, "np_sort": np_sort}


@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "ties"])
@pytest.mark.parametrize("shape", SHAPES, ids=["{}x{}".format(*shape) for shape in SHAPES])
@pytest.mark.parametrize("work", WORK)
def test_rank_kernels(benchmark, work, shape, ties):
    data = Data.draw(*shape, ties=ties)
    check(data)
    benchmark(WORK[work], data)


@pytest.mark.parametrize("points", [60, 240, 1440])
def test_kayentas_judge_on_one_pair(benchmark, points):
    rng = np.random.default_rng(points)
    config = kayenta.CanaryConfig.from_mapping(
        {"metrics": [{"name": "m", "groups": ["g"]}], "classifier": {"groupWeights": {"g": 100}}}
    )
    pair = kayenta.MetricSetPair(name="m", baseline=rng.lognormal(3, 1, points), canary=rng.lognormal(3, 1, points))
    result = benchmark(kayenta.judge, config, [pair], kayenta.Thresholds(pass_=95, marginal=75))
    assert result.classification in {"Pass", "Fail"}
