"""A backtest that was killed goes on from a file of what is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from canary_judge.errors import DataError
from canary_judge.files import put_file

__all__ = ["Kept"]


class Kept:
    """What is done of a backtest, in a file of JSON lines.

    Args:
        path: Of the file; None: nothing is kept.
        told: By which the backtest is known again.
        checked: Gives a row as it is; LookupError, TypeError or ValueError where it is none.

    Attributes:
        found: Of each piece that is done its rows.

    Raises:
        DataError: The file cannot be read or written, is damaged, or of another backtest.
    """

    def __init__(self, path: str | Path | None, told: str, checked: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._path, self._checked = None if path is None else Path(path), checked
        self.found: dict[str, list[dict[str, Any]]] = {}
        self._told = told
        self._file: Any = None

    def __enter__(self) -> Self:
        """Read what is there, and go on after it."""
        if self._path is None:
            return self
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._path}: cannot be read: {error}") from error
        for number, line in enumerate(lines):
            try:
                plain = json.loads(line)
                if number == 0:
                    known = plain["backtest"] == self._told
                else:
                    self.found[plain["piece"]] = [self._checked(row) for row in plain["rows"]]
            except (ValueError, KeyError, TypeError):
                if number and number == len(lines) - 1:
                    break  # the line at which it was killed
                known = number > 0
                if known:
                    text = f"{self._path}, line {number + 1}: is damaged; remove the file to start again"
                    raise DataError(text) from None
            if number == 0 and not known:
                raise DataError(f"{self._path}: is not of this backtest; name another file")
        kept: list[dict[str, Any]] = [{"piece": key, "rows": rows} for key, rows in self.found.items()]
        try:
            put_file(self._path, "".join(map(_line, [{"backtest": self._told}, *kept])))
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error}") from error
        return self

    def keep(self, key: str, rows: list[dict[str, Any]]) -> None:
        """One more piece."""
        if self._file is None:
            return
        try:
            self._file.write(_line({"piece": key, "rows": rows}))
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error}") from error

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written was told when it was
                self._file.close()


def _line(plain: dict[str, Any]) -> str:
    return json.dumps(plain, allow_nan=False) + "\n"
