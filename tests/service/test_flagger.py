"""Flagger's hooks: the table of answers cell by cell, and a model of Flagger's own loop that is driven by them."""

import json
import threading

import pytest

from canary_judge.service.flagger import Flagger as Hooks
from canary_judge.service.problems import StoreDown
from tests.service.controllers.flagger import Flagger
from tests.service.house import house

CONFIG = {"config": "shop"}
NOTED = threading.Semaphore(0)


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path, weight=0) as found:
        yield found


def body(phase="Progressing", checksum="a", **metadata):
    return {"name": "web", "namespace": "prod", "phase": phase, "checksum": checksum, "metadata": CONFIG | metadata}


def answers(shop, **more):
    """Status of gate, gate with require: pass, rollback and check."""
    asked = (("gate", {}), ("gate", {"require": "pass"}), ("rollback", {}), ("check", {}))
    found = []
    for name, metadata in asked:
        answer = shop.api("POST", f"/flagger/{name}", json=body(**metadata, **more))
        assert len(answer.text.strip().splitlines()) == 1
        found.append(answer.status)
    return found


@pytest.fixture(autouse=True)
def noted(monkeypatch):
    """Events are noted after their answer: each one that is, is counted."""
    note = Hooks.event

    def event(hooks, given):
        try:
            return note(hooks, given)
        finally:
            NOTED.release()

    monkeypatch.setattr(Hooks, "event", event)


def tell(shop, event):
    """An event, until it is noted."""
    while NOTED.acquire(blocking=False):
        pass
    answer = shop.api("POST", "/flagger/event", json=event)
    assert answer.status != 202 or NOTED.acquire(timeout=30)
    return answer


def advance(shop, weight, minutes=0):
    shop.worlds["shop"].router.set_weight(weight)
    assert tell(shop, body(eventMessage=f"Advance web.prod canary weight {weight}")).status == 202
    for _ in range(minutes):
        shop.pass_time()
        shop.api("POST", "/flagger/rollback", json=body())


# --- the table ------------------------------------------------------------------------------------------------------


def test_row_not_started(shop):
    assert answers(shop) == [200, 412, 403, 200]
    for _ in range(10):  # minutes at weight 0
        shop.pass_time()
        assert answers(shop) == [200, 412, 403, 200]
    text = shop.api("POST", "/flagger/gate", json=body(require="pass")).text
    assert "confirm-promotion" in text


def test_row_started_and_undecided(shop):
    answers(shop)
    advance(shop, 5)
    assert answers(shop) == [412, 412, 403, 200]
    assert shop.api("POST", "/flagger/gate", json=body(require="no_regression")).status == 200
    text = shop.api("POST", "/flagger/gate", json=body()).text
    assert "no interval has ended yet" in text


def test_row_started_is_known_from_the_traffic_alone(shop):
    answers(shop)
    shop.worlds["shop"].router.set_weight(5)  # and nobody told
    shop.pass_time(120)
    assert answers(shop) == [412, 412, 403, 200]


def test_row_pass(shop):
    answers(shop)
    advance(shop, 10, minutes=30)
    assert answers(shop) == [200, 200, 403, 200]


