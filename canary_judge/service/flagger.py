"""Flagger's webhooks: gate, check, rollback, event and end, and what each is answered.

Flagger takes 200 to 202 as yes and all else as no; with 5xx and 429 it tries again and loses the text, so that a no is
another 4xx, whose body becomes the text of an event. Silence means something else at each hook: a gate that does not
answer holds, a check that does not answer counts as a failure, a rollback that does not answer goes on. So what cannot
be known is "no" at a gate and at a rollback, and "yes" at a check.

References:
    fluxcd/flagger: pkg/controller/webhook.go, scheduler.go, events.go.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from canary_judge import routers
from canary_judge.config.reading import nearest
from canary_judge.errors import CanaryJudgeError, ConfigError, DataError
from canary_judge.series import duration_from
from canary_judge.service.answers import Answer, is_of_now, is_over
from canary_judge.service.given import bounded, fit, labels_of, refuse_what_cannot_be
from canary_judge.service.problems import Busy, StoreDown, UnknownRun
from canary_judge.service.runs import BUDGET, Runs
from canary_judge.service.shown import shown
from canary_judge.service.store import CANCELLED, ERRORED, Run, Target

__all__ = ["Flagger", "Reply"]

_LOG = logging.getLogger(__name__)
_YES, _HELD, _CARRY_ON, _BAD = 200, 412, 403, 400
_ANY, _NO_REGRESSION, _PASS = "", "no_regression", "pass"
# Phases in which the canary is analysed; in others nothing is opened, for the checksum may be of the revision before.
_ANALYSED = ("Progressing", "WaitingPromotion")
_OVER = ("Succeeded", "Failed")
_ADVANCE = re.compile(r"Advance (\S+) canary weight (\d+)")
# On success no event has the phase Succeeded: this one is sent while it is Finalising.
_LAST = re.compile(r"Promotion completed!|Canary failed!")
# A rollback was answered with yes, and nobody called for so long (and so many intervals): it is another deployment.
_ROLLED_BACK, _MANY = timedelta(hours=1), 10
_PHASES = (
    *("Initializing", "Initialized", "Waiting", "Progressing", "WaitingPromotion", "Promoting", "Finalising"),
    *("Succeeded", "Failed", "Terminating", "Terminated"),
)
_ROUTER_SECONDS = 2.0
_KEYS = ("config", "require", "horizon", "hook", "cluster", "eventMessage", "eventType", "timestamp")
# So often no deployment comes back to a revision in so many seconds: two of one name call in turns.
_TURNS, _IN_TURNS = 3, 600.0
# Hooks of one tick of Flagger's.
_SAME_CALL = 20.0
_SIDES = ("baseline", "canary")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a hook is answered: the status, and one line of reason."""

    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hook:
    """A call, as Flagger sends it."""

    name: str
    namespace: str
    phase: str
    checksum: str
    metadata: Mapping[str, str]

    @classmethod
    def of(cls, body: object) -> _Hook:
        """Read it; DataError names what is wrong."""
        if not isinstance(body, Mapping):
            raise DataError(f"the body is {shown(body)}; it must be Flagger's, with name, namespace and phase")
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
            raise DataError("metadata: must be a mapping of texts to texts")
        for key in metadata:
            if key not in _KEYS and not key.startswith(("canary.", "baseline.")) and (hint := nearest(key, _KEYS)):
                raise DataError(f"metadata.{key[:80]}: unknown key{hint}")
        texts = {}
        for key in ("name", "namespace", "phase", "checksum"):
            value = body.get(key, "")
            texts[key] = fit(value, key, 200) if value or key in ("name", "namespace") else ""
            if not isinstance(value, str):
                raise DataError(f"{key} is {shown(value)}; give a text")
        hook = cls(metadata=dict(metadata), **texts)
        if hook.phase not in _PHASES:
            raise DataError(f"phase is {shown(hook.phase)}; give one of Flagger's, as Progressing")
        if hook.phase in _ANALYSED and not hook.checksum:
            raise DataError("checksum is missing; without it a revision's evidence would be taken for another's")
        return hook

    @property
    def target(self) -> str:
        """Which deployment calls; of several clusters, where the hook says `cluster`."""
        return "/".join((*filter(None, [self.metadata.get("cluster")]), self.namespace, self.name))

    @property
    def config(self) -> str:
        """The config that judges it."""
        if not self.metadata.get("config"):
            raise ConfigError("metadata.config is missing; name the config in the hook: metadata: {config: checkout}")
        return self.metadata["config"]

    @property
    def horizon(self) -> timedelta | None:
        """The planned length."""
        given = self.metadata.get("horizon")
        return duration_from(given, "metadata.horizon") if given else None

    def labels(self, side: str) -> dict[str, str]:
        """Labels of a side: name, namespace, target, and `canary.X` or `baseline.X` of the metadata."""
        target = self.name if side == "canary" else f"{self.name}-primary"
        own = {key.removeprefix(f"{side}."): text for key, text in self.metadata.items() if key.startswith(f"{side}.")}
        return {"name": self.name, "namespace": self.namespace, "target": target, **own}


