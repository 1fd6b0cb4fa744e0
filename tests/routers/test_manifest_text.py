"""Editing a manifest: what is not the weight stays, however the YAML is written."""

import itertools

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.errors import RouterError
from canary_judge.routers import from_config
from canary_judge.routers.yaml_text import documents

ALB = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
  annotations:
    alb.ingress.kubernetes.io/actions.app-root: {style}
{lines}
    # behind it
    other: kept   # the end
spec: {{}}
"""
JSON = '{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "a", "weight": 90}, {"serviceName": "b", "weight": 10}]}}'
TITLED = '{"Type":"forward","ForwardConfig":{"TargetGroups":[{"ServiceName":"a","Weight":90},{"ServiceName":"b"}]}}'
FOLDS = ["|", "|-", "|+", ">", ">-"]


def alb(text, file):
    file.write_text(text)
    return from_config(
        {"type": "aws-alb-ingress", "stable": "a", "canary": "b", "action": "app-root", "manifest": str(file)}
    )


@pytest.mark.parametrize("style", FOLDS)
@pytest.mark.parametrize("cut", [(), (24,), (24, 60)])
def test_a_weight_in_a_block_scalar_changes_and_no_other_byte(tmp_path, style, cut):
    places = [JSON.index(" ", at) for at in cut]
    parts = [JSON[i:j].strip() for i, j in itertools.pairwise([0, *places, len(JSON)])]
    before = ALB.format(style=style, lines="\n".join(f"      {part}" for part in parts))
    router = alb(before, tmp_path / "m.yaml")
    assert router.get_weight().percent == 10
    router.set_weight(25)
    after = (tmp_path / "m.yaml").read_text()
    assert after == before.replace('"weight": 90', '"weight": 75').replace('"weight": 10', '"weight": 25')
    assert router.get_weight().percent == 25
    router.rollback()
    assert (tmp_path / "m.yaml").read_text() == before.replace('"weight": 10', '"weight": 0').replace(
        '"weight": 90', '"weight": 100'
    )


def test_a_weight_that_is_not_written_is_added_in_the_spelling_of_the_others(tmp_path):
    router = alb(ALB.format(style=f"'{TITLED}'", lines=""), tmp_path / "m.yaml")
    router.set_weight(5)
    assert router.get_weight().percent == 5
    assert '{"ServiceName":"b", "Weight": 5}' in (tmp_path / "m.yaml").read_text()


ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
spec:
  http:
  - name: a
    route: &split   # one
    - {{destination: {{host: s}}, weight: 90}}
    - {{destination: {{host: c}}, weight: 10}}
  - name: b
    route: *split
  - {{name: d, route: *split}}   # {note}
"""


@pytest.mark.parametrize("chosen", [["a"], ["b"], ["d"], ["a", "d"], ["a", "b", "d"]])
def test_an_alias_ties_nothing_to_the_routes_that_are_meant(tmp_path, chosen):
    file = tmp_path / "m.yaml"
    file.write_text(ROUTES.format(note="kept"))
    router = from_config({"type": "istio", "stable": "s", "canary": "c", "routes": chosen, "manifest": str(file)})
    router.set_weight(25)
    found = {one["name"]: one["route"][1]["weight"] for one in yaml.safe_load(file.read_text())["spec"]["http"]}
    assert found == {name: 25 if name in chosen else 10 for name in "abd"}
    assert "# kept" in file.read_text()
    assert "# one" in file.read_text()
    router.rollback()
    found = {one["name"]: one["route"][1]["weight"] for one in yaml.safe_load(file.read_text())["spec"]["http"]}
    assert found == {name: 0 if name in chosen else 10 for name in "abd"}


WEIGHTS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
{top}spec:
  http:
  - name: a
    route:
    - {{destination: {{host: s}}, weight: {s}}}   # kept
    - {{destination: {{host: c}}, weight: {c}}}
  - name: other
    route:
    - {{destination: {{host: s2}}, weight: {s2}}}
    - {{destination: {{host: c2}}, weight: {c2}}}
