"""Counts of the canary whose labels no series of the baseline has: other traffic, or an outcome that is new."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor, Verdict, Window, judge
from canary_judge.results import Side
from canary_judge.samples.makeup import foreign_series, misspelt_matcher
from canary_judge.series import Form, Result, Series, nanoseconds

BASELINE = {("prod", "200"): 9000.0, ("prod", "500"): 50.0}


def counters(amounts, names, form=Form.COUNTER):
    series = []
    for values, amount in amounts.items():
        points = np.array([7.0, 7.0 + amount]) if form is Form.COUNTER else np.array([amount / 2, amount / 2])
        labels = dict(zip(names, values, strict=True))
        series.append(Series(timestamps=np.array([1, 2]), values=points, labels=labels))
    return Result(form=form, series=tuple(series))


def found(canary, baseline=BASELINE, names=("namespace", "code"), part="total", form=Form.COUNTER):
    sides = zip(Side, (baseline, canary), strict=True)
    return foreign_series({(part, side): counters(amounts, names, form) for side, amounts in sides})


@pytest.mark.parametrize("form", [Form.COUNTER, Form.COUNTS])
def test_a_selector_without_its_namespace_is_doubted(form):
    text, surely = found({("prod", "200"): 500.0, ("prod", "500"): 9.0, ("staging", "200"): 2000.0}, form=form)
    assert text.startswith("most of the canary's `total` has namespace='staging', which no series of the baseline has")
    assert surely


def test_an_outcome_that_is_new_is_told():
    text, surely = found({("prod", "200"): 950.0, ("prod", "499"): 48.0})
    assert text.startswith("a part of the canary's `total` has code='499'")
    assert not surely


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        ({("prod", "200"): 950.0, ("prod", "500"): 20.0}, "all is known"),
        ({("prod", "200"): 950.0, ("prod", "499"): 5.0}, "too little for a word"),
        ({("blue", "200"): 950.0, ("blue", "500"): 5.0}, "it tells the versions apart"),
        ({}, "nothing"),
    ],
)
def test_what_is_as_it_should_be(canary, why):
    assert found(canary) == (None, False), why


def test_so_few_that_chance_keeps_them_from_the_baseline():
    assert found({("prod", "200"): 95.0, ("prod", "503"): 5.0}, baseline={("prod", "200"): 500.0}) == (None, False)


def test_a_route_that_was_renamed_is_told_and_not_doubted():
    text, surely = found(
        {("/v2", "200"): 800.0, ("/", "200"): 200.0},
        baseline={("/v1", "200"): 8000.0, ("/", "200"): 2000.0},
        names=("route", "code"),
    )
    assert text.startswith("most of the canary's `total` has route='/v2'")
    assert not surely


@pytest.mark.parametrize(
    "name", ["pod", "instance", "pod_name", "k8s.pod.name", "app_version", "pod_template_hash", "uid"]
)
def test_what_tells_instances_and_versions_apart_says_nothing(name):
    canary = {("web-0", "200"): 500.0, ("web-c", "200"): 500.0}
    assert found(canary, baseline={("web-0", "200"): 5000.0}, names=(name, "code")) == (None, False)


def test_of_a_histogram_all_requests_are_looked_at():
    names, baseline = ("le", "path"), {("0.1", "/"): 50.0, ("+Inf", "/"): 9000.0}
    canary = {("0.1", "/"): 5.0, ("+Inf", "/"): 500.0, ("0.1", "/new"): 1.0, ("+Inf", "/new"): 500.0}
    assert found(canary, baseline, names, "histogram")[0].startswith("most of the canary's `histogram` has path='/new'")


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ('r{version="${version}",status=~"5.."}', "no series of `total` has a label 'status', by which"),
        ('r{version="${version}",code=~"5"}', 'code=~"5" has to match all of a value, and there is 500; write 5..'),
        ('r{version="${version}",code="5xx"}', 'code="5xx" has to match all of a value, and there is 500; write 5..'),
        ('r{version="${version}",code=~"5xx"}', 'code=~"5xx" has to match all of a value, and there is 500; write 5..'),
        ('r{version="${version}",code=~"5.."}', None),
        ('r{version="${version}",code=~"4..|5.."}', None),
        ('r{version="${version}",code="503"}', None),
        ('r{version="${version}",code=~"(?P<x"}', None),
        ('other{status=~"5.."}', None),
        ("errors", None),
    ],
)
def test_a_matcher_that_finds_nothing_is_told_by_the_labels_of_the_total(events, told):
    sides = {("total", side): counters({("2", "200"): 900.0, ("2", "500"): 9.0}, ("version", "code")) for side in Side}
    found = misspelt_matcher(events, 'r{version="${version}"}', sides)
    assert (found is None) is (told is None)
    assert told is None or found.startswith(told)
    assert misspelt_matcher(events, 'r{version="${version}"}', {}) is None


class Store:
    """Counters by labels; the events are those of a code, where the selector asks for it by its name."""

    def __init__(self, paces):
        self.paces = paces  # by side, then by (namespace, code): events a minute

    def fetch(self, queries, window):
        return [self.answer(query, window) for query in queries]

    def answer(self, query, window):
        times = np.arange(nanoseconds(window.start), nanoseconds(window.end) + 1, 60 * 10**9)
        series = []
        for (namespace, code), pace in self.paces[query.side].items():
            if query.part == "events" and not ("code=" in query.expression and code.startswith("5")):
                continue
            labels = {"namespace": namespace, "code": code, "version": query.side.value}
            rng = np.random.default_rng(pace)
            rises = rng.poisson(pace, 2000).cumsum()[((times - times[0]) // (60 * 10**9)) % 2000].astype(float)
            series.append(Series(timestamps=times, values=rises + nanoseconds(window.start) / 1e11, labels=labels))
        return Result(form=Form.COUNTER, series=tuple(series))


def ratio(events, **more):
    metric = {
        "name": "errors",
        "kind": "ratio",
        "events": events,
        "total": 'r{version="${version}"}',
        "harm": "increase",
    }
    sides = {"baseline": {"version": "1"}, "canary": {"version": "2"}}
    return JudgeConfig.from_mapping(
        {"name": "shop", "interval": "1m", **sides, "metrics": [{**metric, "margin": "2x or +1pp", **more}]}
    )


BASE = {("prod", "200"): 9000, ("prod", "500"): 30}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("by_looks", [False, True])
def test_counts_of_another_namespace_are_no_pass(by_looks):
    code = 'r{version="${version}",code=~"5.."}'
    for extra, verdict in (({}, Verdict.PASS), ({("staging", "200"): 4000}, Verdict.MARGINAL)):
        store = Store({Side.BASELINE: BASE, Side.CANARY: {("prod", "200"): 1000, ("prod", "500"): 3, **extra}})
        if by_looks:
            monitor = Monitor(ratio(code), start=NOON, horizon="1h")
            found = [monitor.look(store, NOON + timedelta(minutes=m)) for m in range(1, 61)][-1]
        else:
            found = judge(ratio(code), store, Window(NOON, NOON + timedelta(hours=1)))
        assert found.verdict is verdict
        assert ("namespace='staging'" in found["errors"].reason) is bool(extra)


def test_events_that_are_none_because_of_a_misspelt_matcher_are_no_pass():
    store = Store({Side.BASELINE: BASE, Side.CANARY: {("prod", "200"): 1000, ("prod", "500"): 60}})
    asked = ratio('r{version="${version}",status=~"5.."}', absent_is_zero=True)
    found = judge(asked, store, Window(NOON, NOON + timedelta(hours=1)))
    assert found.verdict is Verdict.MARGINAL
    assert "no series of `total` has a label 'status'" in found["errors"].reason
