# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Business metrics: judged by user
#
# A new ranking of a feed goes to 1 % of the users, a recommender to 2 %. Nothing breaks; the question is whether people
# click less, stay shorter, or are less content. Everything here is **simulated** (`canary_judge.testing.People`), so
# that the truth is known, and is read from a DuckDB file as it would be from a warehouse.
#
# Three things go wrong when such metrics are judged by request, and each is shown below: users are not independent
# requests, a ramp mixes weights with hours, and a new thing is liked for being new.

# %%
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np

from canary_judge import JudgeConfig, Monitor, Window, judge, plan
from canary_judge.sources import FrameSource, from_config
from canary_judge.testing import People, Visits

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
folder = Path(tempfile.mkdtemp())


def stored(visits: Visits, name: str) -> str:
    """The visits as the table `events` of a DuckDB file; its address."""
    frame = visits.frame(START)
    with duckdb.connect(str(folder / name)) as connection:
        connection.register("visits", frame)
        connection.execute("create table events as select * from visits")
    return f"duckdb:///{folder / name}"


def config(url: str, weight: float, *metrics: dict[str, object]) -> JudgeConfig:
    warehouse = {"type": "sql", "url": url, "table": "events", "user": "user", "timestamp": "timestamp", "side": "side"}
    return JudgeConfig.from_mapping(
        {
            "name": "people",
            "interval": "1h",
            "history": "7d",
            "traffic": {"weight": weight},
            "metrics": [{"harm": "decrease", "business": True, **metric} for metric in metrics],
            "sources": {"default": warehouse},
        }
    )


engagement = {"name": "engagement", "kind": "mean", "numerator": "minutes", "margin": "5%", "cap": 200}
clicks = {
    "name": "click-through",
    "kind": "ratio",
    "events": "clicks",
    "total": "impressions",
    "unit_of_replication": "user",
    "margin": "5%",
}
plays = {"name": "play rate", "kind": "mean", "numerator": "clicks", "denominator": "visits", "margin": "5%"}
stars = {"name": "satisfaction", "kind": "mean", "numerator": "rating", "denominator": "ratings", "margin": "+0.1"}

# %% [markdown]
# ## A feed at 1 % for 36 hours
#
# First: is the question answerable? `plan` counts the baseline's users over the last 6, 12, 24 and 48 hours, how much
# they differ, and how much of that their own past explains.

# %%
feed = People(users=250_000, hours=48, weights=((0.0, 1.0),), lift=0.01, bots=0.0002)
visits = feed.draw(11)
url = stored(visits, "feed.duckdb")
judged = config(url, 1.0, engagement, clicks)
print(plan(judged, from_config(judged.sources["default"]), Window(START, START + 48 * HOUR)).explain())

# %% [markdown]
# At 1 % this many users cannot show 5 % in 36 hours: the honest answers are a wider margin, a higher weight, or more
# days. Here is a run of 48 hours, looked at every hour. Two users in 10,000 are bots (a hundred times the visits of
# others): one of them fell on the canary, and is told rather than averaged away:

# %%
monitor = Monitor(judged, start=START, horizon="48h", stages=1)
source = from_config(judged.sources["default"])
looks = [monitor.look(source, START + hour * HOUR, weight=1.0) for hour in range(1, 49)]
looks[-1]

# %%
ax = looks[-1].plot("engagement", looks=looks)

# %% [markdown]
# ## A recommender at 2 %, which people like less
#
# Clicks are as before, the stars are not: half of a star is lost. No request ever failed.

# %%
liked_less = People(users=120_000, hours=24, weights=((0.0, 2.0),), stars=-0.6)
url = stored(liked_less.draw(5), "recommender.duckdb")
judged = config(url, 2.0, clicks, plays, stars)
source = from_config(judged.sources["default"])
monitor = Monitor(judged, start=START, horizon="24h", stages=1)
for hour in range(1, 25):
    look = monitor.look(source, START + hour * HOUR, weight=2.0)
    if look.verdict == "fail":
        break
print(f"after {hour} hours: {look}")
look

# %% [markdown]
# ## By request, the same data are read wrongly
#
# 40 canaries that are **exactly at the margin** of 10 %, with 0.1 % bots: at most 1 in 20 should pass. Judged by
# request, one user's hundred impressions count as a hundred independent ones.

# %%
by_request = {**clicks, "unit_of_replication": "request", "margin": "10%"}
by_user = {**clicks, "margin": "10%"}
PEOPLE = People(users=25_000, hours=48, weights=((0.0, 4.0),), bots=0.001, lift=-0.1)


def passes(metric: dict[str, object], seed: int) -> bool:
    """Whether a canary at its margin would pass at one look after 48 hours."""
    drawn = PEOPLE.draw(seed).frame(START)
    if metric is by_request:  # as a store of time series would have them: counts by the minute
        minute = drawn["timestamp"].dt.ceil("1min")
        drawn = drawn.groupby([minute, "side"])[["clicks", "impressions"]].sum().reset_index()
    one = {"name": "p", "interval": "1h", "history": "7d", "metrics": [{"harm": "decrease", **metric}]}
    window = Window(START, START + 48 * HOUR)
    return judge(JudgeConfig.from_mapping(one), FrameSource(drawn), window).verdict == "pass"


for name, metric in (("by request", by_request), ("by user", by_user)):
    share = np.mean([passes(metric, 1000 + seed) for seed in range(40)])
    print(f"{name}: {share:.0%} of 40 canaries at the margin pass")

# %% [markdown]
# ## A ramp, pooled and by stage
#
# 1 % -> 5 % -> 25 % -> 50 %, six hours each, of a canary that costs 5 % of the clicks, while clicks rise by the hour
# (an evening). Pooled over the ramp the canary looks better, for most of its users came late (Simpson's paradox). By
# user the counting begins anew with each weight.

# %%
ramp = People(
    users=120_000, hours=24, visits=4.0, weights=((0, 1.0), (6, 5.0), (12, 25.0), (18, 50.0)), lift=-0.05, trend=0.3
)
drawn = ramp.draw(5)
run = drawn.hour > 0
rate = [drawn.clicks[run & side].sum() / drawn.impressions[run & side].sum() for side in (drawn.canary, ~drawn.canary)]
print(f"pooled over the ramp: {rate[0] / rate[1]:.3f}x (the truth is 0.95x)")

judged = config(stored(drawn, "ramp.duckdb"), 1.0, clicks)
source = from_config(judged.sources["default"])
monitor = Monitor(judged, start=START, stages=4)
for hour in range(1, 25):
    begun, weight = [one for one in ramp.weights if one[0] < hour][-1]
    look = monitor.look(source, START + hour * HOUR, weight=weight, weight_since=START + begun * HOUR)
    if hour in (6, 12, 18, 24):
        print(f"{hour:2d} h at {weight:4.0f} %: {look['click-through'].short}")

# %% [markdown]
# ## New, and liked for it
#
# +20 % at first sight, which fades within hours to a lasting -5 %. The whole looks harmless; the first third and the
# last third do not.

# %%
novel = People(users=200_000, hours=36, weights=((0.0, 10.0),), lift=-0.05, novelty=0.2, novelty_hours=8.0)
judged = config(stored(novel.draw(3), "novel.duckdb"), 10.0, clicks)
look = judge(judged, from_config(judged.sources["default"]), Window(START, START + 36 * HOUR))
print(look["click-through"].reason)

# %% [markdown]
# What it cannot see: users who affect each other (a marketplace, a shared feed), quantiles, and an effect that comes
# after the run has ended.
