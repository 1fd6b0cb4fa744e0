"""Any store over HTTP: the recipes of the documentation on answers written after the vendors', and what may go wrong."""

import json

import numpy as np
import pytest

from canary_judge import JudgeConfig
from canary_judge.results import Side
from canary_judge.series import Form, Reading
from tests.sources.http_server import POINTS, WINDOW, answered, minutes, plain, query, recipe, serving, source_of, told

VENDORS = {
    # what the third minute, in which nothing is known, becomes
    "datadog": 0.0,
    "new relic": 0.0,
    "graphite": np.nan,
    "influxdb": np.nan,
    "cloudwatch": 0.0,
    "elasticsearch": 0.0,
    "signalfx": 0.0,
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_recipe_reads_the_answer_of_its_vendor(vendor):
    config, files = recipe(vendor), answered(vendor.replace(" ", ""))
    answer = json.loads(
        json.dumps(files["answer"]).replace("per_minute", "per_step").replace('"errors": 4', '"value": 4')
    )
    text = json.dumps(answer)
    if vendor == "new relic":
        text = json.dumps(files["answer"]).replace('"errors"', '"value"')
    with serving(json.loads(text)) as server:
        metric = JudgeConfig.from_mapping({key: value for key, value in config.items() if key != "sources"})
        asked = next(one for one in metric.queries() if one.side is Side.CANARY and one.part == "events")
        (result,) = source_of(config, server.url).fetch([asked], WINDOW)
        found = minutes(result)
        assert result.form is Form.COUNTS
        assert result.complete
        expected = {1: 4.0, 2: 7.0, 3: VENDORS[vendor], 4: 3.0, 5: 0.0, 6: 5.0}
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(list(found.values()), list(expected.values()))
        sent = json.dumps([server.asked[0]["parameters"], server.asked[0]["body"]])
        assert "${" not in sent.replace("$secret", "")
        assert "2.4.1" in sent or "canary" in sent
        assert "1794960" in sent or "2026-11-18T00:00:00Z" in sent


@pytest.mark.parametrize(("vendor", "name", "told"), [
    ("datadog", "error", ""), ("new relic", "error", ""), ("influxdb", "error", ""), ("elasticsearch", "error", ""),
    ("signalfx", "error", ""), ("cloudwatch", "error", ""), ("graphite", "error", ""),
])  # fmt: skip
def test_errors_of_vendors_are_errors(vendor, name, told):
    answer = answered(vendor.replace(" ", ""))[name]
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url, timeout=5.0).fetch([query()], WINDOW)
        assert result.error, answer
        assert not result.series


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("elasticsearch", "error_200_shards"),
        ("elasticsearch", "error_200_timed_out"),
        ("influxdb", "partial"),
        ("cloudwatch", "error_200"),
    ],
)
def test_what_is_not_whole_is_no_evidence_of_health(vendor, name):
    answer = json.loads(json.dumps(answered(vendor)[name]).replace("per_minute", "per_step"))
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert result.error or not result.complete, answer


@pytest.mark.parametrize("vendor", ["datadog", "graphite", "influxdb", "cloudwatch", "elasticsearch", "signalfx"])
def test_nothing_that_matches_is_no_series(vendor):
    answer = json.loads(json.dumps(answered(vendor)["empty"]).replace("per_minute", "per_step"))
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert sum(float(np.nansum(one.values)) for one in result.series) == 0
        if vendor != "elasticsearch":  # whose empty buckets are zeros
            assert result.series == ()


@pytest.mark.parametrize("vendor", ["datadog", "graphite", "cloudwatch"])
def test_several_series_are_kept_apart(vendor):
    answer = answered(vendor)["several"]
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert len(result.series) > 1
        assert len({tuple(one.labels.items()) for one in result.series}) == len(result.series)


def test_rows_of_one_point_each_are_grouped_by_their_labels():
    rows = answered("newrelic")["several"]
    options = {
        "series": None,
        "rows": "data.actor.account.nrql.results",
        "labels": {"instance": "facet"},
        "times": "beginTimeSeconds",
        "values": "errors",
    }
    with serving(rows) as server:
        (result,) = source_of(recipe("new relic"), server.url, **options).fetch([query()], WINDOW)
        assert len(result.series) > 1
        assert all(one.instance for one in result.series)


