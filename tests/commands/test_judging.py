"""What people type, what they see, and the exit codes that scripts rely on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import canary_judge
from canary_judge.__main__ import main
from canary_judge.results import Judgement

DEMO = Path(canary_judge.__file__).parent / "data"
CONFIG = """
name: shop
interval: 1m
metrics:
  - {name: heap, kind: gauge, query: heap, harm: increase, margin: 10%, unit: MB, business: true}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)

    def make(factor, n=60):
        times = pd.date_range("2026-01-01", periods=n, freq="1min", tz="UTC")
        rng = np.random.default_rng(1)
        table = pd.concat(
            [
                pd.DataFrame({"timestamp": times, "side": s, "heap": rng.normal(100 * f, 3, n)})
                for s, f in (("baseline", 1), ("canary", factor))
            ]
        )
        table.to_csv(tmp_path / f"{factor}-{n}.csv", index=False)
        return ["judge", str(tmp_path / "c.yaml"), "--data", str(tmp_path / f"{factor}-{n}.csv")]

    return make


@pytest.mark.parametrize(
    ("factor", "n", "code", "first"),
    [(1.0, 60, 0, "PASS"), (2.0, 60, 2, "FAIL"), (1.1, 60, 3, "MARGINAL"), (1.0, 5, 4, "MARGINAL")],
)
def test_exit_codes_tell_the_verdict(files, capsys, factor, n, code, first):
    assert main(files(factor, n)) == code
    printed = capsys.readouterr()
    assert printed.out.startswith(first)
    assert printed.err == ""


def test_json_is_the_judgement(files, capsys):
    assert main([*files(2.0), "--format", "json"]) == 2
    text = capsys.readouterr().out
    assert Judgement.from_json(text).verdict == json.loads(text)["verdict"] == "fail"


def test_color_only_on_a_terminal_or_when_asked(files, capsys):
    main(files(1.0))
    assert "\x1b[" not in capsys.readouterr().out
    main([*files(1.0), "--color", "always"])
    assert "\x1b[32mPASS" in capsys.readouterr().out


def test_a_part_of_the_data_can_be_judged(files, capsys):
    assert main([*files(1.0), "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-01T00:08:00Z"]) == 4
    assert "8 intervals on the smaller side" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--last", "soon"], "--last: 'soon' is no duration"),
        (["--start", "2026-01-01T00:00:00Z"], "--start and --end go together"),
        (["--start", "noon", "--end", "2026-01-01T00:00:00Z"], "--start 'noon' is no time"),
        (["--start", "2026-01-01T00:00:00", "--end", "2026-01-01T01:00:00"], "has no time zone"),
        (["--start", "2026-01-01T02:00:00Z", "--end", "2026-01-01T01:00:00Z"], "is not after its start"),
        (["--last", "5m", "--start", "2026-01-01T02:00:00Z"], "exclude each other"),
        (["--canary", "version"], "write it as LABEL=VALUE"),
    ],
)
def test_wrong_options_are_one_line_and_exit_1(files, capsys, arguments, message):
    assert main([*files(1.0), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("canary-judge: error: ")
    assert message in error
    assert "Traceback" not in error


def test_no_source_says_what_to_give(files, capsys):
    arguments = files(1.0)[:2]
    assert main([*arguments, "--last", "5m"]) == 1
    assert "pass --source URL or --data FILE" in capsys.readouterr().err
    assert main([*arguments, "--source", "http://127.0.0.1:9"]) == 1
    assert "which window?" in capsys.readouterr().err
    assert main([*arguments, "--source", "http://127.0.0.1:9", "--last", "5m"]) == 1
    assert "cannot be reached: connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["judge"], ["nonsense"], ["judge", "x", "--format", "xml"]])
def test_usage_errors_exit_1_because_2_means_fail(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["jugde"], "did you mean 'judge'?"),
        (["judge", "x", "--format", "jsn"], "did you mean 'json'?"),
        (["watch", "x", "--horzion", "2h"], "did you mean '--horizon'?"),
        (["xyzzy"], "choose from"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(arguments, hint, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert hint in capsys.readouterr().err


def test_without_arguments_there_is_help(capsys):
    assert main([]) == 1
    assert "judge a finished window" in capsys.readouterr().out


def test_a_bug_is_no_traceback(files, capsys, monkeypatch):
    monkeypatch.setattr("canary_judge.judging.fetching.judge_samples", lambda *_: 1 / 0)
    assert main(files(1.0)) == 1
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


def test_check_shows_rendered_queries(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("{name: shop, interval: 15s, preset: istio, baseline: {namespace: a, workload: w}}")
    assert main(["check", str(path), "--canary", "namespace=a", "--canary", "workload=w2"]) == 0
    out = capsys.readouterr().out
    assert 'destination_workload="w2"' in out
    assert "business: true" in out
    path.write_text("{name: shop, interval: 15s, preset: istio, sources: {default: {type: prometheus, ulr: x}}}")
    assert main(["check", str(path)]) == 1
    assert "sources.default: ulr: unknown key; did you mean 'url'?" in capsys.readouterr().err


def test_presets_are_listed_and_shown(capsys):
    assert main(["presets"]) == 0
    assert "linkerd" in capsys.readouterr().out
    assert main(["presets", "nginx"]) == 0
    assert 'canary!=""' in capsys.readouterr().out
    assert main(["presets", "nginxx"]) == 1


def test_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "canary_judge config"


def test_demo_needs_nothing_and_shows_all_three_verdicts(capsys):
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    for word in ("PASS", "MARGINAL", "FAIL", "more or", "% of the traffic", "What next"):
        assert word in out


def test_a_closed_pipe_takes_no_verdict_back(tmp_path):
    """Whoever reads no more gets the exit code all the same."""
    (tmp_path / "demo.yaml").write_text((DEMO / "demo.yaml").read_text())
    judging = f"{sys.executable} -m canary_judge judge {tmp_path}/demo.yaml --data {DEMO}/healthy.csv.gz"
    command = f"({judging} 2>&1; echo $? > {tmp_path}/code) | true"
    subprocess.run(["bash", "-c", command], timeout=120, check=True)
    assert (tmp_path / "code").read_text().strip() == "0"


@pytest.mark.parametrize("more", [[], ["--verbose"], ["--format", "json"]])
def test_a_closed_pipe_takes_no_verdict_of_a_watch_back(tmp_path, more):
    (tmp_path / "demo.yaml").write_text((DEMO / "demo.yaml").read_text())
    watching = (
        f"{sys.executable} -m canary_judge watch {tmp_path}/demo.yaml --data {DEMO}/healthy.csv.gz {' '.join(more)}"
    )
    subprocess.run(["bash", "-c", f"({watching} 2>&1; echo $? > {tmp_path}/code) | true"], timeout=120, check=True)
    alone = subprocess.run(watching.split(), capture_output=True, timeout=120, check=False)
    assert (tmp_path / "code").read_text().strip() == str(alone.returncode)
    assert alone.returncode == 4  # the data of a day, and a watch without a planned end


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m canary_judge demo | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("===")
