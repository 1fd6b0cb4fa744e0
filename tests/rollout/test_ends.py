"""What begins a rollout late and ends it otherwise: readiness, a watch at 100 %, freezing, another revision, metrics."""

import http.client
import re
from datetime import timedelta

import pytest

from canary_judge.errors import ConfigError, DataError, NotEnoughWeight, RouterError, RouterUnavailable
from canary_judge.results import Side
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.after import after_config
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.rollout.exposition import Exposition
from canary_judge.rollout.inbox import send_command
from canary_judge.rollout.journal import read_journal
from canary_judge.routers import MemoryRouter
from canary_judge.routers.several import SeveralRouters
from canary_judge.routing import lowered
from canary_judge.series import Result, Series
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import BROKEN, HEALTHY, drive, texts, weights

STAGES = {"stages": [5, 25, 50, 75, 100], "minimum": "2m", "patience": "5m"}


def plan(**more):
    return RolloutPlan.from_mapping({**STAGES, **more})


# --- after 100 % -----------------------------------------------------------------------------------------------------


def test_a_healthy_canary_is_watched_at_100_and_promoted():
    world = simulated_world(**HEALTHY)
    controller, events = drive(world, plan(after="30m"))
    assert controller.result().phase is Phase.PROMOTED
    arrived = next(event for event in events if event.weight == 100)
    assert events[-1].at - arrived.at >= timedelta(minutes=30)
    assert "errors against the baseline's last 30m, at twice the margin" in events[0].text
    assert weights(world) == [5, 25, 50, 75, 100]


def test_a_canary_that_breaks_at_100_is_taken_back():
    """There is no baseline beside it any more; its past says what is normal."""
    arrived = []
    world = simulated_world(
        error_rate=0.005,
        canary_error_rate=lambda t: 0.05 if arrived and t > arrived[0] + 600 else 0.005,
        seed=7,
    )
    world.router = type(world.router)(
        on_change=lambda percent: (world.record(percent), arrived.append(world.clock.seconds) if percent == 100 else 0)
    )
    controller, _ = drive(world, plan(after="1h"))
    assert controller.result().phase is Phase.ROLLED_BACK
    assert weights(world)[-2:] == [100, 0]
    assert world.log[-1][0] - arrived[0] < 600 + 300


def test_a_driver_that_is_killed_at_100_goes_on_watching(tmp_path):
    world = simulated_world(**HEALTHY)
    controller = Controller(
        world.config, world.source, world.router, plan(after="30m"), clock=world.clock, journal=tmp_path / "j"
    )
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 100:
            break
    world.canary_error_rate = lambda _: 0.05
    controller, events = drive(world, plan(after="30m"), journal=tmp_path / "j")
    assert events[0].kind is EventKind.RESUMED
    assert controller.result().phase is Phase.ROLLED_BACK


def test_what_follows_the_traffic_is_not_compared_with_the_past():
    world = simulated_world(seed=1)
    metrics = [
        {"name": "cpu", "kind": "gauge", "query": "cpu", "harm": "increase", "margin": "10%"},
        {"name": "memory", "kind": "gauge", "query": "mem", "harm": "increase", "margin": "10%", "limit": 5},
        {"name": "plays", "kind": "ratio", "events": "p", "total": "v", "harm": "decrease", "margin": "60%"},
    ]
    config = world.config.from_mapping({"name": "x", "interval": "1m", "metrics": metrics})
    after = {metric.name: metric for metric in after_config(config).metrics}
    assert (after["cpu"].margin, after["cpu"].role.value) == (None, "watch")
    assert (after["memory"].margin, after["memory"].limit, after["memory"].role.value) == (None, 5, "gate")
    assert after["plays"].parsed_margin().relative == pytest.approx(1 - 0.4**2)


