"""How often a metric by user is wrong, on simulated people, through `Monitor`: 48 hourly looks with a planned end.

    python -m benchmarks.people [RUNS] [SCENARIO ...]     python -m benchmarks.people [RUNS] tables

For each kind of people two worlds: a canary that does nothing (alarms, of any harm, promised at 1 %), and one exactly at
its margin of 10 % (alarms beyond it, 1 %; passes, 5 %; the 90 % interval at the end). Beside it the same clicks judged
as requests. `tables`: ramps, users that are missing, effects that fade, users on both sides. Seeds are fresh ones.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from canary_judge import JudgeConfig, Monitor, judge
from canary_judge.results import Judgement, Outcome, Side
from canary_judge.series import Form, Query, Result, Series, Window, nanoseconds
from canary_judge.sources.users import Rows, moments_by_side, span_of, totals_before
from canary_judge.testing import People, Visits

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
SAFE = (Outcome.SAFE, Outcome.TOLERABLE)
SEEDS = 20_261_126


class VisitsSource:
    """Visits as a store would hold them: users by their totals, requests by their counts per interval; one metric."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits
        start = nanoseconds(START)
        self._times = start + np.rint(visits.hour * 3.6e9).astype(np.int64) * 1000
        self._count = int(visits.user.max()) + 1
        self._kept: dict[tuple[object, int], dict[Side, object]] = {}
        self._rows: Rows | None = None
        self._before: np.ndarray | None = None

    def column(self, name: str) -> np.ndarray:
        visits = self._visits
        if name == "ratings":
            return np.isfinite(visits.rating).astype(float)
        if name == "visits":
            return np.ones(visits.hour.size)
        return np.nan_to_num(getattr(visits, name))

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        return [self._users(one, window) if one.users is not None else self._counts(one, window) for one in queries]

    def _users(self, query: Query, window: Window) -> Result:
        asked, since, until = span_of(query, window)
        key = (asked, until)
        if key not in self._kept:
            self._rows = self._rows or Rows(
                times=self._times,
                canary=self._visits.canary,
                users=self._visits.user,
                count=self._count,
                numerator=self.column(asked.numerator),
                denominator=None if asked.denominator is None else self.column(asked.denominator),
                undefined=np.zeros(self._times.size, dtype=bool),
            )
            if self._before is None:
                self._before = totals_before(self._rows, asked)
            self._kept = {key: moments_by_side(self._rows, asked, self._before, since=since, until=until)}
        return Result(form=Form.MOMENTS, moments=self._kept[key][query.side])

    def _counts(self, query: Query, window: Window) -> Result:
        edges = window.edges(query.step)
        inside = (self._times > edges[0]) & (self._times <= edges[-1])
        mine = inside & (self._visits.canary == (query.side is Side.CANARY))
        place = np.searchsorted(edges, self._times[mine]) - 1
        counts = np.bincount(place, self.column(query.expression)[mine], edges.size - 1)
        return Result(form=Form.COUNTS, series=(Series(timestamps=edges[1:], values=counts),))


CLICKS = {"kind": "ratio", "events": "clicks", "total": "impressions", "unit_of_replication": "user"}
MINUTES = {"kind": "mean", "numerator": "minutes"}
PER_VISIT = {"kind": "mean", "numerator": "minutes", "denominator": "visits"}
REQUESTS = {"kind": "ratio", "events": "clicks", "total": "impressions"}


@dataclass(frozen=True)
class Scenario:
    name: str
    people: People
    metric: dict[str, object]
    margin: float = 0.1


BASE = People(users=25_000, weights=((0.0, 4.0),))
HEAVY = replace(BASE, activity_sd=1.5, rate_sd=0.8, activity_rate=-0.5)
BOTS = replace(BASE, bots=0.001)
SCENARIOS = [
    Scenario("base", BASE, CLICKS),
    Scenario("base, as requests", BASE, REQUESTS),
    Scenario("heavy", HEAVY, CLICKS),
    Scenario("heavy, as requests", HEAVY, REQUESTS),
    Scenario("bots", BOTS, CLICKS),
    Scenario("bots, as requests", BOTS, REQUESTS),
    Scenario("returning", replace(BASE, users=8_000, visits=20.0), CLICKS),
    Scenario("returning, as requests", replace(BASE, users=8_000, visits=20.0), REQUESTS),
    Scenario("heavy with bots", replace(HEAVY, bots=0.001), CLICKS),
    Scenario("minutes per user", BASE, MINUTES),
    Scenario("minutes per visit", BASE, PER_VISIT),
    Scenario("200 heavy users", replace(HEAVY, users=25_000, weights=((0.0, 1.1),)), CLICKS),
    Scenario("280 users, bots", replace(BOTS, weights=((0.0, 1.45),)), CLICKS),
]


