"""Routers whose weights live in a Kubernetes object: Istio, Gateway API, Linkerd, NGINX, Traefik, Contour and others.

The router reads the object, works out a JSON Patch (`weighted`, `ingress`), and has a store carry it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from canary_judge.errors import (
    AmbiguousRoute,
    Conflict,
    DestinationNotFound,
    DriftDetected,
    NotWeighted,
    RouteNotFound,
    RouterError,
)
from canary_judge.routers.ahead import Affinity, kept
from canary_judge.routers.ingress import PREFIX, ingress_changes, ingress_reading, ingress_residuals
from canary_judge.routers.kinds import KINDS
from canary_judge.routers.waiting import wait_until
from canary_judge.routers.weighted import (
    Kind,
    Operation,
    Target,
    changes,
    owner,
    patched,
    reading,
    residuals,
    with_ahead,
)
from canary_judge.routing import Ahead, Residual, RollbackReport, WeightReading, leftovers, same_weight

__all__ = ["INGRESS", "Forbidden", "KubeStore", "KubernetesRouter", "Ref"]

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
    """The credentials do not allow this verb, or the server has none."""


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
        affinity: Clients stay with their version while the canary has traffic; for Istio's http routes, Gateway API
            and ingress-nginx.

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
        affinity: Affinity | None = None,
    ) -> None:
        if isinstance(kind, str) and kind not in (INGRESS, *KINDS):
            raise ValueError(f"kind is {kind!r}; give one of {INGRESS}, {', '.join(KINDS)}, or a Kind")
        self._kind = KINDS.get(kind) if isinstance(kind, str) else kind
        if self._kind is not None and target is None:
            raise ValueError(f"target is missing; kind {kind!r} needs the names of its destinations")
        self.store, self.ref, self.prefix = store, ref, prefix
        self._target = target or Target(stable="", canary="")
        self._stable_ingress, self._affinity = stable_ingress, affinity
        self._known = False  # whether it was ever clear which routes are meant
        if affinity is not None and not (kind == INGRESS or self.supports_ahead):
            raise ValueError(
                "affinity: cannot be set here; Istio's http routes, Gateway API's rules and ingress-nginx can have it, "
                "in a cluster (of a manifest file only the weights are edited)"
            )

    @property
    def supports_ahead(self) -> bool:
        """Whether a match or a mirror can be put before the weights."""
        form = None if self._kind is None else self._kind.ahead
        inserts = getattr(self.store, "inserts", True)
        return inserts and form is not None and (form.form != "istio" or self._target.protocol == "http")

    def _reading(self, obj: Mapping[str, Any]) -> WeightReading:
        with _shaped(self.ref):
            if self._kind is None:
                return ingress_reading(obj, self.prefix)
            found = reading(self._kind, obj, self._target)
        self._known = True
        return found

    def _changes(self, obj: Mapping[str, Any], percent: float, ahead: Ahead | None = None) -> list[Operation]:
        with _shaped(self.ref):
            if self._kind is None:
                sticky = None if self._affinity is None else percent > 0
                return ingress_changes(obj, percent, self.prefix, sticky=sticky)
            if self.supports_ahead:
                found = with_ahead(self._kind, obj, self._target, percent, ahead, self._affinity)
            else:
                found = changes(self._kind, obj, self._target, percent)
        self._known = True
        return found

    def get_weight(self) -> WeightReading:
        """The weight in the object."""
        return self._reading(self.store.get(self.ref))

    def preview(self, percent: float) -> list[Operation]:
        """The JSON Patch that `set_weight` would send now; nothing is written."""
        return self._changes(self.store.get(self.ref), percent)

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Write the weight, unless it is there."""
        return self._write(percent, expect) is not None

    def set_ahead(self, ahead: Ahead) -> bool:
        """Put a match or a mirror before the weights, of which the canary's is 0."""
        if not self.supports_ahead:
            raise NotWeighted(f"{self.ref}: nothing can be put before its weights")
        return self._write(0.0, None, ahead) is not None

    def _write(self, percent: float, expect: float | None, ahead: Ahead | None = None) -> dict[str, Any] | None:
        for attempt in range(1, _ATTEMPTS + 1):
            obj = self.store.get(self.ref)
            if expect is not None and not same_weight((found := self._reading(obj)).percent, expect):
                raise DriftDetected(f"{self.ref}: {found} is in force, {expect:g} % was expected")
            operations = self._changes(obj, percent, ahead)
            if not operations:
                return None
            try:
                return self._kept(operations, self._carry_out(obj, operations))
            except Conflict as error:
                if attempt == _ATTEMPTS:
                    raise Conflict(
                        f"{self.ref}: somebody else changed it at each of {_ATTEMPTS} attempts: {error}"
                    ) from error
        raise AssertionError

    def _kept(self, operations: list[Operation], after: dict[str, Any]) -> dict[str, Any]:
        """The object after a write, unless the server has dropped a part that must not be missing."""
        before, written = operations[0], operations[-1]
        if isinstance(written["value"], list):
            there = after["spec"][written["path"].rpartition("/")[2]]
            if lost := kept(written["value"], there):
                back: list[Operation] = [
                    {"op": "test", "path": before["path"], "value": there},
                    {"op": "replace", "path": before["path"], "value": before["value"]},
                ]
                self._carry_out(after, back)
                raise RouterError(
                    f"{self.ref}: the cluster drops {lost}, unknown to its version of this API; the change was taken "
                    "back: install a newer version, or go without a match, a mirror and affinity"
                )
        return after

    def _carry_out(self, obj: Mapping[str, Any], operations: list[Operation]) -> dict[str, Any]:
        try:
            return self.store.patch_json(self.ref, operations)
        except Forbidden as refused:
            try:
                return self.store.replace(self.ref, patched(obj, operations))
            except Forbidden:
                raise Forbidden(f"{refused}; neither `patch` nor `update` is allowed: grant one of them") from refused

    def taken_up(self) -> None:
        """A rollout that was begun with it goes on: it was clear then which routes are meant."""
        self._known = True

    def rollback(self) -> RollbackReport:
        """Write a weight of 0, and tell what still leads to the canary."""
        try:
            changed = self._write(0.0, None) is not None
        except (AmbiguousRoute, RouteNotFound):
            if not self._known:
                raise
            # one was added or has another name since it was clear: all that split between the two lose their canary
            self._target = replace(self._target, routes=("all",), owner=owner(self._target))
            changed = self._write(0.0, None) is not None
        except DestinationNotFound:
            before, known = self._target, self._known
            self._target = replace(before, others=True, owner=owner(before))
            changed = self._write(0.0, None) is not None
            if not changed and not known:  # nothing says that the canary is one of theirs
                self._target, self._known = before, known
                raise
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


