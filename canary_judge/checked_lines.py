"""An append-only file of JSON lines with check sums, which one process holds (POSIX: it is locked by flock).

Every line is on the disk before `append` returns, and is numbered. A last line that was cut off by a crash is told from
damage: it has no line end, and is overwritten by the next one.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

__all__ = [
    "CheckedLines",
    "Closing",
    "Damaged",
    "End",
    "Line",
    "begins_as_written",
    "is_held",
    "parse_line",
    "read_lines",
    "written_line",
]

Line = dict[str, Any]
# Of every line; what begins otherwise is no such file, and is not written over.
_BEGINNING = b'{"crc":"'
_BODY = len(_BEGINNING) + len('01234567",')


class Closing:
    """Something that is closed where its `with` ends."""

    def close(self) -> None:
        """Let go of it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_held(file: IO[bytes]) -> bool:
    """Whether a process holds such a file, by its lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


class Damaged(Exception):
    """A line before the last one is not what was written.

    Attributes:
        line: Its number.
        byte: Where it begins.
    """

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(f"line {line} is damaged")
        self.line, self.byte = line, byte


class End(NamedTuple):
    """Where the whole lines of a file end.

    Attributes:
        lines: How many they are.
        byte: How many bytes they take.
        crc: Check sum of the last one.
    """

    lines: int = 0
    byte: int = 0
    crc: int = 0


def begins_as_written(line: bytes) -> bool:
    """Whether a line begins as those of such files do, damaged or not.

    Examples:
        >>> begins_as_written(written_line({"n": 1})[0]), begins_as_written(b'{"format": 3}')
        (True, False)
    """
    return line.startswith(_BEGINNING)


def read_lines(path: Path, each: Callable[[Line], None], *, chained: bool = False) -> End:
    """Take in all records, one by one; a last line that was cut off is left out.

    Args:
        path: The file.
        each: Called with each record.
        chained: Each check sum goes on from that of the line before, so that no line can be of another file.

    Raises:
        OSError: The file cannot be read.
        Damaged: A line before the last one is damaged.
    """
    end = End()
    with path.open("rb") as file:
        for line in file:
            record, crc = parse_line(line, end.crc if chained else 0)
            if record is None or record.get("n") != end.lines + 1:
                ours = end.lines or begins_as_written(line) or _BEGINNING.startswith(line) or not line.strip(b"\0")
                if ours and not line.endswith(b"\n"):
                    break  # the writer was killed in the middle of it, or the disk was full
                raise Damaged(end.lines + 1, end.byte)
            each(record)
            end = End(end.lines + 1, end.byte + len(line), crc)
    return end


def written_line(record: Mapping[str, Any], before: int = 0) -> tuple[bytes, int]:
    """A record as a line, and its check sum, which goes on from that of the line before."""
    # half of a surrogate pair, as a server's answer may have it, is no UTF-8
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    body = text.encode("utf-8", "backslashreplace")
    crc = zlib.crc32(body, before)
    return b'{"crc":"%08x",%b\n' % (crc, body[1:]), crc


def parse_line(line: bytes, before: int = 0) -> tuple[Line | None, int]:
    """The record of a line and its check sum; no record where it is damaged."""
    head, body = line[:_BODY], line[_BODY:-1]
    crc = zlib.crc32(body, zlib.crc32(b"{", before))
    if head != b'{"crc":"%08x",' % crc or line[-1:] != b"\n":
        return None, 0
    try:
        record = json.loads(b"{" + body)
    except ValueError:
        return None, 0
    return record, crc


class CheckedLines:
    """The file, opened for writing, and made where it is not there.

    Args:
        path: The file.
        each: Called with each record that it has.
        chained: As in `read_lines`.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: It cannot be opened or read.
        Damaged: A line before the last one is damaged.
    """

    def __init__(self, path: Path, each: Callable[[Line], None], *, chained: bool = False) -> None:
        self._chained = chained
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = read_lines(path, each, chained=chained)
        except BaseException:
            os.close(self._handle)
            raise

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, numbered, and force it to the disk.

        Raises:
            OSError: It could not be written; the file is as before.
        """
        line, crc = written_line({"n": self._end.lines + 1, **record}, self._end.crc if self._chained else 0)
        os.ftruncate(self._handle, self._end.byte)  # what an earlier failure left behind
        written = 0
        while written < len(line):
            written += os.pwrite(self._handle, line[written:], self._end.byte + written)
        os.fsync(self._handle)
        self._end = End(self._end.lines + 1, self._end.byte + len(line), crc)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)
