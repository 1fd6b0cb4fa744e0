"""The driver through stages by a header or a cookie, before any weight."""

from datetime import timedelta

import pytest

from canary_judge.errors import RouterError
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import HEALTHY, drive, texts
from tests.routers.test_ahead import WAYS


class HeaderWorld:
    """A simulated world in which a match brings the canary 2 % of the requests."""

    def __init__(self, **options):
        self.world = simulated_world(**options)
        self.router = self.world.router
        real = self.router.set_ahead

        def set_ahead(ahead):
            changed = real(ahead)
            self.world.record(2.0)
            return changed

        self.router.set_ahead = set_ahead


STAGES = {"stages": [{"header": {"x-canary": "always"}}, 5, 100], "minimum": "2m"}


def test_evidence_of_a_header_is_not_pooled_with_that_of_the_weights():
    made = HeaderWorld(**HEALTHY)
    controller, events = drive(made.world, RolloutPlan.from_mapping(STAGES))
    assert controller.result().phase is Phase.PROMOTED
    assert "stages header x-canary: always -> 5 -> 100 %" in events[0].text
    reached = [event for event in events if event.kind is EventKind.WEIGHT]
    assert "no random sample of the users, and this evidence is not pooled" in reached[0].text
    for_header = [event.judgement for event in events if event.judgement and reached[0].at <= event.at < reached[1].at]
    for_weights = [event.judgement for event in events if event.judgement and event.at > reached[1].at]
    assert for_header
    assert all(one.traffic is None for one in for_header)  # no split is expected of a header
    assert for_weights[0].start >= reached[1].at - timedelta(seconds=15)
    assert made.router.get_weight().ahead == ""


def test_a_canary_that_fails_behind_a_header_gets_no_weight():
    made = HeaderWorld(error_rate=0.005, canary_error_rate=0.05, seed=7)
    controller, events = drive(made.world, RolloutPlan.from_mapping(STAGES))
    assert controller.result().phase is Phase.ROLLED_BACK
    assert made.router.get_weight() == made.router.get_weight().__class__(percent=0.0, per_route={"memory": 0.0})
    assert 5 not in [percent for _, percent in made.world.log]
    assert any("rolled back" in text for text in texts(events))


def test_a_driver_that_is_killed_behind_a_header_goes_on(tmp_path):
    made = HeaderWorld(**HEALTHY)
    plan = RolloutPlan.from_mapping(STAGES)
    drive(made.world, plan, journal=tmp_path / "j", stop_after=timedelta(minutes=1))
    assert made.router.get_weight().ahead
    controller, events = drive(made.world, plan, journal=tmp_path / "j")
    assert events[0].kind is EventKind.RESUMED
    assert controller.result().phase is Phase.PROMOTED


def test_a_rollout_does_not_begin_behind_what_another_one_left():
    made = HeaderWorld(**HEALTHY)
    made.router.set_ahead(WAYS[0])
    with pytest.raises(RouterError, match="of another rollout stands before the weights"):
        drive(made.world, RolloutPlan.from_mapping(STAGES))


def test_a_header_that_somebody_took_away_is_a_drift():
    made = HeaderWorld(**HEALTHY)
    controller = Controller(
        made.world.config, made.world.source, made.router, RolloutPlan.from_mapping(STAGES), clock=made.world.clock
    )
    for event in controller.events():
        if event.kind is EventKind.WEIGHT:
            made.router._ahead = ""
    assert controller.result().phase is Phase.STOPPED
    assert "what stands before the weights" in controller.result().reason
