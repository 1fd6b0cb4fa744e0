"""Simulated shops and what is judged of them: the judgements that the pictures of docs and tests show."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd

from canary_judge import JudgeConfig, Monitor
from canary_judge.results import Judgement, Verdict
from canary_judge.sources import FrameSource

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "1.5x",
}
SLOW = {
    "name": "slow requests",
    "kind": "ratio",
    "events": "slow",
    "total": "requests",
    "harm": "increase",
    "margin": "1.25x",
    "limit": "6%",
}
HEAP = {
    "name": "heap",
    "kind": "gauge",
    "query": "heap",
    "unit": "MB",
    "harm": "increase",
    "margin": "10%",
    "role": "guard",
}
ORDERS = {
    "name": "orders",
    "kind": "ratio",
    "events": "orders",
    "total": "requests",
    "harm": "decrease",
    "margin": "5%",
    "role": "guard",
}
CPU = {
    "name": "cpu per request",
    "kind": "gauge",
    "query": "cpu",
    "unit": "ms",
    "harm": "increase",
    "margin": "+0.05ms",
}
FOUR = (ERRORS, SLOW, HEAP, ORDERS)
PAGES = "cart search recommendations/personalised login pay ship stock price tax mail image review wish gift vouch"


def _endpoint(number: int, name: str) -> dict[str, object]:
    return {
        **ERRORS,
        "name": f"endpoint /api/v1/{name}",
        "events": f"events{number}",
        "margin": "1.3x",
        "role": "gate" if number % 3 else "guard",
    }


ENDPOINTS = tuple(_endpoint(number, name) for number, name in enumerate(PAGES.split()))


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A simulated shop; factors are those of the canary.

    Attributes:
        seed: Of its random numbers.
        share: The canary's share of the requests that is set.
        observed: The share that it gets.
        requests: A minute, of both sides.
        extra: So many endpoints more.
        panics: Mean events a minute that only the canary has.
        drift: How much lower one gauge of the canary is.
        lost: A gauge that the canary does not have.
    """

    seed: int
    share: float = 0.05
    observed: float | None = None
    requests: float = 4000
    errors: float = 1.0
    slow: float = 1.0
    orders: float = 1.0
    cpu: float = 1.0
    extra: int = 0
    panics: float = 0.0
    drift: float = 0.0
    lost: str = ""

    def frame(self, minutes: int) -> pd.DataFrame:
        """So many minutes of both sides."""
        rng = np.random.default_rng(self.seed)
        rows, slowly = [], {"baseline": 0.0, "canary": 0.0}
        for minute in range(1, minutes + 1):
            for side, share in (("baseline", 1 - self.share), ("canary", self.observed or self.share)):
                canary = side == "canary"
                n = rng.poisson(self.requests * share)
                slowly[side] = 0.6 * slowly[side] + rng.normal(0, 0.8)
                row: dict[str, object] = {
                    "timestamp": NOON + minute * MINUTE,
                    "side": side,
                    "requests": n,
                    "errors": rng.binomial(n, 0.004 * (self.errors if canary else 1)),
                    "slow": rng.binomial(n, 0.03 * (self.slow if canary else 1)),
                    "orders": rng.binomial(n, 0.06 * (self.orders if canary else 1)),
                    "heap": 508 + 6 * rng.normal() + 4 * slowly[side],
                    "cpu": 0.42 * (self.cpu if canary else 1) * np.exp(0.06 * rng.normal() + 0.02 * slowly[side]),
                }
                if self.panics:
                    row["panics"] = rng.poisson(self.panics) if canary else 0
                if self.drift:
                    row["drift"] = 100 + rng.normal(0, 5) - (self.drift if canary else 0)
                row |= {f"events{k}": rng.binomial(n, 0.02 + 0.004 * k) for k in range(self.extra)}
                if canary and self.lost:
                    row[self.lost] = np.nan
                rows.append(row)
        return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True)
