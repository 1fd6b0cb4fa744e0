"""Properties of the Kayenta judge that no recorded answer shows: nothing crashes it, JSON survives, noise is seeded."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.errors import DataError
from canary_judge.kayenta import (
    CanaryConfig,
    CanaryJudgeResult,
    MetricSetPair,
    Request,
    Thresholds,
    judge,
    parse_json,
    to_json,
)

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 5),
    st.sampled_from(["NaN", "Infinity", "-Infinity", math.nan, math.inf, 1e308, -1e308, 5e-324]),
)
VALUES = st.lists(NUMBERS, max_size=12)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.one_of(st.sampled_from(["increase", "decrease", "either", "up"]), ANYTHING),
        "nanStrategy": st.sampled_from(["remove", "replace", "x"]),
        "outliers": st.one_of(
            st.fixed_dictionaries(
                {"strategy": st.sampled_from(["remove", "keep"])}, optional={"outlierFactor": NUMBERS}
            ),
            ANYTHING,
        ),
        "critical": st.booleans(),
        "mustHaveData": st.booleans(),
        "muted": st.one_of(st.booleans(), ANYTHING),
        "effectSize": st.one_of(
            st.fixed_dictionaries(
                {"measure": st.sampled_from(["meanRatio", "cles"])},
                optional={"allowedIncrease": NUMBERS, "criticalDecrease": NUMBERS},
            ),
            ANYTHING,
        ),
    },
)
METRIC = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"]), "groups": st.lists(st.sampled_from(["g", "h"]), max_size=2)},
    optional={"analysisConfigurations": st.one_of(SETTINGS.map(lambda s: {"canary": s}), ANYTHING)},
)
PAIR = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"]), "values": st.fixed_dictionaries({"control": VALUES, "experiment": VALUES})},
    optional={"id": st.text(max_size=3), "tags": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)},
)
REQUEST = st.fixed_dictionaries(
    {
        "canaryConfig": st.fixed_dictionaries(
            {"metrics": st.lists(METRIC, max_size=3)},
            optional={
                "classifier": st.fixed_dictionaries({"groupWeights": st.dictionaries(st.sampled_from("ghi"), NUMBERS)})
            },
        ),
        "scoreThresholds": st.fixed_dictionaries({"pass": NUMBERS, "marginal": NUMBERS}),
        "metricSetPairList": st.lists(PAIR, max_size=4),
    }
)


@settings(max_examples=200)
@given(REQUEST)
def test_any_request_is_judged_or_refused_and_its_json_round_trips(data):
    try:
        request = Request.from_mapping(data)
        result = judge(request.config, request.pairs, request.thresholds)
    except DataError:
        return
    text = to_json(result.to_mapping())
    assert "NaN," not in text.replace('"NaN",', "")
    again = CanaryJudgeResult.from_mapping(json.loads(text))
    assert to_json(again.to_mapping()) == text
    assert judge(request.config, request.pairs, request.thresholds).to_mapping() == result.to_mapping()


@settings(max_examples=200)
@given(ANYTHING)
def test_whatever_is_no_request_is_refused_with_a_message(data):
    with pytest.raises(DataError, match=r"\w"):
        Request.from_mapping(data)


@settings(max_examples=200)
@given(PAIR)
def test_a_pair_survives_json_with_non_finite_numbers(data):
    pair = MetricSetPair.from_mapping(data)
    text = to_json(pair.to_mapping())
    again = MetricSetPair.from_mapping(parse_json(text))
    np.testing.assert_array_equal(again.baseline, pair.baseline)
    np.testing.assert_array_equal(again.canary, pair.canary)
    assert to_json(again.to_mapping()) == text


def request(control, experiment, **settings):
    return {
        "canaryConfig": {
            "metrics": [{"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": settings}}],
            "classifier": {"groupWeights": {"g": 100}},
        },
        "scoreThresholds": {"pass": 95, "marginal": 75},
        "metricSetPairList": [{"name": "m", "values": {"control": control, "experiment": experiment}}],
    }


def judged(data):
    read = Request.from_mapping(data)
    return judge(read.config, read.pairs, read.thresholds)


def test_noise_comes_from_the_generator_that_is_passed():
    read = Request.from_mapping(request([5.0] * 10, [5.0001] * 10))
    labels = [
        judge(read.config, read.pairs, read.thresholds, rng=np.random.default_rng(seed)).results[0].classification
        for seed in range(60)
    ]
    assert set(labels) == {"High", "Pass"}  # Kayenta's own answer is a coin flip here
    fixed = {judge(read.config, read.pairs, read.thresholds).results[0].ratio for _ in range(3)}
    assert len(fixed) == 1


def test_one_infinite_value_silences_a_metric_as_it_does_in_kayenta():
    data = request([1.0, 2.0, 3.0, 4.0, 5.0] * 4, [10.0, 20.0, 30.0, 40.0, "Infinity"] * 4)
    assert judged(data).results[0].classification == "Pass"


def test_the_first_metric_of_a_name_is_the_one_that_counts():
    data = request([1.0, 2, 3, 4, 5], [11.0, 12, 13, 14, 15], direction="decrease")
    data["canaryConfig"]["metrics"].append({"name": "m", "groups": ["g"]})
    assert judged(data).results[0].classification == "Pass"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("canaryConfig"), "the request has no `canaryConfig`"),
        (lambda d: d.pop("metricSetPairList"), "metricSetPairList: is missing"),
        (lambda d: d["scoreThresholds"].pop("pass"), "scoreThresholds.pass: is missing"),
        (lambda d: d["canaryConfig"].pop("classifier"), "classifier is missing"),
        (lambda d: d["canaryConfig"]["metrics"][0].pop("groups"), "groups is missing"),
        (lambda d: d["metricSetPairList"][0].update(name="z"), "pair 'z' has no metric in the canary config"),
        (lambda d: d["metricSetPairList"][0]["values"].pop("control"), "values.control: is missing"),
        (lambda d: d["metricSetPairList"][0]["values"].update(control=[1, "x"]), r"control\[1\]: is 'x'"),
        (lambda d: d["metricSetPairList"][0]["values"].update(control=[1, None]), r"control\[1\]: is missing"),
    ],
)
def test_what_kayenta_cannot_judge_is_refused_by_name(change, message):
    data = request([1.0, 2, 3], [4.0, 5, 6])
    change(data)
    with pytest.raises(DataError, match=message):
        judged(data)


def test_thresholds_of_the_config_are_read_by_nobody():
    data = request([1.0, 2, 3], [4.0, 5, 6])
    data["canaryConfig"]["classifier"]["scoreThresholds"] = {"pass": "high"}
    assert judged(data).classification == "Fail"


def test_common_language_effect_size_overflows_as_32_bit_products_do():
    rng = np.random.default_rng(0)
    n = 33_000
    config = CanaryConfig.from_mapping(
        request([], [], effectSize={"measure": "cles", "allowedIncrease": 0.6})["canaryConfig"]
    )
    pair = MetricSetPair(name="m", baseline=rng.normal(10, 1, n), canary=rng.normal(12, 1, n))
    result = judge(config, [pair], Thresholds(pass_=95, marginal=75))
    assert result.results[0].classification == "Pass"  # 92 % of the pairs are higher, but 2 n m is negative
