"""What judges would have said of the canaries of a history, side by side: how often wrong, how late, at what cost.

References:
    McNemar (1947) and Tango (1998), see `canary_judge.stats.trials` (two judges on the same canaries).
    Manski, C. F. (1990), American Economic Review 80(2), 319-323 (bounds where something was not observed).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from canary_judge._version import __version__
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.history.canary import EndedBy, LabelKind, PastCanary, digests
from canary_judge.history.judges import Decision, OurJudge, PastJudge
from canary_judge.history.pieces import Piece, Unreadable, told
from canary_judge.history.resuming import Kept
from canary_judge.history.store import History
from canary_judge.results import Verdict
from canary_judge.series import duration_from

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Backtest", "Case", "Skipped", "backtest", "judge_piece"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One canary, and what each judge would have said of it.

    Attributes:
        id: The canary.
        name: Of its config: the service.
        start: When it began.
        seconds: How long it was read.
        label: What it was found to have been.
        ended_by: Who ended it.
        cut: It was ended by somebody, before its planned end.
        reconstructed: Its looks were made up.
        deployment: The baseline's deployment, where it is known.
        data: Of each metric a digest of the newest intervals, by which a canary that is archived twice is known.
        decisions: One for each judge, in their order.
    """

    id: str
    name: str
    start: datetime
    seconds: float
    label: LabelKind
    ended_by: EndedBy
    cut: bool
    reconstructed: bool
    deployment: str = ""
    data: tuple[str, ...] = ()
    decisions: tuple[Decision, ...]

    @property
    def week(self) -> str:
        """Service and calendar week: canaries that share it share their luck."""
        year, week, _ = self.start.isocalendar()
        return f"{self.name} {year}-W{week:02d}"

    def to_mapping(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {
            "start": self.start.isoformat(),
            "data": list(self.data),
            "decisions": [decision.to_mapping() for decision in self.decisions],
        }

    @classmethod
    def from_mapping(cls, plain: dict[str, Any]) -> Case:
        """What `to_mapping` gave."""
        return cls(
            **{
                **plain,
                "start": datetime.fromisoformat(plain["start"]),
                "data": tuple(plain.get("data", ())),
                "decisions": tuple(Decision.from_mapping(one) for one in plain["decisions"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A canary that a judge could not judge.

    Attributes:
        id: The canary.
        reason: Why not.
    """

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What judges would have said.

    Attributes:
        judges: Their names, in the order of the decisions.
        cases: One for each canary, in order of their start.
        skipped: Canaries that some judge could not judge: they are in no number.
    """

    judges: tuple[str, ...]
    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of_rows(cls, judges: Sequence[PastJudge], rows: Iterable[dict[str, Any]]) -> Backtest:
        """What `judge_piece` gave of all pieces, in their order."""
        told = list(rows)
        cases, again = _each_once([Case.from_mapping(row) for row in told if "reason" not in row])
        return cls(
            judges=tuple(judge.name for judge in judges),
            cases=tuple(cases),
            skipped=(*again, *(Skipped(id=row["id"], reason=row["reason"]) for row in told if "reason" in row)),
        )

    def to_json(self, *, indent: int | None = None) -> str:
        """All of it as JSON, with the rates that it gives; the same bytes however it was computed."""
        from canary_judge.history.told import rate

        plain = {
            "judges": list(self.judges),
            "rates": [
                {label: asdict(rate(self, judge, label)) for label in ("healthy", "bad")}
                for judge in range(len(self.judges))
            ],
            "cases": [case.to_mapping() for case in self.cases],
            "skipped": [{"id": one.id, "reason": one.reason} for one in self.skipped],
        }
        return json.dumps(plain, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Backtest:
        """What `to_json` gave.

        Raises:
            DataError: It is none.
        """
        try:
            plain = json.loads(text)
            return cls(
                judges=tuple(plain["judges"]),
                cases=tuple(Case.from_mapping(one) for one in plain["cases"]),
                skipped=tuple(Skipped(**one) for one in plain["skipped"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"this is no backtest: {type(error).__name__}: {error}") from error

    def to_frame(self) -> pd.DataFrame:
        """One row for each canary and judge."""
        import pandas as pd

        rows = [
            {name: value for name, value in case.to_mapping().items() if name != "decisions"}
            | {"start": case.start, "judge": judge}
            | {("decided_after" if name == "seconds" else name): value for name, value in decision.to_mapping().items()}
            for case in self.cases
            for judge, decision in zip(self.judges, case.decisions, strict=True)
        ]
        return pd.DataFrame(rows)

    def explain(self) -> str:
        """The comparison in words: rates with their intervals, times, and what it cannot show."""
        from canary_judge.history.told import explained

        return explained(self)

    def plot(
        self,
        *,
        promised: float | None = None,
        theme: Literal["light", "dark", "print"] = "light",
        ax: Axes | None = None,
    ) -> Axes:
        """The comparison as a picture (`canary_judge.plots.backtest`; extra `plot`).

        Args:
            promised: The false-alarm rate that was promised, 0 to 1.
            theme: `light`, `dark` or `print`.
            ax: Where to.
        """
        from canary_judge import plots
        from canary_judge.history.told import rate

        canaries = hashlib.sha256(" ".join(case.id for case in self.cases).encode()).hexdigest()[:12]
        records = []
        for number, judge in enumerate(self.judges):
            healthy, bad = (rate(self, number, label) for label in ("healthy", "bad"))
            decided = [case.decisions[number] for case in self.cases if case.label == "bad"]
            records.append(
                plots.JudgeRecord(
                    judge=judge,
                    healthy=healthy.total,
                    alarms=healthy.found,
                    bad=bad.total,
                    found=bad.found,
                    minutes=tuple((one.seconds or 0.0) / 60 for one in decided if one.verdict is Verdict.FAIL),
                    cut_healthy=healthy.cut,
                    cut_bad=bad.cut,
                    canaries=canaries,
                    effective_healthy=healthy.worth or None,
                    effective_bad=bad.worth or None,
                )
            )
        unlabelled = sum(case.label == "unknown" for case in self.cases)
        return plots.backtest(records, promised=promised, unlabelled=unlabelled, theme=theme, ax=ax)

    def __repr__(self) -> str:
        """How many canaries, by which judges."""
        return f"Backtest({len(self.cases)} canaries, judges {', '.join(self.judges)})"


def _each_once(cases: Sequence[Case]) -> tuple[list[Case], list[Skipped]]:
    """The canaries, and those of them that are another one again: at one time, with the same numbers.

    One that was archived again with an edited config, under another name, or from a table with an interval less, has
    another id. That with
    a label is kept, else the first; where labels contradict each other none is believed.
    """
    kept: list[Case] = []
    again: list[Skipped] = []
    at: dict[str, int] = {}
    for case in cases:
        places = [at[digest] for digest in case.data if digest in at]
        place = next((one for one in places if _together(kept[one], case)), None)
        if place is None:
            place = len(kept)
            kept.append(case)
        else:
            first, second = kept[place], case
            if first.label == "unknown" and second.label != "unknown":
                first, second = second, first
            reason = f"it is canary {first.id} again, with the same numbers"
            if {first.label, second.label} == {"healthy", "bad"}:
                reason += (
                    f", but is labelled {second.label} and that {first.label}: counted as unknown. Label both alike"
                )
                first = replace(first, label="unknown")
            kept[place] = first
            again.append(Skipped(id=second.id, reason=reason))
        at |= dict.fromkeys(case.data, place)
    return kept, again


def _together(one: Case, other: Case) -> bool:
    """Whether both end at the same time, with the same numbers of all metrics that both have."""
    ends = (case.start + timedelta(seconds=case.seconds) for case in (one, other))
    sides = [dict(text.rsplit(" ", 1) for text in case.data) for case in (one, other)]
    return next(ends) == next(ends) and all(sides[0][name] == sides[1][name] for name in sides[0].keys() & sides[1])


def backtest(
    judges: JudgeConfig | PastJudge | Sequence[JudgeConfig | PastJudge],
    history: History,
    executor: Executor | None = None,
    *,
    every: str | timedelta | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    resume: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Give each canary of a history to each judge, look by look.

    Args:
        judges: Configs of ours, and other judges (`KayentaJudge`, `LimitRule`).
        history: The canaries.
        executor: Who works: any executor of `concurrent.futures`, as a process pool or dask's `get_executor()`. Each
            worker reads its own objects of the history. The answer is the same, to the byte.
        every: Time between the looks of our configs; by default those of the run.
        since: Only canaries that began then or later.
        until: Only canaries that began before.
        resume: A file that keeps what is done; a backtest that was killed goes on from it.
        progress: Called with how many canaries are done, and how many there are.

    Returns:
        Decisions of all judges on all canaries that all of them could judge.

    Raises:
        DataError: There is no canary, two judges have the same name, or `resume` is of another backtest.
    """
    if not isinstance(history, History):
        raise DataError(f"history is {type(history).__name__}; give History(url)")
    if executor is not None and not hasattr(executor, "submit"):
        raise DataError(f"executor is {executor!r}; give one of concurrent.futures, as ProcessPoolExecutor(2)")
    chosen = _named(judges, None if every is None else duration_from(every, "every"))
    pieces = history.pieces(since=since, until=until)
    total = sum(len(piece.rows) for piece in pieces)
    if not total:
        raise DataError(f"{history.url} has no canary to judge" + (" in that time" if since or until else ""))
    if resume is not None and (vague := [one for one in chosen if type(one).__repr__ is object.__repr__]):
        raise DataError(
            f"resume: {vague[0].name!r} could not be told from another judge of its kind; give its class a __repr__, "
            "as a dataclass has"
        )
    with Kept(resume, _told(chosen), _checked_row) as kept:
        done = {key: kept.found[key] for key in map(_key, pieces) if key in kept.found}
        seen = sum(len(piece.rows) for piece in pieces if _key(piece) in done)
        for piece, rows in _worked([piece for piece in pieces if _key(piece) not in done], chosen, executor):
            done[_key(piece)] = rows
            if all(row.get("read", True) for row in rows):  # what could not be read may be readable then
                kept.keep(_key(piece), rows)
            seen += len(piece.rows)
            if progress is not None:
                progress(seen, total)
    return Backtest.of_rows(chosen, [row for piece in pieces for row in done[_key(piece)]])


def _named(
    judges: JudgeConfig | PastJudge | Sequence[JudgeConfig | PastJudge], every: timedelta | None
) -> list[PastJudge]:
    given: list[Any] = list(judges) if isinstance(judges, Sequence) and not isinstance(judges, str) else [judges]
    if not given:
        raise DataError("there is no judge; give a config")
    if strange := [one for one in given if not hasattr(one, "decide") and not isinstance(one, JudgeConfig)]:
        kind = type(strange[0]).__name__
        raise DataError(f"a judge is {kind}; give JudgeConfig.load(path), or a judge of past canaries")
    ours = [one for one in given if isinstance(one, JudgeConfig)]
    found: list[PastJudge] = []
    for one in given:
        if isinstance(one, JudgeConfig):
            name = one.name if [other.name for other in ours].count(one.name) == 1 else f"{one.name} {len(found) + 1}"
            found.append(OurJudge(config=one, name=name, looks=every or "recorded"))
        else:
            found.append(one)
    names = [one.name for one in found]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"two judges are called {twice[0]!r}; give each another name")
    return found


def _told(judges: Sequence[PastJudge]) -> str:
    """By which a backtest is known again."""
    told = [__version__] + [
        f"{one.name} {one.config.model_dump_json()} {one.looks}" if isinstance(one, OurJudge) else repr(one)
        for one in judges
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _key(piece: Piece) -> str:
    return hashlib.sha256(told(piece).encode()).hexdigest()[:20]


def _worked(
    pieces: Sequence[Piece], judges: Sequence[PastJudge], executor: Executor | None
) -> Iterator[tuple[Piece, list[dict[str, Any]]]]:
    """Each piece with its rows, as they are done."""
    if executor is None:
        for piece in pieces:
            yield piece, judge_piece(piece, judges)
        return
    waiting: dict[Future[list[dict[str, Any]]], Piece] = {
        executor.submit(judge_piece, piece, tuple(judges)): piece for piece in pieces
    }
    try:
        for future in _completed(list(waiting)):
            yield waiting.pop(future), future.result()
    except BrokenExecutor as error:
        raise DataError(
            "a process that worked was killed, as where memory runs out: take fewer of them (--workers), and go on "
            "with `resume` (--resume FILE)"
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _completed(futures: list[Future[list[dict[str, Any]]]]) -> Iterator[Future[list[dict[str, Any]]]]:
    """In the order in which they are done, where they are futures of the standard library; else as they were given."""
    return as_completed(futures) if all(isinstance(one, Future) for one in futures) else iter(futures)


def judge_piece(piece: Piece, judges: Sequence[PastJudge]) -> list[dict[str, Any]]:
    """What the judges say of the canaries of a piece, as plain JSON values."""
    rows: list[dict[str, Any]] = []
    try:
        rows.extend(_row(canary, judges) for canary in piece.canaries())
    except Unreadable as error:
        if not piece.skip:
            raise
        done = {row["id"] for row in rows}
        rows += [{"id": name, "reason": str(error), "read": False} for name in piece.ids if name not in done]
    return rows


def _row(canary: PastCanary, judges: Iterable[PastJudge]) -> dict[str, Any]:
    try:
        canary.settings()
    except ConfigError as error:
        return {"id": canary.id, "reason": f"its config is refused by this version, as it was archived: {error}"}
    try:
        decisions = tuple(judge.decide(canary) for judge in judges)
    except DataError as error:
        return {"id": canary.id, "reason": str(error)}
    case = Case(
        id=canary.id,
        name=canary.name,
        start=canary.start,
        seconds=(canary.end - canary.start) / timedelta(seconds=1),
        label=canary.label.kind,
        ended_by=canary.ended_by,
        cut=not canary.ran_out,
        reconstructed=canary.reconstructed,
        deployment=canary.deployment,
        data=digests(canary),
        decisions=decisions,
    )
    return case.to_mapping()


def _checked_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row that says something."""
    if not ({"id", "decisions"} <= row.keys() or {"id", "reason"} <= row.keys()):
        raise KeyError("decisions")
    if "decisions" in row:
        Case.from_mapping(row)
    return row
