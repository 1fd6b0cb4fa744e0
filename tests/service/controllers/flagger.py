"""Flagger's scheduler loop for one Canary: which hook it asks when, and what it makes of the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from tests.service.controllers.api import Answer, Api

Phase = Literal[
    "Initializing",
    "Initialized",
    "Waiting",
    "Progressing",
    "WaitingPromotion",
    "Promoting",
    "Finalising",
    "Succeeded",
    "Failed",
]
HOOKS = {
    "",
    "rollout",
    "confirm-rollout",
    "pre-rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "rollback",
    "post-rollout",
    "event",
}
UNREACHABLE = 0


class Call(NamedTuple):
    tick: int
    type: str
    path: str
    body: dict[str, Any]
    answer: Answer

    @property
    def yes(self) -> bool:
        """Flagger's whole test: anything up to 202. So 204 and 3xx are a no, as is silence."""
        return 200 <= self.answer.status <= 202

    @property
    def error(self) -> str:
        """What becomes the event text: the body, unless Flagger's retrying client has swallowed it."""
        status = self.answer.status
        if status == 429 or (status >= 500 and status != 501):
            return "giving up after 1 attempt(s)"
        return self.answer.text


@dataclass(frozen=True)
class Status:
    """`.status` of the Canary. A tick works on the copy that it read at its start, as Flagger does."""

    phase: Phase
    applied: str
    promoted: str
    failed_checks: int = 0
    iterations: int = 0


@dataclass(frozen=True)
class Hook:
    type: str
    path: str
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def _hook(given: Mapping[str, Any]) -> Hook:
    if given["type"] not in HOOKS:
        raise ValueError(f"{given['type']!r} is no hook of Flagger's; take one of {sorted(HOOKS)}")
    metadata = given.get("metadata") or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError(f"metadata is {metadata}; Flagger's field is map[string]string")
    return Hook(given["type"], given["path"], given.get("name", given["type"]), dict(metadata))


