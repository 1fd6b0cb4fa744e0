"""The journal of a rollout: killed at any record, cut off, damaged, shared, on a full disk."""

import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from canary_judge.errors import DataError
from canary_judge.looks.log import StateLog
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.rollout.journal import Journal, read_journal
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import BROKEN, HEALTHY, PLAN, check_journal, drive, texts, weights


class Killed(BaseException):
    """The process is gone; nothing in it may notice."""


class Mortal:
    """Kills the driver at the n-th record, before or after it is written."""

    def __init__(self, monkeypatch, at, when):
        self.count, self.at, self.when, self.what = 0, at, when, None
        append = Journal.append

        def mortal(journal, what, *args, **values):
            self.count += 1
            if self.count == self.at and self.when == "before":
                self.what = what
                raise Killed
            append(journal, what, *args, **values)
            if self.count == self.at:
                self.what = what
                raise Killed

        monkeypatch.setattr(Journal, "append", mortal)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rates", [HEALTHY, BROKEN], ids=["healthy", "broken"])
def test_a_driver_killed_at_any_record_is_taken_up(rates, when, tmp_path, monkeypatch):
    plan = RolloutPlan(stages=[5, 50, 100], minimum="1m", aftercare="1m")
    final = 100 if rates is HEALTHY else 0
    kinds, number = set(), 0
    while True:
        number += 1
        world = simulated_world(**rates, requests_per_second=4000)
        path = tmp_path / f"journal{number}"
        with monkeypatch.context() as patch:
            mortal = Mortal(patch, number, when)
            try:
                drive(world, plan, journal=path)
            except Killed:
                kinds.add(mortal.what)
            else:
                break
        before = weights(world)
        world.clock.seconds += 40
        controller, _ = drive(world, plan, journal=path)
        assert controller.result().phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        assert weights(world)[-1] == final, (number, weights(world))
        assert weights(world)[: len(before)] == before
        assert len(set(weights(world))) == len(weights(world))  # nothing is set twice
        check_journal(path, world)
    assert {"begin", "intend", "look", "done"} <= kinds
    assert rates is HEALTHY or {"rolling_back", "end"} <= kinds


def whole_journal(tmp_path):
    world = simulated_world(**HEALTHY)
    plan = RolloutPlan(stages=[5, 50, 100], minimum="1m")
    drive(world, plan, journal=tmp_path / "whole")
    return plan, (tmp_path / "whole").read_bytes()


def test_a_journal_cut_off_anywhere_is_taken_up_or_refused(tmp_path):
    plan, content = whole_journal(tmp_path)
    rng = random.Random(1)
    for number in range(16):
        length = rng.randrange(1, len(content))
        path = tmp_path / f"cut{number}"
        path.write_bytes(content[:length])
        records, good = read_journal(path)
        assert good <= length
        world = simulated_world(**HEALTHY)
        state = records[-1]["state"] if records else {"weight": 0.0, "intended": None}
        world.router.set_weight(state["weight"])
        world.clock.seconds = 7200
        if not records:
            continue
        controller, _ = drive(world, plan, journal=path)
        assert controller.result().phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        rises = [percent for percent in weights(world) if percent > state["weight"]]
        assert rises == sorted(rises)


def test_a_lost_record_of_a_rise_is_a_drift_and_no_reason_to_rise(tmp_path):
    """The journal says 5 %, the router 50 %: somebody did that, and nobody judged it."""
    plan, content = whole_journal(tmp_path)
    lines = content.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if json.loads(line)["what"] == "intend" and b'"intended":50' in line)
    path = tmp_path / "lost"
    path.write_bytes(b"".join(lines[:first]))
    world = simulated_world(**HEALTHY)
    world.router.set_weight(50)
    world.clock.seconds = 7200
    texts = []
    for event in Controller(world.config, world.source, world.router, plan, journal=path, clock=world.clock).events():
        texts.append(event.text)
        if len(weights(world)) > 1:
            break
    assert weights(world) == [50, 5]
    assert any("brought back to what was judged" in text for text in texts)


