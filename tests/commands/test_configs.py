"""`canary-judge plan` and `check` as typed."""

import json
import os
import resource
import subprocess
import sys
from functools import partial

import pytest

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


def test_check_asks_the_sources_of_a_config_where_it_is_told_to(tmp_path, capsys):
    (tmp_path / "empty.db").touch()
    rows = "select at as time, 1 as value from happened where at > :start and at <= :end and side = '${side}'"
    config = {
        "name": "orders",
        "interval": "1m",
        "baseline": {"side": "old"},
        "canary": {"side": "new"},
        "metrics": [{"name": "orders", "kind": "gauge", "query": rows, "harm": "decrease", "margin": "10%"}],
        "sources": {"default": {"type": "sql", "url": f"sqlite:///{tmp_path}/empty.db", "timezone": "UTC"}},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert main(["check", str(path)]) == 0
    assert "'default' was not asked; --live asks" in capsys.readouterr().out
    for asks in (["--live"], ["--horizon", "1h", "--weight", "5"]):
        assert main(["check", str(path), *asks]) == 1
        assert "no such table: happened" in "".join(capsys.readouterr())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_an_error(tmp_path, unbuffered):
    whole = subprocess.run([sys.executable, "-m", "canary_judge", "schema"], capture_output=True, check=True).stdout
    assert len(whole) > 20_000
    for limit, code, told in ((10**7, 0, b""), (4096, 1, b"the output cannot be written: File too large")):
        with (tmp_path / "out").open("wb") as out:
            found = subprocess.run(
                [sys.executable, "-m", "canary_judge", "schema"],
                stdout=out,
                stderr=subprocess.PIPE,
                check=False,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
            )
        assert (found.returncode, told in found.stderr) == (code, True), found.stderr
        assert b"bug" not in found.stderr
    assert whole.startswith((tmp_path / "out").read_bytes())