class Flagger:
    """One Canary: by weights, or blue-green when `iterations` is above 0.

    `tick()` is one analysis interval. The pods are always ready, there are no built-in metrics, no mirroring, no A/B.

    Args:
        api: the service.
        name: of the Canary and its target.
        namespace: of both.
        step_weights: `analysis.stepWeights`, rising; the last one is the maximum.
        threshold: failed checks that roll back; they add up over the whole run, only a new revision resets them.
        webhooks: mappings with type, path, and optionally name and metadata.
        set_weight: the router's write; what it raises is shown as an event, and the tick ends there.
        checksum: the revision that the primary runs at first.
        iterations: `analysis.iterations`.
        clock: seconds since the epoch, for the timestamps of events; by default a minute a tick.
        confirm_rollout_checksum: "previous", or "new" as in releases that sync the status before they ask.
        rollback_hooks_while_waiting: see `_rollback_hooks`; the scheduler's own order never gets there.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        namespace: str,
        *,
        step_weights: Sequence[int] = (),
        threshold: int = 1,
        webhooks: Sequence[Mapping[str, Any]] = (),
        set_weight: Callable[[int], None] = lambda _: None,
        checksum: str = "primary",
        iterations: int = 0,
        clock: Callable[[], float] | None = None,
        confirm_rollout_checksum: Literal["previous", "new"] = "previous",
        rollback_hooks_while_waiting: bool = True,
    ) -> None:
        if not step_weights and not iterations:
            raise ValueError("step_weights is empty and iterations is 0; such a Canary is never advanced")
        self.api, self.name, self.namespace = api, name, namespace
        self.step_weights = tuple(step_weights)
        self.threshold, self.iterations = threshold, iterations
        self.hooks = [_hook(given) for given in webhooks]
        self.set_weight = set_weight
        self.clock = clock or (lambda: 1_700_000_000.0 + 60 * self.ticks)
        self.confirm_rollout_checksum = confirm_rollout_checksum
        self.rollback_hooks_while_waiting = rollback_hooks_while_waiting
        self.target = checksum
        self.weight = 0
        self.ticks = 0
        self.history: list[tuple[int, str]] = []
        self.calls: list[Call] = []
        self.status = Status(phase="Initializing", applied=checksum, promoted=checksum)

    @property
    def phase(self) -> Phase:
        return self.status.phase

    @property
    def failed_checks(self) -> int:
        return self.status.failed_checks

    @property
    def odd(self) -> list[Call]:
        """Answers that Flagger has no use for: 204, redirects, and those whose body its retrying client swallows."""
        return [
            call
            for call in self.calls
            if call.answer.status == 204 or 300 <= call.answer.status < 400 or call.error != call.answer.text
        ]

    def asked(self, kind: str, *, tick: int | None = None) -> list[Call]:
        return [call for call in self.calls if call.type == kind and tick in {None, call.tick}]

    def deploy(self, checksum: str) -> None:
        """Someone changes the target's pod template."""
        self.target = checksum

    def run(self, ticks: int) -> Phase:
        """Tick until the run is over, `ticks` times at most."""
        for _ in range(ticks):
            self.tick()
            if self.phase in {"Succeeded", "Failed"}:
                break
        return self.phase

    def tick(self) -> None:
        self.ticks += 1
        if self.phase == "Initializing":
            self._write(replace(self.status, phase="Initialized"))
            self._event(self.status, "Normal", f"Initialization done! {self._full}")
        seen = self.status
        if seen.phase == "Failed":  # the applied spec is synced even then, but this tick goes on with what it read
            self._write(replace(seen, applied=self.target))
        if seen.phase in {"Initialized", "Waiting", "Succeeded", "Failed"}:
            self._start(seen)
            return
        if seen.phase in {"Progressing", "WaitingPromotion"} and self._changed(seen):
            self._restart(seen)
            return
        if seen.phase in {"Progressing", "WaitingPromotion"} and self._rollback_hooks(seen):
            return
        if seen.phase == "Promoting":
            self._event(seen, "Normal", "Routing all traffic to primary")
            if self._route(seen, 0):
                self._set_phase(seen, "Finalising")
        elif seen.phase == "Finalising":
            self._finish(seen)
        elif seen.failed_checks >= max(self.threshold, 1):
            self._roll_back(seen)
        elif self._checks_pass(seen):
            self._advance(seen)
        else:
            self._write(replace(self.status, failed_checks=seen.failed_checks + 1))

    # ---- the stages of a tick ----

    def _changed(self, seen: Status) -> bool:
        """Back to what was promoted last is a manual rollback, and no new revision."""
        return self.target not in {seen.promoted, seen.applied}

    def _start(self, seen: Status) -> None:
        """The gate before the first pod of the revision; the rest of the loop begins one tick later."""
        if seen.phase != "Waiting" and not self._changed(seen):
            return
        if seen.phase == "Waiting" and self.rollback_hooks_while_waiting and self._rollback_hooks(seen):
            return
        if self.confirm_rollout_checksum == "new":
            self._write(Status(phase="Progressing", applied=self.target, promoted=seen.promoted))
        asked = self.status  # read anew: after a Failed run the status holds the new checksum already
        for hook in self._of("confirm-rollout"):
            if not self._call(hook, asked, asked.phase).yes:
                if asked.phase != "Waiting":
                    self._set_phase(asked, "Waiting")
                    self._event(asked, "Warning", f"Halt {self._full} advancement waiting for approval {hook.name}")
                return
            self._event(asked, "Normal", f"Confirm-rollout check {hook.name} passed")
        scaled = replace(asked, phase="Progressing")
        self._event(scaled, "Normal", f"New revision detected! Scaling up {self._full}")
        self._write(Status(phase="Progressing", applied=self.target, promoted=seen.promoted))

    def _restart(self, seen: Status) -> None:
        if self._route(seen, 0):
            self._write(Status(phase="Progressing", applied=self.target, promoted=seen.promoted))
            self._event(self.status, "Normal", f"New revision detected! Restarting analysis for {self._full}")

    def _rollback_hooks(self, seen: Status) -> bool:
        """Whether a hook ordered a rollback: yes means back, everything else (silence too) means carry on.

        The list in Flagger's code names Waiting as well, but its check of the status returns before that in this phase.
        """
        for hook in self._of("rollback"):
            if self._call(hook, seen, seen.phase).yes:
                self._event(seen, "Warning", f"Rollback check {hook.name} passed")
                self._event(seen, "Warning", f"Rolling back {self._full} manual webhook invoked")
                self._roll_back(seen)
                return True
            self._event(seen, "Normal", f"Rollback hook {hook.name} not signaling a rollback")
        return False

    def _checks_pass(self, seen: Status) -> bool:
        """Pre-rollout hooks while the canary has no traffic, rollout hooks from then on."""
        if self.weight == 0 and seen.iterations == 0:
            self._event(seen, "Normal", f"Starting canary analysis for {self._full}")
            for hook in self._of("pre-rollout"):
                call = self._call(hook, seen, "Progressing")
                if not call.yes:
                    text = f"Halt {self._full} advancement pre-rollout check {hook.name} failed {call.error}"
                    self._event(seen, "Warning", text)
                    return False
                self._event(seen, "Normal", f"Pre-rollout check {hook.name} passed")
            return True
        for hook in self._of("", "rollout"):
            call = self._call(hook, seen, "Progressing")
            if not call.yes:
                text = f"Halt {self._full} advancement external check {hook.name} failed {call.error}"
                self._event(seen, "Warning", text)
                return False
        return True

    def _advance(self, seen: Status) -> None:
        if self.iterations:
            self._blue_green(seen)
            return
        if seen.phase != "WaitingPromotion":
            for hook in self._of("confirm-traffic-increase"):
                if not self._call(hook, seen, "Progressing").yes:
                    text = f"Halt {self._full} advancement waiting for traffic increase approval {hook.name}"
                    self._event(seen, "Warning", text)
                    return
                self._event(seen, "Normal", f"Confirm-traffic-increase check {hook.name} passed")
        if self.weight < min(100, self.step_weights[-1]):
            weight = min(100, self._next_weight())
            if self._route(seen, weight):
                self._event(seen, "Normal", f"Advance {self._full} canary weight {weight}")
        elif self._promotion_confirmed(seen):
            self._promote(seen)

    def _next_weight(self) -> int:
        """The step after the present one; a weight that is no step (drift) goes on to 100 at once."""
        if self.weight == 0:
            return self.step_weights[0]
        steps = dict(zip(self.step_weights, self.step_weights[1:], strict=False))
        return steps.get(self.weight, 100)

    def _blue_green(self, seen: Status) -> None:
        """Iterations at weight 0, all traffic at once, promotion: it never asks confirm-traffic-increase."""
        if self.iterations > seen.iterations:
            self._write(replace(self.status, iterations=seen.iterations + 1))
            text = f"Advance {self._full} canary iteration {seen.iterations + 1}/{self.iterations}"
            self._event(seen, "Normal", text)
        elif not self._promotion_confirmed(seen):
            pass
        elif self.iterations == seen.iterations:
            self._event(seen, "Normal", "Routing all traffic to canary")
            if self._route(seen, 100):
                self._write(replace(self.status, iterations=seen.iterations + 1))
        else:
            self._promote(seen)

    def _promotion_confirmed(self, seen: Status) -> bool:
        for hook in self._of("confirm-promotion"):
            if not self._call(hook, seen, "Progressing").yes:
                if seen.phase == "WaitingPromotion":
                    self._write(replace(self.status, iterations=self.iterations - 1))
                else:
                    self._set_phase(seen, "WaitingPromotion")
                    text = f"Halt {self._full} advancement waiting for promotion approval {hook.name}"
                    self._event(seen, "Warning", text)
                return False
            self._event(seen, "Normal", f"Confirm-promotion check {hook.name} passed")
        return True

    def _promote(self, seen: Status) -> None:
        primary = f"{self.name}-primary.{self.namespace}"
        self._event(seen, "Normal", f"Copying {self._full} template spec to {primary}")
        self._set_phase(seen, "Promoting")

    def _finish(self, seen: Status) -> None:
        """The last event still says Finalising, for it comes from the copy that the tick has read."""
        self._set_phase(seen, "Succeeded")
        self._post_rollout(seen, "Succeeded")
        self._event(seen, "Normal", f"Promotion completed! Scaling down {self._full}")

    def _roll_back(self, seen: Status) -> None:
        if seen.failed_checks >= max(self.threshold, 1):
            text = f"Rolling back {self._full} failed checks threshold reached {seen.failed_checks}"
            self._event(seen, "Warning", text)
        if self._route(seen, 0):
            failed = replace(seen, phase="Failed")
            self._event(failed, "Warning", f"Canary failed! Scaling down {self._full}")
            self._write(Status(phase="Failed", applied=self.target, promoted=seen.promoted))
            self._post_rollout(seen, "Failed")

    def _post_rollout(self, seen: Status, phase: Phase) -> None:
        for hook in self._of("post-rollout"):
            call = self._call(hook, seen, phase)
            if not call.yes:
                self._event(seen, "Warning", f"Post-rollout hook {hook.name} failed {call.error}")
                return
            self._event(seen, "Normal", f"Post-rollout check {hook.name} passed")

    # ---- the status, the router, the hooks ----

    @property
    def _full(self) -> str:
        return f"{self.name}.{self.namespace}"

    def _write(self, status: Status) -> None:
        if status.phase != self.status.phase:
            self.history.append((self.ticks, f"phase {status.phase}"))
        self.status = status

    def _set_phase(self, seen: Status, phase: Phase) -> None:
        iterations = {
            "Progressing": seen.iterations,
            "Waiting": seen.iterations,
            "WaitingPromotion": self.iterations - 1,
        }
        promoted = seen.applied if phase == "Succeeded" else seen.promoted
        self._write(replace(self.status, phase=phase, iterations=iterations.get(phase, 0), promoted=promoted))

    def _route(self, seen: Status, weight: int) -> bool:
        """Write the weight; a failed write is an event, and the next tick comes here again."""
        try:
            self.set_weight(weight)
        except Exception as error:  # noqa: BLE001 - whatever a router raises
            self._event(seen, "Warning", str(error))
            return False
        if weight != self.weight:
            self.history.append((self.ticks, f"weight {weight}"))
        self.weight = weight
        return True

    def _of(self, *kinds: str) -> list[Hook]:
        return [hook for hook in self.hooks if hook.type in kinds]

    def _call(self, hook: Hook, seen: Status, phase: Phase, extra: Mapping[str, str] | None = None) -> Call:
        body = {"name": self.name, "namespace": self.namespace, "phase": phase, "checksum": seen.applied}
        if metadata := {**hook.metadata, **(extra or {})}:  # `omitempty`: no metadata, no key
            body["metadata"] = metadata
        try:
            answer = self.api("POST", hook.path, json=body, headers={"Content-Type": "application/json"})
        except OSError as error:
            answer = Answer(UNREACHABLE, str(error))
        self.calls.append(Call(self.ticks, hook.type or "rollout", hook.path, body, answer))
        return self.calls[-1]

    def _event(self, seen: Status, kind: Literal["Normal", "Warning"], message: str) -> None:
        """Send to every event hook, one after another, and wait; what they answer changes nothing."""
        self.history.append((self.ticks, message))
        extra = {"eventMessage": message, "eventType": kind, "timestamp": str(int(self.clock() * 1000))}
        for hook in self._of("event"):
            self._call(hook, seen, seen.phase, extra)
