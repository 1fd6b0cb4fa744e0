"""Whatever is sent, no address answers with a 500, the right ones never with a 5xx, and the memory stays."""

import gc
import json
import random
import resource

import pytest

from tests.service.house import SIDES, house

# 502: a source or a database gave no answer; 503 only where a full queue, or blindness, has it.
_503 = ("/prom/", "/readyz")


def fine(path, status):
    if status in (500, 501) or status >= 504:
        return False
    if path.startswith("/flagger/"):
        return status not in (204, 429) and not 300 <= status < 400 and status < 500
    return status != 503 or path.startswith(_503)


BODIES = {
    "/v1/looks": {"config": "shop", **SIDES, "horizon": "30m", "weight": 5, "key": "k"},
    "/v1/runs": {"config": "shop", **SIDES},
    "/v1/judge": {"config": "shop", **SIDES, "start": "2026-01-01T12:00:00Z", "end": "2026-01-01T12:10:00Z"},
    "/v1/preflight": {"config": "shop", **SIDES},
    "/flagger/gate": {
        "name": "w",
        "namespace": "p",
        "phase": "Progressing",
        "checksum": "1",
        "metadata": {"config": "shop"},
    },
    "/flagger/event": {"name": "w", "namespace": "p", "phase": "Progressing", "metadata": {"eventMessage": "Advance"}},
    "/kayenta/canary/shop": {
        "scopes": {
            "default": {
                side: {"scope": side, "start": "2026-01-01T12:00:00Z", "end": "2026-01-01T12:10:00Z", "step": 60}
                for side in ("controlScope", "experimentScope")
            }
        },
        "thresholds": {"pass": 95, "marginal": 75},
    },
    "/kayenta/canaryConfig": {"name": "c", "applications": ["a"], "metrics": [], "classifier": {"groupWeights": {}}},
    "/kayenta/standalone_canary_analysis/shop": {"scopes": [{}], "thresholds": {"pass": 95, "marginal": 75}},
    "/judge": {"canaryConfig": {"name": "c", "metrics": []}, "scoreThresholds": None, "metricSetPairList": []},
}
_ODD = [
    None,
    True,
    0,
    -1,
    10**400,
    1e308,
    "",
    "x" * 5000,
    "\u202e",
    "NaN",
    [],
    {},
    [[]],
    {"": None},
    "2026-13-01",
    "${x}",
    "../x",
]


def mutated(value, rng):
    """The body with one odd thing in it."""
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return rng.choice(_ODD)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [mutated(one, rng) if k == place else one for k, one in enumerate(value)]
    name = rng.choice(list(value))
    if rng.random() < 0.1:
        return {key: one for key, one in value.items() if key != name}
    if rng.random() < 0.1:
        return {**value, "odd": rng.choice(_ODD)}
    return {**value, name: mutated(value[name], rng)}


def hammered(shop, number, seed):
    """The answers that are not fine."""
    rng, wrong = random.Random(seed), []
    for _ in range(number):
        path = rng.choice(list(BODIES))
        text = json.dumps(mutated(BODIES[path], rng))
        if rng.random() < 0.05:
            text = text[: rng.randrange(len(text) + 1)]
        answer = shop.api("POST", path, data=text.encode("utf-8", "surrogatepass"))
        if not fine(path, answer.status):
            wrong.append((path, text[:300], answer))
    return wrong


def test_no_malformed_body_is_a_500(tmp_path):
    with house(tmp_path) as shop:
        shop.pass_time(3600)
        assert hammered(shop, 400, seed=1) == []


def test_numbers_beyond_all_numbers_poison_nothing(tmp_path):
    with house(tmp_path) as shop:
        shop.pass_time(3600)
        text = json.dumps({**BODIES["/kayenta/canary/shop"], "metadata": ["@"]}).replace('"@"', "1e999")
        answer = shop.api("POST", "/kayenta/canary/shop?application=app", data=text)
        assert answer.status == 400
        assert "beyond all numbers" in answer.text
        assert shop.api("GET", "/kayenta/canary/executions", params={"application": "app"}).json == []


def test_enormous_values_are_told_as_texts(tmp_path):
    with house(tmp_path) as shop:
        pair = {
            "name": "m",
            "id": "1",
            "tags": {},
            "values": {"control": [1e300, -1e300] * 30, "experiment": [1.0] * 60},
        }
        metric = {"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": {"direction": "increase"}}}
        config = {"name": "c", "metrics": [metric], "classifier": {"groupWeights": {"g": 100}}}
        answer = shop.api("POST", "/judge", json={"canaryConfig": config, "metricSetPairList": [pair]})
        assert answer.status == 200, answer
        (one,) = answer.json["results"]
        assert one["controlMetadata"]["stats"]["std"] == "Infinity"
        assert one["classification"] != "Pass"


def test_a_slow_source_leaves_the_others_theirs(tmp_path, monkeypatch):
    import threading

    from canary_judge.service import looking
    from canary_judge.service.looking import Desk

    monkeypatch.setattr(looking, "THREADS", 2)
    desk, options = Desk(store=None), {"default": {"type": "frame", "path": "slow"}}
    entered = threading.Event()
    leave = threading.Event()

    def slow():
        with desk._turn(options):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=slow)
    thread.start()
    entered.wait()
    with pytest.raises(looking.SourceUnavailable, match="it is slow"), desk._turn(options):
        pass
    with desk._turn({"default": {"type": "frame", "path": "other"}}):
        pass
    leave.set()
    thread.join()
    with desk._turn(options):
        pass


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_malformed_bodies_leave_the_memory_as_it_was(tmp_path):
    with house(tmp_path) as shop:
        shop.runs._most_runs = 10**6
        shop.pass_time(3600)
        assert hammered(shop, 2500, seed=2) == []
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert hammered(shop, 7500, seed=3) == []
        gc.collect()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 60  # MB; the states of a few hundred runs are held


@pytest.mark.slow
def test_schemathesis_finds_no_500(tmp_path):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is of the extra e2e")
    from hypothesis import HealthCheck, Phase, given, settings

    with house(tmp_path) as shop:
        shop.pass_time(3600)
        shop.look()
        schema = schemathesis.openapi.from_dict(shop.api("GET", "/openapi.json").json)
        schema.config.update(base_url=shop.url)
        seen = set()
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=60,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def ask(case):
                answer = case.call(session=shop.session, timeout=60)
                seen.add((case.operation.label, answer.status_code))
                assert fine(case.operation.path, answer.status_code), (case.as_curl_command(), answer.text)

            ask()
        assert len({label for label, _ in seen}) == len(list(schema.get_all_operations()))
