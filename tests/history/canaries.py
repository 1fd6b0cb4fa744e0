"""Past canaries for tests: drawn ones of every kind that were followed live, and simple ones of two metrics."""

import functools
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.replay_cases import START, STEP, drawn
from canary_judge import JudgeConfig, Monitor, Window
from canary_judge.history import Label, PastCanary
from canary_judge.history.tape import Tape
from canary_judge.looks.observing import taken
from canary_judge.looks.state import How, MonitorState
from canary_judge.results import Quality
from canary_judge.samples import CountData, GaugeData, MetricSamples, Samples
from canary_judge.stats.counts import COLUMNS, Counts

# Kinds, planned ends, changes of weight, gaps, instances: see tests/looks/test_state.py.
FOLLOWED = (7, 11, 19, 23, 27, 31, 39, 43, 47, 55, 59, 67)
NOON = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ERRORS = {"name": "errors", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
HEAP = {"name": "heap", "kind": "gauge", "query": "h", "harm": "increase", "margin": "10%"}
SHOP = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [ERRORS, HEAP]})


@functools.cache
def followed(number):
    """A drawn case followed live: its config, what was known after each part of each look, and the judgements."""
    case = drawn(number)
    config, window = JudgeConfig.from_mapping(case.config), Window(START, START + case.intervals * STEP)
    monitor = Monitor(config, start=window.start, horizon=window.duration if case.planned else None)
    weights, weight, states, judged = dict(case.weights), None, [], []
    for look in range(case.looks):
        weight = weights.get(look, weight)
        until = window.start + (look + 1) * window.duration / case.looks
        judged.append(monitor.look(case, until, weight=weight, recent=2.0 if look % 3 else 3.0))
        states += monitor.steps
    return config, states, judged


def shop(number=0, *, ratio=1.0, n=60, rate=0.01, planned=True, gaps=False, **more):
    """A canary of the shop, whose errors are so many times the baseline's."""
    rng = np.random.default_rng(number)
    start = NOON + number * timedelta(hours=6)
    traffic = rng.poisson([[950], [50]], (2, n))
    errors = rng.binomial(traffic, np.array([[rate], [min(rate * ratio, 1.0)]])).astype(float)
    heap = rng.normal(100, 3, (2, n))
    if gaps:
        heap[:, ::7] = np.nan
    state, states = MonitorState(start=start, horizon=n if planned else None), []
    quality = Quality(coverage_baseline=1.0, coverage_canary=1.0)
    for k in range(n):
        one = slice(k, k + 1)
        columns = [errors[0, one], traffic[0, one].astype(float), errors[1, one], traffic[1, one].astype(float)]
        data = {
            "errors": CountData(counts=Counts(**dict(zip(COLUMNS, columns, strict=True)))),
            "heap": GaugeData(baseline=heap[:1, one], canary=heap[1:, one]),
        }
        samples = Samples(
            window=Window(start + k * MINUTE, start + (k + 1) * MINUTE),
            metrics={name: MetricSamples(data=one, quality=quality) for name, one in data.items()},
        )
        state = taken(SHOP, state, samples, how=How())
        states.append(state)
    return PastCanary.of(SHOP, Tape.of_states(SHOP, states), **more)


def labelled(kind):
    return Label(kind=kind, by="simulation")
