"""The driver against a simulated world: every fault, nothing lost, and never more weight than was judged."""

import itertools
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from canary_judge.errors import Conflict, DataError, RouterError, RouterUnavailable, SourceUnavailable
from canary_judge.results import Side
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.rollout.inbox import send_command
from canary_judge.rollout.journal import read_journal
from canary_judge.rollout.looking import reached
from canary_judge.routers.kubernetes import Forbidden
from canary_judge.routing import RollbackReport
from canary_judge.series import Result
from canary_judge.testing import simulated_world

PLAN = RolloutPlan(stages=[5, 25, 50, 75, 100], minimum="2m", patience="5m")
HEALTHY = {"error_rate": 0.005, "canary_error_rate": 0.005, "seed": 7}
BROKEN = {"error_rate": 0.005, "canary_error_rate": 0.025, "seed": 7}


def drive(world, plan=PLAN, *, source=None, router=None, stop_after=timedelta(hours=6), **options):
    """Run to the end, or for so long; returns the controller and its events."""
    controller = Controller(
        world.config, source or world.source, router or world.router, plan, clock=world.clock, **options
    )
    events = []
    limit = world.clock.seconds + stop_after.total_seconds()
    for event in controller.events():
        events.append(event)
        if world.clock.seconds > limit:
            break
    return controller, events


def weights(world):
    return [percent for _, percent in world.log[1:]]


def texts(events, kind=None):
    return [event.text for event in events if kind is None or event.kind is kind]


def check_journal(path, world):
    """Every rise of the weight was written down before it was made, by a rule that allows it."""
    records, _ = read_journal(path)
    intended = {record["state"]["intended"]: record for record in records if record["what"] == "intend"}
    highest = 0.0
    for percent in weights(world):
        if percent > highest:
            assert percent in intended, f"{percent} % was set without a record"
            record = intended[percent]
            assert record["rule"] == "start" or record["verdict"] == "pass"
            highest = percent


# --- the three ends --------------------------------------------------------------------------------------------------


def test_a_healthy_canary_is_promoted_through_all_stages(tmp_path):
    world = simulated_world(**HEALTHY)
    controller, events = drive(world, journal=tmp_path / "journal")
    result = controller.result()
    assert result.phase is Phase.PROMOTED
    assert weights(world) == [5, 25, 50, 75, 100]
    assert all(later - earlier >= 120 for (earlier, _), (later, _) in itertools.pairwise(world.log[1:]))
    assert texts(events)[-1] == "promoted: the canary has all of the traffic"
    check_journal(tmp_path / "journal", world)


def test_a_regression_takes_all_of_the_traffic_away_at_once():
    world = simulated_world(**BROKEN)
    controller, events = drive(world)
    result = controller.result()
    assert result.phase is Phase.ROLLED_BACK
    assert weights(world) == [5, 0]
    assert result.judgement.verdict == "fail"
    assert result.traffic.finding == ""
    assert "no request of" in texts(events, EventKind.AFTERCARE)[0]


def test_a_fault_that_comes_late_is_rolled_back_from_a_high_weight():
    world = simulated_world(error_rate=0.005, canary_error_rate=lambda t: 0.005 if t < 900 else 0.1, seed=3)
    plan = PLAN.model_copy(update={"minimum": timedelta(minutes=5)})
    _, _ = drive(world, plan)
    assert weights(world)[:2] == [5, 25]
    assert weights(world)[-1] == 0
    fall = world.log[-1][0]
    assert 900 < fall < 1200


def test_thin_traffic_is_held_and_told_what_it_needs():
    world = simulated_world(**HEALTHY, requests_per_second=0.3)
    controller, events = drive(world, stop_after=timedelta(hours=2))
    assert weights(world) == [5]
    assert controller.state.phase is Phase.RUNNING
    last = [event for event in events if event.judgement is not None][-1]
    assert not last.judgement.sufficient
    assert "needs" in last.text


