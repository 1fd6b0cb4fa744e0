"""What is in force, and not only written, said or approved: a rise, the end of a journal, an approval."""

import threading
from datetime import timedelta
from itertools import pairwise

import pytest

from canary_judge.errors import ConfigError, DataError, NotEnoughWeight, RouterError
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.asking import patient
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.rollout.inbox import send_command
from canary_judge.routers.kubernetes import Forbidden
from canary_judge.routing import WeightReading
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import BROKEN, HEALTHY, PLAN, Faulty, drive, weights


def test_a_raise_counts_when_it_is_in_force():
    """A route whose controller does not accept the new weight: it is written, and nobody gets it."""
    world = simulated_world(**HEALTHY)

    class Unaccepted(Faulty):
        written, since = 0.0, None

        def get_weight(self):
            return WeightReading(percent=self.written)

        def set_weight(self, percent, *, expect=None):
            assert expect is None or expect == self.written
            self.written = percent
            return percent != 100 and self.router.set_weight(percent)

        def verify(self, percent, *, timeout=10.0):
            if percent == 100:
                self.since = self.since or self.world.clock.seconds
                if self.world.clock.seconds >= self.since + 120:  # accepted at last
                    self.router.set_weight(100)
            return super().verify(percent, timeout=timeout)

    controller, events = drive(world, router=Unaccepted(world.router, [], world))
    held = [one for one in events if "100 % is written, but not in force" in one.text and one.kind is EventKind.LOOK]
    assert held
    assert {one.rule for one in held} == {"router"}
    arrived = next(one for one in events if one.kind is EventKind.WEIGHT and one.weight == 100)
    assert arrived.at >= held[-1].at
    assert weights(world) == [5, 25, 50, 75, 100]
    assert controller.result().phase is Phase.PROMOTED


def test_a_driver_that_was_killed_between_writing_and_reloading_writes_again(tmp_path):
    world = simulated_world(**HEALTHY)

    class Reloading(Faulty):
        """What is written comes into force with a reload, and nobody can ask it for that."""

        written, die = 0.0, False

        def get_weight(self):
            return WeightReading(percent=self.written)

        def set_weight(self, percent, *, expect=None):
            assert expect is None or expect == self.written
            self.written = percent
            if self.die and percent == 25:
                raise KeyboardInterrupt  # kill -9
            return self.router.set_weight(percent)

    router = Reloading(world.router, [], world)
    router.die = True
    with pytest.raises(KeyboardInterrupt):
        drive(world, router=router, journal=tmp_path / "j")
    assert world.router.get_weight().percent == 5
    again = Reloading(world.router, [], world)
    again.written = 25.0
    drive(world, router=again, journal=tmp_path / "j")
    assert weights(world) == [5, 25, 50, 75, 100]


def test_a_journal_is_a_file(tmp_path):
    world = simulated_world(**HEALTHY)
    with pytest.raises(ConfigError, match="is a folder; give a file"):
        Controller(world.config, world.source, world.router, PLAN, journal=tmp_path)


def test_a_journal_that_ended_is_no_proof_of_what_is_in_force(tmp_path):
    world = simulated_world(**HEALTHY)
    controller, _ = drive(world, journal=tmp_path / "j")
    assert controller.result().phase is Phase.PROMOTED
    again, _ = drive(world, journal=tmp_path / "j")
    assert again.result().phase is Phase.PROMOTED
    world.router.set_weight(0)
    with pytest.raises(RouterError, match=r"100 % \(promoted\), and that is not in force now, 0 % is written"):
        drive(world, journal=tmp_path / "j")