"""
ANCHORED = {
    "both": {"top": "", "s": "&s 75", "c": "&c 25", "s2": "*s", "c2": "*c"},
    "one": {"top": "", "s": "75", "c": "&c 25", "s2": "75", "c2": "*c"},
    "by a block above": {"top": "x-split: {s: &s 75, c: &c 25}\n", "s": "*s", "c": "*c", "s2": "*s", "c2": "*c"},
    "from the other": {"top": "x: &c 25\n", "s": "75", "c": "*c", "s2": "&s 75", "c2": "*c"},
}


@pytest.mark.parametrize("how", ANCHORED)
def test_a_weight_with_an_anchor_can_be_written_and_0_too(tmp_path, how):
    """What shares it by an alias keeps what it has; else a broken canary kept its traffic for ever."""
    file = tmp_path / "m.yaml"
    file.write_text(WEIGHTS.format(**ANCHORED[how]))
    router = from_config({"type": "istio", "stable": "s", "canary": "c", "routes": ["a"], "manifest": str(file)})
    for percent in (50, 0):
        router.set_weight(percent) if percent else router.rollback()
        one, other = yaml.safe_load(file.read_text())["spec"]["http"]
        assert [each["weight"] for each in one["route"]] == [100 - percent, percent]
        assert [each["weight"] for each in other["route"]] == [75, 25]
        assert "# kept" in file.read_text()


def test_an_alias_bomb_is_refused(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in itertools.pairwise("abcdefghi")]
    file = tmp_path / "m.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(RouterError, match="more than 1,000,000 values"):
        from_config({"type": "istio", "stable": "s", "canary": "c", "name": "x", "manifest": str(file)}).get_weight()


@settings(max_examples=100)
@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_documents_are_what_yaml_says(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert [one for _, one in documents(text)] == [yaml.safe_load(text)]


ONE_ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
spec:
  http:
  - route:
    - {{destination: {{host: s}}, weight:{weight}}}
    - {{destination: {{host: c}}, weight: 10}}
"""
ISTIO = {"type": "istio", "stable": "s", "canary": "c"}


@pytest.mark.parametrize("weight", [" null", " ~", " "])
def test_a_weight_that_is_null_is_there_and_is_replaced(tmp_path, weight):
    file = tmp_path / "m.yaml"
    file.write_text(ONE_ROUTE.format(weight=weight))
    router = from_config({**ISTIO, "manifest": str(file)})
    router.set_weight(25)
    assert file.read_text().count("weight") == 2
    assert router.get_weight().percent == 25
    router.rollback()
    assert router.get_weight().percent == 0


@pytest.mark.parametrize(
    "second",
    ["- {<<: *s, destination: {host: c}, weight: 10}", "- <<: *s\n      destination: {host: c}\n      weight: 10"],
)
def test_a_merge_key_is_refused_in_a_line(tmp_path, second):
    file = tmp_path / "m.yaml"
    before = ONE_ROUTE.format(weight=" 90").replace("- {dest", "- &s {dest", 1)
    before = before[: before.index("    - {destination: {host: c}")] + f"    {second}\n"
    file.write_text(before)
    router = from_config({**ISTIO, "manifest": str(file)})
    assert router.get_weight().percent == 10
    with pytest.raises(RouterError, match="a merge key .`<<`. stands for what would change; write it out"):
        router.rollback()
    assert file.read_text() == before


MIRRORS = [
    ("mirror: {host: c}", True),
    ("mirror: {host: c}\n    mirrorPercentage: {value: 0}", False),
    ("mirror: {host: c}\n    mirrorPercentage: {value: 5}", True),
    ("mirror: {host: c}\n    mirrorPercent: 0", False),
    ("mirror: {host: c}\n    mirror_percent: 0", False),
    ("mirrors: [{destination: {host: c}, percentage: {value: 0}}]", False),
    ("mirrors: [{destination: {host: c}, percentage: {value: 1}}]", True),
    ("mirrors: [{destination: {host: c}}]", True),
]


@pytest.mark.parametrize(("mirror", "told"), MIRRORS)
def test_a_mirror_of_nothing_leads_nowhere(tmp_path, mirror, told):
    file = tmp_path / "m.yaml"
    file.write_text(ONE_ROUTE.format(weight=" 90") + f"    {mirror}\n")
    router = from_config({**ISTIO, "manifest": str(file)})
    assert bool(router.leftovers()) is told


GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  rules:
  - filters: [{rule}]
    backendRefs:
    - {{name: s, weight: 90, filters: [{backend}]}}
    - {{name: c, weight: 10}}
"""


@pytest.mark.parametrize("where", ["rule", "backend"])
@pytest.mark.parametrize(
    ("share", "told"),
    [
        ("", True),
        (", percent: 0", False),
        (", percent: 3", True),
        (", fraction: {numerator: 0}", False),
        (", fraction: {numerator: 1, denominator: 1000}", True),
    ],
)
def test_a_mirror_stands_at_a_rule_or_at_a_destination(tmp_path, where, share, told):
    mirror = f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: c}}{share}}}}}"
    file = tmp_path / "m.yaml"
    file.write_text(GATEWAY.format(**{"rule": "", "backend": "", where: mirror}))
    router = from_config({"type": "gateway-api", "stable": "s", "canary": "c", "manifest": str(file)})
    assert bool(router.leftovers()) is told
