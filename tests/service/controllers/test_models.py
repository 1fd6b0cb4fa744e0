"""The models themselves, against a scripted service: each trap of the controllers once."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.service.controllers import orca
from tests.service.controllers.api import Answer
from tests.service.controllers.argo import AnalysisRun, ControllerDied, Decided, ProviderError, kayenta, web
from tests.service.controllers.flagger import Flagger


class Scripted:
    """A service whose answers are written down: one per path, a list for one call after another, or a function."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    def __call__(self, method, path, *, json=None, params=None, headers=None):
        self.seen.append((method, path, json, params))
        answer = self.answers[path.strip("/").split("/")[-1]]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(json)
        if isinstance(answer, OSError):
            raise answer
        return Answer(answer, "because") if isinstance(answer, int) else answer


def body(value, status=200):
    return Answer(status, json.dumps(value))


# ---- Answer ----


def test_a_bare_nan_is_no_json():
    with pytest.raises(ValueError, match="NaN is no JSON"):
        _ = Answer(200, '{"score": NaN}').json


# ---- Flagger ----

TYPES = [
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "rollback",
    "post-rollout",
    "event",
]


def flagger(steps=(5, 50), set_weight=lambda _: None, types=TYPES, threshold=2, iterations=0, more=None, **answers):
    said = {kind: 403 if kind == "rollback" else 200 for kind in TYPES} | answers
    hooks = [{"type": kind, "path": f"/{kind}", "metadata": {"config": "shop", **(more or {})}} for kind in types]
    canary = Flagger(
        Scripted(**said),
        "web",
        "shop",
        step_weights=steps,
        threshold=threshold,
        webhooks=hooks,
        set_weight=set_weight,
        checksum="A",
        iterations=iterations,
    )
    canary.deploy("B")
    return canary


def answers(**given):
    return {key.replace("_", "-"): value for key, value in given.items()}


def test_all_yes_goes_by_the_steps_to_promotion():
    weights = []
    canary = flagger(set_weight=weights.append)
    assert canary.run(20) == "Succeeded"
    assert weights == [5, 50, 0]
    phases = [what for _, what in canary.history if what.startswith("phase")]
    assert phases == [
        f"phase {name}" for name in ["Initialized", "Progressing", "Promoting", "Finalising", "Succeeded"]
    ]


def test_confirm_rollout_carries_the_previous_checksum():
    canary = flagger()
    canary.run(20)
    assert {call.body["checksum"] for call in canary.asked("confirm-rollout")} == {"A"}
    assert {call.body["checksum"] for call in canary.asked("confirm-traffic-increase")} == {"B"}


def test_after_a_failed_run_confirm_rollout_carries_the_new_checksum():
    canary = flagger(rollback=[200, 403])
    assert canary.run(20) == "Failed"
    canary.deploy("C")
    canary.tick()
    assert canary.asked("confirm-rollout")[-1].body["checksum"] == "C"
    assert canary.asked("confirm-rollout")[-1].body["phase"] == "Failed"


def test_a_refused_rollout_waits():
    canary = flagger(**answers(confirm_rollout=[412, 412, 200]))
    canary.tick()
    canary.tick()
    assert (canary.phase, canary.weight) == ("Waiting", 0)
    assert canary.asked("rollback")[-1].body == {
        "name": "web",
        "namespace": "shop",
        "phase": "Waiting",
        "checksum": "A",
        "metadata": {"config": "shop"},
    }
    canary.tick()
    assert canary.phase == "Progressing"


def test_releases_that_sync_first_carry_the_new_checksum():
    canary = flagger(**answers(confirm_rollout=[412, 200]))
    canary.confirm_rollout_checksum = "new"
    assert canary.run(20) == "Succeeded"
    assert [call.body["checksum"] for call in canary.asked("confirm-rollout")] == ["B", "B"]


def test_the_order_of_the_scheduler_never_asks_for_a_rollback_while_waiting():
    canary = flagger(rollback=200, **answers(confirm_rollout=412))
    canary.rollback_hooks_while_waiting = False
    assert canary.run(20) == "Waiting"
    assert not canary.asked("rollback")


