"""The closed loop on real parts: two versions of an app behind a proxy, Prometheus scraping them, steady load, and
`canary-judge rollout` driving the proxy's weights. Used by the slow tests and by `python -m benchmarks.closed_loop`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests import proxies
from tests.real_prometheus import find_binaries, running

ERRORS, MEDIAN = 0.02, 0.010
CONFIG = """
name: closed loop
interval: 3s
baseline: {{version: v1}}
canary: {{version: v2}}
sources: {{default: {{type: prometheus, url: "{prometheus}", timeout: 3, deadline: 5}}}}
metrics:
  - name: errors
    kind: ratio
    events: http_requests_total{{version="${{version}}",code=~"5.."}}
    total: http_requests_total{{version="${{version}}"}}
    harm: increase
    margin: 1.5x or +3pp
    business: true
  - name: slow requests
    kind: latency
    histogram: http_request_duration_seconds_bucket{{version="${{version}}"}}
    slower_than: 20ms
    margin: 1.5x or +5pp
router: {router}
rollout: {{stages: {stages}, minimum: 6s, patience: 1m, aftercare: 15s}}
"""


@dataclass
class Loop:
    """A running loop.

    Attributes:
        folder: For configs, journals and logs.
        canary_port: Of v2, which takes faults.
        router: The `router:` section for this proxy.
        prometheus: Its address.
        load: Log of the load.
        store: Prometheus' process.
    """

    folder: Path
    canary_port: int
    router: dict
    prometheus: str
    load: Path
    store: subprocess.Popen
    stages: list = field(default_factory=lambda: [5, 25, 50, 75, 100])
    drivers: list = field(default_factory=list)

    def config(self):
        path = self.folder / "rollout.yaml"
        router, stages = json.dumps(self.router), json.dumps(self.stages)
        path.write_text(CONFIG.format(prometheus=self.prometheus, router=router, stages=stages))
        return path

    def start(self, *arguments, stdout=None):
        """`canary-judge rollout` as its user starts it; what it prints goes into a file unless `stdout` says otherwise."""
        command = [
            sys.executable,
            "-m",
            "canary_judge",
            "rollout",
            str(self.config()),
            "--journal",
            str(self.folder / "journal"),
            *arguments,
        ]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "CANARY_JUDGE_TRACEBACK": "1"}
        with (self.folder / "output").open("a") as output:
            shown = output if stdout is None else stdout
            self.drivers.append(subprocess.Popen(command, stdout=shown, stderr=output, env=environment))
        return self.drivers[-1]

    def end(self):
        """No driver outlives its test."""
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
                driver.wait()

    def fault(self, **changes):
        query = "&".join(f"{name}={value}" for name, value in changes.items())
        urllib.request.urlopen(f"http://127.0.0.1:{self.canary_port}/fault?{query}", timeout=5).read()
        return time.time()

    def journal(self):
        path = self.folder / "journal"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def output(self):
        return (self.folder / "output").read_text()

    def wait(self, process, seconds, until=lambda records: False):
        """Until the driver ends, or its journal says so; its exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process.poll() is not None or until(self.journal()):
                return process.returncode
            time.sleep(0.2)
        raise AssertionError(f"after {seconds} s: {self.output()[-2000:]}")

    def failed_requests(self):
        """Requests that got no answer of the app: refused by the proxy, or the connection failed."""
        rows = [line.split() for line in self.load.read_text().splitlines()]
        return sum(int(row[2]) + int(row[3]) for row in rows), sum(int(row[1]) for row in rows)


def wait_for_baseline(prometheus, *, scrapes=6, seconds=60):
    """Before a rollout the stable version has served for a while; its preflight finds that."""
    expression = 'count_over_time(http_requests_total{version="v1"}[1m])'
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = json.loads(urllib.request.urlopen(address, timeout=5).read())["data"]["result"]
        if found and max(float(one["value"][1]) for one in found) >= scrapes:
            time.sleep(4)  # preflight leaves the newest interval out
            return
        time.sleep(0.5)
    raise AssertionError("Prometheus has scraped nothing of the baseline")


@contextlib.contextmanager
def closed_loop(folder, kind, *, rate=300.0, sticky=False):
    """All parts running; `kind` is envoy, envoy-rds, haproxy or nginx."""
    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        ports = proxies.free_ports(2)
        for port, seed in zip(ports, (1, 2), strict=True):
            command = [sys.executable, "-m", "tests.live_app", str(port), str(ERRORS), str(MEDIAN), str(seed)]
            inner = folder / f"app{seed}"
            inner.mkdir()
            stack.enter_context(proxies.started(command, [port], inner, cwd=Path.cwd()))
        proxy_folder = folder / "proxy"
        proxy_folder.mkdir()
        if kind == "envoy":
            port, admin, _ = stack.enter_context(proxies.envoy(proxy_folder, ports, sticky=sticky))
            router = {"type": "envoy-runtime", "url": admin, "prefix": "split.rt"}
        elif kind == "envoy-rds":
            port, admin, path = stack.enter_context(proxies.envoy(proxy_folder, ports, sticky=sticky, mode="rds"))
            router = {"type": "envoy-file", "path": str(path), "admin": admin, "route": "split"}
        elif kind == "haproxy":
            port, address = stack.enter_context(proxies.haproxy(proxy_folder, ports, sticky=sticky))
            router = {"type": "haproxy", "address": address, "backend": "app"}
        else:
            port, path, command, pid = stack.enter_context(proxies.nginx(proxy_folder, ports))
            router = {"type": "nginx", "path": str(path), "command": command, "pid": str(pid)}
        jobs = [
            {"targets": [f"127.0.0.1:{port_}"], "labels": {"version": version}}
            for port_, version in zip(ports, ("v1", "v2"), strict=True)
        ]
        scraping = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "app", "static_configs": jobs}],
        }
        store = []
        prometheus = stack.enter_context(running(find_binaries(), config=json.dumps(scraping), processes=store))
        load = folder / "load"
        client = subprocess.Popen([sys.executable, "-m", "tests.live_load", str(port), str(rate), str(load)])
        stack.callback(client.wait)
        stack.callback(client.send_signal, signal.SIGTERM)
        wait_for_baseline(prometheus)
        loop = Loop(folder, ports[1], router, prometheus, load, store[0])
        stack.callback(loop.end)
        yield loop
