"""Telling people: what matters, once, and nothing waits for it."""

import http.server
import json
import sys
import threading
import time

import pytest

from canary_judge import Controller, RolloutPlan
from canary_judge.errors import ConfigError
from canary_judge.rollout import Phase
from canary_judge.rollout.notifying import Notifier
from canary_judge.testing import simulated_world

BAD = {"error_rate": 0.005, "canary_error_rate": 0.05, "seed": 7}


def driven(notifier, plan=None, **world):
    world = simulated_world(**(world or BAD))
    plan = plan or RolloutPlan(stages=[5, 25, 100], minimum="1m")
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock, callbacks=[notifier])
    texts = [event.text for event in controller.events()]
    return controller.result(), texts, notifier.finish()


def command(tmp_path, body):
    script = tmp_path / "told.py"
    script.write_text(body)
    return [sys.executable, str(script)]


def writes(tmp_path):
    file = tmp_path / "told"
    return command(tmp_path, f"import sys; open({str(file)!r}, 'a').write(sys.stdin.read() + '\\n')"), file


def test_a_command_is_told_of_a_rollback_and_of_the_end(tmp_path):
    told, file = writes(tmp_path)
    result, _, complaint = driven(Notifier(told))
    assert (result.phase, complaint) == (Phase.ROLLED_BACK, "")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["event"], line["phase"]) for line in lines] == [
        ("rolling_back", "rolling_back"),
        ("ended", "rolled_back"),
    ]
    assert "harm beyond the margin" in lines[0]["text"]
    assert lines[1]["weight"] == 0


def test_a_hold_past_its_deadline_is_told_once_a_stage(tmp_path):
    told, file = writes(tmp_path)
    world = simulated_world(error_rate=0.005, seed=3)
    plan = RolloutPlan(stages=[5, 100], minimum="1m", maximum="2m")
    notifier = Notifier(told)
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock, callbacks=[notifier])
    for number, _ in enumerate(controller.events()):
        if number > 30:
            break
    notifier.finish()
    held = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in held] == ["held"]
    assert "not decided within 2m at 5 %" in held[0]["text"]


def test_an_address_is_told(monkeypatch):
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", "secret-path")
    try:
        driven(Notifier(f"http://127.0.0.1:{server.server_port}/${{env:HOOK}}"))
    finally:
        server.shutdown()
        server.server_close()
    assert [(path, told["event"]) for path, told in heard] == [
        ("/secret-path", "rolling_back"),
        ("/secret-path", "ended"),
    ]


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:9/secret-path", ["/no/such/program"], [sys.executable, "-c", "exit(3)"]]
)
def test_what_cannot_be_told_is_said_and_stops_nothing(to):
    result, texts, complaint = driven(Notifier(to))
    assert result.phase is Phase.ROLLED_BACK
    said = " ".join([*texts, complaint])
    assert "was not sent" in said
    assert "secret-path" not in said


def test_a_rollback_waits_for_no_notification():
    world = simulated_world(**BAD)
    notifier = Notifier([sys.executable, "-c", "import time; time.sleep(60)"])
    began = time.monotonic()
    plan = RolloutPlan(stages=[5, 25, 100], minimum="1m")
    Controller(world.config, world.source, world.router, plan, clock=world.clock, callbacks=[notifier]).run()
    assert time.monotonic() - began < 9  # of simulated minutes; a notification may take ten seconds


def test_a_variable_that_is_not_set_is_told_before_anything_is_driven():
    with pytest.raises(ConfigError, match="notify: environment variable NO_SUCH is not set"):
        Notifier("https://hooks.example/${env:NO_SUCH}")


def test_in_a_plan():
    plan = RolloutPlan.from_mapping({"notify": ["mail", "-s", "canary"]})
    assert plan.notify == ["mail", "-s", "canary"]
    assert "notify" not in plan.model_dump()  # an address may hold a token, and the journal keeps the plan
    assert RolloutPlan.from_mapping({"notify": "https://hooks.example/x"}).notify == "https://hooks.example/x"