def test_no_metadata_is_no_key():
    api = Scripted(rollback=403)
    canary = Flagger(api, "web", "shop", step_weights=[5], webhooks=[{"type": "rollback", "path": "/rollback"}])
    canary.deploy("B")
    canary.run(2)
    assert "metadata" not in api.seen[0][2]


def test_the_first_step_is_asked_for_at_weight_0_and_a_refusal_holds_it_there_without_a_failure():
    canary = flagger(**answers(confirm_traffic_increase=412))
    for _ in range(50):
        canary.tick()
    assert (canary.phase, canary.weight, canary.failed_checks) == ("Progressing", 0, 0)
    assert len(canary.asked("pre-rollout")) == len(canary.asked("confirm-traffic-increase")) == 49
    assert not canary.asked("rollout")


def test_every_step_and_the_promotion_ask_confirm_traffic_increase():
    canary = flagger()
    canary.run(20)
    assert len(canary.asked("confirm-traffic-increase")) == 3
    assert len(canary.asked("confirm-promotion")) == 1


def test_the_rollback_hook_is_asked_first_on_every_tick():
    canary = flagger()
    canary.run(20)
    for tick in {call.tick for call in canary.asked("rollback")}:
        first = next(call for call in canary.calls if call.tick == tick)
        assert first.type == "rollback"


@pytest.mark.parametrize(("status", "phase"), [(200, "Failed"), (202, "Failed"), (204, "Progressing")])
@pytest.mark.parametrize("text", ["", "regressed"])
def test_up_to_202_is_yes_and_everything_else_is_no(status, phase, text):
    canary = flagger(rollback=Answer(status, text))
    canary.tick()
    canary.tick()
    assert canary.phase == phase
    assert bool(canary.odd) == (status == 204)


def test_a_service_that_is_down_orders_no_rollback():
    canary = flagger(rollback=ConnectionError("connection refused"))
    canary.tick()
    canary.tick()
    assert canary.phase == "Progressing"
    assert canary.asked("rollback")[0].answer == Answer(0, "connection refused")


def test_the_body_of_a_5xx_is_swallowed():
    canary = flagger(rollout=Answer(503, "the database is down"))
    canary.tick()
    canary.tick()
    canary.tick()
    assert any("failed giving up after 1 attempt(s)" in what for _, what in canary.history)
    assert [call.type for call in canary.odd] == ["rollout"]


def test_failed_rollout_checks_add_up_and_a_success_takes_none_back():
    canary = flagger(steps=(5, 10, 20, 50), rollout=[412, 200, 412, 200])
    assert canary.run(20) == "Failed"
    assert any("failed checks threshold reached 2" in what for _, what in canary.history)


def test_only_a_new_revision_resets_the_failed_checks():
    canary = flagger(rollout=[412, 200])
    for _ in range(3):
        canary.tick()
    assert (canary.weight, canary.failed_checks) == (5, 1)
    canary.deploy("C")
    canary.tick()
    assert (canary.phase, canary.weight, canary.failed_checks) == ("Progressing", 0, 0)
    assert canary.status.applied == "C"


def test_pre_rollout_failures_count():
    canary = flagger(**answers(pre_rollout=412))
    assert canary.run(20) == "Failed"


def test_a_failing_router_write_is_tried_again_with_all_hooks_at_the_next_tick():
    tries = []

    def write(weight):
        tries.append(weight)
        if len(tries) == 1:
            raise ConnectionError("409 conflict")

    canary = flagger(set_weight=write)
    canary.tick()
    canary.tick()
    assert canary.weight == 0
    assert canary.history[-1] == (2, "409 conflict")
    canary.tick()
    assert (canary.weight, tries) == (5, [5, 5])
    assert len(canary.asked("confirm-traffic-increase")) == len(canary.asked("pre-rollout")) == 2


