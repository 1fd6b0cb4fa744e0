"""`canary-judge archive`, `history`, `backtest`, and `watch --archive`: what they print, and how they exit."""

import json
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from canary_judge.__main__ import main
from canary_judge.history import History, replay
from tests.history.canaries import SHOP, labelled, shop


@pytest.fixture
def archive(tmp_path):
    history = History(tmp_path / "archive")
    for number in range(12):
        bad = number % 4 == 0
        history.append(shop(number, ratio=5.0 if bad else 1.0, n=40, label=labelled("bad" if bad else "healthy")))
    return history


@pytest.fixture
def config(tmp_path):
    def written(name="shop.json", **metrics):
        plain = json.loads(SHOP.model_dump_json(exclude={"preset"}))
        plain["metrics"] = [one | metrics.get(one["name"], {}) for one in plain["metrics"]]
        path = tmp_path / name
        path.write_text(json.dumps({key: plain[key] for key in ("name", "interval", "metrics")}))
        return str(path)

    return written


def test_a_watched_canary_is_archived_and_replayed(recorded, capsys):
    url, config = str(recorded / "a"), str(recorded / "config.json")
    code = main(["watch", config, "--data", str(recorded / "table.csv"), "--archive", url, "--format", "json"])
    live = json.loads(capsys.readouterr().out)
    assert code == 2
    (canary,) = History(url)
    assert (canary.ended_by, canary.judged().verdict) == ("this judge", "fail")
    *_, (_, last) = replay(canary.settings(), canary)
    assert json.loads(last.to_json()) == live
    kept = str(recorded / "state")
    main(["watch", config, "--data", str(recorded / "table.csv"), "--state", kept])
    capsys.readouterr()
    assert main(["archive", config, "--state", kept, "--to", url, "--did", "rolled back"]) == 0
    assert capsys.readouterr().out.strip() == canary.id
    assert [one.did for one in History(url)] == ["rolled back"]


