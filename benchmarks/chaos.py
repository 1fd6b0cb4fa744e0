"""What befalls drivers, on real parts: `python -m benchmarks.chaos [FILE [WHAT]]` (13 minutes; a full disk needs root).

Two versions of an app behind a real proxy, a real Prometheus, steady load, and `canary-judge rollout`; then something
goes wrong with its screen, disk, proxy, commands or life while the canary turns bad (half of its requests fail) or
stays healthy. A second process reads the weight in force twice a second. Each row says how long the bad canary kept
traffic, how long it had more than was judged, and whether a command was lost.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from canary_judge.routers import from_config
from canary_judge.routing import TrafficRouter
from tests.closed_loop import Loop, closed_loop

PATIENCE = 60.0  # of the config
BAD = {"errors": 0.5}
HEAD = (
    "| proxy | what happens | canary | ends with | above 0 %, s | above the judged weight, s | command lost |",
    "|---|---|---|---|---|---|---|",
)


@dataclass
class Watcher:
    """Reads the weight in force, on its own."""

    router: TrafficRouter
    seen: list[tuple[float, float]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            with contextlib.suppress(Exception):  # while the socket is gone nothing is known
                reading = self.router.get_weight()
                shares = [reading.percent or 0.0, *reading.per_route.values()]
                self.seen.append((time.time(), max(shares)))

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watcher]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            thread.join()

    def last_above(self, percent: float, since: float) -> float:
        """Seconds since then until the weight was last seen above."""
        return max((at - since for at, weight in self.seen if weight > percent and at > since), default=0.0)


@dataclass(frozen=True)
class Found:
    """What one scenario gave."""

    code: int | None
    above_zero: float | None
    too_much: float
    lost: bool = False


def at_weight(loop: Loop, process: subprocess.Popen, percent: float, seconds: float = 90) -> None:
    loop.wait(process, seconds, until=lambda records: any(one["state"]["weight"] == percent for one in records))


def turned_bad(loop: Loop, watcher: Watcher, process: subprocess.Popen, befall: Callable[[], None]) -> Found:
    """At 5 %, something happens and the canary turns bad."""
    at_weight(loop, process, 5)
    time.sleep(10)
    since = loop.fault(**BAD)
    befall()
    code = loop.wait(process, 400)
    return Found(code, watcher.last_above(0, since), watcher.last_above(5, since))


def reader_gone(loop: Loop, watcher: Watcher) -> Found:
    process = loop.start(stdout=subprocess.PIPE)
    return turned_bad(loop, watcher, process, process.stdout.close)


def hangup(loop: Loop, watcher: Watcher) -> Found:
    process = loop.start()
    return turned_bad(loop, watcher, process, lambda: process.send_signal(signal.SIGHUP))


def disk_full(loop: Loop, watcher: Watcher) -> Found:
    place = loop.folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=True)
    try:
        (loop.folder / "journal").symlink_to(place / "journal")

        def fill() -> None:
            with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
                while file.write(b"x" * 512):
                    pass

        return turned_bad(loop, watcher, loop.start(), fill)
    finally:
        loop.end()
        subprocess.run(["umount", str(place)], check=True)


def socket_gone(loop: Loop, watcher: Watcher) -> Found:
    """For 20 seconds nobody can reach the proxy's socket."""
    place = Path(loop.router["address"])
    aside = place.with_suffix(".aside")
    process = loop.start()

    def hide() -> None:
        place.rename(aside)
        threading.Timer(20, lambda: aside.rename(place)).start()

    return turned_bad(loop, watcher, process, hide)


def server_added(loop: Loop, watcher: Watcher) -> Found:
    """Somebody scales out: the backend has a server that no side names, and a rise cannot be written any more."""

    backend = loop.router["backend"]

    def scale_out() -> None:
        _, header, *rows = ask(loop, f"show servers state {backend}").splitlines()
        servers = [dict(zip(header[1:].split(), row.split(), strict=False)) for row in rows if row]
        port = next(one["srv_port"] for one in servers if one["srv_name"] == "stable")
        said = ask(loop, f"add server {backend}/more 127.0.0.1:{port} weight 50")
        assert "New server registered" in said, said
        ask(loop, f"enable server {backend}/more")

    return turned_bad(loop, watcher, loop.start(), scale_out)


