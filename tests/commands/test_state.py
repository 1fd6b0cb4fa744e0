"""`canary-judge state show`: what a log of looks holds."""

import json

import pytest

from canary_judge.__main__ import main
from canary_judge.looks.log import StateLog
from tests.looks.test_held import config, run


@pytest.fixture
def kept(tmp_path):
    path, names = tmp_path / "shop.state", ("errors", "heap")
    weights = [5.0] * 20 + [25.0] * 20
    with StateLog(config(*names), path) as log:
        for state, _ in run(names, 1, 40, weights=weights, fault=20, harm=5.0):
            log.keep(state)
    return path


def test_a_log_is_shown_to_a_person(kept, capsys):
    assert main(["state", "show", str(kept)]) == 0
    text = capsys.readouterr().out
    assert "40 intervals of 1m from 2026-01-01 00:00:00 to 2026-01-01 00:40:00 UTC, 40 looks" in text
    assert "weight 25 %, changed 1 times" in text
    assert "errors  40 intervals, regressed: canary" in text


def test_a_log_is_shown_to_a_program_while_it_is_written(kept, capsys):
    with StateLog(config("errors", "heap"), kept):
        assert main(["state", "show", str(kept), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["looks"] == 40
    assert shown["head"]["format"] == 4
    assert shown["state"]["streams"]["heap"]["intervals"] == 40


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"", "it is empty"),
        (b"{}\n", "is no state of a watch; give the file of `watch --state`"),
        (b"x\n", "no log of looks"),
    ],
)
def test_what_is_no_log_is_told(tmp_path, capsys, content, told):
    path = tmp_path / "s"
    if content is not None:
        path.write_bytes(content)
    assert main(["state", "show", str(path)]) == 1
    assert told in capsys.readouterr().err
