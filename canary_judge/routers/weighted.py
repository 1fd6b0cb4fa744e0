"""Weighted lists inside Kubernetes objects: read the canary's share, change it, and see what leads past it. Pure.

Most routers keep a list of destinations with weights, once per route. A `Kind` says where; the rest is the same for
all: two destinations are written with base 100, a third one keeps its weight while stable takes the difference, and
no destination is invented. A change is a JSON Patch (RFC 6902) that tests the whole list before it replaces a weight,
so that somebody else's edit in between is a conflict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from canary_judge.errors import AmbiguousRoute, DestinationNotFound, NotEnoughWeight, NotWeighted, RouteNotFound
from canary_judge.rollout import Residual, WeightReading, check_percent, same_weight

__all__ = ["KINDS", "Kind", "Operation", "Target", "changes", "listed_kind", "reading", "residuals"]

Object = Mapping[str, Any]
# a position, a route, and the pointer of its destinations with these
_Listed = tuple[int, Mapping[str, Any], tuple[str | int, ...], Sequence[Mapping[str, Any]]]
Operation = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which destinations of an object are meant.

    Attributes:
        stable: Name of the stable destination (host, service).
        canary: Name of the canary's.
        stable_subset: For Istio with one host: the DestinationRule subset of the stable version.
        canary_subset: The same for the canary.
        routes: Names or positions of the routes to change; needed when several split between the two.
        protocol: For Istio: http, tcp or tls.
        action: For AWS ALB: the name of the action.
    """

    stable: str
    canary: str
    stable_subset: str | None = None
    canary_subset: str | None = None
    routes: tuple[str | int, ...] = ()
    protocol: Literal["http", "tcp", "tls"] = "http"
    action: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One destination of a route: whose it is, and its weight."""

    side: Literal["stable", "canary", ""]
    weight: float
    written: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route with its list of destinations.

    Attributes:
        name: Its name, or its position where it has none.
        position: Its position.
        pointer: JSON pointer of the list.
        listed: The list as it stands in the object.
        destinations: The same, read.
        pinned: What of a request must match for the route to be taken: "cookie", "header" or nothing.
        leaks: Ways by which requests reach the canary whatever the weights are.
    """

    name: str | int
    position: int
    pointer: tuple[str | int, ...]
    listed: Sequence[Mapping[str, Any]]
    destinations: tuple[Destination, ...]
    pinned: Literal["cookie", "header", ""] = ""
    leaks: tuple[str, ...] = ()

    def side(self, side: str) -> list[int]:
        """Positions of the destinations of one side."""
        return [index for index, one in enumerate(self.destinations) if one.side == side]

    def share(self) -> float:
        """Percent of the route's requests that go to the canary."""
        total = sum(one.weight for one in self.destinations)
        mine = sum(one.weight for one in self.destinations if one.side == "canary")
        return 100.0 * mine / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where a kind of object keeps its weights.

    Attributes:
        api_version: Of the objects, by default.
        kind: Kubernetes kind, by default.
        weight: Key of the weight in a destination.
        routes: Its routes, given the object and the target.
        whole: Weights must add up to 100, so that only whole percents can be written.
        annotation: The list is JSON text in this annotation; `{action}` stands for the target's action.
        places: What a route is called in reports.
    """

    api_version: str
    kind: str
    routes: Callable[[Object, Target], Iterable[Route]]
    weight: str = "weight"
    whole: bool = False
    annotation: str | None = None
    places: str = "route"


# --- what is common to all -----------------------------------------------------------------------------------------


def reading(kind: Kind, obj: Object, target: Target) -> WeightReading:
    """The canary's share in the selected routes; None when they disagree."""
    shares = {str(route.name): route.share() for route in _selected(kind, obj, target)}
    values = list(shares.values())
    agreed = all(same_weight(values[0], value) for value in values)
    return WeightReading(percent=values[0] if agreed else None, per_route=shares)


