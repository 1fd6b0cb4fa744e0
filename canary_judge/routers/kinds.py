"""Where each kind of object keeps its weighted lists, and what in it leads past them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from canary_judge.errors import NotWeighted, RouteNotFound, RouterError
from canary_judge.routers.weighted import Destination, Kind, Object, Route, Target

__all__ = ["KINDS", "listed_kind"]

# a position, a route, and the pointer of its destinations with these
_Listed = tuple[int, Mapping[str, Any], tuple[str | int, ...], Sequence[Mapping[str, Any]]]


def _quantity(value: Any, default: float) -> float:
    """A weight; SMI v1alpha1 has quantities, where 500m is a half."""
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value[:-1]) / 1000 if isinstance(value, str) and value.endswith("m") else float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number < math.inf:
        raise RouterError(f"a destination has the weight {value!r}, which is no weight; write a number from 0 on")
    return number


def _at(value: Any, *keys: str) -> Any:
    """The value below these keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _items(value: Any, what: str) -> list[Mapping[str, Any]]:
    """A list of mappings, as the schema of the object has it; none where there is none.

    Raises:
        RouterError: It is something else.
    """
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return value
    shown = repr(value)
    raise RouterError(f"{what} is {shown[:60]}{'...' if len(shown) > 60 else ''}, where a list of mappings belongs")


def _keys(value: Any) -> set[str]:
    """Keys of a mapping, lower case; none of anything else."""
    return {str(key).lower() for key in value} if isinstance(value, Mapping) else set()


def _names(items: Any) -> set[str]:
    """Names of the headers in a list of matches, lower case."""
    found = items if isinstance(items, list | set | tuple) else ()
    return {str(_at(item, "name") or "").lower() for item in found if isinstance(item, Mapping)}


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
    for position, route in enumerate(_items(_at(obj, *path), ".".join(path))):
        listed = _items(route.get(key), f"{'.'.join(path)}[{position}].{key}")
        yield position, route, (*path, position, key), listed


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
        matches = _items(route.get("match"), "match")
        headers = {name for match in matches for name in _keys(match.get("headers"))}
        queried = any(match.get("queryParams") for match in matches)
        leaks = []
        for item in listed:
            added = {name for verb in ("add", "set") for name in _keys(_at(item, "headers", "response", verb))}
            if side(item) == "canary" and "set-cookie" in added:
                leaks.append("Set-Cookie header for canary still configured")
        mirrors = [route.get("mirror"), *(_at(one, "destination") for one in _items(route.get("mirrors"), "mirrors"))]
        if any(side({"destination": one}) == "canary" for one in mirrors if one):
            leaks.append("mirror still copies requests to canary")
        yield Route(
            name=route.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations,
            pinned=_pin(headers, queried),
            leaks=tuple(leaks),
        )


def _other_protocols(obj: Object, target: Target) -> Iterator[tuple[str, Route]]:
    """Routes of the object that are of another protocol than the one that is driven."""
    for protocol in ("http", "tcp", "tls"):
        if protocol != target.protocol:
            for route in _istio(obj, replace(target, protocol=protocol, routes=())):
                yield f"{protocol} route", route


# --- Gateway API, and Linkerd with it --------------------------------------------------------------------------------


