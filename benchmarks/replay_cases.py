"""Configs and answers of every kind, drawn by seed: what the replay corpus judges.

The answers are raw series, as a source gives them, so that a case goes the whole way from series to verdict. Only
names that README and docs show are imported: the same file draws the same cases for any version of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from canary_judge.series import Form, Query, Result, Series, Window

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
# Older versions know no errors that may pass; of them the first look refuses the config today.
_TEMPORARY: dict[str, bool] = {"temporary": True} if "temporary" in Result.__dataclass_fields__ else {}
STEP = timedelta(seconds=15)
SIDES = ("baseline", "canary")
PAST = 40  # intervals of history before the window
DRAWN = 264

Answers = dict[tuple[str, str, str], Result]
Made = tuple[dict[str, Any], Answers]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One config with the answers of its source.

    Attributes:
        name: Unique.
        config: As a user writes it.
        answers: By metric, part and side.
        intervals: Length of the window.
        looks: 1 for one planned look; else so many looks of a monitor.
        planned: The looks have a planned end.
        weights: Percent of the traffic from each look on.
        restart: The monitor is taken up from its state after each look.
    """

    name: str
    config: dict[str, Any]
    answers: Answers
    intervals: int
    looks: int = 1
    planned: bool = False
    weights: tuple[tuple[int, float], ...] = ()
    restart: bool = False

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """A source: what was drawn, cut to the window; counters with the point before it."""
        return [self._cut(self.answers.get((q.metric, q.part, str(q.side)), Result()), window) for q in queries]

    def _cut(self, result: Result, window: Window) -> Result:
        edges = window.edges(window.duration)
        cut = []
        for one in result.series:
            first, last = np.searchsorted(one.timestamps, edges, side="right")
            if result.form is Form.COUNTER:
                first = max(first - 1, 0)
            if last > first:
                cut.append(replace(one, timestamps=one.timestamps[first:last], values=one.values[first:last]))
        return replace(result, series=tuple(cut))


def times(n: int, first: int = 0) -> np.ndarray:
    """Ends of the intervals in nanoseconds; a negative first one lies before the window."""
    step = STEP // timedelta(microseconds=1) * 1000
    return int(START.timestamp()) * 10**9 + step * np.arange(first + 1, n + 1, dtype=np.int64)


