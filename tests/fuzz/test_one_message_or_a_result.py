"""Whatever arrives, the answer is a result or one of our messages: never another exception, never half of a file."""

import json
import random

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary_judge import JudgeConfig, RolloutPlan
from canary_judge.errors import CanaryJudgeError
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.rollout.inbox import Command, Inbox
from canary_judge.rollout.journal import Journal
from canary_judge.routers import from_config
from canary_judge.sources import FrameSource
from tests.builders import START, config, counted, samples

BOUNDED = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "0", "-5", "nan", ".inf", "1e400", "=cmd", "\x1b[2J", "\ud800", "${x}", "${env:NOPE}", "9" * 400]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def told(error):
    """There is a message, and it can be shown."""
    assert str(error).encode("utf-8", "backslashreplace")


def leaves(value, path=()):
    """The paths of everything inside of a value, the value itself included."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))


def mutated(value, path, junk):
    """The value with something else at a path."""
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = mutated(value[path[0]], path[1:], junk)
    return copy


def mutations(value):
    return st.builds(lambda path, junk: mutated(value, path, junk), st.sampled_from(list(leaves(value))), JUNK)


CONFIG = {
    "name": "shop", "interval": "1m", "baseline": {"version": "v1"}, "canary": {"version": "v2"}, "horizon": "1h",
    "false_alarm_rate": 0.01, "traffic": {"weight": 5}, "groups": {"errors": 1}, "score": {"pass": 95},
    "metrics": [
        {"name": "e", "kind": "ratio", "events": "a", "total": "b", "harm": "increase", "margin": "1.5x or +0.1pp"},
        {"name": "g", "kind": "gauge", "query": "q", "harm": "either", "margin": "10%", "limit": "5", "by": "pod"},
        {"name": "l", "kind": "latency", "histogram": "h", "slower_than": "250ms", "margin": "10%", "harm": "increase"},
    ],
    "rollout": {"stages": [5, {"weight": 50, "approval": True}, 100], "patience": "5m", "recent": 2},
    "router": {"type": "memory"},
}  # fmt: skip


@BOUNDED
@given(mutations({key: value for key, value in CONFIG.items() if key != "horizon"}))
def test_a_config(data):
    try:
        found = JudgeConfig.from_mapping(data)
        RolloutPlan.from_mapping(found.rollout)
        list(found.queries())
        from_config(found.router)
    except CanaryJudgeError as error:
        told(error)


@BOUNDED
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_config_file(tmp_path, content):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(CanaryJudgeError):
        JudgeConfig.load(file)


ONE = config({"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"})
STATE = json.loads(
    observe(ONE, MonitorState(start=START, horizon=60), samples(counted(5.0, 800.0, 1.0, [200.0] * 5), 5))[0].to_json(
        ONE
    )
)


@BOUNDED
@given(mutations(STATE))
def test_a_state(data):
    try:
        state = MonitorState.from_json(ONE, json.dumps(data))
        observe(ONE, state, None)
    except CanaryJudgeError as error:
        told(error)


MANIFESTS = {
    "istio": {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "app"},
        "spec": {"http": [{"match": [{"headers": {"x": {"exact": "y"}}}], "mirror": {"host": "c"}, "route": [
            {"destination": {"host": "s"}, "weight": 90, "headers": {"response": {"add": {"set-cookie": "a"}}}},
            {"destination": {"host": "c"}, "weight": 10}]}], "tls": [{"route": [{"destination": {"host": "c"}}]}]},
    },
    "gateway-api": {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "app"},
        "spec": {"rules": [{"matches": [{"headers": [{"name": "x"}]}], "filters": [
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "c"}, "percent": 5}}],
            "backendRefs": [{"name": "s", "weight": 9}, {"name": "c", "weight": 1}]}]},
        "status": {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]},
    },
    "contour": {
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": "app"},
        "spec": {"routes": [{"conditions": [{"header": {"name": "x"}}], "loadBalancerPolicy": {"strategy": "Cookie"},
                             "services": [{"name": "s", "weight": 9}, {"name": "c", "weight": 1, "mirror": False}]}]},
    },
    "apisix": {
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": {"name": "app"},
        "spec": {"http": [{"name": "r", "match": {"exprs": [{"subject": {"scope": "Header"}}]},
                           "backends": [{"serviceName": "s", "weight": 9}, {"serviceName": "c", "weight": 1}]}]},
    },
    "smi": {
        "apiVersion": "split.smi-spec.io/v1alpha2", "kind": "TrafficSplit", "metadata": {"name": "app"},
        "spec": {"service": "app", "backends": [{"service": "s", "weight": "900m"}, {"service": "c", "weight": "100m"}]},
    },
    "traefik": {
        "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "app"},
        "spec": {"weighted": {"services": [{"name": "s", "weight": 9}, {"name": "c", "weight": 1}]}},
    },
    "ingress-nginx": {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "app", "annotations": {
            "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "5",
            "nginx.ingress.kubernetes.io/affinity": "cookie"}},
        "spec": {},
    },
    "aws-alb-ingress": {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "app", "annotations": {"alb.ingress.kubernetes.io/actions.root": json.dumps(
            {"type": "forward", "forwardConfig": {"targetGroups": [
                {"serviceName": "s", "weight": 9}, {"serviceName": "c", "weight": 1}]}})}},
        "spec": {},
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", MANIFESTS)
@settings(BOUNDED, max_examples=80)
@given(data=st.data())
def test_a_manifest(tmp_path, kind, data):
    value = data.draw(mutations(MANIFESTS[kind]))
    file = tmp_path / "m.yaml"
    try:
        before = yaml.safe_dump(value, allow_unicode=True)
        file.write_text(before, encoding="utf-8")
    except (UnicodeEncodeError, yaml.YAMLError):
        return
    more = {"action": "root"} if kind == "aws-alb-ingress" else {}
    names = {} if kind == "ingress-nginx" else {"stable": "s", "canary": "c"}
    try:
        router = from_config({"type": kind, **names, **more, "manifest": str(file)})
        router.get_weight()
        router.leftovers()
        router.set_weight(25)
        router.rollback()
    except CanaryJudgeError as error:
        told(error)
        yaml.safe_load(file.read_text(encoding="utf-8"))  # nothing half-written
        return
    assert router.get_weight().percent == 0


@BOUNDED
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_commands(tmp_path, pieces):
    inbox = Inbox(tmp_path / "j")
    file = tmp_path / "j.commands"
    file.write_bytes(b"")
    for piece in pieces:
        with file.open("ab") as out:
            out.write(piece)
        inbox.take()
    with file.open("ab") as out:
        out.write(b"\nabort\n")
    assert Command("abort") in inbox.take()[0]


def test_a_journal(tmp_path):
    rng, path = random.Random(1), tmp_path / "j"
    with Journal(path) as journal:
        for number in range(5):
            journal.append("look", START, reasons=[f"{number} \ud800 \x1b"])
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
        path.write_bytes(damaged)
        try:
            with Journal(path) as journal:
                assert len(journal.records) <= 5
        except CanaryJudgeError as error:
            told(error)


@BOUNDED
@given(st.lists(st.dictionaries(st.sampled_from(["timestamp", "side", "e", "t", "=x"]), JUNK), min_size=1, max_size=6))
def test_a_table(rows):
    import pandas as pd

    try:
        source = FrameSource(pd.DataFrame(rows, dtype=object))
        source.window("1m")
    except CanaryJudgeError as error:
        told(error)
