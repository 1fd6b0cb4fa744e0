"""The loop of a rollout: look, judge, step, route, write down. With the command line the only reader of clocks.

`rollout.step` decides; this file carries it out. Every change of weight is in the journal before and after it is
made, a weight counts as set when it is read back, and a rollback is tried until it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, RouterError
from canary_judge.results import Judgement, TrafficSplit
from canary_judge.rollout.after import told
from canary_judge.rollout.asking import Revision, check_plan, patient, refuse_hasty, why_not_ready
from canary_judge.rollout.clock import Clock, SystemClock
from canary_judge.rollout.events import Event, EventKind, RolloutResult
from canary_judge.rollout.in_force import InForce
from canary_judge.rollout.inbox import Inbox
from canary_judge.rollout.journal import Journal, judged
from canary_judge.rollout.looking import Looks, reached, said
from canary_judge.rollout.plan import RolloutPlan
from canary_judge.rollout.policy import NOT_IN_FORCE, Order, Step, read_back, step, take_back
from canary_judge.rollout.resuming import identity, take_up
from canary_judge.rollout.state import Phase, RolloutState, abort, begin, obey, rolled_back, state_to_json
from canary_judge.routing import (
    Ahead,
    RollbackReport,
    RouterWithAhead,
    TrafficRouter,
    leftovers,
    same_weight,
)
from canary_judge.series import MetricSource

__all__ = ["Controller"]

_LONGEST_BACKOFF = 30.0
# Between attempts at a weight that was refused again and again, each pause twice as long so often.
_LONGEST_PAUSE, _MOST_DOUBLED = timedelta(minutes=10), 10
# What a rollback leaves shows only after the interval of the change, the one after it, and late scrapes.
_AFTERCARE_LOOKS = 6


class Controller:
    """Drive a canary through the stages of a plan, and back to 0 at once when a regression is shown.

    Iterate `events()`, or call `run()`. One controller drives one rollout, once.

    Args:
        config: What to compare.
        source: As for `judge`.
        router: Sets the weights.
        plan: By default 5, 25, 50, 75, 100 %.
        journal: Path of the journal; with it a killed driver goes on where it was. Beside it are kept the evidence
            (`.evidence`) and commands to a running driver (`.commands`).
        every: Time between looks; by default the config's interval.
        callbacks: Called with every event; one that raises is reported as an event, and changes nothing.
        clock: The machine's by default.

    Raises:
        ConfigError: A `${label}` of a query is undefined.
        DataError: The journal is damaged, in use, or belongs to another rollout.

    Examples:
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(error_rate=0.005, canary_error_rate=0.05, seed=1)
        >>> plan = RolloutPlan(stages=[5, 25, 100], minimum="5m")
        >>> controller = Controller(world.config, world.source, world.router, plan, clock=world.clock)
        >>> result = controller.run()
        >>> result.phase, result.weight, world.router.get_weight().percent
        (<Phase.ROLLED_BACK: 'rolled_back'>, 0.0, 0.0)
    """

    def __init__(
        self,
        config: JudgeConfig,
        source: MetricSource | Mapping[str, MetricSource],
        router: TrafficRouter,
        plan: RolloutPlan | None = None,
        *,
        journal: str | Path | None = None,
        every: timedelta | None = None,
        callbacks: Iterable[Callable[[Event], None]] = (),
        clock: Clock | None = None,
    ) -> None:
        list(config.queries())  # an undefined label must be found before the weight is touched
        self.config, self.source, self.router = config, source, router
        self.plan = plan or RolloutPlan()
        check_plan(self.plan, config, source, router)
        self._patient = patient(self.plan, config.interval)
        self.callbacks = tuple(callbacks)
        self.note = ""  # written into the journal's first record
        self.drives = ""  # what the router drives: a journal of another one is refused
        self._every = (every or config.interval).total_seconds()
        self._path = None if journal is None else Path(journal)
        if self._path is not None and (self._path.is_dir() or not self._path.name):
            raise ConfigError(f"journal: {self._path} is a folder; give a file")
        self._clock = clock or SystemClock()
        self._begun = self._clock.now()
        self._monotonic = self._clock.monotonic()
        self._inbox = Inbox(self._path)
        self._wake = threading.Event()
        self._in_force = InForce(router)
        self._stopping = False
        self._journal: Journal | None = None
        self._state = begin(self._begun)
        self._looks = Looks(config, source, self.plan, self._evidence)
        self._revision = Revision(self.plan.revision)
        self._refused, self._again = 0, self._begun  # how often in a row a weight was, and when the next may be tried
        self._report: RollbackReport | None = None
        self._traffic: TrafficSplit | None = None

    # --- what a human may do, from any thread ---

    def approve(self) -> None:
        """Let the present stage be left as soon as it is judged safe."""
        self._command("approve")

    def pause(self) -> None:
        """Hold the weight; a regression still rolls back."""
        self._command("pause")

    def resume(self) -> None:
        """Take a pause back."""
        self._command("resume")

    def abort(self, reason: str = "aborted by a human") -> None:
        """Roll back now."""
        self._command("abort", reason)

    def stop(self) -> None:
        """End the loop, as for SIGTERM: the weight stays when a journal lets another driver go on, else roll back."""
        self._stopping = True
        self._wake.set()

    def _command(self, name: str, reason: str = "") -> None:
        self._inbox.put(name, reason)
        self._wake.set()

    # --- the loop ---

    @property
    def state(self) -> RolloutState:
        """Where the rollout stands."""
        return self._state

    def run(self) -> RolloutResult:
        """Drive to the end; callbacks see what happens."""
        for _ in self.events():
            pass
        return self.result()

    def result(self) -> RolloutResult:
        """How it ended; where it stands while it runs."""
        state = self._state
        return RolloutResult(
            phase=state.phase,
            weight=state.weight,
            reason=state.reason,
            looks=self._looks.number,
            judgement=self._looks.judgement,
            report=self._report,
            traffic=self._traffic,
            source_failed=state.source_failed,
            by_hand=state.by_hand,
        )

    def events(self) -> Iterator[Event]:
        """Drive to the end, telling what happens.

        Raises:
            DataError: The journal is damaged, in use, or belongs to another rollout.
            RouterError: The weight cannot be read at the start, or is not the one to start from.
        """
        if self._path is None:
            yield from self._with_callbacks(self._drive())
            return
        with Journal(self._path) as self._journal, closing(self._looks):
            yield from self._with_callbacks(self._drive())

    def _with_callbacks(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            for callback in self.callbacks:
                try:
                    callback(event)
                except Exception as error:  # noqa: BLE001  (a broken notification must not stop a rollback)
                    yield self._event(EventKind.TROUBLE, f"a callback raised {type(error).__name__}: {error}")
            yield event

    def _drive(self) -> Iterator[Event]:
        yield from self._begin()
        while not self._state.phase.ended:
            began = self._clock.monotonic()
            yield from self._take_commands()
            if self._stopping:
                if self._journal is not None:
                    yield from self._try_to_write("interrupted")
                    back = self._state.phase is Phase.ROLLING_BACK
                    stands = "before the rollback was read back" if back else "which stays"
                    intended = self._state.intended
                    stands += "" if intended is None else f", while {intended:g} % may be in force"
                    text = f"interrupted at {self._state.weight:g} %, {stands}; the same command goes on"
                    yield self._event(EventKind.INTERRUPTED, text)
                    return
                self._state = take_back(self.plan, self._state, "interrupted, and without a journal nobody could go on")
            yield from self._tick()
            if not self._state.phase.ended and self._state.phase is not Phase.ROLLING_BACK and not self._stopping:
                self._rest(self._every - (self._clock.monotonic() - began))
        yield self._event(EventKind.ENDED, self._state.reason, report=self._report)

    def _rest(self, seconds: float) -> None:
        if seconds > 0:
            self._clock.wait(seconds, self._wake)
        self._wake.clear()

    def _now(self) -> datetime:
        """The time by a clock that nobody can set: stages are as long as they are."""
        return self._begun + timedelta(seconds=self._clock.monotonic() - self._monotonic)

    @property
    def _silent(self) -> timedelta:
        """How long drivers have looked and found no new data."""
        return max(self._now() - self._state.heard, timedelta(0))

    def _event(self, kind: EventKind, text: str, **more: Any) -> Event:
        return Event(kind=kind, at=self._clock.now(), weight=self._state.weight, text=text, state=self._state, **more)

    def _write(self, what: str, **values: Any) -> None:
        if self._journal is not None:
            served = self._looks.served
            self._journal.append(
                what,
                self._clock.now(),
                state=state_to_json(self._state),
                silent=self._silent.total_seconds(),
                served=None if served is None else served.isoformat(),
                **values,
            )

    def _try_to_write(self, what: str, otherwise: str = "", **values: Any) -> Generator[Event, None, bool]:
        """The same where nothing waits for the journal; trouble is told. Whether it is written."""
        try:
            self._write(what, **values)
        except Exception as error:  # noqa: BLE001  (a journal that fails ends no loop)
            yield self._event(EventKind.TROUBLE, f"{said(error)}{otherwise}")
            return False
        return True

    # --- beginning, and beginning again ---

    def _begin(self) -> Iterator[Event]:
        records = [] if self._journal is None else self._journal.records
        if not records:
            yield self._start()
            for one in leftovers(self.router):
                yield self._event(EventKind.TROUBLE, f"leads to the canary whatever its weight: {one}")
            return
        mine = identity(self.config, self.plan, self.drives)
        found = take_up(records, mine, self._begun, self._path)
        self._state, self._inbox.taken, self._inbox.sum = found.state, found.commands, found.commands_sum
        self._revision.take_up(found.revision)
        if self._state.phase.ended:
            self._in_force.refuse_what_is_no_more(self._state)
            self._revision.refuse_another(f"{self._path}: its rollout has ended ({self._state.phase})")
            yield self._event(EventKind.RESUMED, f"the journal has ended: {self._state.phase}: {self._state.reason}")
            return
        self._begun = found.begun
        self._in_force.take_up(found.state)
        text = f"taken up at {self._state.weight:g} %, after {found.away.total_seconds():.0f} s without a driver"
        if found.served is not None:
            text += self._looks.take_up(found.state, found.served)
        yield from self._try_to_write("resumed", "; nothing is raised without a journal")
        if found.superseded:
            self._state = abort(self._state, found.superseded, Phase.SUPERSEDED)
        yield self._event(EventKind.RESUMED, text)

    def _start(self) -> Event:
        refuse_hasty(self.plan, self.config.interval)
        self._in_force.refuse_what_has_begun()
        self._in_force.refuse_what_cannot_be(stage.weight for stage in self.plan.stages if stage.ahead is None)
        self._state = begin(self._now())
        self._inbox.pass_over()
        noted = {"note": self.note} if self.note else {}
        self._write(
            "begin",
            **identity(self.config, self.plan, self.drives),
            **noted,
            commands=self._inbox.taken,
            commands_sum=self._inbox.sum,
        )
        ahead = "".join(f"{stage.told()} -> " for stage in self.plan.stages if stage.ahead is not None)
        weights = ahead + " -> ".join(f"{stage.weight:g}" for stage in self.plan.stages if stage.ahead is None)
        after = "" if self.plan.after is None else f"; {told(self.config, self.plan.after)}"
        return self._event(EventKind.STARTED, f"stages {weights} %{after}{self._frozen()}")

    def _frozen(self) -> str:
        return "" if self.plan.freeze is None else f"; {self.plan.freeze.told()}"

    @property
    def _evidence(self) -> Path | None:
        return None if self._path is None else self._path.with_name(self._path.name + ".evidence")

    # --- one look ---

    def _tick(self) -> Iterator[Event]:
        if self._state.phase is Phase.ROLLING_BACK:
            yield from self._roll_back()
            return
        if (yield from self._superseded()):
            yield from self._roll_back()
            return
        reading, trouble = self._in_force.read()
        written = None if reading is None else reading.percent
        judgement, complaint = self._looks.look(self._state, self._clock.now(), written=written)
        before = self._state
        ahead = self._ahead_of(self._state.stage + 1)
        in_force, refused = self._in_force.comes(reading, self._state.intended, ahead=ahead)
        self._state, todo = step(
            self._patient,
            self._state,
            judgement,
            self._now(),
            reading=reading,
            in_force=in_force,
            unready=self._unready(),
        )
        if before.stage != self._state.stage:
            yield from self._arrived()
        if trouble or refused:
            yield self._event(EventKind.TROUBLE, trouble or refused)
        if todo.order is Order.ROLL_BACK:
            text = "" if judgement is None else f"{judgement.verdict}: {todo.reason}{self._frozen()}"
            first = [] if judgement is None else [self._event(EventKind.LOOK, text, judgement=judgement)]
            yield from self._roll_back(first)
            return
        if todo.order is Order.SET_WEIGHT and todo.rule != "raised" and self._now() < self._again:
            self._state = replace(self._state, intended=None)
            todo = replace(todo, order=Order.HOLD, weight=None, reason=f"{todo.reason}; it is tried again later")
        if self._state.phase is Phase.RUNNING or todo.order in (Order.END, Order.HOLD):
            kind = EventKind.BLIND if judgement is None else EventKind.LOOK
            text = f"{todo.reason}{f' ({complaint})' if complaint else ''}{self._frozen()}"
            yield self._event(kind, text, judgement=judgement, rule=todo.rule)
        noted = yield from self._note(todo, judgement)
        if todo.weight is not None and noted:
            yield from self._set(todo.weight)

    def _note(self, todo: Step, judgement: Judgement | None) -> Generator[Event, None, bool]:
        """Write a step down before it is made; False when it must not be made without that."""
        # on disk before the router is asked: a driver killed in between knows what may be in force
        what = "end" if todo.order is Order.END else "look" if todo.weight is None else "intend"
        more = {} if what == "end" else judged(judgement)
        try:
            self._write(what, rule=todo.rule, **more)
        except Exception as error:  # noqa: BLE001  (a journal that fails ends no loop)
            rises = self._state.intended is not None and todo.weight is not None
            if rises:
                self._state = replace(self._state, intended=None)
            without = "the weight is not raised without a journal" if rises else "nothing else waits for the journal"
            yield self._event(EventKind.TROUBLE, f"{said(error)}; {without}")
            return not rises
        return True

    def _unready(self) -> str:
        ready = self.plan.ready
        if self._revision.unknown:
            return "the revision cannot be told"
        if self._state.phase is not Phase.STARTING or ready is None:
            return ""
        return why_not_ready(ready, self.config, self.source, self._clock.now())

    def _superseded(self) -> Generator[Event, None, bool]:
        """Whether another revision is rolled out than at the start: then what was judged is not what is served."""
        try:
            reason = self._revision.changed()
        except RouterError as error:
            yield self._event(EventKind.TROUBLE, f"the revision cannot be told: {error}")
            return False
        if self._revision.known and not self._revision.noted:  # until it is in the journal
            self._revision.noted = yield from self._try_to_write("revision", revision=self._revision.known)
        if reason:
            self._state = abort(self._state, reason, Phase.SUPERSEDED)
        return bool(reason)

    def _set(self, weight: float) -> Iterator[Event]:
        back = self._state.intended is None  # from whatever somebody else made of it
        ahead = self._ahead_of(self._state.stage + (not back))
        try:
            if ahead is not None:
                cast("RouterWithAhead", self.router).set_ahead(ahead)
            else:
                self.router.set_weight(weight, expect=None if back else self._state.weight)
            reading = self._in_force.reading()
            if same_weight(reading.percent, weight) and not self.router.verify(weight):
                yield self._event(EventKind.TROUBLE, NOT_IN_FORCE.format(weight))
                return  # a look finds out whether it is by then
        except Exception as error:  # noqa: BLE001
            # whether it was written is not known; the next look reads it back, and judges before it tries again
            yield self._event(EventKind.TROUBLE, f"{weight:g} % could not be set: {type(error).__name__}: {error}")
            pause = timedelta(seconds=self._every) * 2 ** min(self._refused, _MOST_DOUBLED)
            longest = self._patient.patience if self._state.phase is Phase.STARTING else _LONGEST_PAUSE
            self._refused, self._again = self._refused + 1, self._now() + min(pause, longest)
            return
        self._refused = 0
        if not same_weight(reading.percent, weight):
            yield self._event(EventKind.TROUBLE, f"{weight:g} % was set, but {reading} is in force")
            return
        before = self._state.stage
        self._state = read_back(self.plan, self._state, self._now(), reading)
        if self._state.stage != before:
            yield from self._arrived()
        elif back:
            yield self._event(EventKind.WEIGHT, f"the canary has {weight:g} % of the traffic again")

    def _arrived(self) -> Iterator[Event]:
        """A new weight is in force."""
        self._looks.begin(self._state)
        yield self._event(EventKind.WEIGHT, self.plan.stages[self._state.stage].reached())
        yield from self._try_to_write("done")

    def _ahead_of(self, stage: int) -> Ahead | None:
        return self.plan.stages[stage].ahead if 0 <= stage < len(self.plan.stages) else None

    # --- back to 0 ---

    def _roll_back(self, first: Iterable[Event] = ()) -> Iterator[Event]:
        """Until the router reads back 0 (or what is frozen): lowering waits for nothing, the journal included.

        Args:
            first: What is to be told before; nobody who listens is waited for.
        """
        untold = [*first, self._event(EventKind.ROLLING_BACK, self._state.reason)]
        untold += self._try_to_write("rolling_back", "; rolling back all the same", **judged(self._looks.judgement))
        pause_, attempt, changed = 0.5, 0, False
        while True:
            attempt += 1
            untold += self._take_commands()  # a human may say 0 where it was to be frozen
            weight = self._state.back_to
            report, reading, trouble = self._in_force.lower(weight)
            changed |= report is not None and report.changed
            yield from untold
            untold = []
            if report is not None and reading is not None and reading.percent is not None:
                break
            yield self._event(EventKind.TROUBLE, f"rollback, attempt {attempt}: {trouble}; trying again")
            if self._stopping and self._journal is not None:
                return  # the state is `rolling back`, and whoever goes on begins with that
            self._rest(pause_)
            pause_ = min(2 * pause_, _LONGEST_BACKOFF)
        self._report = replace(report, changed=changed)
        self._state = rolled_back(self._state, self._now(), reading.percent)
        if self._state.phase is Phase.FROZEN:
            text = f"frozen: the canary failed and keeps {reading} of the traffic{report.left()}"
            yield self._event(EventKind.WEIGHT, text, report=self._report)
            yield from self._try_to_write("end", rule="frozen")
            return
        text = f"rolled back: the canary has 0 % of the traffic{report.left()}"
        yield self._event(EventKind.WEIGHT, text, report=self._report)
        yield from self._aftercare()
        left_over = [str(one) for one in report.residuals]
        yield from self._try_to_write("end", rule="rolled back", residuals=left_over)

    def _aftercare(self) -> Iterator[Event]:
        """Watch whether requests still reach the canary."""
        if self._looks.served is None or self._stopping:
            return
        until, judgement = self._now() + max(self.plan.aftercare, _AFTERCARE_LOOKS * self.config.interval), None
        while self._now() < until and not self._stopping:
            self._rest(self._every)
            judgement, _ = self._looks.look(self._state, self._clock.now())
            if judgement is not None and judgement.traffic is not None and judgement.traffic.requests > 0:
                self._traffic = judgement.traffic
        if text := reached(self._traffic, judgement):
            yield self._event(EventKind.AFTERCARE, text)

    # --- commands ---

    def _take_commands(self) -> Iterator[Event]:
        commands, complaint = self._inbox.take()
        if complaint:
            yield self._event(EventKind.TROUBLE, complaint)
        for name, reason, weight in commands:
            self._stopping = self._stopping or name == "stop"
            self._state, wrong = obey(self._state, name, reason, weight)
            if wrong:
                yield self._event(EventKind.TROUBLE, wrong)
                continue
            yield self._event(EventKind.COMMAND, f"{name}{f': {reason}' if reason else ''}")
            yield from self._try_to_write(
                "command", name=name, reason=reason, commands=self._inbox.taken, commands_sum=self._inbox.sum
            )