def _ended(hook: _Hook) -> _Hook:
    """The same; DataError where the rollout goes on, so that each call would take its evidence away."""
    if hook.phase in _ANALYSED:
        raise DataError(f"phase is {hook.phase}, so it has not ended: call this from a hook of `type: post-rollout`")
    return hook


class Flagger:
    """The hooks of any number of deployments.

    Args:
        runs: Where they are followed.
        budget: Seconds that a hook waits for a look; Flagger gives up after 10.
    """

    def __init__(self, runs: Runs, budget: float = BUDGET) -> None:
        self._runs, self._budget = runs, budget
        self._routers = ThreadPoolExecutor(4, thread_name_prefix="router")
        self._turns: dict[str, list[tuple[float, str]]] = {}

    def close(self) -> None:
        """Let go of its threads."""
        self._routers.shutdown(wait=False, cancel_futures=True)

    # --- hooks ------------------------------------------------------------------------------------------------------

    def gate(self, body: object, owner: str = "") -> Reply:
        """May the weight rise, or the canary be promoted (`require: pass`)?"""
        return self._answered(lambda: self._gate(_Hook.of(body), owner), blind=_HELD)

    def check(self, body: object, owner: str = "") -> Reply:
        """Is the canary fine? No counts as one of Flagger's failed checks."""
        return self._answered(lambda: self._check(_Hook.of(body), owner), blind=_YES)

    def rollback(self, body: object, owner: str = "") -> Reply:
        """Must it be rolled back? Yes only where a regression is kept."""
        return self._answered(lambda: self._rollback(_Hook.of(body), owner), blind=_CARRY_ON)

    def event(self, body: object) -> Reply:
        """What Flagger has done: a weight, or an end."""
        return self._answered(lambda: self._event(_Hook.of(body)), blind=202)

    def end(self, body: object) -> Reply:
        """The rollout is over, whatever came of it: what calls next begins without evidence."""
        return self._answered(lambda: self._end(_ended(_Hook.of(body))), blind=_YES)

    @staticmethod
    def _answered(work: Callable[[], Reply], *, blind: int) -> Reply:
        """The answer of a hook; what cannot be known is `blind`, and never an error of the server."""
        try:
            reply = work()
        except (StoreDown, Busy, UnknownRun) as error:
            reply = Reply(blind, str(error))
        except CanaryJudgeError as error:
            reply = Reply(_BAD, str(error))
        except Exception as error:  # noqa: BLE001  (Flagger would try again, and lose the text)
            _LOG.exception("a bug in a hook")
            reply = Reply(blind, f"internal error: {type(error).__name__}")
        return Reply(reply.status, " ".join(reply.text.split()))

    def _gate(self, hook: _Hook, owner: str) -> Reply:
        require = hook.metadata.get("require", _ANY)
        if require not in (_ANY, _NO_REGRESSION, _PASS):
            raise DataError(f"metadata.require is {shown(require)}; give pass, no_regression, or leave it out")
        if require == _PASS and hook.metadata.get("hook") == "confirm-traffic-increase":
            raise DataError(_NEVER_BEGINS)
        answer, target = self._look(hook, owner)
        if answer is None or (hook.phase == "Progressing" and not _is_started(answer, target)):
            if require == _PASS:
                return Reply(_HELD, f"the canary has no traffic yet, so there is nothing to show; {_NEVER_BEGINS}")
            return self._first_step(answer, target)
        reason = _reason(answer)
        if answer.verdict == "pass":
            return Reply(_YES, reason)
        if answer.verdict != "marginal" or answer.blind or require != _NO_REGRESSION:
            return Reply(_HELD, reason)
        if not is_of_now(answer.run, now=self._runs.now().timestamp()):
            return Reply(_HELD, f"no data of both versions came lately; {reason}")
        return Reply(_YES, reason)

    def _first_step(self, answer: Answer | None, target: Target) -> Reply:
        """Granted without evidence, for at weight 0 none can come.

        Once a step was granted, another is only where it was not taken: the weight is known to be 0, or an interval has
        passed since without a request of the canary.
        """
        if answer is None:
            return Reply(_YES, "the canary is not analysed yet: nothing speaks against a first step")
        run, now = answer.run, self._runs.now().timestamp()
        if run.granted is not None and now - run.granted >= min(_SAME_CALL, run.interval / 2):
            at_zero = target.weight == 0 or (target.heard and target.weight is None)
            watermark = 0.0 if run.summary is None else run.summary["watermark"]
            if not at_zero and watermark < run.granted + run.interval:
                text = "a first step was granted, and what came of it is not known yet; an event hook tells the weight"
                return Reply(_HELD, text)
        if run.granted is None or now - run.granted >= min(_SAME_CALL, run.interval / 2):
            self._runs.store.note(run.id, granted=now)
        return Reply(_YES, "the canary has no traffic yet: nothing speaks against a first step")

    def _check(self, hook: _Hook, owner: str) -> Reply:
        answer, _ = self._look(hook, owner)
        if answer is None:
            return Reply(_YES, "the canary has no traffic yet")
        return Reply(_HELD if _is_failed(answer) else _YES, _reason(answer))

    def _rollback(self, hook: _Hook, owner: str) -> Reply:
        answer, target = self._look(hook, owner)
        if answer is None or not _is_failed(answer):
            return Reply(_CARRY_ON, "no regression is shown" if answer is None else _reason(answer))
        with suppress(StoreDown):  # the regression is kept, and that is what counts
            self._runs.store.put_target(replace(target, rolled_back=self._runs.now().timestamp()), "rolled_back")
        return Reply(_YES, _reason(answer))

    def _event(self, hook: _Hook) -> Reply:
        message = hook.metadata.get("eventMessage", "")
        if hook.phase in _OVER or _LAST.match(message):
            return self._end(hook)
        target = self._runs.store.target(hook.target)
        if not target.open or target.checksum != hook.checksum:
            return Reply(202, "nothing is followed")
        found = _ADVANCE.search(message)
        names = ["heard"]
        if found and found[1] == f"{hook.name}.{hook.namespace}":
            target, names = replace(target, weight=min(float(found[2]), 100.0)), ["heard", "weight"]
        self._runs.store.put_target(replace(target, heard=True), *names)
        return Reply(202, "noted")

    def _end(self, hook: _Hook) -> Reply:
        target = self._runs.store.target(hook.target)
        if not target.open or target.checksum != hook.checksum:
            return Reply(_YES, "nothing is followed")
        self._runs.store.put_target(replace(target, open=False, weight=None), "open", "weight")
        self._cancel(target, f"ended by Flagger: {hook.phase or 'post-rollout'}")
        return Reply(_YES, "ended")

    def _cancel(self, target: Target, why: str) -> None:
        """End what is still running of an attempt."""
        for run in self._runs.store.running_below(_prefix(target)):
            self._runs.cancel(run, why)

    # --- the run of a call ------------------------------------------------------------------------------------------

    def _look(self, hook: _Hook, owner: str) -> tuple[Answer | None, Target]:
        """How the run of this call stands; no answer where none is opened."""
        target = self._runs.store.target(hook.target)
        if hook.phase not in _ANALYSED:
            self._runs.configs.get(hook.config)  # a misspelt name is told at the first call
            return None, target
        target = self._attempt(hook, target)
        run = self._run(hook, target, owner)
        weight = target.weight if target.weight is not None else self._routed(hook, run)
        target = replace(target, weight=weight)
        return self._runs.look_at(run, weight=weight, budget=self._budget), target

    def _attempt(self, hook: _Hook, target: Target) -> Target:
        """The deployment, with a new attempt where this call begins one."""
        store, now = self._runs.store, self._runs.now().timestamp()
        if target.open and target.checksum == hook.checksum and not self._is_another(hook, target, now):
            with suppress(StoreDown):  # it can be read, and may not be written
                store.put_target(replace(target, called=now), "called")
            return target
        self._sides(hook)  # what cannot be followed opens nothing
        if target.open:
            self._refuse_turns(hook, target, now)
            self._cancel(target, "another revision is analysed")
        number, heard = target.attempt + 1, target.heard
        target = Target(key=hook.target, checksum=hook.checksum, attempt=number, open=True, heard=heard, called=now)
        store.put_target(target)
        return target

    def _refuse_turns(self, hook: _Hook, target: Target, now: float) -> None:
        """Two clusters would end each other's runs at every call, and each new one would be granted a first step."""
        turns = [(at, one) for at, one in self._turns.get(target.key, ()) if now - at < _IN_TURNS]
        turns.append((now, target.checksum))  # which is left now
        left = [one for _, one in turns]
        again = sum(one in left[:place] for place, one in enumerate(left)) + (hook.checksum in left)
        if again >= _TURNS:
            raise DataError(
                f"two revisions of {target.key} call in turns, with checksums {shown(target.checksum)} and "
                f"{shown(hook.checksum)}: is it there in two clusters? Say `cluster: NAME` in the metadata of each hook"
            )
        self._turns[target.key] = turns

    def _is_another(self, hook: _Hook, target: Target, now: float) -> bool:
        """Whether the one before was rolled back long ago, without any word of its end."""
        if target.rolled_back is None:
            return False
        run = self._runs.store.newest(_key(hook, target))
        interval = 0.0 if run is None else run.interval
        silent = now - max(target.called, target.rolled_back)
        return silent > max(_ROLLED_BACK.total_seconds(), _MANY * interval)

    def _sides(self, hook: _Hook) -> tuple[dict[str, str], dict[str, str]]:
        """Labels of both sides; an error where they, or the config, cannot be judged."""
        baseline, canary = (labels_of(hook.labels(side), side) for side in _SIDES)
        config = self._runs.configs.get(hook.config).with_sides(baseline=baseline, canary=canary)
        refuse_what_cannot_be(config, hook.horizon, self._runs.options(config))
        return baseline, canary

    def _run(self, hook: _Hook, target: Target, owner: str) -> Run:
        """The run of an attempt, which keeps the config that it began with."""
        key = _key(hook, target)
        found = self._runs.store.newest(key)
        over = found is not None and found.state == ERRORED
        if found is not None and not (over and is_over(found, now=self._runs.now().timestamp(), anew=False)):
            _refuse_other_hooks(hook, found)
            return found
        baseline, canary = self._sides(hook)
        return self._runs.open(
            hook.config, baseline=baseline, canary=canary, horizon=hook.horizon, key=key, restart=over, owner=owner
        )

    def _routed(self, hook: _Hook, run: Run) -> float | None:
        """The weight of the config's router, where it has one that answers soon."""
        try:
            options = self._runs.configs.get(hook.config).router
        except ConfigError:  # of the present file; the run keeps its own
            return None
        if not options or run.ended:
            return None

        def read() -> float | None:
            return routers.from_config(options).get_weight().percent

        try:
            return self._routers.submit(read).result(_ROUTER_SECONDS)
        except (CanaryJudgeError, NotInTime) as error:
            _LOG.warning("the router of %s told no weight: %s", hook.target, error)
            return None


