"""`canary-judge router`, `rollout` and `control`, as typed: output, exit codes, and one clear line for what is wrong."""

import argparse
import json
import signal
from datetime import timedelta

import pandas as pd
import pytest
import yaml

from canary_judge import JudgeConfig
from canary_judge.__main__ import main
from canary_judge.commands import rollout as rollout_commands
from canary_judge.errors import ConfigError
from canary_judge.history import History
from canary_judge.rollout.inbox import Command, Inbox
from canary_judge.rollout.journal import Journal
from canary_judge.routers import from_config
from canary_judge.testing import simulated_world
from tests.routers.test_conformance import CASES
from tests.routers.test_stores import MANIFEST

GATEWAY = ["--kind", "gateway-api", "--stable", "app-stable", "--canary", "app-canary"]
CONFIG = {
    "name": "checkout",
    "interval": "15s",
    "metrics": [
        {
            "name": "errors",
            "kind": "ratio",
            "events": "errors",
            "total": "requests",
            "harm": "increase",
            "margin": "1.5x or +0.2pp",
        }
    ],
}


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(one) for one in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


def test_a_weight_by_hand(run, manifest):
    where = [*GATEWAY, "--manifest", manifest]
    assert run("router", "get", *where) == (0, "0.990099 %\n", "")
    assert run("router", "set", "25", *where) == (0, "0.990099 % -> 25 %\n", "")
    assert run("router", "set", "25", *where) == (0, "25 % is in force already\n", "")
    assert (
        run("router", "get", *where, "--format", "json")[1]
        == '{"percent": 25.0, "per_route": {"0": 25.0}, "leftovers": []}\n'
    )
    code, out, error = run("router", "set", "50", *where, "--expect", "5")
    assert (code, out) == (1, "")
    assert error == "canary-judge: error: HTTPRoute: 25 % is in force, 5 % was expected\n"
    assert run("router", "rollback", *where) == (0, "rolled back: the canary has 0 %\n", "")
    assert run("router", "rollback", *where) == (0, "the canary has 0 % already\n", "")


def test_a_dry_run_shows_the_change_and_makes_none(run, manifest):
    code, out, _ = run("router", "set", "25", *GATEWAY, "--manifest", manifest, "--dry-run")
    assert code == 0
    assert out == (
        "would replace /spec/rules/0/backendRefs/0/weight = 75\nwould add /spec/rules/0/backendRefs/1/weight = 25\n"
    )
    assert manifest.read_text() == MANIFEST


def test_a_rollback_with_leftovers_has_an_exit_code_of_its_own(run, tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(yaml.safe_dump(CASES["gateway-rule-filter"]["object"]))
    where = [*GATEWAY, "--route", "b", "--manifest", path]
    run("router", "set", "25", *where)
    code, out, _ = run("router", "rollback", *where)
    assert code == 3
    assert out.splitlines() == [
        "rolled back: the canary has 0 %",
        "still leads to the canary: rule beta: header match pins canary",
        "still leads to the canary: rule a: RequestMirror filter still copies requests to canary",
    ]
    assert json.loads(run("router", "rollback", *where, "--format", "json")[1])["residuals"][0]["place"] == "rule beta"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["router", "get", "--kind", "istoi"], "router.type: 'istoi' is no router; did you mean 'istio'?"),
        (["router", "set", "130", *GATEWAY, "--manifest", "MANIFEST"], "PERCENT is 130; give a share of 0 to 100"),
        (["router", "get", *GATEWAY, "--manifest", "/no/such.yaml"], "there is no such manifest"),
        (["router", "get", *GATEWAY, "--manifest", "MANIFEST", "--route", "x"], "no rule 'x'; there are 0, 'other'"),
        (["router", "get", "--kind", "haproxy", "--option", "backend"], "--option: 'backend' is no KEY=VALUE"),
        (["router", "get", "--kind", "haproxy", "--option", "backend=app"], "address: is missing; add it"),
        (
            ["router", "get", "--kind", "haproxy", "--option", "address=/no.sock", "--option", "backend=app"],
            "haproxy at /no.sock: no answer",
        ),
        (["control", "/no/journal", "approve"], "there is no such journal"),
        (["rollout", "CONFIG", "--router", "memory"], "source 'default' is nowhere given"),
        (["rollout", "CONFIG", "--data", "TABLE"], "router: is missing; say in the config what drives the traffic"),
        (["rollout", "CONFIG", "--data", "TABLE", "--router", "memory", "--stages", "5,x"], "--stages is '5,x'"),
        (["rollout", "CONFIG", "--data", "TABLE", "--router", "memory", "--stages", "50,100"], "more than 10 %"),
        (["rollout", "CONFIG", "--data", "TABLE", "--router", "memory,x"], "--router: 'x' is no KEY=VALUE"),
        (["rollout", "CONFIG", "--data", "TABLE", "--router", "memory", "--every", "x"], "--every"),
        (["rollout", "CONFIG", "--data", "TABLE", "--router", "memory", "--journal", "/no/j"], "cannot be opened"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, manifest, tmp_path, arguments, message):
    config, table = tmp_path / "config.yaml", tmp_path / "table.csv"
    config.write_text(yaml.safe_dump(CONFIG))
    times = pd.date_range("2026-01-01", periods=4, freq="15s", tz="UTC").astype(str)
    table.write_text(
        "timestamp,side,requests,errors\n" + "".join(f"{at},baseline,9,0\n{at},canary,1,0\n" for at in times)
    )
    places = {"MANIFEST": manifest, "CONFIG": config, "TABLE": table}
    code, _, error = run(*(places.get(one, one) for one in arguments))
    assert code == 1
    assert message in error
    assert error.count("\n") == 1


