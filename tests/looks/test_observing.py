"""Whatever a store may answer, a look ends in a judgement, its state survives JSON, and no warning escapes."""

from datetime import timedelta

import numpy as np
import pytest

from benchmarks.one_look import START
from canary_judge.config.model import JudgeConfig
from canary_judge.looks import MonitorState, observe
from canary_judge.report import to_board
from canary_judge.results import Judgement, Quality, Verdict
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.series import Window
from canary_judge.stats.counts import COLUMNS, Counts

STEP = timedelta(seconds=15)
GAUGE = {"kind": "gauge", "query": "q"}
RATIO = {"kind": "ratio", "events": "e", "total": "t"}
METRICS = [
    {**GAUGE, "harm": "increase", "margin": "10%"},
    {**GAUGE, "harm": "either", "margin": "+1"},
    {**GAUGE, "harm": "decrease", "margin": "10% or +1", "limit": 3.0},
    {**GAUGE, "harm": "increase", "margin": "10%", "by": "pod", "limit": 50.0},
    {**GAUGE, "harm": "increase", "margin": "10%", "statistic": "mean"},
    {**GAUGE, "harm": "increase", "role": "watch"},
    {**RATIO, "harm": "increase", "margin": "1.5x or +0.1pp", "limit": "5%"},
    {**RATIO, "harm": "decrease", "margin": "10%"},
    {**RATIO, "harm": "either", "margin": "150%"},
    {"kind": "rate", "events": "e", "harm": "either", "margin": "50%"},
    {"kind": "rate", "events": "e", "harm": "increase", "limit": 3.0},
    {"kind": "samples", "query": "q", "harm": "increase", "margin": "10%"},
]


def values(rng, shape):
    """Normal, constant, zero, of any magnitude, full of ties, or with a heavy tail; with gaps."""
    made = [
        rng.normal(100, 5, shape),
        np.full(shape, 3.0),
        np.zeros(shape),
        rng.normal(0, 1, shape) * 10.0 ** rng.integers(-9, 12),
        rng.integers(0, 3, shape).astype(float),
        rng.lognormal(0, 3, shape),
    ][rng.integers(0, 6)]
    made[rng.random(shape) < rng.choice([0, 0.1, 0.9])] = np.nan
    return made


def data(rng, metric, n):
    if rng.random() < 0.1:
        return None
    if metric["kind"] == "gauge" and "by" in metric:
        sides = [rng.choice(8, rng.integers(1, 7), replace=False), rng.choice(4, rng.integers(1, 4), replace=False)]
        before = [values(rng, (side.size, 20)) if rng.random() < 0.5 else np.empty((0, 0)) for side in sides]
        return GaugeData(
            baseline=values(rng, (sides[0].size, n)),
            canary=values(rng, (sides[1].size, n)),
            names_baseline=tuple(f"b{k}" for k in sides[0]),
            names_canary=tuple(f"c{k}" for k in sides[1]),
            before_baseline=before[0],
            before_canary=before[1],
        )
    if metric["kind"] == "gauge":
        history = values(rng, (50,)) if rng.random() < 0.3 else np.empty(0)
        return GaugeData(baseline=values(rng, (1, n)), canary=values(rng, (1, n)), history=history)
    if metric["kind"] == "samples":
        sizes = rng.integers(1, 30, 2)
        sides = [np.nan_to_num(values(rng, (size,))) for size in sizes]
        places = [np.sort(rng.integers(0, n, size)) for size in sizes]
        return RawData(baseline=sides[0], canary=sides[1], interval_baseline=places[0], interval_canary=places[1])
    exposure = [
        rng.poisson(10.0 ** rng.uniform(*ends), n) * (rng.random(n) > rng.choice([0, 0, 0.5, 1]))
        for ends in ((0, 4), (-1, 3))
    ]
    share = 10.0 ** rng.uniform(-4, 0)
    events = [
        np.floor(one * min(1, share * factor)) for one, factor in zip(exposure, (1, rng.choice([0, 1, 3])), strict=True)
    ]
    arrays = [np.asarray(one, dtype=float) for one in (events[0], exposure[0], events[1], exposure[1])]
    return CountData(counts=Counts(**dict(zip(COLUMNS, arrays, strict=True))), instances={"a": (1.0, 10.0)})