def test_a_sticky_canary_is_found_after_the_rollback():
    world = simulated_world(**BROKEN, sticky=0.6)
    controller, events = drive(world)
    assert controller.result().phase is Phase.ROLLED_BACK
    assert "although its weight is 0" in controller.result().traffic.finding
    assert "although its weight is 0" in texts(events, EventKind.AFTERCARE)[0]


def test_the_split_is_judged_by_the_weight_that_was_in_force():
    """No stage begins with a finding, although intervals and changes of the weight do not begin together."""
    world = simulated_world(**HEALTHY)
    _, events = drive(world)
    assert not [text for text in texts(events) if "sticky" in text or "is configured" in text]


def test_a_canary_that_has_traffic_already_is_not_taken_over():
    world = simulated_world(**HEALTHY)
    world.router.set_weight(30)
    with pytest.raises(RouterError, match="already gets 30 %"):
        drive(world)


# --- the metric store fails ------------------------------------------------------------------------------------------


class Failing:
    """A source that fails between two times."""

    def __init__(self, world, start, end, how):
        self.world, self.start, self.end, self.how = world, start, end, how

    def fetch(self, queries, window):
        if self.start <= self.world.clock.seconds < self.end:
            return self.how(self.world, queries, window)
        return self.world.fetch(queries, window)


def down(world, queries, window):
    raise SourceUnavailable("connection refused")


def hanging(world, queries, window):
    world.clock.seconds += 30
    raise SourceUnavailable("no answer within 30 s")


def half(world, queries, window):
    answers = world.fetch(queries, window)
    return [Result() if query.side is Side.CANARY else one for query, one in zip(queries, answers, strict=True)]


def incomplete(world, queries, window):
    return [Result(error="query timed out") for _ in queries]


@pytest.mark.parametrize("how", [down, hanging])
def test_a_store_that_comes_back_in_time_changes_nothing_but_the_time(how):
    world = simulated_world(**HEALTHY)
    _, events = drive(world, source=Failing(world, 100, 350, how))
    assert weights(world) == [5, 25, 50, 75, 100]
    assert not [at for at, _ in world.log[2:] if 100 <= at < 350]  # no rise while it was blind
    assert any(event.kind is EventKind.BLIND for event in events)


def broken(world, queries, window):
    raise ZeroDivisionError("a bug of ours, or of a plug-in")


@pytest.mark.parametrize("how", [down, hanging, broken])
def test_a_store_that_stays_away_costs_the_canary_its_traffic(how):
    world = simulated_world(**HEALTHY)
    controller, _ = drive(world, source=Failing(world, 100, 1e9, how))
    assert weights(world) == [5, 0]
    assert "no new data to judge" in controller.result().reason
    assert world.log[-1][0] - 100 < 300 + 60


@pytest.mark.parametrize("how", [half, incomplete])
def test_half_an_answer_never_raises_the_weight_and_ends_with_patience(how):
    """A canary without data, or with errors in place of data, is not proven safe, whatever was proven before."""
    world = simulated_world(**HEALTHY)
    controller, _ = drive(world, source=Failing(world, 200, 1e9, how), stop_after=timedelta(hours=1))
    assert not [percent for at, percent in world.log[1:] if at > 260 and percent > 0]
    assert controller.result().phase is Phase.ROLLED_BACK
    assert "patience is 5m" in controller.result().reason
    # the last interval with data ended at 195 s; late data are waited for before they are given up
    assert 195 + 300 <= world.log[-1][0] < 195 + 300 + 120


