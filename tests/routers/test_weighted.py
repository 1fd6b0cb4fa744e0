"""Any object, any weight: nothing changes but the weights of the two destinations, and 0 takes all of it back."""

import copy
import json
from fractions import Fraction

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.errors import (
    AmbiguousRoute,
    DestinationNotFound,
    NotEnoughWeight,
    NotWeighted,
    RouteNotFound,
    RouterError,
)
from canary_judge.routers.ingress import ingress_changes, ingress_reading
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.kubernetes import patched
from canary_judge.routers.weighted import Target, changes, reading, residuals

quick = settings(max_examples=150, derandomize=True)
STABLE, CANARY, ACTION = "app-stable", "app-canary", "root"
JUNK = st.dictionaries(
    st.sampled_from(["timeout", "retries", "filters~1", "a/b", "ü"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)
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


def unwritten(kind, obj):
    """Whether more than the two destinations share equally, because none of them has a weight."""
    listed = split_of(kind, obj)
    return kind == "contour" and len(listed) > 2 and not any("weight" in one for one in listed)


def without_weights(kind, obj, *, of_all=False):
    """The object, blind for the weights of the two destinations (or all) in the one list that has both."""
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
                for one in value if of_all else mine:
                    one.pop(key, None)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            visit(inner)

    visit(obj)
    return obj


# what a destination without a weight gets; contour: an equal share where none has one
DEFAULT = {"istio": 0, "gateway-api": 1, "apisix": 100, "traefik": 1, "smi": 1, "aws-alb-ingress": 1}


def split_of(kind, obj):
    """The one list with both destinations."""
    path, key, _, _ = SHAPES[kind]
    if kind == "aws-alb-ingress":
        return json.loads(obj["metadata"]["annotations"][f"alb.ingress.kubernetes.io/actions.{ACTION}"])[
            "ForwardConfig"
        ][key]
    spec = obj["spec"]
    if kind in ("traefik", "smi"):
        return (spec["weighted"] if kind == "traefik" else spec)[key]
    named = SHAPES[kind][2]
    return next(
        route[key]
        for route in spec[path[0]]
        if all(any(named(side).items() <= one.items() for one in route[key]) for side in (STABLE, CANARY))
    )


def refusal(kind, obj, percent):
    """Why this weight cannot be written without touching others, by the rules of docs/routers.md; None when it can."""
    _, _, named, key = SHAPES[kind]
    listed = split_of(kind, obj)
    default = DEFAULT.get(kind, 0 if any(key in one for one in listed) else 1)
    weights = [one.get(key, default) for one in listed]
    total = sum(weights)
    canary = next(w for w, one in zip(weights, listed, strict=True) if named(CANARY).items() <= one.items())
    if total and abs(100 * canary / total - percent) < 0.005:
        return None
    if unwritten(kind, obj):  # nobody's share can be kept then, but 0 can always be written
        return NotWeighted if percent else None
    if len(listed) == 2:
        return None
    mine = [named(side).items() for side in (STABLE, CANARY)]
    others = sum(w for w, one in zip(weights, listed, strict=True) if not any(side <= one.items() for side in mine))
    share = Fraction(percent * (total or 100), 100)
    return NotEnoughWeight if share.denominator > 1 or share + others > (total or 100) else None


def set_to(kind, obj, percent):
    """By an independent implementation of JSON Patch, which must agree with ours; None where refusing is right."""
    if (expected := refusal(kind, obj, percent)) is not None:
        with pytest.raises(expected):
            changes(KINDS[kind], obj, target(), percent)
        return None
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
    made = set_to(kind, obj, percent)
    assert obj == before
    if made is None:
        return
    after, _ = made
    evened = unwritten(kind, obj) and percent == 0
    assert without_weights(kind, after, of_all=evened) == without_weights(kind, obj, of_all=evened)
    if evened:
        assert sorted(one["weight"] for one in split_of(kind, after)) == [0] + [1] * (len(split_of(kind, after)) - 1)
    assert reading(KINDS[kind], after, target()).percent == pytest.approx(percent, abs=0.005)
    assert set_to(kind, after, percent)[1] == []


@quick
@given(objects(), st.integers(1, 100))
def test_zero_takes_all_of_it_back(made, percent):
    kind, obj = made
    start = obj
    for first in (100, 0):  # the weights written out
        if (made := set_to(kind, start, first)) is None:
            return
        start = made[0]
    if (raised := set_to(kind, start, percent)) is not None:
        assert set_to(kind, raised[0], 0)[0] == start


@quick
@given(objects(), st.integers(0, 100))
def test_every_patch_tests_what_it_replaces(made, percent):
    kind, obj = made
    if (made := set_to(kind, obj, percent)) is None:
        return
    if operations := made[1]:
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


def gateway(*listed, **more):
    """An HTTPRoute with one rule; each destination is (name, weight)."""
    backends = [{"name": name, **({} if weight is None else {"weight": weight})} for name, weight in listed]
    return {"metadata": {"name": "app", "namespace": "prod"}, "spec": {"rules": [{"backendRefs": backends, **more}]}}


def gateway_changes(obj, percent, **more):
    return changes(KINDS["gateway-api"], obj, Target(stable=STABLE, canary=CANARY, **more), percent)


@pytest.mark.parametrize("side", ["stable", "canary"])
def test_a_destination_that_is_listed_twice_is_refused_and_never_half_written(side):
    twice = STABLE if side == "stable" else CANARY
    obj = gateway((STABLE, 90), (CANARY, 10), (twice, 5))
    with pytest.raises(AmbiguousRoute, match=f"lists {side} '{twice}' 2 times"):
        gateway_changes(obj, 25)


@pytest.mark.parametrize("side", ["stable", "canary"])
def test_a_missing_destination_is_not_invented(side):
    obj = gateway((CANARY if side == "stable" else STABLE, 100))
    weight = 100 if side == "stable" else 0
    with pytest.raises(DestinationNotFound, match=f"no {side} destination .* add it with weight {weight}"):
        gateway_changes(obj, 25)


def test_a_route_that_is_not_there_or_not_unique_is_refused():
    obj = gateway((STABLE, 90), (CANARY, 10))
    obj["spec"]["rules"].append(obj["spec"]["rules"][0])
    with pytest.raises(AmbiguousRoute, match=r"in several rules \(0, 1\)"):
        gateway_changes(obj, 25)
    with pytest.raises(RouteNotFound, match="no rule '7'; there are 0, 1"):
        gateway_changes(obj, 25, routes=("7",))
    with pytest.raises(NotWeighted, match="no list of destinations to weigh"):
        gateway_changes(gateway(), 25)
    with pytest.raises(NotWeighted, match="no rule with a list of destinations"):
        gateway_changes({"metadata": {"name": "app"}, "spec": {}}, 25)


@pytest.mark.parametrize(
    ("before", "percent", "after"),
    [
        ([90, 10], 25, [75, 25]),
        ([90, 10], 12.5, [8750, 1250]),
        ([0, 0], 0, [100, 0]),
        ([None, None], 50, None),
        ([50, 50], 50, None),
        ([1, 1], 100, [0, 100]),
        ([99, 1], 1.004, None),
        ([99, 1], 1.01, [9899, 101]),
    ],
)
def test_two_weights_add_up_to_a_hundred_or_to_ten_thousand(before, percent, after):
    obj = gateway((STABLE, before[0]), (CANARY, before[1]))
    operations = gateway_changes(obj, percent)
    if after is None:
        assert operations == []
        return
    listed = jsonpatch.apply_patch(obj, operations)["spec"]["rules"][0]["backendRefs"]
    assert [one["weight"] for one in listed] == after
    replaced = {operation["path"][-8] for operation in operations[1:]}
    assert replaced == {str(k) for k in (0, 1) if before[k] != after[k]}  # a weight that stays is not written


@pytest.mark.parametrize(
    ("weights", "percent", "after"),
    [
        ((70, 10, 20), 25, [55, 25, 20]),
        ((70, 10, 20), 80, [0, 80, 20]),
        ((70, 10, 20), 81, "hold 20 %"),
        ((7, 1, 2), 25, "cannot be written exactly; weights here add up to 10"),
        ((7, 1, 2), 20, [6, 2, 2]),
        ((0, 0, 0), 40, [60, 40, 0]),
    ],
)
def test_a_third_destination_keeps_its_weight(weights, percent, after):
    obj = gateway(*zip((STABLE, CANARY, "other"), weights, strict=True))
    if isinstance(after, str):
        with pytest.raises(NotEnoughWeight, match=after):
            gateway_changes(obj, percent)
        return
    listed = jsonpatch.apply_patch(obj, gateway_changes(obj, percent))["spec"]["rules"][0]["backendRefs"]
    assert [one["weight"] for one in listed] == after


def test_istio_takes_whole_percents_only():
    route = {
        "route": [{"destination": {"host": STABLE}, "weight": 90}, {"destination": {"host": CANARY}, "weight": 10}]
    }
    obj = {"metadata": {"name": "app", "namespace": "prod"}, "spec": {"http": [route]}}
    with pytest.raises(NotEnoughWeight, match="use a whole percent"):
        changes(KINDS["istio"], obj, target(), 12.5)


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_what_is_no_share_is_refused(percent):
    with pytest.raises(ValueError, match="give a share of 0 to 100"):
        gateway_changes(gateway((STABLE, 90), (CANARY, 10)), percent)


def test_routes_that_disagree_have_no_one_weight():
    obj = gateway((STABLE, 90), (CANARY, 10))
    obj["spec"]["rules"].append(gateway((STABLE, 50), (CANARY, 50))["spec"]["rules"][0])
    both = Target(stable=STABLE, canary=CANARY, routes=(0, 1))
    found = reading(KINDS["gateway-api"], obj, both)
    assert (found.percent, dict(found.per_route)) == (None, {"0": 10.0, "1": 50.0})
    after = jsonpatch.apply_patch(obj, changes(KINDS["gateway-api"], obj, both, 0))
    assert reading(KINDS["gateway-api"], after, both).percent == 0.0


@pytest.mark.parametrize(
    ("other", "weights", "reason"),
    [
        ({}, (90, 10), "weight 10 in a route that was not selected"),
        ({"matches": [{"headers": [{"name": "x-canary"}]}]}, (0, 100), "header match pins canary"),
        ({"matches": [{"headers": [{"name": "x-canary"}]}]}, (50, 50), "header match sends 50 % to canary"),
        ({"matches": [{"headers": [{"name": "Cookie"}]}]}, (0, 100), "cookie match sends 100 % to canary"),
        ({}, (100, 0), None),
    ],
)
def test_what_still_leads_to_the_canary_is_told(other, weights, reason):
    obj = gateway((STABLE, 100), (CANARY, 0))
    obj["spec"]["rules"].append(gateway((STABLE, weights[0]), (CANARY, weights[1]), **other)["spec"]["rules"][0])
    found = residuals(KINDS["gateway-api"], obj, Target(stable=STABLE, canary=CANARY, routes=(0,)))
    assert [str(one) for one in found] == ([] if reason is None else [f"rule 1: {reason}"])


# --- what went wrong in the field ------------------------------------------------------------------------------------


def virtual_service(*weights, **more):
    hosts = ("app-stable", "app-canary", "app-x")
    listed = [{"destination": {"host": host}, "weight": w} for host, w in zip(hosts, weights, strict=False)]
    return {"kind": "VirtualService", "metadata": {"name": "app"}, "spec": {"http": [{"route": listed, **more}]}}


@pytest.mark.parametrize("weight", ["ninety", [1], -5, float("nan"), True, "m", 10**400])
def test_a_weight_that_is_none_is_one_clear_line(weight):
    with pytest.raises(RouterError, match="which is no weight; write a number from 0 on"):
        reading(KINDS["istio"], virtual_service(weight, 10), Target(stable="app-stable", canary="app-canary"))


@pytest.mark.parametrize("weights", [("75%", 25), (75, "25%"), ("75%", "25%"), ("75%", 0), (-5, float("nan"))])
def test_a_weight_that_is_none_keeps_a_raise_from_being_made_and_no_rollback(weights):
    kind, target, obj = KINDS["istio"], Target(stable="app-stable", canary="app-canary"), virtual_service(*weights)
    with pytest.raises(RouterError, match="which is no weight"):
        changes(kind, obj, target, 10)
    after = patched(obj, changes(kind, obj, target, 0))
    assert [one["weight"] for one in after["spec"]["http"][0]["route"]] == [100, 0]
    beside = virtual_service(90, 10)
    beside["spec"]["http"] += obj["spec"]["http"]
    told = residuals(kind, beside, Target(stable="app-stable", canary="app-canary", routes=(0,)))
    assert "which is no weight" in str(told[0])


def test_zero_can_be_written_whatever_the_others_hold():
    target = Target(stable="app-stable", canary="app-canary")
    made = changes(KINDS["istio"], virtual_service(61, 7, 33), target, 0)
    assert {one["path"]: one["value"] for one in made if one["op"] == "replace"} == {
        "/spec/http/0/route/0/weight": 68,
        "/spec/http/0/route/1/weight": 0,
    }


def test_all_routes_that_split_are_meant_by_all():
    one = virtual_service(90, 10)
    one["spec"]["http"] += [virtual_service(80, 20)["spec"]["http"][0], {"route": [{"destination": {"host": "other"}}]}]
    target = Target(stable="app-stable", canary="app-canary", routes=("all",))
    assert reading(KINDS["istio"], one, target).per_route == {"0": 10.0, "1": 20.0}
    with pytest.raises(AmbiguousRoute, match=r"--route 0 --route 1\), or all of them"):
        reading(KINDS["istio"], one, Target(stable="app-stable", canary="app-canary"))
