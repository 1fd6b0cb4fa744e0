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
# # Calibrate on your own past
#
# An hour of requests to a shop in which nothing changed, in pieces of four hours (Nezha data set, MIT; it comes with
# the package). Would this config have cried wolf on them? And what margin could twenty minutes of 5 % of the traffic
# have shown?

# %%
from importlib import resources

from canary_judge import JudgeConfig
from canary_judge.history import calibrate
from canary_judge.sources import FrameSource

data = resources.files("canary_judge") / "data"
config = JudgeConfig.parse((data / "demo.yaml").read_text())
source = FrameSource(str(data / "healthy.csv.gz"))
span = source.span(config.interval)
span

# %% [markdown]
# Each row is one request, so a canary that is none can be drawn from the baseline as a router would draw it: 5 % of the
# requests, again and again, in each window. Beside it what a comparison with the window before would have said:

# %%
found = calibrate(config, source, span, length="20m", weight=5, draws=10)
print(found.explain())

# %% [markdown]
# No rate stands beside the split of the requests: of 5 % of them there is too little in twenty minutes for nearly all
# replays to decide, and silence is no calm. So this history does not show the declared 1 %; it could only have refuted
# it. What it does show is that another moment is no baseline: the window before raises an alarm in 4 of 17, and the
# rate lies *between* two numbers that are far apart, for 17 windows are few.

# %%
ax = found.plot("slow requests")

# %% [markdown]
# More traffic for the canary, or longer windows? Both are one more line; nothing is chosen by its alarms.

# %%
for length, weight in (("20m", 5), ("20m", 20), ("1h", 5), ("1h", 20)):
    one = calibrate(config, source, span, length=length, weight=weight, draws=3).suggestions[0]
    print(f"{length:>4} at {weight:>2} %: {one.metric}, {one.text}")
