"""Simulated plans, runs and past canaries for the plots of docs and tests; every number comes out of the library."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import numpy as np

from benchmarks.picture_cases import CPU, ERRORS, HEAP, MINUTE, NOON, ORDERS, SLOW, PictureCase, Shop
from canary_judge import Controller, Monitor, RolloutPlan, Window, judge_samples, plan
from canary_judge.planning import Plan
from canary_judge.plots import DesignRate, JudgeRecord, PowerPoint
from canary_judge.results import Quality, Verdict
from canary_judge.rollout.events import Event
from canary_judge.samples import CountData, MetricSamples, Samples
from canary_judge.sources import FrameSource
from canary_judge.stats.counts import Counts
from canary_judge.testing import simulated_world

EFFECTS = (0.7, 0.85, 1.0, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
WEIGHTS = (1, 2, 5, 10, 15, 25, 35, 50)
_FULL = Quality(coverage_baseline=1.0, coverage_canary=1.0, series_baseline=1, series_canary=1)
_MINUTES, _REQUESTS, _SHARE, _ERRORS = 45, 4000, 0.05, 0.004


def planned() -> Plan:
    """How long each gate of a shop takes."""
    gates = (ERRORS, SLOW, CPU, {**HEAP, "role": "gate"}, {**ORDERS, "role": "gate"})
    case = PictureCase(shop=Shop(seed=21, requests=2600), metrics=gates)
    frame = case.shop.frame(200)
    source = FrameSource(frame[frame["side"] == "baseline"])
    return plan(case.config(), source, Window(NOON, NOON + 200 * MINUTE), weights=WEIGHTS)


def rollout_events(*, canary_errors: float, seed: int) -> list[Event]:
    """A rollout of a simulated shop, whose baseline fails 0.5 % of the requests."""
    world = simulated_world(error_rate=0.005, canary_error_rate=canary_errors, seed=seed)
    stages = RolloutPlan(stages=[5, 25, 50, 75, 100], minimum="2m")
    return list(Controller(world.config, world.source, world.router, stages, clock=world.clock).events())


def _counts(rng: np.random.Generator, ratio: float, *, drift: float = 0.0) -> Counts:
    """45 minutes of both sides; with a drift the sides come from other moments, whose rates differ."""
    n = rng.poisson(_REQUESTS * np.array([[1 - _SHARE], [_SHARE]]), (2, _MINUTES))
    rate = _ERRORS * np.array([[1.0], [ratio * np.exp(drift * rng.normal())]])
    events = rng.binomial(n, np.minimum(rate, 1.0)).astype(float)
    return Counts(
        events_baseline=events[0],
        exposure_baseline=n[0].astype(float),
        events_canary=events[1],
        exposure_canary=n[1].astype(float),
    )


def _verdict(counts: Counts) -> Verdict:
    config = PictureCase(shop=Shop(seed=0), metrics=(ERRORS,)).config()
    data = MetricSamples(data=CountData(counts=counts), quality=_FULL)
    window = Window(NOON, NOON + _MINUTES * MINUTE)
    return judge_samples(config, Samples(window=window, metrics={"errors": data}), with_intervals=False).verdict


@cache
def powered(runs: int = 200) -> tuple[PowerPoint, ...]:
    """What one look after 45 minutes makes of canaries of known harm."""
    rng, found = np.random.default_rng(99), []
    for effect in EFFECTS:
        verdicts = [_verdict(_counts(rng, effect)) for _ in range(runs)]
        passed, failed = verdicts.count(Verdict.PASS), verdicts.count(Verdict.FAIL)
        found.append(PowerPoint(effect=effect, runs=runs, passed=passed, rolled_back=failed))
    return tuple(found)


@cache
def replayed(runs: int = 60) -> tuple[DesignRate, ...]:
    """Alarms on canaries that are as the baseline: sides of one moment, and of two."""
    rng, found = np.random.default_rng(4), []
    for design, drift, blind, fits in (
        ("requests", 0.0, "pods, drift", True),
        ("day before", 0.25, "pods, unequal traffic", False),
        ("adjacent", 0.5, "pods, unequal traffic", False),
    ):
        alarms = sum(_verdict(_counts(rng, 1.0, drift=drift)) is Verdict.FAIL for _ in range(runs))
        found.append(DesignRate(design=design, alarms=alarms, replays=runs, blind_to=blind, fits=fits))
    return tuple(found)


@cache
def recorded(canaries: int = 120) -> tuple[JudgeRecord, ...]:
    """The same simulated canaries, every second one bad (2x to 4x errors), before the Monitor and three rules."""
    rng = np.random.default_rng(99)
    config = PictureCase(shop=Shop(seed=0), metrics=(ERRORS,)).config()
    names = ("Monitor", "one look, repeated", "threshold 1 %, 3 in a row", "threshold 0.6 %, 3 in a row")
    alarms, found = dict.fromkeys(names, 0), {name: list[float]() for name in names}
    for number in range(canaries):
        bad = number % 2 == 1
        counts = _counts(rng, 2 + 2 * rng.random() if bad else 1.0)
        failed = {
            names[0]: _monitored(config, counts),
            names[1]: next((m for m in range(5, _MINUTES + 1) if _verdict(_first(counts, m)) is Verdict.FAIL), None),
            names[2]: _threshold(counts, 0.01),
            names[3]: _threshold(counts, 0.006),
        }
        for name, minute in failed.items():
            if minute is not None and bad:
                found[name].append(float(minute))
            elif minute is not None:
                alarms[name] += 1
    half = canaries // 2
    return tuple(
        JudgeRecord(
            judge=name,
            healthy=canaries - half,
            alarms=alarms[name],
            bad=half,
            found=len(found[name]),
            minutes=tuple(found[name]),
            canaries="simulated",
        )
        for name in names
    )


def _first(counts: Counts, minutes: int) -> Counts:
    return counts.select(np.arange(_MINUTES) < minutes)


def _threshold(counts: Counts, limit: float) -> int | None:
    """The minute of the third interval in a row above the limit."""
    row = 0
    for minute, rate in enumerate(counts.events_canary / np.maximum(counts.exposure_canary, 1), 1):
        row = row + 1 if rate > limit else 0
        if row == 3:
            return minute
    return None


def _monitored(config: object, counts: Counts) -> int | None:
    """The minute at which the Monitor fails the canary."""
    import pandas as pd

    from canary_judge import JudgeConfig

    assert isinstance(config, JudgeConfig)
    times = [NOON + minute * MINUTE for minute in range(1, _MINUTES + 1)]
    sides = {
        "baseline": (counts.exposure_baseline, counts.events_baseline),
        "canary": (counts.exposure_canary, counts.events_canary),
    }
    frame = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "requests": n, "errors": events})
        for side, (n, events) in sides.items()
    )
    source, monitor = FrameSource(frame), Monitor(config, start=NOON, horizon=timedelta(minutes=_MINUTES))
    for minute in range(1, _MINUTES + 1):
        verdict = monitor.look(source, NOON + minute * MINUTE, weight=100 * _SHARE).verdict
        if verdict is not Verdict.MARGINAL:
            return minute if verdict is Verdict.FAIL else None
    return None
