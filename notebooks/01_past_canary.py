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
# # Judging a past canary
#
# Two recordings of real requests to a shop (Online Boutique, Nezha data set, MIT) come with the package: a canary in
# which nothing differs, and a time of CPU contention. Both are judged as one planned look at a finished window.

# %%
from datetime import timedelta
from importlib import resources

from canary_judge import JudgeConfig, Window, judge
from canary_judge.sources import FrameSource

data = resources.files("canary_judge") / "data"
config = JudgeConfig.parse((data / "demo.yaml").read_text())
healthy = FrameSource(str(data / "healthy.csv.gz"))
day = healthy.window(config.interval)

# %% [markdown]
# Four hours of a healthy canary with 5 % of the requests:

# %%
judgement = judge(config, healthy, day)
judgement

# %% [markdown]
# Every number behind it:

# %%
judgement.to_frame().T

# %% [markdown]
# How early could it have passed? Each of these is read as if it were the only look; looking again and again needs the
# sequential tests.

# %%
for minutes in (5, 10, 20, 40, 80):
    early = judge(config, healthy, Window(day.start, day.start + timedelta(minutes=minutes)))
    missing = [f"{m.name}: {m.shortfall.text}" for m in early.metrics if m.shortfall]
    print(f"{minutes:3d} min  {early.verdict:8s} {'; '.join(missing)}")

# %% [markdown]
# The regressed one compares requests before the fault with requests during it, so one period is shifted onto the other:

# %%
regressed = FrameSource(str(data / "regressed.csv.gz"), align="start")
judge(config, regressed, regressed.window(config.interval))