def test_an_approval_holds_for_the_weight_at_which_it_was_given(tmp_path):
    world, journal = simulated_world(**HEALTHY), tmp_path / "j"
    stages = [5, {"weight": 25, "approval": True}, {"weight": 50, "approval": True}, 100]
    plan = RolloutPlan(stages=stages, minimum="2m")
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock, journal=journal)
    told = []
    for event in controller.events():
        told.append(event.text)
        if "a human must approve 50 %" in event.text:
            send_command(journal, "approve")
            send_command(journal, "approve")  # somebody else has the same screen
            with pytest.raises(
                DataError, match="weight 50 is to be approved, and the canary has 25 % now; look at it again"
            ):
                send_command(journal, "approve", weight=50)
            late = (journal.with_name("j.commands")).read_text().splitlines()[-1]
        elif event.kind is EventKind.WEIGHT and event.weight == 50:
            with journal.with_name("j.commands").open("a") as file:
                file.write(f"{late}\n")
        elif "a human must approve 100 %" in event.text:
            controller.stop()
    assert "approve was given at 25 %, and the canary has 50 % now: give it again" in told
    assert weights(world) == [5, 25, 50]


# --- the first weight ------------------------------------------------------------------------------------------------


class NeverInForce(Faulty):
    """A route that is written, and that no gateway takes."""

    def verify(self, percent, *, timeout=10.0):
        return percent == 0


def test_a_first_weight_that_is_written_and_never_in_force_is_taken_back_after_patience():
    world = simulated_world(**HEALTHY)
    controller, events = drive(world, router=NeverInForce(world.router, [], world))
    assert controller.result().phase is Phase.ROLLED_BACK
    assert "5 % was tried for 5m and is not in force" in controller.result().reason
    assert world.router.get_weight().percent == 0
    assert events[-1].at - events[0].at < timedelta(minutes=12)
    held = [one for one in events if one.kind in (EventKind.LOOK, EventKind.BLIND) and one.rule == "router"]
    assert held  # silence would look as if nothing were wrong


def test_a_pause_does_not_hide_a_first_weight_that_may_be_in_force():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, NeverInForce(world.router, [], world), PLAN, clock=world.clock)
    began = None
    for event in controller.events():
        began = began or event.at
        if "not in force" in event.text and not controller.state.paused:
            controller.pause()
        assert event.at - began < timedelta(minutes=30)
    assert controller.result().phase is Phase.ROLLED_BACK


def test_an_interruption_names_what_may_be_in_force(tmp_path):
    world = simulated_world(**HEALTHY)
    router = NeverInForce(world.router, [], world)
    controller = Controller(world.config, world.source, router, PLAN, clock=world.clock, journal=tmp_path / "j")
    told = []
    for event in controller.events():
        told.append(event.text)
        if len(told) == 4:
            controller.stop()
    assert "interrupted at 0 %, which stays, while 5 % may be in force" in told[-1]


class Refusing(Faulty):
    """No rights to write."""

    def set_weight(self, percent, *, expect=None):
        self.calls.append(("set", self.world.clock.seconds))
        raise Forbidden("403")


def test_a_first_weight_that_is_refused_for_half_an_hour_ends_the_rollout():
    world = simulated_world(**HEALTHY)
    router = Refusing(world.router, [], world)
    controller, events = drive(world, router=router)
    assert controller.result().phase is Phase.STOPPED
    assert "5 % could not be set within 30m" in controller.result().reason
    assert any("Forbidden: 403" in one.text for one in events)
    assert len([verb for verb, _ in router.calls if verb == "set"]) <= 12


def test_a_first_weight_that_was_refused_before_a_pause_of_the_driver_is_tried_anew(tmp_path):
    world = simulated_world(**HEALTHY)
    router = Refusing(world.router, [], world)
    controller = Controller(world.config, world.source, router, PLAN, clock=world.clock, journal=tmp_path / "j")
    for event in controller.events():
        if "could not be set" in event.text:
            controller.stop()
    world.clock.wait(7200, threading.Event())  # somebody mends the rights meanwhile
    assert drive(world, journal=tmp_path / "j")[0].result().phase is Phase.PROMOTED


def test_a_store_of_weights_that_is_away_for_a_while_stops_nobody():
    world = simulated_world(**HEALTHY)
    began = world.clock.seconds

    class Away(Faulty):
        def set_weight(self, percent, *, expect=None):
            if self.world.clock.seconds < began + 900:
                raise Forbidden("503")
            return self.router.set_weight(percent, expect=expect)

    assert drive(world, router=Away(world.router, [], world))[0].result().phase is Phase.PROMOTED


