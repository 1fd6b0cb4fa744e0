"""Every answer of the real Kayenta judge that was recorded: 1594 of them, label for label.

Where both sides are constant Kayenta adds noise without a seed; there the label must be one that it was seen to give,
and the ratio must lie in the range that was seen.
"""

import gzip
import json
import math
from collections import Counter
from pathlib import Path

import pytest

from canary_judge.errors import DataError
from canary_judge.kayenta import CanaryConfig, MetricSetPair, Request, Thresholds, judge

VECTORS = Path(__file__).parents[1] / "data" / "kayenta_judge.jsonl.gz"
LABELS = {"Pass", "High", "Low", "Nodata", "NodataFailMetric", "Error"}


def rows():
    with gzip.open(VECTORS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def answer(row):
    """Our result object; None where we raise."""
    if row["kind"] == "judge":
        config, pairs, thresholds = row["canaryConfig"], row["metricSetPairs"], row["thresholds"]
    else:
        metric = {"name": "m", "groups": ["g"], "analysisConfigurations": row["analysis"]}
        config = {"metrics": [metric], "classifier": {"groupWeights": {"g": 100}}}
        pairs = [{"name": "m", "id": "m", "values": {"control": row["control"], "experiment": row["experiment"]}}]
        thresholds = {"pass": 95, "marginal": 75}
    try:
        request = Request.from_mapping(
            {"canaryConfig": config, "scoreThresholds": thresholds, "metricSetPairList": pairs}
        )
        return judge(request.config, request.pairs, request.thresholds).to_mapping()
    except DataError:
        return None


def metric_differences(ours, expected):
    found = []
    for field in ("name", "id", "tags", "classification", "groups", "critical", "muted"):
        if ours[field] != expected[field]:
            found.append(field)
    for field in ("classificationReason", "resultMetadata"):
        if ours.get(field) != expected.get(field):
            found.append(field)
    for field in ("controlMetadata", "experimentMetadata"):
        if ours[field] != expected[field]:
            found.append(field)
    return found


def differences(row, ours):
    if "thrown" in row or ours is None:
        return [] if "thrown" in row and ours is None else ["raises"]
    expected = row["expected"]
    if row["kind"] == "judge":
        found = [metric_differences(*pair) for pair in zip(ours["results"], expected["results"], strict=True)]
        if {group["name"]: group for group in ours["groupScores"]} != {g["name"]: g for g in expected["groupScores"]}:
            found.append(["groupScores"])
        if (ours["score"], ours["judgeName"]) != (expected["score"], expected["judgeName"]):
            found.append(["score"])
        return [field for fields in found for field in fields]
    got = ours["results"][0]
    as_result = {
        **{field: got[field] for field in ("name", "id", "tags", "groups")},
        "classification": expected["classification"],
        "critical": expected["critical"],
        "muted": expected["muted"],
        "controlMetadata": {"stats": expected["controlStats"]},
        "experimentMetadata": {"stats": expected["experimentStats"]},
    }
    if expected["classificationReason"] is not None:
        as_result["classificationReason"] = expected["classificationReason"]
    if expected["ratio"] is not None:
        as_result["resultMetadata"] = {"ratio": expected["ratio"]}
    if "noise" not in row:
        return metric_differences(got, as_result)
    seen = row["noise"]
    ignored = {"classification", "classificationReason", "resultMetadata", "critical"}
    found = [field for field in metric_differences(got, as_result) if field not in ignored]
    if got["classification"] not in seen["classifications"]:
        found.append("classification")
    if got["critical"] not in seen["critical"]:
        found.append("critical")
    if "resultMetadata" in got and "ratio_min" in seen:
        low, high, ratio = (float(seen["ratio_min"]), float(seen["ratio_max"]), float(got["resultMetadata"]["ratio"]))
        if not low - 1e-4 * abs(low) <= ratio <= high + 1e-4 * abs(high):
            found.append("ratio")
    return found


@pytest.fixture(scope="module")
def judged():
    return [(row, answer(row)) for row in rows()]


def test_all_1594_recorded_answers_agree(judged):
    assert len(judged) == 1594
    assert {row["id"]: found for row, ours in judged if (found := differences(row, ours))} == {}


def test_the_recorded_answers_cover_every_label_and_every_kind(judged):
    seen = Counter(result["classification"] for _, ours in judged if ours for result in ours["results"])
    assert set(seen) == LABELS
    assert min(seen.values()) >= 20
    assert sum("thrown" in row for row, _ in judged) == 15
    assert sum("noise" in row for row, _ in judged) == 96


def test_a_wrong_label_would_be_seen(judged):
    row, ours = next((row, ours) for row, ours in judged if row["kind"] == "metric" and "expected" in row)
    wrong = json.loads(json.dumps(ours))
    wrong["results"][0]["classification"] = "High" if ours["results"][0]["classification"] != "High" else "Low"
    assert differences(row, wrong) == ["classification"]


def test_the_intervals_equal_the_recorded_ones_to_the_last_bit():
    compared = 0
    for row in rows():
        if row["kind"] != "metric" or "mw" not in row or "noise" in row:
            continue
        metric = {"name": "m", "groups": ["g"], "analysisConfigurations": row["analysis"]}
        config = CanaryConfig.from_mapping({"metrics": [metric], "classifier": {}})
        values = {"control": row["control"], "experiment": row["experiment"]}
        pair = MetricSetPair.from_mapping({"name": "m", "values": values})
        shift = judge(config, [pair], Thresholds(pass_=95, marginal=75)).results[0].shift
        if shift is None or math.isnan(shift.lower):  # decided before, or an infinite value
            continue
        compared += 1
        assert [shift.lower, shift.upper, shift.estimate] == [row["mw"][end] for end in ("lower", "upper", "estimate")]
    assert compared >= 900
