"""`canary-judge report`: one file, or one message that names what is wrong and the remedy."""

import io
import json
import sys

import pytest

from benchmarks.picture_cases import judged
from canary_judge.__main__ import main


@pytest.fixture(scope="module")
def judgement():
    return judged("one").to_json(indent=2)


def test_a_judgement_becomes_a_file(judgement, tmp_path, capsys):
    (tmp_path / "j.json").write_text(judgement)
    assert main(["report", str(tmp_path / "j.json"), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "PASS" in page
    assert capsys.readouterr().out == ""


def test_from_a_pipe_to_a_pipe(judgement, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(judgement.encode())))
    assert main(["report", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_what_a_service_wraps_around_a_judgement_is_taken_off(judgement, tmp_path, capsys):
    (tmp_path / "j.json").write_text(json.dumps({"run": "r1", "judgement": json.loads(judgement)}))
    assert main(["report", str(tmp_path / "j.json")]) == 0
    assert "PASS" in capsys.readouterr().out


def changed(text, **changes):
    return json.dumps({**json.loads(text), **changes}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda _: b"", "is empty"),
        (lambda _: b"\xff\xfe{}", "is no text in UTF-8"),
        (lambda _: b"{'verdict': 'pass'}", "is no JSON: Expecting property name"),
        (lambda text: text.encode() * 2, "is no JSON: Extra data"),
        (lambda _: b"[" * 200_000, "is nested too deeply"),
        (lambda _: b"[1]", "is no judgement but a JSON list"),
        (lambda _: b"{}", "is no judgement: name: Field required (and "),
        (lambda text: changed(text, verdict="healthy"), "verdict: Input should be 'pass', 'marginal' or 'fail'"),
        (lambda text: changed(text, score=float("nan")), "judgement.score is not finite"),
        (lambda text: text.replace('"score": 100.0', '"score": 1e999').encode(), "judgement.score is not finite"),
        (lambda text: changed(text, end="2026-01-01T12:00:00"), "end is 2026-01-01T12:00:00, which has no time zone"),
    ],
)
def test_what_is_no_judgement_is_one_message_with_the_remedy(judgement, tmp_path, capsys, content, message):
    (tmp_path / "j.json").write_bytes(content(judgement))
    assert main(["report", str(tmp_path / "j.json")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"canary-judge: error: {tmp_path / 'j.json'}: ")
    assert message in printed.err
    assert "--format json" in printed.err
    assert printed.err.count("\n") == 1


def test_a_file_that_cannot_be_read_or_written_is_named(judgement, tmp_path, capsys):
    assert main(["report", str(tmp_path / "none.json")]) == 1
    assert "none.json: cannot be read: No such file or directory" in capsys.readouterr().err
    (tmp_path / "j.json").write_text(judgement)
    assert main(["report", str(tmp_path / "j.json"), "-o", str(tmp_path / "no" / "r.html")]) == 1
    assert "the report cannot be written" in capsys.readouterr().err
