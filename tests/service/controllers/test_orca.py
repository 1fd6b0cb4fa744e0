"""The models of Spinnaker: each of their traps once."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.service.controllers import orca, spinnaker
from tests.service.controllers.api import Answer
from tests.service.controllers.scripted import ENTRY, Scripted, body

# ---- Orca ----

START = datetime(2026, 1, 1, tzinfo=UTC)
SIDE_STATS = {"stats": {"count": 60, "mean": 1.0, "min": 0, "max": 2.5, "std": 0.5}}
METRIC = {
    "name": "errors",
    "id": "m1",
    "tags": {},
    "classification": "Pass",
    "groups": ["g"],
    "experimentMetadata": SIDE_STATS,
    "controlMetadata": SIDE_STATS,
    "resultMetadata": {"ratio": "NaN", "log_e": 3.2},
    "critical": False,
    "muted": False,
}


def status(score=100, request=None, state="succeeded", **changed):
    label = "Pass" if score > 90 else "Marginal" if score >= 75 else "Fail"
    side = {
        "scope": "s",
        "location": None,
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T01:00:00.5Z",
        "step": 60,
    }
    done = {
        "judgeResult": {
            "judgeName": "canary_judge",
            "results": [METRIC],
            "groupScores": [{"name": "g", "score": 100, "classification": "", "classificationReason": ""}],
            "score": {"score": score, "classification": label, "classificationReason": ""},
        },
        "canaryDuration": "PT1H",
    }
    return {
        "application": "web",
        "complete": state not in spinnaker.UNFINISHED,
        "status": state,
        "config": {
            "classifier": {"groupWeights": {"g": 100}},
            "metrics": [{"name": "errors", "scopeName": "default", "groups": ["g"]}],
        },
        "canaryExecutionRequest": request
        or {
            "scopes": {"default": {"controlScope": side, "experimentScope": side}},
            "thresholds": {"pass": 90, "marginal": 75},
        },
        "metricSetPairListId": "p1",
        "result": done if state == "succeeded" else None,
        "unknown": {"ignored": True},
        **changed,
    }


def without(value, *path):
    value = json.loads(json.dumps(value))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


def replaced(value, new, *path):
    value = json.loads(json.dumps(value))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


JUDGED = ("result", "judgeResult")


def test_a_good_status_answer_is_read():
    read = spinnaker.read(spinnaker.StatusForOrca, body(status()))
    assert read.result.judgeResult.results[0].controlMetadata.stats.count == 60


@pytest.mark.parametrize(
    "broken",
    [
        without(status(), "application"),
        replaced(status(), None, "application"),
        replaced(status(), "true", "complete"),
        replaced(status(), "SUCCEEDED", "status"),
        replaced(status(), "done", "status"),
        without(status(), "config"),
        without(status(), "config", "classifier", "groupWeights"),
        replaced(status(), [], "config", "metrics"),
        without(status(), "canaryExecutionRequest"),
        replaced(status(), {}, "canaryExecutionRequest", "scopes"),
        without(status(), "metricSetPairListId"),
        replaced(status(), None, "result"),
        replaced(status(), 92.5, *JUDGED, "score", "score"),
        replaced(status(), "92", *JUDGED, "score", "score"),
        replaced(status(), None, *JUDGED, "score", "classificationReason"),
        without(status(), *JUDGED, "results", 0, "controlMetadata", "stats", "count"),
        replaced(status(), 60.0, *JUDGED, "results", 0, "controlMetadata", "stats", "count"),
        replaced(status(), None, *JUDGED, "results", 0, "experimentMetadata", "stats", "mean"),
        replaced(status(), "Regressed", *JUDGED, "results", 0, "classification"),
        replaced(status(), "1:00:00", "result", "canaryDuration"),
        without(status(), "canaryExecutionRequest", "scopes", "default", "controlScope", "end"),
        status(endTimeIso="2026-01-01T00:00:00+00:00"),
        status(state="terminal"),
        status(state="terminal", exception={"details": {}}),
    ],
)
def test_a_status_answer_that_breaks_a_client_is_refused(broken):
    with pytest.raises(ValidationError):
        spinnaker.read(spinnaker.StatusForOrca, body(broken))


def test_a_failed_execution_says_why():
    failed = status(state="terminal", exception={"details": {"errors": ["source refused"]}})
    assert spinnaker.read(spinnaker.Status, body(failed)).exception.details.errors == ["source refused"]


@pytest.mark.parametrize("value", [{"canaryExecutionId": 5}, {"canaryExecutionId": "e", "at": "now"}, {}, []])
def test_the_start_answer_is_a_map_of_texts_with_the_id_alone(value):
    with pytest.raises(ValidationError):
        spinnaker.read(spinnaker.Started, body(value))


def test_lists_are_read_strictly():
    assert spinnaker.read(spinnaker.CanaryConfigs, body([ENTRY])).root[0].updatedTimestamp == 1767225600000
    for broken in (ENTRY | {"applications": None}, ENTRY | {"updatedTimestamp": "5"}, ENTRY | {"id": 5}):
        with pytest.raises(ValidationError):
            spinnaker.read(spinnaker.CanaryConfigs, body([broken]))
    with pytest.raises(ValidationError):
        spinnaker.read(spinnaker.Credentials, body([{"name": "any"}]))


def test_metric_set_pairs():
    when = {"startTimeIso": "2026-01-01T00:00:00Z", "startTimeMillis": 1767225600000, "stepMillis": 60000}
    pair = {
        "name": "errors",
        "id": "m1",
        "tags": {"zone": "a"},
        "values": {"control": [1, 2.5, "NaN"], "experiment": []},
        "scopes": {"control": when, "experiment": when},
        "attributes": {"control": {"query": "up"}, "experiment": {"query": "up"}},
    }
    spinnaker.read(spinnaker.MetricSetPairs, body([pair])).check(spinnaker.read(spinnaker.Status, body(status())))
    with pytest.raises(ValueError, match="m1"):
        spinnaker.read(spinnaker.MetricSetPairs, body([pair | {"id": "m2"}])).check(
            spinnaker.read(spinnaker.Status, body(status()))
        )
    with pytest.raises(ValidationError):
        spinnaker.read(spinnaker.MetricSetPairs, body([pair | {"values": {"control": [None], "experiment": []}}]))
    with pytest.raises(ValueError, match="NaN is no JSON"):
        spinnaker.read(spinnaker.MetricSetPairs, Answer(200, "[NaN]"))


def test_standalone():
    judgement = {
        "executionId": "e1",
        "judgementStartTimeIso": "2026-01-01T00:00:00Z",
        "judgementEndTimeIso": "2026-01-01T00:30:00Z",
        "warnings": [],
        "result": status()["result"],
    }
    answer = {
        "pipelineId": "s1",
        "stageStatus": [{"type": "judge", "name": "judge", "status": "succeeded"}],
        "complete": True,
        "executionStatus": "SUCCEEDED",
        "status": "succeeded",
        "canaryAnalysisExecutionResult": {
            "didPassThresholds": True,
            "hasWarnings": False,
            "canaryScoreMessage": "passed",
            "canaryScores": [100],
            "canaryExecutionResults": [judgement],
        },
    }
    assert spinnaker.read(spinnaker.Standalone, body(answer)).canaryAnalysisExecutionResult.didPassThresholds
    for broken in (answer | {"complete": False}, answer | {"canaryAnalysisExecutionResult": None}):
        with pytest.raises(ValidationError):
            spinnaker.read(spinnaker.Standalone, body(broken))
    assert spinnaker.read(spinnaker.StandaloneStarted, body({"canaryAnalysisExecutionId": "s1"})).execution_id == "s1"
    with pytest.raises(ValidationError):
        spinnaker.read(spinnaker.StandaloneStarted, body({"canaryExecutionId": "s1"}))


def stage(*scores, **given):
    """A canary stage over a service that gives these scores, one per judgement; and the requests that it got."""
    left, requests = list(scores), []

    def start(request):
        requests.append(request)
        return body({"canaryExecutionId": "e1"})

    def answer(_):
        return body(status(left.pop(0), request=requests[-1]))

    answers = {"canaryConfig": body([ENTRY]), "c1": start, "e1": answer, "credentials": body([])}
    api = Scripted(**answers | given.pop("answers", {}))
    settings = {"config_id": "c1", "lifetime_minutes": 90, "interval_minutes": 30, "now": START} | given
    scopes = [{"scopeName": "default", "controlScope": "base", "experimentScope": "canary"}]
    thresholds = {"pass": 90, "marginal": 75}
    return orca.Orca(api, application="web", scopes=scopes, thresholds=thresholds, **settings), requests, api


def test_the_start_of_each_interval_is_now_anew_and_the_window_grows():
    waits = []
    canary, requests, api = stage(100, 80, 95, wait=waits.append)
    assert canary.run() == "SUCCEEDED"
    assert canary.scores == [100, 80, 95]
    starts = [request["scopes"]["default"]["controlScope"]["start"] for request in requests]
    assert starts == ["2026-01-01T00:00:00.001Z", "2026-01-01T00:00:00.003Z", "2026-01-01T00:00:00.005Z"]
    minutes = [round((window.end - window.start).total_seconds() / 60) for window in canary.windows]
    assert minutes == [30, 60, 90]
    assert waits == [1800, 1800, 1800]
    started = [call for call in api.seen if call[0] == "POST"]
    assert [call[3] for call in started] == [{"application": "web", "parentPipelineExecutionId": "01PIPELINE"}] * 3


def test_lookback_slides_and_a_given_start_stays():
    canary, _, _ = stage(100, 100, 100, lookback_minutes=20, start=START)
    canary.run()
    lengths = {window.end - window.start for window in canary.windows}
    assert lengths == {timedelta(minutes=20)}
    assert canary.windows[0].end == START + timedelta(minutes=30)


def test_the_rest_of_a_lifetime_is_never_judged():
    canary, requests, _ = stage(100, 100, lifetime_minutes=89)
    assert canary.run() == "SUCCEEDED"
    assert len(requests) == 2


def test_an_end_makes_it_retrospective():
    waits = []
    canary, _, _ = stage(
        100, 100, start=START, end=START + timedelta(hours=1), begin_after_minutes=10, wait=waits.append
    )
    assert canary.run() == "SUCCEEDED"
    assert waits == [600]
    assert [window.start for window in canary.windows] == [START, START]


def test_a_score_at_marginal_fails_at_once():
    canary, requests, _ = stage(75, 100, 100)
    assert canary.run() == "TERMINAL"
    assert len(requests) == 1
    assert canary.message == "Canary score is not above the marginal score threshold."


def test_a_last_score_below_pass_fails():
    canary, _, _ = stage(100, 100, 89)
    assert canary.run() == "TERMINAL"
    assert "below the pass score threshold" in canary.message


def test_the_config_is_found_by_its_name_among_those_of_the_application():
    canary, _, api = stage(100, 100, 100, config_id=None, config_name="shop")
    assert canary.run() == "SUCCEEDED"
    assert api.seen[0] == ("GET", "/kayenta/canaryConfig", None, None)
    canary, _, _ = stage(100, config_id=None, config_name="other")
    assert canary.run() == "TERMINAL"


def test_few_points_are_a_warning_after_the_credentials_were_read():
    few = replaced(status(), 49, *JUDGED, "results", 0, "controlMetadata", "stats", "count")
    given = {"answers": {"e1": body(few), "credentials": body([{"name": "prom", "type": "prometheus"}])}}
    canary, _, api = stage(lifetime_minutes=30, metrics_account="prom", **given)
    assert canary.run() == "SUCCEEDED"
    assert canary.warnings == [orca.FEW_POINTS]
    assert ("GET", "/kayenta/credentials", None, None) in api.seen


def test_one_missing_count_breaks_the_stage():
    broken = without(status(), *JUDGED, "results", 0, "controlMetadata", "stats", "count")
    canary, _, _ = stage(answers={"e1": body(broken)})
    assert canary.run() == "TERMINAL"
    assert "controlMetadata.stats.count" in canary.message


def test_a_running_execution_is_polled_each_second_and_a_503_is_borne():
    running = body(status(state="running"))
    canary, _, api = stage(lifetime_minutes=30, answers={"e1": [running, Answer(503, "queue full"), body(status())]})
    assert canary.run() == "SUCCEEDED"
    assert len(api.seen) == 4


@pytest.mark.parametrize("state", ["terminal", "canceled", "stopped"])
def test_a_halted_execution_ends_the_stage(state):
    halted = status(state=state, exception={"details": {"errors": ["source refused"]}})
    canary, _, _ = stage(answers={"e1": body(halted)})
    assert canary.run() == "TERMINAL"
    assert "source refused" in canary.message


def test_a_refused_start_ends_the_stage():
    canary, _, _ = stage(answers={"c1": Answer(400, "thresholds leave no room")})
    assert canary.run() == "TERMINAL"
    assert "thresholds leave no room" in canary.message
