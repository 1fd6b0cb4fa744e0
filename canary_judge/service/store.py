"""What a service remembers, in SQLite or PostgreSQL: runs, their logs, and what callers were told.

Two replicas may look at the same run. Each writes the next line of its log in one transaction with what it led to;
the line's number is unique, so that the second one has lost, and nothing is counted twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from canary_judge.service import tables
from canary_judge.service.database import Database, in_time
from canary_judge.service.problems import StoreDown

__all__ = ["CANCELLED", "ERRORED", "FAILED", "PASSED", "RUNNING", "UNDECIDED", "Look", "Run", "Store", "Target"]

RUNNING, PASSED, FAILED, UNDECIDED = "running", "passed", "failed", "undecided"
CANCELLED, ERRORED = "cancelled", "errored"
# Runs that nobody asked of for so long do not count as somebody's.
_DAY = 86_400.0
_MOST_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A canary that is followed, as the database has it; the columns of `tables.runs`.

    Attributes:
        key: By which callers find it; with `attempt` it is unique.
        config: The config that it began with, as JSON without sources.
        interval: Length of one interval in seconds.
        horizon: Planned length in seconds; None without one.
        watched: The service itself looks every interval.
        state: running, or how that ended: passed, failed, undecided, cancelled, errored.
        sequence: Records of its log.
        looked: When the last look ended well, seconds since the epoch.
        verdict: The present one; None before the first look.
        summary: The present judgement in short.
        judgement: The same as JSON.
        seen: The canary had requests.
        ended: No look can change it any more.
        granted: When a first step was granted without evidence.
    """

    id: str
    key: str
    attempt: int
    config_name: str
    config_hash: str
    config: str
    interval: float
    baseline: dict[str, str]
    canary: dict[str, str]
    start: str
    horizon: float | None
    created: float
    owner: str
    watched: bool
    state: str
    error: str
    weight: float | None
    sequence: int
    looked: float | None
    asked: float
    verdict: str | None
    summary: dict[str, Any] | None
    judgement: str | None
    seen: bool
    ended: bool
    granted: float | None

    @property
    def begun(self) -> datetime:
        """Its start."""
        return datetime.fromisoformat(self.start)

    @property
    def length(self) -> timedelta | None:
        """Its planned length."""
        return None if self.horizon is None else timedelta(seconds=self.horizon)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look said."""

    sequence: int
    moment: float
    verdict: str
    score: float
    weight: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A deployment that calls by its name, and which run is its present one; the columns of `tables.targets`."""

    key: str
    checksum: str = ""
    attempt: int = 0
    open: bool = False
    weight: float | None = None
    heard: bool = False
    rolled_back: float | None = None
    called: float = 0.0


