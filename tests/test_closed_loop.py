"""The closed loop on real parts: app, proxy, Prometheus, load, and the command line driving the weights."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from canary_judge.routers import from_config
from tests.closed_loop import closed_loop

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(300)]


def at_weight(percent):
    return lambda records: any(record["state"]["weight"] == percent for record in records)


def weights(loop):
    """The weights that were in force, in order."""
    found = [record["state"]["weight"] for record in loop.journal()]
    return [one for one, before in zip(found, [None, *found], strict=False) if one != before]


def canary_weight(loop):
    return from_config(loop.router).get_weight().percent


def test_a_healthy_canary_is_promoted_although_its_driver_is_killed_and_its_store_hangs(tmp_path):
    with closed_loop(tmp_path, "envoy") as loop:
        first = loop.start()
        loop.wait(first, 150, until=at_weight(25))
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert canary_weight(loop) == 25
        loop.store.send_signal(signal.SIGSTOP)
        second = loop.start()
        time.sleep(15)
        assert "blind" in loop.output()
        assert canary_weight(loop) == 25
        loop.store.send_signal(signal.SIGCONT)
        assert loop.wait(second, 200) == 0, loop.output()
        assert "taken up at 25 %" in loop.output()
        assert canary_weight(loop) == 100
        assert weights(loop) == [0, 5, 25, 50, 75, 100]
        failed, requests = loop.failed_requests()
        assert failed == 0
        assert requests > 5000


@pytest.mark.parametrize(
    ("kind", "fault"), [("envoy-rds", {"slower": 1.5}), ("haproxy", {"errors": 0.1}), ("nginx", {"errors": 0.1})]
)
def test_a_regression_is_rolled_back(kind, fault, tmp_path):
    with closed_loop(tmp_path, kind) as loop:
        process = loop.start()
        loop.wait(process, 60, until=at_weight(5))
        time.sleep(6)
        since = loop.fault(**fault)
        assert loop.wait(process, 240) == 2, loop.output()
        assert canary_weight(loop) == 0
        fall = next(record for record in loop.journal() if record["what"] == "rolling_back")
        assert datetime.fromisoformat(fall["at"]).timestamp() - since < 120
        assert fall["verdict"] == "fail"
        assert "no request of" in loop.output()
        failed, _ = loop.failed_requests()
        # a reload of nginx may close a connection on which a request is under way
        assert failed <= (3 if kind == "nginx" else 0)


def test_sticky_sessions_on_envoy_survive_the_rollback_and_are_seen(tmp_path):
    """The report names the cookie rule, and the requests that still arrive prove it."""
    with closed_loop(tmp_path, "envoy", sticky=True) as loop:
        process = loop.start()
        loop.wait(process, 60, until=at_weight(5))
        loop.fault(errors=0.3)
        assert loop.wait(process, 240) == 2, loop.output()
        assert canary_weight(loop) == 0
        assert "still leads to the canary: route sticky: cookie match pins canary" in loop.output()
        told = re.search(r"the canary gets ([\d.]+)% of [\d,]+ requests although its weight is 0", loop.output())
        assert told, loop.output()
        assert float(told[1]) > 1


def test_thin_traffic_is_held_and_a_driver_that_is_stopped_can_be_taken_up_and_aborted(tmp_path):
    with closed_loop(tmp_path, "haproxy", rate=4) as loop:
        process = loop.start()
        loop.wait(process, 60, until=at_weight(5))
        time.sleep(30)
        assert process.poll() is None
        assert canary_weight(loop) == 5
        process.send_signal(signal.SIGTERM)
        assert loop.wait(process, 20) == 3
        assert re.search(r"needs [\d,]+ (expected )?canary (requests|events)", loop.output()), loop.output()
        assert "interrupted at 5 %" in loop.output()
        assert canary_weight(loop) == 5
        process = loop.start()
        loop.wait(process, 20, until=lambda records: records[-1]["what"] == "look")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "canary_judge",
                "control",
                str(tmp_path / "journal"),
                "abort",
                "--reason",
                "no time",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "obeys at its next look" in done.stdout
        assert loop.wait(process, 60) == 2
        assert "no time" in loop.output()
        assert canary_weight(loop) == 0
