"""Routers whose weights live in a Kubernetes object: Istio, Gateway API, Linkerd, NGINX, Traefik, Contour and others.

The router reads the object, works out a JSON Patch (`weighted`, `ingress`), and has a store carry it out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from canary_judge.errors import Conflict, DriftDetected, RouterError
from canary_judge.routers.ingress import PREFIX, ingress_changes, ingress_reading, ingress_residuals
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.waiting import wait_until
from canary_judge.routers.weighted import Kind, Operation, Target, changes, reading, residuals
from canary_judge.routing import Residual, RollbackReport, WeightReading, leftovers, same_weight

__all__ = ["Forbidden", "KubeStore", "KubernetesRouter", "Ref", "patched"]

INGRESS = "ingress-nginx"
# Reads and writes of one call before a conflict is reported: controllers write status all the time.
_ATTEMPTS = 5
_PLURALS = {"HTTPProxy": "httpproxies", "Ingress": "ingresses"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """One object in a cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def plural(self) -> str:
        """The name of its collection."""
        return _PLURALS.get(self.kind, self.kind.lower() + "s")

    @property
    def path(self) -> str:
        """Its path on the API server."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        return f"{root}/namespaces/{self.namespace}/{self.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(part for part in (self.namespace, self.name) if part)}".strip()


class Forbidden(RouterError):
    """The credentials do not allow this verb."""


class KubeStore(Protocol):
    """Access to objects: three verbs.

    Errors: RouteNotFound (404), Forbidden (403), Conflict (409, or a failed `test`), RouterUnavailable (no answer, 5xx,
    429), RouterError (anything else).
    """

    def get(self, ref: Ref) -> dict[str, Any]:
        """The object."""
        ...

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """Apply a JSON Patch (RFC 6902) as a whole, and give the object after it."""
        ...

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Put an object in the place of the one with its resourceVersion."""
        ...


