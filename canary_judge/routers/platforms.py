"""Weighted lists of platforms and further meshes: OpenShift, Knative and Cloud Run, Gloo, Kuma, NGINX Inc, Consul."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from canary_judge.errors import NotWeighted
from canary_judge.routers.lists import (
    Named,
    Pointer,
    below,
    destinations_of,
    each_list,
    lower_names,
    mappings,
    pinned_by,
    place_of,
)
from canary_judge.routers.weighted import Destination, Kind, Object, Route, Target

__all__ = ["LATEST", "PLATFORMS"]

# As gcloud spells it; no revision can have this name.
LATEST = "LATEST"
_NO_COOKIES = "haproxy.router.openshift.io/disable_cookies"
_Side = Literal["stable", "canary", ""]


def _side(target: Target, name: Any, subsets: Sequence[str] = ()) -> _Side:
    """Whose a destination of this name is, with these words for its subset."""
    if name == target.stable and (target.stable_subset is None or target.stable_subset in subsets):
        return "stable"
    if name == target.canary and (target.canary_subset is None or target.canary_subset in subsets):
        return "canary"
    return ""


def _words(labels: Any) -> list[str]:
    """What a subset given by labels may be called: `v2`, or `version=v2`."""
    if not isinstance(labels, Mapping):
        return []
    return [word for key, value in labels.items() for word in (str(value), f"{key}={value}")]


def _alone(side: _Side) -> tuple[Destination, ...]:
    """The one destination of a route without weights."""
    return (Destination(side=side, weight=100.0, written=False),)


# --- OpenShift -----------------------------------------------------------------------------------------------------


def _openshift(obj: Object, target: Target) -> Iterator[Route]:
    names = Named(target=target)
    first: Any = below(obj, "spec", "to")
    to = mappings(None if first is None else [first], "spec.to")
    ((_, _, pointer, listed),) = each_list(obj, "spec.alternateBackends")
    read = destinations_of([*to, *listed], lambda item: names.side(obj, item), default=100.0)
    places: list[Pointer] = [("spec", "to")] * len(to) + [(*pointer, index) for index in range(len(listed))]
    annotations = below(obj, "metadata", "annotations")
    sticky = str(below(annotations, _NO_COOKIES)).lower() != "true"
    sticky &= below(obj, "spec", "tls", "termination") != "passthrough"
    # the router's HAProxy serves whoever holds a cookie of a server, also at weight 0
    leaks = (f'cookie affinity keeps clients on canary at weight 0 (annotate {_NO_COOKIES}: "true")',) if sticky else ()
    yield Route(
        name=0,
        position=0,
        pointer=pointer,
        listed=listed,
        beside=tuple((("spec", "to"), one) for one in to),
        destinations=tuple(replace(one, pointer=place) for one, place in zip(read, places, strict=True)),
        leaks=leaks if any(one.side == "canary" for one in read) else (),
    )


# --- Knative and Cloud Run -------------------------------------------------------------------------------------------


def _knative(obj: Object, target: Target) -> Iterator[Route]:
    if target.stable == LATEST:
        raise NotWeighted(
            f"stable: is {LATEST}, the newest revision, which is the canary; name the stable revision, as "
            "`stable: app-00041`"
        )
    for position, _, pointer, listed in each_list(obj, "spec.traffic"):
        found = [LATEST if one.get("latestRevision") else one.get("revisionName") for one in listed]
        # an entry that only gives a revision an address of its own is no destination beside the one with its percent
        weighed = {name for one, name in zip(listed, found, strict=True) if not one.get("tag") or one.get("percent")}
        only_tags = [
            bool(one.get("tag")) and not one.get("percent") and (name in weighed or name in found[:index])
            for index, (one, name) in enumerate(zip(listed, found, strict=True))
        ]
        sides = {
            id(one): "" if tag else _side(target, name) for one, name, tag in zip(listed, found, only_tags, strict=True)
        }
        yield Route(
            name=position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations_of(listed, lambda item: sides[id(item)], default=0.0, weight="percent"),  # noqa: B023
            leaks=tuple(
                f"tag {one['tag']!r} keeps an address of its own for canary"
                for one, name in zip(listed, found, strict=True)
                if one.get("tag") and name == target.canary
            ),
        )


# --- Gloo ----------------------------------------------------------------------------------------------------------


def _gloo_side(target: Target, item: Any) -> _Side:
    names = (
        below(item, "upstream", "name"),
        below(item, "kube", "ref", "name"),
        below(item, "consul", "serviceName"),
    )
    words = _words(below(item, "subset", "values"))
    return next((side for name in names if name is not None and (side := _side(target, name, words))), "")


def _gloo(obj: Object, target: Target) -> Iterator[Route]:
    path = "spec.routes" if obj.get("kind") == "RouteTable" else "spec.virtualHost.routes"
    for position, route, pointer, listed in each_list(obj, f"{path}[].routeAction.multi.destinations"):
        single = below(route, "routeAction", "single")
        matchers = mappings(route.get("matchers"), "matchers")
        headers = {name for one in matchers for name in lower_names(one.get("headers"))}
        shadowed = below(route, "options", "shadowing", "upstream", "name")
        yield Route(
            name=route.get("name") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=_alone(_gloo_side(target, single))
            if single is not None
            else destinations_of(listed, lambda item: _gloo_side(target, item.get("destination")), default=0.0),
            pinned=pinned_by(headers, any(one.get("queryParameters") for one in matchers)),
            leaks=("shadowing still copies requests to canary",)
            if shadowed is not None and shadowed == target.canary
            else (),
        )


# --- Kuma ----------------------------------------------------------------------------------------------------------


def _kuma(obj: Object, target: Target) -> Iterator[Route]:
    def side(item: Any) -> _Side:
        return _side(target, below(item, "name"), _words(below(item, "tags") or below(item, "labels")))

    for position, rule, pointer, listed in each_list(obj, "spec.to[].rules[].default.backendRefs"):
        matches = mappings(rule.get("matches"), "matches")
        headers = {name for one in matches for name in lower_names(one.get("headers"))}
        mirrors = [
            below(one, "requestMirror", "backendRef")
            for one in mappings(below(rule, "default", "filters"), "default.filters")
        ]
        yield Route(
            name=place_of(pointer),
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations_of(listed, side, default=1.0),
            pinned=pinned_by(headers, any(one.get("queryParams") for one in matches)),
            leaks=("RequestMirror filter still copies requests to canary",)
            if any(side(one) == "canary" for one in mirrors)
            else (),
        )


# --- NGINX Inc -------------------------------------------------------------------------------------------------------


def _nginx_inc(obj: Object, target: Target) -> Iterator[Route]:
    def upstream(action: Any) -> _Side:
        return _side(target, below(action, "pass") or below(action, "proxy", "upstream"))

    def read(holder: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> tuple[Destination, ...]:
        if not listed and holder.get("action") is not None:
            return _alone(upstream(holder["action"]))
        return destinations_of(listed, lambda item: upstream(item.get("action")), default=0.0)

    where = "spec.subroutes" if obj.get("kind") == "VirtualServerRoute" else "spec.routes"
    routes = list(each_list(obj, f"{where}[].splits"))
    for position, route, pointer, listed in routes:
        yield Route(
            name=route.get("path") or position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=read(route, listed),
        )
    for number, (_, match, pointer, listed) in enumerate(each_list(obj, f"{where}[].matches[].splits")):
        asked = [
            kind
            for one in mappings(match.get("conditions"), "conditions")
            for kind in ("cookie", "header", "argument", "variable")
            if one.get(kind)
        ]
        yield Route(
            name=f"{place_of(pointer)} (match)",
            position=len(routes) + number,
            pointer=pointer,
            listed=listed,
            destinations=read(match, listed),
            pinned="cookie" if "cookie" in asked else "header",
        )


# --- Consul --------------------------------------------------------------------------------------------------------


def _consul(obj: Object, target: Target) -> Iterator[Route]:
    own = below(obj, "metadata", "name")
    for position, _, pointer, listed in each_list(obj, "spec.splits"):
        yield Route(
            name=position,
            position=position,
            pointer=pointer,
            listed=listed,
            destinations=destinations_of(
                listed,
                lambda item: _side(target, item.get("service") or own, [str(item.get("serviceSubset"))]),
                default=0.0,
            ),
        )


PLATFORMS: dict[str, Kind] = {
    "openshift": Kind(
        api_version="route.openshift.io/v1",
        kind="Route",
        routes=_openshift,
        # weights are 0 to 256, and whole
        whole=True,
        largest=256,
    ),
    "knative": Kind(
        api_version="serving.knative.dev/v1",
        kind="Service",
        routes=_knative,
        weight="percent",
        whole=True,
        places="traffic",
    ),
    "gloo": Kind(api_version="gateway.solo.io/v1", kind="VirtualService", routes=_gloo),
    "kuma": Kind(api_version="kuma.io/v1alpha1", kind="MeshHTTPRoute", routes=_kuma, places="rule"),
    "nginx-inc": Kind(api_version="k8s.nginx.org/v1", kind="VirtualServer", routes=_nginx_inc, whole=True),
    "consul": Kind(
        api_version="consul.hashicorp.com/v1alpha1",
        kind="ServiceSplitter",
        routes=_consul,
        hundredths=True,
        places="splits",
    ),
}
