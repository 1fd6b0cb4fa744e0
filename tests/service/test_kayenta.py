"""Kayenta's own clients find what they read: strict models of Argo, Orca and deck, and their loops."""

import threading
import time
from datetime import timedelta

import pytest

from canary_judge.service.canary_configs import iso
from canary_judge.service.kayenta import Facade
from canary_judge.service.problems import StoreDown
from tests.service.controllers import spinnaker
from tests.service.controllers.argo import AnalysisRun, kayenta
from tests.service.controllers.orca import Orca
from tests.service.house import house

SCOPES = [
    {
        "name": "default",
        "controlScope": {"scope": "v1", "region": "x", "step": 60},
        "experimentScope": {"scope": "v2", "region": "x", "step": 60},
    }
]


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        found.pass_time(3600)
        yield found


def patient(shop):
    """Windows are judged in threads: a poll that finds one unfinished waits a little."""

    def api(method, path, **more):
        answer = shop.api(method, path, **more)
        if '"complete":false' in answer.text.replace(" ", ""):
            time.sleep(0.01)
        return answer

    return api


def request(shop, minutes=50, start=None, **more):
    end = shop.now()
    start = end - timedelta(minutes=minutes) if start is None else start
    ends = {"start": iso(start.timestamp()), "end": iso(end.timestamp()), "step": 60, "location": "x"}
    scopes = {"controlScope": {"scope": "v1", **ends}, "experimentScope": {"scope": "v2", **ends}}
    return {"scopes": {"default": scopes}, "thresholds": {"pass": 95, "marginal": 75}} | more


def judged(shop, path="/kayenta/canary/shop", body=None, **params):
    started = shop.api("POST", path, json=body or request(shop), params={"application": "shop", **params})
    assert started.status == 200, started
    execution = spinnaker.read(spinnaker.Started, started).execution_id
    for _ in range(3000):
        status = shop.api("GET", f"/kayenta/canary/{execution}")
        if status.json["complete"]:
            return status
        time.sleep(0.01)
    raise AssertionError(status)


def plain_config(**more):
    metric = {
        "name": "errors",
        "query": {"type": "prometheus", "customInlineTemplate": 'PromQL:errors{v="${scope}"}'},
        "groups": ["g"],
        "analysisConfigurations": {"canary": {"direction": "increase", "critical": True}},
        "scopeName": "default",
    }
    return {
        "name": "mine",
        "applications": ["shop"],
        "judge": {"name": "canary_judge", "judgeConfigurations": {}},
        "metrics": [metric],
        "classifier": {"groupWeights": {"g": 100}},
        "templates": {},
    } | more


# --- answers --------------------------------------------------------------------------------------------------------


def test_every_answer_is_read_by_strict_models(shop):
    configs = spinnaker.read(spinnaker.CanaryConfigs, shop.api("GET", "/kayenta/canaryConfig"))
    assert [one.name for one in configs.root] == ["shop"]
    asked = shop.api("GET", "/kayenta/canaryConfig", params={"application": "a", "configurationAccountName": "any"})
    assert "a" in spinnaker.read(spinnaker.CanaryConfigs, asked).root[0].applications
    spinnaker.read(spinnaker.Credentials, shop.api("GET", "/kayenta/credentials"))
    answer = judged(shop)
    status = spinnaker.read(spinnaker.StatusForOrca, answer)
    assert status.status == "succeeded"
    assert answer.json["result"]["judgeResult"]["score"]["score"] == 100
    assert type(answer.json["result"]["judgeResult"]["score"]["score"]) is int
    assert answer.json["result"]["canaryDuration"] == "PT50M"
    pairs = spinnaker.read(
        spinnaker.MetricSetPairs, shop.api("GET", f"/kayenta/metricSetPairList/{status.metricSetPairListId}")
    )
    pairs.check(status)
    assert len(pairs.root[0].values.control) == 50
    listed = shop.api("GET", "/kayenta/canary/executions", params={"application": "shop", "limit": "5"})
    assert len(spinnaker.read(spinnaker.Executions, listed).root) == 1
    assert {judge["name"] for judge in shop.api("GET", "/kayenta/judges").json} == {
        "canary_judge",
        "NetflixACAJudge-v1.0",
    }


