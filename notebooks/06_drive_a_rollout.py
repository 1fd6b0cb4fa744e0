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
# # Driving a rollout
#
# A simulated shop with 200 requests a second, and a canary that breaks after eleven minutes. The driver raises the
# weight when safety is shown, and takes it back to 0 at once when harm is. Nothing here sleeps: the shop brings its own
# clock.

# %%
import pandas as pd

from canary_judge import Controller, RolloutPlan, plots
from canary_judge.testing import simulated_world

world = simulated_world(seed=7, canary_error_rate=lambda seconds: 0.005 if seconds < 660 else 0.03)
plan = RolloutPlan(stages=[5, 25, 50, 100], minimum="2m")
controller = Controller(world.config, world.source, world.router, plan, clock=world.clock)

# %%
events = list(controller.events())
ax = plots.rollout(events)

# %%
pd.DataFrame(
    [
        {
            "minute": round((event.at - events[0].at).total_seconds() / 60, 1),
            "weight": event.weight,
            "what": str(event.kind),
            "why": event.text[:90],
        }
        for event in events
        if event.kind != "look"
    ]
)

# %%
result = controller.result()
print(result.phase, "at", result.weight, "% -", result.reason)

# %%
result.judgement

# %% [markdown]
# A healthy one goes all the way:

# %%
healthy = simulated_world(seed=8)
done = Controller(healthy.config, healthy.source, healthy.router, plan, clock=healthy.clock).run()
print(done.phase, "at", done.weight, "%, after", done.looks, "looks")