_NEVER_BEGINS = (
    "`require: pass` belongs on the confirm-promotion hook: on confirm-traffic-increase it would hold Flagger at 0 % "
    "for ever"
)


def _prefix(target: Target) -> str:
    return f"flagger/{target.key}/{target.checksum[:80]}/{target.attempt}/"


def _key(hook: _Hook, target: Target) -> str:
    return bounded(f"{_prefix(target)}{hook.config}")


def _refuse_other_hooks(hook: _Hook, run: Run) -> None:
    """All hooks of a deployment ask of one run, and must say the same of it."""
    for side, known in zip(_SIDES, (run.baseline, run.canary), strict=True):
        for name, value in hook.labels(side).items():
            if known.get(name) != value:
                raise DataError(
                    f"metadata {side}.{name} is {shown(value)}, but the run of this rollout, which another hook began, "
                    f"has {shown(known.get(name))}; give all hooks the same metadata"
                )
    if hook.horizon is not None and hook.horizon != run.length:
        raise DataError("metadata.horizon is another one than that of the hook that began the run; give all the same")


def _is_failed(answer: Answer) -> bool:
    """Whether a regression is kept, whatever can be seen at present."""
    return answer.run.verdict == "fail" and answer.run.state != CANCELLED


def _is_started(answer: Answer, target: Target) -> bool:
    """Whether there is something to judge by, or nobody can tell; a service without any traffic has not started."""
    unknown = answer.blind and not answer.silent
    return _is_failed(answer) or unknown or answer.run.seen or bool(target.weight)


def _reason(answer: Answer) -> str:
    summary = answer.summary()
    return f"{summary['verdict']}: {summary['reason']}"
