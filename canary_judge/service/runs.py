"""Canaries that are followed for others: find or begin a run, look, and what is known of it.

Everything that the HTTP adapters do is here, for an operator of one's own, too.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.results import Judgement
from canary_judge.series import Window, duration_from, format_duration, percent_from
from canary_judge.service.answers import Answer, answer_of, is_late, is_over, key_of
from canary_judge.service.configs import Configs
from canary_judge.service.database import address_of
from canary_judge.service.ends import Ends
from canary_judge.service.given import (
    bounded,
    fit,
    labels_of,
    moment_of,
    plain_of,
    refuse_another,
    refuse_what_cannot_be,
)
from canary_judge.service.looking import Desk, FindSources, Order, Told, What
from canary_judge.service.problems import Busy, StoreDown, UnknownRun
from canary_judge.service.questions import Questions, kept
from canary_judge.service.shown import shown
from canary_judge.service.store import CANCELLED, ERRORED, RUNNING, Run, Store
from canary_judge.service.workers import Here, Processes, Workers

__all__ = ["BUDGET", "Runs"]

_LOG = logging.getLogger(__name__)

# Seconds that a caller waits for a look; controllers give up after 10.
BUDGET = 8.0
_MOST_LOOKS_IN_A_CALL = 3
# So many intervals after a run was begun anew another one has nothing of it.
_SOON = 10
_OLDEST = timedelta(days=366)
# A watched run whose look gave nothing is looked at again after a quarter of an interval, and so many seconds at most.
_RETRY = 15.0
# Who asks is noted at most so often.
_NOTED = 60.0


class Runs:
    """Runs of one folder of configs, kept in one database; its methods may be called from any thread.

    Args:
        config_dir: The configs that may be named, and `sources.yaml` (see `Configs`).
        store: A `Store`, its address, or a file of SQLite.
        workers: Processes that look, which are begun by spawn (a script needs its `if __name__ == "__main__"`); 0:
            threads of this process.
        sources: From a config and the options of its sources to the sources, in place of building them from the
            options; with processes a function of a module, which they import.
        now: The time of day; for tests and simulations.
        url: Where people find the pages of runs.
        most_at_once: Questions that are taken at once.
        most_runs: Running runs of one owner.

    Attributes:
        listeners: Called with what was done, for which run, and how it ended.
        on_ended: Called with a run whose last look was kept; an archive of past canaries would take it.

    Raises:
        ConfigError: The folder or the database is none.
        StoreDown: The database gave no answer.

    Examples:
        >>> import tempfile
        >>> from canary_judge.testing import simulated_world
        >>> world, folder = simulated_world(seed=1, canary_error_rate=0.05), tempfile.mkdtemp()
        >>> config = world.config.model_dump_json(exclude={"sources", "router"})
        >>> _ = (Path(folder) / "shop.json").write_text(config)
        >>> _ = world.router.set_weight(10)
        >>> runs = Runs(folder, f"{folder}/judge.db", workers=0, sources=lambda *_: {"default": world.source},
        ...             now=world.clock.now)
        >>> for minute in range(6):
        ...     answer = runs.look("shop", canary={"version": "2"}, baseline={"version": "1"}, horizon="30m")
        ...     world.clock.seconds += 60
        >>> answer.verdict, answer.run.state, answer.stale
        ('fail', 'failed', False)
        >>> runs.close()
    """

    def __init__(
        self,
        config_dir: str | Path,
        store: Store | str | Path,
        *,
        workers: int = 0,
        sources: FindSources | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        url: str = "",
        most_at_once: int = 256,
        most_runs: int = 2000,
    ) -> None:
        self.configs = Configs(config_dir)
        self.store = store if isinstance(store, Store) else Store(address_of(store))
        try:
            self.store.upgrade()
        except BaseException:
            self.store.close()
            raise
        self.now, self.url = now, url.rstrip("/")
        self._most_runs = most_runs
        self._own_sources = sources is not None
        self._workers: Workers = (
            Processes(self.store.url, workers, sources) if workers else Here(Desk(self.store, sources))
        )
        self._questions = Questions(self._workers, most_at_once)
        self._tried: dict[str, float] = {}
        self.listeners: list[Callable[[str, Run | None, Told], None]] = []
        self.on_ended: list[Callable[[Run], None]] = []
        self._ends = Ends(self.store, self.on_ended)

    def close(self) -> None:
        """Finish the looks in flight, and let go of the database."""
        self._workers.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- runs -----------------------------------------------------------------------------------------------------

    def look(
        self,
        config: str,
        *,
        baseline: Mapping[str, str] | None = None,
        canary: Mapping[str, str] | None = None,
        start: datetime | str | None = None,
        horizon: timedelta | str | None = None,
        weight: float | None = None,
        key: str | None = None,
        restart: bool = False,
        budget: float = BUDGET,
        owner: str = "",
    ) -> Answer:
        """Find the run or begin it, take in what is new, and tell how it stands.

        Asking again at once gives the same judgement: every interval is consumed once.

        Args:
            config: The name of a config.
            baseline: Labels of the stable version.
            canary: Labels of the new one.
            start: When the canary began to serve; by default when it was first asked for.
            horizon: Planned length.
            weight: Percent of the traffic that the canary gets.
            key: By which the run is found again; by default it is that of the config and both versions.
            restart: Begin another run of this key, without its evidence.
            budget: Seconds to wait for the look.
            owner: Who asks, for the limit of running runs.

        Raises:
            ConfigError: There is no such config, it is broken, or a label that it needs is not given.
            DataError: A value is none of its kind.
            Clash: The key belongs to a run of another config, of other versions, or with another plan.
            Busy: Too much is asked at once, or the owner has too many runs.
            StoreDown: The database gave no answer.
        """
        weight = None if weight is None else percent_from(weight, "weight")
        asked: dict[str, Any] = {"start": start, "horizon": horizon, "key": key, "restart": restart, "owner": owner}
        again = self._begun_again(config, baseline, canary, key) if restart else ""
        run = self.open(config, baseline=baseline, canary=canary, **asked)
        answer = self.look_at(run, weight=weight, budget=budget)
        return replace(answer, stale=True, why=again) if again else answer

    def _begun_again(
        self, config: str, baseline: Mapping[str, str] | None, canary: Mapping[str, str] | None, key: str | None
    ) -> str:
        """That what is to begin anew was begun anew a moment ago: a template that says so each time judges nothing."""
        judged = self._judged(config, baseline, canary)
        own = key_of(config, baseline=judged.baseline, canary=judged.canary) if key is None else fit(key, "key")
        found = self.store.newest(own)
        if found is None or found.attempt < 2:
            return ""
        ago = self.now().timestamp() - found.created
        if ago > _SOON * found.interval:
            return ""
        told = format_duration(timedelta(seconds=round(ago)))
        return (
            f"`restart: true` drops the evidence at each question, last {told} ago, "
            "so that nothing is ever judged: leave it out of what asks again and again"
        )

    def open(
        self,
        config: str,
        *,
        baseline: Mapping[str, str] | None = None,
        canary: Mapping[str, str] | None = None,
        start: datetime | str | None = None,
        horizon: timedelta | str | None = None,
        key: str | None = None,
        restart: bool = False,
        watched: bool = False,
        owner: str = "",
    ) -> Run:
        """Find the run or begin it, without a look, `watched` by the service itself; the rest is as of `look`."""
        judged = self._judged(config, baseline, canary)
        key = key_of(config, baseline=judged.baseline, canary=judged.canary) if key is None else fit(key, "key")
        since = None if start is None else moment_of(start, "start")
        length = None if horizon is None else duration_from(horizon, "horizon")
        now = self.now()
        found = self.store.newest(key)
        if found is not None and not restart and not is_over(found, now=now.timestamp(), anew=watched):
            refuse_another(found, config, judged, start=since, length=length)
            if watched and not found.watched:
                self.store.note(found.id, watched=True)
                return replace(found, watched=True)
            return found
        refuse_what_cannot_be(judged, length, self.options(judged))
        if since is not None and since > now + max(judged.interval, timedelta(minutes=1)):
            raise DataError(f"start is {since.isoformat()}, which is in the future; ask again when it has come")
        if since is not None and since < now - _OLDEST:
            raise DataError(f"start is {since.isoformat()}, more than a year ago; judge such a window with /v1/judge")
        if self.store.open_of(owner, now.timestamp()) >= self._most_runs:
            raise Busy(f"{owner or 'the caller'} has {self._most_runs} running runs already; cancel some")
        if found is not None and found.state == RUNNING:
            self.cancel(found.id, "another run of its key was begun")
        run = self.store.open(
            key=bounded(key),
            attempt=1 if found is None else found.attempt + 1,
            config_name=config,
            config_hash=judged.hash(),
            config=json.dumps(plain_of(judged)),
            interval=judged.interval.total_seconds(),
            baseline=judged.baseline,
            canary=judged.canary,
            start=(since or now).astimezone(UTC).isoformat(),
            horizon=None if length is None else length.total_seconds(),
            created=now.timestamp(),
            asked=now.timestamp(),
            owner=owner,
            watched=watched,
            weight=None,
        )
        refuse_another(run, config, judged, start=since, length=length)  # another replica may have been faster
        return run

    def _judged(self, config: str, baseline: Mapping[str, str] | None, canary: Mapping[str, str] | None) -> JudgeConfig:
        """The config of that name, with these sides."""
        sides = {side: labels_of(given, side) for side, given in (("baseline", baseline), ("canary", canary))}
        return self.configs.get(config).with_sides(**sides)

    def look_at(self, run: Run, *, weight: float | None = None, budget: float = BUDGET) -> Answer:
        """Look at a run, and wait so many seconds for it."""
        until, why, stale = time.monotonic() + budget, "", False
        for _ in range(_MOST_LOOKS_IN_A_CALL):
            if not self._due(run, weight):
                break
            try:
                future = self._going_look(run, weight)
            except ConfigError as error:  # of the sources, which are those of the present file
                stale, why = True, str(error)
                break
            try:
                told = future.result(max(until - time.monotonic(), 0.0))
            except NotInTime:
                stale, why = True, f"the look takes longer than {budget:g} s, and goes on"
                break
            run = self._again(run)
            if told.what in (What.UNAVAILABLE, What.BROKEN):
                stale, why = True, told.text
                break
        self._note(run)
        return self.answer(run, stale=stale, why=why, weight=weight)

    def _note(self, run: Run) -> None:
        """Somebody asks of it; a look that was kept has written that down itself."""
        now = self.now().timestamp()
        if now - run.asked >= min(_NOTED, run.interval):
            with suppress(StoreDown):  # it can be read, and may not be written
                self.store.note(run.id, asked=now)

    def _due(self, run: Run, weight: float | None) -> bool:
        """Whether a look would take in anything."""
        if run.ended or run.state in (CANCELLED, ERRORED):
            return False
        if run.summary is None or (weight is not None and weight != run.weight):
            return True
        watermark: float = run.summary["watermark"]
        return self.now().timestamp() >= watermark + run.interval

    def _going_look(self, run: Run, weight: float | None) -> Future[Told]:
        """The look at this run that is going on, or a new one."""
        late = run.watched and is_late(run, now=self.now().timestamp())

        def ended(told: Told) -> None:
            self._tell("look", run, replace(told, late=late))
            if told.what is What.KEPT:
                self._ends.tell(run.id)

        return self._questions.look(run.id, self._order(run, weight), ended=ended)

    @property
    def going(self) -> int:
        """Questions that are being answered."""
        return self._questions.going

    def _tell(self, what: str, run: Run | None, told: Told) -> None:
        for listener in self.listeners:
            listener(what, run, told)

    def _order(self, run: Run, weight: float | None) -> Order:
        # where its config is changed the run keeps its own, but asks where the sources are now
        present = self.configs.last(run.config_name, kept=run.config if self._own_sources else None)
        return Order(
            run=run.id,
            config=run.config,
            sources=self.options(present),
            baseline=run.baseline,
            canary=run.canary,
            until=self.now(),
            weight=weight,
        )

    def options(self, config: JudgeConfig) -> dict[str, dict[str, Any]]:
        """Options of the sources of a config; none where they are ours."""
        return {} if self._own_sources else self.configs.sources(config)

    def _again(self, run: Run) -> Run:
        if (found := self.store.get(run.id)) is None:
            raise UnknownRun(f"run {run.id} is gone")
        return found

    def answer(self, run: Run, *, stale: bool = False, why: str = "", weight: float | None = None) -> Answer:
        """How a run stands at this moment, going by what is kept of it; arguments as of `answer_of`."""
        now, url = self.now().timestamp(), f"{self.url}/runs/{run.id}"
        return answer_of(run, now=now, url=url, stale=stale, why=why, weight=weight)

    def get(self, run: str) -> Answer:
        """What is known of a run, by its id, without a look; UnknownRun where there is none."""
        if (found := self.store.get(run)) is None:
            raise UnknownRun(f"there is no run {shown(run)}")
        return self.answer(found)

    def find(self, key: str) -> Answer | None:
        """The same of the newest run of a key; None where there is none."""
        return None if (found := self.store.newest(key)) is None else self.answer(found)

    def cancel(self, run: str, why: str = "it was cancelled") -> Answer:
        """End a run that is running; what it led to stands."""
        for _ in range(_MOST_LOOKS_IN_A_CALL):
            found = self.get(run).run
            if found.state != RUNNING or self.store.change(found, state=CANCELLED, error=why):
                break  # else a look has been kept meanwhile
        return self.get(run)

    def tick(self) -> int:
        """Begin the looks of watched runs that are due; how many these are."""
        self._ends.tell()
        now, begun = time.monotonic(), 0
        tried: dict[str, float] = {}
        wrong: list[str] = []
        for short in self.store.listed(watched=True, state=RUNNING, limit=self._most_runs):
            if (last := self._tried.get(short.id)) is not None:
                tried[short.id] = last
            # where nothing comes, or nobody answers, a source is not asked again at once
            soon = last is not None and now - last < min(short.interval / 4, _RETRY)
            if soon or not self._due(short, None) or not self._questions.takes(short.id):
                continue
            try:
                if (run := self.store.get(short.id)) is not None:
                    tried[run.id] = now
                    self._going_look(run, None)
                    begun += 1
            except ConfigError as error:  # of one run, which others need not wait for
                wrong.append(f"run {short.id}: {error}")
        self._tried = tried
        if wrong:
            _LOG.warning("%s", wrong[0] + (f" (and {len(wrong) - 1} more)" if wrong[1:] else ""))
        return begun

    # --- without a run ----------------------------------------------------------------------------------------------

    def judge(
        self,
        config: str,
        *,
        baseline: Mapping[str, str] | None = None,
        canary: Mapping[str, str] | None = None,
        start: datetime | str,
        end: datetime | str,
        budget: float = 60.0,
    ) -> Judgement:
        """Judge one finished window at one planned look, without any state.

        Raises:
            DataError: The end is in the future: a look at it now would be one of several.
            SourceUnavailable: A source gave no answer.
        """
        judged = self._judged(config, baseline, canary)
        window = Window(moment_of(start, "start"), moment_of(end, "end"))
        if window.end > self.now():
            raise DataError(
                f"end is {window.end.isoformat()}, which is in the future; ask when it has passed, or follow the "
                "canary with /v1/looks"
            )
        refuse_what_cannot_be(judged, None, self.options(judged))
        told = self.asked("judge", judged, start=window.start, end=window.end, budget=budget)
        return Judgement.from_json(told.text)

    def preflight(
        self,
        config: str,
        *,
        baseline: Mapping[str, str] | None = None,
        canary: Mapping[str, str] | None = None,
        horizon: timedelta | str | None = None,
        weight: float | None = None,
        budget: float = 60.0,
    ) -> dict[str, Any]:
        """What `canary_judge.preflight` finds, as plain data."""
        judged = self._judged(config, baseline, canary)
        length = None if horizon is None else duration_from(horizon, "horizon")
        refuse_what_cannot_be(judged, length, self.options(judged))
        told = self.asked("preflight", judged, end=self.now(), horizon=length, weight=weight, budget=budget)
        return dict(json.loads(told.text))

    def asked(
        self,
        what: str,
        judged: JudgeConfig,
        *,
        end: datetime,
        start: datetime | None = None,
        horizon: timedelta | None = None,
        weight: float | None = None,
        once: bool = False,
        budget: float = 60.0,
    ) -> Told:
        """Have a worker do what its `Desk` can: judge a window, look at one, see whether queries can work.

        Raises:
            DataError: It can never work.
            SourceUnavailable: There was no answer, or none in time.
        """
        more: dict[str, Any] = {"start": start, "horizon": horizon, "weight": weight, "once": once}
        more |= {"baseline": judged.baseline, "canary": judged.canary, "sources": self.options(judged)}
        order = Order(config=json.dumps(plain_of(judged)), until=end, **more)
        return self.told(what, order, budget)

    def told(self, what: str, order: Order, budget: float) -> Told:
        """Have a worker do something, and wait for it; errors as of `asked`."""
        told = self._questions.answered(what, order, budget)
        self._tell(what, None, told)
        return kept(told)
