"""The model of Argo Rollouts: each of its traps once."""

import pytest

from tests.service.controllers.api import Answer
from tests.service.controllers.argo import AnalysisRun, ControllerDied, Decided, ProviderError, kayenta, web
from tests.service.controllers.scripted import ENTRY, Scripted, body

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