class Blind:
    """At 100 % one side says nothing any more."""

    def __init__(self, world, side):
        self.world, self.side = world, side

    def fetch(self, queries, window):
        answers = self.world.fetch(queries, window)
        everything = max(percent for _, percent in self.world.log) == 100
        return [
            Result() if everything and query.side is self.side else answer
            for query, answer in zip(queries, answers, strict=True)
        ]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("blind", "end"), [("roll_back", Phase.ROLLED_BACK), ("hold", Phase.RUNNING)])
def test_what_cannot_be_judged_at_100_is_not_promoted(side, blind, end):
    world = simulated_world(**HEALTHY, requests_per_second=2000)
    world.canary_error_rate = lambda _: 0.5 if max(percent for _, percent in world.log) == 100 else 0.005
    controller, events = drive(world, plan(after="30m", when_blind=blind), source=Blind(world, side))
    assert controller.state.phase is end, texts(events)[-1]


@pytest.mark.parametrize("away", [timedelta(hours=3), timedelta(hours=3, minutes=20)])
def test_a_driver_that_comes_back_late_does_not_promote_what_broke_meanwhile(away, tmp_path):
    world = simulated_world(**HEALTHY)
    controller = Controller(
        world.config, world.source, world.router, plan(after="30m"), clock=world.clock, journal=tmp_path / "j"
    )
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 100:
            break
    broken = world.clock.seconds + 31 * 60
    world.canary_error_rate = lambda t: 0.5 if t > broken else 0.005
    world.clock.seconds += away.total_seconds()
    controller, _ = drive(world, plan(after="30m"), journal=tmp_path / "j")
    assert controller.result().phase is Phase.ROLLED_BACK


def test_a_pause_at_100_does_not_hide_a_fault():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, plan(after="30m"), clock=world.clock)
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 100:
            controller.pause()
            broken = world.clock.seconds + 35 * 60
            world.canary_error_rate = lambda t: 0.5 if t > broken else 0.005  # noqa: B023
    assert controller.result().phase is Phase.ROLLED_BACK


def test_a_watch_that_could_judge_nothing_is_refused():
    world = simulated_world(**HEALTHY)
    cpu = {"name": "cpu", "kind": "gauge", "query": "cpu", "harm": "increase", "margin": "10%"}
    config = world.config.from_mapping({"name": "x", "interval": "1m", "metrics": [cpu]})
    with pytest.raises(ConfigError, match="nothing could be judged at 100 %"):
        Controller(config, world.source, world.router, plan(after="30m"))
    with pytest.raises(ConfigError, match="shorter than two intervals"):
        Controller(world.config, world.source, world.router, plan(after="20s"))


# --- before the first weight ------------------------------------------------------------------------------------------


def test_the_first_weight_waits_until_the_command_says_ready(tmp_path):
    world = simulated_world(**HEALTHY)
    flag = tmp_path / "ready"
    controller = Controller(
        world.config,
        world.source,
        world.router,
        plan(ready={"command": ["test", "-e", str(flag)]}),
        clock=world.clock,
    )
    held = []
    for event in controller.events():
        if event.rule == "ready":
            held.append(event)
            assert weights(world) == []
            if len(held) == 4:
                flag.touch()
        if event.kind is EventKind.WEIGHT:
            break
    assert len(held) == 4
    assert "not ready for traffic: test exits with 1" in held[0].text
    assert weights(world) == [5]


@pytest.mark.parametrize("command", [["false"], ["/no/such/program"]])
def test_a_canary_that_is_never_ready_gets_no_traffic(command):
    world = simulated_world(**HEALTHY)
    controller, _ = drive(world, plan(ready={"command": command, "within": "10m"}))
    assert controller.result().phase is Phase.STOPPED
    assert "within 10m" in controller.result().reason
    assert weights(world) == []