def noise(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """AR(1) with unit variance."""
    drawn = rng.normal(size=n) * np.sqrt(1 - rho**2)
    for k in range(1, n):
        drawn[k] += rho * drawn[k - 1]
    return drawn


def gaps(rng: np.random.Generator, series: Series) -> Series:
    """Now and then a series with holes, with NaN, or one that falls silent."""
    kind, n = rng.integers(0, 6), series.values.size
    if kind == 0:
        keep = rng.random(n) > 0.2
        return replace(series, timestamps=series.timestamps[keep], values=series.values[keep])
    if kind == 1:
        return replace(series, values=np.where(rng.random(n) < 0.05, np.nan, series.values))
    if kind == 2:
        keep = np.arange(n) < 0.8 * n
        return replace(series, timestamps=series.timestamps[keep], values=series.values[keep])
    return series


# --- one metric of each kind -------------------------------------------------------------------------------------


def gauge(rng: np.random.Generator, name: str, n: int) -> Made:
    """Levels with autocorrelation, of either sign, constant or full of ties, with and without history."""
    rho, shift = rng.choice([0.0, 0.6, 0.9]), rng.choice([0.0, 0.0, 5.0, 20.0, -20.0])
    usual, spread = [(100.0, 5.0), (0.0, 1.0), (1e-6, 1e-7), (3.0, 0.0), (50.0, 30.0)][rng.integers(0, 5)]
    shared = noise(rng, n + PAST, rho) * rng.choice([0.0, 1.0])
    answers: Answers = {}
    for side in SIDES:
        values = usual + spread * (noise(rng, n + PAST, rho) + shared)
        if rng.random() < 0.15:
            values = np.round(values / (spread or 1.0)) * (spread or 1.0)
        values[PAST:] += (side == "canary") * shift * (usual or 10) / 100
        past, now = times(0, -PAST), times(n)
        answers[name, "value", side] = Result(
            series=(gaps(rng, Series(timestamps=now, values=values[PAST:])),), form=Form.LEVEL
        )
        answers[name, "history", side] = Result(
            series=(Series(timestamps=past, values=values[:PAST]),), form=Form.LEVEL
        )
    metric = {"kind": "gauge", "query": "q", "unit": str(rng.choice(["", "ms", "MB"]))}
    if rng.random() < 0.2:
        metric["statistic"] = str(rng.choice(["mean", "quantile", "ratio", "level"]))
    if rng.random() < 0.1:
        metric["unit_of_replication"] = "instance"
    return bounds(rng, metric, ["10%", "+5", "10% or +3", "1.2x", "25%"], [1.1 * usual + 1, 0.9 * usual - 1]), answers


def instances(rng: np.random.Generator, name: str, n: int) -> Made:
    """A gauge by pod: pods that differ for good, few of them, with gaps, and with a past of their own."""
    answers: Answers = {}
    old = rng.random() < 0.6
    for side, most in zip(SIDES, (9, 5), strict=True):
        now, past = [], []
        for pod in range(rng.integers(1, most)):
            level = 100 + 10 * rng.normal() + (side == "canary") * rng.choice([0.0, 0.0, 30.0])
            values = level + 3 * noise(rng, n + PAST, 0.5)
            labels = {"pod": f"{side}-{pod}"}
            now.append(gaps(rng, Series(timestamps=times(n), values=values[PAST:], labels=labels)))
            if old:
                past.append(Series(timestamps=times(0, -PAST), values=values[:PAST] - 5 * rng.normal(), labels=labels))
        answers[name, "value", side] = Result(series=tuple(now), form=Form.LEVEL)
        answers[name, "history", side] = Result(series=tuple(past), form=Form.LEVEL)
    metric = {"kind": "gauge", "query": "q", "by": "pod", "unit": "%"}
    return bounds(rng, metric, ["10%", "+15", "20% or +5", "1.5x"], [120.0, 80.0]), answers


def counted(rng: np.random.Generator, amounts: np.ndarray, labels: dict[str, str], form: Form) -> Series:
    """Events per interval as a counter (with resets, or born inside the window) or as counts."""
    ends = times(amounts.size)
    if form is not Form.COUNTER:
        return gaps(rng, Series(timestamps=ends, values=amounts, labels=labels))
    total = np.cumsum(np.concatenate([[rng.integers(0, 1000)], amounts])).astype(float)
    kind = rng.integers(0, 6)
    if kind == 0 and amounts.size > 4:  # a restart
        at = int(rng.integers(2, amounts.size))
        total[at:] -= total[at - 1]
    ends = np.concatenate([ends[:1] - int(STEP.total_seconds() * 1e9), ends])
    if kind == 1 and amounts.size > 4:  # appears late
        at = int(rng.integers(2, amounts.size))
        ends, total = ends[at:], total[at:] - (total[at] if rng.random() < 0.5 else 0.0)
        return Series(timestamps=ends, values=total, labels=labels)
    if kind == 2:
        return gaps(rng, Series(timestamps=ends, values=total, labels=labels))
    return Series(timestamps=ends, values=total, labels=labels)


def traffic(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Requests of both sides, interval by interval; now and then the weight changes in the middle, or a side is idle."""
    whole = rng.choice([3.0, 60.0, 1000.0, 20000.0]) * (1 + 0.5 * np.sin(np.arange(n) / 9))
    share = np.full(n, rng.choice([0.01, 0.05, 0.25, 0.5]))
    if rng.random() < 0.3:
        share[n // 2 :] = np.minimum(2.5 * share[n // 2 :], 0.75)
    drawn = {"baseline": rng.poisson(whole * (1 - share)), "canary": rng.poisson(whole * share)}
    if rng.random() < 0.1:
        drawn["canary"][: n // 3] = 0
    return {side: values.astype(float) for side, values in drawn.items()}


def happening(rng: np.random.Generator, requests: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Events among the requests: rare or frequent, alone or in clumps, more or fewer on the canary."""
    rate, factor = rng.choice([0.0, 0.0005, 0.005, 0.05, 0.3]), rng.choice([1.0, 1.0, 1.0, 2.0, 5.0, 0.4])
    clump = rng.choice([1, 1, 5])
    return {
        side: np.minimum(
            clump * rng.poisson(values * min(rate * (factor if side == "canary" else 1), 0.9) / clump), values
        )
        for side, values in requests.items()
    }


def by_pod(rng: np.random.Generator, amounts: dict[str, np.ndarray], pods: int, form: Form) -> dict[str, Result]:
    """Counts of each side, spread over its pods; without labels when there is one."""
    results = {}
    for side, values in amounts.items():
        rest, series = values.copy(), []
        for pod in range(pods):
            part = rest if pod == pods - 1 else rng.binomial(rest.astype(int), 1 / (pods - pod)).astype(float)
            rest = rest - part
            labels = {"job": "shop", "instance": f"{side}-{pod}:80"} if pods > 1 else {"version": side}
            series.append(counted(rng, part, labels, form))
        results[side] = Result(series=tuple(series), form=form)
    return results


def ratio(rng: np.random.Generator, name: str, n: int) -> Made:
    """Errors of requests."""
    requests, form = traffic(rng, n), rng.choice([Form.COUNTER, Form.COUNTS])
    pods = int(rng.choice([1, 1, 4]))
    answers: Answers = {}
    for part, amounts in (("total", requests), ("events", happening(rng, requests))):
        for side, result in by_pod(rng, amounts, pods, Form(form)).items():
            answers[name, part, side] = result
    if rng.random() < 0.1:
        answers[name, "events", "canary"] = Result(form=Form(form))
        answers[name, "events", "baseline"] = Result(form=Form(form))
    metric = {"kind": "ratio", "events": "e", "total": "t", "absent_is_zero": bool(rng.random() < 0.5)}
    if rng.random() < 0.1:
        metric["unit_of_replication"] = "request"
    return bounds(rng, metric, ["1.5x or +0.1pp", "50%", "+0.2pp", "20% or +1pp", "10%"], ["5%", "0.5%"]), answers


def rate(rng: np.random.Generator, name: str, n: int) -> Made:
    """Events per observed time, or per another counter."""
    work = {side: values.astype(float) for side, values in traffic(rng, n).items()}
    answers: Answers = {}
    for side, result in by_pod(rng, happening(rng, work), int(rng.choice([1, 3])), Form.COUNTER).items():
        answers[name, "events", side] = result
    metric: dict[str, Any] = {"kind": "rate", "events": "e", "unit": "restarts/h"}
    if rng.random() < 0.5:
        metric["exposure"] = "x"
        for side, result in by_pod(rng, work, 1, Form.COUNTER).items():
            answers[name, "exposure", side] = result
    return bounds(rng, metric, ["1.5x", "50%", "100%"], [0.01, 3.0]), answers


def latency(rng: np.random.Generator, name: str, n: int) -> Made:
    """Slow requests off a histogram, or off raw latencies."""
    requests = traffic(rng, n)
    metric = {"kind": "latency", "histogram": "request_seconds_bucket", "slower_than": "300ms", "harm": "increase"}
    answers: Answers = {}
    slow = happening(rng, requests)
    raw = rng.random() < 0.3
    for side in SIDES:
        if raw:
            size = int(min(requests[side].sum(), 400))
            stamps = np.sort(times(n)[rng.integers(0, n, size)] - rng.integers(0, 10**9, size))
            seconds = rng.lognormal(-2, 1, size) * (1.3 if side == "canary" else 1.0)
            answers[name, "histogram", side] = Result(
                series=(Series(timestamps=stamps, values=seconds),), form=Form.SAMPLES
            )
            continue
        buckets = []
        for bound, amounts in (("0.3", requests[side] - slow[side]), ("+Inf", requests[side])):
            labels = {"le": bound, "instance": f"{side}:80", "job": "shop"}
            ends = np.concatenate([times(1) - int(STEP.total_seconds() * 1e9), times(n)])
            values = np.cumsum(np.concatenate([[0.0], amounts]))
            buckets.append(Series(timestamps=ends, values=values, labels=labels))
        answers[name, "histogram", side] = Result(series=tuple(buckets), form=Form.COUNTER)
    made = bounds(rng, metric, ["1.25x or +0.5pp", "50%", "+2pp"], ["10%"])
    return {**made, "harm": "increase"}, answers


def samples(rng: np.random.Generator, name: str, n: int) -> Made:
    """Raw values: a heavy tail, ties, shocks that an interval shares."""
    answers: Answers = {}
    shock = rng.choice([0.0, 0.4]) * rng.normal(size=n)
    ties = rng.random() < 0.2
    for side, most in zip(SIDES, (600, 200), strict=True):
        size = int(rng.integers(3, most))
        place = np.sort(rng.integers(0, n, size))
        values = np.exp(rng.normal(size=size) + shock[place]) * (1 + (side == "canary") * rng.choice([0.0, 0.0, 0.5]))
        values = np.round(values) if ties else values
        values[rng.random(size) < rng.choice([0.0, 0.0, 0.02])] = np.nan
        stamps = times(n)[place] - np.sort(rng.integers(0, 10**9, size))[::-1]
        order = np.argsort(stamps, kind="stable")
        answers[name, "value", side] = Result(
            series=(Series(timestamps=stamps[order], values=values[order]),), form=Form.SAMPLES
        )
    metric = {"kind": "samples", "query": "q", "unit": "s"}
    return bounds(rng, metric, ["10%", "+0.5", "30% or +0.2"], [3.0, 0.1]), answers


def bounds(rng: np.random.Generator, metric: dict[str, Any], margins: list[str], limits: list[Any]) -> dict[str, Any]:
    """A harm with a margin, a limit or both, of those that fit."""
    harm = str(rng.choice(["increase", "increase", "decrease", "either"]))
    margin = str(rng.choice(margins))
    if harm != "increase" and "x" in margin:
        margin = "20%"
    if harm == "decrease" and margin == "100%":
        margin = "50%"
    found = {**metric, "harm": harm, "margin": margin}
    if harm != "either" and rng.random() < 0.3:
        found["limit"] = limits[0] if harm == "increase" else limits[-1]
        if rng.random() < 0.4:
            del found["margin"]
    return found


KINDS: tuple[Callable[[np.random.Generator, str, int], Made], ...] = (
    gauge,
    ratio,
    latency,
    instances,
    rate,
    samples,
    ratio,
    gauge,
)


# --- whole cases -------------------------------------------------------------------------------------------------


def drawn(seed: int) -> Case:
    """One to four metrics in every role, with what else a config can say; every fourth case has twenty looks."""
    rng = np.random.default_rng([2026, seed])
    n = int(rng.choice([12, 40, 60, 80]))
    metrics, answers = [], {}
    for place in range(int(rng.choice([1, 1, 2, 4]))):
        name = f"m{place}"
        metric, own = KINDS[(seed + place) % len(KINDS)](rng, name, n)
        role = "gate" if place == 0 else str(rng.choice(["gate", "guard", "score", "watch"]))
        more = {
            "role": role,
            "group": str(rng.choice(["a", "b"])),
            "score_weight": float(rng.choice([1.0, 3.0])),
            "error_weight": float(rng.choice([1.0, 1.0, 2.0])),
            "required": bool(rng.random() < 0.1),
            "fail_when": str(rng.choice(["beyond_margin", "beyond_margin", "any_harm"])),
            "business": place == 1,
        }
        metrics.append({"name": name, **metric, **more})
        answers |= own
    if rng.random() < 0.12:  # a source that refuses, leaves out, or has nothing
        key = sorted(answers)[rng.integers(0, len(answers))]
        answers[key] = [
            Result(error="the store refused it", **_TEMPORARY),
            replace(answers[key], complete=False),
            replace(answers[key], series=()),
            replace(answers[key], warnings=("the store said something",)),
        ][rng.integers(0, 4)]
    config: dict[str, Any] = {"name": f"drawn {seed}", "interval": "15s", "metrics": metrics}
    if rng.random() < 0.5:
        config["history"] = "10m"
    if rng.random() < 0.3:
        config["traffic"] = {"weight": float(rng.choice([5, 25]))}
    if rng.random() < 0.3:
        config["groups"] = {"a": 2.0, "b": 1.0}
    if rng.random() < 0.3:
        config["false_alarm_rate"] = 0.05
    if rng.random() < 0.15:
        config["warmup"] = "45s"
    many = seed % 4 == 3
    return Case(
        name=f"drawn-{seed}",
        config=config,
        answers=answers,
        intervals=n,
        looks=20 if many else 1,
        planned=bool(many and rng.random() < 0.6),
        restart=bool(many and rng.random() < 0.2),
        weights=((0, 5.0), (10, 12.5)) if many and rng.random() < 0.3 else (),
    )


def drawn_cases() -> Iterator[Case]:
    """All of them, in order."""
    return (drawn(seed) for seed in range(DRAWN))