def changes(kind: Kind, obj: Object, target: Target, percent: float) -> list[Operation]:
    """The guarded JSON Patch that gives the canary this share; empty when it has it."""
    check_percent(percent)
    operations: list[Operation] = []
    for route in _selected(kind, obj, target):
        if same_weight(route.share(), percent) and _served(route):
            continue
        stable, canary = route.side("stable")[0], route.side("canary")[0]
        new = dict(zip((stable, canary), _split(kind, route, percent), strict=True))
        if kind.annotation is not None:
            return _in_annotation(kind, obj, target, route, new)
        operations.append({"op": "test", "path": _pointer(route.pointer), "value": list(route.listed)})
        for index, weight in sorted(new.items()):
            one = route.destinations[index]
            if one.written and one.weight == weight:
                continue
            operations.append(
                {
                    "op": "replace" if one.written else "add",
                    "path": _pointer((*route.pointer, index, kind.weight)),
                    "value": weight,
                }
            )
    return operations


def residuals(kind: Kind, obj: Object, target: Target) -> tuple[Residual, ...]:
    """What would still lead to the canary if the selected routes gave it nothing."""
    selected = {route.position for route in _selected(kind, obj, target)}
    found = []
    for route in kind.routes(obj, target):
        place = f"{kind.places} {route.name}"
        if route.position not in selected and (share := route.share()) > 0:
            weight = sum(one.weight for one in route.destinations if one.side == "canary")
            if route.pinned == "cookie":
                reason = f"cookie match sends {share:g} % to canary"
            elif route.pinned and share == 100:
                reason = f"{route.pinned} match pins canary"
            elif route.pinned:
                reason = f"{route.pinned} match sends {share:g} % to canary"
            else:
                reason = f"weight {weight:g} in a route that was not selected"
            found.append(Residual(place=place, reason=reason))
        found += [Residual(place=place, reason=reason) for reason in route.leaks]
    return tuple(found)


def _served(route: Route) -> bool:
    return any(one.weight > 0 for one in route.destinations)


def _selected(kind: Kind, obj: Object, target: Target) -> list[Route]:
    routes = list(kind.routes(obj, target))
    called = f"{kind.kind} {obj.get('metadata', {}).get('name', '')}".strip()
    if target.routes:
        chosen = []
        for wanted in target.routes:
            fits = [route for route in routes if wanted in (route.name, route.position)]
            if not fits:
                names = ", ".join(repr(route.name) for route in routes) or "none"
                raise RouteNotFound(f"{called} has no {kind.places} {wanted!r}; there are {names}")
            chosen.append(fits[0])
    else:
        chosen = [route for route in routes if route.side("stable") and route.side("canary")]
        if len(chosen) > 1:
            names = ", ".join(repr(route.name) for route in chosen)
            raise AmbiguousRoute(
                f"{called} splits between {target.stable!r} and {target.canary!r} in several {kind.places}s ({names}); "
                "name those that are meant (`routes`, --route)"
            )
        chosen = chosen or routes[:1]
    if not chosen:
        raise NotWeighted(f"{called} has no {kind.places} with a list of destinations")
    for route in chosen:
        if not route.destinations:
            raise NotWeighted(f"{kind.places} {route.name!r} of {called} has no list of destinations to weigh")
        for side, name in (("stable", target.stable), ("canary", target.canary)):
            count = len(route.side(side))
            if count == 0:
                raise DestinationNotFound(
                    f"{kind.places} {route.name!r} of {called} has no {side} destination {name!r}; add it with weight "
                    f"{0 if side == 'canary' else 100} (none is invented: its port and subset are not known)"
                )
            if count > 1:
                raise AmbiguousRoute(f"{kind.places} {route.name!r} of {called} lists {side} {name!r} {count} times")
    return chosen


def _split(kind: Kind, route: Route, percent: float) -> tuple[int, int]:
    """The new weights of stable and canary."""
    others = [one.weight for one in route.destinations if not one.side]
    if not others:
        base = 100.0 if kind.whole or percent == round(percent) else 10_000.0
    else:
        base = sum(one.weight for one in route.destinations) or 100.0
    canary = percent * base / 100
    stable = base - sum(others) - canary
    if stable < 0:
        raise NotEnoughWeight(
            f"{kind.places} {route.name!r}: {percent:g} % for the canary leaves less than nothing for stable, because "
            f"other destinations hold {100 * sum(others) / base:g} %; give them less"
        )
    if abs(canary - round(canary)) > 1e-9 or abs(stable - round(stable)) > 1e-9:
        remedy = "use a whole percent" if kind.whole else f"weights here add up to {base:g}; let them add up to 100"
        raise NotEnoughWeight(f"{kind.places} {route.name!r}: {percent:g} % cannot be written exactly; {remedy}")
    return round(stable), round(canary)