def test_row_fail_which_stands_whatever_happens_to_the_source(shop):
    shop.add("shop", canary_error_rate=0.05, weight=0)
    answers(shop)
    advance(shop, 10, minutes=30)
    assert answers(shop) == [412, 412, 200, 412]
    shop.sources["shop"].down = True
    shop.pass_time(3600 // 12)
    assert answers(shop) == [412, 412, 200, 412]


@pytest.mark.parametrize("passed", [False, True])
def test_row_blind_with_the_source_down(shop, passed):
    answers(shop)
    advance(shop, 10, minutes=30 if passed else 3)
    shop.sources["shop"].down = True
    shop.pass_time(300)
    assert answers(shop) == [412, 412, 403, 200]
    assert "source is down" in shop.api("POST", "/flagger/gate", json=body()).text


@pytest.mark.parametrize("failed", [False, True])
def test_row_blind_with_the_database_down(shop, failed, monkeypatch):
    if failed:
        shop.add("shop", canary_error_rate=0.05, weight=0)
    answers(shop)
    advance(shop, 10, minutes=30)

    def gone(*_, **__):
        raise StoreDown("the database gave no answer: gone")

    monkeypatch.setattr(shop.runs.store, "target", gone)
    assert answers(shop) == [412, 412, 403, 200]
    assert shop.api("POST", "/flagger/event", json=body(eventMessage="x")).status == 202
    assert shop.api("POST", "/flagger/end", json=body("Succeeded")).status == 200


def test_row_errored_is_blind(shop):
    from canary_judge.series import Form, Result
    from tests.service.house import Faulty

    class Refuses:
        def fetch(self, queries, window):
            return [Result(series=(), form=Form.COUNTS, error="bad syntax", temporary=False) for _ in queries]

    good, shop.sources["shop"] = shop.sources["shop"], Faulty(Refuses())
    answers(shop)
    shop.pass_time(60)
    assert answers(shop) == [412, 412, 403, 200]
    assert "bad syntax" in shop.api("POST", "/flagger/gate", json=body()).text
    shop.pass_time(120)
    shop.sources["shop"] = good  # it is tried anew, and takes us now
    answers(shop)
    shop.pass_time(120)
    assert answers(shop) == [200, 412, 403, 200]


def test_row_cancelled_is_blind(shop):
    answers(shop)
    advance(shop, 10, minutes=30)
    run = shop.api("GET", "/v1/runs").json[0]["id"]
    shop.runs.store.change(shop.runs.get(run).run, state="cancelled", error="it was cancelled")
    assert answers(shop) == [412, 412, 403, 200]


def test_row_undecided_at_the_planned_end_is_as_undecided(shop):
    shop.add("shop", rate=0.3, weight=0)
    shop.api("POST", "/flagger/gate", json=body(horizon="10m"))
    advance(shop, 10, minutes=15)
    assert shop.api("GET", "/v1/runs").json[0]["state"] == "undecided"
    assert answers(shop, horizon="10m") == [412, 412, 403, 200]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {},
        {"name": "web"},
        {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {}},
        {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {"config": "shpo"}},
        {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {"config": 5}},
        {"name": "web\n", "namespace": "prod", "phase": "Progressing", "metadata": CONFIG},
        {"name": "web", "namespace": "prod", "phase": 7, "metadata": CONFIG},
        {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {**CONFIG, "horizon": "soon"}},
        {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {**CONFIG, "canary.target": "x\ny"}},
    ],
)
def test_row_bad_body(shop, bad):
    for name in ("gate", "check", "rollback"):
        answer = shop.api("POST", f"/flagger/{name}", json=bad)
        assert answer.status == 400, (name, answer)
        assert answer.text.count("\n") == 1
    assert shop.api("POST", "/flagger/gate", data="{").status == 400


def test_require_is_pass_or_no_regression_and_pass_is_refused_where_it_would_hold_for_ever(shop):
    assert shop.api("POST", "/flagger/gate", json=body(require="maybe")).status == 400
    told = shop.api("POST", "/flagger/gate", json=body(require="pass", hook="confirm-traffic-increase"))
    assert told.status == 400
    assert "for ever" in told.text


def test_a_bug_of_ours_is_no_5xx(shop, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Hooks, "_look", broken)
    assert answers(shop) == [412, 412, 403, 200]


# --- which run ------------------------------------------------------------------------------------------------------


def runs_of(shop):
    return [run["key"] for run in reversed(shop.api("GET", "/v1/runs").json)]


def test_what_is_not_analysed_opens_nothing(shop):
    for phase in ("Initializing", "Initialized", "Waiting", "Promoting", "Finalising", "Succeeded", "Failed"):
        assert answers(shop, phase=phase) == [200, 412, 403, 200]
        shop.api("POST", "/flagger/event", json=body(phase=phase, eventMessage="x"))
    assert runs_of(shop) == []


