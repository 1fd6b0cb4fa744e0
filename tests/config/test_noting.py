"""Comments in the text of a config: each beside its value, every other byte as it was."""

import random
import re

import pytest
import yaml

from canary_judge.config.noting import noted
from canary_judge.errors import ConfigError

TEXT = """# our checkout: é 漢字 😀
name: checkout   # the shop
metrics:
  - name: errors          # the pager metric
    kind: ratio
    margin: 1.5x or +0.1pp   # agreed with the SREs
  # latency below
  - {name: slow, kind: latency, margin: 1.25x}
  - {name: two, margin: 1.25x, query: "a
       b"}
  - name: memory
    margin: "10% # of it"
    query: >
      avg(process)
  - name: hash
    margin: '10%' #
history: 6h"""
NAMES = ("errors", "slow", "memory", "hash")
NOTES = {("metrics", name, "margin"): f"of {name}" for name in NAMES} | {("history",): "30 tau"}


def without(text):
    """The text without our comments, and without what had to be put before them."""
    return re.sub(r"(  #)? \[calibrate: [^\]]*\]", "", text)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n# end\n"])
def test_each_stands_beside_its_value_and_nothing_else_changes(newline, mark, end):
    text = mark + (TEXT + end).replace("\n", newline)
    told, left = noted(text, NOTES, by="calibrate")
    assert left == {}
    assert without(told) == text
    assert yaml.safe_load(told) == yaml.safe_load(text)
    lines = told.split(newline)
    for name in NAMES:
        (line,) = [line for line in lines if f"[calibrate: of {name}]" in line]
        assert "margin" in line
        assert re.search(r"#.*\[calibrate", line)
    assert noted(told, NOTES, by="calibrate")[0] == told
    other = {path: f"{note}, again" for path, note in NOTES.items()}
    assert noted(told, other, by="calibrate")[0] == noted(text, other, by="calibrate")[0]


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (TEXT, ("metrics", "two", "margin"), "a part of the value"),
        (TEXT, ("metrics", "none", "margin"), "the file has no 'none' of its own there"),
        (TEXT, ("metrics", "errors", "limit"), "the file has no 'limit' of its own there"),
        (TEXT, ("metrics", "memory", "query"), "several lines"),
        (TEXT, ("metrics",), "no single value"),
        ("a: &x 1\nb: *x\n", ("a",), "by an alias"),
        ("a: &x 1\nb: *x\n", ("b",), "by an alias"),
        (
            "base: &b {margin: 1x}\nmetrics:\n- <<: *b\n  name: m\n",
            ("metrics", "m", "margin"),
            "no 'margin' of its own",
        ),
        ("", ("a",), "the file has no 'a'"),
        ("5", ("a",), "the file has no 'a'"),
        ("- 1\n- [2]\n- {name: [3]}\n", ("a",), "the file has no 'a'"),
    ],
)
def test_what_cannot_stand_there_is_left_out_and_told(text, path, why):
    told, left = noted(text, {path: "x"}, by="calibrate")
    assert told == text
    assert why in left[path]


def test_of_two_in_one_line_the_first_is_written():
    text = "metrics: [{name: a, margin: 1x}, {name: b, margin: 2x}]\n"
    notes = {("metrics", name, "margin"): name for name in "ab"}
    told, left = noted(text, notes, by="calibrate")
    assert told == text.rstrip() + "  # [calibrate: a]\n"
    assert "in its line" in left["metrics", "b", "margin"]


def test_a_hash_in_a_text_is_no_comment():
    text = 'metrics:\n- {name: a, margin: 1x, query: "a #b"}\n'
    told, left = noted(text, {("metrics", "a", "margin"): "x"}, by="calibrate")
    assert left == {}
    assert told == text.rstrip() + "  # [calibrate: x]\n"


def test_a_note_stays_one_comment_whatever_it_says():
    told, _ = noted("a: 1\n", {("a",): "x]\nb: 2\u2028[\x1b[31m"}, by="calibrate")
    assert yaml.safe_load(told) == {"a": 1}
    assert told.count("\n") == 1
    assert "\x1b" not in told
    assert noted(told, {("a",): "y"}, by="calibrate")[0] == "a: 1  # [calibrate: y]\n"


@pytest.mark.parametrize("text", ["x: [1", "a: 1\n---\nb: 2\n", "[" * 2000])
def test_what_is_no_yaml_is_one_message(text):
    with pytest.raises(ConfigError, match="the config is no YAML"):
        noted(text, {("a",): "x"}, by="calibrate")


def test_mutated_texts_mean_the_same_or_are_refused():
    rng = random.Random(1)
    pieces = ["\n", " ", "#", '"', "'", "{", "}", "[", "]", ":", ",", "- ", "&a ", "*a", "|", ">", "\t", "é", "\r\n"]
    changed = 0
    for _ in range(1500):
        text = TEXT
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(pieces) + text[at + rng.randrange(2) :]
        try:
            meant = yaml.safe_load(text)
            told, left = noted(text, NOTES, by="calibrate")
        except (yaml.YAMLError, ConfigError, ValueError):
            continue
        assert yaml.safe_load(told) == meant
        assert without(told) == text
        assert told.count("[calibrate: ") == len(NOTES) - len(left)
        changed += told != text
    assert changed > 300
