"""`canary-judge plan` and `check` as typed."""

import json

from canary_judge.__main__ import main


def test_plan_prints_a_table_and_json(recorded, capsys):
    arguments = ["plan", str(recorded / "config.json"), "--data", str(recorded / "table.csv")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "all gates" in shown
    assert "Bottleneck" in shown
    assert main([*arguments, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["feasible"] is True


def test_check_gives_advice(recorded, capsys):
    assert main(["check", str(recorded / "config.json")]) == 0
    assert "[only-errors]" in capsys.readouterr().out
