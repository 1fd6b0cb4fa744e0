"""A service with a canary, simulated: its clock, its router, and a source that answers for the weights that were set.

For trying a rollout plan, and for tests of controllers: hours pass in seconds.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.results import Side
from canary_judge.routers.memory import MemoryRouter
from canary_judge.series import Form, Query, Result, Series, Window

__all__ = ["SimulatedClock", "SimulatedWorld", "simulated_world"]

_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class SimulatedClock:
    """Time that passes when somebody waits; `jump` sets the time of day, as an administrator would."""

    seconds: float = 0.0
    offset: timedelta = timedelta(0)

    def now(self) -> datetime:
        """The time of day."""
        return _START + timedelta(seconds=self.seconds) + self.offset

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.seconds

    def wait(self, seconds: float, wake: threading.Event) -> None:
        """Let the time pass, unless somebody has woken us."""
        if not wake.is_set():
            self.seconds += seconds

    def jump(self, by: timedelta) -> None:
        """Set the clock."""
        self.offset += by


@dataclass
class SimulatedWorld:
    """A shop: 200 requests a second, split by the weights that its router was given.

    Attributes:
        config: Judges the share of failed requests.
        clock: Its time.
        router: Its router.
        error_rate: Of the baseline.
        canary_error_rate: Of the canary, at a time (seconds since the start).
        sticky: Share of the canary's clients that stay with it after a rollback.
        log: (seconds, percent) of every change of the weight.
    """

    config: JudgeConfig
    error_rate: float
    canary_error_rate: Callable[[float], float]
    seed: int
    requests_per_second: float = 200.0
    sticky: float = 0.0
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    log: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    router: MemoryRouter = field(init=False)

    def __post_init__(self) -> None:
        self.router = MemoryRouter(on_change=self.record)

    def record(self, percent: float) -> None:
        """The weight changes now."""
        self.log.append((self.clock.seconds, percent))

    @property
    def source(self) -> SimulatedWorld:
        """The world answers queries itself."""
        return self

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Counts per interval, up to the present."""
        return [self._answer(query, window) for query in queries]

    def _answer(self, query: Query, window: Window) -> Result:
        step = query.step.total_seconds()
        edges = window.edges(query.step)[1:]
        begin = int(_START.timestamp() * 1e9)
        known = [edge for edge in edges.tolist() if edge <= begin + self.clock.seconds * 1e9]
        values = []
        for edge in known:
            end = (edge - begin) / 1e9
            share, highest = self._share(end - step, end)
            rng = np.random.default_rng([self.seed, round(end / step) + 1_000_000])
            whole = rng.poisson(self.requests_per_second * step)
            canary = int(rng.binomial(whole, share))
            if share == 0 and highest:
                canary = int(rng.binomial(whole, self.sticky * highest))
            counts = {
                (Side.BASELINE, "total"): whole - canary,
                (Side.CANARY, "total"): canary,
                (Side.BASELINE, "events"): rng.binomial(whole - canary, self.error_rate),
                (Side.CANARY, "events"): rng.binomial(canary, self.canary_error_rate(end)),
            }
            values.append(float(counts[query.side, query.part]))
        series = Series(timestamps=np.array(known, dtype=np.int64), values=np.array(values))
        return Result(series=(series,) if known else (), form=Form.COUNTS)

    def _share(self, start: float, end: float) -> tuple[float, float]:
        """The canary's mean share between two times, and the largest before."""
        total, highest = 0.0, 0.0
        changes = [*self.log, (float("inf"), 0.0)]
        for (since, percent), (until, _) in itertools.pairwise(changes):
            total += percent / 100 * max(min(until, end) - max(since, start), 0.0)
            if since < end:
                highest = max(highest, percent / 100)
        return total / (end - start), highest


def simulated_world(
    *,
    error_rate: float = 0.005,
    canary_error_rate: float | Callable[[float], float] = 0.005,
    seed: int,
    requests_per_second: float = 200.0,
    sticky: float = 0.0,
    interval: str = "15s",
) -> SimulatedWorld:
    """A world whose canary fails this share of its requests.

    Args:
        error_rate: Of the baseline.
        canary_error_rate: Of the canary; a number, or a function of the seconds since the start.
        seed: The same seed gives the same world.
        requests_per_second: Of both sides together.
        sticky: Share of the canary's clients that stay with it after a rollback.
        interval: Of the judge's grid.

    Examples:
        >>> world = simulated_world(canary_error_rate=0.05, seed=1)
        >>> world.router.set_weight(5), world.router.get_weight().percent
        (True, 5.0)
    """
    errors = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
    config = JudgeConfig.from_mapping(
        {"name": "simulated shop", "interval": interval, "metrics": [{**errors, "margin": "1.5x or +0.2pp"}]}
    )
    rate = canary_error_rate if callable(canary_error_rate) else lambda _: canary_error_rate
    return SimulatedWorld(
        config=config,
        error_rate=error_rate,
        canary_error_rate=rate,
        seed=seed,
        requests_per_second=requests_per_second,
        sticky=sticky,
    )