def test_a_rollback_whose_write_fails_is_asked_for_and_written_again():
    failures = [ConnectionError("409 conflict")]

    def write(weight):
        if weight == 0 and failures:
            raise failures.pop()

    canary = flagger(set_weight=write, rollback=[403, 200])
    for _ in range(3):
        canary.tick()
    assert (canary.phase, canary.weight) == ("Progressing", 5)
    assert not canary.asked("post-rollout")
    canary.tick()
    assert (canary.phase, canary.weight) == ("Failed", 0)
    assert len(canary.asked("post-rollout")) == 1


def test_waiting_for_promotion_goes_on_checking_and_asks_no_traffic_increase():
    canary = flagger(**answers(confirm_promotion=[412, 412, 412, 200]))
    for _ in range(4):
        canary.tick()
    assert canary.phase == "WaitingPromotion"
    canary.tick()
    asked = [call.type for call in canary.calls if call.tick == 5 and call.type != "event"]
    assert asked == ["rollback", "rollout", "confirm-promotion"]
    assert canary.run(20) == "Succeeded"


def test_a_rollback_is_possible_while_waiting_for_promotion():
    canary = flagger(**answers(confirm_promotion=412, rollback=[403, 403, 403, 200]))
    assert canary.run(20) == "Failed"
    assert canary.weight == 0


def test_events_tell_the_weight_at_once_and_metadata_cannot_override_the_three_keys():
    canary = flagger(more={"eventMessage": "mine", "eventType": "mine", "timestamp": "mine", "team": "web"})
    canary.tick()
    canary.tick()
    metadata = canary.asked("event", tick=2)[-1].body["metadata"]
    assert metadata == {
        "config": "shop",
        "team": "web",
        "eventMessage": "Advance web.shop canary weight 5",
        "eventType": "Normal",
        "timestamp": "1700000120000",
    }


def test_a_refused_event_changes_nothing():
    assert flagger(event=500).run(20) == "Succeeded"


def test_the_end_is_told_by_post_rollout_and_the_last_event_still_says_finalising():
    canary = flagger()
    canary.run(20)
    assert canary.asked("post-rollout")[0].body["phase"] == "Succeeded"
    assert {call.body["phase"] for call in canary.asked("event")} == {
        "Initialized",
        "Progressing",
        "Promoting",
        "Finalising",
    }


def test_a_failure_is_told_by_an_event_and_by_post_rollout():
    canary = flagger(rollback=200)
    canary.run(20)
    failed = [call for call in canary.asked("event") if call.body["phase"] == "Failed"]
    assert [call.body["metadata"]["eventMessage"] for call in failed] == ["Canary failed! Scaling down web.shop"]
    assert canary.asked("post-rollout")[0].body["phase"] == "Failed"


def test_the_same_spec_again_has_the_same_checksum():
    canary = flagger()
    for checksum in "BAB":
        canary.deploy(checksum)
        canary.tick()
        assert canary.run(20) == "Succeeded"
    ends = [call.body["checksum"] for call in canary.asked("post-rollout")]
    assert ends == ["B", "A", "B"]


def test_going_back_to_what_was_promoted_is_no_new_revision():
    canary = flagger(rollback=[200, 403])
    canary.run(20)
    canary.deploy("A")
    canary.tick()
    assert canary.phase == "Failed"
    canary.deploy("B")
    canary.tick()
    assert (canary.phase, canary.status.applied) == ("Progressing", "B")


def test_blue_green_asks_rollout_and_promotion_hooks_only():
    weights = []
    canary = flagger(steps=(), iterations=3, set_weight=weights.append)
    assert canary.run(20) == "Succeeded"
    assert not canary.asked("confirm-traffic-increase")
    assert weights == [100, 0]
    assert len(canary.asked("confirm-promotion")) == 2


def test_blue_green_repeats_its_last_iteration_while_it_waits_for_promotion():
    canary = flagger(steps=(), iterations=2, **answers(confirm_promotion=[412, 412, 200]))
    assert canary.run(30) == "Succeeded"
    assert sum(what == "Advance web.shop canary iteration 2/2" for _, what in canary.history) == 3


# ---- Argo: the counters ----

