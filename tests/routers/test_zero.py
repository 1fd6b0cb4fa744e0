"""0 can always be written: on every kind of object, and on proxies as others leave them, counted by requests."""

import contextlib
import copy
import http.client
import json
import subprocess
from collections import Counter

import pytest

from canary_judge.errors import DestinationNotFound, RouterError
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.rollout.events import EventKind
from canary_judge.routers.envoy import EnvoyFile, EnvoyRuntime
from canary_judge.routers.haproxy import HAProxyRouter
from canary_judge.routers.ingress import PREFIX
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.kubernetes import KubernetesRouter
from canary_judge.routers.nginx import NginxRouter
from canary_judge.routers.stores import HttpStore
from canary_judge.routers.waiting import wait_until
from canary_judge.routers.weighted import Target, changes, patched, reading, residuals
from canary_judge.testing import MemoryStore, simulated_world
from canary_judge.testing.routers import check_that_zero_can_always_be_written
from tests import proxies
from tests.routers.api_server import ApiServer
from tests.routers.test_conformance import CASES, WORKING, objects_of, ref_of, router_of
from tests.routers.test_proxies import Upstream

ODD = {
    "sevenths": (4, 3, 11),
    "tiny": (1, 1, 250),
    "all of it": (0, 1, 0),
    "hundredths": (99, 1, 37),
}
# as somebody writes them into a manifest; a server takes none
TEXTS = [("75%", "25%", "some"), ("seventy", 25, 0), (75, "25%", 0), (75, 25, "some"), (75, [25], 0)]


def odd_object(name, weights):
    """The object of a case with weights that no rollout writes, for stable, canary and whoever else there is."""
    case = copy.deepcopy(CASES[name])
    obj = case["object"]
    if case["router"] == "ingress-nginx":
        obj["metadata"]["annotations"][f"{PREFIX}/canary-weight"] = str(weights[1])
        obj["metadata"]["annotations"][f"{PREFIX}/canary-weight-total"] = "777"
        return case
    kind = KINDS[case["router"]]
    target = Target(**{**case["target"], "routes": tuple(case["target"].get("routes", ()))})
    text = None
    if kind.annotation is not None:
        text = kind.annotation.format(action=target.action)
    for route in list(kind.routes(obj, target)):
        inner = json.loads(obj["metadata"]["annotations"][text]) if text else obj
        for index, one in enumerate(route.destinations):
            if len(route.destinations) < 2:
                continue
            place = inner
            for part in (*route.pointer, index) if one.pointer is None else one.pointer:
                place = place[part]
            weight = weights[("stable", "canary", "").index(one.side)]
            thousandths = str(place.get(kind.weight, "")).endswith("m")
            place[route.weight or kind.weight] = f"{weight}m" if thousandths else weight
        if text:
            obj["metadata"]["annotations"][text] = json.dumps(inner)
    if all(isinstance(one, int) for one in weights):  # of which nobody can tell what they give
        assert reading(kind, obj, target).percent != 0
    return case


@pytest.mark.parametrize("name", WORKING)
def test_from_any_weights_of_any_kind(name):
    class Harness:
        def router(self, percent):
            raise NotImplementedError

        def odd(self):
            for what, weights in ODD.items():
                case = odd_object(name, weights)
                server = ApiServer(objects_of(case))
                try:
                    ref_of(case["object"])
                    yield what, router_of(case, HttpStore(server.url))
                finally:
                    server.close()

    check_that_zero_can_always_be_written(Harness())


@pytest.mark.parametrize("weights", TEXTS, ids=str)
@pytest.mark.parametrize("name", [one for one in WORKING if CASES[one]["router"] != "ingress-nginx"])
def test_from_any_texts_in_a_manifest_of_any_kind(name, weights):
    case = odd_object(name, weights)
    kind, target = (
        KINDS[case["router"]],
        Target(**{**case["target"], "routes": tuple(case["target"].get("routes", ()))}),
    )
    after = patched(case["object"], changes(kind, case["object"], target, 0))
    assert reading(kind, after, target).percent == 0
    assert changes(kind, after, target, 0) == []


def test_the_check_finds_a_router_that_refuses():
    class Stubborn:
        def rollback(self):
            raise ValueError("not exactly")

    class Harness:
        def odd(self):
            return [("thirds", Stubborn())]

    with pytest.raises(AssertionError, match="thirds: the rollback is refused: not exactly"):
        check_that_zero_can_always_be_written(Harness())


# --- by requests, on proxies as others leave them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstreams():
    started = [Upstream("stable"), Upstream("canary"), Upstream("other")]
    yield [one.port for one in started]
    for one in started:
        one.close()


