"""Argo's `web` provider: inline and background runs, resumed ones, and what polling does to the evidence."""

import numpy as np
import pytest

from tests.service.controllers.argo import AnalysisRun, web
from tests.service.house import SIDES, house

BODY = {"config": "shop", "canary": {"hash": "6b5"}, "baseline": {"hash": "f00"}, "horizon": "40m", "weight": "10"}


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


def inline(shop, **more):
    """As docs/integrations/argo.md has it: the first pass ends the step, none by its end pauses the rollout."""
    limits = {"count": 40, "consecutive_success_limit": 1, "failure_limit": 0, "inconclusive_limit": 40} | more
    return AnalysisRun(
        start=shop.now(),
        wait=shop.pass_time,
        consecutive_error_limit=30,
        success_condition=lambda r: r.verdict == "pass",
        failure_condition=lambda r: r.verdict == "fail",
        **limits,
    )


def background(shop):
    return AnalysisRun(
        start=shop.now(),
        wait=shop.pass_time,
        consecutive_error_limit=30,
        inconclusive_limit=30,
        success_condition=lambda r: r.verdict != "fail" and not r.stale and r.state != "errored",
        failure_condition=lambda r: r.verdict == "fail",
    )


@pytest.mark.parametrize(
    ("rate", "requests", "phase"), [(0.005, 200, "Successful"), (0.05, 200, "Failed"), (0.005, 0.1, "Inconclusive")]
)
def test_an_inline_step_passes_fails_or_pauses(shop, rate, requests, phase):
    shop.add("shop", canary_error_rate=rate, rate=requests)
    run = inline(shop)
    assert run.run(web(shop.api, "/v1/looks", BODY)) == phase


def test_a_background_run_goes_on_after_a_pass_and_fails_at_a_late_fault(shop):
    begun = shop.clock.seconds
    shop.add("shop", canary_error_rate=lambda at: 0.005 if at - begun < 1800 else 0.05)
    run = background(shop)
    call = web(shop.api, "/v1/looks", {name: value for name, value in BODY.items() if name != "horizon"})
    assert run.run(call, most=90) == "Failed"
    assert shop.clock.seconds - begun > 1800


def test_a_background_run_is_not_ended_by_two_hours_of_health(shop):
    run = background(shop)
    call = web(shop.api, "/v1/looks", {name: value for name, value in BODY.items() if name != "horizon"})
    assert run.run(call, most=120) == "Running"
    assert run.terminate() == "Successful"


def test_a_resumed_rollout_goes_on_with_its_evidence(shop):
    """After Inconclusive the controller makes a new AnalysisRun, which asks with the same hashes."""
    first = inline(shop, count=3, inconclusive_limit=3)
    body = {name: value for name, value in BODY.items() if name != "horizon"}
    assert first.run(web(shop.api, "/v1/looks", body)) == "Inconclusive"
    before = shop.api("POST", "/v1/looks", json=body).json["judgement"]["look"]["intervals"]
    second = inline(shop)
    assert second.run(web(shop.api, "/v1/looks", body)) == "Successful"
    after = shop.api("POST", "/v1/looks", json=body).json["judgement"]["look"]["intervals"]
    assert after > before >= 1
    assert len(shop.api("GET", "/v1/runs").json) == 1


def test_a_service_that_is_away_for_minutes_does_not_abort_a_rollout(shop):
    away = iter([False] * 5 + [True] * 20 + [False] * 100)
    call = web(shop.api, "/v1/looks", BODY)

    def sometimes(run):
        if next(away):
            from tests.service.controllers.argo import ProviderError

            raise ProviderError("connection refused")
        return call(run)

    assert inline(shop).run(sometimes) == "Successful"


def test_blindness_is_no_success_of_a_background_run(shop):
    run, call = background(shop), web(shop.api, "/v1/looks", BODY)
    for _ in range(5):
        run.measure(call)
    shop.sources["shop"].down = True
    results = [run.measure(call) for _ in range(5)]
    assert set(results) == {"Inconclusive"}


# --- evidence -------------------------------------------------------------------------------------------------------


def evidence(shop, run):
    """Evidence of every metric at the last look, with all of it fresh: the planned end is one."""
    answer = shop.runs.get(run)
    assert answer.judgement.look.ended
    comparison = answer.judgement["errors"].comparison
    return (
        comparison.log_e_harm,
        comparison.log_e_beyond_margin,
        comparison.log_e_within_margin,
        comparison.events_canary,
        comparison.n_canary,
    )


def test_evidence_is_the_same_to_the_bit_however_often_it_is_polled_and_after_restarts(tmp_path):
    with house(tmp_path, serve=False) as shop:
        runs = shop.runs
        found = {}
        body = {"config": "shop", **SIDES, "horizon": "40m", "start": "2026-01-01T12:00:00Z"}
        for minute in range(1, 46):
            shop.pass_time()
            found["always"] = runs.look(**body, key="always").run.id
            if minute % 5 == 0:
                found["fifth"] = runs.look(**body, key="fifth").run.id
            if minute % 45 == 0:
                found["once"] = runs.look(**body, key="once").run.id
            runs._workers._desk._held.clear()  # as a worker that has just begun
            found["restarted"] = runs.look(**body, key="restarted").run.id
        all_of_them = {key: evidence(shop, run) for key, run in found.items()}
        assert len(set(all_of_them.values())) == 1, all_of_them
        verdicts = {key: runs.get(run).run.verdict for key, run in found.items()}
        assert set(verdicts.values()) == {"pass"}


def test_a_gauge_has_the_same_verdict_however_often_it_is_polled(tmp_path):
    from canary_judge.series import Form, Result, Series
    from tests.service.house import Faulty

    class Levels:
        def fetch(self, queries, window):
            results = []
            for query in queries:
                edges = window.edges(query.step)[1:]
                canary = query.side.value == "canary"
                values = [np.random.default_rng([canary, int(e // 10**9)]).lognormal(canary * 0.4, 0.1) for e in edges]
                results.append(Result(series=(Series(timestamps=edges, values=np.array(values)),), form=Form.LEVEL))
            return results

    with house(tmp_path, serve=False) as shop:
        gauge = {"name": "load", "kind": "gauge", "query": "load", "harm": "increase", "margin": "10%"}
        shop.write("load", {"name": "load", "interval": "1m", "metrics": [gauge]})
        shop.sources["load"] = Faulty(Levels())
        body = {"config": "load", **SIDES, "horizon": "1h", "start": "2026-01-01T12:00:00Z"}
        for minute in range(1, 66):
            shop.pass_time()
            always = shop.runs.look(**body, key="always")
            fifth = shop.runs.look(**body, key="fifth") if minute % 5 == 0 else None
        assert always.verdict == fifth.verdict == "fail"


@pytest.mark.slow
def test_polling_is_no_peeking(tmp_path):
    """40 A/A canaries, polled 30 times: the share that ever failed, beside a one-look answer at each poll.

    The promise is 5 %: 40 runs exceed 5 % + 3 standard errors (6 runs) by chance in less than one of 100 cases. With
    1000 canaries: python -m benchmarks.service_peeking.
    """
    from benchmarks.service_peeking import shares

    found = shares(tmp_path, canaries=40, polls=30, rate=0.05, seed=7)
    assert found["web"] <= 0.15
    assert found["kayenta"] <= 0.15
    assert found["one look at each poll"] > max(found["web"], found["kayenta"])
