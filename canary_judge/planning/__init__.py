"""How long a canary takes at which weight, before it is started."""

from canary_judge.planning.lengths import WEIGHTS, plan
from canary_judge.planning.plans import MetricPlan, Plan, plan_to_json

__all__ = ["WEIGHTS", "MetricPlan", "Plan", "plan", "plan_to_json"]
