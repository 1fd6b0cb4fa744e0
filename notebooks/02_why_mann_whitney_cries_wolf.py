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
# # Why Mann-Whitney cries wolf
#
# The usual test of a canary compares the two series of a metric by ranks and asks for p < 0.05. It assumes that the
# values of a series are independent. Metrics are not: a minute looks like the minute before. So the same test on the
# same stable version, with nothing changed, finds "regressions" far more often than it promises.

# %%
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from scipy import stats

from canary_judge import JudgeConfig, Judgement, judge
from canary_judge.sources import FrameSource

# %% [markdown]
# Two healthy sides, an hour each, whose values follow themselves (an autocorrelation of 0.8 from minute to minute, the
# ordinary case for memory, queue lengths and cache hit rates):

# %%
rng = np.random.default_rng(1)


def series(n: int, rho: float) -> np.ndarray:
    """A level of 100 that wanders by some percent."""
    values = np.empty(n)
    now = rng.normal()
    for k in range(n):
        values[k] = now
        now = rho * now + math.sqrt(1 - rho**2) * rng.normal()
    return 100 + 3 * values


pairs = [(series(60, 0.8), series(60, 0.8)) for _ in range(300)]
alarms = [stats.mannwhitneyu(canary, baseline, alternative="greater").pvalue < 0.05 for baseline, canary in pairs]
print(f"Mann-Whitney fails {np.mean(alarms):.0%} of 300 healthy canaries; it promised 5 %")

# %% [markdown]
# It gets no better with more data: longer series give the test more confidence in what is not there. And looking at it
# every ten minutes, until one look is below 0.05, adds to it:

# %%
peeked = [
    any(stats.mannwhitneyu(canary[:n], baseline[:n], alternative="greater").pvalue < 0.05 for n in range(10, 61, 10))
    for baseline, canary in pairs
]
print(f"with six looks: {np.mean(peeked):.0%}")

# %% [markdown]
# This library uses the same ranks, but counts what they are worth: an hour of such a series is worth a handful of
# independent values, and the test is read with as many. It also asks another question: not "is there any difference?"
# but "is the canary worse by more than the margin?", which a healthy canary is not.

# %%
config = JudgeConfig.from_mapping(
    {
        "name": "shop",
        "interval": "1m",
        "metrics": [{"name": "memory", "kind": "gauge", "query": "memory", "harm": "increase", "margin": "10%"}],
    }
)
noon = datetime(2026, 1, 1, 12, tzinfo=UTC)


def judged(baseline: np.ndarray, canary: np.ndarray) -> Judgement:
    rows = [
        {"timestamp": noon + timedelta(minutes=k + 1), "side": side, "memory": value}
        for side, values in (("baseline", baseline), ("canary", canary))
        for k, value in enumerate(values)
    ]
    source = FrameSource(pd.DataFrame(rows))
    return judge(config, source, source.window(config.interval))


verdicts = pd.Series([str(judged(*pair).verdict) for pair in pairs[:100]])
verdicts.value_counts()

# %%
judged(*pairs[0])

# %% [markdown]
# `worth` in the table is the effective number of intervals, tau the autocorrelation time. A canary that is 25 %
# worse is found in most hours all the same, and passes in none:

# %%
worse = pd.Series([str(judged(baseline, 1.25 * canary).verdict) for baseline, canary in pairs[:50]])
worse.value_counts()

# %% [markdown]
# The measured rates, on simulated and on real data, stand in [docs/calibration.md](../docs/calibration.md) and
# [docs/realdata.md](../docs/realdata.md), beside Kayenta's rule and plain Mann-Whitney on the same pairs.
