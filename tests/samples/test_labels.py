"""What labels tell of counts: buckets that are no counts, labels that one version lacks, pods behind one scraper."""

from dataclasses import replace

import numpy as np
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.results import Side
from canary_judge.samples import collect
from canary_judge.series import Form, Result
from tests.samples.test_counts import MINUTE, RATIO, START, N, counting

REQUESTS = {**RATIO, "events": 'r_total{v="${v}",code=~"5.."}', "total": 'r_total{v="${v}"}'}


def collected(metric, answer):
    config = JudgeConfig.from_mapping(
        {"name": "t", "interval": "1m", "metrics": [metric], "baseline": {"v": "1"}, "canary": {"v": "2"}}
    )
    answers = [(query, answer(query)) for query in config.queries()]
    return collect(config, Window(START, START + N * MINUTE), answers).metrics["m"]


@pytest.mark.parametrize(("bounds", "refused"), [(("0.1", "+Inf"), True), (("+Inf",), False), (("1", "1.0"), False)])
def test_a_total_of_buckets_counts_each_request_many_times(bounds, refused):
    def answer(query):
        names = bounds if query.part == "total" else ("+Inf",)
        return Result(series=tuple(counting(np.full(N, 9.0), le=le) for le in names), form=Form.COUNTER)

    found = collected(RATIO, answer)
    assert (found.error is not None and "2 buckets (`le`) of a histogram" in found.error) == refused


def requests(label, share=0.01, **more):
    return (
        counting(np.full(N, 1000.0), **{label: "200"}, **more),
        counting(np.full(N, 1000.0 * share), **{label: "500"}, **more),
    )


@pytest.mark.parametrize("renamed", list(Side))
def test_a_label_that_one_version_renamed_is_found_by_the_series_of_the_other(renamed):
    def answer(query):
        series = requests("status" if query.side is renamed else "code")
        if query.part == "events":
            series = series[1:] if query.side is not renamed else ()
        return Result(series=series, form=Form.COUNTER)

    found = collected(REQUESTS, answer)
    assert found.error is not None
    assert f"{renamed}: no series of r_total has the label `code`" in found.error


def test_a_label_that_only_failures_carry_is_no_renamed_one():
    """OpenTelemetry's `error_type`: the canary has not failed yet."""
    metric = {**REQUESTS, "events": 'r_total{v="${v}",error_type=~".+"}'}

    def answer(query):
        version = dict(query.labels)
        whole = counting(np.full(N, 1000.0), code="200", **version)
        failed = (counting(np.full(N, 5.0), code="500", error_type="timeout", **version),)
        failed = failed if query.side is Side.BASELINE else ()
        return Result(series=failed if query.part == "events" else (whole, *failed), form=Form.COUNTER)

    assert collected(metric, answer).error is None
    # nor one of another metric, or one that is asked not to be something
    other = {**REQUESTS, "events": 'failures_total{v="${v}",reason="x"}'}
    assert collected(other, answer).error is None
    empty = {**REQUESTS, "events": 'r_total{v="${v}",error_type=~".*",code=~"|5.."}'}
    assert collected(empty, answer).error is None
    negative = {**REQUESTS, "events": 'r_total{v="${v}",error_type!=""}'}
    assert collected(negative, answer).error is None


def test_a_rate_counts_pods_and_not_who_was_scraped_for_them():
    metric = {"name": "m", "kind": "rate", "events": "restarts", "harm": "increase", "margin": "1.5x"}

    def answer(query):
        pods = 10 if query.side is Side.BASELINE else 1
        series = tuple(counting(np.ones(N), instance="kube-state-metrics:8080", pod=f"p{k}") for k in range(pods))
        series = tuple(replace(one, labels={**one.labels, **dict(query.labels)}) for one in series)
        return Result(series=series, form=Form.COUNTER)

    counts = collected(metric, answer).data.counts
    assert counts.exposure_baseline.sum() == pytest.approx(10 * counts.exposure_canary.sum())
