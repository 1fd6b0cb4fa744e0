"""Kayenta's remote judge: metric set pairs in, the result of a judge out."""

import json

import numpy as np
import pytest

from tests.service.controllers.spinnaker import JudgeResult
from tests.service.house import house


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


def metric(name, **canary):
    return {"name": name, "groups": ["g"], "scopeName": "default", "analysisConfigurations": {"canary": canary}}


def pair(name, n=60, level=1.0, seed=1, **more):
    rng = np.random.default_rng(seed)
    values = {"control": rng.lognormal(0, 0.1, n).tolist(), "experiment": (rng.lognormal(0, 0.1, n) * level).tolist()}
    scope = {"startTimeIso": "2026-01-01T12:00:00Z", "startTimeMillis": 1767268800000, "stepMillis": 60_000}
    scopes = {"control": scope, "experiment": scope}
    return {"name": name, "id": f"id-{name}", "tags": {}, "values": values, "scopes": scopes, "attributes": {}} | more


def body(*pairs, metrics=None, thresholds=None, **more):
    metrics = metrics or [metric(one["name"], direction="increase", critical=True) for one in pairs]
    config = {"name": "shop", "metrics": metrics, "classifier": {"groupWeights": {"g": 100}}, **more}
    thresholds = {"pass": 95, "marginal": 75} if thresholds is None else thresholds
    return {"canaryConfig": config, "scoreThresholds": thresholds, "metricSetPairList": list(pairs)}


def judged(shop, *pairs, **more):
    answer = shop.api("POST", "/judge", json=body(*pairs, **more))
    assert answer.status == 200, answer
    JudgeResult.model_validate_json(answer.text)
    return answer.json


def test_labels_scores_and_evidence(shop):
    found = judged(shop, pair("same"), pair("worse", level=1.5, seed=2))
    labels = {one["name"]: (one["classification"], one["critical"], one["id"]) for one in found["results"]}
    assert labels == {"same": ("Pass", False, "id-same"), "worse": ("High", True, "id-worse")}
    assert (found["score"]["score"], found["score"]["classification"]) == (0, "Fail")
    worse = found["results"][1]["resultMetadata"]
    assert worse["ratio"] == pytest.approx(1.5, rel=0.1)
    assert worse["interval"][0] < 1.5 < worse["interval"][1]
    assert found["results"][1]["controlMetadata"]["stats"]["count"] == 60


def test_lower_is_low(shop):
    one = pair("answers", level=0.5)
    found = judged(shop, one, metrics=[metric("answers", direction="decrease", critical=True)])
    assert found["results"][0]["classification"] == "Low"


def test_what_is_undecided_or_has_no_data_is_nodata_with_what_is_missing(shop):
    few = judged(shop, pair("m", n=3))
    assert few["results"][0]["classification"] == "Nodata"
    assert few["score"]["score"] == 85
    assert "need" in few["results"][0]["classificationReason"]
    empty = pair("m", values={"control": [], "experiment": []})
    assert judged(shop, empty)["results"][0]["classification"] == "NodataFailMetric"
    scored = judged(shop, pair("a"), empty, metrics=[metric("a", critical=True, direction="increase"), metric("m")])
    assert scored["results"][1]["classification"] == "Nodata"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_arrive_as_texts_and_make_no_pass(shop, text):
    one = pair("m", level=1.0)
    one["values"]["experiment"] = [text] * 60
    found = judged(shop, one)
    assert found["results"][0]["classification"] != "Pass"
    assert found["score"]["classification"] != "Pass"


@pytest.mark.parametrize("thresholds", [{}, {"pass": None, "marginal": None}])
def test_thresholds_may_be_missing(shop, thresholds):
    whole = body(pair("m", n=3))
    whole["scoreThresholds"] = thresholds or None
    assert shop.api("POST", "/judge", json=whole).json["score"]["score"] == 85
    whole["canaryConfig"]["classifier"]["scoreThresholds"] = {"pass": 50, "marginal": 40}
    assert shop.api("POST", "/judge", json=whole).json["score"]["score"] == 45


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"canaryConfig": None}, "canary config"),
        ({"metricSetPairList": None}, "metricSetPairList"),
        ({"scoreThresholds": {"pass": 75, "marginal": 75}}, "thresholds"),
        ({"canaryConfig": {"name": "x", "metrics": []}}, "metrics"),
    ],
)
def test_a_request_that_is_none_is_a_400(shop, change, says):
    answer = shop.api("POST", "/judge", json=body(pair("m")) | change)
    assert answer.status == 400, answer
    assert says in answer.json["message"]