def ask(loop: Loop, command: str) -> str:
    """What HAProxy says to a command of an administrator."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(loop.router["address"])
        connection.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def raised_by_others(loop: Loop, watcher: Watcher) -> Found:
    """Somebody else, as a proxy that restarts with the weights of its file, gives a healthy canary 50 %."""
    process = loop.start()
    at_weight(loop, process, 5)
    since = time.time()
    watcher.router.set_weight(50)
    loop.wait(process, 2 * PATIENCE + 60, until=lambda records: any(one.get("rule") == "raised" for one in records))
    time.sleep(5)
    too_much = watcher.last_above(5, since)
    loop.end()
    watcher.router.rollback()
    return Found(None, None, too_much)


def raised_and_bad(loop: Loop, watcher: Watcher) -> Found:
    process = loop.start()
    return turned_bad(loop, watcher, process, lambda: watcher.router.set_weight(50))


def commands_corrupted(loop: Loop, watcher: Watcher) -> Found:
    """Rubbish before and behind an abort, in a file that is written anew."""
    process = loop.start()
    at_weight(loop, process, 5)
    commands = loop.folder / "journal.commands"
    commands.write_bytes(b"\xff\xfe\x00\n")
    time.sleep(5)
    since = time.time()
    commands.write_bytes(b"\xed\xa0\x80\nabort\tit burns\n\xff")
    code = loop.wait(process, 120)
    return Found(code, watcher.last_above(0, since), 0.0, lost="it burns" not in loop.output())


def killed_30_times(loop: Loop, watcher: Watcher) -> Found:
    """Each time the same command goes on; after ten of them the canary is bad."""
    rng, since = random.Random(7), None
    process = loop.start()
    at_weight(loop, process, 5)
    for number in range(30):
        if number == 10:
            since = loop.fault(**BAD)
        time.sleep(rng.uniform(0.3, 4.0))
        process.kill()
        process.wait()
        process = loop.start()
        if process.poll() is not None:
            break
    code = loop.wait(process, 400)
    assert since is not None
    judged = max(one["state"]["weight"] for one in loop.journal())
    return Found(code, watcher.last_above(0, since), watcher.last_above(judged, 0.0))


SCENARIOS: tuple[tuple[str, str, str, Callable[[Loop, Watcher], Found]], ...] = (
    ("haproxy", "the reader of its output goes away", "bad", reader_gone),
    ("envoy", "the reader of its output goes away", "bad", reader_gone),
    ("haproxy", "SIGHUP", "bad", hangup),
    ("haproxy", "the disk of its journal is full", "bad", disk_full),
    ("haproxy", "the proxy's socket is gone for 20 s", "bad", socket_gone),
    ("haproxy", "a server is added to the backend", "bad", server_added),
    ("haproxy", "somebody else sets 50 %", "healthy", raised_by_others),
    ("envoy", "somebody else sets 50 %", "bad", raised_and_bad),
    ("haproxy", "rubbish around an abort", "healthy", commands_corrupted),
    ("nginx", "30 times kill -9, and the same command again", "bad", killed_30_times),
)


def row(kind: str, what: str, canary: str, scenario: Callable[[Loop, Watcher], Found]) -> str:
    """Run one scenario on parts of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closed_loop(folder, kind) as loop,
        Watcher(from_config(loop.router)).watching() as watcher,
    ):
        found = scenario(loop, watcher)
    end = {0: "promoted", 2: "rolled back", 3: "stopped", None: "driven on"}.get(found.code, f"exit {found.code}")
    above = "-" if found.above_zero is None else f"{found.above_zero:.0f}"
    return f"| {kind} | {what} | {canary} | {end} | {above} | {found.too_much:.0f} | {'yes' if found.lost else 'no'} |"


def main() -> None:
    lines = list(HEAD)
    print("\n".join(lines), flush=True)
    for scenario in SCENARIOS:
        if len(sys.argv) > 2 and sys.argv[2] not in scenario[1]:
            continue
        lines.append(row(*scenario))
        print(lines[-1], flush=True)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