def test_an_archive_that_cannot_be_written_changes_no_verdict(recorded, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("canary_judge.history.objects._put_file", full)
    url, config = str(recorded / "a"), str(recorded / "config.json")
    assert main(["watch", config, "--data", str(recorded / "table.csv"), "--archive", url]) == 2
    assert "the canary is not archived: " in capsys.readouterr().err
    assert main(["watch", config, "--data", str(recorded / "table.csv"), "--archive", "nosuch://x"]) == 1
    assert "nosuch://x: cannot be opened" in capsys.readouterr().err


def test_a_table_is_archived_labelled_listed_and_asked(recorded, capsys):
    url, config, table = str(recorded / "a"), str(recorded / "config.json"), str(recorded / "table.csv")
    assert main(["archive", config, "--data", table, "--to", url, "--every", "10m"]) == 0
    name = capsys.readouterr().out.strip()
    assert main(["history", "label", "--history", url, "--id", name, "--label", "bad", "--by", "incident 7"]) == 0
    assert main(["history", "list", "--history", url]) == 0
    assert f"{name}  2026-01-01 12:00 UTC  shop  bad  not judged  ended by unknown" in capsys.readouterr().out
    assert main(["history", "query", "--history", url, "SELECT count(*) AS n FROM consumed"]) == 0
    assert capsys.readouterr().out == "n\n240\n"
    assert main(["history", "compact", "--history", url, "--day", "2026-01-01"]) == 0
    assert main(["history", "drop", "--history", url, "--before", "2026-01-02"]) == 0
    assert capsys.readouterr().out == "0 objects fewer\n1 canaries removed\n"
    assert main(["history", "list", "--history", url]) == 1
    assert "there is no archive, or no canary in it" in capsys.readouterr().err
    assert main(["archive", config, "--data", table, "--to", url, "--horizon", "2h"]) == 0
    capsys.readouterr()
    for arguments, told in (
        (["compact", "--day", "2026-13-01"], "day is '2026-13-01'; give a date"),
        (["drop", "--before", "soon"], "the moment is 'soon'; give a date"),
        (["label", "--id", "x"], "give --id with --label for one canary, or --csv FILE for many"),
        (["label", "--id", "x", "--label", "bad", "--by", "rollback"], "is no truth"),
    ):
        assert main(["history", arguments[0], "--history", url, *arguments[1:]]) == 1
        assert told in capsys.readouterr().err


def test_a_backtest_compares_configs_and_rules(archive, config, capsys):
    arguments = ["backtest", config(), "--history", archive.url]
    assert main([*arguments, "--kayenta", "--limit", "errors<=0.015", "--failures", "2", "--workers", "2"]) == 0
    text = capsys.readouterr().out
    assert "12 canaries of 1 service" in text
    assert "shop.json against Kayenta:" in text
    assert "errors<=0.015 checked each interval, 2 failures failed" in text
    assert main([*arguments, "--format", "json", "--looks", "one"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cases"]) == 12


def test_the_exit_code_says_whether_the_first_is_worse(tmp_path, config, capsys):
    history = History(tmp_path / "bad ones")
    for number in range(8):
        history.append(shop(number, ratio=5.0, n=40, label=labelled("bad")))
    usual, other = config(), config("other.json")
    blind = config("blind.json", errors={"margin": "90x"}, heap={"margin": "900%"})

    def code(one, against):
        found = main(["backtest", one, "--against", against, "--history", history.url, "--looks", "one"])
        capsys.readouterr()
        return found

    assert code(blind, usual) == 2
    assert code(usual, blind) == 0
    assert code(usual, other) == 4
    assert main(["backtest", usual, "--history", history.url, "--limit", "errors<0.01"]) == 1
    assert "write it as METRIC<=NUMBER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "0"], "--workers is 0; give 1 or more"),
        (["--failures", "2"], "--failures goes with --limit"),
        (["--looks", "one", "--every", "5m"], "--every goes with more than one look"),
        (["--since", "soon"], "--since 'soon' is no time"),
        (["--since", "2030-01-01"], "has no canary to judge in that time"),
    ],
)
def test_what_makes_no_sense_is_one_message(archive, config, capsys, arguments, told):
    assert main(["backtest", config(), "--history", archive.url, *arguments]) == 1
    assert told in capsys.readouterr().err


def test_what_cannot_be_read_is_left_out_on_request_and_named(archive, config, capsys):
    file = min(Path(archive.url).glob("*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    given = ["--history", archive.url]
    for command in (["history", "list"], ["history", "query", "SELECT count(*) FROM canaries"], ["backtest", config()]):
        assert main([*command, *given]) == 1
        assert "--skip-corrupt" in capsys.readouterr().err
        assert main([*command, *given, "--skip-corrupt"]) == 0
        assert f"left out: {file}" in capsys.readouterr().err


def test_json_has_the_rates_of_each_judge(archive, config, capsys):
    assert main(["backtest", config(), "--history", archive.url, "--limit", "errors<=5%", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ours, limit = found["rates"]
    assert (ours["healthy"]["total"], ours["bad"]["total"]) == (9, 3)
    assert ours["bad"]["found"] == sum(
        case["decisions"][0]["verdict"] == "fail" for case in found["cases"] if case["label"] == "bad"
    )
    assert 0 <= limit["healthy"]["low"] <= limit["healthy"]["high"] <= 1


def archived(folder, *more, table="table.csv", to="a"):
    return main(
        ["archive", str(folder / "config.json"), "--data", str(folder / table), "--to", str(folder / to), *more]
    )


def test_what_is_known_of_a_canary_stays_when_it_is_archived_again(recorded, capsys):
    known = ("--did", "promoted", "--ended-by", "a person", "--label", "bad", "--by", "incident 7")
    assert archived(recorded, "--every", "10m", "--horizon", "1h", *known) == 0
    assert archived(recorded, "--every", "5m", "--horizon", "1h") == 0
    (one,) = History(recorded / "a")
    assert (one.did, one.ended_by, one.label.kind) == ("promoted", "a person", "bad")
    lines = (recorded / "table.csv").read_text().splitlines(keepends=True)
    (recorded / "half.csv").write_text("".join(lines[: len(lines) // 2]))
    assert archived(recorded, "--every", "5m", "--horizon", "1h", table="half.csv") == 1
    assert "a torn log, or a part of the table?" in capsys.readouterr().err
    assert archived(recorded, "--every", "5m") == 1
    assert "is archived with a planned length of 1h; give it again" in capsys.readouterr().err
    assert [each.end for each in History(recorded / "a")] == [one.end]


def test_a_watch_takes_nothing_from_a_canary_that_is_archived_already(recorded, capsys):
    assert archived(recorded, "--did", "rolled back", "--label", "bad", "--by", "incident 7") == 0
    watch = ["watch", str(recorded / "config.json"), "--data", str(recorded / "table.csv")]
    assert main([*watch, "--archive", str(recorded / "a")]) == 2  # it ends before the table does
    assert "the canary is not archived: " in capsys.readouterr().err
    (one,) = History(recorded / "a")
    assert (one.did, one.label.kind, one.tape.last.consumed) == ("rolled back", "bad", 120)


def test_deploys_and_incidents_meanwhile_are_kept(recorded, capsys):
    times = "2026-01-01T12:10:00Z, 2026-01-01T12:15:00+00:00"
    assert archived(recorded, "--span", f"deploy,{times}", "--span", f"incident,{times}") == 0
    (one,) = History(recorded / "a")
    assert [span.what for span in one.spans] == ["deploy", "incident"]
    assert one.spans[0].end - one.spans[0].start == timedelta(minutes=5)
    capsys.readouterr()
    for text, told in (
        ("deploy", "is no deploy,START,END"),
        (f"lunch,{times}", "is no deploy,START,END"),
        ("deploy,2026-01-01T12:15:00Z,2026-01-01T12:10:00Z", "ends before it begins"),
        ("deploy,now,later", "--span"),
    ):
        assert archived(recorded, "--span", text, to="b") == 1
        assert told in capsys.readouterr().err


def test_ends_that_contradict_what_was_read_are_told(recorded, capsys):
    assert archived(recorded, "--horizon", "5h", "--ended-by", "the planned end") == 1
    assert "ended_by: the planned end is at 5h" in capsys.readouterr().err
    assert archived(recorded, "--horizon", "10m") == 0
    assert "of the table lie behind the planned end, and are left out" in capsys.readouterr().err
    assert archived(recorded, "--by", "me", to="b") == 1
    assert "--by and --note go with --label" in capsys.readouterr().err


def test_a_canary_of_which_nothing_was_read_is_not_archived(recorded, capsys):
    lines = (recorded / "table.csv").read_text().splitlines(keepends=True)
    moved = [re.sub(r"T1([234]):", r"T2\1:", line) if ",canary" in line else line for line in lines]
    moved = [line.replace("T24:", "T21:") for line in moved]
    (recorded / "moved.csv").write_text("".join(moved))
    assert archived(recorded, table="moved.csv") == 1
    assert "is the clock of one side another one?" in capsys.readouterr().err
    assert not len(History(recorded / "a"))


def test_a_backtest_that_was_resumed_reads_again_what_could_not_be_read(archive, config, tmp_path, capsys):
    (one, *_), kept = sorted(tmp_path.rglob("day=*/*.parquet")), str(tmp_path / "kept")
    whole = one.read_bytes()
    one.write_bytes(whole[:-50])
    asked = ["backtest", config(), "--history", archive.url, "--resume", kept]
    assert main([*asked, "--skip-corrupt"]) == 0
    capsys.readouterr()
    one.write_bytes(whole)
    assert main(asked) == 0
    assert "left out" not in capsys.readouterr().out
    lines = (tmp_path / "kept").read_text().splitlines(keepends=True)
    lines[1] = json.dumps({**json.loads(lines[1]), "rows": [{"id": "x"}]}) + "\n"
    (tmp_path / "kept").write_text("".join(lines))
    assert main(asked) == 1
    assert "line 2: is damaged; remove the file to start again" in capsys.readouterr().err


def test_a_limit_that_no_share_exceeds_is_no_rule(archive, config, capsys):
    assert main(["backtest", config(), "--history", archive.url, "--limit", "errors<=2"]) == 1
    assert "which is never broken; did you mean 2 %, 0.02?" in capsys.readouterr().err


def test_days_and_times_are_in_utc_wherever_one_is(archive, capsys, monkeypatch):
    told = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        main(
            [
                "history",
                "query",
                "--history",
                archive.url,
                "SELECT date_trunc('day', start) AS d FROM canaries ORDER BY id",
            ]
        )
        main(["history", "list", "--history", archive.url])
        told.append(capsys.readouterr().out)
    monkeypatch.undo()
    time.tzset()
    assert told[0] == told[1]


def test_an_address_beside_the_archive_is_refused(archive, capsys):
    for address in (next(Path(archive.url).glob("day=*")), Path(archive.url).parent):
        assert main(["history", "list", "--history", str(address)]) == 1
        assert "give the archive's own address" in capsys.readouterr().err
    assert main(["history", "drop", "--history", archive.url, "--before", "2206-01-01"]) == 1
    assert "is in the future" in capsys.readouterr().err
