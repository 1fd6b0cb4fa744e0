"""A rollback where the object or its server has changed under the driver, and stores that answer as no server should."""

import http.server
import threading
import time

import pytest

from canary_judge.errors import AmbiguousRoute, RouterError, RouterUnavailable
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.routers.kubernetes import KubernetesRouter, Ref
from canary_judge.routers.stores import HttpStore
from canary_judge.routers.weighted import Target
from canary_judge.routing import tell_taken_up
from canary_judge.testing import MemoryStore, simulated_world

REF = Ref(api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", namespace="prod", name="app")


def rule(name, canary):
    backends = [{"name": "s", "port": 80, "weight": 100 - canary}, {"name": "c", "port": 80, "weight": canary}]
    return {"name": name, "backendRefs": backends}


def route(*rules, **more):
    metadata = {"name": "app", "namespace": "prod", "generation": 7}
    return {"kind": "HTTPRoute", "metadata": metadata, "spec": {"rules": list(rules), **more.pop("spec", {})}, **more}


def router(obj, **target):
    return KubernetesRouter(MemoryStore({REF: obj}), REF, "gateway-api", Target(stable="s", canary="c", **target))


def weights(one):
    return [part["backendRefs"][1].get("weight") for part in one.store.get(REF)["spec"]["rules"]]


def test_whoever_goes_on_rolls_back_all_routes_where_one_was_added():
    one = router(route(rule("main", 5), rule("second", 20)))
    with pytest.raises(AmbiguousRoute):
        one.rollback()
    tell_taken_up(one)
    assert one.rollback().changed
    assert weights(one) == [0, 0]


def test_a_route_that_has_another_name_now_is_rolled_back():
    one = router(route(rule("main", 5)), routes=("main",))
    one.set_weight(5)
    one.store._objects[REF]["spec"]["rules"][0]["name"] = "primary"
    assert one.rollback().changed
    assert weights(one) == [0]


def test_a_first_weight_that_cannot_be_read_back_is_rolled_back_in_the_end(tmp_path):
    world = simulated_world(error_rate=0.005, canary_error_rate=0.2, seed=1)
    one = router(route(rule("main", 0)))
    write = one.set_weight

    def killed(percent, *, expect=None):
        write(percent, expect=expect)
        raise KeyboardInterrupt

    one.set_weight = killed
    plan = RolloutPlan(stages=[5, 100], minimum="2m", patience="5m")
    asked = {"clock": world.clock, "journal": tmp_path / "j"}
    with pytest.raises(KeyboardInterrupt):
        Controller(world.config, world.source, one, plan, **asked).run()
    assert weights(one) == [5]
    again = router(route(rule("main", 5), rule("second", 20)))  # somebody added one
    controller = Controller(world.config, world.source, again, plan, **asked)
    assert controller.run().phase is Phase.ROLLED_BACK
    assert weights(again) == [0, 0]


def test_the_status_of_a_parent_that_was_taken_away_is_no_refusal():
    def status(name, generation):
        condition = {"type": "Accepted", "status": "True", "observedGeneration": generation}
        return {"parentRef": {"group": "gateway.networking.k8s.io", "name": name}, "conditions": [condition]}

    def made(*names):
        parents = [status(name, generation) for name, generation in names]
        return router(route(rule("main", 5), spec={"parentRefs": [{"name": "new"}]}, status={"parents": parents}))

    assert made(("new", 7), ("old", 3)).verify(5, timeout=0)
    assert not made(("new", 6), ("old", 7)).verify(5, timeout=0)


@pytest.fixture
def server():
    """Answers every GET with what `say` holds: a body, or None for one that drips."""
    say = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            say["token"] = self.headers["Authorization"]
            body = say["body"]
            self.send_response(200)
            self.send_header("Content-Length", str(100_000 if body is None else len(body)))
            self.end_headers()
            if body is not None:
                self.wfile.write(body)
                return
            while not say.get("over"):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
                time.sleep(0.05)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}", say
        say["over"] = True
        found.shutdown()


def test_a_server_that_drips_is_given_up(server):
    url, say = server
    say["body"] = None
    with pytest.raises(RouterUnavailable, match=r"no whole answer from .* within 0.5 s"):
        HttpStore(url, timeout=0.5).get(REF)


@pytest.mark.parametrize("body", [b"[" * 200_000, b"<html>", b"[]", b"{}"], ids=["deep", "a page", "a list", "nothing"])
def test_what_is_no_object_is_told_in_one_line(server, body):
    url, say = server
    say["body"] = body
    with pytest.raises(RouterUnavailable, match="HTTPRoute prod/app: .*answer"):
        HttpStore(url).get(REF)


@pytest.mark.parametrize("token", ["s3cr3t\n", "  s3cr3t\r\n"])
def test_a_token_may_end_its_line(server, token):
    url, say = server
    say["body"] = b'{"metadata": {}}'
    HttpStore(url, token=token).get(REF)
    assert say["token"] == "Bearer s3cr3t"


def test_a_token_that_cannot_be_sent_is_not_shown(server):
    with pytest.raises(RouterError, match="has characters that cannot be sent") as caught:
        HttpStore(server[0], token="s3cr3t\nmore").get(REF)
    assert "s3cr3t" not in str(caught.value)
