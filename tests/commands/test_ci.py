"""What `judge` and `watch` leave behind for CI systems, whatever names and reasons hold."""

import argparse
import json
import re
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from canary_judge.__main__ import main
from canary_judge.commands.ci import reported
from canary_judge.commands.watch import _clock
from canary_judge.report import ci
from canary_judge.results import Action, Judgement, Outcome, Role, Verdict

HOSTILE = 'x]]>"&<b>\n::error::gotcha\r%0A | `rm` @everyone \x00\x1b[2J\u202e'


def judged(folder, *more, command="judge"):
    return main([command, str(folder / "config.json"), "--data", str(folder / "table.csv"), *more])


@pytest.fixture
def judgement(recorded, capsys):
    judged(recorded, "--format", "json")
    return Judgement.from_json(capsys.readouterr().out)


@pytest.fixture
def hostile(judgement):
    (metric,) = judgement.metrics
    metric = replace(metric, name=HOSTILE, reason=HOSTILE * 50, outcome=Outcome.REGRESSED, role=Role.GATE)
    return replace(judgement, name=HOSTILE, metrics=(metric,) * 40, reasons=(HOSTILE * 500,), warnings=(HOSTILE,))


@pytest.mark.parametrize("command", ["judge", "watch"])
def test_everything_at_once(recorded, capsys, monkeypatch, command):
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (recorded / name).write_text("before\n")
        monkeypatch.setenv(name, str(recorded / name))
    (recorded / "results").mkdir()
    files = {"--junit": "junit.xml", "--gitlab-dotenv": "judge.env", "--gitlab-annotations": "notes.json"}
    options = [part for option, name in files.items() for part in (option, str(recorded / name))]
    options += ["--github", "--result-dir", str(recorded / "results")]
    assert judged(recorded, *options, command=command) == 2
    suite = ET.fromstring((recorded / "junit.xml").read_text()).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("name")) == ("2", "2", "canary_judge: shop")
    env = dict(line.split("=", 1) for line in (recorded / "judge.env").read_text().splitlines())
    assert (env["CANARY_VERDICT"], env["CANARY_ACTION"]) == ("fail", "roll_back")
    assert "FAIL" in json.loads((recorded / "notes.json").read_text())["canary_judge"][0]["external_link"]["label"]
    assert (recorded / "results" / "verdict").read_text() == "fail"
    output = (recorded / "GITHUB_OUTPUT").read_text()
    assert output.startswith("before\n")
    assert re.search(r"^verdict<<(canary-\w{32})\nfail\n\1$", output, re.MULTILINE)
    assert "| errors | regressed |" in (recorded / "GITHUB_STEP_SUMMARY").read_text()
    assert "::error title=shop::FAIL" in capsys.readouterr().out


def test_json_has_standard_output_for_itself(recorded, capsys, monkeypatch):
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(recorded / name))
    judged(recorded, "--github", "--format", "json")
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] == "fail"
    assert err.startswith("::error title=shop::")


@pytest.mark.parametrize(
    ("options", "code"), [((), 4), (("--inconclusive-exit", "0"), 0), (("--inconclusive-exit", "9"), 9)]
)
def test_what_is_undecided_exits_as_it_was_asked_for(recorded, options, code):
    window = ("--start", "2026-01-01T12:00:00Z", "--end", "2026-01-01T12:01:00Z")
    assert judged(recorded, *window, *options) == code


def test_a_fail_and_an_error_exit_as_they_do(recorded, capsys):
    assert judged(recorded, "--inconclusive-exit", "0") == 2
    assert main(["judge", "none.yaml", "--data", "x", "--inconclusive-exit", "0"]) == 1


def test_an_error_is_reported_too(recorded, capsys):
    (recorded / "table.csv").write_text("timestamp,side\n")
    options = ("--junit", str(recorded / "junit.xml"), "--gitlab-dotenv", str(recorded / "judge.env"))
    assert judged(recorded, *options) == 1
    error = ET.fromstring((recorded / "junit.xml").read_text()).find("testsuite/testcase/error")
    assert error.get("message")
    assert "CANARY_VERDICT=error\n" in (recorded / "judge.env").read_text()


