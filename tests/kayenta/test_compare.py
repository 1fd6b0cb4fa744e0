"""Both judges side by side: the verdicts, and a sentence that says why they differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from canary_judge.__main__ import main
from canary_judge.kayenta import Request, compare, judge
from canary_judge.results import Outcome, Verdict

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def request(control, experiment, tags=None, **settings):
    values = {"control": [*map(float, control)], "experiment": [*map(float, experiment)]}
    values = {
        side: ["NaN" if np.isnan(v) else "Infinity" if np.isinf(v) else v for v in given]
        for side, given in values.items()
    }
    return {
        "canaryConfig": {
            "name": "shop",
            "metrics": [
                {"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": {"critical": True, **settings}}}
            ],
            "classifier": {"groupWeights": {"g": 100}},
        },
        "scoreThresholds": {"pass": 95, "marginal": 75},
        "metricSetPairList": [{"name": "m", "id": "1", "tags": tags or {}, "values": values}],
    }


def autocorrelated(rng, n):
    noise = rng.normal(size=n)
    for i in range(1, n):
        noise[i] += 0.9 * noise[i - 1]
    return 100 + noise


RNG = np.random.default_rng(5)
CASES = {
    "autocorrelation": (
        request(autocorrelated(RNG, 240), autocorrelated(RNG, 240) + 2),
        "High",
        {Outcome.SAFE, Outcome.INSUFFICIENT, Outcome.TOLERABLE},
        "each resembles the one before",
    ),
    "a tiny shift of many values": (
        request(RNG.normal(100, 1, 500), RNG.normal(101, 1, 500)),
        "High",
        {Outcome.TOLERABLE, Outcome.SAFE},
        "it fails any shift that it can see",
    ),
    "two values": (request([100, 101], [103, 104]), "High", {Outcome.INSUFFICIENT}, "just the range of the data"),
    "one infinite value": (
        request(RNG.normal(100, 5, 60), [*RNG.normal(200, 5, 59), np.inf], direction="increase"),
        "Pass",
        {Outcome.REGRESSED},
        "one infinite value silences Kayenta's test",
    ),
    "negative values": (
        request(RNG.normal(-52, 3, 60), RNG.normal(-11, 3, 60), direction="increase"),
        "Pass",
        {Outcome.REGRESSED},
        "that ratio runs backwards",
    ),
    "sparse counts": (
        json.loads((EXAMPLES / "kayenta_missed.json").read_text()),
        "Pass",
        {Outcome.REGRESSED},
        "beyond a quarter of its own estimate",
    ),
    "fractions of a millisecond": (
        request(RNG.lognormal(-12, 0.2, 60), RNG.lognormal(-11.5, 0.2, 60), direction="increase"),
        "Pass",
        {Outcome.REGRESSED},
        "it is blind here",
    ),
    "an allowed ratio of means": (
        request(
            RNG.normal(100, 5, 60), RNG.normal(140, 5, 60), direction="increase", effectSize={"allowedIncrease": 1.6}
        ),
        "Pass",
        {Outcome.SAFE, Outcome.TOLERABLE},
        "",
    ),
    "too few values": (
        request(RNG.normal(100, 5, 8), RNG.normal(100, 5, 8)),
        "Pass",
        {Outcome.INSUFFICIENT},
        "on any amount of data",
    ),
    "an empty side, NaN replaced": (
        request([], RNG.normal(100, 5, 60), nanStrategy="replace", mustHaveData=True),
        "Pass",
        {Outcome.NO_DATA},
        "passes a side without data",
    ),
    "one value a side": (request([100.5], [101.5]), "Error", {Outcome.INSUFFICIENT}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_each_known_difference_is_explained(case):
    data, label, outcomes, said = CASES[case]
    found = compare(data)
    row = found.metrics[0]
    assert row.kayenta == label
    assert row.outcome in outcomes
    assert said in row.why
    assert row.agree is (not said)
    assert ("<- differ" in found.explain()) is bool(said)


def test_kayentas_half_is_exactly_its_judge():
    data = CASES["autocorrelation"][0]
    read = Request.from_mapping(data)
    assert compare(data).kayenta.to_mapping() == judge(read.config, read.pairs, read.thresholds).to_mapping()


def test_every_tagged_pair_is_a_metric_of_its_own_and_a_skipped_one_is_shown():
    data = request(RNG.normal(100, 5, 60), RNG.normal(100, 5, 60), tags={"zone": "a"})
    other = json.loads(json.dumps(data["metricSetPairList"][0])) | {"tags": {"zone": "b"}}
    data["metricSetPairList"].append(other)
    data["metricSetPairList"].append(dict(other))
    data["canaryConfig"]["metrics"].append({"name": "gone", "groups": ["g"]})
    found = compare(data)
    assert [row.metric for row in found.metrics] == ["m {zone=a}", "m {zone=b}", "m {zone=b} #2", "gone"]
    assert found.metrics[3].kayenta is None
    assert "skips a metric without data in silence" in found.metrics[3].why


@pytest.mark.parametrize("key", ["startTimeMillis", "stepMillis"])
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e300, 10**400], ids=["NaN", "infinite", "1e300", "10^400"]
)
def test_a_time_that_is_none_is_an_error_that_names_it(tmp_path, capsys, key, value):
    data = request([100.0] * 30, [100.0] * 30)
    scope = {"startTimeMillis": 1767268800000, "stepMillis": 60_000}
    data["metricSetPairList"][0]["scopes"] = {"control": scope, "experiment": {**scope, key: value}}
    (tmp_path / "request.json").write_text(json.dumps(data))
    assert main(["kayenta", "compare", str(tmp_path / "request.json")]) == 1
    told = capsys.readouterr().err
    assert f"scopes.experiment.{key} is {str(value)[:20]}; give milliseconds" in told


def test_where_kayenta_raises_ours_still_judges():
    data = request(RNG.normal(100, 5, 60), RNG.normal(100, 5, 60))
    del data["canaryConfig"]["classifier"]
    found = compare(data)
    assert found.kayenta is None
    assert found.judgement.verdict is Verdict.PASS
    assert "no verdict: classifier is missing" in found.explain()


@pytest.mark.parametrize(
    ("name", "kayenta", "ours"), [("false_alarm", "Fail", Verdict.PASS), ("missed", "Pass", Verdict.FAIL)]
)
def test_the_recorded_examples_differ_as_the_documents_say(name, kayenta, ours):
    found = compare(json.loads((EXAMPLES / f"kayenta_{name}.json").read_text()))
    assert (found.kayenta.classification, found.judgement.verdict) == (kayenta, ours)


# --- the command line --------------------------------------------------------------------------------------------


def test_judge_prints_kayentas_result_and_exits_by_its_verdict(tmp_path, capsys):
    file = tmp_path / "r.json"
    file.write_text(json.dumps(CASES["two values"][0]))
    assert main(["kayenta", "judge", str(file)]) == 2
    assert json.loads(capsys.readouterr().out)["score"]["classification"] == "Fail"
    file.write_text("{")
    assert main(["kayenta", "judge", str(file)]) == 1
    assert "is no valid JSON" in json.loads(capsys.readouterr().out)["error"]


def test_judge_answers_line_by_line(tmp_path, capsys):
    file = tmp_path / "r.jsonl"
    good = json.dumps(CASES["too few values"][0])
    file.write_text(f"{good}\n\nnonsense\n{{}}\n{good}\n")
    assert main(["kayenta", "judge", str(file), "--lines"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [min(answer) for answer in answers] == ["groupScores", "error", "error", "groupScores"]


def test_what_a_spreadsheet_or_a_shell_does_to_requests(tmp_path, capsys, monkeypatch):
    file, good = tmp_path / "r.jsonl", json.dumps(CASES["too few values"][0])
    file.write_text(f"{good}\n{good}\n", encoding="utf-8-sig")
    assert main(["kayenta", "judge", str(file), "--lines"]) == 0
    assert [min(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == ["groupScores"] * 2
    monkeypatch.setattr("sys.stdin", None)
    assert main(["kayenta", "judge"]) == 1
    assert "standard input is closed; name a file" in capsys.readouterr().err


def test_a_full_disk_is_no_fault_of_the_requests(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text(f"{json.dumps(CASES['too few values'][0])}\n")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "canary_judge", "kayenta", "judge", str(file), "--lines"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "canary-judge: error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", [["judge", "--format", "text"], ["judge", "--format", "json"]])
def test_letters_that_a_terminal_lacks_cost_no_exit_code(tmp_path, command):
    times = [f"2026-01-01T12:{minute:02}:00Z" for minute in range(30)]
    rows = [f"{at},{side},1000,{10 if side == 'baseline' else 200}" for at in times for side in ("baseline", "canary")]
    (tmp_path / "t.csv").write_text("timestamp,side,requests,errors\n" + "\n".join(rows))
    metric = {"name": "Überläufe ✓", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
    config = {"name": "läden", "interval": "1m", "metrics": [metric | {"margin": "1.5x"}]}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    asked = [command[0], str(tmp_path / "c.yaml"), "--data", str(tmp_path / "t.csv"), *command[1:]]
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-m", "canary_judge", *asked],
            check=False,
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        )
        assert done.returncode == 2, done.stderr
        assert b"berl" in done.stdout


def test_compare_prints_text_or_json(capsys):
    assert main(["kayenta", "compare", str(EXAMPLES / "kayenta_missed.json")]) == 0
    assert capsys.readouterr().out.startswith("Kayenta     PASS  score 100\ncalibrated  FAIL  score 0  ->  roll back")
    assert main(["kayenta", "compare", str(EXAMPLES / "kayenta_missed.json"), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["kayenta"]["score"]["classification"], data["calibrated"]["verdict"]) == ("Pass", "fail")


def test_convert_prints_a_config_that_check_accepts(tmp_path, capsys):
    request = json.loads((EXAMPLES / "kayenta_missed.json").read_text())
    (tmp_path / "k.json").write_text(json.dumps(request["canaryConfig"]))
    assert main(["kayenta", "convert", str(tmp_path / "k.json"), "--interval", "10s"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert main(["check", str(tmp_path / "c.yaml"), "--baseline", "scope=v1", "--canary", "scope=v2"]) == 0
    assert 'avg(errors_4xx_5xx{version="v2"})' in capsys.readouterr().out
    assert main(["kayenta", "convert", str(tmp_path / "k.json"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["name"] == "apache_log"


@pytest.mark.parametrize("command", ["judge", "compare", "convert"])
def test_a_missing_file_is_one_line(command, capsys):
    assert main(["kayenta", command, "/nowhere.json"]) == 1
    assert capsys.readouterr().err.startswith("canary-judge: error: /nowhere.json: cannot be read")