class Store(Database):
    """The runs of a service; arguments and errors as of `Database`, and StoreDown where it gives no answer."""

    # --- runs -----------------------------------------------------------------------------------------------------

    @in_time
    def get(self, run: str) -> Run | None:
        """The run of that id."""
        return self._run(tables.runs.c.id == run)

    @in_time
    def newest(self, key: str) -> Run | None:
        """The newest run of that key."""
        return self._run(tables.runs.c.key == key)

    def _run(self, which: Any) -> Run | None:
        with self.reading() as connection:
            asked = select(tables.runs).where(which).order_by(tables.runs.c.attempt.desc()).limit(1)
            row = connection.execute(asked).mappings().first()
        return None if row is None else Run(**row)

    @in_time
    def listed(self, *, state: str | None = None, watched: bool | None = None, limit: int = 100) -> list[Run]:
        """Runs, the newest first, without their judgements."""
        columns = [one for one in tables.runs.c if one.name not in ("judgement", "config")]
        asked = select(*columns).order_by(tables.runs.c.created.desc(), tables.runs.c.attempt.desc())
        asked = asked.limit(limit)
        if state is not None:
            asked = asked.where(tables.runs.c.state == state)
        if watched is not None:
            asked = asked.where(tables.runs.c.watched == watched, tables.runs.c.ended == False)  # noqa: E712
        with self.reading() as connection:
            return [Run(**row, judgement=None, config="") for row in connection.execute(asked).mappings()]

    @in_time
    def open_of(self, owner: str, now: float) -> int:
        """How many runs of this owner are running, and were asked of lately."""
        runs = tables.runs
        with self.reading() as connection:
            asked = select(func.count()).where(
                runs.c.owner == owner, runs.c.state == RUNNING, runs.c.watched | (runs.c.asked > now - _DAY)
            )
            return int(connection.execute(asked).scalar_one())

    @in_time
    def running_below(self, prefix: str) -> list[str]:
        """Ids of the running runs whose keys begin so."""
        runs = tables.runs
        with self.reading() as connection:
            asked = select(runs.c.id).where(runs.c.key.startswith(prefix, autoescape=True), runs.c.state == RUNNING)
            return list(connection.execute(asked).scalars())

    @in_time
    def open(self, **values: Any) -> Run:
        """Begin a run, whose attempt follows those of its key.

        Where another replica has begun it since `attempt` was counted, its run is the answer.
        """
        made = Run(id=uuid.uuid4().hex, **_FRESH, **values)
        row = {name: getattr(made, name) for name in Run.__slots__}
        try:
            with self.writing() as connection:
                connection.execute(insert(tables.runs).values(row))
        except IntegrityError:
            found = self._run(tables.runs.c.key == made.key)
            if found is None:
                raise StoreDown("the database refuses the run, and has no other of its key") from None
            return found
        return made

    @in_time
    def log(self, run: str) -> list[bytes]:
        """The lines of its log."""
        rows = tables.records
        with self.reading() as connection:
            asked = select(rows.c.body).where(rows.c.run == run).order_by(rows.c.sequence)
            return [bytes(body) for body in connection.execute(asked).scalars()]

    @in_time
    def keep(self, run: Run, lines: Sequence[bytes], **values: Any) -> bool:
        """Write what a look added, and what it led to, at once.

        Args:
            run: As it was before the look.
            lines: To be written after its `sequence`.
            values: Columns of the run, `moment` and `reason`.

        Returns:
            Whether it is kept; not where somebody else has looked since, or the run was cancelled.
        """
        moment, reason = values.pop("moment"), values.pop("reason")
        sequence = run.sequence + len(lines)
        summary = values["summary"]
        try:
            with self.writing() as connection:
                if not self._change(connection, run, sequence=sequence, **values):
                    return False
                if lines:
                    numbered = enumerate(lines, run.sequence + 1)
                    bodies = [{"run": run.id, "sequence": number, "body": line} for number, line in numbered]
                    connection.execute(insert(tables.records), bodies)
                    look = {"run": run.id, "sequence": sequence, "moment": moment, "reason": reason}
                    look |= {"verdict": values["verdict"], "score": summary["score"], "weight": values["weight"]}
                    connection.execute(insert(tables.looks).values(look))
        except IntegrityError:
            return False
        return True

    @in_time
    def change(self, run: Run, **values: Any) -> bool:
        """Change columns of a run that nobody has changed since; whether that was so."""
        with self.writing() as connection:
            return self._change(connection, run, **values)

    @staticmethod
    def _change(connection: Connection, run: Run, **values: Any) -> bool:
        runs = tables.runs
        as_it_was = (runs.c.id == run.id, runs.c.sequence == run.sequence, runs.c.state == run.state)
        return connection.execute(update(runs).where(*as_it_was).values(values)).rowcount == 1

    @in_time
    def note(self, run: str, **values: Any) -> None:
        """Write down what no look depends on: when somebody `asked` of it, was `granted` a step, has it `watched`."""
        with self.writing() as connection:
            connection.execute(update(tables.runs).where(tables.runs.c.id == run).values(values))

    @in_time
    def looks_of(self, run: str, limit: int = 500) -> list[Look]:
        """What its newest looks said, the oldest of them first."""
        rows = tables.looks
        with self.reading() as connection:
            asked = select(rows).where(rows.c.run == run).order_by(rows.c.sequence.desc()).limit(limit)
            found = [dict(row) for row in connection.execute(asked).mappings()]
        return [Look(**{name: row[name] for name in Look.__slots__}) for row in reversed(found)]

    @in_time
    def drop(self, before: float) -> int:
        """Forget what nobody has asked of since; how many runs that were, at most a thousand at a time."""
        runs, gone = tables.runs, tables.executions
        with self.writing() as connection:
            followed = runs.c.watched & (runs.c.state == RUNNING)
            old = select(runs.c.id).where(runs.c.asked < before, ~followed)
            ids = list(connection.execute(old.limit(1000)).scalars())
            for table, column in ((tables.records, "run"), (tables.looks, "run"), (runs, "id")):
                connection.execute(delete(table).where(table.c[column].in_(ids)))
            connection.execute(delete(gone).where(gone.c.created < before))
            connection.execute(delete(tables.targets).where(tables.targets.c.called < before))
        return len(ids)

    # --- deployments that call by name ------------------------------------------------------------------------------

    @in_time
    def target(self, key: str) -> Target:
        """What is known of it; nothing yet where it never called."""
        with self.reading() as connection:
            row = connection.execute(select(tables.targets).where(tables.targets.c.key == key)).mappings().first()
        return Target(key=key) if row is None else Target(**row)

    @in_time
    def put_target(self, target: Target, *names: str) -> None:
        """Write these columns of it, or all."""
        values = {name: getattr(target, name) for name in (names or Target.__slots__)}
        for _ in range(_MOST_TRIES):
            with self.writing() as connection:
                changed = connection.execute(
                    update(tables.targets).where(tables.targets.c.key == target.key).values(values)
                ).rowcount
            if changed:
                return
            try:
                with self.writing() as connection:
                    whole = {name: getattr(target, name) for name in Target.__slots__}
                    connection.execute(insert(tables.targets).values(whole))
            except IntegrityError:
                continue  # another call was faster
            return

    # --- Kayenta's documents ----------------------------------------------------------------------------------------

    @in_time
    def canary_configs(self) -> list[dict[str, Any]]:
        """All canary configs that were stored."""
        with self.reading() as connection:
            asked = select(tables.configs).order_by(tables.configs.c.name)
            return [dict(row) for row in connection.execute(asked).mappings()]

    @in_time
    def canary_config(self, config: str) -> dict[str, Any] | None:
        """One of them."""
        with self.reading() as connection:
            row = connection.execute(select(tables.configs).where(tables.configs.c.id == config)).mappings().first()
        return None if row is None else dict(row)

    @in_time
    def put_canary_config(self, row: Mapping[str, Any], *, new: bool) -> bool:
        """Store one; False where a new one's id is taken, or an old one is not there."""
        configs = tables.configs
        try:
            with self.writing() as connection:
                if new:
                    connection.execute(insert(configs).values(dict(row)))
                    return True
                values = {name: value for name, value in row.items() if name not in ("id", "created")}
                return connection.execute(update(configs).where(configs.c.id == row["id"]).values(values)).rowcount == 1
        except IntegrityError:
            return False

    @in_time
    def drop_canary_config(self, config: str) -> bool:
        """Forget one; whether it was there."""
        with self.writing() as connection:
            return connection.execute(delete(tables.configs).where(tables.configs.c.id == config)).rowcount == 1

    @in_time
    def put_execution(self, row: Mapping[str, Any]) -> None:
        """Keep what was asked."""
        with self.writing() as connection:
            connection.execute(insert(tables.executions).values(dict(row)))

    @in_time
    def change_execution(self, execution: str, *, among: Sequence[str], **values: Any) -> bool:
        """Change one whose status is among these; whether it was."""
        rows = tables.executions
        with self.writing() as connection:
            asked = update(rows).where(rows.c.id == execution, rows.c.status.in_(among)).values(values)
            return connection.execute(asked).rowcount == 1

    @in_time
    def execution(self, execution: str) -> dict[str, Any] | None:
        """What was asked, and what came of it."""
        with self.reading() as connection:
            rows = tables.executions
            row = connection.execute(select(rows).where(rows.c.id == execution)).mappings().first()
        return None if row is None else dict(row)

    @in_time
    def executions(
        self,
        *,
        application: str | None = None,
        about: str | None = None,
        kind: str = "canary",
        statuses: Sequence[str] = (),
        limit: int = 20,
        skip: int = 0,
    ) -> list[dict[str, Any]]:
        """Those of an application, or of one canary, the newest first."""
        rows = tables.executions
        asked = select(rows).where(rows.c.kind == kind).order_by(rows.c.created.desc()).limit(limit).offset(skip)
        if application is not None:
            asked = asked.where(rows.c.application == application)
        if about is not None:
            asked = asked.where(rows.c.about == about)
        if statuses:
            asked = asked.where(rows.c.status.in_(statuses))
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(asked).mappings()]


_FRESH: dict[str, Any] = {
    "state": RUNNING,
    "error": "",
    "sequence": 0,
    "looked": None,
    "verdict": None,
    "summary": None,
    "judgement": None,
    "seen": False,
    "ended": False,
    "granted": None,
}