def test_a_result_tells_what_decided_and_counts_as_a_whole_number(shop):
    shop.add("broken", canary_error_rate=0.05)
    shop.pass_time(3600)
    result = judged(shop, "/kayenta/canary/broken").json["result"]["judgeResult"]
    (one,) = result["results"]
    assert (one["classification"], one["critical"], one["muted"]) == ("High", True, False)
    for side in ("controlMetadata", "experimentMetadata"):
        assert type(one[side]["stats"]["count"]) is int
    assert one["experimentMetadata"]["stats"]["mean"] == pytest.approx(0.05, rel=0.1)
    assert one["resultMetadata"]["margin"] == "1.5x or +0.2pp"
    assert one["resultMetadata"]["ratio"] == pytest.approx(10, rel=0.3)
    assert (result["score"]["score"], result["score"]["classification"]) == (0, "Fail")
    assert "errors" in result["score"]["classificationReason"]


@pytest.mark.parametrize(("wanted", "marginal", "middle"), [(95, 75, 85), (77, 75, 76), (3, 1, 2), (100, 98, 99)])
def test_what_is_undecided_is_strictly_between_the_caller_s_thresholds(shop, wanted, marginal, middle):
    body = request(shop, minutes=2, thresholds={"pass": wanted, "marginal": marginal})
    result = judged(shop, body=body).json["result"]["judgeResult"]
    assert (result["score"]["score"], result["score"]["classification"]) == (middle, "Marginal")
    assert result["results"][0]["classification"] == "Nodata"
    assert "needs" in result["results"][0]["classificationReason"]


@pytest.mark.parametrize(
    "thresholds",
    [
        {"pass": 76, "marginal": 75},
        {"pass": 90, "marginal": 0},
        {"pass": 101, "marginal": 75},
        {"pass": "NaN", "marginal": 75},
        {"pass": 75, "marginal": 95},
        {"pass": 95},
        None,
    ],
)
def test_thresholds_that_leave_no_room_are_a_400(shop, thresholds):
    answer = shop.api("POST", "/kayenta/canary/shop", json=request(shop, thresholds=thresholds))
    assert answer.status == 400, answer
    assert "threshold" in answer.json["message"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scopes": {}}, "scopes: name at least one"),
        ({"scopes": {"default": {"controlScope": {}}}}, "scopes.default.controlScope.start"),
        ({"scopes": None}, "scopes"),
    ],
)
def test_a_request_that_is_none_is_a_400_that_names_the_field(shop, change, says):
    answer = shop.api("POST", "/kayenta/canary/shop", json=request(shop) | change)
    assert answer.status == 400
    assert says in answer.json["message"]


def test_the_same_version_twice_and_two_windows_are_refused(shop):
    same = request(shop)
    same["scopes"]["default"]["experimentScope"]["scope"] = "v1"
    assert "compared with itself" in shop.api("POST", "/kayenta/canary/shop", json=same).json["message"]
    apart = request(shop)
    apart["scopes"]["default"]["controlScope"]["end"] = "2026-01-01T12:30:00Z"
    assert "over the same time" in shop.api("POST", "/kayenta/canary/shop", json=apart).json["message"]


def test_accounts_and_unknown_fields_are_ignored_and_what_is_not_there_is_a_404(shop):
    body = request(shop, siteLocal={"a": 1}, metadata=[], nonsense=[1])
    accounts = {"metricsAccountName": "m", "storageAccountName": "s", "configurationAccountName": "c"}
    assert judged(shop, body=body, **accounts).json["status"] == "succeeded"
    assert shop.api("POST", "/kayenta/canary/none", json=body).status == 404
    assert shop.api("GET", "/kayenta/canary/none").status == 404
    assert shop.api("PUT", "/kayenta/pipelines/none/cancel").status == 404


