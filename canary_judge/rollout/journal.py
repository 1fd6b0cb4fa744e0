"""The journal of a rollout: JSON lines, on disk before and after each change of weight.

A killed driver goes on from its last whole line (`canary_judge.checked_lines`).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from canary_judge.checked_lines import CheckedLines, Closing, Damaged, is_held, read_lines
from canary_judge.errors import DataError
from canary_judge.results import Judgement

__all__ = ["Journal", "Record", "is_driven", "judged", "read_journal"]


class Record(TypedDict):
    """One line of a journal.

    Attributes:
        n: Its number, from 1.
        at: When, in ISO 8601.
        what: begin, resumed, revision, look, intend, done, rolling_back, command, interrupted or end.
        state: The state of the rollout after it (`state_to_json`).
        silent: Seconds for which drivers have looked and found no new data.
        served: When the canary began to serve; None before.
        format: Of the journal; with config, sides and plan in the first record, which binds it to one rollout.
        config: Hash of the config.
        sides: Labels of both sides.
        plan: The plan.
        router: Hash of what the router drives, where that is known; in the first record.
        commands: How many commands were taken so far.
        commands_sum: Of those lines of the file of commands.
        revision: What is rolled out, as the plan's `revision` command names it.
        rule: Of the policy.
        verdict: Of the judgement; with score, reasons and window_end.
    """

    n: int
    at: str
    what: str
    state: NotRequired[dict[str, Any]]
    silent: NotRequired[float]
    served: NotRequired[str | None]
    format: NotRequired[int]
    config: NotRequired[str]
    sides: NotRequired[dict[str, dict[str, str]]]
    router: NotRequired[str]
    plan: NotRequired[dict[str, Any]]
    commands: NotRequired[int]
    commands_sum: NotRequired[str | None]
    revision: NotRequired[str]
    rule: NotRequired[str]
    verdict: NotRequired[str]
    score: NotRequired[float]
    reasons: NotRequired[list[str]]
    window_end: NotRequired[str]
    name: NotRequired[str]
    reason: NotRequired[str]
    residuals: NotRequired[list[str]]


def read_journal(path: Path) -> tuple[list[Record], int]:
    """All records, and how many bytes of the file they take; a last line that was cut off is left out.

    Raises:
        DataError: The file cannot be read, or a line before the last one is damaged.
    """
    records: list[Record] = []
    try:
        end = read_lines(path, lambda line: records.append(cast("Record", line)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except Damaged as error:
        raise _damaged(path, error) from error
    return records, end.byte


def is_driven(path: str | Path) -> bool:
    """Whether a driver on this machine holds a journal."""
    try:
        with Path(path).open("rb") as file:
            return is_held(file)
    except OSError:
        return False


def _damaged(path: Path, error: Damaged) -> DataError:
    return DataError(
        f"{path}: {error}, so what the rollout did is not known. Look at the weight in force, "
        "move the journal away, and start again or roll back"
    )


class Journal(Closing):
    """An open journal that one driver holds; append only, every record on disk before `append` returns.

    Attributes:
        path: Its file.
        records: All of it.

    Raises:
        DataError: Another driver holds it, it is damaged, or it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.records: list[Record] = []
        try:
            self._lines = CheckedLines(self.path, lambda line: self.records.append(cast("Record", line)))
        except BlockingIOError:
            raise DataError(f"{self.path}: another driver is running on this journal; stop it first") from None
        except OSError as error:
            raise DataError(f"{self.path}: the journal cannot be opened: {error}") from error
        except Damaged as error:
            raise _damaged(self.path, error) from error

    def append(self, what: str, at: datetime, **values: Any) -> None:
        """Write one record and force it to the disk.

        Raises:
            DataError: It could not be written; the journal is as before.
        """
        record: dict[str, Any] = {"at": at.isoformat(), "what": what, **values}
        try:
            self._lines.append(record)
        except OSError as error:
            raise DataError(f"{self.path}: the journal cannot be written: {error}") from error
        self.records.append(cast("Record", {"n": len(self.records) + 1, **record}))

    def close(self) -> None:
        """Let go of the file."""
        self._lines.close()


def judged(judgement: Judgement | None) -> dict[str, Any]:
    """What a record says of a judgement."""
    if judgement is None:
        return {}
    return {
        "verdict": judgement.verdict.value,
        "score": judgement.score,
        "window_end": judgement.end.isoformat(),
        "reasons": list(judgement.reasons),
    }
