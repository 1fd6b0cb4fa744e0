"""`canary-judge watch` as typed: it ends when it is decided, goes on from its state, and refuses what is wrong."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from canary_judge.__main__ import main


def watched(folder, *more):
    return main(["watch", str(folder / "config.json"), "--data", str(folder / "table.csv"), *more])


def test_watch_replays_a_table_and_ends_when_it_is_decided(recorded, capsys):
    assert watched(recorded, "--horizon", "2h") == 2
    last = capsys.readouterr().out
    assert last.count("Why:") == 1
    assert "harm beyond margin" not in last
    assert watched(recorded, "--horizon", "2h", "--verbose") == 2
    shown = capsys.readouterr().out
    assert shown.endswith(last)
    assert shown.count("harm beyond margin") >= 3
    assert "look 3, " in shown
    assert "FAIL" in shown
    assert "harm beyond the margin is shown" in shown
    looks = [int(number) for number in re.findall(r"look (\d+),", shown)]
    assert max(looks) < 30


def test_watch_goes_on_from_its_state(recorded, capsys):
    state = recorded / "state.json"
    assert watched(recorded, "--horizon", "2h", "--state", str(state), "--format", "json") == 2
    judgement = json.loads(capsys.readouterr().out)
    again = watched(recorded, "--horizon", "2h", "--state", str(state), "--format", "json")
    assert again == 2
    assert json.loads(capsys.readouterr().out)["reasons"] == judgement["reasons"]
    assert list(recorded.glob(".state*")) == []


def test_a_watch_that_was_killed_inside_of_a_look_keeps_its_moments(recorded, capsys):
    """The end of the warm-up is a record of its own, and no other grid begins there."""
    config = json.loads((recorded / "config.json").read_text())
    (recorded / "config.json").write_text(json.dumps({**config, "warmup": "2m"}))
    state = recorded / "state"
    options = ("--every", "7m", "--state", str(state), "--format", "json")
    assert watched(recorded, *options) == 2
    whole = capsys.readouterr().out
    records = state.read_bytes().split(b"\n")
    for kept in (2, 3):
        state.write_bytes(b"\n".join(records[:kept]) + b"\n")
        assert watched(recorded, *options) == 2
        assert capsys.readouterr().out == whole


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--horizon", "3h", "is planned for 2h, not for 3h"), ("--start", "2020-01-01T00:00:00Z", "not at 2020-01-01")],
)
def test_watch_keeps_to_the_plan_of_its_state(recorded, capsys, option, value, told):
    state = recorded / "state.json"
    assert watched(recorded, "--horizon", "2h", "--state", str(state)) == 2
    before = state.read_bytes()
    capsys.readouterr()
    assert watched(recorded, "--state", str(state), option, value) == 1
    error = capsys.readouterr().err
    assert f"canary-judge: error: {option}: " in error
    assert told in error
    assert state.read_bytes() == before


def test_watch_once_needs_a_state(recorded, capsys):
    assert watched(recorded, "--once") == 1
    assert "needs --state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"), [("{}", "is JSON of something else"), ('{"format": 3}', "this is no monitor state")]
)
def test_watch_refuses_a_broken_state(recorded, capsys, text, told):
    (recorded / "state.json").write_text(text)
    assert watched(recorded, "--state", str(recorded / "state.json")) == 1
    error = capsys.readouterr().err
    assert f"state.json: {told}" in error
    assert "Traceback" not in error


def test_watch_says_when_the_state_cannot_be_written(recorded, capsys):
    assert watched(recorded, "--state", str(recorded / "missing" / "state.json")) == 1
    assert "cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--horizon", "--every"])
@pytest.mark.parametrize("value", ["soon", "0s", "-5m"])
def test_watch_refuses_bad_durations(recorded, capsys, option, value):
    assert watched(recorded, f"{option}={value}") == 1
    assert option in capsys.readouterr().err


def test_a_state_of_another_table_is_refused(recorded, capsys):
    table = recorded / "table.csv"
    assert watched(recorded, "--state", str(recorded / "state")) == 2
    kept = (recorded / "state").read_bytes()
    table.write_text(table.read_text().replace("2026-01-01", "2026-01-03"))
    capsys.readouterr()
    assert watched(recorded, "--state", str(recorded / "state")) == 1
    said = capsys.readouterr().err
    assert "is it of another canary, or are its rows late? Name another --state" in said
    assert "2026-01-03" in said
    assert (recorded / "state").read_bytes() == kept


def test_a_table_that_lags_is_told(recorded, capsys):
    assert watched(recorded, "--state", str(recorded / "s"), "--once") == 4
    assert re.search(
        r"the newest row of the table is \S+ old, and what comes later than 3 intervals", capsys.readouterr().err
    )
    assert watched(recorded, "--state", str(recorded / "t")) == 2
    assert "the newest row" not in capsys.readouterr().err


def test_rows_of_the_future_are_refused_where_now_is_asked(recorded, capsys):
    table = recorded / "table.csv"
    table.write_text(table.read_text().replace("2026-01-01", "2126-01-01"))
    assert watched(recorded, "--state", str(recorded / "s"), "--once") == 1
    assert "in the future (2126-01-01" in capsys.readouterr().err
    config = str(recorded / "config.json")
    assert main(["judge", config, "--data", str(table), "--last", "30m"]) == 1
    assert "are local times written as UTC?" in capsys.readouterr().err


def test_a_table_in_place_of_the_configs_keeps_what_the_config_knows_of_its_columns(recorded, capsys):
    plain = json.loads((recorded / "config.json").read_text())
    told = []
    for counters in (["nothing"], ["errors"]):
        plain["sources"] = {"default": {"type": "frame", "path": "none.csv", "counters": counters}}
        (recorded / "config.json").write_text(json.dumps(plain))
        main(["judge", str(recorded / "config.json"), "--data", str(recorded / "table.csv")])
        told.append(capsys.readouterr().out)
    assert told[0] != told[1]  # of a counter only the rises count


def test_a_start_that_has_not_come_is_told(tmp_path, capsys):
    config = tmp_path / "shop.json"
    metric = {"name": "errors", "kind": "ratio", "harm": "increase", "margin": "1.5x"}
    queries = {"events": 'e{v="${v}"}', "total": 't{v="${v}"}'}
    source = {"type": "prometheus", "url": "http://127.0.0.1:9", "timeout": 1}
    config.write_text(
        json.dumps(
            {
                "name": "shop",
                "interval": "1m",
                "sources": {"default": source},
                "baseline": {"v": "1"},
                "canary": {"v": "2"},
                "metrics": [metric | queries],
            }
        )
    )
    start = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    assert main(["watch", str(config), "--start", start]) == 1  # nobody answers there
    assert re.search(r"--start is (2h00m|1h59m) from now; until then nothing is judged", capsys.readouterr().err)