def test_a_label_that_is_not_given_is_a_400_that_names_it(shop):
    plain = plain_config()
    plain["metrics"][0]["query"]["customInlineTemplate"] = 'PromQL:errors{v="${scope}",z="${zone}"}'
    (shop.configs / "sources.yaml").write_text("default: {type: frame, path: x.csv}\n")
    body = {"canaryConfig": plain, "executionRequest": request(shop)}
    answer = shop.api("POST", "/kayenta/canary", json=body)
    assert answer.status == 400
    assert "`${zone}` is not defined" in answer.json["message"]
    for side in ("controlScope", "experimentScope"):
        body["executionRequest"]["scopes"]["default"][side]["extendedScopeParams"] = {"zone": "a"}
    assert shop.api("POST", "/kayenta/canary", json=body).status == 200


def test_a_source_that_is_down_is_terminal_with_the_reason_and_no_score(shop):
    shop.sources["shop"].down = True
    answer = judged(shop)
    status = spinnaker.read(spinnaker.StatusForOrca, answer)
    assert (status.status, status.result) == ("terminal", None)
    assert "the source is down" in status.exception.details.error


def test_a_cancelled_execution_is_told_so(shop):
    import threading

    release = shop.sources["shop"].wait = threading.Event()
    started = shop.api("POST", "/kayenta/canary/shop", json=request(shop), params={"application": "shop"})
    execution = started.json["canaryExecutionId"]
    assert shop.api("GET", f"/kayenta/canary/{execution}").json["complete"] is False
    assert shop.api("PUT", f"/kayenta/pipelines/{execution}/cancel").status == 200
    release.set()
    answer = shop.api("GET", f"/kayenta/canary/{execution}")
    assert (answer.json["status"], answer.json["complete"]) == ("canceled", True)


def test_windows_whose_start_moves_say_so_and_those_that_grow_do_not(shop):
    start = shop.now() - timedelta(minutes=50)
    for _ in range(3):
        shop.pass_time()
        result = judged(shop, body=request(shop, start=start)).json["result"]["judgeResult"]
        assert "moves" not in result["score"]["classificationReason"]
    result = judged(shop, body=request(shop, minutes=5)).json["result"]["judgeResult"]
    assert "each is judged for itself" in result["score"]["classificationReason"]


def test_an_execution_that_another_process_did_not_end_is_judged_again(shop):
    import threading

    release = shop.sources["shop"].wait = threading.Event()
    started = shop.api("POST", "/kayenta/canary/shop", json=request(shop), params={"application": "shop"})
    execution = started.json["canaryExecutionId"]
    with house(shop.folder, database=shop.database) as other:  # the first one hangs, and counts as gone
        other.clock.seconds = shop.clock.seconds + 200
        other.sources["shop"].source = shop.worlds["shop"]
        other.api("GET", f"/kayenta/canary/{execution}")
        for _ in range(2000):
            status = other.api("GET", f"/kayenta/canary/{execution}").json
            if status["complete"]:
                break
            time.sleep(0.01)
    assert status["status"] == "succeeded"
    release.set()


# --- configs --------------------------------------------------------------------------------------------------------


