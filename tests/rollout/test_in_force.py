"""What is in force, and not only written, said or approved: a rise, the end of a journal, an approval."""

import pytest

from canary_judge.errors import ConfigError, DataError, RouterError
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.rollout.inbox import send_command
from canary_judge.routing import WeightReading
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import HEALTHY, PLAN, Faulty, drive, weights


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
            with pytest.raises(DataError, match="--weight 50 is for `approve` at that weight, and the canary has 25 %"):
                send_command(journal, "approve", weight=50)
            late = (journal.with_name("j.commands")).read_text().splitlines()[-1]
        elif event.kind is EventKind.WEIGHT and event.weight == 50:
            with journal.with_name("j.commands").open("a") as file:
                file.write(f"{late}\n")
        elif "a human must approve 100 %" in event.text:
            controller.stop()
    assert "approve was given at 25 %, and the canary has 50 % now: give it again" in told
    assert weights(world) == [5, 25, 50]