@pytest.mark.parametrize("needs", ["pass", "no_harm"])
@pytest.mark.parametrize("died", [0, 400], ids=["never came up", "died later"])
def test_a_dead_canary_is_not_left_with_its_traffic(died, needs):
    """The most common fault of all: a version that does not start, or crashes, reports nothing, errors included."""
    world = simulated_world(**HEALTHY)
    plan = PLAN.model_copy(update={"needs": needs, "minimum": timedelta(minutes=4)})
    controller, _ = drive(world, plan, source=Failing(world, died, 1e9, half), stop_after=timedelta(hours=1))
    assert controller.result().phase is Phase.ROLLED_BACK
    assert "nothing was heard of the canary" in controller.result().reason
    assert not [percent for at, percent in world.log[1:] if at > died + 60 and percent > 5]


def test_a_dead_canary_is_held_where_the_plan_says_so():
    world = simulated_world(**HEALTHY)
    plan = PLAN.model_copy(update={"when_blind": "hold"})
    _, events = drive(world, plan, source=Failing(world, 0, 1e9, half), stop_after=timedelta(minutes=20))
    assert weights(world) == [5]
    assert "has it died?" in texts(events)[-1]


def test_pauses_of_thin_traffic_are_no_silence():
    """1.5 requests of the canary are to be expected in 5 minutes: that none came is no sign of its death."""
    for seed in range(3):
        world = simulated_world(error_rate=0.005, canary_error_rate=0.005, seed=seed, requests_per_second=0.1)
        drive(world, stop_after=timedelta(hours=1))
        assert weights(world) == [5]


# --- the router fails ------------------------------------------------------------------------------------------------


class Faulty:
    """A router whose calls fail by a script: (verb, exception, whether the write was made all the same)."""

    def __init__(self, router, script, world=None):
        self.router, self.script, self.calls, self.world = router, list(script), [], world

    def _fail(self, verb):
        self.calls.append((verb, self.world.clock.seconds if self.world else None))
        for index, (when, error, made) in enumerate(self.script):
            if when == verb:
                del self.script[index]
                return error, made
        return None, True

    def get_weight(self):
        error, _ = self._fail("get")
        if error:
            raise error
        return self.router.get_weight()

    def set_weight(self, percent, *, expect=None):
        error, made = self._fail("set")
        written = self.router.set_weight(percent, expect=expect) if made else False
        if error:
            raise error
        return written

    def rollback(self):
        error, made = self._fail("rollback")
        report = self.router.rollback() if made else None
        if error:
            raise error
        return report

    def verify(self, percent, *, timeout=10.0):
        return self.router.verify(percent, timeout=timeout)


ERRORS = [
    Conflict("409"),
    Forbidden("403"),
    RouterUnavailable("500"),
    RouterUnavailable("timed out"),
    KeyError("a bug"),
]