def test_labels_are_the_deployment_s_and_those_of_the_metadata(shop):
    more = {"canary.version": "2", "baseline.version": "1"}
    shop.api("POST", "/flagger/gate", json=body(**more))
    run = shop.api("GET", "/v1/runs").json[0]
    assert run["canary"] == {"name": "web", "namespace": "prod", "target": "web", "version": "2"}
    assert run["baseline"] == {"name": "web", "namespace": "prod", "target": "web-primary", "version": "1"}


def test_a_run_is_ended_by_its_end_and_what_calls_next_has_no_evidence(shop):
    shop.add("shop", canary_error_rate=0.05, weight=0)
    answers(shop)
    advance(shop, 10, minutes=20)
    assert answers(shop)[2] == 200
    ended = body(phase="Failed", eventMessage="Canary failed! Scaling down web.prod")
    shop.worlds["shop"].router.set_weight(0)
    tell(shop, ended)
    assert shop.api("POST", "/flagger/end", json=ended).status == 200
    late = body(eventMessage="Post-rollout check web passed")
    tell(shop, late)
    shop.pass_time(60)
    assert answers(shop) == [200, 412, 403, 200]
    assert len(runs_of(shop)) == 2


def test_another_revision_begins_anew_and_so_does_the_first_one_after_it(shop):
    for checksum in ("a", "b", "a", "b"):
        answers(shop, checksum=checksum)
        shop.pass_time()
    assert len(set(runs_of(shop))) == 4


def test_a_rollback_that_was_answered_is_answered_again_until_flagger_is_silent_for_long(shop):
    shop.add("shop", canary_error_rate=0.05, weight=0)
    answers(shop)
    advance(shop, 10, minutes=20)
    for _ in range(5):  # the router refuses Flagger's write, which asks again
        shop.pass_time()
        assert shop.api("POST", "/flagger/rollback", json=body()).status == 200
    shop.worlds["shop"].router.set_weight(0)
    shop.pass_time(3700)  # the same spec is deployed again, without any end
    assert answers(shop) == [200, 412, 403, 200]


def test_a_run_keeps_the_config_that_it_began_with(shop):
    answers(shop)
    advance(shop, 10)
    plain = json.loads((shop.configs / "shop.json").read_text())
    shop.write("shop", {**plain, "false_alarm_rate": 0.001})
    assert answers(shop) == [412, 412, 403, 200]
    assert len(runs_of(shop)) == 1


def test_the_weight_of_the_config_s_router_is_known(shop):
    plain = json.loads((shop.configs / "shop.json").read_text())
    shop.write("shop", {**plain, "router": {"type": "memory"}})
    assert answers(shop) == [200, 412, 403, 200]
    assert shop.api("GET", "/v1/runs").json[0]["weight"] == 0.0
    advance(shop, 5)  # what Flagger tells comes first
    assert answers(shop) == [412, 412, 403, 200]
    assert shop.api("GET", "/v1/runs").json[0]["weight"] == 5.0


# --- Flagger's own loop ---------------------------------------------------------------------------------------------

HOOKS = [
    {"type": "confirm-rollout", "path": "/flagger/gate", "metadata": CONFIG},
    {"type": "pre-rollout", "path": "/flagger/check", "metadata": CONFIG},
    {"type": "rollback", "path": "/flagger/rollback", "metadata": CONFIG},
    {"type": "rollout", "path": "/flagger/check", "metadata": CONFIG},
    {"type": "confirm-traffic-increase", "path": "/flagger/gate", "metadata": CONFIG},
    {"type": "confirm-promotion", "path": "/flagger/gate", "metadata": CONFIG | {"require": "pass"}},
    {"type": "post-rollout", "path": "/flagger/end", "metadata": CONFIG},
    {"type": "event", "path": "/flagger/event"},
]


