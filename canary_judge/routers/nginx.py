"""nginx: the percentage in a `split_clients` block, and a reload."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from canary_judge.config.metrics import StrictModel
from canary_judge.config.reading import read_options
from canary_judge.errors import (
    Conflict,
    DestinationNotFound,
    DriftDetected,
    NotEnoughWeight,
    RouteNotFound,
    RouterError,
    RouterUnavailable,
)
from canary_judge.files import put_file
from canary_judge.routers.waiting import wait_until
from canary_judge.routing import Residual, RollbackReport, WeightReading, check_percent, leftovers, same_weight

__all__ = ["NginxRouter"]

# Seconds that a worker serves before it counts as of the last reload.
_SETTLED = 0.3
_PROCESSES = Path("/proc")
_Command = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]


class _Options(StrictModel):
    path: str
    variable: str = "variant"
    canary: str = "canary"
    command: _Command = ("nginx",)
    pid: str | None = None
    timeout: float = Field(default=15.0, gt=0)


class NginxRouter:
    """Edits `split_clients "..." $variant { 25% canary; * stable; }` in a config file, tests it, and reloads.

    nginx refuses 0 %, so at weight 0 the canary's line is a comment. A file that `nginx -t` refuses is put back.

    Args:
        path: The file with the block.
        variable: The block's variable, without `$`.
        canary: The canary's value in the block.
        command: How nginx is called, as ["nginx", "-c", "/etc/nginx/nginx.conf"]; `-t` and `-s reload` are added.
        pid: nginx's pid file; with it `verify` waits until workers of the new config serve.
        timeout: Seconds that nginx may take to test or to reload.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        variable: str = "variant",
        canary: str = "canary",
        command: Sequence[str] = ("nginx",),
        pid: str | Path | None = None,
        timeout: float = 15.0,
    ) -> None:
        self._path, self._variable, self._canary = Path(path), variable.removeprefix("$"), canary
        self._command, self._pid, self._timeout = tuple(command), None if pid is None else Path(pid), timeout

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From a config's `router:` section; keys as the arguments."""
        return cls(**read_options(_Options, options).model_dump())

    def _read(self) -> str:
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                return file.read()
        except FileNotFoundError as error:
            raise RouteNotFound(f"{self._path}: there is no such file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RouterUnavailable(f"{self._path}: cannot be read: {error}") from error

    def _block(self, text: str) -> re.Match[str]:
        pattern = rf'split_clients\s+(?P<key>"[^"]*"|\S+)\s+\${re.escape(self._variable)}\s*\{{(?P<body>[^}}]*)\}}'
        blocks = [one for one in re.finditer(pattern, text) if not _commented(text, one.start())]
        if len(blocks) != 1:
            raise RouteNotFound(
                f"{self._path}: has {len(blocks)} split_clients blocks for ${self._variable}; one is needed"
            )
        return blocks[0]

    def _line(self, text: str) -> re.Match[str]:
        """The canary's part of the block; a comment stands for 0 %, `*` for what the others leave."""
        block = self._block(text)
        name = re.escape(self._canary)
        pattern = re.compile(rf"(?P<off>#\s*)?(?P<share>\d+(?:\.\d+)?%|\*)\s+(?P<name>{name}|\"{name}\"|'{name}')\s*;")
        found = list(pattern.finditer(text, block.start("body"), block.end("body")))
        lines = [one for one in found if not one["off"] and not _commented(text, one.start())]
        if not lines:  # of notes of before, the one that we write
            lines = [one for one in found if one["off"]]
            lines = [one for one in lines if one["share"] == "0%"][-1:] or lines
        if len(lines) != 1:
            raise DestinationNotFound(
                f"{self._path}: the block for ${self._variable} names {self._canary!r} {len(lines)} times; write it "
                f"once, as `# 0% {self._canary};`"
            )
        return lines[0]

    def get_weight(self) -> WeightReading:
        """The percentage in the file."""
        return self._weight(self._read())

    def _weight(self, text: str) -> WeightReading:
        line = self._line(text)
        percent = (
            0.0 if line["off"] else 100.0 - self._others(text) if line["share"] == "*" else float(line["share"][:-1])
        )
        return WeightReading(percent=percent, per_route={self._variable: percent})

    def _parts(self, text: str) -> list[re.Match[str]]:
        """The parts of the block that are not the canary's and count."""
        block = self._block(text)
        pattern = re.compile(r"(?P<share>\d+(?:\.\d+)?%|\*)\s+(?P<name>[^\s;]+)\s*;")
        parts = pattern.finditer(text, block.start("body"), block.end("body"))
        return [one for one in parts if one["name"].strip("\"'") != self._canary and not _commented(text, one.start())]

    def _others(self, text: str, but: str | None = None) -> float:
        """What other values than the canary have in percent, but this one."""
        return sum(float(one["share"][:-1]) for one in self._parts(text) if one["share"] != "*" and one["name"] != but)

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Edit, test, reload."""
        check_percent(percent)
        text = self._read()
        now = self._weight(text)
        if expect is not None and not same_weight(now.percent, expect):
            raise DriftDetected(f"{self._path}: {now} is in force, {expect:g} % was expected")
        if same_weight(now.percent, percent):
            if self._pid is None or not self._reloaded():  # whoever wrote it may have been stopped before
                self._run("-s", "reload")
            return False
        if abs(100 * percent - round(100 * percent)) > 1e-9:
            raise NotEnoughWeight(f"{percent:g} % cannot be written; nginx has two decimals")
        line = self._line(text)
        last = self._without_rest(text)
        if percent < 100 and not self._parts(text):
            raise DestinationNotFound(
                f"{self._path}: ${self._variable} has no other value than {self._canary!r}; add `* stable;`"
            )
        others = self._others(text, None if last is None else last["name"])
        if percent > 0 and others + percent > 100:
            raise NotEnoughWeight(f"{percent:g} % and {others:g} % of other values are more than 100 %")
        part = f"{percent:g}% {line['name']};"
        if percent == 0:
            rest = text[line.end() :].split("\n", 1)[0].split("#", 1)[0]
            part = f"# {part}" + ("\n" if rest.strip() else "")  # a comment must not swallow what follows
        edits = [(line.span(), part)]
        if last is not None:
            # beyond the last percent the value is empty, and such requests fail: the last other one has the rest
            rest_of_all = f"* {last['name']};"
            behind = line.start() > last.start() and percent > 0  # `*` takes all, so nothing may stand behind it
            edits = (
                [(last.span(), part), (line.span(), rest_of_all)] if behind else [*edits, (last.span(), rest_of_all)]
            )
        changed = text
        for (start, end), written in sorted(edits, reverse=True):
            changed = changed[:start] + written + changed[end:]
        self._put(changed, over=text)
        try:
            self._run("-t")
            self._run("-s", "reload")
        except RouterError:
            if now.percent is None or percent > now.percent:
                self._put(text)  # what is not in force must not stand there; a lower weight stays, to be tried again
            raise
        return True

    def _without_rest(self, text: str) -> re.Match[str] | None:
        """The last part of a block that is not the canary's, where no `*` of another takes what the percents leave."""
        others = self._parts(text)
        return others[-1] if others and not any(one["share"] == "*" for one in others) else None

    def _put(self, text: str, *, over: str | None = None) -> None:
        """Write the file; only over this text, where it is given."""

        def unchanged() -> None:
            if over is not None and self._read() != over:
                raise Conflict(f"{self._path}: somebody else wrote it meanwhile; nothing was changed")

        try:
            put_file(self._path, text, check=unchanged)
        except OSError as error:
            raise RouterUnavailable(f"{self._path}: cannot be written: {error}") from error

    def _run(self, *arguments: str) -> None:
        command = [*self._command, *arguments]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=self._timeout, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RouterUnavailable(f"{' '.join(command)}: {error}") from error
        if done.returncode:
            raise RouterError(f"{' '.join(command)}: {' '.join(done.stderr.split())[-300:]}")

    def rollback(self) -> RollbackReport:
        """The canary's line becomes a comment; open connections stay with the old workers until they end."""
        changed = self.set_weight(0.0)
        if not changed:
            self._run("-s", "reload")  # an earlier reload may have failed after the file was written
        return RollbackReport(changed=changed, residuals=leftovers(self))

    def leftovers(self) -> tuple[Residual, ...]:
        """Locations that lead to the canary whatever the split says."""
        text = self._read()
        block = self._block(text)
        elsewhere = _without_comments(text).replace(_without_comments(block[0]), "")
        found = []
        if re.search(rf"proxy_pass\s+\w+://{re.escape(self._canary)}\b", elsewhere):
            found.append(
                Residual(place="proxy_pass", reason=f"a location leads to {self._canary} whatever the split says")
            )
        return tuple(found)

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """Whether the file has the weight and, where the pid file is known, every serving worker is younger than it.

        A reload that was under way when the file was written ends in workers that are younger and know nothing of it:
        the next ones follow at once, so that those that have served for a moment are the last.
        """
        return wait_until(
            lambda: same_weight(self.get_weight().percent, percent) and self._reloaded(), timeout, every=0.02
        )

    def _reloaded(self) -> bool:
        if self._pid is None or not _PROCESSES.exists():  # no other system tells how old a worker is
            return True
        try:
            master = int(self._pid.read_text(encoding="ascii"))
            children = (_PROCESSES / f"{master}/task/{master}/children").read_text(encoding="ascii").split()
            age = time.time() - self._path.stat().st_mtime
            serving = []
            for child in children:
                title = (_PROCESSES / child / "cmdline").read_bytes()
                if b"worker process" in title and b"shutting down" not in title:
                    serving.append(_age((_PROCESSES / child / "stat").read_text(encoding="ascii")))
            return bool(serving) and max(serving) <= age and min(serving) >= _SETTLED
        except (OSError, ValueError):
            return False


def _age(stat: str) -> float:
    """Seconds since a process began, from its line in /proc."""
    ticks = float(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _commented(text: str, position: int) -> bool:
    return "#" in text[text.rfind("\n", 0, position) + 1 : position]


def _without_comments(text: str) -> str:
    return re.sub(r"#[^\n]*", "", text)
