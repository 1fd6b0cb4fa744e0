"""When the canary gets more traffic, when it loses it, and the driver that carries this out.

Every name here is imported when it is first used: a command that only leaves a word for a driver needs no statistics.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_judge.rollout.plan import RolloutPlan, Stage
    from canary_judge.rollout.policy import Order, Step, step
    from canary_judge.rollout.state import Phase, RolloutState

__all__ = ["Order", "Phase", "RolloutPlan", "RolloutState", "Stage", "Step", "step"]

_HOME = {
    **dict.fromkeys(("RolloutPlan", "Stage"), "plan"),
    **dict.fromkeys(("Order", "Step", "step"), "policy"),
    **dict.fromkeys(("Phase", "RolloutState"), "state"),
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge.rollout' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.rollout.{_HOME[name]}"), name)