VERDICT = {
    "success_condition": lambda result: result.verdict == "pass",
    "failure_condition": lambda result: result.verdict == "fail",
}


def says(*verdicts):
    left = list(verdicts)

    def measure(_):
        verdict = left.pop(0) if len(left) > 1 else left[0]
        if verdict == "down":
            raise ProviderError("503")
        return {"verdict": verdict}

    return measure


def test_inconclusive_counts_so_a_canary_without_traffic_is_promoted():
    run = AnalysisRun(count=5, inconclusive_limit=5, **VERDICT)
    assert run.run(says("insufficient")) == "Successful"
    assert run.count == run.inconclusive == 5


def test_consecutive_success_limit_mends_that_and_ends_early():
    limits = {"count": 5, "inconclusive_limit": 5, "consecutive_success_limit": 1}
    assert AnalysisRun(**limits, **VERDICT).run(says("insufficient")) == "Inconclusive"
    run = AnalysisRun(**limits, **VERDICT)
    assert run.run(says("insufficient", "pass")) == "Successful"
    assert run.count == 2


def test_a_background_run_goes_on_after_a_pass_until_it_is_terminated():
    run = AnalysisRun(inconclusive_limit=30, **VERDICT)
    for _ in range(20):
        run.measure(says("pass"))
    assert run.phase == "Running"
    assert run.terminate() == "Successful"


def test_terminated_before_its_first_measurement_is_successful():
    assert AnalysisRun(**VERDICT).terminate() == "Successful"


def test_later_limits_overwrite_earlier_ones():
    run = AnalysisRun(count=9, failure_limit=1, inconclusive_limit=0, **VERDICT)
    run.measure(says("fail"))
    assert run.phase == "Running"
    run.measure(says("insufficient"))
    assert run.phase == "Inconclusive"
    run = AnalysisRun(count=9, failure_limit=0, inconclusive_limit=0, consecutive_error_limit=0, **VERDICT)
    run.failed, run.inconclusive = 1, 1
    run.measure(says("down"))
    assert run.phase == "Error"


def test_errors_are_no_part_of_the_count_and_abort_after_50_s_by_default():
    run = AnalysisRun(count=1, **VERDICT)
    assert run.run(says("down")) == "Error"
    assert (run.count, run.error, run.seconds) == (0, 5, 40)
    assert run.rollout_does == "aborts"


def test_an_error_in_between_is_retried_after_10_s_and_forgotten():
    run = AnalysisRun(count=2, interval=60, **VERDICT)
    assert run.run(says("down", "pass", "down", "pass")) == "Successful"
    assert [m.finished_at for m in run.measurements] == [0, 10, 70, 80]


def test_failed_wins_over_success_and_a_trouble_of_the_expression_is_an_error():
    both = AnalysisRun(success_condition=lambda _: True, failure_condition=lambda _: True)
    assert both.measure(says("pass")) == "Failed"
    assert AnalysisRun(success_condition=lambda r: r.verdict == "pass").measure(says("other")) == "Failed"
    assert AnalysisRun(failure_condition=lambda r: r.verdict == "fail").measure(says("other")) == "Successful"
    assert AnalysisRun(success_condition=lambda r: r.score > 5).measure(says("pass")) == "Error"
    assert AnalysisRun(success_condition=lambda r: not r.stale).measure(says("pass")) == "Error"
    assert AnalysisRun(success_condition=lambda r: r.verdict).measure(says("pass")) == "Error"
    assert AnalysisRun(success_condition=lambda r: r.absent == "pass").measure(says("pass")) == "Failed"
    assert AnalysisRun().measure(says("pass")) == "Successful"


def test_time_is_told_to_the_test():
    waits = []
    run = AnalysisRun(count=3, interval=60, initial_delay=30, wait=waits.append, **VERDICT)
    run.run(says("pass"))
    assert waits == [30, 60, 60]


