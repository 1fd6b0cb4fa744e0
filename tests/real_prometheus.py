"""A throw-away Prometheus for tests: found or fetched, backfilled by promtool, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "canary_judge" / "prometheus"

Sample = tuple[str, Mapping[str, str], Iterable[tuple[float, float]]]


@dataclass(frozen=True)
class Binaries:
    prometheus: Path
    promtool: Path


class NoPrometheusError(RuntimeError):
    """There is no Prometheus here, and why."""


def find_binaries() -> Binaries:
    """From PROMETHEUS_BIN, PATH or the cache; else from Debian's package, which needs no root."""
    for candidate in (
        os.environ.get("PROMETHEUS_BIN"),
        shutil.which("prometheus"),
        CACHE / "usr/bin/prometheus",
    ):
        if candidate and Path(candidate).is_file():
            found = Binaries(Path(candidate), Path(candidate).with_name("promtool"))
            if found.promtool.is_file():
                return found
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoPrometheusError("no prometheus on PATH, none in PROMETHEUS_BIN, and no apt-get to fetch it with")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        got = subprocess.run(
            ["apt-get", "download", "prometheus"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        packages = list(Path(folder).glob("*.deb"))
        if got.returncode or not packages:
            raise NoPrometheusError(f"apt-get download prometheus failed: {got.stderr.strip()[-300:]}")
        # a package of its own in newer releases
        subprocess.run(["apt-get", "download", "promtool"], cwd=folder, capture_output=True, timeout=240, check=False)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, f"{folder}/x"], check=True, timeout=120)
        with contextlib.suppress(OSError):  # another worker may have been faster
            Path(f"{folder}/x/usr").rename(CACHE / "usr")
    return Binaries(CACHE / "usr/bin/prometheus", CACHE / "usr/bin/promtool")


def openmetrics(samples: Iterable[Sample]) -> Iterator[str]:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    for name, labels, points in samples:
        inner = ",".join(f'{key}="{escaped(value)}"' for key, value in labels.items())
        for when, value in points:
            yield f"{name}{{{inner}}} {value} {when:.3f}\n"
    yield "# EOF\n"


@contextlib.contextmanager
def running(
    binaries: Binaries,
    samples: Iterable[Sample] = (),
    *,
    config: str = "",
    flags: Iterable[str] = (),
    processes: list[subprocess.Popen[bytes]] | None = None,
) -> Iterator[str]:
    """Yield the address of a server that holds the samples; it is killed and its folder removed afterwards.

    Its process is appended to `processes`, for tests that stop it for a while.
    """
    with tempfile.TemporaryDirectory(prefix="canary-judge-prometheus-") as folder:
        root = Path(folder)
        data = root / "data"
        data.mkdir()
        lines = list(openmetrics(samples))
        if len(lines) > 1:
            (root / "samples").write_text("".join(lines))
            subprocess.run(
                [
                    binaries.promtool,
                    "tsdb",
                    "create-blocks-from",
                    "openmetrics",
                    "--quiet",
                    "--max-block-duration=744h",
                    root / "samples",
                    data,
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )
        (root / "prometheus.yml").write_text(config)
        last = ""
        for _ in range(3):  # the free port may be taken between finding and using it
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            with (root / "log").open("w") as log:
                process = subprocess.Popen(
                    [
                        binaries.prometheus,
                        f"--config.file={root}/prometheus.yml",
                        f"--storage.tsdb.path={data}",
                        f"--web.listen-address=127.0.0.1:{port}",
                        "--storage.tsdb.retention.time=100y",
                        "--log.level=warn",
                        *flags,
                    ],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            try:
                if _ready(port, process):
                    if processes is not None:
                        processes.append(process)
                    yield f"http://127.0.0.1:{port}"
                    return
                last = (root / "log").read_text()[-500:]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                process.wait()
        raise RuntimeError(f"Prometheus did not start: {last}")


def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as got,
        ):
            if got.status == 200:
                return True
        time.sleep(0.02)
    return False