def send(port, requests=2000):
    seen = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(requests):
        connection.request("GET", "/")
        try:
            answer = connection.getresponse()
        except http.client.RemoteDisconnected:  # an idle connection that a reload has closed
            connection.close()
            connection.request("GET", "/")
            answer = connection.getresponse()
        seen[answer.read().decode() if answer.status == 200 else answer.status] += 1
    connection.close()
    return seen


def check_by_requests(router, port):
    """0 failed, and none at the canary: nothing was reported that would lead there."""
    report = router.rollback()
    assert router.verify(0, timeout=10)
    assert router.get_weight().percent == 0
    assert report.residuals == ()
    seen = send(port)
    assert set(seen) <= {"stable", "other"}, seen
    assert sum(seen.values()) == 2000


NGINX = {
    "no star, stable named": "    25% canary;\n    50% stable;\n",
    "no star, adds up": "    25% canary;\n    75% stable;\n",
    "a comment behind": "    25% canary; # since Monday\n    * stable; # 75%\n",
    "quoted": '    25% "canary";\n    * "stable";\n',
    "the canary last": "    60.5% stable;\n    * canary;\n",
}


@pytest.mark.real
@pytest.mark.parametrize("what", NGINX)
def test_nginx(what, upstreams, tmp_path):
    with proxies.nginx(tmp_path, upstreams[:2]) as (port, path, command, pid):
        path.write_text(f'split_clients "${{request_id}}" $variant {{\n{NGINX[what]}}}\n')
        subprocess.run([*command, "-s", "reload"], check=True, timeout=10)
        assert wait_until(lambda: send(port, 40)["canary"] > 0, 10, every=0.1)
        router = NginxRouter(path, command=command, pid=pid)
        check_by_requests(router, port)


HAPROXY = {
    "scaled out": ["server stable-2 127.0.0.1:{other} weight 60"],
    "a backup": ["server spare 127.0.0.1:{other} weight 1 backup"],
    "a stranger without weight": ["server legacy 127.0.0.1:{other}"],
}


@pytest.mark.real
@pytest.mark.parametrize("what", HAPROXY)
def test_haproxy(what, upstreams, tmp_path):
    more = [line.format(other=upstreams[2]) for line in HAPROXY[what]]
    with proxies.haproxy(tmp_path, upstreams[:2], canary=25, more=more) as (port, address):
        assert send(port, 400)["canary"] > 0
        check_by_requests(HAProxyRouter(address, "app"), port)


@pytest.mark.real
@pytest.mark.parametrize("layer", [{"split.rt.stable": 75, "split.rt.canary": 25}, {"split": {"rt.canary": 40}}, {}])
def test_envoy_by_keys(layer, upstreams, tmp_path):
    """Flat keys, half of the keys, none: by the file that Envoy watches, and by its admin interface."""
    with contextlib.ExitStack() as stack:
        port, admin, path = stack.enter_context(proxies.envoy(tmp_path, upstreams[:2], canary=25, mode="rtds"))
        plain = json.loads(path.read_text())
        plain["resources"][0]["layer"] = layer
        beside = path.with_name("next.json")
        beside.write_text(json.dumps(plain))
        beside.replace(path)
        router = EnvoyFile(path, kind="rtds", admin=admin, prefix="split.rt")
        check_by_requests(router, port)
        check_by_requests(EnvoyRuntime(admin, "split.rt"), port)


@pytest.mark.real
@pytest.mark.parametrize("others", [1, 900])
def test_envoy_with_a_cluster_that_is_listed_twice(others, upstreams, tmp_path):
    with proxies.envoy(tmp_path, upstreams[:2], canary=25, mode="rds") as (port, admin, path):
        plain = json.loads(path.read_text())
        (route,) = plain["resources"][0]["virtual_hosts"][0]["routes"]
        clusters = route["route"]["weighted_clusters"]["clusters"]
        clusters.append({"name": "stable", "weight": others})  # listed twice, as by a generator
        clusters[1]["weight"] = 7
        beside = path.with_name("next.json")
        beside.write_text(json.dumps(plain))
        beside.replace(path)
        check_by_requests(EnvoyFile(path, kind="rds", admin=admin), port)


def test_a_layer_in_which_something_stands_in_the_way_is_named(tmp_path):
    path = tmp_path / "layer.json"
    path.write_text(json.dumps({"resources": [{"layer": {"split": 5}}]}))
    with pytest.raises(RouterError, match="a value at 'split'"):
        EnvoyFile(path, kind="rtds", prefix="split.rt").rollback()


