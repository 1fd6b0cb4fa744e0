"""`canary-judge calibrate`: what it prints, and how it exits."""

import json

import pytest

from canary_judge.__main__ import main
from canary_judge.history.calibrating import Calibration
from tests.history.test_calibrating import LATENCY, MEMORY, pods, requests


@pytest.fixture
def files(tmp_path):
    def made(metric, source):
        table = source.table
        columns = {"timestamp": table.times / 1e9, "side": ["canary" if one else "baseline" for one in table.canary]}
        columns |= {name: list(values) for name, values in {**table.numbers, **table.texts}.items()}
        columns |= {} if table.ok is None else {"ok": list(table.ok)}
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        (tmp_path / "table.csv").write_text("\n".join(lines))
        plain = {"name": "shop", "interval": "1m", "metrics": [metric]}
        (tmp_path / "shop.json").write_text(json.dumps(plain))
        return [str(tmp_path / "shop.json"), "--data", str(tmp_path / "table.csv")]

    return made


def test_single_requests_of_a_table_are_calibrated(files, capsys):
    given = files(LATENCY, requests(hours=6, each=30))
    assert main(["calibrate", *given, "--length", "1h", "--weight", "20", "--draws", "3"]) == 0
    text = capsys.readouterr().out
    assert "shop: 11 windows of 1h, a canary of 20 %" in text
    assert "requests split" in text
    assert main(["calibrate", *given, "--length", "1h", "--weight", "20", "--draws", "3", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == 11


def test_the_exit_code_tells_what_is_refuted_and_what_cannot_decide(files, capsys, monkeypatch):
    given = files({**MEMORY, "margin": "0.001%"}, pods(1, hours=4))
    command = ["calibrate", *given, "--length", "1h", "--weight", "10", "--draws", "2"]
    assert main(command) == 4
    assert "cannot decide here" in capsys.readouterr().out
    monkeypatch.setattr(Calibration, "refuted", True)
    assert main(command) == 2
    assert "is refuted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--without", "2026-01-31T12:00Z"], "write it as START/END"),
        (["--without", "2026-01-31T12:00Z/2026-01-31T11:00Z"], "--without"),
        (["--weight", "0"], "weight is 0.0; give the percent"),
        (["--length", "1m"], "length is 1m; give two intervals"),
        (["--without", "2026-03-01T00:00Z/2026-03-02T00:00Z"], "touches none of the 1 spans"),
    ],
)
def test_what_makes_no_sense_is_one_message(files, capsys, more, told):
    given = files(MEMORY, pods(1, hours=4))
    assert main(["calibrate", *given, "--length", "1h", "--weight", "10", *more]) == 1
    assert told in capsys.readouterr().err