def test_a_guard_whose_query_cannot_work_is_an_error_in_every_report(recorded, capsys, judgement):
    (metric,) = judgement.metrics
    guard = replace(metric, name="memory", role=Role.GUARD, outcome=Outcome.ERROR, reason="bad syntax")
    passed = replace(judgement, verdict=Verdict.PASS, action=Action.ADVANCE, metrics=(guard,))
    options = argparse.Namespace(
        config="shop.yaml",
        junit=None,
        gitlab_dotenv=str(recorded / "judge.env"),
        gitlab_annotations=None,
        result_dir=None,
        github=False,
    )
    with reported(options) as found:
        found.append(passed)
    assert "CANARY_VERDICT=error\n" in (recorded / "judge.env").read_text()
    assert "memory: bad syntax" in (recorded / "judge.env").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--junit", "/nowhere/junit.xml"), "--junit /nowhere/junit.xml: is no file in a folder that is there"),
        (("--result-dir", "/nowhere"), "--result-dir /nowhere: is no folder"),
        (("--github",), "GITHUB_OUTPUT is not set"),
        (("--inconclusive-exit", "300"), "--inconclusive-exit is 300; give 0 to 255"),
        (("--wait", "soon"), "--wait: 'soon' is no duration"),
        (("--wait", "1m"), "leave out --last, --start, --end and --data"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_judged(recorded, capsys, monkeypatch, options, says):
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    assert judged(recorded, *options) == 1
    out, err = capsys.readouterr()
    assert says in err
    assert "Why:" not in out


def test_waiting_judges_what_passed_meanwhile(recorded, capsys):
    plain = json.loads((recorded / "config.json").read_text())
    plain |= {"interval": "1s", "sources": {"default": {"type": "frame", "path": str(recorded / "table.csv")}}}
    (recorded / "config.json").write_text(json.dumps(plain))
    assert main(["judge", str(recorded / "config.json"), "--wait", "2s", "--format", "json"]) == 4
    judgement = Judgement.from_json(capsys.readouterr().out)
    assert 1 <= (judgement.end - judgement.start).total_seconds() <= 3


def test_a_watch_looks_for_so_long_at_most():
    every, most = timedelta(milliseconds=20), timedelta(milliseconds=70)
    assert len(list(_clock(every, once=False, most=most))) == 3
    assert len(list(_clock(every, once=False, most=timedelta(milliseconds=1)))) == 1


# --- hostile texts --------------------------------------------------------------------------------------------------


def test_junit_is_xml_whatever_the_texts_hold(hostile):
    suite = ET.fromstring(ci.junit(hostile, name="x")).find("testsuite")
    assert len(suite.findall("testcase")) == 41
    assert "\x1b" not in ci.junit(hostile, name="x")
    assert ET.fromstring(ci.junit(HOSTILE, name=HOSTILE)).find("testsuite").get("errors") == "1"


def test_annotations_are_at_most_ten_lines_that_hold_no_other_command(hostile):
    for told in (hostile, HOSTILE):
        lines = ci.github_annotations(told, name=HOSTILE)
        assert 1 <= len(lines) <= 10
        for line in lines:
            assert len(line.splitlines()) == 1
            title = line.split("title=", 1)[1].split("::", 1)[0]
            assert not set(":,\n\r") & set(title)
            assert "%0A" not in line.replace("%250A", "")


def test_outputs_cannot_set_others(hostile):
    text = ci.github_output(hostile, delimiter="canary-abc")
    names = re.findall(r"^(\w+)<<canary-abc$", text, re.MULTILINE)
    assert names == ["verdict", "action", "score", "sufficient", "reason"]
    assert len(text.splitlines()) == 15
    with pytest.raises(ValueError, match="delimiter"):
        ci.github_output("some canary-abc", delimiter="canary-abc")


def test_a_summary_is_cut_at_a_mebibyte_and_mentions_nobody(hostile):
    text = ci.github_summary(replace(hostile, reasons=(HOSTILE * 50_000,)), name="x")
    assert len(text.encode()) <= 1024 * 1024
    short = ci.github_summary(replace(hostile, reasons=("a | b <script> @team",)), name="x")
    assert "<script>" not in short
    assert "@team" not in short
    assert "a \\| b" in short


def test_a_dotenv_is_one_line_a_value_in_less_than_5_kilobytes(hostile):
    for told in (hostile, HOSTILE * 1000):
        text = ci.dotenv(told)
        assert len(text.encode()) < 5000
        assert [line.split("=")[0] for line in text.splitlines()] == [
            "CANARY_VERDICT",
            "CANARY_ACTION",
            "CANARY_SCORE",
            "CANARY_SUFFICIENT",
            "CANARY_REASON",
        ]


def test_results_together_are_less_than_4_kibibytes_in_any_script(hostile):
    for told in (hostile, "\u4e2d\U0001f600" * 5000):
        values = ci.fields(told)
        assert len(json.dumps(values, ensure_ascii=False).encode()) < 4096
        assert all("\n" not in value for value in values.values())


def test_an_annotation_of_gitlab_is_a_link(hostile):
    (link,) = json.loads(ci.gitlab_annotations(hostile, name="x", url="https://ci/1"))["canary_judge"]
    assert link["external_link"]["url"] == "https://ci/1"
    assert len(link["external_link"]["label"].encode()) <= 200