def _in_annotation(kind: Kind, obj: Object, target: Target, route: Route, new: Mapping[int, int]) -> list[Operation]:
    """The same change inside of JSON text; what its author put between the values is kept where it can be."""
    assert kind.annotation is not None  # noqa: S101
    key = kind.annotation.format(action=target.action)
    text = obj["metadata"]["annotations"][key]
    whole = json.loads(text)
    listed = whole
    for part in route.pointer:
        listed = listed[part]
    for index, weight in new.items():
        listed[index][kind.weight] = weight
    compact = json.dumps(json.loads(text), separators=(",", ":")) == text
    changed = json.dumps(whole, separators=(",", ":") if compact else None)
    path = _pointer(("metadata", "annotations", key))
    return [{"op": "test", "path": path, "value": text}, {"op": "replace", "path": path, "value": changed}]


def _pointer(parts: Iterable[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _quantity(value: Any, default: float) -> float:
    """A weight; SMI v1alpha1 has quantities, where 500m is a half."""
    if value is None:
        return default
    if isinstance(value, str) and value.endswith("m"):
        return float(value[:-1]) / 1000
    return float(value)


def _at(value: Any, *keys: str) -> Any:
    """The value below these keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _names(items: Any) -> set[str]:
    """Names of the headers in a list of matches, lower case."""
    return {str(_at(item, "name") or "").lower() for item in items or () if isinstance(item, Mapping)}


def _pin(headers: set[str], others: bool = False) -> Literal["cookie", "header", ""]:  # noqa: FBT001, FBT002
    if "cookie" in headers:
        return "cookie"
    return "header" if headers - {""} or others else ""


@dataclass(frozen=True, slots=True)
class _Names:
    """How a kind names its destinations; a name in another namespace is another destination."""

    key: str = "name"
    namespaced: bool = False
    target: Target = field(default_factory=lambda: Target(stable="", canary=""))

    def side(self, obj: Object, item: Mapping[str, Any]) -> Literal["stable", "canary", ""]:
        own = _at(obj, "metadata", "namespace")
        if self.namespaced and item.get("namespace", own) != own:
            return ""
        if item.get("kind", "Service") not in ("Service", "TraefikService"):
            return ""
        name = item.get(self.key)
        return "stable" if name == self.target.stable else "canary" if name == self.target.canary else ""


def _destinations(
    listed: Sequence[Mapping[str, Any]],
    side: Callable[[Mapping[str, Any]], Literal["stable", "canary", ""]],
    *,
    default: float,
    weight: str = "weight",
) -> tuple[Destination, ...]:
    return tuple(
        Destination(side=side(item), weight=_quantity(item.get(weight), default), written=item.get(weight) is not None)
        for item in listed
    )


def _listed(obj: Object, path: tuple[str, ...], key: str) -> Iterator[_Listed]:
    """Each route of the list at the path, with the pointer of its destinations and these."""
    for position, route in enumerate(_at(obj, *path) or ()):
        yield position, route, (*path, position, key), route.get(key) or ()


# --- Istio ---------------------------------------------------------------------------------------------------------


def _istio_host(name: str, namespace: str | None) -> str:
    """A short name means the service in the object's own namespace."""
    parts = re.sub(r"\.svc(\.cluster\.local)?\.?$", "", name).split(".")
    return ".".join(parts if len(parts) > 1 else [parts[0], namespace or "default"])


def _istio(obj: Object, target: Target) -> Iterator[Route]:
    own = _at(obj, "metadata", "namespace")
    wanted = {
        (_istio_host(target.stable, own), target.stable_subset): "stable",
        (_istio_host(target.canary, own), target.canary_subset): "canary",
    }

    def side(item: Mapping[str, Any]) -> Any:
        host = _istio_host(str(_at(item, "destination", "host") or ""), own)
        subset = _at(item, "destination", "subset")
        # a target without subsets means the host, whatever its subset
        return wanted.get((host, subset)) or wanted.get((host, None), "")

    for position, route, pointer, listed in _listed(obj, ("spec", target.protocol), "route"):
        destinations = _destinations(listed, side, default=100.0 if len(listed) == 1 else 0.0)
        if len(destinations) == 1:  # a lone destination gets everything, even with weight 0
            (one,) = destinations
            destinations = (Destination(side=one.side, weight=100.0, written=one.written),)
        headers = {name.lower() for match in route.get("match") or () for name in _at(match, "headers") or ()}
        queried = any(_at(match, "queryParams") for match in route.get("match") or ())
        leaks = []
        for item in listed:
            added = {
                **(_at(item, "headers", "response", "add") or {}),
                **(_at(item, "headers", "response", "set") or {}),
            }
            if side(item) == "canary" and "set-cookie" in {name.lower() for name in added}:
                leaks.append("Set-Cookie header for canary still configured")
        mirrors = [route.get("mirror"), *(_at(one, "destination") for one in route.get("mirrors") or ())]
        if any(side({"destination": one}) == "canary" for one in mirrors if one):
            leaks.append("mirror still copies requests to canary")
        yield Route(
            name=route.get("name") or position, position=position, pointer=pointer, listed=listed,
            destinations=destinations, pinned=_pin(headers, queried), leaks=tuple(leaks),
        )  # fmt: skip


# --- Gateway API, and Linkerd with it --------------------------------------------------------------------------------


def _gateway(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(namespaced=True, target=target)
    for position, rule, pointer, listed in _listed(obj, ("spec", "rules"), "backendRefs"):
        headers: set[str] = set()
        queried = False
        for match in rule.get("matches") or ():
            headers |= _names(_at(match, "headers"))
            queried |= bool(_at(match, "queryParams"))
        filters = [one for one in rule.get("filters") or () if isinstance(one, Mapping)]
        leaks = []
        for one in filters:
            mirrored = _at(one, "requestMirror", "backendRef")
            if mirrored and names.side(obj, mirrored) == "canary":
                leaks.append("RequestMirror filter still copies requests to canary")
        for item in listed:
            for one in item.get("filters") or ():
                modifier = _at(one, "responseHeaderModifier") or {}
                added = _names(modifier.get("add")) | _names(modifier.get("set"))
                if names.side(obj, item) == "canary" and "set-cookie" in added:
                    leaks.append("Set-Cookie header for canary still configured")
        destinations = _destinations(listed, lambda item: names.side(obj, item), default=1.0)
        if rule.get("sessionPersistence") and any(one.side == "canary" for one in destinations):
            leaks.append("session persistence may keep clients on canary at weight 0")
        yield Route(
            name=rule.get("name") or position, position=position, pointer=pointer, listed=listed,
            destinations=destinations, pinned=_pin(headers, queried), leaks=tuple(leaks),
        )  # fmt: skip


# --- the others ------------------------------------------------------------------------------------------------------


def _contour(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(target=target)
    for position, route, pointer, listed in _listed(obj, ("spec", "routes"), "services"):
        # without any weight the services share equally, else those without one get nothing
        default = 0.0 if any("weight" in item for item in listed) else 1.0
        headers = _names(_at(condition, "header") for condition in route.get("conditions") or ())
        leaks = [
            "mirror still copies requests to canary"
            for item in listed
            if item.get("mirror") and names.side(obj, item) == "canary"
        ]
        if str(_at(route, "loadBalancerPolicy", "strategy")).lower() == "cookie":
            leaks.append("cookie affinity may keep clients on canary")
        yield Route(
            name=position, position=position, pointer=pointer, listed=listed,
            destinations=_destinations(
                listed, lambda item: "" if item.get("mirror") else names.side(obj, item), default=default
            ),
            pinned=_pin(headers), leaks=tuple(leaks),
        )  # fmt: skip


def _apisix(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(key="serviceName", target=target)
    for position, route, pointer, listed in _listed(obj, ("spec", "http"), "backends"):
        subjects = [_at(one, "subject") or {} for one in _at(route, "match", "exprs") or ()]
        kinds = {str(one.get("scope", "")).lower() for one in subjects}
        yield Route(
            name=route.get("name") or position, position=position, pointer=pointer, listed=listed,
            destinations=_destinations(listed, lambda item: names.side(obj, item), default=100.0),
            pinned="cookie" if "cookie" in kinds else "header" if kinds & {"header", "query"} else "",
        )  # fmt: skip


def _single(
    path: tuple[str, ...], key: str, *, namespaced: bool = False
) -> Callable[[Object, Target], Iterator[Route]]:
    """A kind with one list of destinations and nothing else."""

    def routes(obj: Object, target: Target) -> Iterator[Route]:
        names = _Names(key=key, namespaced=namespaced, target=target)
        listed = _at(obj, *path) or ()
        yield Route(
            name=0, position=0, pointer=path, listed=listed,
            destinations=_destinations(listed, lambda item: names.side(obj, item), default=1.0),
        )  # fmt: skip

    return routes


def _alb(obj: Object, target: Target) -> Iterator[Route]:
    annotation = KINDS["aws-alb-ingress"].annotation
    assert annotation is not None  # noqa: S101
    key = annotation.format(action=target.action)
    text = (_at(obj, "metadata", "annotations") or {}).get(key)
    if text is None:
        raise RouteNotFound(f"the Ingress has no annotation {key!r}; name the action that holds the weights (`action`)")
    try:
        action = json.loads(text)
    except ValueError as error:
        raise NotWeighted(f"annotation {key!r} is no JSON: {error}") from error
    listed = _at(action, "ForwardConfig", "TargetGroups") or ()
    names = _Names(key="ServiceName", target=target)
    sticky = _at(action, "ForwardConfig", "TargetGroupStickinessConfig", "Enabled")
    yield Route(
        name=target.action or "", position=0, pointer=("ForwardConfig", "TargetGroups"), listed=listed,
        destinations=_destinations(listed, lambda item: names.side(obj, item), default=1.0, weight="Weight"),
        leaks=("target group stickiness keeps clients on canary",) if sticky in (True, "true") else (),
    )  # fmt: skip


def listed_kind(
    *, api_version: str, kind: str, routes: str | None, destinations: str, name: str, weight: str, default: float
) -> Kind:
    """A kind that is not among ours: a list of routes, each with a list of named and weighted destinations.

    Args:
        api_version: Of the objects.
        kind: Kubernetes kind.
        routes: Path of the list of routes, as `spec.http`; None when the object has one list of destinations only.
        destinations: Key of the destinations in a route; without routes, their path.
        name: Key of a destination's name.
        weight: Key of its weight.
        default: The weight of a destination that states none.
    """

    def found(obj: Object, target: Target) -> Iterator[Route]:
        names = _Names(key=name, target=target)
        path = tuple((routes or destinations).split("."))
        alone: list[_Listed] = [(0, {}, path, _at(obj, *path) or ())]
        lists = alone if routes is None else _listed(obj, path, destinations)
        for position, route, pointer, listed in lists:
            yield Route(
                name=route.get("name") or position, position=position, pointer=pointer, listed=listed,
                destinations=_destinations(
                    listed, lambda item: names.side(obj, item), default=default, weight=weight
                ),
            )  # fmt: skip

    return Kind(api_version=api_version, kind=kind, routes=found, weight=weight)


KINDS: dict[str, Kind] = {
    "istio": Kind(api_version="networking.istio.io/v1", kind="VirtualService", routes=_istio, whole=True),
    "gateway-api": Kind(
        api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", routes=_gateway, places="rule"
    ),
    "traefik": Kind(
        api_version="traefik.io/v1alpha1", kind="TraefikService",
        routes=_single(("spec", "weighted", "services"), "name", namespaced=True),
    ),
    "smi": Kind(
        api_version="split.smi-spec.io/v1alpha2", kind="TrafficSplit", routes=_single(("spec", "backends"), "service")
    ),
    "contour": Kind(api_version="projectcontour.io/v1", kind="HTTPProxy", routes=_contour),
    "apisix": Kind(api_version="apisix.apache.org/v2", kind="ApisixRoute", routes=_apisix),
    "aws-alb-ingress": Kind(
        api_version="networking.k8s.io/v1", kind="Ingress", routes=_alb, weight="Weight",
        annotation="alb.ingress.kubernetes.io/actions.{action}", places="action",
    ),
}  # fmt: skip
