"""Where each kind of object keeps its weighted lists, and what in it leads past them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from canary_judge.errors import NotWeighted, RouteNotFound, RouterError
from canary_judge.routers.ahead import is_ours
from canary_judge.routers.lists import (
    Listed,
    Named,
    below,
    destinations_of,
    each_list,
    lower_keys,
    lower_names,
    mappings,
    pinned_by,
    place_of,
)
from canary_judge.routers.platforms import PLATFORMS
from canary_judge.routers.weighted import Destination, Form, Kind, Object, Route, Side, Target

__all__ = ["KINDS", "listed_kind"]


def _numbered(lists: Iterable[Listed]) -> Iterator[Listed]:
    """The same, numbered as if nothing of ours stood ahead: whoever names a route by its position means that."""
    number = 0
    for _, route, pointer, listed in lists:
        ours = is_ours(route)
        yield -1 if ours else number, route, pointer, listed
        number += not ours


def _nothing(*percent: Any) -> bool:
    """Whether a mirror copies nothing, by what is said of how much it copies."""
    return any(isinstance(one, int | float) and not isinstance(one, bool) and one == 0 for one in percent)


# --- Istio ---------------------------------------------------------------------------------------------------------


def _istio_host(name: str, namespace: str | None) -> str:
    """A short name means the service in the object's own namespace."""
    parts = re.sub(r"\.svc(\.cluster\.local)?\.?$", "", name).split(".")
    return ".".join(parts if len(parts) > 1 else [parts[0], namespace or "default"])


def _istio_side(obj: Object, target: Target) -> Callable[[Mapping[str, Any]], Side]:
    own = below(obj, "metadata", "namespace")
    wanted: dict[tuple[str, str | None], Side] = {
        (_istio_host(target.stable, own), target.stable_subset): "stable",
        (_istio_host(target.canary, own), target.canary_subset): "canary",
    }

    def side(item: Mapping[str, Any]) -> Side:
        host = _istio_host(str(below(item, "destination", "host") or ""), own)
        subset = below(item, "destination", "subset")
        # a target without subsets means the host, whatever its subset
        return wanted.get((host, subset)) or wanted.get((host, None), "")

    return side


def _istio(obj: Object, target: Target) -> Iterator[Route]:
    side = _istio_side(obj, target)
    for position, route, pointer, listed in _numbered(each_list(obj, f"spec.{target.protocol}[].route")):
        destinations = destinations_of(listed, side, default=100.0 if len(listed) == 1 else 0.0)
        if len(destinations) == 1:  # a lone destination gets everything, even with weight 0
            (one,) = destinations
            destinations = (Destination(side=one.side, weight=100.0, written=one.written),)
        matches = mappings(route.get("match"), "match")
        headers = {name for match in matches for name in lower_keys(match.get("headers"))}
        queried = any(match.get("queryParams") for match in matches)
        leaks = []
        for item in listed:
            added = {name for verb in ("add", "set") for name in lower_keys(below(item, "headers", "response", verb))}
            if side(item) == "canary" and "set-cookie" in added:
                leaks.append("Set-Cookie header for canary still configured")
        percent = (route.get("mirrorPercent"), route.get("mirror_percent"), below(route, "mirrorPercentage", "value"))
        mirrors = [
            None if _nothing(*percent) else route.get("mirror"),
            *(
                None if _nothing(below(one, "percentage", "value")) else below(one, "destination")
                for one in mappings(route.get("mirrors"), "mirrors")
            ),
        ]
        if any(side({"destination": one}) == "canary" for one in mirrors if one):
            leaks.append("mirror still copies requests to canary")
        yield Route(
            name=route.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            holder=route,
            destinations=destinations,
            pinned=pinned_by(headers, queried),
            leaks=tuple(leaks),
        )


def _other_protocols(obj: Object, target: Target) -> Iterator[tuple[str, Route]]:
    """Routes of the object that are of another protocol than the one that is driven."""
    for protocol in ("http", "tcp", "tls"):
        if protocol != target.protocol:
            for route in _istio(obj, replace(target, protocol=protocol, routes=())):
                yield f"{protocol} route", route


# --- Gateway API, and Linkerd with it --------------------------------------------------------------------------------


def _gateway_side(obj: Object, target: Target) -> Callable[[Mapping[str, Any]], Side]:
    names = Named(namespaced=True, target=target)
    return lambda item: names.side(obj, item)