# ---- Argo: web ----


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (body({"summary": {"verdict": "pass"}}), "Successful"),
        (body({"summary": {"verdict": "fail"}}, 201), "Failed"),
        (body({"summary": {"verdict": "pass"}}, 500), "Error"),
        (Answer(302, ""), "Error"),
        (body({"other": 1}), "Error"),
        (TimeoutError("timed out"), "Error"),
    ],
)
def test_web(answer, result):
    api = Scripted(looks=answer)
    assert AnalysisRun(**VERDICT).measure(web(api, "/v1/looks", {"config": "shop"})) == result
    assert api.seen == [("POST", "/v1/looks", {"config": "shop"}, None)]


@pytest.mark.parametrize("path", ["summary.verdict", "$.summary.verdict", "{$.summary.verdict}"])
def test_web_reads_a_json_path(path):
    run = AnalysisRun(success_condition=lambda result: result == "pass")
    assert (
        run.measure(web(Scripted(looks=body({"summary": {"verdict": "pass"}})), "/v1/looks", {}, path)) == "Successful"
    )


def test_a_body_that_is_no_json_is_the_result_as_text():
    run = AnalysisRun(success_condition=lambda result: result == "pass")
    assert run.measure(web(Scripted(looks=Answer(200, "pass")), "/v1/looks")) == "Successful"


# ---- Argo: kayenta ----

ENTRY = {
    "id": "c1",
    "name": "shop",
    "updatedTimestamp": 1767225600000,
    "updatedTimestampIso": "2026-01-01T00:00:00Z",
    "applications": ["web"],
}


def scored(score, *, complete=True):
    return body({"complete": complete, "result": {"judgeResult": {"score": {"score": score}}}})


def ask_kayenta(run=None, **given):
    api = Scripted(
        **{"canaryConfig": body([ENTRY]), "c1": body({"canaryExecutionId": "e1"}), "e1": scored(93), **given}
    )
    side = {"scope": "hash", "region": "x", "step": 60}
    provider = kayenta(
        api,
        application="web",
        config_name="shop",
        scopes=[{"name": "default", "controlScope": side, "experimentScope": side}],
        pass_score=90,
        marginal=75,
        lookback=run is not None,
        storage_account="store",
        configuration_account="conf",
    )
    run = run or AnalysisRun(consecutive_error_limit=0)
    return run.measure(provider), api.seen, run


def test_kayenta_makes_three_calls():
    result, seen, run = ask_kayenta()
    assert result == "Successful"
    assert [call[:2] for call in seen] == [
        ("GET", "/kayenta/canaryConfig"),
        ("POST", "/kayenta/canary/c1"),
        ("GET", "/kayenta/canary/e1"),
    ]
    assert seen[0][3] == {"application": "web", "configurationAccountName": "store"}  # the wrong account, as Argo does
    assert seen[1][3]["configurationAccountName"] == "conf"
    assert seen[1][2]["thresholds"] == {"pass": 90, "marginal": 75}
    assert seen[1][2]["scopes"]["default"]["controlScope"] == {
        "scope": "hash",
        "region": "x",
        "step": 60,
        "start": "2025-12-31T23:59:00Z",
        "end": "2026-01-01T00:00:00Z",
    }
    assert seen[2][3] is None
    assert run.seconds == 15


@pytest.mark.parametrize(
    ("score", "result"),
    [
        (90, "Successful"),
        (89.9, "Inconclusive"),
        (75, "Inconclusive"),
        (74.99, "Failed"),
        ("93", "Error"),
        (True, "Error"),
    ],
)
def test_the_score_is_cut_to_an_integer_and_must_be_a_number(score, result):
    assert ask_kayenta(e1=scored(score))[0] == result


@pytest.mark.parametrize(
    "given",
    [
        {"e1": scored(93, complete="true")},
        {"e1": scored(93, complete=None)},
        {"e1": Answer(200, scored(93).text.replace("93", "NaN"))},
        {"e1": body({"complete": True})},
        {"e1": Answer(201, scored(93).text)},
        {"c1": body({"canaryExecutionId": "e1"}, 201)},
        {"canaryConfig": body([ENTRY | {"updatedTimestamp": "1767225600000"}])},
        {"canaryConfig": body([ENTRY | {"updatedTimestamp": 1767225600000.5}])},
        {"canaryConfig": body([ENTRY | {"name": "other"}])},
        {"canaryConfig": body({"configs": [ENTRY]})},
    ],
)
def test_what_argo_cannot_read_is_an_error(given):
    assert ask_kayenta(**given)[0] == "Error"


