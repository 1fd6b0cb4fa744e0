"""`canary-judge calibrate`: what it prints, and how it exits."""

import json

import pytest

from canary_judge.__main__ import main
from canary_judge.history import History
from canary_judge.history.calibration import Calibration
from tests.history.canaries import HEAP, shop
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
    given = files(LATENCY, requests(hours=8, each=30))
    assert main(["calibrate", *given, "--length", "1h", "--weight", "20", "--draws", "3"]) == 0
    text = capsys.readouterr().out
    assert "shop: 15 windows of 1h, 01 Mar 2026, a canary of 20 %" in text
    assert "requests split" in text
    assert main(["calibrate", *given, "--length", "1h", "--weight", "20", "--draws", "3", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == 15


def test_the_exit_code_tells_what_is_refuted_and_what_cannot_decide(files, capsys, monkeypatch):
    given = files({**MEMORY, "margin": "0.001%"}, pods(1, hours=4))
    command = ["calibrate", *given, "--length", "1h", "--weight", "10", "--draws", "2"]
    assert main(command) == 4
    assert "margin 0.001%: shown in 0 of 7 windows" in capsys.readouterr().out
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
        (["--without", "2025-03-01T12:00Z/2025-03-01T13:00Z"], "drops nothing: is its date right?"),
        (["--start", "2026-03-01T12:00Z", "--end", "2026-03-09T12:00Z"], "is longer than the table"),
        (["--weight", "0.05", "--length", "1m"], "--weight 0.05 is 0.05 %; is 5 % meant?"),
    ],
)
def test_what_makes_no_sense_is_one_message(files, capsys, more, told):
    given = files(MEMORY, pods(1, hours=4))
    assert main(["calibrate", *given, "--length", "1h", "--weight", "10", *more]) == 1
    assert told in capsys.readouterr().err


YAML = """name: shop   # ours
interval: 1m
metrics:
  - name: latency
    kind: samples
    query: latency
    harm: increase
    margin: 30%  # agreed
"""


@pytest.fixture
def written(files, tmp_path):
    files(LATENCY, requests(hours=8, each=30))
    config = tmp_path / "shop.yaml"
    config.write_bytes(YAML.replace("\n", "\r\n").encode())
    data = str(tmp_path / "table.csv")
    return config, ["calibrate", str(config), "--data", data, "--length", "1h", "--weight", "20", "--draws", "3"]


def test_the_finding_is_written_beside_the_margin(written, tmp_path, capsys):
    config, command = written
    new = tmp_path / "new.yaml"
    assert main([*command, "--write", str(new)]) == 0
    before, after = (path.read_bytes().decode().split("\r\n") for path in (config, new))
    assert [line for line in after if line not in before] == [after[7]]
    assert after[7].startswith(before[7] + " [calibrate: shown in 15 of 15 windows; ")
    assert capsys.readouterr().err == ""
    assert main([*command, "--in-place"]) == 0
    assert config.read_bytes() == new.read_bytes()
    assert main([*command, "--in-place"]) == 0
    assert config.read_bytes() == new.read_bytes()


def test_what_cannot_be_written_is_refused_before_the_work(written, tmp_path, capsys, monkeypatch):
    config, command = written
    monkeypatch.setattr("canary_judge.history.calibrating.calibrate", None)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "none" / "x.yaml")
    config.with_suffix(".json").write_text('{"name": "shop", "interval": "1m", "metrics": []}')
    for more, told in (
        (["--write", str(config)], "is there already"),
        (["--write", str(tmp_path / "none" / "x.yaml")], "its folder is not there"),
        (["--write", str(tmp_path / "link.yaml")], "its folder is not there"),
        (["--write", str(tmp_path / "x.json")], "JSON has no comments"),
        (["--skip-corrupt"], "--skip-corrupt goes with --history"),
    ):
        assert main([*command, *more]) == 1
        assert told in capsys.readouterr().err


def test_what_has_no_place_in_the_file_is_told(files, tmp_path, capsys):
    files(MEMORY, pods(1, hours=6))
    config = tmp_path / "heap.yaml"
    config.write_text(YAML.replace("latency", "memory").replace("samples", "gauge"))
    command = ["calibrate", str(config), "--data", str(tmp_path / "table.csv"), "--length", "1h", "--weight", "20"]
    main([*command, "--draws", "2", "--in-place"])
    told = capsys.readouterr().err
    assert "not written, because the file has no 'history' of its own there: history: 8h would do" in told
    assert "[calibrate: shown in" in config.read_text()


def test_where_nothing_can_be_drawn_it_is_an_error(written, capsys):
    config, command = written
    config.write_text(YAML.replace("query: latency", "query: nothing"))
    before = config.read_bytes()
    assert main([*command, "--in-place"]) == 1
    assert "nothing can be drawn; latency: baseline value: the table has no 'nothing'" in capsys.readouterr().err
    assert config.read_bytes() == before


def test_a_finding_of_last_time_does_not_stay_where_there_is_none_now(written, capsys):
    config, command = written
    old = YAML.replace("query: latency", "query: nothing").replace("# agreed", "# agreed [calibrate: shown in 9 of 9]")
    config.write_text(old + YAML[YAML.index("  - name") :].replace("name: latency", "name: slow"))
    assert main([*command, "--in-place"]) == 4
    assert "# agreed [calibrate: not known here: baseline value: the table has no 'nothing'" in config.read_text()
    assert "9 of 9" not in config.read_text()


def test_a_new_file_has_the_mode_of_any_new_file(written, tmp_path, capsys):
    _, command = written
    (tmp_path / "plain").write_text("")
    main([*command, "--write", str(tmp_path / "new.yaml")])
    assert (tmp_path / "new.yaml").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_has_no_comments(files, capsys):
    given = files(LATENCY, requests(hours=2))
    assert main(["calibrate", *given, "--length", "1h", "--weight", "20", "--in-place"]) == 1
    assert "JSON has no comments" in capsys.readouterr().err


def test_an_archive_takes_the_place_of_a_source(tmp_path, capsys):
    history = History(tmp_path / "archive")
    for number in range(3):
        history.append(shop(number, n=90))
    config = tmp_path / "shop.json"
    config.write_text(json.dumps({"name": "shop", "interval": "1m", "metrics": [HEAP]}))
    command = ["calibrate", str(config), "--history", str(tmp_path / "archive"), "--length", "30m", "--weight", "5"]
    assert main([*command, "--draws", "2"]) in (0, 4)
    assert "shop: 15 windows of 30m, 01 Mar 2026, a canary of 5 %" in capsys.readouterr().out
    for more in (["--last", "2h"], ["--without", "2026-01-31T12:00Z/2026-01-31T13:00Z"], ["--data", "x.csv"]):
        assert main([*command, *more]) == 1
        assert "--history is an archive" in capsys.readouterr().err
    assert main([*command[:3], str(tmp_path / "none"), *command[4:]]) == 1
    assert "there is no archive" in capsys.readouterr().err