@pytest.mark.parametrize("made", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_rollback_is_tried_until_it_is_read_back(error, made):
    world = simulated_world(**BROKEN)
    router = Faulty(world.router, [("rollback", error, made)] * 6, world)
    controller, events = drive(world, router=router)
    assert controller.result().phase is Phase.ROLLED_BACK
    assert controller.result().report.changed is not made  # the seventh attempt finds it done
    attempts = [at for verb, at in router.calls if verb == "rollback"]
    waits = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert waits == [0.5, 1, 2, 4, 8, 16]
    assert len([text for text in texts(events, EventKind.TROUBLE) if "attempt" in text]) == 6


def test_a_rollback_that_the_router_did_not_take_over_is_tried_again():
    world = simulated_world(**BROKEN)

    class Deaf(Faulty):
        attempts = 0

        def rollback(self):
            self.attempts += 1
            return self.router.rollback() if self.attempts > 5 else RollbackReport(changed=False)

    controller, events = drive(world, router=Deaf(world.router, [], world))
    assert weights(world)[-1] == 0
    assert controller.result().weight == 0
    assert any("5 % is still in force" in text for text in texts(events))


def test_a_rollback_that_the_proxies_have_not_taken_over_is_told_apart():
    world = simulated_world(**BROKEN)

    class Slow(Faulty):
        asked = 0

        def verify(self, percent, *, timeout=10.0):
            self.asked += percent == 0
            return percent > 0 or self.asked > 2

    controller, events = drive(world, router=Slow(world.router, [], world))
    assert controller.result().weight == 0
    said = [text for text in texts(events, EventKind.TROUBLE) if "attempt" in text]
    assert len(said) == 2
    assert all("0 % is written, but not in force where requests are routed" in text for text in said)


@pytest.mark.parametrize("made", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_raise_that_fails_is_read_back_and_judged_again(error, made):
    world = simulated_world(**HEALTHY)
    router = Faulty(world.router, [("set", error, made)] * 3, world)
    drive(world, router=router)
    assert weights(world) == [5, 25, 50, 75, 100]


def test_a_router_that_cannot_be_read_holds_the_weight():
    world = simulated_world(**HEALTHY)
    router = Faulty(world.router, [], world)

    def broken_for_a_while():
        if 200 < world.clock.seconds < 1000:
            raise RouterUnavailable("no route to host")
        return world.router.get_weight()

    router.get_weight = broken_for_a_while
    drive(world, router=router)
    assert not [at for at, _ in world.log[1:] if 200 < at < 1000]
    assert weights(world)[-1] == 100


@pytest.mark.parametrize(("when_raised", "other"), [("stop", 60), ("bring_back", 0), ("roll_back", 0)])
def test_somebody_else_changes_the_weight_and_it_is_not_overwritten(when_raised, other):
    world = simulated_world(**HEALTHY)
    plan = PLAN.model_copy(update={"when_raised": when_raised})
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock)
    for _ in controller.events():
        if controller.state.stage == 0 and world.clock.seconds >= 60 and weights(world) == [5]:
            world.router.set_weight(other)
    assert weights(world) == [5, other]
    assert controller.result().phase is Phase.STOPPED
    assert f"somebody else changed the weight: {other} % is in force, 5 % was set" in controller.result().reason


def test_more_traffic_than_was_judged_is_brought_back_and_the_rollout_goes_on():
    """A proxy that restarts with the weights of its file: nobody judged those."""
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock)
    texts = []
    for event in controller.events():
        texts.append(event.text)
        if controller.state.stage == 0 and world.clock.seconds >= 60 and weights(world) == [5]:
            world.router.set_weight(50)
        if "the canary has 5 % of the traffic again" in texts[:-3]:  # and three events later it is still driven
            break
    assert weights(world) == [5, 50, 5]
    assert controller.state.phase is Phase.RUNNING
    assert controller.state.drifted is None


def test_a_regression_is_rolled_back_even_when_somebody_else_holds_the_weight():
    world = simulated_world(error_rate=0.005, canary_error_rate=0.05, seed=7)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock)
    for _ in controller.events():
        if weights(world) == [5]:
            world.router.set_weight(6)
    assert controller.result().phase is Phase.ROLLED_BACK
    assert weights(world) == [5, 6, 0]


# --- clocks, signals, humans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=-3)])
def test_a_clock_that_jumps_never_raises_the_weight_early(by):
    world = simulated_world(**HEALTHY)
    jumped = []

    def jump(event):
        if world.clock.seconds >= 60 and not jumped:
            jumped.append(world.clock.seconds)
            world.clock.jump(by)

    drive(world, callbacks=[jump], stop_after=timedelta(hours=3))
    assert jumped
    rises = [at for at, percent in world.log[1:] if percent > 0]
    assert all(later - earlier >= 120 for earlier, later in itertools.pairwise(rises))
    assert weights(world) == [5, 0]  # blind, because the store's clock is another: not promoted by mistake


def test_without_a_journal_an_interrupted_driver_rolls_back():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock)
    for event in controller.events():
        if event.kind is EventKind.LOOK and weights(world) == [5, 25]:
            controller.stop()
    assert weights(world) == [5, 25, 0]
    assert "without a journal" in controller.result().reason