def test_canary_configs_are_stored_read_replaced_and_deleted(shop):
    stored = shop.api("POST", "/kayenta/canaryConfig", json=plain_config())
    identity = stored.json["canaryConfigId"]
    read = shop.api("GET", f"/kayenta/canaryConfig/{identity}").json
    assert (read["id"], read["name"]) == (identity, "mine")
    assert type(read["updatedTimestamp"]) is int
    assert shop.api("POST", "/kayenta/canaryConfig", json={**plain_config(), "id": identity}).status == 400
    assert shop.api("PUT", f"/kayenta/canaryConfig/{identity}", json=plain_config(name="other")).json == {
        "canaryConfigId": identity
    }
    names = [one["name"] for one in shop.api("GET", "/kayenta/canaryConfig", params={"application": "shop"}).json]
    assert names == ["shop", "other"]
    assert [one["name"] for one in shop.api("GET", "/kayenta/canaryConfig", params={"application": "x"}).json] == [
        "shop"
    ]
    assert shop.api("DELETE", f"/kayenta/canaryConfig/{identity}").status == 204
    assert shop.api("GET", f"/kayenta/canaryConfig/{identity}").status == 404
    assert shop.api("DELETE", "/kayenta/canaryConfig/shop").status == 400


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "a b"}, "name is 'a b'"),
        ({"applications": []}, "applications"),
        ({"metrics": []}, "none of its 0 metrics"),
        ({"judge": {"name": "dredd-v1.0"}}, "judge.name is 'dredd-v1.0'"),
        ({"judge": {"name": "canary_judge", "judgeConfigurations": {"canary_judge": {"looks": "two"}}}}, "looks"),
        ({"name": "shop"}, "is a config of the service's folder"),
        ({"id": "../x"}, "id is"),
    ],
)
def test_a_canary_config_that_cannot_be_judged_is_not_stored(shop, change, says):
    answer = shop.api("POST", "/kayenta/canaryConfig", json=plain_config() | change)
    assert answer.status == 400
    assert says in answer.json["message"]


def gauges(shop, level=1.0):
    """A source of values for both versions, in place of the shop's counts."""
    import numpy as np

    from canary_judge.series import Form, Result, Series

    class Values:
        def fetch(self, queries, window):
            found = []
            for query in queries:
                edges = window.edges(query.step)[1:]
                rng = np.random.default_rng([3, 7 if query.side.value == "canary" else 5])
                values = rng.lognormal(0, 0.1, edges.size) * (level if query.side.value == "canary" else 1.0)
                found.append(Result(series=(Series(timestamps=edges, values=values),), form=Form.LEVEL))
            return found

    from tests.service.house import Faulty

    shop.sources["shop"] = Faulty(Values())


@pytest.mark.parametrize("judge", ["canary_judge", "NetflixACAJudge-v1.0"])
@pytest.mark.parametrize(("level", "classification"), [(1.0, "Pass"), (2.0, "Fail")])
def test_a_stored_config_is_judged_by_the_judge_that_it_names(shop, judge, level, classification):
    gauges(shop, level)
    identity = shop.api("POST", "/kayenta/canaryConfig", json=plain_config(judge={"name": judge})).json[
        "canaryConfigId"
    ]
    answer = judged(shop, f"/kayenta/canary/{identity}")
    result = spinnaker.read(spinnaker.StatusForOrca, answer).result.judgeResult
    assert result.score.classification == classification
    assert answer.json["result"]["judgeResult"]["judgeName"] == judge


@pytest.mark.parametrize("change", [{"complete": False}, {"error": "timed out", "temporary": True}, {"error": "bad"}])
def test_kayenta_s_own_judge_sees_no_partial_answer(shop, change):
    from dataclasses import replace

    gauges(shop)
    whole = shop.sources["shop"].source

    class Partial:
        def fetch(self, queries, window):
            return [replace(one, **change) for one in whole.fetch(queries, window)]

    shop.sources["shop"].source = Partial()
    plain = plain_config(judge={"name": "NetflixACAJudge-v1.0"})
    status = spinnaker.read(
        spinnaker.Status,
        judged(shop, "/kayenta/canary", body={"canaryConfig": plain, "executionRequest": request(shop)}),
    )
    assert (status.status, status.result) == ("terminal", None)


