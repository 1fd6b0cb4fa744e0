"""The routers of real proxies: the contract, the split they make, and what bites."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from canary_judge.errors import (
    ConfigError,
    DestinationNotFound,
    DriftDetected,
    NotEnoughWeight,
    NotWeighted,
    RouteNotFound,
    RouterError,
    RouterUnavailable,
)
from canary_judge.routers import from_config
from canary_judge.routers.envoy import EnvoyFile, EnvoyRuntime
from canary_judge.routers.haproxy import HAProxyRouter, Server
from canary_judge.routers.nginx import NginxRouter
from canary_judge.testing import router_checks
from tests import proxies

pytestmark = pytest.mark.real
KINDS = ("envoy-runtime", "envoy-rds", "envoy-rtds", "haproxy", "nginx")


class Upstream:
    """Answers with its name; keeps connections."""

    def __init__(self, name):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an acknowledgement

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self.http.server_port

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def upstreams():
    both = [Upstream("stable"), Upstream("canary")]
    yield [one.port for one in both]
    for one in both:
        one.close()


class Proxy:
    """A running proxy: its port, and a router for it."""

    def __init__(self, kind, stack, folder, upstreams, *, canary=0, sticky=False):
        self.kind = kind
        if kind.startswith("envoy"):
            mode = kind.removeprefix("envoy-")
            opened = proxies.envoy(folder, upstreams, canary=canary, sticky=sticky, mode=mode)
            self.port, self.admin, self.path = stack.enter_context(opened)
            if mode == "runtime":
                self.router = EnvoyRuntime(self.admin, "split.rt")
            else:
                self.router = EnvoyFile(self.path, kind=mode, admin=self.admin, prefix="split.rt")
        elif kind == "haproxy":
            self.port, self.address = stack.enter_context(
                proxies.haproxy(folder, upstreams, canary=canary, sticky=sticky)
            )
            self.router = HAProxyRouter(self.address, "app")
        else:
            self.port, self.path, command, pid = stack.enter_context(proxies.nginx(folder, upstreams, canary=canary))
            self.router = NginxRouter(self.path, command=command, pid=pid)

    def share(self, requests=600, cookie=None):
        """Percent of these requests that the canary answers."""
        seen = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for _ in range(requests):
            headers = {"Cookie": cookie} if cookie else {}
            connection.request("GET", "/", headers=headers)
            try:
                answer = connection.getresponse()
            except http.client.RemoteDisconnected:  # an idle connection that a reload has closed
                connection.close()
                connection.request("GET", "/", headers=headers)
                answer = connection.getresponse()
            seen[answer.read().decode() if answer.status == 200 else answer.status] += 1
        connection.close()
        assert set(seen) <= {"stable", "canary"}, seen
        return 100 * seen["canary"] / requests


@pytest.fixture
def proxy(tmp_path, upstreams):
    with contextlib.ExitStack() as stack:
        count = 0

        def start(kind, **options):
            nonlocal count
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            return Proxy(kind, stack, folder, upstreams, **options)

        yield start


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract(kind, proxy):
    """Every check on a running proxy, one after the other."""
    running = proxy(kind)

    class Harness:
        def router(self, percent):
            running.router.set_weight(percent)
            assert running.router.verify(percent)
            return running.router

    for check in router_checks():
        check(Harness())


@pytest.mark.parametrize("kind", KINDS)
def test_the_split_is_the_one_that_was_set(kind, proxy):
    running = proxy(kind)
    for percent in (25, 75, 100, 5, 0):
        assert running.router.set_weight(percent)
        assert running.router.verify(percent)
        # at three standard errors of 600 requests one run in a dozen fails by chance; four of 1500 are sharper
        share = running.share(1500)
        slack = 0 if percent in (0, 100) else 4 * (percent * (100 - percent) / 1500) ** 0.5
        assert abs(share - percent) <= slack, (percent, share)


@pytest.mark.parametrize("kind", ["envoy-runtime", "envoy-rds", "envoy-rtds", "nginx"])
def test_hundredths_of_a_percent(kind, proxy):
    running = proxy(kind)
    running.router.set_weight(0.25)
    assert running.router.verify(0.25)
    assert running.router.get_weight().percent == 0.25


@pytest.mark.parametrize("kind", ["envoy-runtime", "envoy-rds", "haproxy"])
def test_a_hundred_flips_under_load_fail_no_request(kind, proxy):
    """From all to nothing and back: whoever gains weight is written first."""
    running = proxy(kind)
    seen, done = Counter(), threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        while not done.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                seen[answer.read().decode() if answer.status == 200 else f"status {answer.status}"] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[type(error).__name__] += 1
                connection.close()
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    flips = 0
    while flips < 100 or (sum(seen.values()) < 500 and flips < 10_000):
        running.router.set_weight(0 if flips % 2 else 100)
        flips += 1
    running.router.verify(0)
    done.set()
    for one in clients:
        one.join()
    assert set(seen) == {"stable", "canary"}, seen
    assert sum(seen.values()) >= 500


def test_haproxy_says_what_its_weights_cannot_express(proxy):
    running = proxy("haproxy")
    with pytest.raises(NotEnoughWeight, match="use a whole percent"):
        running.router.set_weight(0.25)
    running.router.set_weight(0.5)  # 1 against 199
    assert running.router.get_weight().percent == 0.5


@pytest.mark.parametrize("kind", ["envoy-runtime", "envoy-rds", "envoy-rtds"])
def test_sticky_cookies_on_envoy_are_reported_and_real(kind, proxy):
    running = proxy(kind, canary=25, sticky=True)
    report = running.router.rollback()
    assert running.router.verify(0)
    assert running.share() == 0
    assert running.share(100, cookie=f"{proxies.STICKY}=yes") == 100  # what the report says is so
    assert [str(one) for one in report.residuals] == [
        "route sticky: cookie match pins canary",
        "route split: Set-Cookie header for canary still configured",
    ]


def test_sticky_clients_of_haproxy_are_reported_and_maintenance_moves_them(proxy):
    running = proxy("haproxy", canary=50, sticky=True)
    report = running.router.rollback()
    assert "cookie keeps its clients" in str(report.residuals[0])
    assert running.share(100, cookie="SERVER=canary") == 100
    thorough = HAProxyRouter(running.address, "app", maintenance=True)
    assert thorough.rollback().residuals == ()
    assert running.share(100, cookie="SERVER=canary") == 0
    thorough.set_weight(50)
    assert abs(running.share(200) - 50) <= 1


@pytest.mark.parametrize(("drained", "share"), [("stable", 100), ("canary", 0)])
def test_a_draining_server_of_haproxy_gets_nothing_new(drained, share, proxy):
    running = proxy("haproxy", canary=50)
    running.router._ask(f"set server app/{drained} state drain")
    assert running.share(40) == share
    assert running.router.get_weight().percent == share
    if drained == "canary":  # somebody drained it, and whoever gives it traffic means it
        running.router.set_weight(25)
        assert abs(running.share(200) - 25) <= 1
        assert running.router.verify(25)
    else:
        running.router.set_weight(25)
        assert not running.router.verify(25, timeout=0.3)  # as requests tell
        assert running.share(40) == 100


def test_several_servers_a_side(proxy):
    """Weights are per server: three stable ones share what one would have."""
    router = HAProxyRouter("/nowhere", "app", stable=("a", "b", "c"), canary="d")
    servers = dict.fromkeys("abcd", Server(weight=1, idle=False, maintained=False))
    for percent in (0, 5, 25, 75, 100):
        weights = router._wanted(percent, servers)
        assert abs(100 * weights["d"] / sum(weights.values()) - percent) < 1e-9
        assert max(weights.values()) <= 256


def test_nginx_keeps_the_rest_of_the_file_and_refuses_what_nginx_refuses(proxy):
    running = proxy("nginx")
    before = running.path.read_text()
    running.router.set_weight(25)
    assert running.path.read_text() == before.replace("# 0% canary;", "25% canary;")
    running.router.rollback()
    assert running.path.read_text() == before
    broken = before + "nonsense on;\n"
    running.path.write_text(broken)
    with pytest.raises(RouterError, match="unknown directive"):
        running.router.set_weight(5)
    assert running.path.read_text() == broken  # not half of ours


def test_a_split_on_one_line_is_not_commented_away(tmp_path):
    path = tmp_path / "split.conf"
    path.write_text('split_clients "${request_id}" $variant { 25% canary; * stable; }\n')
    router = NginxRouter(path, command=["true"])
    router.set_weight(0)
    assert path.read_text() == 'split_clients "${request_id}" $variant { # 0% canary;\n * stable; }\n'
    router.set_weight(5)
    assert router.get_weight().percent == 5
    assert "* stable;" in path.read_text()


def test_a_note_of_before_is_no_part_of_the_split(tmp_path):
    path = tmp_path / "split.conf"
    text = 'split_clients "$request_id" $variant {\n    # 10% canary;\n    5%  canary; # was 20% canary;\n    * stable;\n}\n'
    path.write_text(text)
    router = NginxRouter(path, command=["true"])
    assert router.get_weight().percent == 5
    router.set_weight(25)
    assert path.read_text() == text.replace("5% ", "25%")
    router.rollback()
    assert router.get_weight().percent == 0
    router.set_weight(5)
    assert path.read_text().count("\n    5% canary;") == 1


@pytest.mark.parametrize("value", [{"numerator": 25, "denominator": "HUNDRED"}, -25, "many", True, None])
def test_a_runtime_value_that_is_no_weight_is_refused_and_rolled_back(tmp_path, value):
    path = tmp_path / "rtds.json"
    layer = {"split.rt.stable": 75, "split.rt.canary": value}
    path.write_text(json.dumps({"resources": [{"name": "split", "layer": layer}]}))
    router = EnvoyFile(path, kind="rtds", prefix="split.rt")
    for call in (router.get_weight, lambda: router.set_weight(25)):
        with pytest.raises(NotWeighted, match="split.rt.canary is .*, which is no weight; write a number from 0 on"):
            call()
    assert json.loads(path.read_text())["resources"][0]["layer"] == layer
    router.rollback()
    assert router.get_weight().percent == 0


def test_envoy_that_rejects_the_file_is_found_out(proxy):
    """Envoy keeps the old weights without a word; only the admin interface tells."""
    running = proxy("envoy-rds", canary=25)
    text = running.path.read_text()
    running.path.write_text(text.replace('"cluster": "canary"', '"cluster": 5'))
    running.router.set_weight(50)
    assert running.router.verify(50)
    whole = running.path.read_text().replace('"prefix": "/"', '"prefix": 7')
    running.path.write_text(whole)
    running.router.set_weight(75)
    assert running.router.get_weight().percent == 75
    assert not running.router.verify(75, timeout=1)
    assert abs(running.share() - 50) < 8


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_named(kind, proxy, tmp_path):
    running = proxy(kind)
    if kind == "envoy-runtime":
        with pytest.raises(RouteNotFound, match=r"'split\.other'"):
            EnvoyRuntime(running.admin, "split.other").get_weight()
        with pytest.raises(DestinationNotFound, match="'v2'"):
            EnvoyRuntime(running.admin, "split.rt", canary="v2").get_weight()
        gone = EnvoyRuntime("http://127.0.0.1:1", "split.rt")
    elif kind == "haproxy":
        with pytest.raises(RouteNotFound, match="no backend 'other'"):
            HAProxyRouter(running.address, "other").get_weight()
        with pytest.raises(DestinationNotFound, match=r"no server 'v2'; there are stable, canary"):
            HAProxyRouter(running.address, "app", canary="v2").get_weight()
        gone = HAProxyRouter(str(tmp_path / "no.sock"), "app")
    elif kind == "nginx":
        with pytest.raises(RouteNotFound, match=r"0 split_clients blocks for \$other"):
            NginxRouter(running.path, variable="other").get_weight()
        with pytest.raises(DestinationNotFound, match="names 'v2' 0 times"):
            NginxRouter(running.path, canary="v2").get_weight()
        gone = NginxRouter(running.path, command=["/no/such/nginx"])
        with pytest.raises(RouterUnavailable):
            gone.set_weight(5)
        assert gone.get_weight().percent == 0
        return
    else:
        with pytest.raises(RouteNotFound, match="no such file"):
            EnvoyFile(tmp_path / "none.json").get_weight()
        with pytest.raises(DestinationNotFound, match="0 routes split between 'stable' and 'v2'"):
            EnvoyFile(running.path, canary="v2", kind="rds").get_weight()
        return
    for call in (gone.get_weight, lambda: gone.set_weight(5), gone.rollback):
        with pytest.raises(RouterUnavailable, match="no answer"):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_told(kind, proxy):
    running = proxy(kind, canary=20)
    with pytest.raises(DriftDetected, match="20 % is in force, 5 % was expected"):
        running.router.set_weight(25, expect=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "envoy"}, "router.type: 'envoy' is no router; did you mean"),
        ({"type": "haproxy", "backend": "app"}, "address: is missing; add it"),
        ({"type": "haproxy", "adress": "x", "backend": "app"}, "did you mean 'address'?"),
        ({"type": "envoy-file", "path": "x", "kind": "rtds"}, "prefix: is missing"),
        ({"type": "istio", "name": "app"}, "stable, canary: name both"),
        ({"type": "istio", "stable": "a", "canary": "b"}, "name: is missing"),
        ({"type": "aws-alb-ingress", "stable": "a", "canary": "b", "name": "c"}, "action: is missing"),
        ({"type": "gateway-api", "stable": "a", "canary": "b", "name": "c", "store": "http"}, "url: is missing"),
        ({"type": "weighted", "stable": "a", "canary": "b", "name": "c"}, "destinations: is missing; add it"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError) as caught:
        from_config(options)
    assert message in str(caught.value)


def test_the_readme_options_build_every_router(tmp_path):
    manifest = tmp_path / "a.yaml"
    manifest.write_text("")
    both = {"stable": "a", "canary": "b", "manifest": str(manifest)}
    for options in (
        {"type": "memory"},
        *(
            {"type": kind, **both}
            for kind in ("istio", "gateway-api", "linkerd", "smi", "traefik", "contour", "apisix")
        ),
        {"type": "aws-alb-ingress", **both, "action": "x"},
        {"type": "ingress-nginx", "manifest": str(manifest)},
        {"type": "weighted", **both, "kind": "Route", "api_version": "x/v1", "destinations": "spec.backends"},
        {"type": "envoy-runtime", "url": "http://127.0.0.1:9901", "prefix": "split"},
        {"type": "envoy-file", "path": "x"},
        {"type": "haproxy", "address": "/x", "backend": "app", "stable": ["a", "b"]},
        {"type": "nginx", "path": "x", "command": ["nginx", "-c", "y"]},
    ):
        assert from_config(options)
