"""Plots with matplotlib (`pip install 'canary_judge[plot]'`): of a judgement, of looks, of plans and past canaries.

Each takes an `ax`, or makes a figure of its own size, and returns the axes; none changes a setting of matplotlib. What
consists of several panels puts them into the `ax` (`ax.child_axes`). Titles are findings; there is no legend.
"""

from canary_judge.plots.calibration import DesignRate, calibration
from canary_judge.plots.canvas import Mode
from canary_judge.plots.depth import depth
from canary_judge.plots.evidence import evidence
from canary_judge.plots.past import JudgeRecord, backtest
from canary_judge.plots.planning import planning
from canary_judge.plots.power import PowerPoint, power
from canary_judge.plots.rollout import rollout
from canary_judge.plots.verdict import verdict

__all__ = [
    "DesignRate",
    "JudgeRecord",
    "Mode",
    "PowerPoint",
    "backtest",
    "calibration",
    "depth",
    "evidence",
    "planning",
    "power",
    "rollout",
    "verdict",
]
