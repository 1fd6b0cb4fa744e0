"""`canary-judge serve` as a process: it starts, is refused, and ends; `canary-judge runs` beside it."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from canary_judge.__main__ import main
from tests.service.house import SIDES
from tests.test_planning import ERRORS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "configs").mkdir()
    rows = "timestamp,side,requests,errors\n2026-01-01T12:00:00Z,baseline,1,0\n2026-01-01T12:00:00Z,canary,1,0\n"
    (tmp_path / "table.csv").write_text(rows)
    plain = {"name": "shop", "interval": "1m", "metrics": [ERRORS]}
    plain["sources"] = {"default": {"type": "frame", "path": str(tmp_path / "table.csv")}}
    (tmp_path / "configs" / "shop.json").write_text(json.dumps(plain))
    return tmp_path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve(folder, *more):
    command = [sys.executable, "-m", "canary_judge", "serve", "--config-dir", str(folder / "configs"), "--workers", "1"]
    return subprocess.Popen(
        [*command, "--database", str(folder / "judge.db"), *more], stderr=subprocess.PIPE, text=True, cwd=folder
    )


def wait_for(process, port):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        try:
            assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).text == "ok\n"
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it does not start")


def test_it_serves_and_ends_with_0_on_sigterm(folder, capsys):
    port = free_port()
    process = serve(folder, "--port", str(port))
    try:
        wait_for(process, port)
        asked = requests.post(f"http://127.0.0.1:{port}/v1/looks", json={"config": "shop", **SIDES}, timeout=60)
        assert asked.json()["summary"]["verdict"] == "marginal"
        database = ["--database", str(folder / "judge.db")]
        assert main(["runs", "list", *database]) == 0
        run = capsys.readouterr().out.splitlines()[1].split()[0]
        assert main(["runs", "show", run, *database]) == 0
        assert "running" in capsys.readouterr().out
        assert main(["runs", "cancel", run, *database]) == 0
        assert capsys.readouterr().out == "cancelled\n"
        state = requests.get(f"http://127.0.0.1:{port}/v1/runs/{run}", timeout=10).json()["state"]
        assert state == "cancelled"
        assert main(["runs", "show", "none", *database]) == 1
        second = serve(folder, "--port", str(port))
        assert second.wait(60) == 1  # the port is taken
        assert "address already in use" in second.stderr.read()
        second.stderr.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        lines = [json.loads(line) for line in process.stderr.read().splitlines() if line.startswith("{")]
        process.stderr.close()
    assert any(line["message"] == "look" and line["config"] == "shop" for line in lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--host", "0.0.0.0"), "without a --token-file anybody could roll canaries back"),
        (("--port", "70000"), "--port is 70000"),
        (("--workers", "-1"), "--workers is -1"),
        (("--token-file", "none"), "none: cannot be read"),
        (("--retention", "soon"), "--retention: 'soon' is no duration"),
        (("--database", "nodb://x"), "the address of the database"),
        (("--config-dir", "nowhere"), "the folder of the configs, nowhere, cannot be read"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(folder, monkeypatch, capsys, options, says):
    monkeypatch.chdir(folder)
    base = ["serve", "--config-dir", str(folder / "configs"), "--database", str(folder / "judge.db")]
    assert main([*base, *options]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