@pytest.mark.parametrize(("value", "promoted"), [(1.0, True), (0.0, False), (float("nan"), False), (None, False)])
def test_the_first_weight_waits_for_a_query(value, promoted):
    world = simulated_world(**HEALTHY)
    asked = []

    class Source:
        def fetch(self, queries, window):
            if queries[0].metric != "ready":
                return world.fetch(queries, window)
            asked.append(queries[0])
            answers = world.fetch(
                [
                    type(queries[0])(
                        metric="errors",
                        part="total",
                        side=Side.BASELINE,
                        reading=queries[0].reading,
                        expression="x",
                        step=queries[0].step,
                    )
                ],
                window,
            )
            (series,) = answers[0].series or (None,)
            if value is None or series is None:
                return [type(answers[0])()]
            return [type(answers[0])(series=(Series(timestamps=series.timestamps, values=series.values * 0 + value),))]

    ready = {"query": 'up{version="${version}"}', "within": "10m"}
    world.config = world.config.with_sides(canary={"version": "2"}, baseline={"version": "1"})
    controller, _ = drive(world, plan(ready=ready), source=Source())
    assert controller.result().phase is (Phase.PROMOTED if promoted else Phase.STOPPED)
    assert asked[0].expression == 'up{version="2"}'


def test_a_readiness_that_cannot_be_asked_is_refused_before_anything():
    world = simulated_world(**HEALTHY)
    with pytest.raises(ConfigError, match=r"rollout\.ready\.query.*version"):
        Controller(world.config, world.source, world.router, plan(ready={"query": 'up{version="${version}"}'}))
    with pytest.raises(ConfigError, match=r"rollout\.ready\.source: 'other' is not given"):
        Controller(world.config, world.source, world.router, plan(ready={"query": "up", "source": "other"}))
    with pytest.raises(ConfigError, match="give a `query` or a `command`"):
        plan(ready={"within": "5m"})


# --- frozen ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_most", "kept"), [(50, 5), (2, 2)])
def test_a_failed_canary_keeps_no_more_than_the_bound(at_most, kept, tmp_path):
    world = simulated_world(**BROKEN)
    controller, events = drive(world, plan(freeze={"at_most": at_most}), journal=tmp_path / "j")
    result = controller.result()
    assert (result.phase, result.weight) == (Phase.FROZEN, kept)
    assert world.router.get_weight().percent == kept
    said = f"if it fails it is frozen, not rolled back, and keeps up to {at_most} %"
    assert said in events[0].text
    looks = [event for event in events if event.kind in (EventKind.LOOK, EventKind.BLIND)]
    assert len(looks) > 1
    assert all(said in event.text for event in looks)
    assert read_journal(tmp_path / "j")[0][-1]["rule"] == "frozen"


def test_a_late_fault_is_lowered_to_the_bound_whatever_the_router_does():
    """The first writes fail; it is tried until it is read back."""
    world = simulated_world(**HEALTHY)
    world.canary_error_rate = lambda _: 0.05 if max(percent for _, percent in world.log) >= 25 else 0.005
    real = world.router.set_weight
    failed = []

    def shaky(percent, *, expect=None):
        if percent < (world.router.get_weight().percent or 0) and len(failed) < 3:
            failed.append(percent)
            raise RouterUnavailable("no answer")
        return real(percent, expect=expect)

    world.router.set_weight = shaky
    controller, _ = drive(world, plan(freeze={"at_most": 10}))
    assert controller.result().phase is Phase.FROZEN
    assert failed == [10, 10, 10]
    assert weights(world)[-1] == 10


def test_a_bound_that_the_router_cannot_write_is_one_below(tmp_path):
    world = simulated_world(**HEALTHY)
    world.canary_error_rate = lambda _: 0.05 if max(percent for _, percent in world.log) >= 25 else 0.005
    real = world.router.set_weight

    def whole(percent, *, expect=None):
        if percent != round(percent):
            raise NotEnoughWeight("use a whole percent")
        return real(percent, expect=expect)

    world.router.set_weight = whole
    controller, _ = drive(world, plan(freeze={"at_most": 12.5}))
    assert (controller.result().phase, weights(world)[-1]) == (Phase.FROZEN, 12)