class PictureCase:
    """A run of looks, every minute.

    Attributes:
        shop: Where.
        metrics: Of the config.
        minutes: How many looks at most.
        stop: End with the first verdict.
    """

    shop: Shop
    metrics: tuple[dict[str, object], ...] = FOUR
    minutes: int = 45
    stop: bool = True
    horizon: str = field(default="45m")

    def config(self) -> JudgeConfig:
        """What is judged."""
        return JudgeConfig.from_mapping(
            {
                "name": "checkout",
                "interval": "1m",
                "metrics": [dict(one) for one in self.metrics],
                "false_alarm_rate": 0.01,
                "baseline": {"version": "1.4.2"},
                "canary": {"version": "1.5.0"},
            }
        )


_PANICS = {**ERRORS, "name": "panics", "events": "panics"}
_QUEUE = {**CPU, "name": "queue length", "query": "drift", "unit": "", "margin": "10%", "role": "guard"}
_REPLIES = {**HEAP, "name": "replies", "harm": "either", "margin": "4%", "unit": "kB"}
_SHARE = {**SLOW, "name": "slow share", "limit": "5%"}
del _SHARE["margin"]

CASES = {
    "fail": PictureCase(shop=Shop(seed=1, errors=3.2)),
    "hold": PictureCase(shop=Shop(seed=2), metrics=(ERRORS, SLOW, CPU, HEAP, {**ORDERS, "role": "gate"}), minutes=9),
    "pass": PictureCase(shop=Shop(seed=3)),
    "fail decrease": PictureCase(shop=Shop(seed=4, orders=0.72)),
    "tolerable": PictureCase(
        shop=Shop(seed=5, requests=40000, slow=1.15, cpu=1.05),
        metrics=(ERRORS, {**SLOW, "margin": "1.4x"}, CPU, HEAP),
        stop=False,
    ),
    "degraded": PictureCase(
        shop=Shop(seed=15, slow=1.24, cpu=1.11, requests=12000),
        metrics=(ERRORS, SLOW, CPU, HEAP),
        minutes=30,
        stop=False,
    ),
    "no data": PictureCase(
        shop=Shop(seed=6, lost="cpu"), metrics=(ERRORS, SLOW, CPU, HEAP, {**ORDERS, "role": "gate"}), minutes=20
    ),
    "twelve": PictureCase(
        shop=Shop(seed=7, extra=7, slow=1.9, requests=9000), metrics=(*FOUR, CPU, *ENDPOINTS[:7]), minutes=30
    ),
    "twenty": PictureCase(shop=Shop(seed=8, extra=15, requests=20000), metrics=(*FOUR, CPU, *ENDPOINTS)),
    "twenty undecided": PictureCase(
        shop=Shop(seed=9, extra=15, requests=700), metrics=(*FOUR, CPU, *ENDPOINTS), minutes=6
    ),
    "one": PictureCase(shop=Shop(seed=10, requests=30000), metrics=(ERRORS,)),
    "clipped": PictureCase(
        shop=Shop(seed=11, errors=100, panics=3, drift=60),
        metrics=(ERRORS, _PANICS, SLOW, _QUEUE, _REPLIES, _SHARE),
        minutes=12,
        stop=False,
    ),
    "split": PictureCase(shop=Shop(seed=12, observed=0.09), minutes=25),
    "forty": PictureCase(shop=Shop(seed=13, requests=2600), minutes=40, stop=False),
}


@cache
def looks(name: str) -> tuple[Judgement, ...]:
    """All looks of a case."""
    case = CASES[name]
    source, monitor = FrameSource(case.shop.frame(60)), Monitor(case.config(), start=NOON, horizon=case.horizon)
    found = []
    for minute in range(1, case.minutes + 1):
        found.append(monitor.look(source, NOON + minute * MINUTE, weight=100 * case.shop.share))
        if case.stop and found[-1].verdict is not Verdict.MARGINAL:
            break
    return tuple(found)


def judged(name: str) -> Judgement:
    """The last look of a case."""
    return looks(name)[-1]