def test_a_dry_run_of_a_rollout_tells_each_stage(run, manifest, tmp_path):
    config = tmp_path / "config.yaml"
    router = {"type": "gateway-api", "manifest": str(manifest), "stable": "app-stable", "canary": "app-canary"}
    rollout = {"stages": [5, {"weight": 50, "approval": True, "needs": "no_harm"}, 100], "maximum": "1h"}
    config.write_text(yaml.safe_dump({**CONFIG, "router": router, "rollout": rollout}))
    code, out, _ = run("rollout", config, "--dry-run")
    assert code == 0
    assert "5 %: left when safety is shown on 2m of its data or more; undecided after 1h, it is held for a human" in out
    assert "50 %: left when no harm is shown on 2m of its data or more and a human approves;" in out
    assert "would replace /spec/rules/0/backendRefs/0/weight = 95" in out
    assert "only errors are judged" in out
    assert manifest.read_text() == MANIFEST


@pytest.mark.parametrize("key", ["router", "rollout"])
def test_check_finds_what_is_wrong_in_both_sections(run, tmp_path, key):
    config = tmp_path / "config.yaml"
    wrong = {"router": {"type": "istio", "nme": "x"}, "rollout": {"stages": [25, 5, 100]}}[key]
    config.write_text(yaml.safe_dump({**CONFIG, key: wrong}))
    code, _, error = run("check", config)
    assert code == 1
    assert ("did you mean 'name'?" if key == "router" else "weights must rise") in error


@pytest.mark.parametrize(
    ("canary_errors", "code", "end"), [(0.005, 0, "PROMOTED at 100 %"), (0.03, 2, "ROLLED BACK at 0 %")]
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_rollout_from_the_command_line(run, tmp_path, monkeypatch, canary_errors, code, end, form):
    """In a simulated world: the command line's own loop, with the world's clock."""
    world = simulated_world(error_rate=0.005, canary_error_rate=canary_errors, seed=7)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "rollout": {"stages": [5, 25, 100], "minimum": "2m"}}))
    monkeypatch.setattr(rollout_commands, "_router_of", lambda *_: world.router)
    monkeypatch.setattr("canary_judge.commands.rollout.sources_of", lambda *_: world.source)
    monkeypatch.setattr("canary_judge.rollout.controller.SystemClock", lambda: world.clock)
    before = signal.getsignal(signal.SIGTERM)
    try:
        found, out, _ = run("rollout", config, "--journal", tmp_path / "j", "--format", form, "--no-preflight")
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert found == code
    if form == "json":
        events = [json.loads(line) for line in out.splitlines()]
        assert events[-1]["phase"] == ("promoted" if code == 0 else "rolled_back")
        assert [event["weight"] for event in events if event["kind"] == "weight"] == (
            [5, 25, 100] if code == 0 else [5, 0]
        )
    else:
        assert end in out
        assert "margin" in out