class OnlySmall(Faulty):
    """No weight beyond the first."""

    def set_weight(self, percent, *, expect=None):
        self.calls.append(("set", self.world.clock.seconds))
        if percent > 5:
            raise Forbidden("403")
        return self.router.set_weight(percent, expect=expect)


def test_a_later_weight_that_is_refused_is_tried_ever_more_rarely():
    world = simulated_world(**HEALTHY)

    router = OnlySmall(world.router, [], world)
    controller, events = drive(world, router=router, stop_after=timedelta(hours=3))
    assert controller.state.weight == 5
    assert len([verb for verb, _ in router.calls if verb == "set"]) < 30
    assert any(one.kind is EventKind.LOOK and "tried again later" in one.text for one in events)


def test_a_weight_that_is_refused_for_days_is_tried_on():
    world = simulated_world(**HEALTHY)

    router = OnlySmall(world.router, [], world)
    controller = Controller(world.config, world.source, router, PLAN, clock=world.clock)
    found, tried = iter(controller.events()), []
    while len(tried) < 6:
        event = next(found)
        if event.kind is EventKind.WEIGHT:
            controller._refused = 5000  # as after a month
        if "could not be set" in event.text:
            tried.append(event.at)
    pauses = [after - before for before, after in pairwise(tried)]
    assert all(timedelta(minutes=10) <= pause < timedelta(minutes=20) for pause in pauses)


def test_what_somebody_else_raised_is_brought_back_whatever_was_refused_before():
    """Lowering waits for no pause."""
    world = simulated_world(**HEALTHY)

    class NoRaise(Faulty):
        def set_weight(self, percent, *, expect=None):
            if percent > max(5.0, self.router.get_weight().percent):
                raise Forbidden("403")
            return self.router.set_weight(percent, expect=expect)

    router = NoRaise(world.router, [], world)
    controller = Controller(world.config, world.source, router, PLAN, clock=world.clock)
    raised, back = None, None
    for event in controller.events():
        if raised is None and controller._refused >= 6:
            raised = event.at
            world.router.set_weight(60)
        if raised is not None and world.router.get_weight().percent == 5:
            back = event.at
            break
    assert PLAN.patience <= back - raised < PLAN.patience + timedelta(minutes=1)


def test_a_weight_that_can_never_be_written_is_told_before_the_first():
    class Full(Faulty):
        def preview(self, percent):
            if percent > 70:
                raise NotEnoughWeight("other destinations hold 30 %")
            return []

    world = simulated_world(**HEALTHY)
    with pytest.raises(NotEnoughWeight, match=r"75 % can never be set: other destinations hold 30 %"):
        drive(world, router=Full(world.router, [], world))
    assert weights(world) == []


def test_a_canary_that_has_everything_may_be_the_stable_version():
    world = simulated_world(**HEALTHY)
    world.router.set_weight(100)
    with pytest.raises(RouterError, match="are stable and canary swapped"):
        drive(world)


# --- what a plug-in may answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", ["5.0", float("nan"), -1.0, 100.5, True])
def test_a_reading_that_is_no_percentage_is_no_reading(percent):
    assert WeightReading(percent=100 * (0.1 + 0.2) / 0.3).checked().percent > 100  # of sums of floats
    with pytest.raises(RouterError, match="no percentage from 0 to 100"):
        WeightReading(percent=percent).checked()
    world = simulated_world(**BROKEN)

    class Odd(Faulty):
        def get_weight(self):
            found = self.router.get_weight()
            odd = found.percent and 60 < self.world.clock.seconds - began < 300
            return WeightReading(percent=percent) if odd else found

    began = world.clock.seconds
    controller, events = drive(world, router=Odd(world.router, [], world))
    assert controller.result().phase is Phase.ROLLED_BACK
    assert any("the router cannot be read" in one.text for one in events)


def test_a_router_that_cannot_be_read_at_the_start_is_told_in_one_line():
    class Lost(Faulty):
        def get_weight(self):
            raise FileNotFoundError("weights.json")

    world = simulated_world(**HEALTHY)
    with pytest.raises(RouterError, match="Lost: FileNotFoundError: weights.json"):
        drive(world, router=Lost(world.router, [], world))


# --- who waits for whom ----------------------------------------------------------------------------------------------


