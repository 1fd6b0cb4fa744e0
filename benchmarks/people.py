"""How often a metric by user is wrong, on simulated people, through `Monitor`: 48 hourly looks with a planned end.

    python -m benchmarks.people [RUNS] [SCENARIO ...]

For each kind of people two worlds: a canary that does nothing (alarms, of any harm, promised at 1 %), and one exactly at
its margin of 10 % (alarms beyond it, 1 %; passes, 5 %; the 90 % interval at the end). Beside it the same clicks judged
as requests. `ramp`, `split`, `novelty` and `strays` are tables of their own. Every number is a share of fresh seeds.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from canary_judge import JudgeConfig, Monitor
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


def main() -> None:
    arguments = sys.argv[1:]
    runs = int(arguments[0]) if arguments else 400
    names = arguments[1:]
    with ProcessPoolExecutor(2) as pool:
        levels([one for one in SCENARIOS if not names or one.name in names], runs, pool)


if __name__ == "__main__":
    main()
