"""What a human tells a running driver: in a file beside its journal, or from another thread."""

from __future__ import annotations

import hashlib
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from canary_judge.errors import ConfigError, DataError
from canary_judge.routing import same_weight

__all__ = ["COMMANDS", "Inbox", "send_command"]

COMMANDS = ("approve", "pause", "resume", "abort", "stop")


class Command(NamedTuple):
    """What a human wants.

    Attributes:
        name: One of `COMMANDS`, if it is understood.
        reason: Theirs.
        weight: Of an approval: the weight that it approves to leave; empty where it was not told.
    """

    name: str
    reason: str = ""
    weight: str = ""


def send_command(journal: str | Path, name: str, reason: str = "", *, weight: float | None = None) -> None:
    """Tell the driver that runs on this journal to approve, pause, resume, abort or stop.

    Args:
        journal: Of the rollout.
        name: The command.
        reason: Why.
        weight: Of an approval: the weight in percent that may be left; the present one by default. An approval that
            arrives when another weight is in force is not taken.

    Raises:
        ConfigError: There is no such command.
        DataError: There is no such journal, its rollout has ended, another weight is in force, or the command cannot
            be written beside it.
    """
    if name not in COMMANDS:
        raise ConfigError(f"{name!r} is no command; there are {', '.join(COMMANDS)}")
    path = Path(journal)
    if not path.exists():
        raise DataError(f"{path}: there is no such journal; give the one of the running rollout")
    from canary_judge.rollout.journal import read_journal  # `--help` needs none of it
    from canary_judge.rollout.state import Phase

    records, _ = read_journal(path)
    state = records[-1].get("state", {}) if records else {}
    phase, present = state.get("phase"), state.get("weight")
    if phase is not None and Phase(phase).ended:
        raise DataError(
            f"{path}: this rollout has ended ({phase}), and nobody obeys it; `canary-judge router rollback` takes "
            "a weight back by hand"
        )
    if weight is not None and name != "approve":
        raise DataError(f"weight {weight:g} stands beside {name!r}: it says at which weight is approved; leave it out")
    if weight is not None and (present is None or not same_weight(weight, present)):
        there = "no weight yet" if present is None else f"{present:g} % now"
        raise DataError(f"weight {weight:g} is to be approved, and the canary has {there}; look at it again")
    for_weight = f"\t{present:g}" if name == "approve" and present is not None else ""
    try:
        with _commands_file(path).open("a", encoding="utf-8") as file:
            file.write(f"{name}\t{' '.join(reason.split())}{for_weight}\n")
    except OSError as error:
        raise DataError(f"{_commands_file(path)}: cannot be written: {error}") from error


def _lines(path: Path, half: bytes = b"") -> tuple[list[bytes], bytes]:
    """Whole lines, as bytes: whatever somebody wrote into the file, no command behind it is lost.

    A line is whole when it has ended, says all that it can, or has not grown since it was seen as the half of one.

    Returns:
        The lines, and the half of one at the end.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        *lines, rest = path.read_bytes().replace(b"\r\n", b"\n").split(b"\n")
    except FileNotFoundError:
        return [], b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    whole = rest and (rest == half or rest.strip().decode("ascii", "replace") in COMMANDS)
    return ([*lines, rest], b"") if whole else (lines, rest)


def _sum(lines: list[bytes]) -> str:
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]


def _command(line: bytes) -> Command:
    """What is no UTF-8 is shown as such."""
    name, reason, weight, *_ = [*line.decode("utf-8", "backslashreplace").strip("\r\n ").split("\t"), "", ""]
    return Command(name.strip(), reason.strip(), weight.strip())


def _commands_file(journal: Path) -> Path:
    return journal.with_name(journal.name + ".commands")


class Inbox:
    """Commands to one driver, in the order in which they came.

    Attributes:
        taken: How many commands of the file were taken so far, by this driver and those before it.
        sum: Of those lines, as the journal keeps it: a file that was written anew is told by it; None if not known.
    """

    def __init__(self, journal: Path | None) -> None:
        self._journal = journal
        self._own: SimpleQueue[Command] = SimpleQueue()  # of any thread
        self._seen: list[bytes] = []  # the lines that this driver took, to tell a file that was written anew
        self._half = b""
        self.taken = 0
        self.sum: str | None = None

    def put(self, name: str, reason: str = "") -> None:
        """Tell the driver from any thread of its own process."""
        self._own.put(Command(name, reason))

    def pass_over(self) -> None:
        """Take none of the commands that are there: they were for an earlier rollout.

        Raises:
            DataError: They cannot be read.
        """
        if self._journal is not None:
            lines, self._half = _lines(_commands_file(self._journal))
            self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        self._seen, self.taken, self.sum = lines, len(lines), _sum(lines)

    def take(self) -> tuple[list[Command], str]:
        """The new commands; and why the file could not be read, or nothing.

        A file that was written anew is read from its beginning: an `abort` in it must not be lost, while `approve`
        and `resume` might be old ones, and have to be given again.
        """
        found = []
        while not self._own.empty():  # nobody else takes
            found.append(self._own.get())
        if self._journal is None:
            return found, ""
        path = _commands_file(self._journal)
        try:
            lines, self._half = _lines(path, self._half)
        except DataError as error:
            return found, str(error)
        if self._seen or self.sum is None:
            anew = lines[: len(self._seen)] != self._seen or len(lines) < self.taken
        else:  # a driver before this one took them
            anew = _sum(lines[: self.taken]) != self.sum
        after = 0 if anew else self.taken
        self._take(lines)
        new = [_command(line) for line in lines[after:] if line.strip()]
        if not anew:
            return found + new, ""
        careful = [one for one in new if one.name not in ("approve", "resume")]
        told = "" if len(careful) == len(new) else "; `approve` and `resume` in it are not taken, give them again"
        return found + careful, f"{path} was written anew, and is read from its beginning{told}"