def test_a_damaged_journal_is_refused_with_the_line(tmp_path):
    _, content = whole_journal(tmp_path)
    rng = random.Random(2)
    for number in range(60):
        damaged = bytearray(content)
        at = rng.randrange(0, len(content) - 400)
        damaged[at] ^= 1 << rng.randrange(0, 7)
        if damaged == content:
            continue
        path = tmp_path / f"damaged{number}"
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"line \d+ is damaged"):
            Journal(path)


def test_two_drivers_cannot_share_a_journal(tmp_path):
    world = simulated_world(**HEALTHY)
    with Journal(tmp_path / "j"), pytest.raises(DataError, match="another driver is running"):
        drive(world, journal=tmp_path / "j")
    assert weights(world) == []


@pytest.mark.parametrize("change", ["config", "plan"])
def test_a_journal_of_another_rollout_is_refused(change, tmp_path):
    world = simulated_world(**HEALTHY)
    drive(world, journal=tmp_path / "j", stop_after=timedelta(minutes=3))
    plan = RolloutPlan(stages=[5, 100]) if change == "plan" else PLAN
    if change == "config":
        world.config = world.config.model_copy(update={"false_alarm_rate": 0.02})
    with pytest.raises(DataError, match="of another rollout"):
        drive(world, plan, journal=tmp_path / "j")


def test_an_ended_journal_says_so_and_does_nothing(tmp_path):
    world = simulated_world(**BROKEN)
    drive(world, journal=tmp_path / "j")
    before = weights(world)
    controller, events = drive(world, journal=tmp_path / "j")
    assert "the journal has ended" in texts(events)[0]
    assert controller.result().phase is Phase.ROLLED_BACK
    assert weights(world) == before


@pytest.mark.parametrize("damage", ["gone", "rubbish", "of another run"])
def test_lost_evidence_is_read_again(damage, tmp_path):
    world = simulated_world(**HEALTHY)
    path, evidence = tmp_path / "j", tmp_path / "j.evidence"
    controller = Controller(world.config, world.source, world.router, PLAN, clock=world.clock, journal=path)
    for event in controller.events():
        if event.kind is EventKind.LOOK and controller.state.stage == 1:
            controller.stop()
    looked = controller.result().judgement.look.intervals
    if damage == "gone":
        evidence.unlink()
    elif damage == "rubbish":
        evidence.write_text("{")
    else:
        with StateLog(world.config, evidence) as log:
            state = log.state
        with StateLog.begun(world.config, evidence) as log:
            log.keep(replace(state, start=state.start - timedelta(days=1)))
    again, events = drive(world, journal=path)
    assert again.result().phase is Phase.PROMOTED
    first = next(event for event in events if event.judgement is not None)
    assert first.judgement.look.intervals >= looked
    assert first.judgement.look.number <= 2  # in one look, from the start


def test_a_full_disk_holds_the_weight_and_never_blocks_a_rollback(tmp_path, monkeypatch):
    """ENOSPC on every write of the journal for a while."""
    import errno
    import os

    world = simulated_world(error_rate=0.005, canary_error_rate=lambda t: 0.005 if t < 1500 else 0.1, seed=5)
    real = os.pwrite

    def pwrite(handle, data, offset):
        if 100 < world.clock.seconds < 1000 or world.clock.seconds > 1500:
            if len(data) > 10:
                return real(handle, data[:10], offset)  # the last bytes of the disk
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, offset)

    monkeypatch.setattr("canary_judge.checked_lines.os.pwrite", pwrite)
    plan = PLAN.model_copy(update={"minimum": timedelta(minutes=4)})
    controller, events = drive(world, plan, journal=tmp_path / "j")
    assert not [at for at, percent in world.log[1:] if 100 < at < 1000 and percent > 5]
    assert controller.result().phase is Phase.ROLLED_BACK
    assert weights(world)[-1] == 0
    assert any("No space left" in text for text in texts(events, EventKind.TROUBLE))
    records, _ = read_journal(tmp_path / "j")  # no half record in the middle
    assert records
