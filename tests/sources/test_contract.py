"""Both of our sources keep the contract that third parties are held to."""

from contextlib import ExitStack

import pandas as pd
import pytest

from canary_judge.results import Side
from canary_judge.sources import FrameSource, PrometheusSource
from canary_judge.testing import known_data, source_checks
from tests.real_prometheus import running


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
