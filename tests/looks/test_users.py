"""Repeated looks at users: counted anew at each weight, and never added up twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor
from canary_judge.errors import DataError
from canary_judge.looks.design import Design
from canary_judge.looks.log import StateLog
from canary_judge.results import Outcome, Verdict
from canary_judge.series import Form, Result
from canary_judge.sources import FrameSource
from canary_judge.testing import People

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLICKS = {
    "name": "clicks",
    "kind": "ratio",
    "events": "clicks",
    "total": "impressions",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "10%",
}


def config(*metrics, **more) -> JudgeConfig:
    return JudgeConfig.from_mapping(
        {"name": "feed", "interval": "1h", "history": "7d", "metrics": list(metrics) or [CLICKS], **more}
    )


@pytest.fixture(scope="module")
def steady():
    return FrameSource(People(users=20_000, hours=24, weights=((0, 10.0),)).draw(3).frame(START))


def test_looks_come_to_what_one_look_says(steady):
    monitor = Monitor(config(), start=START, horizon="24h", stages=1)
    found = [monitor.look(steady, START + hour * HOUR) for hour in range(1, 25)]
    users = [one["clicks"].comparison.users_canary for one in found if one["clicks"].comparison is not None]
    assert users == sorted(users)
    assert found[-1].verdict is Verdict.PASS
    assert found[-1].look.ended
    assert monitor.look(steady, START + 24 * HOUR)["clicks"] == found[-1]["clicks"]  # no new rows, no new evidence


@pytest.mark.parametrize(("horizon", "stages", "waits"), [
    ("36h", 1, True), ("36h", None, True), ("24h", 1, True),
    ("36h", 2, False), ("23h", 1, False), (None, 1, False),
])  # fmt: skip
def test_a_run_of_a_day_or_more_passes_after_a_day(horizon, stages, waits):
    """What is new is used a fifth more for some hours, and a tenth less for good."""
    shape = People(users=60_000, hours=26, weights=((0, 10.0),), lift=-0.1, novelty=0.35, novelty_hours=8)
    source = FrameSource(shape.draw(3).frame(START))
    monitor = Monitor(config(), start=START, horizon=horizon, stages=stages)
    passed = any(monitor.look(source, START + hour * HOUR).verdict is Verdict.PASS for hour in range(1, 24))
    assert passed is not waits
    if waits:  # then it is seen that it fades
        assert monitor.look(source, START + 26 * HOUR).verdict is not Verdict.PASS


def test_the_last_weight_waits_and_those_before_do_not():
    shape = People(users=60_000, hours=26, weights=((0, 10.0), (6, 20.0)), lift=-0.1, novelty=0.35, novelty_hours=8)
    source, passed = FrameSource(shape.draw(3).frame(START)), {}
    for stages in (2, 3, None):
        monitor = Monitor(config(), start=START, horizon="36h", stages=stages)
        looks = [monitor.look(source, START + hour * HOUR, weight=10.0 if hour <= 6 else 20.0) for hour in range(1, 20)]
        passed[stages] = [look.verdict is Verdict.PASS for look in looks]
    assert any(passed[2][:6])
    assert not any(passed[2][6:])
    assert any(passed[3][6:])  # a third weight is to come
    assert not any(passed[None])


def test_what_it_waits_for_is_told_and_is_no_doubt_of_harm(steady):
    found = Monitor(config(), start=START, horizon="36h").look(steady, START + 20 * HOUR)["clicks"]
    assert " of a run of 36h00m are too few: what is new is used otherwise at first" in found.reason
    assert "say how many `stages` there are" in found.reason
    worse = FrameSource(People(users=20_000, hours=24, weights=((0, 10.0),), lift=-0.5).draw(3).frame(START))
    found = Monitor(config(), start=START, horizon="36h", stages=1).look(worse, START + 12 * HOUR)
    assert found.verdict is Verdict.FAIL
    assert "too few" not in found["clicks"].reason


def test_no_look_depends_on_a_restart(steady, tmp_path):
    judged = config(
        CLICKS, {"name": "minutes", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "5%"}
    )
    through = Monitor(judged, start=START, horizon="24h", stages=2)
    for hour in range(1, 13):
        weight = 10.0 if hour < 7 else 25.0
        with StateLog(judged, tmp_path / "log") as log:
            restarted = Monitor(judged, start=START, horizon="24h", stages=2, state=log.state)
            one, two = (
                monitor.look(
                    steady, START + hour * HOUR, weight=weight, weight_since=START + (0 if hour < 7 else 6) * HOUR
                )
                for monitor in (through, restarted)
            )
            assert one == two
            assert through.state() == restarted.state() == Monitor(judged, state=through.state()).state()
            log.keep(restarted.evidence)
    print(len((tmp_path / "log").read_bytes()) / 24)
    assert len((tmp_path / "log").read_bytes()) < 12 * 2 * 5500  # moments of both sides over four parts of the time


def test_each_weight_counts_its_users_anew():
    people = People(users=20_000, hours=12, weights=((0, 5.0), (6.5, 25.0)))
    source = FrameSource(people.draw(1).frame(START))
    monitor = Monitor(config(), start=START, stages=2)
    change = START + timedelta(hours=6, minutes=30)
    before = monitor.look(source, START + 6 * HOUR, weight=5.0, weight_since=START)["clicks"]
    after = monitor.look(source, START + 7 * HOUR, weight=25.0, weight_since=change)["clicks"]
    later = monitor.look(source, START + 12 * HOUR, weight=25.0, weight_since=change)["clicks"]
    assert monitor.evidence.since == change
    assert before.comparison.users_canary < 0.06 * before.comparison.users_baseline
    # half an hour only, and those who moved are not on both sides
    assert after.comparison is None or after.comparison.users_canary < 900
    assert 0.2 < later.comparison.users_canary / (later.comparison.users_canary + later.comparison.users_baseline) < 0.3
    assert not any("both sides" in text for text in later.warnings)
    assert monitor.look(source, START + 12 * HOUR, weight=25.0).traffic.counted == "users"


def test_nothing_of_the_weight_before_is_shown_for_the_new_one(steady):
    monitor = Monitor(config(), start=START)
    monitor.look(steady, START + 12 * HOUR, weight=10.0)
    found = monitor.look(steady, START + 12 * HOUR, weight=20.0)["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "0 users were seen on the baseline" in found.reason
    assert "the weight has just changed" in found.reason


def test_a_ramp_is_not_read_as_simpson_would():
    people = People(
        users=60_000, hours=24, visits=4.0, weights=((0, 1.0), (6, 5.0), (12, 25.0), (18, 50.0)), lift=-0.05, trend=0.3
    )
    visits = people.draw(5)
    source, monitor = FrameSource(visits.frame(START)), Monitor(config(), start=START, stages=4)
    for hour in range(1, 25):
        start, weight = [one for one in people.weights if one[0] < hour][-1]
        found = monitor.look(source, START + hour * HOUR, weight=weight, weight_since=START + start * HOUR)["clicks"]
    run = visits.hour > 0
    pooled = [
        visits.clicks[run & side].sum() / visits.impressions[run & side].sum()
        for side in (visits.canary, ~visits.canary)
    ]
    assert pooled[0] / pooled[1] > 1.0  # what a pooled ramp reads
    assert found.comparison.effect == pytest.approx(0.95, abs=0.03)


def test_harm_of_an_earlier_weight_stands():
    people = People(users=40_000, hours=24, weights=((0, 10.0), (12, 30.0)), lift=-0.5)
    source = FrameSource(people.draw(2).frame(START))
    monitor = Monitor(config(), start=START, stages=2)
    assert monitor.look(source, START + 12 * HOUR, weight=10.0)["clicks"].outcome is Outcome.REGRESSED
    after = monitor.look(source, START + 13 * HOUR, weight=30.0)["clicks"]
    assert after.outcome is Outcome.REGRESSED
    assert after.decided_at == START + 12 * HOUR


class Losing:
    """Later answers know of fewer users than earlier ones, or of none of one side for a while."""

    def __init__(self, source, lost):
        self._source, self._lost = source, lost

    def fetch(self, queries, window):
        found = self._source.fetch(queries, window)
        if window.end in self._lost:
            return [
                replace(
                    one,
                    moments=replace(one.moments, whole=replace(one.moments.whole, users=one.moments.whole.users // 2)),
                )
                for one in found
            ]
        return found


def test_rows_that_are_taken_back_raise_nothing(steady):
    monitor = Monitor(config(), start=START, horizon="24h")
    source = Losing(steady, {START + hour * HOUR for hour in (9, 10, 11)})
    progress = []
    for hour in range(1, 24):
        monitor.look(source, START + hour * HOUR)
        progress.append(monitor.evidence.streams["clicks"].progress)
    assert progress == sorted(progress)
    assert progress[-1] > 0


def test_what_could_not_be_read_forbids_a_pass(steady):
    class Failing:
        failing = False

        def fetch(self, queries, window):
            return (
                [Result(form=Form.MOMENTS, error="gone", temporary=True) for _ in queries]
                if self.failing
                else steady.fetch(queries, window)
            )

    source, monitor = Failing(), Monitor(config(), start=START)
    assert monitor.look(source, START + 23 * HOUR)["clicks"].outcome is Outcome.SAFE
    source.failing = True
    assert monitor.look(source, START + 23 * HOUR + timedelta(hours=4))["clicks"].outcome is Outcome.INSUFFICIENT


def test_rows_of_one_side_are_waited_for():
    frame = People(users=20_000, hours=24, weights=((0, 10.0),)).draw(3).frame(START)
    late = frame[~((frame.side == "canary") & (frame.timestamp > START + 10 * HOUR))]
    monitor = Monitor(config(), start=START)
    monitor.look(FrameSource(frame), START + 9 * HOUR)
    monitor.look(FrameSource(late), START + 12 * HOUR)
    assert monitor.watermark < START + 12 * HOUR  # not consumed yet
    found = monitor.look(FrameSource(late), START + 18 * HOUR)["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "the canary's rows are late" in found.reason


@pytest.mark.parametrize("stages", [None, 1, 2, 5])
def test_all_stages_together_have_one_error(stages):
    shares = [Design.of(None, 0, tuple(range(number)), stages).of_stage for number in range(200)]
    assert sum(shares) <= 1.0
    assert min(shares) > 0


@pytest.mark.parametrize("stages", [0, -1, "3", 2.0])
def test_stages_are_a_number(stages):
    with pytest.raises(DataError, match="stages is"):
        Monitor(config(), stages=stages)


def test_a_warm_up_is_left_out_of_each_weight():
    people = People(users=20_000, hours=12, weights=((0, 10.0),))
    frame = people.draw(1).frame(START)
    monitor = Monitor(config(warmup="2h"), start=START)
    found = monitor.look(FrameSource(frame), START + 12 * HOUR)["clicks"].comparison
    mine = frame[(frame.timestamp > START + 2 * HOUR) & (frame.timestamp <= START + 12 * HOUR)]
    assert found.users_canary == mine[mine.side == "canary"].user.nunique()


def test_the_error_of_harm_is_shared_by_the_stages(steady):
    judged = config()
    one, five = (
        Monitor(judged, start=START, stages=stages).look(steady, START + 20 * HOUR)["clicks"] for stages in (1, 5)
    )
    assert five.comparison.log_e_harm == pytest.approx(one.comparison.log_e_harm - np.log(5))
    assert five.p_within == one.p_within


def test_a_start_between_two_intervals_is_kept_to_the_moment():
    people = People(users=20_000, hours=12, weights=((0, 10.0),))
    begun = START + timedelta(minutes=38)
    source = FrameSource(people.draw(1).frame(begun))
    monitor = Monitor(config(), start=begun)
    found = monitor.look(source, START + 12 * HOUR, weight=10.0)
    assert monitor.evidence.since == begun
    assert not any("both sides" in text for text in found["clicks"].warnings)
    assert not found.traffic.finding
