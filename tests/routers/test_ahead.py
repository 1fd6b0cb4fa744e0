"""Stages by a header, a cookie or a mirror, and clients that stay: pure, over HTTP, and on a real Envoy."""

import contextlib
import copy
import re

import pytest

from canary_judge.errors import ConfigError, NotWeighted, RouterError
from canary_judge.rollout import RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.routers import from_config
from canary_judge.routing import Ahead, leftovers
from canary_judge.testing import simulated_world
from tests.routers.api_server import ApiServer

HTTP_ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "app", "namespace": "prod"},
    "spec": {
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/static"}}],
                "backendRefs": [{"name": "app-stable", "port": 80}],
            },
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"name": "app-stable", "port": 80, "weight": 100},
                    {"name": "app-canary", "port": 80, "weight": 0},
                ],
            },
        ]
    },
}
VIRTUAL_SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "app", "namespace": "prod"},
    "spec": {
        "hosts": ["app"],
        "http": [
            {
                "timeout": "3s",
                "route": [
                    {"destination": {"host": "app-stable"}, "weight": 100},
                    {"destination": {"host": "app-canary"}, "weight": 0},
                ],
            }
        ],
    },
}
OBJECTS = {"gateway-api": HTTP_ROUTE, "istio": VIRTUAL_SERVICE}
WAYS = [Ahead(header=("x-canary", "always")), Ahead(cookie=("beta", "1")), Ahead(mirror=30.0)]


@pytest.fixture
def served():
    with contextlib.ExitStack() as stack:

        def start(kind, **options):
            server = ApiServer([copy.deepcopy(OBJECTS[kind])])
            stack.callback(server.close)
            plain = {"type": kind, "name": "app", "namespace": "prod", "url": server.url, **options}
            return server, from_config({**plain, "stable": "app-stable", "canary": "app-canary"})

        yield start


def spec(server):
    return next(iter(server.objects.values()))["spec"]


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("ahead", WAYS, ids=["header", "cookie", "mirror"])
@pytest.mark.parametrize("then", ["rollback", "weight"])
def test_what_was_put_ahead_is_read_and_taken_away_whole(kind, ahead, then, served):
    server, router = served(kind)
    assert router.set_ahead(ahead)
    assert not router.set_ahead(ahead)
    reading = router.get_weight()
    assert (reading.percent, reading.ahead) == (0, ahead.key)
    assert leftovers(router)  # while it is there it is told
    if then == "rollback":
        report = router.rollback()
        assert (report.changed, report.residuals) == (True, ())
        assert spec(server) == OBJECTS[kind]["spec"]
    else:
        assert router.set_weight(5, expect=0)
        assert (router.get_weight().percent, router.get_weight().ahead) == (5, "")
        router.rollback()
        assert spec(server) == OBJECTS[kind]["spec"]


@pytest.mark.parametrize("kind", OBJECTS)
def test_one_way_takes_the_place_of_another(kind, served):
    server, router = served(kind)
    router.set_ahead(WAYS[0])
    router.set_ahead(WAYS[2])
    assert router.get_weight().ahead == WAYS[2].key
    (routes,) = (value for key, value in spec(server).items() if key in ("rules", "http"))
    assert len(routes) == len(OBJECTS[kind]["spec"].get("rules") or OBJECTS[kind]["spec"]["http"]) + 1


def test_a_route_named_by_its_position_stays_the_one_that_is_meant(served):
    server, router = served("gateway-api", routes=[1])
    router.set_ahead(WAYS[0])
    assert [rule.get("name", "")[:12] for rule in spec(server)["rules"]] == ["", "canary-judge", ""]
    assert router.set_weight(25)
    assert spec(server)["rules"][1]["backendRefs"][1]["weight"] == 25


@pytest.mark.parametrize("lost", ["name", "sessionPersistence"])
def test_a_cluster_that_drops_what_it_does_not_know_is_told_and_left_as_it_was(lost, served):
    """Older versions of the API prune fields without a word."""
    server, router = served("gateway-api", **({"affinity": {"cookie": "side"}} if lost != "name" else {}))
    store = server.store

    def pruning(ref, obj):
        for rule in obj["spec"]["rules"]:
            rule.pop(lost, None)
        return store(ref, obj)

    server.store = pruning
    with pytest.raises(RouterError, match=r"the cluster drops .*; the change was taken back"):
        router.set_ahead(WAYS[0]) if lost == "name" else router.set_weight(5)
    assert spec(server) == HTTP_ROUTE["spec"]
    assert not router.rollback().changed


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_mirror_of_somebody_else_is_not_replaced(kind, served):
    server, router = served(kind)
    (ref,) = server.objects

    def mirrors(obj):
        if kind == "istio":
            obj["spec"]["http"][0]["mirror"] = {"host": "audit"}
        else:
            filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit"}}}]
            obj["spec"]["rules"][1]["filters"] = filters

    server.edit(ref, mirrors)
    with pytest.raises(NotWeighted, match="mirrors already"):
        router.set_ahead(WAYS[2])


