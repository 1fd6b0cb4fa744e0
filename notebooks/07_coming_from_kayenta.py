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
# # Coming from Kayenta
#
# Kayenta's judge `NetflixACAJudge-v1.0` is here label for label, so that nothing changes on the first day. Then both
# judges look at the same data, and say where they differ and why.

# %%
import json
from pathlib import Path

import canary_judge
from canary_judge import kayenta

examples = Path(canary_judge.__file__).parents[1] / "docs" / "examples"

# %% [markdown]
# What Kayenta posts to a remote judge: one pod twice, nothing changed.

# %%
healthy = json.loads((examples / "kayenta_false_alarm.json").read_text())
request = kayenta.Request.from_mapping(healthy)
result = kayenta.judge(request.config, request.pairs, request.thresholds)
result.classification, result.score, result.reason

# %%
print(kayenta.compare(healthy).explain())

# %% [markdown]
# And one whose errors quadrupled, which it passes:

# %%
missed = json.loads((examples / "kayenta_missed.json").read_text())
print(kayenta.compare(missed).explain())

# %% [markdown]
# A config of ours from one of Kayenta's, with notes on what it cannot say: a direction and a margin for each metric.

# %%
conversion = kayenta.to_config(
    {
        "name": "checkout",
        "metrics": [
            {
                "name": "errors",
                "groups": ["reliability"],
                "query": {
                    "type": "prometheus",
                    "customInlineTemplate": 'PromQL:sum(rate(errors_total{version="${scope}"}[1m]))',
                },
                "analysisConfigurations": {"canary": {"direction": "increase", "critical": True}},
            }
        ],
        "classifier": {"groupWeights": {"reliability": 100}},
    }
)
print("\n".join(str(note) for note in conversion.notes))
conversion.config