def test_a_third_cluster_of_envoy_keeps_its_weight(tmp_path):
    clusters = [{"name": "stable", "weight": 60}, {"name": "canary", "weight": 25}, {"name": "other", "weight": 15}]
    split = {"name": "split", "match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}
    path = tmp_path / "routes.json"
    path.write_text(json.dumps({"resources": [{"virtual_hosts": [{"routes": [split]}]}]}))
    router = EnvoyFile(path, kind="rds")
    assert router.get_weight().percent == 25
    assert router.rollback().changed
    (route,) = json.loads(path.read_text())["resources"][0]["virtual_hosts"][0]["routes"]
    assert [one["weight"] for one in route["route"]["weighted_clusters"]["clusters"]] == [85, 0, 15]


def test_nginx_takes_nothing_from_the_only_value(tmp_path):
    """Without another one every request would fail."""
    path = tmp_path / "split.conf"
    path.write_text('split_clients "${request_id}" $variant {\n    * canary;\n}\n')
    before = path.read_text()
    with pytest.raises(DestinationNotFound, match="no other value"):
        NginxRouter(path, command=["true"]).rollback()
    assert path.read_text() == before


@pytest.mark.real
def test_a_stable_server_of_haproxy_that_is_gone_blocks_no_rollback(upstreams, tmp_path):
    more = [f"server stable-2 127.0.0.1:{upstreams[2]} weight 60"]
    with proxies.haproxy(tmp_path, upstreams[:2], canary=25, more=more) as (port, address):
        check_by_requests(HAProxyRouter(address, "app", stable=["stable", "gone"]), port)


# --- the stable version has another name by now --------------------------------------------------------------------


def renamed(kind, weights, *, canary="app-1.5.0"):
    """A split between what was app-1.4.2, the canary and another destination."""
    names = ["app-1.4.3", canary, "shadow"]
    if kind == "istio":
        listed = [
            {"destination": {"host": name}, "weight": weight} for name, weight in zip(names, weights, strict=True)
        ]
        spec = {"hosts": ["app"], "http": [{"route": listed}]}
        return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "spec": spec}
    listed = [{"name": name, "port": 80, "weight": weight} for name, weight in zip(names, weights, strict=True)]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "spec": {"rules": [{"backendRefs": listed}]},
    }


@pytest.mark.parametrize(("kind", "after"), [("istio", [95, 0, 5]), ("gateway-api", [70, 0, 5])])
def test_a_stable_version_that_was_renamed_blocks_no_rollback(kind, after):
    obj = renamed(kind, [70, 25, 5])
    obj["metadata"] = {"name": "app", "namespace": "prod"}
    ref = ref_of(obj)
    store = MemoryStore({ref: obj})
    router = KubernetesRouter(store, ref, kind, Target(stable="app-1.4.2", canary="app-1.5.0"))
    with pytest.raises(DestinationNotFound, match=r"no stable destination 'app-1\.4\.2'"):
        router.get_weight()
    with pytest.raises(DestinationNotFound, match=r"no stable destination 'app-1\.4\.2'"):
        router.set_weight(50)
    assert router.rollback().changed
    assert router.get_weight().percent == 0
    assert router.verify(0)
    place = store.get(ref)["spec"]
    listed = place["http"][0]["route"] if kind == "istio" else place["rules"][0]["backendRefs"]
    assert [one["weight"] for one in listed] == after
    assert not router.rollback().changed
    with pytest.raises(DestinationNotFound, match=r"no stable destination 'app-1\.4\.2'"):
        router.set_weight(5)


def test_a_driver_rolls_back_past_a_stable_version_that_was_renamed():
    world = simulated_world(error_rate=0.005, canary_error_rate=0.025, seed=7)
    obj = renamed("gateway-api", [100, 0, 0])
    obj["metadata"] = {"name": "app", "namespace": "prod"}
    obj["spec"]["rules"][0]["backendRefs"][0]["name"] = "app-1.4.2"
    ref = ref_of(obj)
    store = MemoryStore({ref: obj})

    class Both(KubernetesRouter):
        """The object, and behind it the world that is served by it."""

        def _carry_out(self, obj, operations):
            after = super()._carry_out(obj, operations)
            weights = [one["weight"] for one in after["spec"]["rules"][0]["backendRefs"]]
            world.router.set_weight(100 * weights[1] / sum(weights))
            return after

    router = Both(store, ref, "gateway-api", Target(stable="app-1.4.2", canary="app-1.5.0"))
    controller = Controller(
        world.config, world.source, router, RolloutPlan(stages=[5, 100], minimum="5m"), clock=world.clock
    )
    for event in controller.events():
        if event.kind is EventKind.WEIGHT and event.weight == 5:
            edited = store.get(ref)
            edited["spec"]["rules"][0]["backendRefs"][0]["name"] = "app-1.4.3"
            store.replace(ref, edited)
    assert controller.result().phase is Phase.ROLLED_BACK
    assert [one["weight"] for one in store.get(ref)["spec"]["rules"][0]["backendRefs"]][1] == 0