def test_a_human_may_say_zero_while_the_freeze_is_tried():
    world = simulated_world(**BROKEN)
    real = world.router.set_weight
    world.router.set_weight = lambda percent, *, expect=None: (
        real(percent, expect=expect) if percent in (0, 5) else (_ for _ in ()).throw(RouterUnavailable("no answer"))
    )
    controller = Controller(world.config, world.source, world.router, plan(freeze={"at_most": 2}), clock=world.clock)
    for event in controller.events():
        if "attempt 3" in event.text:
            controller.abort()
    assert (controller.result().phase, weights(world)[-1]) == (Phase.ROLLED_BACK, 0)


def test_one_router_that_is_gone_keeps_no_other_up():
    gone, there = MemoryRouter(50), MemoryRouter(50)
    gone.get_weight = lambda: (_ for _ in ()).throw(RouterUnavailable("no answer"))
    with pytest.raises(RouterError, match="gone: no answer"):
        lowered(SeveralRouters({"gone": gone, "there": there}), 5)
    assert there.get_weight().percent == 5


def test_an_abort_and_a_stop_together_mean_zero():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, plan(freeze={"at_most": 25}), clock=world.clock)
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 25:
            controller.abort()
            controller.stop()
    assert (controller.result().phase, weights(world)[-1]) == (Phase.ROLLED_BACK, 0)


def test_a_command_to_a_rollout_that_has_ended_is_refused(tmp_path):
    world = simulated_world(**BROKEN)
    drive(world, plan(freeze={"at_most": 2}), journal=tmp_path / "j")
    with pytest.raises(DataError, match=r"has ended \(frozen\).*router rollback"):
        send_command(tmp_path / "j", "abort")


def test_a_human_who_aborts_means_zero():
    world = simulated_world(**HEALTHY)
    controller = Controller(world.config, world.source, world.router, plan(freeze={"at_most": 25}), clock=world.clock)
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 5:
            controller.abort()
    assert controller.result().phase is Phase.ROLLED_BACK
    assert weights(world) == [5, 0]


# --- superseded ------------------------------------------------------------------------------------------------------


def test_another_revision_ends_the_rollout_at_zero(tmp_path):
    world = simulated_world(**HEALTHY)
    revision = tmp_path / "revision"
    revision.write_text("v2\n")
    controller = Controller(
        world.config,
        world.source,
        world.router,
        plan(revision=["cat", str(revision)], freeze={"at_most": 25}),
        clock=world.clock,
        journal=tmp_path / "j",
    )
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 25:
            revision.write_text("v3\n")
    assert controller.result().phase is Phase.SUPERSEDED
    assert controller.result().reason == "superseded: 'v3' is rolled out now, 'v2' was judged"
    assert weights(world) == [5, 25, 0]


def test_a_revision_that_changed_while_no_driver_ran_is_found(tmp_path):
    world = simulated_world(**HEALTHY)
    revision = tmp_path / "revision"
    revision.write_text("v2")
    asked = plan(revision=["cat", str(revision)])
    drive(world, asked, journal=tmp_path / "j", stop_after=timedelta(minutes=3))
    revision.write_text("v3")
    controller, _ = drive(world, asked, journal=tmp_path / "j")
    assert controller.result().phase is Phase.SUPERSEDED
    assert weights(world)[-1] == 0


def test_no_traffic_for_a_revision_that_cannot_be_told(tmp_path):
    """What is not known at the start could not be told from another one later."""
    world = simulated_world(**HEALTHY)
    revision = tmp_path / "revision"
    controller, events = drive(world, plan(revision=["cat", str(revision)]))
    assert controller.result().phase is Phase.STOPPED
    assert weights(world) == []
    assert any("the revision cannot be told" in text for text in texts(events, EventKind.TROUBLE))