def config(metric: dict[str, object], margin: float, *, any_harm: bool = False, **more: object) -> JudgeConfig:
    whole = {"name": "m", "harm": "decrease", "margin": f"{100 * margin:g}%", **metric}
    if any_harm:
        whole["fail_when"] = "any_harm"
    return JudgeConfig.from_mapping(
        {"name": "people", "interval": "1h", "history": "7d", "metrics": [whole], **more}, name="people"
    )


def watched(judged: JudgeConfig, visits: Visits, hours: int = 48) -> list[Judgement]:
    source = VisitsSource(visits)
    monitor = Monitor(judged, start=START, horizon=timedelta(hours=hours), stages=1)
    return [monitor.look(source, START + hour * HOUR) for hour in range(1, hours + 1)]


def run(scenario: Scenario, seed: int) -> tuple[bool, bool, bool, bool, bool, int]:
    """Alarm without any effect; alarm, pass and pass at the end at the margin; coverage; canary users."""
    nothing = watched(config(scenario.metric, scenario.margin, any_harm=True), scenario.people.draw(seed))
    alarm = any(one["m"].outcome is Outcome.REGRESSED for one in nothing)
    at_margin = replace(scenario.people, lift=-scenario.margin).draw(seed + 500_000)
    looks = watched(config(scenario.metric, scenario.margin), at_margin)
    outcomes = [one["m"].outcome for one in looks]
    last = looks[-1]["m"].comparison
    covered = False
    if last is not None:
        low, high = last.interval
        covered = (low is None or low <= 1 - scenario.margin) and (high is None or high >= 1 - scenario.margin)
    return (
        alarm,
        Outcome.REGRESSED in outcomes,
        any(one in SAFE for one in outcomes),
        outcomes[-1] in SAFE,
        covered,
        0 if last is None else int(last.n_canary),
    )


def levels(scenarios: Sequence[Scenario], runs: int, pool: ProcessPoolExecutor) -> None:
    print(f"{runs} runs each; in brackets three standard errors of the promised rate\n")
    print(
        "| people | canary users | alarm, no effect (1 %) | alarm at the margin (1 %) | pass at it (5 %) | at the end |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |".replace("| --- | --- |", "| --- |", 1))
    for scenario in scenarios:
        begun = time.time()
        found = np.array(list(pool.map(partial(run, scenario), range(SEEDS, SEEDS + runs), chunksize=4)), dtype=float)
        share = found.mean(axis=0)
        bounds = [p + 3 * math.sqrt(p * (1 - p) / runs) for p in (0.01, 0.05)]
        least = 0.9 - 3 * math.sqrt(0.09 / runs)
        print(
            f"| {scenario.name} | {share[5]:.0f} | {share[0]:.1%} ({bounds[0]:.1%}) | {share[1]:.1%} | "
            f"{share[2]:.1%} ({bounds[1]:.1%}) | {share[3]:.1%}, covers {share[4]:.1%} ({least:.1%}) |"
            f" <!-- {time.time() - begun:.0f} s -->",
            flush=True,
        )


# --- ramps, splits, fading effects, strays ------------------------------------------------------------------------------


def at_once(people: People, seed: int, hours: int = 48, **more: object) -> Judgement:
    """One look at all of it."""
    return judge(config(CLICKS, 0.1, **more), VisitsSource(people.draw(seed)), Window(START, START + hours * HOUR))


def ramp(people: People, seed: int) -> tuple[float, float, float]:
    """The effect pooled over the ramp; that of the last weight; and its z against the truth."""
    visits = people.draw(seed)
    monitor, source = Monitor(config(CLICKS, 0.05), start=START, stages=len(people.weights)), VisitsSource(visits)
    for hour in range(1, people.hours + 1):
        begun, weight = [one for one in people.weights if one[0] < hour][-1]
        look = monitor.look(source, START + hour * HOUR, weight=weight, weight_since=START + begun * HOUR)
    inside = visits.hour > 0
    rates = [
        visits.clicks[inside & side].sum() / visits.impressions[inside & side].sum()
        for side in (visits.canary, ~visits.canary)
    ]
    found = look["m"].comparison
    assert found is not None
    assert found.effect is not None
    assert found.standard_error
    assert found.baseline
    z = (found.effect - 1 - people.lift) * found.baseline / found.standard_error
    return rates[0] / rates[1] - 1, found.effect - 1, z


