"""Both of our sources keep the contract that third parties are held to."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Window, judge
from canary_judge.errors import SourceError
from canary_judge.results import Outcome, Side
from canary_judge.series import Result, Series
from canary_judge.sources import FrameSource, PrometheusSource
from canary_judge.testing import known_data, source_checks
from tests.real_prometheus import running

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FrameHarness:
    def source(self, data):
        rows = [
            {"timestamp": when, "side": one.side.value, "metric": one.name, "value": value, **one.labels}
            for one in data
            for when, value in one.points
        ]
        return FrameSource(pd.DataFrame(rows), counters=[one.name for one in data if one.cumulative])

    def expression(self, name, side):
        return name


class PrometheusHarness:
    def __init__(self, url):
        self.url = url

    def source(self, data):
        assert data == known_data()
        return PrometheusSource(self.url)

    def expression(self, name, side):
        return f'{name}{{side="{side}"}}'


@pytest.fixture(scope="module")
def prometheus_url(prometheus_binaries):
    samples = [(one.name, {"side": one.side.value, **one.labels}, one.points) for one in known_data()]
    with ExitStack() as stack:
        yield stack.enter_context(running(prometheus_binaries, samples))


@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
def test_frames_keep_the_contract(check):
    check(FrameHarness())


@pytest.mark.real
@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
def test_prometheus_keeps_the_contract(check, prometheus_url):
    check(PrometheusHarness(prometheus_url))


class ForgetfulSource(FrameSource):
    def fetch(self, queries, window):
        return [type(r)(series=r.series[:0], form=r.form) for r in super().fetch(queries, window)]


class ForgetfulHarness(FrameHarness):
    def source(self, data):
        source = super().source(data)
        source.__class__ = ForgetfulSource
        return source


def test_the_kit_catches_a_source_that_loses_data():
    caught = 0
    for check in source_checks():
        try:
            check(ForgetfulHarness())
        except (AssertionError, IndexError):
            caught += 1
    assert caught >= 4


def test_sides_are_told_apart():
    harness = FrameHarness()
    source = harness.source(known_data())
    assert {side for side in Side if source._table.side(side).any()} == set(Side)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (lambda given: given[:-1], "source 'default' gave 3 answers to 4 queries"),
        (lambda given: [None, *given[1:]], "answered 'e' with a NoneType"),
        (lambda given: None, "answered 4 queries with a NoneType"),
        (lambda given: [uneven(given[0]), *given[1:]], "with 30 times and 3 values of one series"),
    ],
)
def test_a_source_that_breaks_its_contract_is_named(answers, told):
    class Broken:
        def fetch(self, queries, window):
            return answers([Result() for _ in queries])

    ratio = {"name": "e", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
    config = JudgeConfig.from_mapping({"name": "a", "interval": "1m", "metrics": [ratio]})
    with pytest.raises(SourceError, match=told):
        judge(config, Broken(), Window(NOON, NOON + timedelta(hours=1)))


def uneven(one):
    return replace(one, series=(Series(timestamps=np.arange(30), values=np.ones(3)),))


def test_answers_may_come_one_by_one():
    class Lazy:
        def fetch(self, queries, window):
            return (Result() for _ in queries)

    ratio = {"name": "e", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
    config = JudgeConfig.from_mapping({"name": "a", "interval": "1m", "metrics": [ratio]})
    assert judge(config, Lazy(), Window(NOON, NOON + timedelta(hours=1)))["e"].outcome is Outcome.NO_DATA
