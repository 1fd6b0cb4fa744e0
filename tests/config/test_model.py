"""The config is strict, and its errors name the field, the value and the remedy."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from canary_judge.config.model import JudgeConfig, json_schema
from canary_judge.config.presets import presets
from canary_judge.config.reading import read_yaml
from canary_judge.config.templates import render
from canary_judge.errors import ConfigError
from canary_judge.results import Side
from canary_judge.series import format_duration, parse_duration
from canary_judge.stats.margins import Margin
from tests.builders import config

ROOT = Path(__file__).parents[2]
GAUGE = {"name": "heap", "kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}
RATIO = {"name": "errors", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
LATENCY = {
    "name": "slow",
    "kind": "latency",
    "histogram": "d_seconds_bucket",
    "slower_than": "250ms",
    "margin": "1.25x",
}


@pytest.mark.parametrize(
    ("margin", "more", "expected"),
    [
        ("10%", {}, Margin(relative=0.1)),
        ("+10%", {}, Margin(relative=0.1)),
        ("1.5x", {}, Margin(relative=0.5)),
        ("1.1x", {}, Margin(relative=0.1)),
        ("0.8x", {"harm": "decrease"}, Margin(relative=0.2)),
        ("+20ms", {"unit": "s"}, Margin(absolute=0.02)),
        ("+20ms", {"unit": "ms"}, Margin(absolute=20)),
        ("+1.5s", {"unit": "milliseconds"}, Margin(absolute=1500)),
        ("+50MiB", {"unit": "bytes"}, Margin(absolute=52428800)),
        ("+3", {}, Margin(absolute=3)),
        ("+3 widgets", {"unit": "widgets"}, Margin(absolute=3)),
        ("1e-3%", {}, Margin(relative=1e-5)),
        ("10% or +20ms", {"unit": "s"}, Margin(relative=0.1, absolute=0.02)),
    ],
)
def test_margins_are_read_in_the_metrics_unit(margin, more, expected):
    found = config({**GAUGE, "margin": margin, **more}).metrics[0].parsed_margin()
    assert found.relative == (None if expected.relative is None else pytest.approx(expected.relative))
    assert found.absolute == (None if expected.absolute is None else pytest.approx(expected.absolute))


def test_percentage_points_are_for_shares():
    assert config({**RATIO, "margin": "1.5x or +0.1pp"}).metrics[0].parsed_margin() == Margin(
        relative=0.5, absolute=0.001
    )
    assert config({**RATIO, "limit": "5%"}).metrics[0].parsed_limit() == 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": [{**GAUGE, "margn": "10%"}]},
            r"metrics\[0\]\.margn \(heap\): unknown key; did you mean 'margin'\?",
        ),
        (
            {"metrics": [{**GAUGE, "harm": "up"}]},
            r"metrics\[0\]\.harm \(heap\): is 'up'; .*'increase', 'decrease' or 'either'",
        ),
        (
            {"metrics": [{k: v for k, v in GAUGE.items() if k != "harm"}]},
            r"harm \(heap\): is missing; say which direction hurts",
        ),
        ({"metrics": [{k: v for k, v in GAUGE.items() if k != "margin"}]}, "needs `margin`"),
        ({"metrics": [{**GAUGE, "margin": 10}]}, "10 is no margin; write it as 10%"),
        ({"metrics": [{**GAUGE, "margin": "ten"}]}, "'ten' is no margin"),
        ({"metrics": [{**GAUGE, "margin": "-10%"}]}, "'-10%' is no margin"),
        ({"metrics": [{**GAUGE, "margin": "0%"}]}, "must be positive"),
        ({"metrics": [{**GAUGE, "margin": "10% or 20%"}]}, "two relative parts"),
        ({"metrics": [{**GAUGE, "margin": "+1 or +2"}]}, "two absolute parts"),
        ({"metrics": [{**GAUGE, "margin": "1x or 2x or 3x"}]}, "is no margin"),
        ({"metrics": [{**GAUGE, "margin": "0.9x"}]}, "tolerates no increase"),
        ({"metrics": [{**GAUGE, "margin": "1.5x", "harm": "decrease"}]}, "tolerates no decrease"),
        ({"metrics": [{**GAUGE, "margin": "1.5x", "harm": "either"}]}, "write a percentage"),
        ({"metrics": [{**GAUGE, "margin": "100%", "harm": "decrease"}]}, "tolerates everything"),
        ({"metrics": [{**GAUGE, "margin": "+20ms"}]}, "set `unit:`"),
        ({"metrics": [{**GAUGE, "margin": "+20ms", "unit": "bytes"}]}, "cannot be converted"),
        ({"metrics": [{**GAUGE, "margin": "+1pp"}]}, "for shares"),
        ({"metrics": [{**RATIO, "margin": "+20ms"}]}, "percentage points"),
        ({"metrics": [{**RATIO, "limit": "5"}]}, "must be a percentage"),
        ({"metrics": [{**RATIO, "limit": "0%"}]}, "between 0% and 100%"),
        ({"metrics": [{**GAUGE, "limit": "much"}]}, "is no number with a unit"),
        ({"metrics": [{**GAUGE, "harm": "either", "limit": 5}]}, "`limit` needs `harm"),
        ({"metrics": [{**GAUGE, "kind": "guage"}]}, "`kind` must be one of"),
        ({"metrics": [{k: v for k, v in GAUGE.items() if k != "kind"}]}, "`kind` must be one of"),
        ({"metrics": [GAUGE, GAUGE]}, "two metrics are named 'heap'"),
        ({"metrics": [{**GAUGE, "role": "watch"}]}, "nothing could ever pass"),
        ({"metrics": []}, "there are no metrics"),
        ({"metrics": [{**GAUGE, "group": "latncy"}], "groups": {"latency": 1.0}}, "did you mean 'latency'"),
        ({"metrics": [{**LATENCY, "slower_than": 0.25}]}, "is no duration"),
        ({"metrics": [{**LATENCY, "histogram": "d_bucket"}]}, "`unit` is needed"),
        ({"metrics": [{**LATENCY, "harm": "decrease"}]}, "leave `harm` out"),
        (
            {"metrics": [{"name": "r", "kind": "rate", "events": "e", "harm": "increase", "margin": "+1"}]},
            "must be relative",
        ),
        ({"interval": 15}, "interval: 15 is no duration"),
        ({"interval": "15 seconds"}, "is no duration"),
        ({"interval": "0s"}, "no positive duration"),
        ({"interval": "99999999999d"}, "more than ten years"),
        ({"metrics": [{**GAUGE, "limit": "1e999"}]}, "is not finite"),
        ({"metrics": None}, "metrics"),
        ({"false_alarm_rate": 0.9}, "false_alarm_rate: is 0.9; input should be less than 0.5"),
        ({"false_alarm_rate": float("nan")}, "false_alarm_rate"),
        ({"false_alarm_rate": "1%"}, "false_alarm_rate: is '1%'"),
        ({"min_samples": 2}, "greater than or equal to 10"),
        ({"score": {"pass": 40, "marginal": 60}}, "above pass"),
        ({"score": {"pas": 40}}, "did you mean 'pass'"),
        ({"baseline": {"version": 1.1}}, "put quotes around it as you wrote it"),
        ({"preset": "istoi"}, "did you mean 'istio'"),
        ({"preset": {"name": "istio", "slower": "1s"}}, "slower"),
        ({"intervall": "15s"}, "intervall: unknown key; did you mean 'interval'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_remedy(change, message):
    data = {"name": "c", "interval": "15s", "metrics": [GAUGE], **change}
    with pytest.raises(ConfigError, match=message):
        JudgeConfig.from_mapping(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b", "line 2: key 'name' is given twice"),
        ("a: [", "is no valid YAML"),
        ("- a", "is list; it must be a mapping"),
        ("", "is NoneType; it must be a mapping"),
        ("1: 2", "key 1 is no text"),
        ("name: !!python/object:os.system x", "no valid YAML"),
        ("[" * 1000, "nested more than 100 deep"),
    ],
)
def test_bad_yaml_is_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        JudgeConfig.parse(text, name="shop.yaml")
    assert str(caught.value).startswith("shop.yaml: ")
    assert "\n" not in str(caught.value)


JSON = ("[1, 2.5, 1e3, -0, 1E-5, 1e999]", '{"b": true, "c": null}', r'"x\u00e9\u0000 \" \\"', '""', "[" * 98 + "]" * 98)
LEFT_TO_YAML = (
    ("NaN", "NaN"),
    ("[" * 99 + "]" * 99, None),
    (r'"\ud83d\ude00"', "no valid YAML or JSON"),
    ('{"b": 1, "b": 2}', "line 1: key 'b' is given twice"),
    ("01", 1),
    ("1, # comment", 1),
    ("9" * 5000, None),
)


@pytest.mark.parametrize("text", JSON)
def test_json_says_what_it_says_as_yaml(text, monkeypatch):
    found = read_yaml(f'  {{"a": {text}}}', "c.json")
    assert found == json.loads(f'{{"a": {text}}}')
    monkeypatch.setattr("canary_judge.config.reading._read_json", lambda text: None)
    assert repr(read_yaml(f'  {{"a": {text}}}', "c.json")) == repr(found)


@pytest.mark.parametrize(("text", "expected"), LEFT_TO_YAML)
def test_what_is_no_plain_json_is_read_as_before(text, expected, monkeypatch):
    def told():
        try:
            return repr(read_yaml(f'{{"a": {text}}}', "c.json"))
        except ConfigError as error:
            return str(error)

    found = told()
    monkeypatch.setattr("canary_judge.config.reading._read_json", lambda text: None)
    assert told() == found
    if expected is not None:
        assert str(expected) in found


def test_json_needs_no_yaml():
    code = (
        "import sys; from canary_judge.config.reading import read_yaml; read_yaml('{\"a\": 1}', 'c');"
        "assert 'yaml' not in sys.modules; read_yaml('a: 1', 'c'); assert 'yaml' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_stands_under_sources_is_never_shown():
    with pytest.raises(ConfigError, match=r"sources\.default: is of the wrong kind") as caught:
        config(GAUGE, sources={"default": "http://me:s3cret@prometheus"})
    assert "s3cret" not in str(caught.value)


def test_yaml_merge_keys_work():
    made = JudgeConfig.parse(
        """
        name: c
        interval: 15s
        metrics:
          - &heap {name: a, kind: gauge, query: q, harm: increase, margin: 10%}
          - {<<: *heap, name: b}
        """
    )
    assert [metric.name for metric in made.metrics] == ["a", "b"]


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        JudgeConfig.load("nowhere.yaml")


def test_a_config_survives_yaml_json_and_python():
    made = config(GAUGE, RATIO, LATENCY, baseline={"v": "1"}, history="6h", score={"pass": 90})
    data = made.model_dump(mode="json", by_alias=True)
    assert JudgeConfig.from_mapping(data) == made
    assert JudgeConfig.parse(json.dumps(data)) == made


def test_the_hash_leaves_sides_and_sources_out():
    made = config(GAUGE)
    assert made.with_sides(canary={"v": "2"}).hash() == made.hash()
    assert config(GAUGE, sources={"default": {"type": "prometheus"}}).hash() == made.hash()
    assert config({**GAUGE, "margin": "11%"}).hash() != made.hash()


def test_a_copy_that_decides_otherwise_has_its_own_hash():
    made, other = config(GAUGE), config({**GAUGE, "margin": "11%"})
    first = made.hash()
    assert made == config(GAUGE)  # a hash that was asked for is no part of the config
    assert made.model_copy(update={"metrics": other.metrics}).hash() == other.hash() != first
    assert made.model_copy(update={"baseline": {"v": "1"}, "metrics": other.metrics}).hash() == other.hash()
    assert made.model_copy(update={"baseline": {"v": "1"}}).hash() == first == made.model_copy().hash()
    assert pickle.loads(pickle.dumps(made)).hash() == first


def plain(node):
    """Older pydantic writes `enum` beside each `const` and leaves `additionalProperties: true` out: the same schemas."""
    if isinstance(node, dict):
        said_twice = {"enum"} if "const" in node else set()
        return {
            k: plain(v) for k, v in node.items() if k not in said_twice and (k, v) != ("additionalProperties", True)
        }
    return [plain(item) for item in node] if isinstance(node, list) else node


def test_the_json_schema_in_docs_is_in_step():
    path = ROOT / "docs" / "config.schema.json"
    assert plain(json.loads(path.read_text())) == plain(json_schema()), (
        "run: canary-judge schema > docs/config.schema.json"
    )


@pytest.mark.parametrize(
    ("template", "labels", "expected"),
    [
        ('up{v="${v}"}', {"v": 'a"b\\c'}, r'up{v="a\"b\\c"}'),
        ("up{v='${v}'}", {"v": "it's"}, r"up{v='it\'s'}"),
        ("up{v=`${v}`}", {"v": 'a"b'}, 'up{v=`a"b`}'),
        ('up{p=~"${v}-.+"}', {"v": "web.1"}, r'up{p=~"web\\.1-.+"}'),
        ('up{p!~ "${v}"}', {"v": "a|b"}, r'up{p!~ "a\\|b"}'),
        ('up{a=~"x",v="${v}"}', {"v": "1.4"}, 'up{a=~"x",v="1.4"}'),
        ('# don\'t\nup{v="${v}"}', {"v": 'a"b'}, '# don\'t\nup{v="a\\"b"}'),
        ('up{v="${v}"}', {"v": "two\nlines"}, 'up{v="two\\nlines"}'),
        (
            'rate(${name}_total{a="\\"${v}"}[${interval}])',
            {"name": "http", "v": "x", "interval": "15s"},
            'rate(http_total{a="\\"x"}[15s])',
        ),
    ],
)
def test_label_values_are_escaped_for_their_place(template, labels, expected):
    assert render(template, labels) == expected


@pytest.mark.parametrize(
    ("template", "labels", "message"),
    [
        ("${nme}", {"name": "x"}, "did you mean 'name'"),
        ("${env:TOKEN}", {}, "allowed under `sources` only"),
        ("up{v=`${v}`}", {"v": "a`b"}, "use double quotes"),
        ("${v}", {"v": "a} or up"}, "cannot stand outside of quotes"),
        ("${v", {"v": "x"}, "is not closed"),
    ],
)
def test_what_cannot_be_substituted_is_an_error(template, labels, message):
    with pytest.raises(ValueError, match=message):
        render(template, labels)


def test_an_undefined_label_is_an_error_only_when_queries_are_made():
    made = config({**GAUGE, "query": 'heap{v="${version}"}'}, canary={"version": "2"})
    with pytest.raises(ConfigError, match=r"metric 'heap', value of the baseline: `\$\{version\}` is not defined"):
        list(made.queries())
    queries = list(made.with_sides(baseline={"version": "1"}).queries())
    assert [(q.side, q.expression) for q in queries] == [(Side.BASELINE, 'heap{v="1"}'), (Side.CANARY, 'heap{v="2"}')]


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_expand_to_errors_slow_requests_and_volume(name):
    made = config(preset=name)
    names = [metric.name for metric in made.metrics]
    assert names == ["errors", "volume"] if name == "haproxy" else ["errors", "slow requests", "volume"]
    labels = dict.fromkeys(presets()[name].labels, "x")
    assert all("${" not in q.expression for q in made.with_sides(baseline=labels, canary=labels).queries())


def test_a_preset_and_own_metrics_go_together():
    made = config(GAUGE, preset={"name": "istio", "slower_than": "250ms", "error_margin": "2x"})
    assert [metric.name for metric in made.metrics] == ["errors", "slow requests", "volume", "heap"]
    assert made.metrics[1].bound() == 250
    assert made.metrics[0].parsed_margin() == Margin(relative=1.0)


@pytest.mark.parametrize("text", ["15s", "6h", "1h30m", "500ms", "2d"])
def test_durations_are_written_as_they_are_read(text):
    assert format_duration(parse_duration(text)) == text


def test_a_margin_with_a_plus_sign_needs_no_quotes():
    text = "name: a\ninterval: 1h\nmetrics: [{name: m, kind: mean, numerator: stars, denominator: ratings, harm: decrease, margin: +0.05}]"
    assert JudgeConfig.parse(text).metrics[0].parsed_margin().absolute == 0.05


VERSIONED = {**RATIO, "events": 'e{v="${version}"}', "total": 't{v="${version}"}'}


@pytest.mark.parametrize("given", [{"verison": "2.5"}, {"versoin": "2.5", "name": "shop"}])
def test_a_misspelt_label_does_not_let_another_version_be_judged(given):
    made = config(VERSIONED, baseline={"version": "2.3"}, canary={"version": "2.4"})
    with pytest.raises(ConfigError, match="canary: no query asks for the label .* did you mean 'version'"):
        made.with_sides(canary=given)
    with pytest.raises(ConfigError, match="version=2.3 would be judged, as the config says"):
        made.with_sides(baseline=given)


@pytest.mark.parametrize(
    "given",
    [
        {"version": "2.5", "commit": "6b5d"},
        {"namespace": "prod", "target": "web"},  # of the service
        {"scope": "web", "location": "eu", "step": "60"},  # of Kayenta
        {"hash": "6b5d", "region": "eu"},  # to be shown
    ],
)
def test_labels_that_no_query_asks_for_may_be_given(given):
    made = config(VERSIONED, baseline={"version": "2.3"}, canary={"version": "2.4"})
    assert made.with_sides(canary=given).canary == {"version": "2.4", **given}
    # a column of a table, which no placeholder tells
    assert config(VERSIONED, RATIO | {"name": "n"}, canary={"version": "2"}).with_sides(canary={"versions": "b"})
    # a label that is missing anyway is an error of its own
    with pytest.raises(ConfigError, match="version"):
        list(config(VERSIONED).with_sides(canary={"verison": "2.5"}).queries())


def test_the_labels_of_a_request_are_asked_for_too():
    http = {"default": {"type": "http", "url": "http://a/q", "parameters": {"query": "${query}{v:${version}}"}}}
    made = config(RATIO, sources=http, baseline={"version": "2.3"}, canary={"version": "2.4"})
    with pytest.raises(ConfigError, match="did you mean 'version'"):
        made.with_sides(canary={"verison": "2.5"})