def quality(rng, n):
    coverage, silent = rng.choice([0.0, 0.5, 1.0], 2), rng.integers(0, n + 1, 2)
    return Quality(
        coverage_baseline=float(coverage[0]),
        coverage_canary=float(coverage[1]),
        silent_baseline=int(silent[0]),
        silent_canary=int(silent[1]),
        canary_share=rng.choice([None, 0.05]),
    )


@pytest.mark.parametrize("seed", range(60))
def test_any_answers_end_in_a_judgement(seed):
    rng = np.random.default_rng(seed)
    chosen = [METRICS[0], *(METRICS[k] for k in rng.choice(len(METRICS), rng.integers(1, 4), replace=False))]
    metrics = [{"name": f"m{k}", **metric} for k, metric in enumerate(chosen)]
    config = JudgeConfig.from_mapping(
        {"name": "fuzz", "interval": "15s", "metrics": metrics, "traffic": {"weight": float(rng.choice([0, 5, 100]))}}
    )
    state, at, failed = MonitorState(start=START, horizon=60 if rng.random() < 0.5 else None), 0, False
    while at < 60:
        count = int(min(rng.integers(1, 25), 60 - at))
        samples = {
            metric["name"]: MetricSamples(
                data=data(rng, metric, count),
                quality=quality(rng, count),
                error="boom" if rng.random() < 0.05 else None,
            )
            for metric in metrics
        }
        window = Window(START + at * STEP, START + (at + count) * STEP)
        weight = float(rng.choice([5, 50])) if rng.random() < 0.3 else None
        state, judgement = observe(config, state, Samples(window=window, metrics=samples), weight=weight)
        at += count
        text = state.to_json(config)
        again = MonitorState.from_json(config, text)
        assert again.to_json(config) == text
        assert observe(config, again, None)[1].to_json() == observe(config, state, None)[1].to_json()
        assert Judgement.from_json(judgement.to_json()) == judgement
        assert to_board(judgement, false_pass_rate=0.05)
        assert judgement._repr_html_()
        failed |= judgement.verdict is Verdict.FAIL
        if failed:
            assert judgement.verdict is Verdict.FAIL


@pytest.mark.parametrize("seed", range(20))
def test_a_handful_of_requests_ends_in_a_judgement(seed):
    """Zeros, ones and nothing but events: the corners of exact tests, with all their intervals."""
    rng = np.random.default_rng(seed)
    config = JudgeConfig.from_mapping(
        {"name": "fuzz", "interval": "15s", "metrics": [{"name": "m", **METRICS[6], "margin": "1.5x or +3pp"}]}
    )
    for _ in range(15):
        state = MonitorState(start=START, horizon=None)
        for interval in range(3):
            totals = rng.choice([0, 1, 5, 200.5, 900]), rng.choice([0, 1, 3, 20, 45])
            events = [min(total, rng.choice([0, 1, 3, 20, total])) for total in totals]
            arrays = [np.array([float(one)]) for one in (events[0], totals[0], events[1], totals[1])]
            counts = Counts(**dict(zip(COLUMNS, arrays, strict=True)))
            samples = MetricSamples(data=CountData(counts=counts), quality=quality(rng, 1))
            window = Window(START + interval * STEP, START + (interval + 1) * STEP)
            weight = float(rng.choice([0, 5, 25, 100]))
            state, judgement = observe(config, state, Samples(window=window, metrics={"m": samples}), weight=weight)
            assert Judgement.from_json(judgement.to_json()) == judgement
