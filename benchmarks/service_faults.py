"""Faults of a service under load: python -m benchmarks.service_faults [KILLS]

Two replicas on a real PostgreSQL, asked by all adapters about healthy and broken canaries whose intervals are seconds.
They are killed (kill -9) by turns under load; then the source goes, the database goes and comes back, a clock is five
minutes wrong; and, on SQLite, the disk is full. Every interval of every log is then compared with what the source said:
none may be counted twice, or be lost. Printed is what each controller was told in each phase.
"""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import requests

from benchmarks.service_load import wait_for
from canary_judge import JudgeConfig, SourceUnavailable
from canary_judge.checked_lines import parse_line
from canary_judge.looks.log import Folded
from canary_judge.series import Form, Result, Series
from canary_judge.service.store import Store
from tests.databases import running_postgres

PORTS = (18941, 18942)
HEALTHY, BROKEN = range(4), range(4, 6)


class Seconds:
    """The same counts for the same second, from whoever asks; none while a file `down` is there."""

    def __init__(self, folder, *, broken):
        self.down, self.broken = Path(folder) / "down", broken

    def fetch(self, queries, window):
        if self.down.exists():
            raise SourceUnavailable("the source is down")
        results = []
        for query in queries:
            edges = window.edges(query.step)[1:]
            edges = edges[edges <= time.time_ns()]
            values = counts(edges, query.side.value, query.part, broken=self.broken)
            results.append(
                Result(series=(Series(timestamps=edges, values=values),) if edges.size else (), form=Form.COUNTS)
            )
        return results


def counts(edges, side, part, *, broken):
    """Of each second: requests, or those that failed."""
    second = edges // 10**9
    whole = np.where(side == "canary", 200, 1800) + (second * 7919) % 13
    if part == "total":
        return whole.astype(float)
    failed = (second * 104_729) % 3 + (9 if side == "baseline" else 0)
    return (failed + (20 if broken and side == "canary" else 0)).astype(float)


def serve(folder, url, port, ahead):
    """A replica, whose clock may be wrong."""
    import uvicorn

    from canary_judge.service import Runs
    from canary_judge.service.app import make_app

    os.environ["FAULTS_FOLDER"] = folder
    off = timedelta(seconds=float(ahead))
    runs = Runs(f"{folder}/configs", url, workers=1, sources=found, now=lambda: datetime.now(UTC) + off)
    signal.signal(signal.SIGTERM, lambda *_: None)  # as `canary-judge serve` has it
    uvicorn.run(make_app(runs), host="127.0.0.1", port=int(port), access_log=False, log_config=None)


def found(config, _):
    """For the processes that look: they are told the folder by the environment."""
    return {"default": Seconds(os.environ["FAULTS_FOLDER"], broken=config.name == "broken")}


class Replica:
    """A server process."""

    def __init__(self, folder, url, port, *, ahead=0.0, file_bytes=None):
        self.url = f"http://127.0.0.1:{port}"

        def limited():
            os.setsid()
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        command = [sys.executable, "-m", "benchmarks.service_faults", "serve", str(folder), url, str(port), str(ahead)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=limited, **quiet)  # noqa: PLW1509
        wait_for(self.url)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


def questions(number):
    """What is asked of canary NUMBER, by every controller."""
    config = "broken" if number in BROKEN else "shop"
    sides = {"canary": {"version": f"{number}b"}, "baseline": {"version": f"{number}a"}}
    hook = {"name": f"web{number}", "namespace": "prod", "phase": "Progressing", "checksum": "1"}
    hook["metadata"] = {"config": config}
    query = f'canary_judge_score{{config="{config}", canary_version="{number}b", baseline_version="{number}a"}}'
    yield "looks", "POST", "/v1/looks", {"json": {"config": config, **sides}}
    yield "gate", "POST", "/flagger/gate", {"json": hook}
    yield "rollback", "POST", "/flagger/rollback", {"json": hook}
    yield "check", "POST", "/flagger/check", {"json": hook}
    yield "prom", "GET", "/prom/api/v1/query", {"params": {"query": query}}


