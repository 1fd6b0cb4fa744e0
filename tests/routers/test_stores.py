"""Access to a cluster, each client against the same API server over HTTP; and what a router makes of its faults."""

import copy
import json
import os
import shutil
import subprocess
import time

import pytest

from canary_judge.errors import (
    Conflict,
    DestinationNotFound,
    DriftDetected,
    NotEnoughWeight,
    RouteNotFound,
    RouterError,
    RouterUnavailable,
)
from canary_judge.routers.kinds import listed_kind
from canary_judge.routers.kubernetes import Forbidden, KubernetesRouter, Ref
from canary_judge.routers.manifest import ManifestStore
from canary_judge.routers.stores import ClientStore, HttpStore, KubectlStore, LightkubeStore
from canary_judge.routers.weighted import Target
from canary_judge.testing import router_checks
from tests.routers.api_server import ApiServer, Refusal, hang

ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "app", "namespace": "prod", "labels": {"team": "a"}},
    "spec": {
        "rules": [
            {
                "backendRefs": [
                    {"name": "app-stable", "port": 80, "weight": 100},
                    {"name": "app-canary", "port": 80, "weight": 0},
                ]
            }
        ]
    },
}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {
        "name": "canary",
        "namespace": "prod",
        "annotations": {"nginx.ingress.kubernetes.io/canary": "true", "other": "kept"},
    },
    "spec": {"rules": []},
}
REF = Ref(api_version=ROUTE["apiVersion"], kind="HTTPRoute", namespace="prod", name="app")
INGRESS_REF = Ref(api_version="networking.k8s.io/v1", kind="Ingress", namespace="prod", name="canary")
TARGET = Target(stable="app-stable", canary="app-canary")


@pytest.fixture
def server():
    running = ApiServer([ROUTE, INGRESS])
    yield running
    running.close()


def http(server):
    return HttpStore(server.url, token=lambda: "secret", timeout=1.0)


def kubectl(server):
    if shutil.which("kubectl") is None:
        assert "kubectl" not in os.environ.get("CANARY_JUDGE_REQUIRE_PROXIES", "")
        pytest.skip("kubectl is not here; Debian's package kubernetes-client has it")
    return KubectlStore(arguments=("--server", server.url, "--kubeconfig", "/dev/null"), timeout=8.0)


def lightkube(server):
    lightkube = pytest.importorskip("lightkube", reason="pip install 'canary-judge[kubernetes]'")
    from lightkube.config.models import Cluster, User

    kubeconfig = lightkube.KubeConfig.from_one(cluster=Cluster(server=server.url), user=User(token="secret"))
    return LightkubeStore(lightkube.Client(config=kubeconfig, timeout=1.0, trust_env=False))


def official(server):
    kubernetes = pytest.importorskip("kubernetes", reason="pip install 'canary-judge[e2e]'")
    configuration = kubernetes.client.Configuration(host=server.url)
    configuration.retries = False
    return ClientStore(kubernetes.client.ApiClient(configuration), timeout=1.0)


CLIENTS = [http, kubectl, lightkube, official]


@pytest.fixture(params=CLIENTS, ids=lambda build: build.__name__)
def store(request, server):
    """A client, whose connections are closed afterwards, each in its own way."""
    made = request.param(server)
    yield made
    if isinstance(made, LightkubeStore):
        made._client._client._client.close()
    elif isinstance(made, ClientStore):
        made._objects.api_client.rest_client.pool_manager.clear()
    elif isinstance(made, HttpStore):
        made._session.close()


def gateway(store):
    return KubernetesRouter(store, REF, "gateway-api", TARGET)


def weights(server):
    return [one.get("weight") for one in server.objects[REF]["spec"]["rules"][0]["backendRefs"]]


def test_a_weight_goes_in_by_one_guarded_json_patch(store, server):
    router = gateway(store)
    assert router.set_weight(25, expect=0)
    assert weights(server) == [75, 25]
    written = [entry for entry in server.log if entry[0] != "GET"]
    assert [(method, content, status) for method, _, content, _, status in written] == [
        ("PATCH", "application/json-patch+json", 200)
    ]
    operations = json.loads(written[0][3])
    assert [one["op"] for one in operations] == ["test", "replace", "replace"]
    assert not router.set_weight(25)
    assert len([entry for entry in server.log if entry[0] != "GET"]) == 1


def test_built_in_objects_are_reached_too(store, server):
    router = KubernetesRouter(store, INGRESS_REF, "ingress-nginx")
    assert router.set_weight(5)
    annotations = server.objects[INGRESS_REF]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/canary-weight"] == "5"
    assert annotations["other"] == "kept"