class Loop:
    """A deployment that Flagger drives on the simulated clock."""

    def __init__(self, shop, **more):
        self.shop, self.broken = shop, False
        more = {"step_weights": (5, 25, 50), "threshold": 2, "webhooks": HOOKS} | more
        self.flagger = Flagger(self.api, "web", "prod", set_weight=self.set_weight, **more)
        self.flagger.tick()

    def api(self, method, path, **more):
        if path.endswith("/event"):
            return tell(self.shop, more["json"])
        return self.shop.api(method, path, **more)

    def set_weight(self, weight):
        if self.broken:
            raise OSError("the router refuses")
        self.shop.worlds["shop"].router.set_weight(weight)

    def until(self, phase, ticks):
        """Tick minute by minute until the phase is reached; how many ticks that took."""
        for tick in range(1, ticks + 1):
            self.shop.pass_time()
            self.flagger.tick()
            if self.flagger.phase == phase:
                return tick
        raise AssertionError((self.flagger.phase, self.flagger.weight, self.flagger.history[-5:]))


@pytest.mark.parametrize("confirm", ["previous", "new"])
def test_flagger_s_loop_promotes_a_healthy_canary(shop, confirm):
    loop = Loop(shop, confirm_rollout_checksum=confirm)
    loop.flagger.deploy("2")
    loop.until("Succeeded", 200)
    assert loop.flagger.odd == []
    assert loop.flagger.failed_checks == 0
    weights = [run["state"] for run in shop.api("GET", "/v1/runs").json]
    assert weights[0] in ("passed", "cancelled")


def test_flagger_s_loop_rolls_a_broken_canary_back(shop):
    shop.add("shop", canary_error_rate=0.05, weight=0)
    loop = Loop(shop)
    loop.flagger.deploy("2")
    ticks = loop.until("Failed", 200)
    assert ticks < 30
    assert loop.flagger.weight == 0
    assert loop.flagger.odd == []


def test_flagger_s_loop_goes_on_after_a_router_that_fails_for_a_while(shop):
    loop = Loop(shop)
    loop.flagger.deploy("2")
    for tick in range(200):
        loop.broken = tick % 7 in (3, 4)
        shop.pass_time()
        loop.flagger.tick()
        if loop.flagger.phase == "Succeeded":
            break
    assert loop.flagger.phase == "Succeeded"


def test_flagger_s_loop_holds_while_the_source_is_down_and_goes_on_after(shop):
    loop = Loop(shop)
    loop.flagger.deploy("2")
    for _ in range(8):
        shop.pass_time()
        loop.flagger.tick()
    weight = loop.flagger.weight
    shop.sources["shop"].down = True
    for _ in range(30):
        shop.pass_time()
        loop.flagger.tick()
    assert (loop.flagger.phase, loop.flagger.weight) == ("Progressing", weight)
    assert loop.flagger.failed_checks == 0
    shop.sources["shop"].down = False
    loop.until("Succeeded", 200)


def test_flagger_s_loop_with_equal_checksums(shop):
    """A -> B -> A -> B: B fails, is deployed again with the same checksum and repaired surroundings, and passes."""
    loop = Loop(shop)
    loop.flagger.deploy("a")
    loop.until("Succeeded", 200)
    shop.add("shop", canary_error_rate=0.05, weight=0)
    loop.flagger.deploy("b")
    loop.until("Failed", 100)
    loop.flagger.deploy("a")
    for _ in range(3):
        shop.pass_time()
        loop.flagger.tick()
    shop.add("shop", weight=0, seed=3)
    loop.flagger.deploy("b")
    loop.until("Succeeded", 200)


def test_flagger_s_loop_without_events_and_post_rollout_hooks_never_stands_still(shop):
    hooks = [hook for hook in HOOKS if hook["type"] not in ("event", "post-rollout")]
    loop = Loop(shop, webhooks=hooks)
    loop.flagger.deploy("a")
    loop.until("Succeeded", 200)
    loop.flagger.deploy("b")
    loop.until("Succeeded", 200)


