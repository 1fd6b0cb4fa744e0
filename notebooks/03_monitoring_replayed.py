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
# # Monitoring, replayed minute by minute
#
# A recorded time of trouble in a real shop (Nezha data set, MIT; it comes with the package), followed as a canary would
# be: a look each minute, and one error rate over all looks together. Then the canary is archived, and asked again.

# %%
import tempfile
from datetime import timedelta
from importlib import resources

import pandas as pd

from canary_judge import JudgeConfig, Monitor, plots
from canary_judge.history import History, PastCanary, replay
from canary_judge.history.tape import Tape
from canary_judge.sources import FrameSource

data = resources.files("canary_judge") / "data"
config = JudgeConfig.parse((data / "demo.yaml").read_text())
source = FrameSource(str(data / "regressed.csv.gz"), align="start")
window = source.window(config.interval)

# %% [markdown]
# Each look takes in the minutes that are new, and may be acted on at once:

# %%
monitor = Monitor(config, start=window.start, horizon=window.duration)
looks, states = [], []
moment = window.start
while moment < window.end:
    moment += timedelta(minutes=1)
    judgement = monitor.look(source, min(moment, window.end))
    looks.append(judgement)
    states += monitor.steps
    if judgement.verdict == "fail":
        break
judgement

# %% [markdown]
# How the evidence of harm grew. It is read against 1 / (the metric's share of the false-alarm rate): above it the
# canary is rolled back, whenever that happens.

# %%
ax = plots.evidence(looks)

# %%
pd.DataFrame(
    [
        {
            "minute": number,
            "metric": metric.name,
            "log e of harm beyond the margin": metric.comparison.log_e_beyond_margin,
        }
        for number, look in enumerate(looks, 1)
        for metric in look.metrics
        if metric.comparison is not None
    ]
).pivot_table(index="minute", columns="metric").round(1).tail(10)

# %% [markdown]
# The same canary in an archive: what was read, look by look. A replay says what was said, to the last bit.

# %%
history = History(tempfile.mkdtemp())
name = history.append(
    PastCanary.of(config, Tape.of_states(config, states), judgement=judgement.to_json(), ended_by="this judge")
)
again = [found for _, found in replay(config, history.read(name))]
print(len(again), "looks, the same judgements:", again == looks)

# %% [markdown]
# And what would it have taken to pass it? With ten times the margins:

# %%
lenient = config.model_copy(
    update={
        "metrics": tuple(
            metric.model_copy(update={"margin": "10x"}) if metric.margin and "pp" not in metric.margin else metric
            for metric in config.metrics
        )
    }
)
*_, (look, last) = replay(lenient, history.read(name))
print(last.verdict, "-", last.reasons[0])
