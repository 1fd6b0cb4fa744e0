"""YAML from anybody: bounds before a parser recurses, and the scalars of YAML 1.2."""

import itertools
import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge import JudgeConfig
from canary_judge.errors import CanaryJudgeError, ConfigError
from canary_judge.routers import from_config
from canary_judge.safe_yaml import DEEPEST, check_bounds, config_loader

N = 50_000
SHAPES = {
    "flow lists": "[" * N,
    "flow mappings": "{a: " * N,
    "block lists": "- " * N,
    "block keys": "? " * N,
    "both": "- ? " * N,
    "indented": "\n".join(" " * k + "a:" for k in range(5000)),
    "anchored": "".join(f"[&a{k} " for k in range(N)),
    "tagged": "!!seq [" * N,
    "closed": "[" * N + "]" * N,
    "within text": "a: b\nc:\n" + " [" * N,
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_no_nesting_reaches_a_parser_that_recurses(text, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="nested more than 100 deep"):
        JudgeConfig.load(file)
    with pytest.raises(CanaryJudgeError, match="nested more than 100 deep"):
        from_config({"type": "istio", "stable": "s", "canary": "c", "manifest": str(file)}).get_weight()


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_cannot_grow_without_measure(merged):
    lines = ["a: &a {x: 1, y: 2}"] if merged else ["a: &a [x, x]"]
    for one, other in itertools.pairwise("abcdefghijklmnopqrstuvw"):
        lines.append(f"{other}: &{other} [{f'*{one}'}, {f'*{one}'}]")
    with pytest.raises(ValueError, match="line 18: its aliases make more than 1,000,000 values"):
        check_bounds("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("true", True), ("False", False), ("1:30", "1:30"), ("0100", 100),
        ("0o10", 8), ("0x1F", 31), ("-7", -7), ("1_000", "1_000"), ("2026-01-01", "2026-01-01"), ("1e3", 1000.0),
        (".5", 0.5), ("-.inf", -math.inf), ("~", None), ("null", None), ("=", "="), ("1.5x", "1.5x"), ("", None),
        ("12e03", 12000.0), ("0b11", "0b11"), ("+1", "+1"), ("+0.05", "+0.05"), ("'no'", "no"), ("1.", 1.0),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = yaml.load(text, config_loader())
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=200)
@given(st.text(alphabet="[]{}-?:,&*!|>'\"ab \n#%@`", max_size=80))
def test_whatever_it_is_it_ends_in_one_message_or_passes(text):
    message = ""
    try:
        check_bounds(text)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


@settings(max_examples=100)
@given(st.recursive(st.text(max_size=3) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=20))
def test_what_is_small_passes(value):
    check_bounds(yaml.safe_dump(value))


def test_the_deepest_that_is_read():
    check_bounds("[" * DEEPEST + "]" * DEEPEST)
