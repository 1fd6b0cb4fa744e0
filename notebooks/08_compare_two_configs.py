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
# # Two configs on last quarter's canaries
#
# Would a wider margin have cried wolf less often, and what would it have missed? The archive answers, canary by canary.
# Here the quarter is simulated, so that the truth is known; yours is an archive that `watch`, `rollout` or `serve`
# filled (`--archive`), with labels from the incident log.

# %%
import tempfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from canary_judge import JudgeConfig
from canary_judge.history import History, KayentaJudge, Label, Limit, LimitRule, OurJudge, backtest

config = JudgeConfig.from_mapping(
    {
        "name": "shop",
        "interval": "1m",
        "metrics": [
            {
                "name": "errors",
                "kind": "ratio",
                "events": "errors",
                "total": "requests",
                "harm": "increase",
                "margin": "1.5x",
            }
        ],
    }
)


def canary(number: int, times: float) -> pd.DataFrame:
    """An hour at 5 % of the traffic; the canary fails so many times as many requests."""
    rng = np.random.default_rng(number)
    begun = datetime(2026, 1, 1, 9, tzinfo=UTC) + number * timedelta(days=3)
    rate = 0.01 * rng.lognormal(0, 0.3)  # no two days are alike
    return pd.DataFrame(
        [
            {"timestamp": begun + timedelta(minutes=minute), "side": side, "requests": n, "errors": rng.binomial(n, p)}
            for minute in range(1, 61)
            for side, n, p in (("baseline", 1900, rate), ("canary", 100, rate * times))
        ]
    )


history = History(tempfile.mkdtemp())
for number in range(30):
    times = {0: 6.0, 1: 2.0}.get(number % 5, 1.0)
    label = Label(kind="bad" if times > 1 else "healthy", by="the incident log")
    history.add(canary(number, times), config, every="5m", horizon="1h", label=label, ended_by="the planned end")
len(history)

# %%
history.query(
    "SELECT label, count(*) AS canaries, min(start) AS first, max(start) AS last FROM canaries GROUP BY label"
)

# %% [markdown]
# The config as it is, one with a margin of 4x, Kayenta's judge, and two fixed limits as Argo Rollouts and Flagger check
# them:

# %%
wide = config.model_copy(
    update={"metrics": tuple(metric.model_copy(update={"margin": "4x"}) for metric in config.metrics)}
)
found = backtest(
    [
        OurJudge(config=config, name="margin 1.5x"),
        OurJudge(config=wide, name="margin 4x"),
        KayentaJudge(),
        LimitRule(limits=(Limit("errors", most=0.02),), failures=0, name="errors <= 2 %, at once"),
        LimitRule(limits=(Limit("errors", most=0.02),), failures=5, name="errors <= 2 %, 5 failures"),
    ],
    history,
)
print(found.explain())

# %%
ax = found.plot(promised=config.false_alarm_rate)

# %% [markdown]
# Every decision is a row, for your own questions: how many canary requests were served until each bad one was found?
# The columns are as of the decision, so they say so where it was "fail"; where it was "pass" they say how early the bad
# one was let through, and a judge that passes many would look quick if both were averaged.

# %%
frame = found.to_frame()
bad = frame[frame.label == "bad"]
bad.groupby(["judge", "verdict"]).agg(
    canaries=("id", "count"), after=("decided_after", "mean"), requests=("requests", "mean"), excess=("excess", "mean")
).round(0)