class Load:
    """Threads that ask all replicas; what they are told is counted by phase."""

    def __init__(self, urls):
        self.urls, self.phase, self.told, self.stop = urls, "start", Counter(), threading.Event()
        self.slowest = Counter()
        self.threads = [threading.Thread(target=self.ask, args=(k,)) for k in range(8)]
        for thread in self.threads:
            thread.start()

    def ask(self, offset):
        session = requests.Session()
        for turn in itertools.count(offset):
            if self.stop.is_set():
                return
            number, url = turn % 6, self.urls[turn % len(self.urls)]
            for name, method, path, more in questions(number):
                phase, begun = self.phase, time.monotonic()
                try:
                    answer = session.request(method, url + path, timeout=30, **more)
                    text = said(name, answer)
                except requests.RequestException:
                    text = "no answer"
                kind = "broken" if number in BROKEN else "healthy"
                self.told[phase, name, kind, text] += 1
                self.slowest[phase] = max(self.slowest[phase], time.monotonic() - begun)
            time.sleep(0.02)

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def said(name, answer):
    if name == "looks" and answer.status_code == 200:
        summary = answer.json()["summary"]
        return f"{summary['verdict']}{' stale' if summary['stale'] else ''}"
    if name == "prom" and answer.status_code == 200:
        return answer.json()["data"]["result"][0]["value"][1]
    return str(answer.status_code)


def checked(url, away=()):
    """Compare every log with what the source says: (runs, intervals, gaps, wrong ones).

    An interval without any count is a gap: it is wrong, for lost, but where the source was `away` (from, until), or a
    clock that was ahead took the future for the past and gave it up.
    """
    store = Store(url)
    intervals, gaps, wrong, seen = 0, 0, [], 0
    for short in store.listed(limit=10_000):
        run = store.get(short.id)
        config = JudgeConfig.from_mapping(json.loads(run.config)).with_sides(baseline=run.baseline, canary=run.canary)
        folded, crc = Folded(config), 0
        for number, line in enumerate(store.log(run.id), 1):
            record, crc = parse_line(line, crc)
            if record is None or record["n"] != number:
                wrong.append((run.key, "a line is damaged, or its number is not the next"))
                break
            folded.take(record)
        state = folded.state()
        if state is None or not state.streams or state.streams["errors"].data is None:
            continue
        seen += 1
        intervals += state.consumed
        known = state.streams["errors"].data.counts
        begin = int(state.start.timestamp())
        edges = (begin + 1 + np.arange(state.consumed)) * 10**9
        for side in ("baseline", "canary"):
            for part, name in (("events", "events"), ("total", "exposure")):
                expected = counts(edges, side, part, broken=run.config_name == "broken")
                kept = getattr(known, f"{name}_{side}")
                seconds = edges / 1e9
                may_lack = np.zeros(edges.size, dtype=bool)
                for since, until in away:
                    may_lack |= (seconds > since - 2) & (seconds < until + 2)
                lacks = (kept == 0) & may_lack
                if kept.size != expected.size or not ((kept == expected) | lacks).all():
                    wrong.append((run.key, side, part, int((kept != expected).sum())))
                gaps += int(lacks.sum()) if (side, part) == ("baseline", "total") else 0
    store.close()
    return seen, intervals, gaps, wrong


def table(load, phases):
    """What each controller was told, by phase."""
    names = ("looks", "gate", "rollback", "check", "prom")
    print(f"| phase | canary | {' | '.join(names)} | slowest s |\n{'| --- ' * (len(names) + 3)}|")
    for phase, kind in itertools.product(phases, ("healthy", "broken")):
        cells = []
        for name in names:
            answers = {
                text: number for (p, n, k, text), number in load.told.items() if (p, n, k) == (phase, name, kind)
            }
            cells.append(", ".join(f"{text}: {number}" for text, number in sorted(answers.items())) or "-")
        print(f"| {phase} | {kind} | {' | '.join(cells)} | {load.slowest[phase]:.1f} |")