def test_flagger_s_blue_green_is_gated_at_its_promotion(shop):
    loop = Loop(shop, step_weights=(), iterations=10)
    shop.worlds["shop"].router.set_weight(10)  # mirrored, or tested by a load of its own
    loop.flagger.deploy("2")
    loop.until("Succeeded", 200)


def test_a_gate_that_is_asked_before_the_analysis_does_not_see_the_revision_before(shop):
    answers(shop)
    advance(shop, 10, minutes=5)
    waiting = body(phase="Waiting")  # confirm-rollout, with the checksum of the revision before
    assert shop.api("POST", "/flagger/gate", json=waiting).status == 200
    assert shop.api("POST", "/flagger/rollback", json=waiting).status == 403


def test_a_first_step_is_granted_once_until_it_is_known_what_came_of_it(tmp_path):
    """Flagger asks every minute, an interval of the judge is five minutes, and no event tells the weight."""
    with house(tmp_path, weight=0, interval="5m") as shop:
        seen = []
        for _ in range(12):
            seen.append(shop.api("POST", "/flagger/gate", json=body()).status)
            shop.worlds["shop"].router.set_weight(5)
            shop.pass_time(60)
        assert seen == [200] + [412] * 11


def test_at_a_known_weight_of_0_the_first_step_is_granted_again(tmp_path):
    with house(tmp_path, weight=0, interval="5m") as shop:
        assert shop.api("POST", "/flagger/gate", json=body()).status == 200
        tell(shop, body(eventMessage="Starting canary analysis for web.prod"))
        for _ in range(5):  # the router refuses Flagger's write
            shop.pass_time(60)
            assert shop.api("POST", "/flagger/gate", json=body()).status == 200


def test_promotion_is_never_granted_without_evidence(shop):
    answers(shop)
    shop.pass_time(600)
    assert shop.api("POST", "/flagger/gate", json=body(phase="WaitingPromotion")).status == 412


def test_a_config_that_breaks_while_a_run_is_under_way_is_no_failed_check(shop):
    shop.add("shop", canary_error_rate=0.05, weight=0)
    answers(shop)
    advance(shop, 10, minutes=1)
    (shop.configs / "shop.json").write_text("nonsense")
    shop.pass_time()
    assert 400 not in answers(shop)
    advance(shop, 10, minutes=20)
    assert answers(shop) == [412, 412, 200, 412]  # it keeps the config that it began with
    (shop.configs / "shop.json").unlink()
    assert answers(shop) == [412, 412, 200, 412]


def test_both_sides_must_ask_for_something_else(shop):
    plain = json.loads((shop.configs / "shop.json").read_text())
    metric = {**plain["metrics"][0], "events": 'errors{v="${version}"}', "total": 'requests{v="${version}"}'}
    shop.write("labels", {**plain, "name": "labels", "metrics": [metric]})
    same = {"config": "labels", "canary.version": "2", "baseline.version": "2"}
    answer = shop.api("POST", "/flagger/gate", json=body(**same))
    assert answer.status == 400
    assert "'errors' asks the same of both sides" in answer.text
    assert runs_of(shop) == []


@pytest.mark.parametrize(("change", "says"), [({"phase": "progressing"}, "phase"), ({"checksum": ""}, "checksum")])
def test_an_odd_phase_and_a_missing_checksum_are_refused(shop, change, says):
    for name in ("gate", "check", "rollback"):
        answer = shop.api("POST", f"/flagger/{name}", json=body() | change)
        assert answer.status == 400
        assert answer.text.startswith(says)


def test_hooks_of_a_rollout_must_say_the_same(shop):
    shop.api("POST", "/flagger/rollback", json=body())
    answer = shop.api("POST", "/flagger/gate", json=body(**{"canary.version": "77"}))
    assert answer.status == 400
    assert "canary.version is '77'" in answer.text
    assert shop.api("POST", "/flagger/gate", json=body(horizon="1h")).status == 400