def test_infinite_values_are_told_as_kayenta_writes_them(shop):
    gauges(shop, float("inf"))
    plain = plain_config(judge={"name": "NetflixACAJudge-v1.0"})
    answer = judged(shop, "/kayenta/canary", body={"canaryConfig": plain, "executionRequest": request(shop)})
    assert answer.json["status"] == "succeeded"
    pairs = shop.api("GET", f"/kayenta/metricSetPairList/{answer.json['metricSetPairListId']}")
    assert set(pairs.json[0]["values"]["experiment"]) == {"Infinity"}


def test_each_metric_has_the_labels_of_its_own_scope(shop):
    gauges(shop)
    plain = plain_config()
    second = {**plain["metrics"][0], "name": "other", "scopeName": "edge"}
    body = request(shop)
    edge = {side: {**scope, "scope": f"edge-{scope['scope']}"} for side, scope in body["scopes"]["default"].items()}
    plain["metrics"].append(second)
    asked = {"canaryConfig": plain, "executionRequest": body}
    assert "there is no 'edge'" in shop.api("POST", "/kayenta/canary", json=asked).json["message"]
    body["scopes"]["edge"] = edge
    answer = judged(shop, "/kayenta/canary", body=asked)
    pairs = shop.api("GET", f"/kayenta/metricSetPairList/{answer.json['metricSetPairListId']}").json
    queries = {pair["name"]: pair["attributes"]["experiment"]["query"] for pair in pairs}
    assert queries == {"errors": 'errors{v="v2"}', "other": 'errors{v="edge-v2"}'}


@pytest.mark.parametrize("odd", [{"controlScope": {}}, {}, None, 7, {"controlScope": 1, "experimentScope": "x"}])
def test_a_scope_that_no_metric_names_may_be_anything(shop, odd):
    body = request(shop)
    for scopes in ({"Default": odd, **body["scopes"]}, body["scopes"]):  # the second one finds the first one before it
        status = judged(shop, body={**body, "scopes": scopes})
        assert (status.status, status.json["status"]) == (200, "succeeded")
    execution = status.json["pipelineId"]
    assert shop.api("GET", "/kayenta/canary/executions", params={"application": "shop"}).status == 200
    assert shop.api("GET", f"/kayenta/metricSetPairList/{execution}").status == 200


def test_label_values_do_not_break_out_of_a_query(shop):
    gauges(shop)
    asked = {"canaryConfig": plain_config(), "executionRequest": request(shop)}
    asked["executionRequest"]["scopes"]["default"]["experimentScope"]["scope"] = 'x"} or vector(1) or up{v="'
    answer = judged(shop, "/kayenta/canary", body=asked)
    pairs = shop.api("GET", f"/kayenta/metricSetPairList/{answer.json['metricSetPairListId']}").json
    assert pairs[0]["attributes"]["experiment"]["query"] == r'errors{v="x\"} or vector(1) or up{v=\""}'


# --- clients' loops -------------------------------------------------------------------------------------------------


def argo(shop, config="shop", **more):
    run = AnalysisRun(interval=60, start=shop.now(), initial_delay=60, wait=shop.pass_time, **more)
    call = kayenta(
        patient(shop), application="shop", config_name=config, scopes=SCOPES, pass_score=95, marginal=75, lookback=True
    )
    return run, call


@pytest.mark.parametrize(("rate", "phase"), [(0.005, "Successful"), (0.05, "Failed")])
def test_argo_s_kayenta_provider_decides(shop, rate, phase):
    shop.add("mine", canary_error_rate=rate)
    run, call = argo(shop, "mine", count=40, inconclusive_limit=40, consecutive_success_limit=1)
    assert run.run(call) == phase


def test_argo_s_kayenta_provider_is_an_error_while_the_source_is_down(shop):
    shop.sources["shop"].down = True
    run, call = argo(shop, count=40, inconclusive_limit=40, consecutive_error_limit=3)
    assert run.run(call) == "Error"


