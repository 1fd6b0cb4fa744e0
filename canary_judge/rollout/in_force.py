"""Which weight is in force, and not only written: before a rollout, while a weight is to arrive, and after its end."""

from __future__ import annotations

from collections.abc import Iterable

from canary_judge.errors import (
    AmbiguousRoute,
    CanaryJudgeError,
    DestinationNotFound,
    NotEnoughWeight,
    NotWeighted,
    RouterError,
)
from canary_judge.rollout.policy import NOT_IN_FORCE
from canary_judge.rollout.state import Phase, RolloutState
from canary_judge.routing import (
    Ahead,
    RollbackReport,
    TrafficRouter,
    WeightReading,
    lowered,
    same_weight,
    tell_taken_up,
)

__all__ = ["InForce"]

# Seconds for which a look waits for a weight to be in force.
_SOON = 2.0


class InForce:
    """What the router of a rollout has in force."""

    def __init__(self, router: TrafficRouter) -> None:
        self._router = router
        self._unsure = False  # whether whoever was to set a weight was stopped in between

    def take_up(self, state: RolloutState) -> None:
        """Go on with a rollout that another driver began."""
        tell_taken_up(self._router)
        self._unsure = state.intended is not None

    def reading(self) -> WeightReading:
        """The weight that is written.

        Raises:
            RouterError: It cannot be told.
        """
        try:
            return self._router.get_weight().checked()
        except CanaryJudgeError:
            raise
        except Exception as error:
            raise RouterError(f"{type(self._router).__name__}: {type(error).__name__}: {error}") from error

    def read(self) -> tuple[WeightReading | None, str]:
        """The same, or why it cannot be told: the weight is not raised then, and can still be lowered."""
        try:
            return self.reading(), ""
        except Exception as error:  # noqa: BLE001
            return None, f"the router cannot be read: {type(error).__name__}: {error}"

    def lower(self, weight: float) -> tuple[RollbackReport | None, WeightReading | None, str]:
        """Lower to a weight, or less.

        Returns:
            What the router did, what is in force where that is it, and else what went wrong.
        """
        report = None
        try:
            report = lowered(self._router, weight)
            reading = self.reading()
            written = (
                reading.percent is not None
                and (reading.percent < weight or same_weight(reading.percent, weight))
                and not reading.ahead
            )
            if reading.percent is not None and written and self._router.verify(reading.percent):
                return report, reading, ""
            trouble = NOT_IN_FORCE.format(weight) if written else f"{reading} is still in force"
        except Exception as error:  # noqa: BLE001  (whatever it is, the canary must lose its traffic)
            trouble = f"{type(error).__name__}: {error}"
        return report, None, trouble

    def comes(self, reading: WeightReading | None, intended: float | None, *, ahead: Ahead | None) -> tuple[bool, str]:
        """Whether an intended weight that is written is in force; else it is written again, as after a lost reload.

        Returns:
            And what went wrong, or nothing.
        """
        if intended is None or reading is None or not same_weight(reading.percent, intended):
            return True, ""
        try:
            if not self._unsure and self._router.verify(intended, timeout=_SOON):
                return True, ""
            self._unsure = False
            if ahead is None:
                self._router.set_weight(intended, expect=intended)
            return self._router.verify(intended, timeout=_SOON), ""
        except Exception as error:  # noqa: BLE001  (whatever a router raises, the next look tries again)
            return False, f"{intended:g} % cannot be seen in force: {type(error).__name__}: {error}"

    def refuse_what_has_begun(self) -> None:
        """A rollout starts from nothing."""
        reading = self.reading()
        if reading.ahead:
            raise RouterError(
                "a match or a mirror of another rollout stands before the weights; take it away with "
                "`canary-judge router rollback ...`, or give the journal of that rollout"
            )
        if same_weight(reading.percent, 100.0):
            raise RouterError(
                "the canary already gets 100 %: are stable and canary swapped in `router`? If they are not, an earlier "
                "rollout ended there: its canary is the stable version now"
            )
        if not same_weight(reading.percent, 0.0):
            raise RouterError(
                f"the canary already gets {reading}; a rollout starts from 0: set the weight to 0 "
                "(`canary-judge router rollback ...`), or give the journal of the rollout that set it"
            )

    def refuse_what_cannot_be(self, weights: Iterable[float]) -> None:
        """A weight that could never be written is better told at 0 % than at 50 %."""
        preview = getattr(self._router, "preview", None)
        if preview is None:
            return
        for weight in weights:
            try:
                preview(weight)
            except (NotEnoughWeight, NotWeighted, DestinationNotFound, AmbiguousRoute) as error:
                raise type(error)(f"{weight:g} % can never be set: {error}") from error

    def refuse_what_is_no_more(self, state: RolloutState) -> None:
        """Who asks again whether it was promoted may delete the stable version next."""
        if state.phase is not Phase.PROMOTED:
            return
        reading = self.reading()
        if not (same_weight(reading.percent, state.weight) and self._router.verify(state.weight, timeout=_SOON)):
            raise RouterError(
                f"the journal has ended with {state.weight:g} % (promoted), and that is not in force now, {reading} "
                "is written: did somebody take it back? Give another journal to roll out again"
            )
