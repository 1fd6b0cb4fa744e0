"""Ways in that a tired person takes: files as Excel writes them, rates of nothing, a closed output."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Window, compare, plan
from canary_judge.__main__ import main
from canary_judge.config.metrics import Metric
from canary_judge.errors import ConfigError, DataError
from canary_judge.judging import judge, judge_samples
from canary_judge.rollout import RolloutPlan
from canary_judge.sources import FrameSource
from canary_judge.sources.users import codes_of
from tests.builders import GAUGE, RATIO, config

TIMES = pd.date_range("2026-01-01 12:01", periods=60, freq="1min", tz="UTC")


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    sides = [
        pd.DataFrame({"timestamp": TIMES, "side": one, "q": rng.normal(100, 3, 60)}) for one in ("baseline", "canary")
    ]
    return pd.concat(sides, ignore_index=True)


@pytest.fixture
def files(tmp_path, table):
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "c.yaml").write_text(
        "{name: c, interval: 1m, metrics: [{name: q, kind: gauge, query: q, harm: increase, margin: 10%}]}"
    )
    return tmp_path


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-"])
def test_a_closed_output_changes_no_exit_code(files, closed):
    command = f"{sys.executable} -m canary_judge judge {files}/c.yaml --data {files}/t.csv {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "internal error" not in done.stderr


def test_an_option_of_another_command_is_no_typing_error(files, capsys):
    with pytest.raises(SystemExit):
        main(["judge", str(files / "c.yaml"), "--data", str(files / "t.csv"), "--archive", "a"])
    said = capsys.readouterr().err
    assert "unrecognized arguments: --archive a; it is an option of another command" in said
    assert "did you mean" not in said


def test_a_file_in_utf_16_is_told_what_to_do(files, table):
    table.to_csv(files / "excel.csv", index=False, encoding="utf-16")
    with pytest.raises(DataError, match=r"excel\.csv: is not UTF-8 .*; save it as CSV in UTF-8"):
        FrameSource(files / "excel.csv")


def test_rows_that_cannot_be_read_are_named_by_their_number(files):
    with (files / "t.csv").open("a") as file:
        file.write(",,\n")
    with pytest.raises(DataError, match=r"has None; .*\(row 120\)"):
        FrameSource(files / "t.csv")


def test_a_time_that_cannot_be_read_is_named_by_its_row(files):
    text = (files / "t.csv").read_text().splitlines(keepends=True)
    text[7] = text[7].replace("2026-01-01", "noon")
    (files / "t.csv").write_text("".join(text))
    with pytest.raises(DataError, match=r"cannot be read as times: .*\(row 6\)"):
        FrameSource(files / "t.csv")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"false_alarm_rate": 1e-300}, "false_alarm_rate"),
        ({"false_pass_rate": 1e-300}, "false_pass_rate"),
        ({"history": "5s"}, "history: 5s is less than an interval of 15s"),
    ],
)
def test_rates_and_lengths_of_nothing_are_refused(more, told):
    with pytest.raises(ConfigError, match=told):
        config(GAUGE, **more)


def test_a_guard_without_any_share_of_the_error_is_refused():
    with pytest.raises(ConfigError, match="error_weight"):
        config(GAUGE, {**RATIO, "name": "e", "role": "guard", "error_weight": 1e-300})


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"stages": ["5%", 100]}, r"'5%' is no stage; give the percent as a number, as in \[5, 25"),
        ({"stages": [5, 50]}, "^rollout: .*end with 100"),
    ],
)
def test_stages_are_told_as_they_are_written(plan, told):
    with pytest.raises(ConfigError, match=told):
        RolloutPlan.from_mapping(plan)


@pytest.mark.parametrize("hours", [0, 4])
def test_a_record_that_is_not_there_is_told(table, hours):
    rng = np.random.default_rng(2)
    past = pd.date_range(end=TIMES[0], periods=60 * hours + 1, freq="1min", inclusive="left")
    before = pd.DataFrame({"timestamp": past, "side": "baseline", "q": rng.normal(100, 3, past.size)})
    metric = {"name": "q", "kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}
    settings = JudgeConfig.from_mapping({"name": "c", "interval": "1m", "history": "4h", "metrics": [metric]})
    source = FrameSource(pd.concat([before, table]))
    found = judge(settings, source, source.window("1m"))["q"]
    assert any("nothing of the baseline was read before the window" in one for one in found.warnings) is (hours == 0)


def test_ids_that_pandas_has_written_with_a_point_are_the_same_users():
    codes, users = codes_of(np.array(["12", "12.0", "anonymous", "7.0", "v1.0"], dtype=object))
    assert codes.tolist() == [0, 0, -1, 1, 2]
    assert users == 3
    assert codes_of(np.array(["1.5", "1.50"], dtype=object))[1] == 2


HEAP = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
CONFIG = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [HEAP]})
TABLE = pd.DataFrame({"timestamp": TIMES, "heap": np.arange(60.0) % 7 + 100})
HOUR = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda source: Monitor(CONFIG, state={"format": 4}), "state is dict; give what `monitor.state()` gave"),
        (lambda source: Monitor(CONFIG, state=[]), "state is list"),
        (lambda source: Monitor("own.yaml"), "the config is str"),
        (lambda source: judge(CONFIG, source, None), "the window is None"),
        (lambda source: judge_samples({}, None), "the config is dict"),
        (lambda source: plan(CONFIG, source, HOUR, power=90), "power is 90; give a probability between 0.5 and 1"),
        (lambda source: plan(CONFIG, source, HOUR, power="0.9"), "power is '0.9'"),
        (lambda source: plan(CONFIG, source, HOUR, weights=5), "weights is 5; give percentages"),
        (lambda source: plan(CONFIG, source, None), "the window is None"),
        (lambda source: compare(baseline=source, canary=source, metrics=["heap"]), "baseline is FrameSource"),
        (lambda source: compare(baseline=TABLE, canary=TABLE, metrics="heap"), "metrics is str"),
        (lambda source: compare(baseline=TABLE, canary=TABLE, metrics=["heap"]), "metrics has 'heap'"),
        (lambda source: JudgeConfig.load(None), "the path is NoneType"),
        (lambda source: JudgeConfig.load({"name": "x"}), "the path is dict"),
        (lambda source: JudgeConfig.parse(b"name: x"), "is bytes; give a text, or a path to JudgeConfig.load"),
    ],
)
def test_what_a_tired_person_gives_is_named(call, told):
    with pytest.raises((DataError, ConfigError), match=re.escape(told)):
        call(FrameSource(TABLE.assign(side="baseline")))


@pytest.mark.parametrize(
    ("kind", "told"), [("ration", "; did you mean 'ratio'?"), ("means", "; did you mean 'mean'?"), (None, "")]
)
def test_all_kinds_are_named_and_the_nearest_one(kind, told):
    metric = {name: value for name, value in HEAP.items() if name != "kind"} | ({"kind": kind} if kind else {})
    with pytest.raises(ConfigError) as found:
        JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    kinds = ", ".join(get_args(one.model_fields["kind"].annotation)[0] for one in get_args(get_args(Metric)[0]))
    assert str(found.value).endswith(f"`kind` must be one of {kinds}{told}")
