"""No secret in anything that is shown or kept: every command is run with marked ones, and all it leaves is searched."""

import json
import os
import pickle
import subprocess
import sys

import pytest

from canary_judge import JudgeConfig
from canary_judge.errors import CanaryJudgeError
from canary_judge.sources import PrometheusSource
from canary_judge.sources import from_config as source_from_config

MARK = "Sesame-93"
SECRETS = {"plain": MARK, "outside latin-1": f"{MARK}-\u03a9\u20ac", "with a line end": f"{MARK}\nX: y"}
CONFIG = {
    "name": "shop",
    "interval": "1m",
    "baseline": {"version": "v1"},
    "canary": {"version": "v2"},
    "metrics": [
        {
            "name": "errors", "kind": "ratio", "events": 'e{v="${version}"}', "total": 't{v="${version}"}',
            "harm": "increase", "margin": "1.5x",
        }
    ],
    "router": {"type": "memory"},
}  # fmt: skip
# The address of a port that nobody listens on.
URL = "http://127.0.0.1:9"


def sources(**options):
    return {"sources": {"default": {"type": "prometheus", "url": URL, "timeout": 1, "deadline": 1, **options}}}


def places(secret):
    """Where people put secrets, rightly or wrongly."""
    return {
        "password": sources(username="me", password=secret),
        "token": sources(bearer_token=secret),
        "header": sources(headers={"X-Key": secret}),
        "tenant": sources(tenant=secret),
        "url": sources(url=f"http://me:{secret}@127.0.0.1:9"),
        "url without a scheme": sources(url=f"me:{secret}@127.0.0.1:9"),
        "a key there is not": sources(passwort=secret),
        "a mapping for a text": sources(tenant={"password": secret}),
        "type": {"sources": {"default": {"type": {"password": secret}}}},
        "type of the router": {"router": {"type": {"token": secret}}},
        "router": {"router": {"type": "envoy", "admin": f"http://me:{secret}@127.0.0.1:9", "token": secret}},
        "rollout": {
            "rollout": {"patience": {"token": secret}, "stages": [{"password": secret}], "recent": {"x": secret}}
        },
        "a metric": {"metrics": [{**CONFIG["metrics"][0], "margin": {"password": secret}}]},
        "a source for a metric": {"metrics": [{**CONFIG["metrics"][0], "source": {"password": secret}}]},
    }


COMMANDS = [
    ["judge", "--last", "10m"],
    ["judge", "--last", "10m", "--format", "json"],
    ["watch", "--once", "--state", "state"],
    ["plan", "--last", "1h"],
    ["check"],
    ["check", "--format", "json"],
    ["rollout", "--dry-run"],
    ["rollout", "--journal", "journal"],
]

RUN = """
import json, sys, io, contextlib, os
from canary_judge.__main__ import main
for command in json.loads(sys.argv[1]):
    for file in json.loads(sys.argv[2]):
        try:
            code = main([command[0], file, *command[1:]])
        except SystemExit as error:
            code = error.code
        print(command[0], "ended with", code)
"""


@pytest.mark.parametrize("kind", SECRETS)
def test_no_command_shows_or_keeps_a_secret(tmp_path, kind):
    files = []
    for name, section in places(SECRETS[kind]).items():
        file = tmp_path / f"{name.replace(' ', '-')}.json"
        file.write_text(json.dumps({**CONFIG, **section}))
        files.append(file.name)
    arguments = [json.dumps(COMMANDS), json.dumps(files)]
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=tmp_path, capture_output=True, timeout=120, check=True,
        env={**os.environ, "CANARY_JUDGE_TRACEBACK": ""},
    )  # fmt: skip
    left = {"output": ended.stdout + ended.stderr}
    left |= {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name not in files}
    assert ended.stdout.count(b"ended with") == len(COMMANDS) * len(files)
    assert b"internal error" not in left["output"]
    for name, content in left.items():
        at = content.find(MARK.encode())
        assert at < 0, f"{name}: ...{content[max(at - 300, 0) : at + 40].decode('utf-8', 'replace')}"


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("place", places(""))
def test_no_object_keeps_one_in_its_dumps(kind, place):
    data = {**CONFIG, **places(SECRETS[kind])[place]}
    refused, config = None, None
    try:
        config = JudgeConfig.from_mapping(data)
    except CanaryJudgeError as error:
        refused = error
    if config is None:
        assert MARK not in str(refused)
        assert refused.__cause__ is None
        return
    kept = [repr(config), str(config), config.model_dump_json(), str(config.model_dump())]
    if place != "rollout":  # whose values are no secrets where they stand
        assert MARK not in "".join(kept)
        assert MARK.encode() not in pickle.dumps(config)
    assert config.sources == data.get("sources", {})  # what is used is what was given
    assert pickle.loads(pickle.dumps(config)).metrics == config.metrics


def test_references_to_the_environment_stay_in_dumps():
    data = {**CONFIG, **sources(bearer_token="${env:TOKEN}", username="me", url="http://prometheus:9090")}
    dumped = JudgeConfig.from_mapping(data).model_dump()["sources"]["default"]
    assert dumped["bearer_token"] == "${env:TOKEN}"
    assert (dumped["url"], dumped["timeout"]) == ("http://prometheus:9090", 1)


def test_a_source_is_not_pickled():
    with pytest.raises(TypeError, match="build it where it is used"):
        pickle.dumps(PrometheusSource(URL, bearer_token=MARK))


def test_a_password_in_any_script_is_sent_as_utf_8():
    source = source_from_config({"type": "prometheus", "url": URL, "username": "me", "password": "\u03a9"})
    request = source._session.auth(type("Request", (), {"headers": {}})())
    assert request.headers["Authorization"] == "Basic bWU6zqk="
