"""The evidence of repeated looks on disk: an append-only log, to which each look adds what is new.

One line of JSON a look (`canary_judge.checked_lines`): the intervals that were consumed, and what changed of the rest.
The first line binds the log to one config, both versions and the interval. Nothing that can be derived is kept, and a
state that is read back is the one that was written, to the last bit.
"""

from __future__ import annotations

import fcntl
import json
import os
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from canary_judge._version import __version__
from canary_judge.checked_lines import CheckedLines, Closing, Damaged, Line, begins_as_written, read_lines
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.frozen import replaced
from canary_judge.looks.rows import Rows, extend, floats, numbers, rows_of, whole_rows
from canary_judge.looks.state import MonitorState, as_requests, check_belongs, sides_of

__all__ = ["Folded", "Increments", "StateLog", "read_log"]

FORMAT = 4
_START_AGAIN = "move it away to start again"
# What grows by the judged intervals of a look, and is written where it does not.
_GROWING = ("span_baseline", "span_canary")


class StateLog(Closing):
    """An open log that one process holds.

    Args:
        config: What is compared.
        path: The file; it is made where it is not there. A state of an earlier version is converted, and kept beside
            it with the ending `.v3` (or `.v2`).

    Raises:
        DataError: It is damaged, of something else, held by another process, or it cannot be read or written.
    """

    def __init__(self, config: JudgeConfig, path: Path) -> None:
        self.path = path
        _refuse_what_is_no_file(path)
        folded = Folded(config)
        self._made = not path.exists()
        try:
            _convert(config, path)
            self._lines = CheckedLines(path, folded.take, chained=True)
        except BlockingIOError:
            raise DataError(
                f"{path}: another process keeps its evidence in this file; stop it, or name another"
            ) from None
        except OSError as error:
            raise DataError(f"{path}: cannot be opened: {error}") from error
        except Damaged as error:
            raise folded.damaged(path, error) from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        self._kept = Increments(config, begun=folded.head is not None)
        try:
            self._kept.took(folded.state())
        except DataError as error:
            self.close()
            raise DataError(f"{path}: {error}") from error

    @property
    def state(self) -> MonitorState | None:
        """What it holds; None where no look was kept yet."""
        return self._kept.state

    @classmethod
    def begun(cls, config: JudgeConfig, path: Path) -> StateLog:
        """An empty log, in place of whatever stood in the file, which is kept beside it with the ending `.old`."""
        _refuse_what_is_no_file(path)
        try:
            if path.exists() and path.stat().st_size:
                path.replace(path.with_name(f"{path.name}.old"))
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error}") from error
        return cls(config, path)

    def keep(self, *states: MonitorState) -> None:
        """Write what a look added, part by part (`Monitor.steps`), and force it to the disk.

        Raises:
            DataError: It could not be written; the next call writes what this one could not.
        """
        for state in states:
            try:
                for record in self._kept.records(state):
                    self._lines.append(record)
                    self._kept.begun = True
            except OSError as error:
                raise DataError(f"{self.path}: cannot be written: {error}") from error
            self._kept.took(state)

    def close(self) -> None:
        """Let go of the file; one that was made for nothing is taken away."""
        if self._made and not self._kept.begun:
            self.path.unlink(missing_ok=True)
        self._lines.close()