def driven(shop, config="shop", **more):
    scope = {"controlScope": "v1", "controlLocation": "x", "experimentScope": "v2", "experimentLocation": "x"}
    return Orca(
        patient(shop),
        application=config,
        config_name=config,
        scopes=[{"scopeName": "default", **scope}],
        thresholds={"pass": 95, "marginal": 75},
        now=shop.now(),
        wait=shop.pass_time,
        metrics_account="any",
        **more,
    )


@pytest.mark.parametrize(("rate", "end"), [(0.005, "SUCCEEDED"), (0.05, "TERMINAL")])
def test_orca_s_intervals_with_starts_that_differ_by_milliseconds(shop, rate, end):
    shop.add("mine", canary_error_rate=rate)
    stage = driven(shop, "mine", lifetime_minutes=40, interval_minutes=10)
    assert stage.run() == end, stage.message
    assert stage.scores[-1] == (100 if end == "SUCCEEDED" else 0)
    reasons = [status.result.judgeResult.score.classificationReason for status in stage.statuses]
    assert not any("moves" in reason for reason in reasons)


def test_orca_s_undecided_interval_does_not_end_the_stage(shop):
    stage = driven(shop, lifetime_minutes=40, interval_minutes=2)
    assert stage.run() == "SUCCEEDED", (stage.message, stage.scores)
    assert stage.scores[0] == 85


def test_orca_s_sliding_windows_say_that_each_is_judged_for_itself(shop):
    stage = driven(shop, lifetime_minutes=60, interval_minutes=20, lookback_minutes=20)
    stage.run()
    reasons = [status.result.judgeResult.score.classificationReason for status in stage.statuses]
    assert "moves" in reasons[-1]


# --- standalone analyses --------------------------------------------------------------------------------------------


def analysis(**more):
    scope = {"controlScope": "v1", "controlLocation": "x", "experimentScope": "v2", "experimentLocation": "x"}
    scope |= {"scopeName": "default", "step": 60, **more.pop("scope", {})}
    return {"scopes": [scope], "thresholds": {"pass": 95, "marginal": 75}, **more}


def analysed(shop, body, path="/kayenta/standalone_canary_analysis/shop", step=60):
    started = shop.api("POST", path, json=body, params={"application": "shop"})
    assert started.status == 200, started
    execution = spinnaker.read(spinnaker.StandaloneStarted, started).execution_id
    for _ in range(3000):
        found = spinnaker.read(
            spinnaker.Standalone, answer := shop.api("GET", f"/kayenta/standalone_canary_analysis/{execution}")
        )
        if found.complete:
            return answer.json
        time.sleep(0.005)
        if step:
            shop.pass_time(step)
    raise AssertionError(answer)


def test_a_retrospective_analysis_judges_all_its_windows_at_once(shop):
    ends = {"startTimeIso": "2026-01-01T12:00:00Z", "endTimeIso": "2026-01-01T12:45:00Z"}
    found = analysed(shop, analysis(scope=ends, analysisIntervalMins=20), step=0)
    result = found["canaryAnalysisExecutionResult"]
    assert result["didPassThresholds"] is True
    assert len(result["canaryScores"]) == 2  # the remainder is never judged
    assert [one["judgementEndTimeIso"][11:16] for one in result["canaryExecutionResults"]] == ["12:20", "12:40"]
    assert result["hasWarnings"] is True  # fewer than 50 points


