"""The conformance cases, through every way to an object: in memory, over HTTP, and in a manifest file."""

import copy
from pathlib import Path

import pytest
import yaml

from canary_judge import errors
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.kubernetes import KubernetesRouter, Ref
from canary_judge.routers.manifest import ManifestStore
from canary_judge.routers.stores import HttpStore
from canary_judge.routers.weighted import Target
from canary_judge.testing import MemoryStore
from tests.routers.api_server import ApiServer

CASES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__).parents[1].glob("data/routers/*.yaml"))
}
WORKING = [name for name, case in CASES.items() if "expect_error" not in case]
FAILING = [name for name, case in CASES.items() if "expect_error" in case]


def ref_of(obj):
    metadata = obj["metadata"]
    return Ref(api_version=obj["apiVersion"], kind=obj["kind"], namespace=metadata["namespace"], name=metadata["name"])


def router_of(case, store):
    """The router that the case's target describes."""
    obj, given = case["object"], dict(case["target"])
    stable = None
    if case["router"] == "ingress-nginx":
        annotations = given.get("stable_ingress_annotations")
        if annotations is not None:
            stable = Ref(
                api_version=obj["apiVersion"], kind="Ingress", namespace=obj["metadata"]["namespace"], name="app"
            )
        return KubernetesRouter(store, ref_of(obj), "ingress-nginx", stable_ingress=stable)
    given["routes"] = tuple(given.get("routes", ()))
    return KubernetesRouter(store, ref_of(obj), case["router"], Target(**given))


def objects_of(case):
    """The case's object, and the stable Ingress where the case describes it."""
    annotations = case["target"].get("stable_ingress_annotations")
    if annotations is None:
        return [case["object"]]
    namespace = case["object"]["metadata"]["namespace"]
    other = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "app", "namespace": namespace, "annotations": annotations},
        "spec": {"rules": []},
    }
    return [case["object"], other]


class InMemory:
    def __init__(self, case, _):
        self.store = MemoryStore({ref_of(obj): obj for obj in objects_of(case)})

    @property
    def writes(self):
        return self.store.writes

    def close(self):
        pass


class OverHttp:
    def __init__(self, case, _):
        self.server = ApiServer(objects_of(case))
        self.store = HttpStore(self.server.url)

    @property
    def writes(self):
        return sum(method != "GET" for method, *_ in self.server.log)

    def close(self):
        self.server.close()


class InAFile:
    def __init__(self, case, folder):
        self.path = folder / "app.yaml"
        text = yaml.safe_dump_all(objects_of(case), sort_keys=False)
        self.path.write_text("# the routes of the app\n" + text)
        self.store = ManifestStore(self.path)
        self.texts = [self.path.read_text()]

    @property
    def writes(self):
        text = self.path.read_text()
        if text != self.texts[-1]:
            self.texts.append(text)
        return len(self.texts) - 1

    def close(self):
        pass


@pytest.fixture(params=[InMemory, OverHttp, InAFile], ids=["memory", "http", "manifest"])
def way(request):
    opened = []

    def build(case, folder):
        opened.append(request.param(copy.deepcopy(case), folder))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def bare(obj):
    """Without what an API server adds."""
    added = ("resourceVersion", "generation", "uid")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in added}}


@pytest.mark.parametrize("name", WORKING)
def test_a_case_is_read_set_rolled_back_and_its_leftovers_named(name, way, tmp_path):
    case = CASES[name]
    place = way(case, tmp_path)
    router, ref = router_of(case, place.store), ref_of(case["object"])
    assert router.get_weight().percent == case["read_weight_before"]

    assert router.set_weight(25) or case["read_weight_before"] == 25
    assert bare(place.store.get(ref)) == case["after_set_25"]
    assert router.get_weight().percent == case["read_weight_after_25"]
    writes = place.writes
    assert not router.set_weight(25)
    assert place.writes == writes

    report = router.rollback()
    assert report.changed
    assert bare(place.store.get(ref)) == case["after_rollback"]
    assert router.get_weight().percent == case["read_weight_after_rollback"]
    expected = [
        (f"{key} {one[key]}", one["reason"])
        for one in case["residual_canary_traffic_after_rollback"]
        for key in one
        if key != "reason"
    ]
    assert [(one.place, one.reason) for one in report.residuals] == expected
    writes = place.writes
    assert not router.rollback().changed
    assert place.writes == writes


@pytest.mark.parametrize("name", FAILING)
def test_a_case_that_cannot_be_driven_is_refused_and_stays_as_it_is(name, way, tmp_path):
    case = CASES[name]
    place = way(case, tmp_path)
    router = router_of(case, place.store)
    expected = getattr(errors, case["expect_error"])
    for call in (router.get_weight, lambda: router.set_weight(25), router.rollback):
        with pytest.raises(expected, match=r"\w{4}"):
            call()
    assert place.writes == 0
    assert bare(place.store.get(ref_of(case["object"]))) == case["object"]


def test_every_kind_has_cases():
    assert len(CASES) == 43
    assert {case["router"] for case in CASES.values()} == {"ingress-nginx", *KINDS}
