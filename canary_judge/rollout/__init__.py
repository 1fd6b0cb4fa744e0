"""When the canary gets more traffic, when it loses it, and the driver that carries this out."""

from canary_judge.rollout.policy import Phase, RolloutPlan, RolloutState, Stage, Step, step

__all__ = ["Phase", "RolloutPlan", "RolloutState", "Stage", "Step", "step"]