def test_times_without_a_zone_need_one_to_be_said():
    rows = answered("influxdb")["answer_v3"]
    options = {"rows": "@", "times": "time", "values": "errors", "time_unit": "iso", "failed": None, "complete": None}
    with serving(rows) as server:
        (refused,) = source_of(recipe("influxdb"), server.url, **options).fetch([query()], WINDOW)
        assert "no time zone" in refused.error
        (result,) = source_of(recipe("influxdb"), server.url, **options, timezone="UTC").fetch([query()], WINDOW)
        found = minutes(result)
        assert {key: found[key] for key in (1, 2, 4, 5, 6)} == {1: 4.0, 2: 7.0, 4: 3.0, 5: 0.0, 6: 5.0}


def test_pages_are_read_to_the_last():
    files = answered("cloudwatch")
    with serving(files["page1"], files["page2"]) as server:
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert minutes(result) == {1: 4.0, 2: 7.0, 3: 0.0, 4: 3.0, 5: 0.0, 6: 5.0}
        assert result.complete
        assert "NextToken" not in server.asked[0]["body"]
        assert server.asked[1]["body"]["NextToken"] == files["page1"]["NextToken"]
    with serving(files["page1"]) as server:  # the same again
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert "a page repeats points" in result.error
    empty = {**files["page1"], "MetricDataResults": []}
    with serving(empty) as server:  # without end
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert "100 pages" in result.error


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"times": [1794960000], "values": [1, 2]}, "`times` finds 1 and `values` 2"),
        ({"times": [1794960000000], "values": [1]}, "no time in s since 1970"),
        ({"times": [17949600], "values": [1]}, "no time in s since 1970"),
        ({"times": [True], "values": [1]}, "no number"),
        ({"times": ["soon"], "values": [1]}, "'soon'"),
        ({"times": [1794960000], "values": ["many"]}, "no number"),
        ({"times": [1794960000], "values": [False]}, "no number"),
        ({"times": {"a": 1}, "values": [1]}, "finds no list"),
        (
            {"times": [1794960000 + 300 * k for k in range(5)], "values": [1] * 5},
            "in steps of 300 s where 60 s were asked",
        ),
    ],
)
def test_an_answer_of_another_shape_is_an_error(answer, text):
    assert text.replace("'", "") in told(answer).replace("'", "").replace('"', "")


def test_a_path_that_does_not_fit_is_told():
    assert "does not fit the answer" in told({"times": None}, times="map(&[0], times)")
    assert "`times` finds" not in told({"times": None, "values": None})  # nothing is no series


def test_nulls_are_gaps_or_zeros():
    answer = {**POINTS, "values": [4, None, 1, 3, 0, 5]}
    with serving(answer) as server:
        gap, zero = (plain(server.url, nulls=kind).fetch([query()], WINDOW)[0] for kind in ("gap", "zero"))
        assert np.isnan(minutes(gap)[2])
        assert minutes(zero)[2] == 0.0


def test_starts_ends_and_moments():
    with serving(POINTS) as server:
        start, end = (
            minutes(plain(server.url, time_is=kind).fetch([query()], WINDOW)[0])
            for kind in ("bucket_start", "bucket_end")
        )
        assert start == dict(enumerate([4.0, 7.0, 1.0, 3.0, 0.0, 5.0], 1))
        assert end == {1: 7.0, 2: 1.0, 3: 3.0, 4: 0.0, 5: 5.0, 6: 0.0}  # the first one is of the minute before


def test_levels_and_samples_stay_where_they_are():
    with serving(POINTS) as server:
        (level,) = plain(server.url).fetch([query(reading=Reading.LEVEL, part="value")], WINDOW)
        assert level.form is Form.LEVEL
        assert minutes(level) == {1: 7.0, 2: 1.0, 3: 3.0, 4: 0.0, 5: 5.0}


@pytest.mark.parametrize("done", [True, False])
def test_an_answer_that_is_not_complete_is_of_the_same_kind(done):
    """Where no row means no event, that is so of a part, too."""
    with serving({"rows": [], "done": done}) as server:
        (result,) = plain(server.url, complete="done", rows="rows").fetch([query()], WINDOW)
    assert (result.sparse, result.complete) == (True, done)
