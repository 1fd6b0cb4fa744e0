"""The service under load: python -m benchmarks.service_load [RUNS] [MINUTES]

RUNS runs (500) of 3 ratios and 2 gauges, every 15 s, against a source that answers at once: a real server with two
processes that look, asked over HTTP by all adapters. Looks that are late by more than an interval, the time of each
adapter's answers against its budget, and looks per second beside bare `Monitor.look` in as many processes, same run.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import requests

from canary_judge import JudgeConfig, Monitor
from canary_judge.series import Form, Reading, Result, Series

STEP = 15
BUDGETS = {"/v1/looks": 8.0, "/flagger/gate": 8.0, "/flagger/rollback": 8.0, "/prom": 4.0, "/v1/runs (watched)": 8.0}


def plain():
    """Three ratios, two gauges."""
    ratio = {"kind": "ratio", "total": "requests", "harm": "increase", "margin": "1.5x or +0.2pp"}
    ratios = [{**ratio, "name": name, "events": name} for name in ("errors", "slow", "retries")]
    gauges = [
        {"kind": "gauge", "name": name, "query": name, "harm": "increase", "margin": "10%", "role": "guard"}
        for name in ("memory", "load")
    ]
    return {"name": "shop", "interval": f"{STEP}s", "metrics": [*ratios, *gauges]}


class Fast:
    """Answers at once, the same for the same interval, and not after `until`."""

    def fetch(self, queries, window):
        results = []
        for query in queries:
            edges = window.edges(query.step)[1:]
            rng = np.random.default_rng([len(query.expression), int(edges[0] // 10**9), query.side.value == "canary"])
            share = 0.05 if query.side.value == "canary" else 0.95
            if query.reading is Reading.LEVEL:
                values, form = rng.lognormal(0, 0.05, edges.size), Form.LEVEL
            else:
                rate = 6000 * share * (1.0 if query.part == "total" else 0.005)
                values, form = rng.poisson(rate, edges.size).astype(float), Form.COUNTS
            results.append(Result(series=(Series(timestamps=edges, values=values),), form=form))
        return results


def fast(*_):
    """For the processes that look."""
    return {"default": Fast()}


def serve(folder, port, clock):
    """The server: its clock is real, or moved by GET /advance."""
    import uvicorn
    from fastapi import APIRouter

    from canary_judge.service import Runs
    from canary_judge.service.app import make_app

    moved = {"now": datetime.now(UTC)}
    now = (lambda: datetime.now(UTC)) if clock == "real" else (lambda: moved["now"])
    runs = Runs(f"{folder}/configs", f"{folder}/judge.db", workers=2, sources=fast, now=now, most_runs=10**6)
    app, more = make_app(runs), APIRouter()

    @more.get("/advance")
    def advance() -> str:
        moved["now"] += timedelta(seconds=STEP)
        return moved["now"].isoformat()

    app.include_router(more)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_config=None)


def wait_for(url):
    """Until a server answers."""
    for _ in range(400):
        try:
            requests.get(f"{url}/healthz", timeout=1)
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"no server starts at {url}")


class Server:
    """A process of its own."""

    def __init__(self, folder, port, clock):
        command = [sys.executable, "-m", "benchmarks.service_load", "serve", str(folder), str(port), clock]
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.url = f"http://127.0.0.1:{port}"
        wait_for(self.url)

    def close(self):
        self.process.terminate()
        self.process.wait(60)


def question(number):
    """What run NUMBER asks: (name of the adapter, method, path, arguments)."""
    sides = {"canary": {"version": f"{number}b"}, "baseline": {"version": f"{number}a"}}
    kind = number % 10
    if kind < 5:
        return "/v1/looks", "POST", "/v1/looks", {"json": {"config": "shop", **sides}}
    hook = {"name": f"web{number}", "namespace": "prod", "phase": "Progressing", "checksum": "1"}
    if kind < 7:
        return "/flagger/gate", "POST", "/flagger/gate", {"json": {**hook, "metadata": {"config": "shop"}}}
    if kind < 8:
        return "/flagger/rollback", "POST", "/flagger/rollback", {"json": {**hook, "metadata": {"config": "shop"}}}
    if kind < 9:
        query = f'canary_judge_score{{config="shop", canary_version="{number}b", baseline_version="{number}a"}}'
        return "/prom", "GET", "/prom/api/v1/query", {"params": {"query": query}}
    return "/v1/runs (watched)", "POST", "/v1/runs", {"json": {"config": "shop", **sides}}


def paced(folder, runs, minutes):
    """Every run asks each 15 s; the watched ones are begun once, and looked at by the service itself."""
    server = Server(folder, 18931, "real")
    seconds = {name: [] for name in BUDGETS}
    statuses = {}
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def ask(number, due):
        time.sleep(max(due - time.monotonic(), 0.0))
        name, method, path, arguments = question(number)
        begun = time.monotonic()
        answer = session.request(method, server.url + path, timeout=60, **arguments)
        seconds[name].append(time.monotonic() - begun)
        statuses[name, answer.status_code] = statuses.get((name, answer.status_code), 0) + 1

    begun = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        for turn in range(minutes * 60 // STEP):
            for number in range(runs):
                if number % 10 < 9 or turn == 0:
                    pool.submit(ask, number, begun + turn * STEP + STEP * number / runs)
            while time.monotonic() < begun + (turn + 1) * STEP - 1:
                time.sleep(0.2)
    metrics = requests.get(f"{server.url}/metrics", timeout=10).text
    late = [line for line in metrics.splitlines() if line.startswith("canary_judge_late_looks_total")]
    ended = [line for line in metrics.splitlines() if line.startswith("canary_judge_looks_total")]
    server.close()
    print(f"{runs} runs of 3 ratios and 2 gauges, every {STEP} s, for {minutes} min")
    print("| adapter | asked | median s | p99 s | worst s | budget s |\n| --- | --- | --- | --- | --- | --- |")
    for name, taken in seconds.items():
        if taken:
            middle, high, worst = np.quantile(taken, [0.5, 0.99, 1.0])
            print(f"| {name} | {len(taken):,} | {middle:.3f} | {high:.3f} | {worst:.3f} | {BUDGETS[name]:g} |")
    print("statuses:", {f"{name} {status}": number for (name, status), number in sorted(statuses.items())})
    print("watched looks later than an interval:", late[0].split()[-1], "; looks:", *ended)


def bare(part):
    """Rounds of bare looks in one process: (number of looks, seconds)."""
    number, rounds = part
    config = JudgeConfig.from_mapping(plain())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    monitors = [Monitor(config, start=start) for _ in range(number)]
    source = Fast()
    begun = time.perf_counter()
    for k in range(1, rounds + 1):
        for monitor in monitors:
            monitor.look(source, start + timedelta(seconds=STEP * k))
    return number * rounds, time.perf_counter() - begun


def throughput(folder, runs=60, rounds=40):
    """Looks per second of the service with two processes, and of bare monitors in two processes."""
    server = Server(folder, 18932, "moved")
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))

    def ask(number):
        sides = {"canary": {"version": f"{number}b"}, "baseline": {"version": f"{number}a"}}
        answer = session.post(f"{server.url}/v1/looks", json={"config": "shop", **sides}, timeout=60)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(runs)))
        begun = time.perf_counter()
        for _ in range(rounds):
            session.get(f"{server.url}/advance", timeout=10)
            list(pool.map(ask, range(runs)))
        served = runs * rounds / (time.perf_counter() - begun)
    server.close()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.map(bare, [(runs // 2, rounds)] * 2)
    alone = sum(looks for looks, _ in parts) / max(seconds for _, seconds in parts)
    print(f"looks per second: served {served:.1f}, bare in as many processes {alone:.1f}, ratio {served / alone:.2f}")


def main():
    """Both, one after the other."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    minutes = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for work in (lambda folder: paced(folder, runs, minutes), throughput):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "configs").mkdir()
            (Path(folder) / "configs" / "shop.json").write_text(json.dumps(plain()))
            work(folder)


if __name__ == "__main__":
    main()