class KubernetesRouter:
    """Drives the weights inside one Kubernetes object.

    A change is one guarded JSON Patch: it tests the whole list of destinations, so that an edit in between is a
    conflict and is tried again on what is there then; everything else in the object stays as it is. Where the
    credentials allow `update` but not `patch`, the object is put back with its resourceVersion.

    Args:
        store: Access to the cluster, or to a manifest file.
        ref: The object.
        kind: Where the object keeps its weights: a key of `weighted.KINDS`, a `Kind` of your own, or "ingress-nginx".
        target: The destinations; for ingress-nginx it is not needed.
        stable_ingress: For ingress-nginx: the stable Ingress, whose affinity decides what is left after a rollback.
        prefix: For ingress-nginx: of the annotations.

    Examples:
        >>> from canary_judge.testing import MemoryStore
        >>> backends = [{"name": "app-stable", "port": 80}, {"name": "app-canary", "port": 80, "weight": 0}]
        >>> route = {"kind": "HTTPRoute", "metadata": {"name": "app", "namespace": "prod"},
        ...          "spec": {"rules": [{"backendRefs": backends}]}}
        >>> ref = Ref(api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", namespace="prod", name="app")
        >>> target = Target(stable="app-stable", canary="app-canary")
        >>> router = KubernetesRouter(MemoryStore({ref: route}), ref, "gateway-api", target)
        >>> router.set_weight(5), router.get_weight().percent
        (True, 5.0)
    """

    def __init__(
        self,
        store: KubeStore,
        ref: Ref,
        kind: str | Kind,
        target: Target | None = None,
        *,
        stable_ingress: Ref | None = None,
        prefix: str = PREFIX,
    ) -> None:
        if isinstance(kind, str) and kind not in (INGRESS, *KINDS):
            raise ValueError(f"kind is {kind!r}; give one of {INGRESS}, {', '.join(KINDS)}, or a Kind")
        self._kind = KINDS.get(kind) if isinstance(kind, str) else kind
        if self._kind is not None and target is None:
            raise ValueError(f"target is missing; kind {kind!r} needs the names of its destinations")
        self.store, self.ref, self.prefix = store, ref, prefix
        self._target = target or Target(stable="", canary="")
        self._stable_ingress = stable_ingress

    def _reading(self, obj: Mapping[str, Any]) -> WeightReading:
        if self._kind is None:
            return ingress_reading(obj, self.prefix)
        return reading(self._kind, obj, self._target)

    def _changes(self, obj: Mapping[str, Any], percent: float) -> list[Operation]:
        if self._kind is None:
            return ingress_changes(obj, percent, self.prefix)
        return changes(self._kind, obj, self._target, percent)

    def get_weight(self) -> WeightReading:
        """The weight in the object."""
        return self._reading(self.store.get(self.ref))

    def preview(self, percent: float) -> list[Operation]:
        """The JSON Patch that `set_weight` would send now; nothing is written."""
        return self._changes(self.store.get(self.ref), percent)

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Write the weight, unless it is there."""
        return self._write(percent, expect) is not None

    def _write(self, percent: float, expect: float | None) -> dict[str, Any] | None:
        for attempt in range(1, _ATTEMPTS + 1):
            obj = self.store.get(self.ref)
            if expect is not None and not same_weight((found := self._reading(obj)).percent, expect):
                raise DriftDetected(f"{self.ref}: {found} is in force, {expect:g} % was expected")
            operations = self._changes(obj, percent)
            if not operations:
                return None
            try:
                return self._carry_out(obj, operations)
            except Conflict as error:
                if attempt == _ATTEMPTS:
                    raise Conflict(
                        f"{self.ref}: somebody else changed it at each of {_ATTEMPTS} attempts: {error}"
                    ) from error
        raise AssertionError

    def _carry_out(self, obj: Mapping[str, Any], operations: list[Operation]) -> dict[str, Any]:
        try:
            return self.store.patch_json(self.ref, operations)
        except Forbidden as refused:
            try:
                return self.store.replace(self.ref, patched(obj, operations))
            except Forbidden:
                raise Forbidden(f"{refused}; neither `patch` nor `update` is allowed: grant one of them") from refused

    def rollback(self) -> RollbackReport:
        """Write a weight of 0, and tell what still leads to the canary."""
        changed = self._write(0.0, None) is not None
        return RollbackReport(changed=changed, residuals=leftovers(self))

    def leftovers(self) -> tuple[Residual, ...]:
        """What leads to the canary past its weight."""
        obj = self.store.get(self.ref)
        if self._kind is not None:
            return residuals(self._kind, obj, self._target)
        theirs: Mapping[str, str] = {}
        if self._stable_ingress is not None:
            theirs = self.store.get(self._stable_ingress).get("metadata", {}).get("annotations") or {}
        return ingress_residuals(obj, theirs, self.prefix)

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """Whether the object has the weight and its controller, where it says so, has accepted this generation."""

        def in_force() -> bool:
            obj = self.store.get(self.ref)
            return same_weight(self._reading(obj).percent, percent) and _accepted(obj)

        return wait_until(in_force, timeout, every=0.2)


def _accepted(obj: Mapping[str, Any]) -> bool:
    """False while the controller has not accepted this generation; most kinds have no such status."""
    metadata, status = obj.get("metadata"), obj.get("status")
    generation = metadata.get("generation") if isinstance(metadata, Mapping) else None
    if not isinstance(status, Mapping):
        return True
    parents = _mappings(status.get("parents"))
    # Gateway API has a status for each parent, Knative one
    told = [("Accepted", one) for parent in parents for one in _mappings(parent.get("conditions"))]
    told += [("RoutesReady", one) for one in _mappings(status.get("conditions"))]
    seen = [
        status.get("observedGeneration"),
        *(one.get("observedGeneration") for wanted, one in told if one.get("type") == wanted),
    ]
    behind = any(isinstance(one, int) and isinstance(generation, int) and one < generation for one in seen)
    return not behind and all(one.get("status") == "True" for wanted, one in told if one.get("type") == wanted)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def patched(obj: Mapping[str, Any], operations: list[Operation]) -> dict[str, Any]:
    """The object after a JSON Patch of `test`, `add` and `replace`; Conflict when a test fails."""
    whole: dict[str, Any] = copy.deepcopy(dict(obj))
    for operation in operations:
        *path, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        place: Any = whole
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        key: Any = int(last) if isinstance(place, list) else last
        if operation["op"] == "test":
            there = place[key] if isinstance(place, list) else place.get(key)
            if there != operation["value"]:
                raise Conflict(f"{operation['path']} is not what it was when it was read")
        else:
            place[key] = operation["value"]
    return whole