@pytest.mark.parametrize(
    ("more", "code", "end", "ended_by"),
    [
        ({"freeze": {"at_most": 3}}, 2, "FROZEN at 3 %", "this judge"),
        ({"revision": ["date", "+%N"]}, 5, "SUPERSEDED at 0 %", "unknown"),
        ({"ready": {"command": ["false"], "within": "2m"}}, 3, "STOPPED at 0 %", None),
    ],
)
def test_other_ends_have_codes_of_their_own(run, tmp_path, monkeypatch, more, code, end, ended_by):
    world = simulated_world(error_rate=0.005, canary_error_rate=0.05, seed=7)
    config, shown = tmp_path / "config.yaml", tmp_path / "shop.prom"
    config.write_text(yaml.safe_dump({**CONFIG, "rollout": {"stages": [5, 25, 100], **more}}))
    monkeypatch.setattr(rollout_commands, "_router_of", lambda *_: world.router)
    monkeypatch.setattr("canary_judge.commands.rollout.sources_of", lambda *_: world.source)
    monkeypatch.setattr("canary_judge.rollout.controller.SystemClock", lambda: world.clock)
    before = signal.getsignal(signal.SIGTERM)
    try:
        kept = ("--journal", tmp_path / "journal", "--archive", tmp_path / "archive")
        found, out, _ = run("rollout", config, "--no-preflight", "--metrics", shown, *kept)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert (found, end in out) == (code, True)
    assert [one.ended_by for one in History(tmp_path / "archive")] == ([] if ended_by is None else [ended_by])
    phase = end.split(" at ")[0].lower()
    assert f'canary_judge_phase{{phase="{phase}",rollout="{CONFIG["name"]}"}} 1.0' in shown.read_text()


def test_a_dry_run_tells_what_comes_before_and_after(run, manifest, tmp_path):
    config = tmp_path / "config.yaml"
    router = {"type": "gateway-api", "manifest": str(manifest), "stable": "app-stable", "canary": "app-canary"}
    rollout = {"after": "30m", "freeze": {"at_most": 25}, "ready": {"command": ["kubectl", "wait", "pod"]}}
    config.write_text(yaml.safe_dump({**CONFIG, "router": router, "rollout": rollout}))
    code, out, _ = run("rollout", config, "--dry-run")
    assert code == 0
    assert "at 100 % watched for 30m: errors against the baseline's last 30m, at twice the margin" in out
    assert "not before it is ready, within 30m: kubectl wait pod" in out
    assert "if it fails it is frozen, not rolled back, and keeps up to 25 %" in out


def test_control_leaves_a_command_beside_the_journal(run, tmp_path):
    path = tmp_path / "j"
    with Journal(path):
        code, out, _ = run("control", path, "abort", "--reason", "two\nlines")
    assert code == 0
    assert "obeys at its next look" in out
    assert Inbox(path).take() == ([Command("abort", "two lines")], "")


def test_control_says_when_no_driver_will_obey(run, tmp_path):
    path = tmp_path / "j"
    with Journal(path):
        pass
    code, out, err = run("control", path, "abort")
    assert (code, out) == (1, "")
    assert "no driver is running" in err
    assert "nothing has begun there" in err
    assert "canary-judge router rollback" in err
    assert Inbox(path).take() == ([Command("abort")], "")  # whoever takes it up obeys
    code, out, err = run("control", path, "pause")  # which may be for whoever goes on
    assert (code, out) == (0, "")
    assert "no driver is running" in err


def test_the_world_keeps_time():
    world = simulated_world(seed=1)
    world.clock.jump(timedelta(hours=1))
    assert world.clock.now().hour == 13


def test_what_a_router_drives_is_known_by_a_hash_without_its_secrets():
    """The hash is of what is driven: how long it is waited for may change."""
    first, other = (
        argparse.Namespace(router=[f"weighted,manifest=a.yaml,canary={name},token=s3cret,timeout={t}"])
        for name, t in (("v2", 5), ("v1", 9))
    )
    config = JudgeConfig.from_mapping(CONFIG)
    assert rollout_commands._drives(first, config) != rollout_commands._drives(other, config)
    given = {"type": "memory", "canary": "v2", "token": "s3cret"}
    one, again = (
        rollout_commands._drives(
            argparse.Namespace(router=None), JudgeConfig.from_mapping({**CONFIG, "router": {**given, "timeout": t}})
        )
        for t in (5, 9)
    )
    assert one == again
    assert "s3cret" not in one


@pytest.mark.parametrize("subset", [None, "blue"])
def test_stable_and_canary_of_one_name_are_told_so(subset):
    options = {"type": "istio", "name": "app", "namespace": "prod", "stable": "v1", "canary": "v1"}
    if subset is not None:
        options |= {"stable_subset": subset, "canary_subset": subset}
    with pytest.raises(ConfigError, match="stable, canary: both are 'v1"):
        from_config(options)