def test_where_nothing_can_stand_ahead_it_is_refused_before_anything(tmp_path, served):
    manifest = tmp_path / "app.yaml"
    manifest.write_text("")
    both = {"stable": "a", "canary": "b"}
    world = simulated_world(seed=1)
    plan = RolloutPlan.from_mapping({"stages": [{"mirror": 10}, 5, 100]})
    for options in (
        {"type": "istio", "manifest": str(manifest), **both},
        {"type": "smi", "name": "x", "url": "http://127.0.0.1:1", **both},
        {"type": "istio", "protocol": "tcp", "name": "x", "url": "http://127.0.0.1:1", **both},
    ):
        router = from_config(options)
        with pytest.raises(ConfigError, match="can put no header, cookie or mirror before its weights"):
            Controller(world.config, world.source, router, plan)
        with pytest.raises(ConfigError, match="affinity: cannot be set here"):
            from_config({**options, "affinity": {"cookie": "side"}})


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"header": {"a": "b"}, "weight": 5}, 100], "one of `header`"),
        ([{"header": {"a": "b", "c": "d"}}, 100], "header"),
        ([5, {"mirror": 10}, 100], "they stand at the beginning"),
        ([{"mirror": 10}], "none has a weight"),
        ([{}, 100], "give a `weight` above 0"),
    ],
)
def test_a_wrong_stage_is_named(stages, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        RolloutPlan.from_mapping({"stages": stages})


def test_a_pruned_route_is_taken_back_with_update_only(served):
    server, router = served("gateway-api")
    server.verbs = {"get", "update"}
    store = server.store

    def pruning(ref, obj):
        for rule in obj["spec"]["rules"]:
            rule.pop("name", None)
        return store(ref, obj)

    server.store = pruning
    for _ in range(2):
        with pytest.raises(RouterError, match="the cluster drops"):
            router.set_ahead(WAYS[0])
    assert spec(server) == HTTP_ROUTE["spec"]


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("name", ["cookie", "X-Canary"])
def test_a_match_of_the_user_is_not_replaced(kind, name, served):
    server, router = served(kind)
    (ref,) = server.objects

    def matches(obj):
        if kind == "istio":
            obj["spec"]["http"][0]["match"] = [{"headers": {name: {"regex": ".*staff=1.*"}}}]
        else:
            obj["spec"]["rules"][1]["matches"][0]["headers"] = [{"name": name, "value": "staff"}]

    server.edit(ref, matches)
    with pytest.raises(NotWeighted, match="matches the header"):
        router.set_ahead(WAYS[1] if name == "cookie" else WAYS[0])


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_affinity_takes_nothing_of_the_users(kind, served):
    server, router = served(kind, affinity={"cookie": "side"})
    (ref,) = server.objects

    def sticky(obj):
        if kind == "istio":
            headers = {"response": {"add": {"Set-Cookie": "theme=dark; Path=/"}}}
            obj["spec"]["http"][0]["route"][1]["headers"] = headers
        else:
            obj["spec"]["rules"][1]["sessionPersistence"] = {"sessionName": "shop-session"}

    server.edit(ref, sticky)
    before = copy.deepcopy(spec(server))
    with pytest.raises(NotWeighted, match="of its own"):
        router.set_weight(5)
    router.rollback()
    assert spec(server) == before


def test_routes_of_another_rollout_in_the_same_object_stay(served):
    server, router = served("istio", affinity={"cookie": "side"})
    (ref,) = server.objects

    def second(obj):
        both = [
            {"destination": {"host": "b-stable"}, "weight": 100},
            {"destination": {"host": "b-canary"}, "weight": 0},
        ]
        obj["spec"]["http"].insert(0, {"match": [{"uri": {"prefix": "/b"}}], "route": both})

    server.edit(ref, second)
    plain = {"type": "istio", "name": "app", "namespace": "prod", "url": server.url}
    other = from_config({**plain, "stable": "b-stable", "canary": "b-canary"})
    router.set_weight(25)
    other.set_ahead(WAYS[0])
    router.set_weight(50)
    assert other.get_weight().ahead == WAYS[0].key
    other.rollback()
    names = [route.get("name", "") for route in spec(server)["http"]]
    assert sum("affinity" in name for name in names) == 3
    router.rollback()
    assert [route.get("name") for route in spec(server)["http"]] == [None, None]


def test_a_rollback_over_an_added_route_leaves_nothing_of_ours(served):
    """All that split lose their canary, and what stood ahead is known by the name that it was given."""
    server, router = served("istio", affinity={"cookie": "side"})
    (ref,) = server.objects
    router.set_weight(25)
    both = [
        {"destination": {"host": "app-stable"}, "weight": 75},
        {"destination": {"host": "app-canary"}, "weight": 25},
    ]
    server.edit(ref, lambda obj: obj["spec"]["http"].insert(0, {"match": [{"uri": {"prefix": "/v2"}}], "route": both}))
    assert router.rollback().residuals == ()
    assert router.get_weight().percent == 0
    assert [route.get("name") for route in spec(server)["http"]] == [None, None]
    assert "Set-Cookie" not in str(spec(server))


def test_a_mirror_of_all_is_not_made_of_one_of_a_few(served):
    """Older versions of the API know a mirror, and drop its percentage without a word."""
    server, router = served("gateway-api")
    store = server.store

    def pruning(ref, obj):
        for rule in obj["spec"]["rules"]:
            for one in rule.get("filters", ()):
                one["requestMirror"].pop("percent", None)
        return store(ref, obj)

    server.store = pruning
    with pytest.raises(RouterError, match=r"the cluster drops .*requestMirror\.percent"):
        router.set_ahead(WAYS[2])
    assert spec(server) == HTTP_ROUTE["spec"]


def test_a_route_of_the_user_with_a_name_like_ours_stays(served):
    server, router = served("istio")
    (ref,) = server.objects
    mine = {"name": "canary-judge-admin", "match": [{"uri": {"prefix": "/admin"}}]}
    server.edit(ref, lambda obj: obj["spec"]["http"].insert(0, {**mine, "route": [{"destination": {"host": "admin"}}]}))
    router.set_weight(5)
    router.rollback()
    assert spec(server)["http"][0]["name"] == "canary-judge-admin"


def test_fractions_of_a_mirror_are_refused_where_there_are_none(served):
    _, router = served("gateway-api")
    with pytest.raises(NotWeighted, match="use a whole percent"):
        router.set_ahead(Ahead(mirror=0.5))
