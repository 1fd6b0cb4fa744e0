"""Any object, any weight: nothing changes but the weights of the two destinations, and 0 takes all of it back."""

import copy
import json

import jsonpatch
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary_judge.errors import NotEnoughWeight, NotWeighted
from canary_judge.routers.ingress import ingress_changes, ingress_reading
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.kubernetes import patched
from canary_judge.routers.weighted import Target, changes, reading

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
STABLE, CANARY, ACTION = "app-stable", "app-canary", "root"
JUNK = st.dictionaries(
    st.sampled_from(["timeout", "retries", "filters~1", "a/b", "ü"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
    max_size=3,
)  # fmt: skip
# where each kind keeps its list, how a destination is named, and its key for the weight
SHAPES = {
    "istio": (("http",), "route", lambda name: {"destination": {"host": name}}, "weight"),
    "gateway-api": (("rules",), "backendRefs", lambda name: {"name": name, "port": 80}, "weight"),
    "contour": (("routes",), "services", lambda name: {"name": name, "port": 80}, "weight"),
    "apisix": (("http",), "backends", lambda name: {"serviceName": name}, "weight"),
    "traefik": (("weighted",), "services", lambda name: {"name": name}, "weight"),
    "smi": ((), "backends", lambda name: {"service": name}, "weight"),
    "aws-alb-ingress": ((), "TargetGroups", lambda name: {"ServiceName": name}, "Weight"),
}


@st.composite
def destinations(draw, kind, names):
    _, _, named, key = SHAPES[kind]
    listed = []
    for name in names:
        one = {**draw(JUNK), **named(name)}
        if draw(st.booleans()):
            one[key] = draw(st.integers(0, 200))
        listed.append(one)
    return draw(st.permutations(listed))


@st.composite
def objects(draw):
    kind = draw(st.sampled_from(sorted(SHAPES)))
    path, key, _, _ = SHAPES[kind]
    others = draw(st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2))
    split = draw(destinations(kind, [STABLE, CANARY, *others]))
    spec = draw(JUNK)
    if kind == "aws-alb-ingress":
        separators = draw(st.sampled_from([None, (",", ":")]))
        action = {**spec, "Type": "forward", "ForwardConfig": {"TargetGroups": split}}
        text = json.dumps(action, separators=separators)
        annotations = {f"alb.ingress.kubernetes.io/actions.{ACTION}": text, "other": "kept"}
        return kind, {"kind": "Ingress", "metadata": {"namespace": "prod", "annotations": annotations}, "spec": {}}
    if kind == "traefik":
        spec["weighted"] = {**draw(JUNK), key: split}
    elif kind == "smi":
        spec[key] = split
    else:
        routes = [
            {**draw(JUNK), key: draw(destinations(kind, names))}
            for names in draw(st.lists(st.sampled_from([["x"], ["y", CANARY]]), max_size=2))
        ]
        routes.insert(draw(st.integers(0, len(routes))), {**draw(JUNK), key: split})
        spec[path[0]] = routes
    return kind, {**draw(JUNK), "kind": "K", "metadata": {"name": "app", "namespace": "prod"}, "spec": spec}


def without_weights(kind, obj):
    """The object, blind for the weights of the two destinations in the one list that has both."""
    _, _, named, key = SHAPES[kind]
    obj = copy.deepcopy(obj)
    if kind == "aws-alb-ingress":
        annotations = obj["metadata"]["annotations"]
        name = f"alb.ingress.kubernetes.io/actions.{ACTION}"
        annotations[name] = json.loads(annotations[name])

    def visit(value):
        if isinstance(value, list):
            mine = [
                one
                for one in value
                if isinstance(one, dict) and any(named(side).items() <= one.items() for side in (STABLE, CANARY))
            ]
            if len(mine) == 2:
                for one in mine:
                    one.pop(key, None)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            visit(inner)

    visit(obj)
    return obj


def set_to(kind, obj, percent):
    """By an independent implementation of JSON Patch, which must agree with ours."""
    operations = changes(KINDS[kind], obj, target(), percent)
    result = jsonpatch.apply_patch(obj, operations)
    assert patched(obj, operations) == result
    return result, operations


def target():
    return Target(stable=STABLE, canary=CANARY, action=ACTION)


@quick
@given(objects(), st.integers(0, 100))
def test_only_the_two_weights_change(made, percent):
    kind, obj = made
    before = copy.deepcopy(obj)
    try:
        after, _ = set_to(kind, obj, percent)
    except (NotEnoughWeight, NotWeighted):
        return
    assert obj == before
    assert without_weights(kind, after) == without_weights(kind, obj)
    assert reading(KINDS[kind], after, target()).percent == pytest.approx(percent, abs=0.005)
    assert set_to(kind, after, percent)[1] == []


@quick
@given(objects(), st.integers(1, 100))
def test_zero_takes_all_of_it_back(made, percent):
    kind, obj = made
    try:
        start, _ = set_to(kind, set_to(kind, obj, 100)[0], 0)  # the weights written out
        raised, _ = set_to(kind, start, percent)
    except (NotEnoughWeight, NotWeighted):
        return
    assert set_to(kind, raised, 0)[0] == start


@quick
@given(objects(), st.integers(0, 100))
def test_every_patch_tests_what_it_replaces(made, percent):
    kind, obj = made
    try:
        operations = changes(KINDS[kind], obj, target(), percent)
    except (NotEnoughWeight, NotWeighted):
        return
    if operations:
        assert operations[0]["op"] == "test"
        assert all(one["path"].startswith(operations[0]["path"]) for one in operations[1:])


@quick
@given(
    st.dictionaries(st.sampled_from(["owner", "a/b~c"]), st.text(max_size=4)),
    st.one_of(st.none(), st.integers(0, 100)),
    st.one_of(st.none(), st.sampled_from([50, 100, 1000])),
    st.integers(0, 100),
)
def test_an_ingress_changes_in_one_annotation(others, weight, total, percent):
    prefix = "nginx.ingress.kubernetes.io"
    annotations = {**others, f"{prefix}/canary": "true"}
    if weight is not None:
        annotations[f"{prefix}/canary-weight"] = str(weight)
    if total is not None:
        annotations[f"{prefix}/canary-weight-total"] = str(total)
    obj = {"kind": "Ingress", "metadata": {"name": "c", "annotations": annotations}}
    operations = ingress_changes(obj, percent)
    after = jsonpatch.apply_patch(obj, operations)
    assert patched(obj, operations) == after
    assert ingress_reading(after).percent == pytest.approx(percent)
    rest = {key: value for key, value in after["metadata"]["annotations"].items() if not key.endswith("canary-weight")}
    assert rest == {key: value for key, value in annotations.items() if not key.endswith("canary-weight")}
    assert ingress_changes(after, percent) == []


@pytest.mark.parametrize(("wanted", "name"), [("2", "2"), (2, 2), ("1", 1), (0, "2"), ("0", "2")], ids=repr)
def test_a_route_is_found_by_its_name_and_else_by_its_position(wanted, name):
    def rule(title, weight):
        backends = [{"name": STABLE, "weight": 100 - weight}, {"name": CANARY, "weight": weight}]
        return {**({"name": title} if title else {}), "backendRefs": backends}

    obj = {"metadata": {"namespace": "prod"}, "spec": {"rules": [rule("2", 10), rule("", 20), rule("", 30)]}}
    target = Target(stable=STABLE, canary=CANARY, routes=(wanted,))
    expected = {"2": 10, 1: 20, 2: 30}[name]
    assert reading(KINDS["gateway-api"], obj, target).percent == expected