def _gateway(obj: Object, target: Target) -> Iterator[Route]:
    names = Named(namespaced=True, target=target)
    for position, rule, pointer, listed in _numbered(each_list(obj, "spec.rules[].backendRefs")):
        headers: set[str] = set()
        queried = False
        for match in mappings(rule.get("matches"), "matches"):
            headers |= lower_names(match.get("headers"))
            queried |= bool(match.get("queryParams"))
        leaks = []
        for filters in (rule.get("filters"), *(item.get("filters") for item in listed)):
            for one in mappings(filters, "filters"):
                mirrored, how = below(one, "requestMirror", "backendRef"), below(one, "requestMirror")
                nothing = _nothing(below(how, "percent"), below(how, "fraction", "numerator"))
                if isinstance(mirrored, Mapping) and not nothing and names.side(obj, mirrored) == "canary":
                    leaks.append("RequestMirror filter still copies requests to canary")
        for item in listed:
            for one in mappings(item.get("filters"), "filters"):
                modifier = below(one, "responseHeaderModifier") or {}
                added = lower_names(below(modifier, "add")) | lower_names(below(modifier, "set"))
                if names.side(obj, item) == "canary" and "set-cookie" in added:
                    leaks.append("Set-Cookie header for canary still configured")
        destinations = destinations_of(listed, lambda item: names.side(obj, item), default=1.0)
        if rule.get("sessionPersistence") and any(one.side == "canary" for one in destinations):
            leaks.append("session persistence may keep clients on canary at weight 0")
        yield Route(
            name=rule.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            holder=rule,
            destinations=destinations,
            pinned=pinned_by(headers, queried),
            leaks=tuple(leaks),
        )


# --- the others ------------------------------------------------------------------------------------------------------


def _contour(obj: Object, target: Target) -> Iterator[Route]:
    names = Named(target=target)
    for position, route, pointer, listed in each_list(obj, "spec.routes[].services"):
        # without any weight the services share equally, else those without one get nothing
        default = 0.0 if any("weight" in item for item in listed) else 1.0
        shared = default == 1.0 and len(listed) > 2
        headers = lower_names(
            below(condition, "header") for condition in mappings(route.get("conditions"), "conditions")
        )
        leaks = [
            "mirror still copies requests to canary"
            for item in listed
            if item.get("mirror") and names.side(obj, item) == "canary"
        ]
        if str(below(route, "loadBalancerPolicy", "strategy")).lower() == "cookie":
            leaks.append("cookie affinity may keep clients on canary")
        yield Route(
            name=position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations_of(
                listed, lambda item: "" if item.get("mirror") else names.side(obj, item), default=default
            ),
            pinned=pinned_by(headers),
            leaks=tuple(leaks),
            unwritable="no service has a weight, so weights for two would take all from the rest; give each one"
            if shared
            else "",
        )


def _contour_tcp(obj: Object, target: Target) -> Iterator[tuple[str, Route]]:
    """The services of the TCP proxy, which are no routes."""
    names = Named(target=target)
    listed = mappings(below(obj, "spec", "tcpproxy", "services"), "spec.tcpproxy.services")
    if listed:
        default = 0.0 if any("weight" in item for item in listed) else 1.0
        destinations = destinations_of(listed, lambda item: names.side(obj, item), default=default)
        pointer = ("spec", "tcpproxy", "services")
        yield (
            "tcpproxy",
            Route(name="services", position=0, pointer=pointer, listed=listed, destinations=destinations),
        )


def _apisix(obj: Object, target: Target) -> Iterator[Route]:
    names = Named(key="serviceName", target=target)
    for position, route, pointer, listed in each_list(obj, "spec.http[].backends"):
        subjects = [below(one, "subject") or {} for one in mappings(below(route, "match", "exprs"), "match.exprs")]
        kinds = {str(below(one, "scope") or "").lower() for one in subjects}
        yield Route(
            name=route.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations_of(listed, lambda item: names.side(obj, item), default=100.0),
            pinned="cookie" if "cookie" in kinds else "header" if kinds & {"header", "query"} else "",
            leaks=tuple(_apisix_plugins(route, target)),
        )


def _apisix_plugins(route: Object, target: Target) -> Iterator[str]:
    """Plugins that send requests of a route elsewhere, when what they name looks like the canary."""
    for plugin in mappings(route.get("plugins"), "plugins"):
        name, config = plugin.get("name"), plugin.get("config")
        if plugin.get("enable", True) and name in ("traffic-split", "proxy-mirror") and _names(config, target.canary):
            sends = "still copies requests" if name == "proxy-mirror" else "may still send requests"
            yield f"plugin {name} {sends} to canary"


