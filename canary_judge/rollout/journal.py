"""The journal of a rollout: JSON lines, on disk before and after each change of weight (POSIX: it is locked by flock).

A killed driver goes on from its last whole line. Each line carries a check sum, so that a damaged journal is told from
one whose last line was cut off by the kill.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, cast

from canary_judge.errors import DataError
from canary_judge.results import Judgement

__all__ = ["Journal", "Record", "judged", "read_journal"]


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
        commands: How many commands were taken so far.
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
    plan: NotRequired[dict[str, Any]]
    commands: NotRequired[int]
    revision: NotRequired[str]
    rule: NotRequired[str]
    verdict: NotRequired[str]
    score: NotRequired[float]
    reasons: NotRequired[list[str]]
    window_end: NotRequired[str]
    name: NotRequired[str]
    reason: NotRequired[str]
    residuals: NotRequired[list[str]]


def _line(record: Mapping[str, Any]) -> bytes:
    # half of a surrogate pair, as a server's answer may have it, is no UTF-8
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body[1:])


def _parse(line: bytes) -> Record | None:
    """The record of a line, or None when it is damaged."""
    try:
        record = json.loads(line)
        crc = record.pop("crc")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return cast("Record", record) if _line(record) == line and isinstance(crc, str) else None


def read_journal(path: Path) -> tuple[list[Record], int]:
    """All records, and how many bytes of the file they take; a last line that was cut off is left out.

    Raises:
        DataError: The file cannot be read, or a line before the last one is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    records: list[Record] = []
    good = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        record = _parse(line)
        if record is None or record.get("n") != number:
            if number == len(lines) and not line.endswith(b"\n"):
                break  # the writer was killed in the middle of it, or the disk was full
            raise DataError(
                f"{path}: line {number} is damaged, so what the rollout did is not known. Look at the weight in force, "
                "move the journal away, and start again or roll back"
            )
        records.append(record)
        good += len(line)
    return records, good


class Journal:
    """An open journal that one driver holds; append only, every record on disk before `append` returns.

    Raises:
        DataError: Another driver holds it, it is damaged, or it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(f"{self.path}: the journal cannot be opened: {error}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise DataError(f"{self.path}: another driver is running on this journal; stop it first") from None
        try:
            self.records, self._good = read_journal(self.path)
        except DataError:
            os.close(self._handle)
            raise

    def append(self, what: str, at: datetime, **values: Any) -> None:
        """Write one record and force it to the disk.

        Raises:
            DataError: It could not be written; the journal is as before.
        """
        record = cast("Record", {"n": len(self.records) + 1, "at": at.isoformat(), "what": what, **values})
        line = _line(record)
        try:
            os.ftruncate(self._handle, self._good)  # what an earlier failure left behind
            written = 0
            while written < len(line):
                written += os.pwrite(self._handle, line[written:], self._good + written)
            os.fsync(self._handle)
        except OSError as error:
            raise DataError(f"{self.path}: the journal cannot be written: {error}") from error
        self.records.append(record)
        self._good += len(line)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