def _gateway(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(namespaced=True, target=target)
    for position, rule, pointer, listed in _listed(obj, ("spec", "rules"), "backendRefs"):
        headers: set[str] = set()
        queried = False
        for match in _items(rule.get("matches"), "matches"):
            headers |= _names(match.get("headers"))
            queried |= bool(match.get("queryParams"))
        filters = _items(rule.get("filters"), "filters")
        leaks = []
        for one in filters:
            mirrored = _at(one, "requestMirror", "backendRef")
            nothing = _at(one, "requestMirror", "percent") == 0
            if isinstance(mirrored, Mapping) and not nothing and names.side(obj, mirrored) == "canary":
                leaks.append("RequestMirror filter still copies requests to canary")
        for item in listed:
            for one in _items(item.get("filters"), "filters"):
                modifier = _at(one, "responseHeaderModifier") or {}
                added = _names(_at(modifier, "add")) | _names(_at(modifier, "set"))
                if names.side(obj, item) == "canary" and "set-cookie" in added:
                    leaks.append("Set-Cookie header for canary still configured")
        destinations = _destinations(listed, lambda item: names.side(obj, item), default=1.0)
        if rule.get("sessionPersistence") and any(one.side == "canary" for one in destinations):
            leaks.append("session persistence may keep clients on canary at weight 0")
        yield Route(
            name=rule.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations,
            pinned=_pin(headers, queried),
            leaks=tuple(leaks),
        )


# --- the others ------------------------------------------------------------------------------------------------------


def _contour(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(target=target)
    for position, route, pointer, listed in _listed(obj, ("spec", "routes"), "services"):
        # without any weight the services share equally, else those without one get nothing
        default = 0.0 if any("weight" in item for item in listed) else 1.0
        shared = default == 1.0 and len(listed) > 2
        headers = _names(_at(condition, "header") for condition in _items(route.get("conditions"), "conditions"))
        leaks = [
            "mirror still copies requests to canary"
            for item in listed
            if item.get("mirror") and names.side(obj, item) == "canary"
        ]
        if str(_at(route, "loadBalancerPolicy", "strategy")).lower() == "cookie":
            leaks.append("cookie affinity may keep clients on canary")
        yield Route(
            name=position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=_destinations(
                listed, lambda item: "" if item.get("mirror") else names.side(obj, item), default=default
            ),
            pinned=_pin(headers),
            leaks=tuple(leaks),
            unwritable="no service has a weight, so weights for two would take all from the rest; give each one"
            if shared
            else "",
        )


def _apisix(obj: Object, target: Target) -> Iterator[Route]:
    names = _Names(key="serviceName", target=target)
    for position, route, pointer, listed in _listed(obj, ("spec", "http"), "backends"):
        subjects = [_at(one, "subject") or {} for one in _items(_at(route, "match", "exprs"), "match.exprs")]
        kinds = {str(_at(one, "scope") or "").lower() for one in subjects}
        yield Route(
            name=route.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=_destinations(listed, lambda item: names.side(obj, item), default=100.0),
            pinned="cookie" if "cookie" in kinds else "header" if kinds & {"header", "query"} else "",
        )


def _single(
    path: tuple[str, ...], key: str, *, namespaced: bool = False
) -> Callable[[Object, Target], Iterator[Route]]:
    """A kind with one list of destinations and nothing else."""

    def routes(obj: Object, target: Target) -> Iterator[Route]:
        names = _Names(key=key, namespaced=namespaced, target=target)
        listed = _items(_at(obj, *path), ".".join(path))
        yield Route(
            name=0,
            position=0,
            pointer=path,
            listed=listed,
            destinations=_destinations(listed, lambda item: names.side(obj, item), default=1.0),
        )

    return routes


def _spelled(value: Any, *keys: str) -> tuple[tuple[str, ...], Any]:
    """The value below these keys, with a small or a capital first letter, and the keys as they are written."""
    path = []
    for key in keys:
        written = key if isinstance(value, Mapping) and key in value else key[0].upper() + key[1:]
        path.append(written)
        value = value.get(written) if isinstance(value, Mapping) else None
    return tuple(path), value


def _alb(obj: Object, target: Target) -> Iterator[Route]:
    annotation = KINDS["aws-alb-ingress"].annotation
    assert annotation is not None  # noqa: S101
    key = annotation.format(action=target.action)
    text = _at(obj, "metadata", "annotations", key)
    if text is None:
        raise RouteNotFound(f"the Ingress has no annotation {key!r}; name the action that holds the weights (`action`)")
    try:
        action = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise NotWeighted(f"annotation {key!r} is no JSON: {error}") from error
    path, value = _spelled(action, "forwardConfig", "targetGroups")
    listed = _items(value, ".".join(path))
    # AWS's own documentation has both spellings, and so has its controller
    titled = any("ServiceName" in item or "Weight" in item for item in listed)
    names = _Names(key="ServiceName" if titled else "serviceName", target=target)
    weight = "Weight" if titled else "weight"
    sticky = _spelled(action, "forwardConfig", "targetGroupStickinessConfig", "enabled")[1]
    yield Route(
        name=target.action or "",
        position=0,
        pointer=path,
        listed=listed,
        weight=weight,
        destinations=_destinations(listed, lambda item: names.side(obj, item), default=1.0, weight=weight),
        leaks=("target group stickiness keeps clients on canary",) if sticky in (True, "true") else (),
    )


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
        alone: list[_Listed] = [(0, {}, path, [] if routes else _items(_at(obj, *path), ".".join(path)))]
        lists = alone if routes is None else _listed(obj, path, destinations)
        for position, route, pointer, listed in lists:
            yield Route(
                name=route.get("name") or position,
                position=position,
                pointer=pointer,
                listed=listed,
                destinations=_destinations(listed, lambda item: names.side(obj, item), default=default, weight=weight),
            )

    return Kind(api_version=api_version, kind=kind, routes=found, weight=weight)


KINDS: dict[str, Kind] = {
    "istio": Kind(
        api_version="networking.istio.io/v1", kind="VirtualService", routes=_istio, whole=True, beside=_other_protocols
    ),
    "gateway-api": Kind(api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", routes=_gateway, places="rule"),
    "traefik": Kind(
        api_version="traefik.io/v1alpha1",
        kind="TraefikService",
        routes=_single(("spec", "weighted", "services"), "name", namespaced=True),
    ),
    "smi": Kind(
        api_version="split.smi-spec.io/v1alpha2", kind="TrafficSplit", routes=_single(("spec", "backends"), "service")
    ),
    "contour": Kind(api_version="projectcontour.io/v1", kind="HTTPProxy", routes=_contour),
    "apisix": Kind(api_version="apisix.apache.org/v2", kind="ApisixRoute", routes=_apisix),
    "aws-alb-ingress": Kind(
        api_version="networking.k8s.io/v1",
        kind="Ingress",
        routes=_alb,
        annotation="alb.ingress.kubernetes.io/actions.{action}",
        places="action",
    ),
}
