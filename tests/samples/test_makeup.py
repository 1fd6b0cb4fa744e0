"""Counts of the canary whose labels no series of the baseline has: other traffic, or an outcome that is new."""

import numpy as np
import pytest

from canary_judge.results import Side
from canary_judge.samples.makeup import foreign_series
from canary_judge.series import Form, Result, Series

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