def test_a_revision_that_cannot_be_told_for_a_while_holds_the_weight(tmp_path):
    world = simulated_world(**HEALTHY)
    revision = tmp_path / "revision"
    revision.write_text("v2")
    controller = Controller(
        world.config, world.source, world.router, plan(revision=["cat", str(revision)]), clock=world.clock
    )
    gone, held = None, set()
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 25:
            revision.unlink()
            gone = event.at
        if event.rule == "revision":
            held.add(event.weight)
        if gone is not None and event.at - gone >= timedelta(minutes=20) and not revision.exists():
            assert event.weight == 25
            revision.write_text("v2")
    assert held == {25}
    assert controller.result().phase is Phase.PROMOTED


def test_a_command_that_can_never_run_is_refused_before_anything():
    world = simulated_world(**HEALTHY)
    with pytest.raises(ConfigError, match="environment variable NOT_SET_ANYWHERE"):
        Controller(world.config, world.source, world.router, plan(revision=["echo", "${env:NOT_SET_ANYWHERE}"]))


def test_the_journal_of_another_version_is_brought_to_zero_first(tmp_path):
    """What is served under the weight of the version before was never judged."""
    world = simulated_world(**HEALTHY)
    world.config = world.config.with_sides(canary={"version": "2"})
    drive(world, plan(), journal=tmp_path / "j", stop_after=timedelta(minutes=3))
    assert weights(world)[-1] > 0
    world.config = world.config.with_sides(canary={"version": "3"})
    controller, _ = drive(world, plan(), journal=tmp_path / "j")
    assert controller.result().phase is Phase.SUPERSEDED
    assert "version 3 now, version 2 was judged" in controller.result().reason
    assert weights(world)[-1] == 0


# --- metrics ---------------------------------------------------------------------------------------------------------


def samples(text):
    return dict(re.findall(r"^(canary_judge_\S+) (\S+)$", text, re.MULTILINE))


def test_the_rollout_as_a_textfile(tmp_path):
    world = simulated_world(**BROKEN)
    path = tmp_path / "shop.prom"
    seen = []
    shown = Exposition("shop", str(path))
    drive(world, callbacks=[shown, lambda _: seen.append(samples(path.read_text()))])
    assert seen[-1]['canary_judge_phase{phase="rolled_back",rollout="shop"}'] == "1.0"
    assert seen[-1]['canary_judge_weight_percent{rollout="shop"}'] == "0.0"
    assert {one.get('canary_judge_weight_percent{rollout="shop"}') for one in seen} == {"0.0", "5.0"}
    assert seen[-1]['canary_judge_verdict{rollout="shop",verdict="fail"}'] == "1.0"
    assert seen[-1]['canary_judge_outcome{metric="errors",outcome="regressed",rollout="shop"}'] == "1.0"
    assert float(seen[-1]['canary_judge_evidence{metric="errors",rollout="shop",what="log_e_harm"}']) > 3
    assert float(seen[-1]['canary_judge_looks_total{rollout="shop"}']) >= 1


def test_the_rollout_at_a_port():
    world = simulated_world(**HEALTHY)
    with pytest.raises(ConfigError, match="neither a file"):
        Exposition("shop", "shop.txt")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shown = Exposition("shop", f"127.0.0.1:{port}")
    drive(world, callbacks=[shown])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    found = samples(connection.getresponse().read().decode())
    assert found['canary_judge_phase{phase="promoted",rollout="shop"}'] == "1.0"


def test_metrics_that_cannot_be_written_end_nothing(tmp_path):
    world = simulated_world(**BROKEN)
    shown = Exposition("shop", str(tmp_path / "none" / "shop.prom"))
    controller, events = drive(world, callbacks=[shown])
    assert controller.result().phase is Phase.ROLLED_BACK
    assert any("a callback raised" in text for text in texts(events))