def configs(folder):
    metric = {"name": "errors", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
    (Path(folder) / "configs").mkdir()
    for name in ("shop", "broken"):
        plain = {"name": name, "interval": "1s", "metrics": [metric]}
        plain["sources"] = {"default": {"type": "frame", "path": str(folder)}}
        (Path(folder) / "configs" / f"{name}.json").write_text(json.dumps(plain))


def replicated(folder, url, server, kills):
    """Two replicas on PostgreSQL."""
    replicas = [Replica(folder, url, port) for port in PORTS]
    load = Load([one.url for one in replicas])
    phases = [
        "start",
        f"{kills} x kill -9",
        "source down",
        "database down",
        "both back",
        "clock 5 min ahead",
        "and right again",
    ]

    def phase(name, seconds):
        load.phase = name
        time.sleep(seconds)

    phase(phases[0], 15)
    load.phase = phases[1]
    for number in range(kills):
        place = number % 2
        replicas[place].kill()
        time.sleep(0.5)
        replicas[place] = Replica(folder, url, PORTS[place])
        time.sleep(0.5)
    load.phase = "(the source goes)"
    went = time.time()
    (Path(folder) / "down").touch()
    time.sleep(5)
    phase(phases[2], 8)
    load.phase = "(the database goes)"
    backends = [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
    for pid in (server, *backends):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    phase(phases[3], 10)
    load.phase = "(both come back)"
    for pid in (server, *backends):
        os.kill(pid, signal.SIGCONT)
    (Path(folder) / "down").unlink()
    away = [(went, time.time())]
    time.sleep(8)
    phase(phases[4], 8)
    load.phase = "(a clock is set)"
    set_at = time.time()
    replicas[0].kill()
    replicas[0] = Replica(folder, url, PORTS[0], ahead=300.0)
    time.sleep(3)
    phase(phases[5], 8)
    load.phase = "(and set back)"
    replicas[0].kill()
    replicas[0] = Replica(folder, url, PORTS[0])
    time.sleep(3)
    phase(phases[6], 8)
    load.close()
    codes = [one.stop() for one in replicas]
    table(load, phases)
    seen, intervals, gaps, wrong = checked(url, [*away, (set_at, time.time() + 400)])
    told = f"{gaps:,} of them gaps (source away, clock ahead); wrong: {wrong or 'none'}"
    print(f"{seen} runs, {intervals:,} intervals in their logs, {told}; exit codes at SIGTERM: {codes}")
    healthy = sum(
        n for (_, name, kind, text), n in load.told.items() if (name, kind, text) == ("rollback", "healthy", "200")
    )
    print(f"rollbacks of healthy canaries: {healthy}")


def full(folder):
    """SQLite on a disk that is full."""
    url = f"sqlite:///{folder}/judge.db"
    replica = Replica(folder, url, PORTS[0], file_bytes=1_000_000)
    load = Load([replica.url])
    time.sleep(20)
    load.phase = "(it fills)"
    for _ in range(60):
        if any("stale" in text or text == "502" for _, _, _, text in list(load.told)):
            break
        time.sleep(1)
    load.phase = "disk full"
    time.sleep(10)
    load.close()
    replica.stop()
    table(load, ["start", "disk full"])
    print("wrong:", checked(url)[3] or "none")
    replica = Replica(folder, url, PORTS[0])
    load = Load([replica.url])
    load.phase = "room again"
    time.sleep(8)
    load.close()
    replica.stop()
    table(load, ["room again"])
    print("wrong:", checked(url)[3] or "none")


def main():
    """Both databases."""
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:6])
        return
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with (
        tempfile.TemporaryDirectory() as data,
        running_postgres(Path(data)) as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        configs(folder)
        pid = int(next(Path(data).rglob("postmaster.pid")).read_text().split()[0])
        replicated(folder, url.replace("postgresql://", "postgresql+psycopg://"), pid, kills)
    with tempfile.TemporaryDirectory() as folder:
        configs(folder)
        full(folder)


if __name__ == "__main__":
    main()