def test_with_a_journal_an_interrupted_driver_leaves_the_weight_to_the_next(tmp_path):
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock, journal=tmp_path / "j")
    for event in controller.events():
        if event.kind is EventKind.LOOK and weights(world) == [5, 25]:
            controller.stop()
    assert weights(world) == [5, 25]
    assert event.kind is EventKind.INTERRUPTED
    world.clock.seconds += 120
    looks_before = controller.result().looks
    again, events = drive(world, journal=tmp_path / "j")
    assert events[0].kind is EventKind.RESUMED
    assert again.result().phase is Phase.PROMOTED
    assert again.result().judgement.look.number > looks_before  # the evidence was taken up, not gathered anew
    check_journal(tmp_path / "j", world)


def test_patience_is_not_given_anew_to_a_driver_that_is_restarted_again_and_again(tmp_path):
    world = simulated_world(**HEALTHY)
    for _ in range(20):
        controller = Controller(
            world.config, Failing(world, 300, 1e9, down), world.router, PLAN, clock=world.clock, journal=tmp_path / "j"
        )
        dies = world.clock.seconds + (300 if world.clock.seconds < 300 else 90)
        for _ in controller.events():
            if world.clock.seconds >= dies:
                break
        if controller.state.phase.ended:
            break
        world.clock.seconds += 600  # nobody looks: that is no silence of the store
    assert controller.state.phase is Phase.ROLLED_BACK
    assert "no new data" in controller.state.reason
    records, _ = read_journal(tmp_path / "j")
    assert sum(record["what"] == "resumed" for record in records) in {3, 4}  # 5 minutes of patience, 90 s a driver


def test_an_interrupted_rollback_says_that_it_was_not_read_back(tmp_path):
    world = simulated_world(**BROKEN)
    router = Faulty(world.router, [("rollback", RouterUnavailable("500"), False)] * 3, world)
    controller = Controller(world.config, world.source, router, PLAN, clock=world.clock, journal=tmp_path / "j")
    for event in controller.events():
        if "attempt 1" in event.text:
            controller.stop()
    assert event.text.startswith("interrupted at 5 %, before the rollback was read back")
    again, _ = drive(world, router=router, journal=tmp_path / "j")
    assert again.result().phase is Phase.ROLLED_BACK
    assert weights(world) == [5, 0]


def test_after_a_resume_the_weight_waits_for_a_new_judgement(tmp_path):
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock, journal=tmp_path / "j")
    for event in controller.events():
        if event.kind is EventKind.LOOK and controller.state.stage == 1 and event.judgement.verdict == "pass":
            controller.stop()
    world.clock.seconds += 3600  # long over every minimum
    drive(world, source=Failing(world, 0, 1e9, down), journal=tmp_path / "j")
    assert weights(world) == [5, 25, 0]


def test_a_manual_gate_waits_for_a_human():
    world = simulated_world(**HEALTHY)
    plan = RolloutPlan(stages=[5, {"weight": 25, "approval": True}, 100], minimum="2m")
    controller = Controller(world.config, world.source, world.router, plan, clock=world.clock)
    asked = 0
    for event in controller.events():
        if "a human must approve 100 %" in event.text:
            asked += 1
            if asked == 20:
                controller.approve()
    assert asked >= 20
    assert weights(world) == [5, 25, 100]


def test_pause_resume_and_abort():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock)
    told = []
    for _ in controller.events():
        if weights(world) == [5] and not told:
            controller.pause()
            told.append("pause")
        if world.clock.seconds > 3600 and told == ["pause"]:
            assert weights(world) == [5]
            controller.resume()
            told.append("resume")
        if weights(world) == [5, 25, 50] and "abort" not in told:
            controller.abort("the release notes were wrong")
            told.append("abort")
    assert weights(world) == [5, 25, 50, 0]
    assert controller.result().reason == "the release notes were wrong"
    assert controller.result().by_hand


