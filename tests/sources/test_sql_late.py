"""Rows that a database has not loaded yet: they are waited for, asked for as seldom as said, and no pass rests on them."""

from datetime import timedelta

import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import DataError
from canary_judge.results import Outcome, Verdict
from canary_judge.sources import FrameSource
from canary_judge.sources.sql import SqlSource
from canary_judge.testing import People
from tests.sources.test_sql_users import END, HOUR, SIDE, SPAN, START, frame, ordinary, queries, same, shop, sqlite

__all__ = ["frame", "shop"]  # fixtures


class Counting(SqlSource):
    """Tells how often the database was asked to count users."""

    asked = 0

    def _statement(self, *given):
        self.asked += 1
        return super()._statement(*given)


def test_a_warehouse_is_asked_once_an_hour_and_not_once_a_look(shop):
    source = Counting(shop, activity=SIDE, every="1h")
    found = []
    for minute in range(0, 180, 10):
        window = Window(START, START + 24 * HOUR + timedelta(minutes=minute))
        found.append(source.fetch(queries(), window)[0].moments)
    assert source.asked == 3
    assert len({one.until for one in found}) == 3
    # another weight is another count
    source.fetch(queries(since=START + 20 * HOUR), window)
    assert source.asked == 4
    # and one statement is for all metrics of both sides
    assert len(queries()) == 10


def test_rows_that_may_be_late_are_not_counted_yet(shop, frame):
    now = START + 30 * HOUR
    source = SqlSource(shop, activity=SIDE, delay="2h", now=lambda: now)
    late = source.fetch(queries(), Window(START, now))
    same(FrameSource(frame).fetch(queries(), Window(START, now - 2 * HOUR)), late)
    past = SqlSource(shop, activity=SIDE, delay="2h")  # today the rows of then are there
    same(FrameSource(frame).fetch(queries(), Window(START, now)), past.fetch(queries(), Window(START, now)))


def test_intervals_that_are_not_loaded_yet_are_no_gaps(shop):
    clock = [START]
    source = SqlSource(shop, delay="5h", now=lambda: clock[0])
    monitor = Monitor(ordinary(), start=START)
    for hour in range(1, 13):
        clock[0] = START + hour * HOUR
        monitor.look(source, clock[0])
        # it waits for five hours, longer than it waits for points that are late
        assert monitor.watermark == START + max(hour - 5, 0) * HOUR
    assert monitor.evidence.streams["clicks"].quality.coverage_canary == 1.0
    straight = Monitor(ordinary(), start=START)
    straight.look(SqlSource(shop), START + 7 * HOUR)
    assert (
        straight.evidence.streams["clicks"].data.counts.events_canary.sum()
        == monitor.evidence.streams["clicks"].data.counts.events_canary.sum()
    )


def test_a_finished_window_that_is_not_loaded_whole_is_no_pass(shop):
    window = Window(START, START + 48 * HOUR)
    assert judge(ordinary(), SqlSource(shop), window).verdict is Verdict.PASS
    found = judge(ordinary(), SqlSource(shop, delay="1h", now=lambda: window.end), window)
    assert found.verdict is Verdict.MARGINAL
    assert "left data out" in found["clicks"].reason


def test_ordinary_queries_keep_to_every_as_well(shop):
    source, asked = SqlSource(shop, every="3h"), []
    rows = source._rows
    source._rows = lambda query, window: asked.append(window.end) or rows(query, window)
    monitor = Monitor(ordinary(), start=START)
    for quarter in range(1, 49):
        monitor.look(source, START + quarter * timedelta(minutes=15))
    assert len(set(asked)) == 4
    assert monitor.watermark == START + 10 * HOUR


def test_a_naive_delay_is_refused():
    with pytest.raises(DataError):
        SqlSource("sqlite://", delay=5)


class Moving:
    """A clock that goes on between two questions."""

    def __init__(self, start):
        self.now = start

    def __call__(self):
        self.now += timedelta(microseconds=7)
        return self.now


def by_user(margin="60%") -> JudgeConfig:
    metric = {"name": "minutes", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": margin}
    return JudgeConfig.from_mapping({"name": "feed", "interval": "1h", "metrics": [metric]})


def test_the_time_goes_on_while_it_is_asked(shop):
    source = Counting(shop, activity=SIDE, delay="10m", now=Moving(END))
    assert "different times" not in (judge(by_user(), source, SPAN)["minutes"].reason)
    assert source.asked == 1


def test_what_is_not_loaded_yet_is_no_pass(tmp_path):
    frame = People(users=20_000, hours=24, weights=((0, 20.0),)).draw(1).frame(START)
    with sqlite(tmp_path, frame) as (url, _):
        window = Window(START, START + 24 * HOUR)
        assert judge(by_user(), SqlSource(url, activity=SIDE), window).verdict is Verdict.PASS
        late = SqlSource(url, activity=SIDE, delay="3h", now=lambda: window.end)
        found = judge(by_user(), late, window)["minutes"]
        assert found.outcome is Outcome.INSUFFICIENT
        assert "the rows of the last 3h00m are not loaded yet" in found.reason
        # the planned end is waited for
        clock = [START]
        source = SqlSource(url, activity=SIDE, delay="3h", now=lambda: clock[0])
        monitor = Monitor(by_user(), start=START, horizon="24h")
        for hour in (1, 12, 24, 25, 26, 27):
            clock[0] = START + hour * HOUR
            look = monitor.look(source, clock[0])
            assert look.look.ended == (hour >= 27)
        assert (
            look["minutes"].comparison.users_canary
            == judge(by_user(), SqlSource(url, activity=SIDE), window)["minutes"].comparison.users_canary
        )
