"""What a human tells a running driver: in a file beside its journal, or from another thread."""

from __future__ import annotations

from pathlib import Path

from canary_judge.errors import ConfigError, DataError

__all__ = ["COMMANDS", "Inbox", "read_commands", "send_command"]

COMMANDS = ("approve", "pause", "resume", "abort", "stop")


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


class Inbox:
    """Commands to one driver, in the order in which they came.

    Attributes:
        taken: How many commands of the file were taken so far, by this driver and those before it.
    """

    def __init__(self, journal: Path | None) -> None:
        self._journal = journal
        self._own: list[tuple[str, str]] = []
        self.taken = 0

    def put(self, name: str, reason: str = "") -> None:
        """Tell the driver from its own process."""
        self._own.append((name, reason))

    def pass_over(self) -> None:
        """Take none of the commands that are there: they were for an earlier rollout.

        Raises:
            DataError: They cannot be read.
        """
        if self._journal is not None:
            self.taken = read_commands(self._journal, 0)[1]

    def take(self) -> tuple[list[tuple[str, str]], str]:
        """The new commands, each a name and a reason; and why the file could not be read, or nothing."""
        found, self._own = self._own, []
        if self._journal is None:
            return found, ""
        try:
            written, self.taken = read_commands(self._journal, self.taken)
        except DataError as error:
            return found, str(error)
        return found + written, ""