def read_log(path: Path) -> Folded:
    """What a log holds, whatever config it is of, and although another process writes it.

    Raises:
        DataError: It is none, or damaged.
    """
    folded = Folded(None)
    _refuse_what_is_no_file(path)
    try:
        with path.open("rb") as file:
            old = _old_state(file)
        if old is not None:
            if old.get("format") not in (2, 3):
                raise DataError(f"{path}: is no state of a watch; give the file of `watch --state`")
            raise DataError(f"{path}: is a state of format {old.get('format')}, which the next watch converts to a log")
        read_lines(path, folded.take, chained=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except Damaged as error:
        raise folded.damaged(path, error) from error
    if folded.head is None:
        raise DataError(f"{path}: it is empty, so there is nothing to show")
    return folded


def _head(config: JudgeConfig) -> Line:
    return {
        "what": "begin",
        "format": FORMAT,
        "version": __version__,
        "config": config.hash(),
        "sides": sides_of(config),
        "interval": config.interval.total_seconds(),
    }


class Increments:
    """What each look adds to what is kept of a run, as the records of its log, wherever they are written.

    Args:
        config: What is compared.
        begun: The first record is written.

    Attributes:
        begun: The same, which whoever writes keeps up to date.
        state: What is kept.
    """

    def __init__(self, config: JudgeConfig, *, begun: bool = False) -> None:
        self._config = config
        self.begun = begun
        self.state: MonitorState | None = None
        self._plain: dict[str, Any] | None = None

    def records(self, *states: MonitorState) -> list[Line]:
        """What is to be written so that these states, one after the other, are kept."""
        found = [] if self.begun else [_head(self._config)]
        before, was = self.state, self._plain
        for state in states:
            plain = state.small(before, was)
            found.append({"what": "look", **_added(before, state, was, plain)})
            before, was = state, plain
        return found

    def took(self, state: MonitorState | None) -> None:
        """This state is kept now."""
        self._plain = None if state is None else state.small(self.state, self._plain)
        self.state = state


# --- what a look adds ------------------------------------------------------------------------------------------------


def _added(
    old: MonitorState | None, new: MonitorState, before: dict[str, Any] | None, after: dict[str, Any]
) -> dict[str, Any]:
    judged = new.consumed - new.left_out - (0 if old is None else old.consumed - old.left_out)
    added: dict[str, Any] = {"judged": judged}
    changed = _changed(_expected(before or {}, judged), after)
    if changed:
        added["changed"] = changed
    split = (new.split.exposure_baseline, new.split.exposure_canary)
    was = None if old is None else (old.split.exposure_baseline, old.split.exposure_canary)
    goes_on = was is not None and all(
        np.array_equal(now[: then.size], then) for now, then in zip(split, was, strict=True)
    )
    first = was[0].size if goes_on and was is not None else 0
    added["split"] = {"from": first, "rows": [numbers(side[first:]) for side in split]}
    data = {}
    for name, stream in new.streams.items():
        past = None if old is None else old.streams.get(name)
        if (rows := rows_of(None if past is None else past.data, stream.data, stream.intervals - judged)) is not None:
            data[name] = rows
    return {**added, "data": data}


def _expected(before: Mapping[str, Any], judged: int) -> dict[str, Any]:
    """The small things as they are after so many more intervals if nothing else happens."""
    streams = {name: dict(stream) for name, stream in before.get("streams", {}).items()}
    for stream in streams.values():
        _grow(stream, judged)
    return {**before, "streams": streams} if before else {}


def _grow(stream: dict[str, Any], judged: int) -> None:
    stream["intervals"] += judged
    for key in _GROWING:
        stream[key] += judged if stream[key] else 0


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What differs, branch by branch."""
    found: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if name in before and isinstance(value, dict) and isinstance(old, dict) and old.keys() <= value.keys():
            if inner := _changed(old, value):
                found[name] = inner
        elif name not in before or old != value or _other_zero(old, value):
            found[name] = value
    return found


def _other_zero(old: Any, value: Any) -> bool:
    """Whether equal numbers are written in another way: -0.0 is not 0.0 where every byte is to come back."""
    return isinstance(value, float | list) and repr(old) != repr(value)


def _merge(before: dict[str, Any], changed: Mapping[str, Any]) -> None:
    for name, value in changed.items():
        if isinstance(value, dict) and isinstance(old := before.get(name), dict):
            _merge(old, value)
        else:
            before[name] = value


# --- and how a state is put together again ---------------------------------------------------------------------------


class Folded:
    """A log, read line by line.

    Attributes:
        head: Its first record; None before that.
        small: All but the data, as plain values.
        looks: Looks that were kept.
    """

    def __init__(self, config: JudgeConfig | None) -> None:
        self.head: Line | None = None
        self.small: dict[str, Any] = {}
        self.looks = 0
        self._config = config
        self._split = [array("d"), array("d")]
        self._rows: dict[str, Rows] = {}

    def take(self, record: Line) -> None:
        """The next record; DataError where it is of something else."""
        try:
            if self.head is None:
                self._begin(record)
            else:
                self._add(record)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"this is no log of looks: {type(error).__name__}: {error}; {_START_AGAIN}") from error

    def _begin(self, record: Line) -> None:
        if record["what"] != "begin" or record["format"] != FORMAT:
            raise DataError(f"this is no log of looks of format {FORMAT}; {_START_AGAIN}")
        if self._config is not None:
            check_belongs(self._config, of=record["config"], sides_then=record["sides"])
        self.head = record

    def _add(self, record: Line) -> None:
        for stream in self.small.get("streams", {}).values():
            _grow(stream, record["judged"])
        _merge(self.small, record.get("changed", {}))
        split = record["split"]
        if split["from"] == 0:
            self._split = [array("d"), array("d")]
        for column, rows in zip(self._split, split["rows"], strict=True):
            extend(column, rows)
        for name, part in record["data"].items():
            if "whole" in part:
                self._rows[name] = whole_rows(part["whole"])
            self._rows[name].take(part)
        self.looks += 1

    def damaged(self, path: Path, error: Damaged) -> DataError:
        """What is wrong with the file, and what is left of it."""
        if self.head is None:
            return DataError(f"{path}: this is no log of looks: {error}; {_START_AGAIN}")
        return DataError(
            f"{path}: {error}, at byte {error.byte}; {self.small.get('consumed', 0)} intervals before it are whole. "
            f"Cut the file off there to go on from them (truncate -s {error.byte}), or {_START_AGAIN}"
        )

    def state(self) -> MonitorState | None:
        """The state after the last record; None where no look was kept."""
        if not self.looks:
            return None
        try:
            state = MonitorState.of_small(self.small)
            streams = {
                name: replaced(stream, data=self._rows[name].data()) if name in self._rows else stream
                for name, stream in state.streams.items()
            }
            baseline, canary = map(floats, self._split)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"this is no log of looks: {type(error).__name__}: {error}; {_START_AGAIN}") from error
        return replaced(state, streams=streams, split=as_requests(baseline=baseline, canary=canary)).checked()


# --- states of earlier versions ---------------------------------------------------------------------------------------


def _convert(config: JudgeConfig, path: Path) -> None:
    """Put a log in the place of a state of format 2 or 3, which was one JSON object; that is kept beside it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process converts it
        if (plain := _old_state(file)) is None:
            return  # a log says itself what is wrong with it
        if "format" not in plain:  # as a config has none
            raise DataError(f"{path}: is JSON of something else, and no state of a watch; name another file")
        file.seek(0)
        state = MonitorState.from_json(config, file.read())
        made = path.with_name(f"{path.name}.new")
        made.unlink(missing_ok=True)  # what a process that was killed left behind
        with StateLog(config, made) as log:
            log.keep(state)
        _put_aside(path, f".v{plain['format']}")
        made.replace(path)


def _old_state(file: BinaryIO) -> dict[str, Any] | None:
    """The state of an earlier version, if it is one; a log, which may be long, is told by its first line."""
    first = file.readline()
    if begins_as_written(first):
        return None
    try:
        plain = json.loads(first + file.read())
    except (ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) and plain.get("what") != "begin" else None


def _put_aside(path: Path, ending: str) -> None:
    """Keep a file under another name, too, that no other file has."""
    for number in range(1, 1000):
        kept = path.with_name(f"{path.name}{ending}" + ("" if number == 1 else f".{number}"))
        try:
            os.link(path, kept)
        except FileExistsError:
            if kept.samefile(path):
                return
            continue
        return
    raise DataError(f"there are too many files {path.name}{ending}.*; remove some")


def _refuse_what_is_no_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no regular file; name another")