def test_commands_of_another_process(tmp_path):
    world = simulated_world(**HEALTHY)
    path = tmp_path / "j"
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock, journal=path)
    for _ in controller.events():
        if weights(world) == [5, 25]:
            send_command(path, "abort", "seen on the dashboard")
    assert weights(world) == [5, 25, 0]
    assert controller.result().reason == "seen on the dashboard"
    with pytest.raises(DataError, match="no such journal"):
        send_command(tmp_path / "other", "approve")
    with pytest.raises(ValueError, match="'aprove' is no command"):
        send_command(path, "aprove")


def test_a_command_to_an_earlier_rollout_is_not_obeyed(tmp_path):
    world = simulated_world(**HEALTHY)
    (tmp_path / "j.commands").write_text("abort\tlong ago\n")
    controller, _ = drive(world, journal=tmp_path / "j")
    assert controller.result().phase is Phase.PROMOTED


def test_a_callback_that_raises_changes_nothing():
    world = simulated_world(**BROKEN)

    def broken(event):
        raise KeyError("no such channel")

    controller, events = drive(world, callbacks=[broken])
    assert controller.result().phase is Phase.ROLLED_BACK
    assert any("a callback raised KeyError" in text for text in texts(events))


def test_stop_wakes_a_sleeping_driver():
    """With the machine's own clock: a driver between two looks reacts at once."""
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, PLAN, every=timedelta(hours=1))
    done = threading.Thread(target=controller.run)
    done.start()
    timer = threading.Timer(0.3, controller.stop)
    timer.start()
    done.join(20)
    assert not done.is_alive()
    assert weights(world)[-1] == 0


@pytest.mark.parametrize(("side", "told"), [("baseline", "another baseline"), ("canary", "superseded")])
def test_another_canary_ends_a_rollout_and_a_mistyped_baseline_does_not(tmp_path, side, told):
    world = simulated_world(seed=3)
    config = world.config.with_sides(baseline={"version": "1"}, canary={"version": "2"})
    first = Controller(config, world.source, world.router, PLAN, clock=world.clock, journal=tmp_path / "j")
    for event in first.events():
        if event.kind is EventKind.WEIGHT and event.weight == 5:
            break
    other = config.with_sides(**{side: {"version": "7"}})
    again = Controller(other, world.source, world.router, PLAN, clock=world.clock, journal=tmp_path / "j")
    if side == "baseline":
        with pytest.raises(DataError, match="compares with the baseline version 1, and not with version 7"):
            list(again.events())
        assert world.router.get_weight().percent == 5
    else:
        list(again.events())
        assert again.result().reason.startswith(told)
        assert world.router.get_weight().percent == 0


@pytest.mark.parametrize(("then", "now", "refused"), [("a", "b", True), ("a", "a", False), ("", "b", False)])
def test_a_journal_of_another_router_is_refused(tmp_path, then, now, refused):
    """Its canary would keep the traffic, and another one would be said to have none."""
    world = simulated_world(seed=3)

    def driver(drives):
        made = Controller(world.config, world.source, world.router, PLAN, clock=world.clock, journal=tmp_path / "j")
        made.drives = drives
        return made

    for event in driver(then).events():
        if event.kind is EventKind.WEIGHT and event.weight == 5:
            break
    if refused:
        with pytest.raises(DataError, match="whose `router` drives something else"):
            list(driver(now).events())
        assert world.router.get_weight().percent == 5
    else:
        assert next(driver(now).events()).kind is EventKind.RESUMED


def test_all_requests_on_the_canary_after_a_rollback_are_told():
    """Of a time in which the baseline has none no split can be told, and just that is the worst one."""
    quality = SimpleNamespace(canary_share=1.0)
    last = SimpleNamespace(metrics=[SimpleNamespace(quality=quality), SimpleNamespace(quality=None)])
    assert "is 0 % in force at all?" in reached(None, last)
    assert reached(None, None) == ""
    quality.canary_share = 0.5
    assert reached(None, last) == ""
