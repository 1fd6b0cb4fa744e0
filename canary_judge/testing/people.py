"""Simulated people: users who come back, differ, and stay on one side; seeded, with numpy alone.

`python -m canary_judge.testing events.duckdb` writes their visits, up to this minute, to a file to try things on.

What is in it: lognormal activity, a daily cycle with a phase of each user, click-through rates that differ between
users and fall with activity, a weather that all share, a trend by day, bots, minutes with a heavy tail, ratings 1 to 5
with ties, what each user did before, weights that rise while everybody keeps his bucket, visits that stray to the other
side (a second device), and an effect that fades with the time a user has had the canary.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import Bool, Float, Int

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["People", "Visits"]

_BOT_RATE = 0.002
_BUSIEST_HOUR, _PHASE_SD = 20.0, 3.0
_STARS = (-2.2, -1.6, -0.6, 0.6)
_START = datetime(2026, 11, 18, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visits:
    """One row per visit, in order of time.

    Attributes:
        user: Whole number of the user.
        hour: Hours since the start; below 0 before it.
        canary: Whether the visit was to the canary.
        clicks, impressions, minutes: Of the visit.
        rating: Stars, NaN without any.
    """

    user: Int
    hour: Float
    canary: Bool
    clicks: Float
    impressions: Float
    minutes: Float
    rating: Float

    def frame(self, start: datetime = _START) -> pd.DataFrame:
        """As a table that `FrameSource` reads, with the columns of a warehouse."""
        import pandas as pd

        return pd.DataFrame(
            {
                "timestamp": pd.Timestamp(start)
                + pd.to_timedelta(np.rint(self.hour * 3.6e9).astype("int64"), unit="us"),
                "side": np.where(self.canary, "canary", "baseline"),
                "user": self.user + 1,
                "clicks": self.clicks,
                "impressions": self.impressions,
                "minutes": self.minutes,
                "rating": np.nan_to_num(self.rating),
                "ratings": np.isfinite(self.rating).astype(float),
                "visits": 1.0,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who comes, and what the canary does to them.

    Attributes:
        users: How many there are; not all of them come.
        hours: Length of the run.
        visits: Mean visits of a user in it.
        activity_sd: Of the log of a user's activity; 1: the busiest 1 % make 10 % of the visits, 1.5: 21 %.
        impressions: Mean per visit, at least 1.
        rate: Share of impressions that are clicked.
        rate_sd: Of its log odds between users.
        activity_rate: Correlation of the log activity with the log odds.
        minutes_sd: Of the log minutes of a visit; half of the variance is the user's.
        cycle: Amplitude of the daily cycle.
        weather: Of the hourly log odds that all share, AR(1) with 0.8.
        trend: Change of the log odds per day.
        bots: Share of users who are none, and click at 0.2 %.
        bot_visits: Their mean visits.
        rated: Share of visits with a rating.
        lift: Relative effect of the canary on clicks and minutes.
        stars: Its effect on the latent scale of ratings.
        novelty: Effect in addition at a user's first visit to the canary, which fades.
        novelty_hours: In which it falls to 1/e.
        weights: From which hour the canary has which percent.
        leak: Share of visits of which the side is drawn anew.
        days_before: Length of the record before the run; 0: none.
        stable: Correlation of a user's log odds then and now.

    Examples:
        >>> visits = People(users=1000, hours=24, weights=((0, 10.0),)).draw(1)
        >>> bool(visits.canary[visits.hour > 0].mean() < 0.2), bool(visits.canary[visits.hour <= 0].any())
        (True, False)
    """

    users: int = 20_000
    hours: int = 48
    visits: float = 3.0
    activity_sd: float = 1.0
    impressions: float = 9.0
    rate: float = 0.05
    rate_sd: float = 0.5
    activity_rate: float = -0.3
    minutes_sd: float = 1.0
    cycle: float = 0.7
    weather: float = 0.05
    trend: float = 0.0
    bots: float = 0.0
    bot_visits: float = 300.0
    rated: float = 0.1
    lift: float = 0.0
    stars: float = 0.0
    novelty: float = 0.0
    novelty_hours: float = 8.0
    weights: tuple[tuple[float, float], ...] = ((0.0, 2.0),)
    leak: float = 0.0
    days_before: float = 7.0
    stable: float = 0.7

    def draw(self, seed: int) -> Visits:
        """Everybody's visits."""
        rng = np.random.default_rng(seed)
        n, rho = self.users, self.activity_rate
        busy = rng.standard_normal(n)
        activity = np.exp(self.activity_sd * busy - self.activity_sd**2 / 2) * self.visits
        bot = rng.random(n) < self.bots
        activity[bot] = self.bot_visits * rng.uniform(0.5, 1.5, int(bot.sum()))
        lasting = rho * busy + np.sqrt(1 - rho**2) * rng.standard_normal(n)
        before = self.stable * lasting + np.sqrt(1 - self.stable**2) * rng.standard_normal(n)
        taste = rng.standard_normal(n)
        phase = rng.normal(_BUSIEST_HOUR, _PHASE_SD, n)
        bucket = rng.random(n)
        past = 24 * self.days_before
        user, hour = self._visits(rng, activity, phase, -past, self.hours)
        run = hour > 0
        canary = self._sides(rng, user, hour, bucket)
        effect = self._effect(user, hour, canary)
        common = np.where(run, self._weather(rng)[np.maximum(hour, 0).astype(int)] + self.trend * hour / 24, 0.0)
        base = np.log(self.rate / (1 - self.rate))
        odds = np.where(run, lasting[user], before[user])
        p = 1 / (1 + np.exp(-(base + self.rate_sd * odds + common)))
        p = np.where(bot[user], _BOT_RATE, p) * effect
        seen = 1 + rng.poisson(self.impressions - 1, user.size)
        half = self.minutes_sd / np.sqrt(2)
        latent = 0.8 * taste[user] + rng.standard_normal(user.size) + np.where(canary, self.stars, 0.0)
        rating = 1.0 + np.searchsorted(_STARS, latent)
        rating[rng.random(user.size) >= self.rated] = np.nan
        return Visits(
            user=user,
            hour=hour,
            canary=canary,
            clicks=rng.binomial(seen, np.clip(p, 0, 1)).astype(float),
            impressions=seen.astype(float),
            minutes=np.exp(half * taste[user] + half * rng.standard_normal(user.size) + common) * effect,
            rating=np.asarray(rating, dtype=np.float64),
        )

    def _visits(
        self, rng: np.random.Generator, activity: Float, phase: Float, start: float, end: float
    ) -> tuple[Int, Float]:
        """Users and hours of all visits: a Poisson process, thinned by the daily cycle."""
        peak, length = 1 + self.cycle, end - start
        user = np.repeat(np.arange(self.users), rng.poisson(activity * peak * length / self.hours))
        hour = start + rng.random(user.size) * length
        keep = rng.random(user.size) * peak < 1 + self.cycle * np.cos((hour - phase[user]) * np.pi / 12)
        user, hour = user[keep], hour[keep]
        order = np.argsort(hour, kind="stable")
        return user[order], hour[order]

    def _sides(self, rng: np.random.Generator, user: Int, hour: Float, bucket: Float) -> Bool:
        starts, percents = np.array(self.weights, dtype=float).T
        share = np.where(hour > starts[0], percents[np.searchsorted(starts, hour) - 1] / 100, 0.0)
        canary = bucket[user] < share
        if self.leak:
            stray = rng.random(user.size) < self.leak
            canary = np.where(stray, rng.random(user.size) < share, canary)
        return np.asarray(canary)

    def _effect(self, user: Int, hour: Float, canary: Bool) -> Float:
        first = np.full(self.users, np.inf)
        np.minimum.at(first, user[canary], hour[canary])
        effect = np.full(user.size, self.lift)
        if self.novelty:
            effect += self.novelty * np.exp(-(hour - np.minimum(first[user], hour)) / self.novelty_hours)
        return np.where(canary, 1 + effect, 1.0)

    def _weather(self, rng: np.random.Generator) -> Float:
        shocks = rng.normal(0, self.weather * 0.6, self.hours + 1)
        weather = np.zeros(self.hours + 1)
        for hour in range(1, self.hours + 1):
            weather[hour] = 0.8 * weather[hour - 1] + shocks[hour]
        return weather