def test_errors_of_the_server_are_ours(store, server):
    missing = Ref(api_version=REF.api_version, kind="HTTPRoute", namespace="prod", name="other")
    with pytest.raises(RouteNotFound):
        store.get(missing)
    server.verbs = set()
    with pytest.raises(Forbidden):
        store.get(REF)
    server.verbs = {"get", "patch", "update"}
    with pytest.raises(Conflict):
        store.patch_json(REF, [{"op": "test", "path": "/metadata/name", "value": "no"}])
    stale = store.get(REF)
    server.edit(REF, lambda obj: obj["metadata"]["labels"].update(team="b"))
    with pytest.raises(Conflict):
        store.replace(REF, stale)

    def broken(method, ref, server):
        raise Refusal(500, "InternalError", "etcd has no leader")

    server.hook = broken
    with pytest.raises(RouterUnavailable):
        store.get(REF)


def test_an_admission_rule_is_no_conflict(server):
    with pytest.raises(RouterError, match="Invalid value") as caught:
        http(server).patch_json(REF, [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": -1}])
    assert not isinstance(caught.value, Conflict | RouterUnavailable)


def test_a_server_that_hangs_or_is_gone_is_told(store, server):
    if isinstance(store, KubectlStore):
        store._timeout = 1.0
    server.hook = hang(3)
    begun = time.monotonic()
    with pytest.raises(RouterUnavailable):
        store.get(REF)
    assert time.monotonic() - begun < 9
    server.close()
    with pytest.raises(RouterUnavailable):
        store.get(REF)


def test_without_the_right_to_patch_the_object_is_put_back(store, server):
    server.verbs = {"get", "update"}
    assert gateway(store).set_weight(25)
    assert weights(server) == [75, 25]
    assert [entry[0] for entry in server.log if entry[0] != "GET"] == ["PATCH", "PUT"]
    server.verbs = {"get"}
    with pytest.raises(Forbidden, match="neither `patch` nor `update`"):
        gateway(store).set_weight(50)


# --- faults between a read and a write ---------------------------------------------------------------------------------


def between(server, change, times=1):
    """Somebody else writes between our read and our write."""
    left = [times]

    def hook(method, ref, running):
        if method in ("PATCH", "PUT") and left[0]:
            left[0] -= 1
            running.edit(ref, change)

    server.hook = hook


def test_somebody_elses_label_does_not_matter(server):
    between(server, lambda obj: obj["metadata"]["labels"].update(team="b"))
    assert gateway(http(server)).set_weight(25)
    assert weights(server) == [75, 25]
    assert server.objects[REF]["metadata"]["labels"] == {"team": "b"}


def test_somebody_elses_destination_is_kept_and_counted(server):
    third = {"name": "experiment", "port": 80, "weight": 0}
    between(server, lambda obj: obj["spec"]["rules"][0]["backendRefs"].append(third))
    assert gateway(http(server)).set_weight(25)
    assert server.objects[REF]["spec"]["rules"][0]["backendRefs"][2] == third
    assert [entry[4] for entry in server.log if entry[0] == "PATCH"] == [422, 200]


def test_somebody_elses_weight_is_a_drift_when_one_was_expected(server):
    def change(obj):
        obj["spec"]["rules"][0]["backendRefs"][1]["weight"] = 50

    between(server, change)
    with pytest.raises(DriftDetected, match=r"33\.3333 % is in force, 0 % was expected"):
        gateway(http(server)).set_weight(25, expect=0)
    assert weights(server) == [100, 50]


def test_a_rollback_wins_against_a_fight_that_ends(server):
    gateway(http(server)).set_weight(50)
    counter = [0]

    def change(obj):
        counter[0] += 1
        obj["spec"]["rules"][0]["backendRefs"][1]["weight"] = 60 + counter[0]

    between(server, change, times=4)
    assert gateway(http(server)).rollback().changed
    assert weights(server) == [100, 0]


def test_a_fight_without_end_is_a_conflict(server):
    counter = [0]

    def change(obj):
        counter[0] += 1
        obj["spec"]["rules"][0]["backendRefs"][1]["weight"] = counter[0]

    between(server, change, times=100)
    with pytest.raises(Conflict, match="somebody else changed it at each of 5 attempts"):
        gateway(http(server)).set_weight(25)


def test_an_object_that_vanishes_is_told(server):
    def hook(method, ref, running):
        if method == "PATCH":
            running.objects.pop(REF, None)
            raise Refusal(404, "NotFound", "gone")

    server.hook = hook
    with pytest.raises(RouteNotFound):
        gateway(http(server)).set_weight(25)


def test_a_controller_that_has_not_accepted_the_route_is_waited_for(server):
    router = gateway(http(server))
    router.set_weight(25)
    generation = server.objects[REF]["metadata"]["generation"]

    def condition(status, seen):
        accepted = {"type": "Accepted", "status": status, "observedGeneration": seen}
        server.edit(REF, lambda obj: obj.update(status={"parents": [{"conditions": [accepted]}]}))

    condition("True", generation - 1)
    assert not router.verify(25, timeout=0.3)
    condition("False", generation)
    assert not router.verify(25, timeout=0.3)
    condition("True", generation)
    assert router.verify(25)


def test_a_gateway_that_refuses_the_route_does_not_speak_for_the_one_that_serves_it(server):
    router = gateway(http(server))
    router.set_weight(25)
    generation = server.objects[REF]["metadata"]["generation"]

    def told(*parents):
        accepted = [{"type": "Accepted", "status": status, "observedGeneration": seen} for status, seen in parents]
        server.edit(REF, lambda obj: obj.update(status={"parents": [{"conditions": [one]} for one in accepted]}))

    told(("True", generation), ("False", generation))
    assert router.verify(25)
    told(("False", generation), ("False", generation))
    assert not router.verify(25, timeout=0.3)
    told(("True", generation - 1), ("False", generation))
    assert not router.verify(25, timeout=0.3)


@pytest.mark.parametrize("check", router_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["gateway-api", "ingress-nginx"])
def test_the_contract(check, kind, server):
    ref = REF if kind == "gateway-api" else INGRESS_REF
    router = KubernetesRouter(http(server), ref, kind, TARGET)

    class Harness:
        def router(self, percent):
            router.set_weight(percent)
            return router

    check(Harness())


# --- manifests -----------------------------------------------------------------------------------------------------------

MANIFEST = """\
# deployed by hand; see the wiki
---
apiVersion: v1
kind: Service   # not this one
metadata: {name: app, namespace: prod}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: app
  namespace: prod
spec:
  rules:
  - backendRefs:
    - name: app-stable
      port: 80
      weight: 100      # raised on Monday
    # the new one
    - {name: app-canary, port: 80}   # flow style, and no weight


  - name: other
    backendRefs:
    - name: elsewhere
      port: 80   # comment

"""


def lines_changed(before, after):
    return [(one, other) for one, other in zip(before.splitlines(), after.splitlines(), strict=True) if one != other]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_manifest_changes_in_its_weights_only(tmp_path, ending):
    path = tmp_path / "app.yaml"
    path.write_bytes(MANIFEST.replace("\n", ending).encode())
    path.chmod(0o640)
    router = KubernetesRouter(ManifestStore(path), REF, "gateway-api", TARGET)
    router.set_weight(25)
    after = path.read_bytes().decode()
    assert lines_changed(MANIFEST, after.replace(ending, "\n")) == [
        ("      weight: 100      # raised on Monday", "      weight: 75      # raised on Monday"),
        (
            "    - {name: app-canary, port: 80}   # flow style, and no weight",
            "    - {name: app-canary, port: 80, weight: 25}   # flow style, and no weight",
        ),
    ]
    assert after.count(ending) == MANIFEST.count("\n")
    assert path.stat().st_mode & 0o777 == 0o640
    router.rollback()
    assert router.get_weight().percent == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["app.yaml"]


def test_a_weight_is_added_behind_the_last_key_of_a_block(tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(
        MANIFEST.replace(
            "{name: app-canary, port: 80}   # flow style, and no weight", "name: app-canary\n      port: 80  # web"
        )
    )
    KubernetesRouter(ManifestStore(path), REF, "gateway-api", TARGET).set_weight(10)
    assert "      port: 80  # web\n      weight: 10\n" in path.read_text()


def test_a_weight_behind_a_merge_key_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "app.yaml"
    text = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: prod}
half: &half {port: 80, weight: 50}
spec:
  rules:
  - backendRefs:
    - {<<: *half, name: app-stable}
    - {<<: *half, name: app-canary}
"""
    path.write_text(text)
    with pytest.raises(RouterError, match="cannot be edited in place|write it out"):
        KubernetesRouter(ManifestStore(path), REF, "gateway-api", TARGET).set_weight(25)
    assert path.read_text() == text


def test_anchors_that_share_a_weight_are_written_out_and_all_else_stays(tmp_path):
    path = tmp_path / "app.yaml"
    text = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: prod}
spec:
  rules:
  - backendRefs:
    - {name: app-stable, port: 80, weight: &w 50}
    - {name: app-canary, port: 80, weight: *w}
"""
    path.write_text(text)
    router = KubernetesRouter(ManifestStore(path), REF, "gateway-api", TARGET)
    router.set_weight(25)
    assert path.read_text() == text.replace("&w 50", "75").replace("*w", "25")
    router.rollback()
    assert path.read_text() == text.replace("&w 50", "100").replace("*w", "0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not hold HTTPRoute prod/app"),
        ("a: [", "no valid YAML"),
        (MANIFEST + "---\n" + MANIFEST.split("---\n")[2], "holds 2 objects that fit"),
        ("- 1\n- 2\n", "does not hold"),
    ],
)
def test_a_manifest_that_does_not_fit_is_named(text, message, tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(text)
    with pytest.raises(RouterError, match=message):
        ManifestStore(path).get(REF)
    with pytest.raises(RouteNotFound, match="no such manifest"):
        ManifestStore(tmp_path / "none.yaml").get(REF)


def test_a_manifest_in_git_shows_two_lines(tmp_path):
    """What a reviewer sees."""
    path = tmp_path / "app.yaml"
    path.write_text(MANIFEST)
    git = ["git", "-C", str(tmp_path), "-c", "user.email=a@b", "-c", "user.name=a"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    KubernetesRouter(ManifestStore(path), REF, "gateway-api", TARGET).set_weight(5)
    shown = subprocess.run([*git, "diff", "--numstat"], check=True, capture_output=True, text=True).stdout
    assert shown == "2\t2\tapp.yaml\n"


# --- kinds of one's own, and weights that do not fit -----------------------------------------------------------------------


def test_a_kind_that_is_not_among_ours(server):
    kind = listed_kind(
        api_version=REF.api_version,
        kind="HTTPRoute",
        routes="spec.rules",
        destinations="backendRefs",
        name="name",
        weight="weight",
        default=1.0,
    )
    assert KubernetesRouter(http(server), REF, kind, TARGET).set_weight(25)
    assert weights(server) == [75, 25]


def third(weight, stable=70, canary=10):
    obj = copy.deepcopy(ROUTE)
    obj["spec"]["rules"][0]["backendRefs"][0]["weight"] = stable
    obj["spec"]["rules"][0]["backendRefs"][1]["weight"] = canary
    obj["spec"]["rules"][0]["backendRefs"].append({"name": "experiment", "port": 80, "weight": weight})
    return obj


def test_a_weight_that_others_hold_is_refused():
    from canary_judge.testing import MemoryStore

    store = MemoryStore({REF: third(20)})
    with pytest.raises(NotEnoughWeight, match="other destinations hold 20 %"):
        gateway(store).set_weight(90)
    store = MemoryStore({REF: third(1, 1, 1)})
    with pytest.raises(NotEnoughWeight, match="cannot be written exactly; weights here add up to 3"):
        gateway(store).set_weight(25)
    assert gateway(store).rollback().changed
    assert [one["weight"] for one in store.get(REF)["spec"]["rules"][0]["backendRefs"]] == [2, 0, 1]


def test_routes_that_disagree_have_no_weight():
    from canary_judge.testing import MemoryStore

    obj = copy.deepcopy(ROUTE)
    second = copy.deepcopy(obj["spec"]["rules"][0])
    second["backendRefs"][1]["weight"] = 100
    obj["spec"]["rules"].append(second)
    router = KubernetesRouter(
        MemoryStore({REF: obj}), REF, "gateway-api", Target(stable="app-stable", canary="app-canary", routes=(0, 1))
    )
    reading = router.get_weight()
    assert reading.percent is None
    assert dict(reading.per_route) == {"0": 0.0, "1": 50.0}
    assert router.set_weight(25)
    assert router.get_weight().percent == 25
    with pytest.raises(RouteNotFound, match="no rule 'x'; there are 0, 1"):
        KubernetesRouter(
            MemoryStore({REF: obj}), REF, "gateway-api", Target(stable="app-stable", canary="app-canary", routes=("x",))
        ).get_weight()


def test_a_missing_destination_names_itself(server):
    target = Target(stable="app-stable", canary="app-v2")
    with pytest.raises(DestinationNotFound, match="no canary destination 'app-v2'; add it with weight 0"):
        KubernetesRouter(http(server), REF, "gateway-api", target).set_weight(5)