# --- what leads past the weights ---------------------------------------------------------------------------------------


def test_what_leads_past_the_weights_of_apisix_is_told():
    case = copy.deepcopy(CASES["apisix-route"])
    target = Target(**{**case["target"], "routes": tuple(case["target"].get("routes", ()))})
    route = case["object"]["spec"]["http"][0]
    route["plugins"] = [
        {"name": "proxy-mirror", "enable": True, "config": {"host": f"http://{target.canary}:80"}},
        {
            "name": "traffic-split",
            "enable": True,
            "config": {"rules": [{"weighted_upstreams": [{"upstream": target.canary}]}]},
        },
        {"name": "traffic-split", "enable": False, "config": {"rules": [target.canary]}},
        {"name": "proxy-mirror", "config": {"host": "http://elsewhere:80"}},
        {"name": "limit-count", "config": {"key": target.canary}},
        {"name": "proxy-mirror", "config": {"host": f"http://{target.canary}-shadow:80"}},
    ]
    told = [str(one) for one in residuals(KINDS["apisix"], case["object"], target)]
    assert [one.partition(": ")[2] for one in told] == [
        "plugin proxy-mirror still copies requests to canary",
        "plugin traffic-split may still send requests to canary",
    ]


def test_what_leads_past_the_weights_of_contour_is_told():
    case = copy.deepcopy(CASES["contour-httpproxy"])
    target = Target(**{**case["target"], "routes": tuple(case["target"].get("routes", ()))})
    services = [{"name": target.stable, "port": 80, "weight": 90}, {"name": target.canary, "port": 80, "weight": 10}]
    case["object"]["spec"]["tcpproxy"] = {"services": services}
    told = [str(one) for one in residuals(KINDS["contour"], case["object"], target)]
    assert "tcpproxy services: 10 % go to canary; it is not driven with the others" in told


def test_other_actions_of_alb_that_lead_to_the_canary_are_told():
    case = copy.deepcopy(CASES["alb-action"])
    target = Target(**{**case["target"], "routes": tuple(case["target"].get("routes", ()))})
    notes = case["object"]["metadata"]["annotations"]
    before = "alb.ingress.kubernetes.io/actions."
    group = {"serviceName": target.canary, "servicePort": 80, "weight": 1}
    notes[f"{before}by-header"] = json.dumps({"type": "forward", "forwardConfig": {"targetGroups": [group]}})
    notes[f"{before}moved"] = json.dumps({"type": "redirect", "redirectConfig": {"host": "elsewhere"}})
    notes[f"{before}short"] = json.dumps({"type": "forward", "serviceName": target.canary, "servicePort": 80})
    told = [str(one) for one in residuals(KINDS["aws-alb-ingress"], case["object"], target)]
    assert "action by-header: 100 % go to canary; it is not driven with the others" in told
    assert "action short: names canary" in told
    assert not any("moved" in one for one in told)


@pytest.mark.parametrize("place", ["host", "config"])
def test_a_mirror_that_a_route_of_envoy_inherits_is_told(place, tmp_path):
    split = {"clusters": [{"name": "stable", "weight": 100}, {"name": "canary", "weight": 0}]}
    route = {"name": "split", "match": {"prefix": "/"}, "route": {"weighted_clusters": split}}
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    config = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "r",
        "virtual_hosts": [host],
    }
    (host if place == "host" else config)["request_mirror_policies"] = [{"cluster": "canary"}]
    path = tmp_path / "rds.json"
    path.write_text(json.dumps({"resources": [config]}))
    router = EnvoyFile(path, kind="rds", stable="stable", canary="canary")
    assert [str(one) for one in router.leftovers()] == ["route split: mirror still copies requests to canary"]
    route["route"]["request_mirror_policies"] = [{"cluster": "shadow"}]  # its own takes their place
    path.write_text(json.dumps({"resources": [config]}))
    assert router.leftovers() == ()


def test_subsets_of_the_host_that_was_named_are_told():
    obj = renamed("istio", [90, 10, 0])
    for one, subset in zip(obj["spec"]["http"][0]["route"], ("v1", "v2", "v3"), strict=True):
        one["destination"] = {"host": "shop", "subset": subset}
    with pytest.raises(
        DestinationNotFound, match=r"by subsets: name the one that is meant, as `stable_subset` \(v1 or v2"
    ):
        changes(KINDS["istio"], obj, Target(stable="shop", canary="shop"), 5)
