"""The model of Flagger: each of its traps once."""

import pytest

from tests.service.controllers.api import Answer
from tests.service.controllers.flagger import Flagger
from tests.service.controllers.scripted import Scripted

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