def test_a_planned_single_look_is_asked_for_in_the_config(shop):
    settings = {"judge": {"name": "RemoteJudge-v1.0", "judgeConfigurations": {"canary_judge": {"looks": "once"}}}}
    assert judged(shop, pair("m", level=1.3), **settings)["score"]["classification"] == "Fail"
    settings["judge"]["judgeConfigurations"]["canary_judge"] = {"looks": "twice"}
    assert shop.api("POST", "/judge", json=body(pair("m"), **settings)).status == 400


def test_tags_make_pairs_of_their_own(shop):
    pairs = [pair("m", tags={"zone": zone}, id=zone, seed=seed) for seed, zone in enumerate("ab")]
    found = judged(shop, *pairs, metrics=[metric("m", direction="increase", critical=True)])
    assert [(one["name"], one["id"], one["tags"]) for one in found["results"]] == [
        ("m", "a", {"zone": "a"}),
        ("m", "b", {"zone": "b"}),
    ]


def test_fifty_pairs_of_a_day_are_taken(shop):
    found = judged(shop, *(pair(f"m{k}", n=1440, seed=k) for k in range(50)))
    assert len(found["results"]) == 50


def test_the_token_may_stand_in_the_path(tmp_path):
    from canary_judge.service.access import Token

    with house(tmp_path, tokens=[Token("secret-token", "look", "kayenta")]) as shop:
        whole = body(pair("m"))
        assert shop.api("POST", "/judge", json=whole).status == 401
        assert shop.api("POST", "/t/secret-token/judge", json=whole).status == 200
        assert "secret-token" not in json.dumps(shop.api("POST", "/t/secret-token/judge", json=whole).json)


def scopes(begun=0, step=60_000):
    """The control begins so many minutes before the experiment."""
    start = 1767268800000
    return {
        "control": {"startTimeMillis": start - 60_000 * begun, "stepMillis": step},
        "experiment": {"startTimeMillis": start, "stepMillis": 60_000},
    }


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"begun": 24 * 60}, "no time in common (they begin 1440 minutes apart)"),
        ({"begun": 60}, "no time in common"),
        ({"step": 300_000}, "the step of its control is 300000 ms, and of its experiment 60000 ms"),
    ],
)
def test_another_day_or_step_is_no_control(shop, wrong, told):
    answer = shop.api("POST", "/judge", json=body(pair("cpu", scopes=scopes(**wrong))))
    assert answer.status == 400
    assert told in answer.json["message"]


@pytest.mark.parametrize("scope", [scopes(), scopes(begun=7), {}, {"control": {}, "experiment": {}}])
def test_a_side_may_begin_with_its_first_value(shop, scope):
    assert judged(shop, pair("cpu", scopes=scope))["score"]["score"] == 100


def shifted(one, side, minutes):
    """The pair with a side that begins so much later, and has so many values fewer."""
    scope = one["scopes"][side]
    scopes = {**one["scopes"], side: {**scope, "startTimeMillis": scope["startTimeMillis"] + minutes * 60_000}}
    values = {**one["values"], side: one["values"][side][minutes:]}
    return {**one, "scopes": scopes, "values": values}


@pytest.mark.parametrize("side", ["control", "experiment"])
def test_a_side_that_begins_later_is_compared_with_the_other_s_same_time(shop, side):
    """A load that rises at minute 45 is none of the canary's."""
    one = pair("load")
    for name, values in one["values"].items():
        one["values"][name] = [value * (1.5 if at >= 45 else 1.0) for at, value in enumerate(values)]
    found = judged(shop, shifted(one, side, 30))
    assert found["results"][0]["classification"] != "High"
    assert [one["values"][name][30:] for name in ("control", "experiment")] == [
        shifted(shifted(one, "control", 30), "experiment", 30)["values"][name] for name in ("control", "experiment")
    ]
    same = judged(shop, shifted(shifted(one, "control", 30), "experiment", 30))
    assert found["results"][0]["resultMetadata"] == same["results"][0]["resultMetadata"]
