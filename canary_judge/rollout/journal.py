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
from typing import Any, Self

from canary_judge.errors import ConfigError, DataError

__all__ = ["COMMANDS", "Journal", "read_commands", "read_journal", "send_command"]

# What a human may tell a running driver.
COMMANDS = ("approve", "pause", "resume", "abort", "stop")


def _line(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    return f'{{"crc":"{zlib.crc32(body.encode()):08x}",{body[1:]}\n'.encode()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None when it is damaged."""
    try:
        record = json.loads(line)
        crc = record.pop("crc")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return record if _line(record) == line and isinstance(crc, str) else None


def read_journal(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All records, and how many bytes of the file they take; a last line that was cut off is left out.

    Raises:
        DataError: The file cannot be read, or a line before the last one is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    records: list[dict[str, Any]] = []
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
        record = {"n": len(self.records) + 1, "at": at.isoformat(), "what": what, **values}
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


# --- commands to a running driver, beside its journal --------------------------------------------------------------


def send_command(journal: str | Path, name: str, reason: str = "") -> None:
    """Tell the driver that runs on this journal to approve, pause, resume, abort or stop.

    Raises:
        ConfigError: There is no such command.
        DataError: There is no such journal, or the command cannot be written beside it.
    """
    if name not in COMMANDS:
        raise ConfigError(f"{name!r} is no command; there are {', '.join(COMMANDS)}")
    path = Path(journal)
    if not path.exists():
        raise DataError(f"{path}: there is no such journal; give the one of the running rollout")
    try:
        with _commands_file(path).open("a", encoding="utf-8") as file:
            file.write(f"{name}\t{' '.join(reason.split())}\n")
    except OSError as error:
        raise DataError(f"{_commands_file(path)}: cannot be written: {error}") from error


def read_commands(journal: Path, after: int) -> tuple[list[tuple[str, str]], int]:
    """The commands behind the first `after` ones, and how many there are in all.

    Raises:
        DataError: They cannot be read.
    """
    path = _commands_file(journal)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a line is whole when it has ended
    except FileNotFoundError:
        return [], 0
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    found = [line.partition("\t") for line in lines[after:]]
    return [(name, reason) for name, _, reason in found], len(lines)


def _commands_file(journal: Path) -> Path:
    return journal.with_name(journal.name + ".commands")