def _names(value: Any, name: str) -> bool:
    """Whether a name stands anywhere below a value, by itself and not in a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", json.dumps(value, default=str)) is not None


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
    text = below(obj, "metadata", "annotations", key)
    if text is None:
        raise RouteNotFound(f"the Ingress has no annotation {key!r}; name the action that holds the weights (`action`)")
    try:
        action = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise NotWeighted(f"annotation {key!r} is no JSON: {error}") from error
    path, value = _spelled(action, "forwardConfig", "targetGroups")
    listed = mappings(value, ".".join(path))
    # AWS's own documentation has both spellings, and so has its controller
    titled = any("ServiceName" in item or "Weight" in item for item in listed)
    names = Named(key="ServiceName" if titled else "serviceName", target=target)
    weight = "Weight" if titled else "weight"
    sticky = _spelled(action, "forwardConfig", "targetGroupStickinessConfig", "enabled")[1]
    yield Route(
        name=target.action or "",
        position=0,
        pointer=path,
        listed=listed,
        weight=weight,
        destinations=destinations_of(listed, lambda item: names.side(obj, item), default=1.0, weight=weight),
        leaks=("target group stickiness keeps clients on canary",) if sticky in (True, "true") else (),
    )


def _alb_others(obj: Object, target: Target) -> Iterator[tuple[str, Route]]:
    """The other actions of the Ingress, which its rules may name, too."""
    before, after = str(KINDS["aws-alb-ingress"].annotation).split("{action}")
    for key, text in sorted((below(obj, "metadata", "annotations") or {}).items()):
        action = str(key).removeprefix(before).removesuffix(after)
        if not str(key).startswith(before) or action == target.action:
            continue
        try:
            routes = list(_alb(obj, replace(target, action=action)))
        except RouterError:
            routes = []
        if any(route.destinations for route in routes):
            yield from (("action", route) for route in routes)
        elif _names(text, target.canary):  # what is no list of weights
            leaks = ("names canary",)
            yield "action", Route(name=action, position=0, pointer=(), listed=[], destinations=(), leaks=leaks)


def listed_kind(
    *, api_version: str, kind: str, routes: str | None, destinations: str, name: str, weight: str, default: float
) -> Kind:
    """A kind that is not among ours: a list of routes, each with a list of named and weighted destinations.

    Args:
        api_version: Of the objects.
        kind: Kubernetes kind.
        routes: Path of the list of routes, as `spec.http`, or `spec.to[].rules` for lists within a list; None when
            the object has one list of destinations only.
        destinations: Path of the destinations in a route, as `route` or `forward.targets`; without routes, in the
            object. A dot that belongs to a key is written with a backslash.
        name: Path of a destination's name, as `name` or `destination.host`.
        weight: Key of its weight.
        default: The weight of a destination that states none.
    """
    path = destinations if routes is None else f"{routes}[].{destinations}"
    return Kind(
        api_version=api_version, kind=kind, routes=plain(path, name, weight=weight, default=default), weight=weight
    )


def plain(
    path: str, name: str, *, weight: str = "weight", default: float = 1.0, namespaced: bool = False
) -> Callable[[Object, Target], Iterator[Route]]:
    """Lists of destinations and nothing else that leads to one."""

    def routes(obj: Object, target: Target) -> Iterator[Route]:
        names = Named(key=name, namespaced=namespaced, target=target)
        for position, route, pointer, listed in each_list(obj, path):
            yield Route(
                name=route.get("name") or place_of(pointer),
                position=position,
                pointer=pointer,
                listed=listed,
                destinations=destinations_of(
                    listed, lambda item: names.side(obj, item), default=default, weight=weight
                ),
            )

    return routes


KINDS: dict[str, Kind] = {
    "istio": Kind(
        api_version="networking.istio.io/v1",
        kind="VirtualService",
        routes=_istio,
        whole=True,
        beside=_other_protocols,
        ahead=Form(form="istio", side=_istio_side),
    ),
    "gateway-api": Kind(
        api_version="gateway.networking.k8s.io/v1",
        kind="HTTPRoute",
        routes=_gateway,
        places="rule",
        ahead=Form(form="gateway-api", side=_gateway_side),
    ),
    "traefik": Kind(
        api_version="traefik.io/v1alpha1",
        kind="TraefikService",
        routes=plain("spec.weighted.services", "name", namespaced=True),
    ),
    "smi": Kind(
        api_version="split.smi-spec.io/v1alpha2", kind="TrafficSplit", routes=plain("spec.backends", "service")
    ),
    "contour": Kind(api_version="projectcontour.io/v1", kind="HTTPProxy", routes=_contour, beside=_contour_tcp),
    "apisix": Kind(api_version="apisix.apache.org/v2", kind="ApisixRoute", routes=_apisix),
    **PLATFORMS,
    "aws-alb-ingress": Kind(
        api_version="networking.k8s.io/v1",
        kind="Ingress",
        routes=_alb,
        annotation="alb.ingress.kubernetes.io/actions.{action}",
        beside=_alb_others,
        places="action",
    ),
}