def test_a_rollback_waits_for_no_callback():
    world = simulated_world(**BROKEN)
    seen = []

    def callback(event):
        if event.kind in (EventKind.ROLLING_BACK, EventKind.LOOK):
            seen.append((event.kind, world.router.get_weight().percent))

    controller, _ = drive(world, callbacks=[callback])
    assert controller.result().phase is Phase.ROLLED_BACK
    assert (EventKind.ROLLING_BACK, 0.0) in seen
    assert seen[-2:] == [(EventKind.LOOK, 0.0), (EventKind.ROLLING_BACK, 0.0)]  # nor for what is told of the look


def test_another_revision_is_not_promoted_by_the_journal_of_the_one_before(tmp_path):
    world = simulated_world(**HEALTHY)
    (tmp_path / "revision").write_text("img:1")
    plan = RolloutPlan(stages=[5, 100], minimum="2m", revision=["cat", str(tmp_path / "revision")])
    controller, _ = drive(world, plan, journal=tmp_path / "j")
    assert controller.result().phase is Phase.PROMOTED
    assert drive(world, plan, journal=tmp_path / "j")[0].result().phase is Phase.PROMOTED
    (tmp_path / "revision").unlink()
    with pytest.raises(
        DataError, match=r"has ended \(promoted\), and whether 'img:1' is still rolled out cannot be told"
    ):
        drive(world, plan, journal=tmp_path / "j")
    (tmp_path / "revision").write_text("img:2")
    with pytest.raises(
        DataError, match=r"has ended \(promoted\): superseded: 'img:2' is rolled out now.*another journal"
    ):
        drive(world, plan, journal=tmp_path / "j")


def test_evidence_of_a_weight_that_somebody_else_set_is_left_out():
    """The split and the shortest time of a stage begin anew where a foreign weight was brought back."""
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock)
    raised = False
    for event in controller.events():
        if event.kind is EventKind.LOOK and not raised:
            raised = True
            world.router.set_weight(50)
        if event.kind is EventKind.WEIGHT and "again" in event.text:
            back = event.at
    assert controller.result().phase is Phase.PROMOTED
    assert controller.result().judgement.end - back < timedelta(hours=1)


# --- time that cannot be enough --------------------------------------------------------------------------------------


def test_a_deadline_that_no_data_can_meet_is_refused():
    world = simulated_world(**HEALTHY)  # intervals of 15 s
    assert world.config.interval == timedelta(seconds=15)
    plan = RolloutPlan.from_mapping({"stages": [5, 100], "minimum": "10s", "maximum": "20s"})
    with pytest.raises(ConfigError, match=r"rollout\.maximum: 20s at 5 % is over before .* give more than 30s"):
        drive(world, plan)
    assert weights(world) == []


def test_the_usual_patience_grows_with_the_interval():
    world = simulated_world(**HEALTHY)
    config = world.config.model_copy(update={"interval": timedelta(minutes=5)})
    assert patient(RolloutPlan(stages=[5, 100]), config.interval).patience == timedelta(minutes=15)
    given = RolloutPlan(stages=[5, 100], patience="1m")
    assert patient(given, config.interval).patience == timedelta(minutes=10)
    assert patient(given, world.config.interval) is given
    controller = Controller(config, world.source, world.router, given, clock=world.clock)
    assert controller.plan is given  # by which journals are told apart


def test_a_weight_that_comes_and_goes_keeps_no_stage_and_no_deadline_open():
    """A controller that flaps for a moment, again and again: nothing begins anew."""
    world = simulated_world(**HEALTHY)
    plan = RolloutPlan(stages=[5, 100], minimum="2m", maximum="10m", at_deadline="roll_back")
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock)
    began = world.clock.seconds
    wait = world.clock.wait

    def flapping(seconds, wake):
        weight = world.router.get_weight().percent
        if weight and (world.clock.seconds - began) % 105 < 15:
            world.router.set_weight(50)
            wait(seconds, wake)
            world.router.set_weight(weight)
        else:
            wait(seconds, wake)

    world.clock.wait = flapping
    controller.run()
    assert controller.result().phase.ended
    assert world.clock.seconds - began < 30 * 60