def test_an_absent_execution_id_becomes_a_text():
    result, seen, _ = ask_kayenta(**{"c1": body({}), "<nil>": 404})
    assert (result, seen[-1][1]) == ("Error", "/kayenta/canary/<nil>")


def test_an_execution_is_polled_every_15_s_until_it_is_complete():
    _, seen, run = ask_kayenta(e1=[scored(0, complete=False), scored(0, complete=False), scored(93)])
    assert len(seen) == 5
    assert run.seconds == 45


def test_lookback_grows_from_the_start_and_needs_an_initial_delay():
    run = AnalysisRun(interval=60, initial_delay=60)
    windows = [ask_kayenta(run)[1][1][2]["scopes"]["default"]["controlScope"] for _ in range(2)]
    assert {window["start"] for window in windows} == {"2026-01-01T00:00:00Z"}
    assert [window["end"] for window in windows] == ["2026-01-01T00:01:00Z", "2026-01-01T00:02:15Z"]
    with pytest.raises(ControllerDied):
        ask_kayenta(AnalysisRun(interval=60))


def test_a_provider_that_decides_needs_no_conditions():
    assert AnalysisRun(**VERDICT).measure(lambda _: Decided("Inconclusive", "80")) == "Inconclusive"


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
        "complete": state not in orca.UNFINISHED,
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
    read = orca.read(orca.StatusForOrca, body(status()))
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
        orca.read(orca.StatusForOrca, body(broken))


def test_a_failed_execution_says_why():
    failed = status(state="terminal", exception={"details": {"errors": ["source refused"]}})
    assert orca.read(orca.Status, body(failed)).exception.details.errors == ["source refused"]


@pytest.mark.parametrize("value", [{"canaryExecutionId": 5}, {"canaryExecutionId": "e", "at": "now"}, {}, []])
def test_the_start_answer_is_a_map_of_texts_with_the_id_alone(value):
    with pytest.raises(ValidationError):
        orca.read(orca.Started, body(value))


def test_lists_are_read_strictly():
    assert orca.read(orca.CanaryConfigs, body([ENTRY])).root[0].updatedTimestamp == 1767225600000
    for broken in (ENTRY | {"applications": None}, ENTRY | {"updatedTimestamp": "5"}, ENTRY | {"id": 5}):
        with pytest.raises(ValidationError):
            orca.read(orca.CanaryConfigs, body([broken]))
    with pytest.raises(ValidationError):
        orca.read(orca.Credentials, body([{"name": "any"}]))


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
    orca.read(orca.MetricSetPairs, body([pair])).check(orca.read(orca.Status, body(status())))
    with pytest.raises(ValueError, match="m1"):
        orca.read(orca.MetricSetPairs, body([pair | {"id": "m2"}])).check(orca.read(orca.Status, body(status())))
    with pytest.raises(ValidationError):
        orca.read(orca.MetricSetPairs, body([pair | {"values": {"control": [None], "experiment": []}}]))
    with pytest.raises(ValueError, match="NaN is no JSON"):
        orca.read(orca.MetricSetPairs, Answer(200, "[NaN]"))


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
    assert orca.read(orca.Standalone, body(answer)).canaryAnalysisExecutionResult.didPassThresholds
    for broken in (answer | {"complete": False}, answer | {"canaryAnalysisExecutionResult": None}):
        with pytest.raises(ValidationError):
            orca.read(orca.Standalone, body(broken))
    assert orca.read(orca.StandaloneStarted, body({"canaryAnalysisExecutionId": "s1"})).execution_id == "s1"
    with pytest.raises(ValidationError):
        orca.read(orca.StandaloneStarted, body({"canaryExecutionId": "s1"}))


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
