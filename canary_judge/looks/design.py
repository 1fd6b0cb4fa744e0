"""How the looks share the error rates: with each other, with the planned end, and with the stages of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from canary_judge.special import special

__all__ = ["Design"]

# With a horizon, this part of each error rate is spent on all looks, the rest on the planned end.
_EARLY = 0.2
# The error rate and the power at which the cost of a design is told.
_USUAL_ALPHA, _USUAL_POWER = 0.05, 0.8
# An e-process alone needs so much more data than one planned look (spec/statistics.md, 4.6).
_COST_OF_ALL_LOOKS = 1.75
# Of the error over planned stages; the rest is for stages that were not planned.
_PLANNED = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How the looks share the error.

    Attributes:
        early: Part of each error rate for all looks together.
        ended: The planned end is reached.
        horizon: Intervals to the planned end; None without one.
        acts: Judged intervals at which the weight changed, where harm is likely to begin.
        stages: How many weights are planned; None: not known.
    """

    early: float
    ended: bool
    horizon: int | None
    acts: tuple[int, ...] = ()
    stages: int | None = None

    @classmethod
    def of(cls, horizon: int | None, consumed: int, acts: tuple[int, ...] = (), stages: int | None = None) -> Design:
        """The design of a run with this horizon, so many intervals into it."""
        return cls(
            early=1.0 if horizon is None else _EARLY,
            ended=horizon is not None and consumed >= horizon,
            horizon=horizon,
            acts=acts,
            stages=stages,
        )

    @property
    def of_stage(self) -> float:
        """The part of `false_alarm_rate` of users counted since the weight last changed.

        Users of several stages are the same people, so their evidence is not multiplied: the stages share the error.
        """
        stage = len(self.acts) + 1
        if self.stages is None:
            return 1 / (stage * (stage + 1))
        later = stage - self.stages
        return _PLANNED / self.stages if later <= 0 else (1 - _PLANNED) / (later * (later + 1))

    @property
    def cost(self) -> float:
        """How much more data this design needs than one planned look of the whole error rate."""
        if self.horizon is None:
            return _COST_OF_ALL_LOOKS
        power = special.ndtri(_USUAL_POWER)
        usual, late = special.ndtri(1 - _USUAL_ALPHA), special.ndtri(1 - _USUAL_ALPHA * (1 - _EARLY))
        return float(((late + power) / (usual + power)) ** 2)

    def spent(self, p_any: float, p_fixed: float | None) -> float:
        """One p-value of evidence that holds at any look and of the planned end."""
        p = p_any / self.early
        if self.ended and p_fixed is not None:
            p = min(p, p_fixed / (1 - self.early))
        return min(p, 1.0)