@contextmanager
def _shaped(ref: Ref) -> Iterator[None]:
    """An object that is no object of its kind is told in one line."""
    try:
        yield
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        raise RouterError(f"{ref}: has not the shape of its kind ({type(error).__name__}: {error}); mend it") from error


def _accepted(obj: Mapping[str, Any]) -> bool:
    """False while the controller has not accepted this generation; most kinds have no such status."""
    metadata, status = obj.get("metadata"), obj.get("status")
    generation = metadata.get("generation") if isinstance(metadata, Mapping) else None
    if not isinstance(status, Mapping):
        return True
    parents = [one for one in _mappings(status.get("parents")) if _is_meant(one, obj)]
    # Gateway API has a status for each parent, Knative one
    told = [one for parent in parents for one in _mappings(parent.get("conditions")) if one.get("type") == "Accepted"]
    ready = [one for one in _mappings(status.get("conditions")) if one.get("type") == "RoutesReady"]
    seen = [status.get("observedGeneration"), *(one.get("observedGeneration") for one in (*told, *ready))]
    behind = any(isinstance(one, int) and isinstance(generation, int) and one < generation for one in seen)
    # a parent that refuses the object serves none of it, and the others do
    served = not told or any(one.get("status") == "True" for one in told)
    return not behind and served and all(one.get("status") == "True" for one in ready)


def _is_meant(parent: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
    """Whether a status is of a parent that the object has: one that was taken away leaves its status behind."""
    spec = obj.get("spec")
    wanted = _mappings(spec.get("parentRefs")) if isinstance(spec, Mapping) else []
    of = parent.get("parentRef")
    if not wanted or not isinstance(of, Mapping):
        return True
    keys = ("name", "namespace", "sectionName", "port")
    known = {"namespace": (obj.get("metadata") or {}).get("namespace")}
    return any(all(one.get(key, known.get(key)) == of.get(key, known.get(key)) for key in keys) for one in wanted)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
