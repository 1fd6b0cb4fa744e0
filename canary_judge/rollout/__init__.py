"""When the canary gets more traffic, when it loses it, and the driver that carries this out."""

from canary_judge.rollout.plan import RolloutPlan, Stage
from canary_judge.rollout.policy import Order, Step, step
from canary_judge.rollout.state import Phase, RolloutState

__all__ = ["Order", "Phase", "RolloutPlan", "RolloutState", "Stage", "Step", "step"]