def test_an_end_without_a_config_ends_every_run_of_the_attempt(shop):
    shop.add("other", weight=0)
    answers(shop)
    shop.api("POST", "/flagger/rollback", json=body(config="other"))
    ended = {**body(phase="Succeeded"), "metadata": {}}
    shop.api("POST", "/flagger/end", json=ended)
    assert {run["state"] for run in shop.api("GET", "/v1/runs").json} == {"cancelled"}
    answers(shop, checksum="b")
    answers(shop, checksum="c")
    states = [run["state"] for run in shop.api("GET", "/v1/runs").json]
    assert states.count("running") == 1


def test_a_pass_at_the_planned_end_is_of_its_own_weight(shop):
    hook = {"horizon": "20m"}
    shop.api("POST", "/flagger/gate", json=body(**hook))
    shop.worlds["shop"].router.set_weight(10)
    tell(shop, body(eventMessage="Advance web.prod canary weight 10", **hook))
    for _ in range(21):
        shop.pass_time()
        shop.api("POST", "/flagger/rollback", json=body(**hook))
    assert answers(shop, **hook) == [200, 200, 403, 200]
    tell(shop, body(eventMessage="Advance web.prod canary weight 50", **hook))
    assert answers(shop, **hook) == [412, 412, 403, 200]


def test_a_misspelt_key_of_the_metadata_is_told(shop):
    answer = shop.api("POST", "/flagger/gate", json=body(requires="pass"))
    assert answer.status == 400
    assert "did you mean 'require'?" in answer.text


def test_a_service_without_any_traffic_has_not_started(shop):
    from canary_judge.series import Form, Result
    from tests.service.house import Faulty

    class Silent:
        def fetch(self, queries, window):
            return [Result(series=(), form=Form.COUNTS) for _ in queries]

    shop.sources["shop"] = Faulty(Silent())
    seen = []
    for _ in range(15):
        seen.append(answers(shop))
        shop.pass_time(120)
    assert [one[1:] for one in seen] == [[412, 403, 200]] * 15
    assert [one[0] for one in seen].count(200) >= 3  # an interval without data is waited for, and then it is known


@pytest.mark.parametrize("phase", ["Progressing", "WaitingPromotion"])
def test_the_end_of_a_rollout_that_goes_on_takes_no_evidence_away(shop, phase):
    advance(shop, 10, minutes=3)
    answer = shop.api("POST", "/flagger/end", json=body(phase))
    assert answer.status == 400
    assert "call this from a hook of `type: post-rollout`" in answer.text
    assert [run["state"] for run in shop.api("GET", "/v1/runs").json] in ([], ["running"])
    assert shop.api("POST", "/flagger/end", json=body("Succeeded")).status == 200


def test_two_clusters_with_a_deployment_of_one_name_are_told(shop):
    """Each would end the other's run at every call, and be granted a first step anew."""
    asked = []
    for _ in range(4):
        for checksum in ("a", "b"):
            asked.append(shop.api("POST", "/flagger/gate", json=body(checksum=checksum)))
        shop.pass_time()
    assert [one.status for one in asked[:3]] == [200, 200, 200]
    assert {one.status for one in asked[4:]} == {200, 400}  # the one that was there goes on
    assert "is it there in two clusters? Say `cluster: NAME`" in next(one.text for one in asked if one.status == 400)
    said = [
        shop.api("POST", "/flagger/gate", json=body(checksum=sum_, cluster=name)).status
        for _ in range(4)
        for sum_, name in (("c", "eu"), ("d", "us"))
    ]
    assert 400 not in said


def test_a_revision_that_is_taken_back_is_no_second_cluster(shop):
    for checksum in ("a", "b", "a"):
        assert shop.api("POST", "/flagger/gate", json=body(checksum=checksum)).status == 200


def test_many_revisions_in_a_row_are_one_deployment(shop):
    for checksum in "abcdefg":
        assert shop.api("POST", "/flagger/gate", json=body(checksum=checksum)).status == 200