def test_an_analysis_in_real_time_waits_for_its_windows_and_ends_at_the_first_fail(shop):
    shop.add("mine", canary_error_rate=0.05)
    path = "/kayenta/standalone_canary_analysis/mine"
    found = analysed(shop, analysis(lifetimeDurationMins=60, analysisIntervalMins=20), path)
    result = found["canaryAnalysisExecutionResult"]
    assert (result["didPassThresholds"], result["canaryScores"]) == (False, [0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "lifetimeDurationMins"),
        ({"lifetimeDurationMins": "long"}, "lifetimeDurationMins is 'long'"),
        ({"lifetimeDurationMins": 60, "scopes": {}}, "scopes"),
        ({"lifetimeDurationMins": 60, "scope": {"controlOffsetInMinutes": 30}}, "over the same time"),
        ({"lifetimeDurationMins": 90_000, "analysisIntervalMins": 1}, "longer analysisIntervalMins"),
        ({"lifetimeDurationMins": 60, "thresholds": {"pass": 75, "marginal": 75}}, "thresholds"),
    ],
)
def test_an_analysis_that_cannot_be_is_a_400(shop, change, says):
    answer = shop.api("POST", "/kayenta/standalone_canary_analysis/shop", json=analysis(**change))
    assert answer.status == 400, answer
    assert says in answer.json["message"]


def test_a_window_of_the_future_is_refused(shop):
    later = request(shop)
    for side in ("controlScope", "experimentScope"):
        later["scopes"]["default"][side]["end"] = iso((shop.now() + timedelta(hours=1)).timestamp())
    answer = shop.api("POST", "/kayenta/canary/shop", json=later, params={"application": "shop"})
    assert answer.status == 400
    assert "which is in the future" in answer.text


@pytest.mark.parametrize("digit", ["\u00b2", "\u0665"])
def test_a_step_in_other_digits_is_told(shop, digit):
    odd = request(shop)
    for side in ("controlScope", "experimentScope"):
        odd["scopes"]["default"][side]["step"] = digit
    answer = shop.api("POST", "/kayenta/canary/shop", json=odd, params={"application": "shop"})
    assert answer.status == 400
    assert "give seconds" in answer.text


def test_a_hanging_source_keeps_no_other_from_its_judgement(tmp_path):
    with house(tmp_path) as found:
        found.add("slow")
        found.pass_time(3600)
        found.sources["slow"].wait = threading.Event()
        for _ in range(12):
            found.api("POST", "/kayenta/canary/slow", json=request(found), params={"application": "shop"})
        assert judged(found).json["complete"]


def test_an_analysis_whose_config_goes_away_ends(shop):
    shop.add("mine")
    path = "/kayenta/standalone_canary_analysis/mine"
    body = analysis(lifetimeDurationMins=60, analysisIntervalMins=20)
    started = shop.api("POST", path, json=body, params={"application": "shop"})
    execution = spinnaker.read(spinnaker.StandaloneStarted, started).execution_id
    (shop.configs / "mine.json").unlink()
    shop.pass_time(1300)
    found = shop.api("GET", f"/kayenta/standalone_canary_analysis/{execution}").json
    assert (found["complete"], found["status"]) == (True, "terminal")
    assert "there is no canary config 'mine'" in found["exception"]["details"]["error"]
    assert found["canaryAnalysisExecutionResult"]["didPassThresholds"] is False


def test_a_lost_window_is_taken_up_again_although_the_database_was_busy(shop, monkeypatch):
    started = shop.api("POST", "/kayenta/canary/shop", json=request(shop), params={"application": "shop"})
    execution = spinnaker.read(spinnaker.Started, started).execution_id
    facade = Facade(shop.runs)
    try:
        judged(shop)
        store = shop.runs.store
        lost = {**store.execution(execution), "status": "running", "started": 0.0}
        monkeypatch.setattr(store, "execution", lambda _: dict(lost))
        with monkeypatch.context() as busy:

            def down(*_, **__):
                raise StoreDown("the database gave no answer")

            busy.setattr(store, "change_execution", down)
            with pytest.raises(StoreDown):
                facade.status(execution)
        assert facade._mine == set()
        begun = []
        monkeypatch.setattr(facade._pool, "submit", lambda *given: begun.append(given))
        facade.status(execution)
        assert len(begun) == 1
    finally:
        facade.close()