RAMP = People(users=60_000, hours=48, visits=4.0, weights=((0, 1.0), (12, 5.0), (24, 25.0), (36, 50.0)), lift=-0.05)


def missing(lost: float, seed: int) -> bool:
    """Whether it is found that so many of the canary's users never send an event."""
    people = People(users=200_000, weights=((0.0, 2.0),), days_before=0)
    visits = people.draw(seed)
    gone = np.random.default_rng(seed).random(people.users) < lost
    kept = ~(visits.canary & gone[visits.user])
    fewer = replace(visits, **{one.name: getattr(visits, one.name)[kept] for one in fields(visits)})
    found = judge(config(CLICKS, 0.1, traffic={"weight": 2.0}), VisitsSource(fewer), Window(START, START + 48 * HOUR))
    return found.traffic is not None and bool(found.traffic.finding)


def fades(people: People, seed: int) -> tuple[bool, bool]:
    """Whether it would pass but for that; and whether it is told to fade."""
    found = at_once(people, seed, 36)["m"]
    within = found.p_within is not None and found.p_within <= 0.05
    return within, "the effect fades" in found.reason


def strays(leak: float, seed: int) -> tuple[float, float, str]:
    """The canary's users on both sides, the effect, and what is said."""
    people = People(users=60_000, weights=((0.0, 2.0),), leak=leak, lift=-0.1)
    found = at_once(people, seed)["m"]
    comparison, told = found.comparison, [text for text in found.warnings if "both sides" in text]
    left_out = int(told[0].split()[0].replace(",", "")) if told else 0
    effect = math.nan if comparison is None or comparison.effect is None else comparison.effect - 1
    users = 0 if comparison is None else comparison.users_canary or 0
    return left_out / (left_out + users) if users else math.nan, effect, found.outcome.value


def tables(runs: int, pool: ProcessPoolExecutor) -> None:
    seeds = range(SEEDS, SEEDS + runs)
    print(
        f"{runs} runs each\n\n| ramp 1, 5, 25, 50 %, the canary costs 5 % | pooled reads | the last weight reads | sd of z |"
    )
    print("| --- | --- | --- | --- |")
    for trend in (0.0, 0.1, 0.3):
        found = np.array(list(pool.map(partial(ramp, replace(RAMP, trend=trend)), seeds)))
        print(
            f"| odds rise by {trend:.0%} a day | {found[:, 0].mean():+.1%} | {found[:, 1].mean():+.1%} | {found[:, 2].std():.2f} |",
            flush=True,
        )
    print("\n| canary users that never send an event, 2 % of 200,000 | found |\n| --- | --- |")
    for lost in (0.0, 0.05, 0.1, 0.2):
        print(f"| {lost:.0%} | {np.mean(list(pool.map(partial(missing, lost), seeds))):.1%} |", flush=True)
    print("\n| 10 % of 100,000 users, 36 h | would pass | of these told to fade |\n| --- | --- | --- |")
    base = People(users=100_000, hours=36, weights=((0.0, 10.0),))
    for name, people in (
        ("nothing changed", base),
        ("+20 % that fades in 8 h, on a lasting -5 %", replace(base, lift=-0.05, novelty=0.2)),
    ):
        found = np.array(list(pool.map(partial(fades, people), seeds)))
        print(f"| {name} | {found[:, 0].mean():.1%} | {found[found[:, 0], 1].mean():.1%} |", flush=True)
    print(
        "\n| visits that stray, 2 % canary at -10 % | of its users on both sides | reads | outcomes |\n| --- | --- | --- | --- |"
    )
    for leak in (0.0, 0.01, 0.05):
        rows = list(pool.map(partial(strays, leak), seeds))
        outcomes = ", ".join(f"{name} {share}" for name, share in Counter(row[2] for row in rows).most_common())
        print(
            f"| {leak:.0%} | {np.nanmean([row[0] for row in rows]):.1%} | {np.nanmean([row[1] for row in rows]):+.1%} | {outcomes} |",
            flush=True,
        )


def main() -> None:
    arguments = sys.argv[1:]
    runs = int(arguments[0]) if arguments else 400
    names = arguments[1:]
    with ProcessPoolExecutor(2) as pool:
        if names == ["tables"]:
            tables(runs, pool)
            return
        levels([one for one in SCENARIOS if not names or one.name in names], runs, pool)


if __name__ == "__main__":
    main()
