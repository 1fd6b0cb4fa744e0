"""Weighted lists inside Kubernetes objects: read the canary's share, change it, and see what leads past it. Pure.

Most routers keep a list of destinations with weights, once per route. A `Kind` says where; the rest is the same for
all: two destinations are written with base 100, a third one keeps its weight while stable takes the difference, and
no destination is invented. A change is a JSON Patch (RFC 6902) that tests the whole list before it replaces a weight,
so that somebody else's edit in between is a conflict.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from canary_judge.errors import (
    AmbiguousRoute,
    Conflict,
    DestinationNotFound,
    NotEnoughWeight,
    NotWeighted,
    RouteNotFound,
    RouterError,
)
from canary_judge.routers.ahead import Affinity, arranged, is_ours, key_of, owner_of, shape_of
from canary_judge.routers.yaml_text import documents, edited
from canary_judge.routing import Ahead, Residual, WeightReading, check_percent, same_weight

__all__ = [
    "Destination",
    "Form",
    "Kind",
    "Object",
    "Operation",
    "Route",
    "Side",
    "Target",
    "changes",
    "owner",
    "patched",
    "reading",
    "residuals",
    "selected",
    "with_ahead",
]

Object = Mapping[str, Any]
Operation = dict[str, Any]
Side = Literal["stable", "canary", ""]


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
        owner: What tells our routes from those of other rollouts; by default the destinations and the routes.
        others: The canary's part may go to whoever else serves, when there is no stable destination any more.
    """

    stable: str
    canary: str
    stable_subset: str | None = None
    canary_subset: str | None = None
    routes: tuple[str | int, ...] = ()
    protocol: Literal["http", "tcp", "tls"] = "http"
    action: str | None = None
    owner: str = ""
    others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One destination of a route.

    Attributes:
        side: Whose it is; empty when it is neither's.
        weight: Its weight.
        written: Whether the object states that weight.
        pointer: JSON pointer of it, where it is no item of the route's list.
        odd: Why what stands there is no weight, and is taken for 0; empty where it is one.
    """

    side: Side
    weight: float
    written: bool
    pointer: tuple[str | int, ...] | None = None
    odd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route with its list of destinations.

    Attributes:
        name: Its name, or its position where it has none.
        position: Its position.
        pointer: JSON pointer of the list.
        listed: The list as it stands in the object.
        beside: What else holds destinations: its JSON pointer, and its value.
        destinations: The same, read.
        pinned: What of a request must match for the route to be taken: "cookie", "header" or nothing.
        leaks: Ways by which requests reach the canary whatever the weights are.
        weight: Key of the weight, where this list has its own.
        holder: What holds the list, where that has a name.
        unwritable: Why a weight in this list would change the share of others; empty when it would not.
    """

    name: str | int
    position: int
    pointer: tuple[str | int, ...]
    listed: Sequence[Mapping[str, Any]]
    destinations: tuple[Destination, ...]
    beside: tuple[tuple[tuple[str | int, ...], Any], ...] = ()
    pinned: Literal["cookie", "header", ""] = ""
    leaks: tuple[str, ...] = ()
    unwritable: str = ""
    weight: str | None = None
    holder: Object = field(default_factory=dict)

    def side(self, side: str) -> list[int]:
        """Positions of the destinations of one side."""
        return [index for index, one in enumerate(self.destinations) if one.side == side]

    @property
    def odd(self) -> str:
        """Why its weights cannot be told; empty where they can."""
        return next((one.odd for one in self.destinations if one.odd), "")

    def share(self) -> float:
        """Percent of the route's requests that go to the canary; RouterError where that cannot be told."""
        canary = [one for one in self.destinations if one.side == "canary"]
        if self.odd and any(one.odd or one.weight > 0 for one in canary):  # of nothing there is no share to tell
            raise RouterError(self.odd)
        total, mine = (sum(one.weight for one in some) for some in (self.destinations, canary))
        return 100.0 * mine / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How routes of ours are written before those of a kind, and whose a destination of it is."""

    form: Literal["istio", "gateway-api"]
    side: Callable[[Object, Target], Callable[[Mapping[str, Any]], Side]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where a kind of object keeps its weights.

    Attributes:
        api_version: Of the objects, by default.
        kind: Kubernetes kind, by default.
        weight: Key of the weight in a destination.
        routes: Its routes, given the object and the target.
        whole: Weights must add up to 100, so that only whole percents can be written.
        hundredths: Weights must add up to 100, and may be hundredths of a percent.
        largest: No weight may be larger.
        annotation: The list is JSON text in this annotation; `{action}` stands for the target's action.
        places: What a route is called in reports.
        ahead: How routes of ours can be put before its own, where they can.
        beside: Routes of the object that are never driven together with the selected ones, and what they are called.
    """

    api_version: str
    kind: str
    routes: Callable[[Object, Target], Iterable[Route]]
    weight: str = "weight"
    whole: bool = False
    hundredths: bool = False
    largest: int | None = None
    annotation: str | None = None
    places: str = "route"
    ahead: Form | None = None
    beside: Callable[[Object, Target], Iterable[tuple[str, Route]]] | None = None


# --- what is common to all -----------------------------------------------------------------------------------------


def reading(kind: Kind, obj: Object, target: Target) -> WeightReading:
    """The canary's share in the selected routes; None when they disagree."""
    shares = {str(route.name): route.share() for route in selected(kind, obj, target)}
    values = list(shares.values())
    agreed = all(same_weight(values[0], value) for value in values)
    ahead = key_of([route.holder for route in kind.routes(obj, target)], owner(target))
    return WeightReading(percent=values[0] if agreed else None, per_route=shares, ahead=ahead)


def changes(kind: Kind, obj: Object, target: Target, percent: float) -> list[Operation]:
    """The guarded JSON Patch that gives the canary this share; empty when it has it."""
    check_percent(percent)
    operations: list[Operation] = []
    for route in selected(kind, obj, target):
        if _gives(route, percent) and _served(route):
            continue
        if percent > 0 and route.odd:
            raise RouterError(route.odd)
        if route.unwritable and percent > 0:
            raise NotWeighted(f"{kind.places} {route.name!r}: {route.unwritable}")
        for side, name in (("stable", target.stable), ("canary", target.canary)):
            if percent > 0 and (count := len(route.side(side))) > 1:
                raise AmbiguousRoute(f"{kind.places} {route.name!r} lists {side} {name!r} {count} times")
        if percent > 0 and not route.side("stable"):
            raise DestinationNotFound(_missing(kind, route, str(obj.get("kind")), "stable", target.stable))
        new = _weights(kind, route, percent)
        if route.unwritable:  # they share equally while none has a weight: so do those that are left
            new = {index: float(one.side != "canary") for index, one in enumerate(route.destinations)}
        if kind.annotation is not None:
            return _in_annotation(kind, obj, target, route, new)
        operations.append({"op": "test", "path": _pointer(route.pointer), "value": list(route.listed)})
        operations += [{"op": "test", "path": _pointer(at), "value": value} for at, value in route.beside]
        for index, weight in sorted(new.items()):
            one = route.destinations[index]
            if one.written and one.weight == weight and not one.odd:
                continue
            place = (*route.pointer, index) if one.pointer is None else one.pointer
            operations.append(
                {
                    "op": "replace" if one.written else "add",
                    "path": _pointer((*place, route.weight or kind.weight)),
                    "value": _in_its_unit(kind, route, weight),
                }
            )
    return operations


def _weights(kind: Kind, route: Route, percent: float) -> dict[int, float]:
    """The new weights by position, of those that change."""
    odd = [index for index in route.side("stable") if route.destinations[index].odd]
    new = dict.fromkeys((*route.side("canary"), *odd), 0.0)
    if route.side("stable"):
        both = route.side("stable")[0], route.side("canary")[0]
        return new | dict(zip(both, _split(kind, route, percent), strict=True))
    if kind.whole or kind.hundredths:  # what others have must add up to 100 without the canary, too
        most = max(_neither(route), key=lambda index: route.destinations[index].weight)
        taken = sum(route.destinations[index].weight for index in route.side("canary"))
        new[most] = route.destinations[most].weight + taken
    return new


def owner(target: Target) -> str:
    """What tells the routes that we put into an object from those of other rollouts."""
    return target.owner or owner_of(
        target.stable, target.canary, target.stable_subset, target.canary_subset, target.routes
    )


def with_ahead(
    kind: Kind, obj: Object, target: Target, percent: float, ahead: Ahead | None, affinity: Affinity | None
) -> list[Operation]:
    """The guarded JSON Patch that gives the canary this share and puts ahead of it what is wanted, and nothing else.

    Raises:
        NotWeighted: Routes cannot be put before those of this kind.
    """
    weights = changes(kind, obj, target, percent)
    form = kind.ahead
    if form is None or (form.form == "istio" and target.protocol != "http"):
        if ahead is None and affinity is None:
            return weights
        raise NotWeighted(
            f"{kind.kind}: nothing can be put before its weights; Istio's http routes and Gateway API's rules have that"
        )
    path = ("spec", "http" if form.form == "istio" else "rules")
    after = patched(obj, weights)
    listed = after[path[0]][path[1]]
    driven = [route.position for route in selected(kind, after, target)]
    had = None if any(route.odd for route in selected(kind, obj, target)) else reading(kind, obj, target).percent
    wanted = arranged(
        shape_of(form.form, form.side(after, target)),
        listed,
        driven,
        owner=owner(target),
        percent=percent,
        ahead=ahead,
        affinity=affinity,
        lowering=had is None or had > percent,
    )
    if wanted == listed:
        return weights
    return [
        {"op": "test", "path": _pointer(path), "value": obj[path[0]][path[1]]},
        {"op": "replace", "path": _pointer(path), "value": wanted},
    ]


def residuals(kind: Kind, obj: Object, target: Target) -> tuple[Residual, ...]:
    """What would still lead to the canary if the selected routes gave it nothing."""
    driven = {route.position for route in selected(kind, obj, target)}
    found = []
    for route in kind.routes(obj, target):
        place = f"{kind.places} {route.name}"
        if route.odd:
            found.append(Residual(place=place, reason=route.odd))
        elif route.position not in driven and (share := route.share()) > 0:
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
    for called, route in () if kind.beside is None else kind.beside(obj, target):
        place = f"{called} {route.name}"
        if route.odd:
            found.append(Residual(place=place, reason=route.odd))
        elif share := route.share():
            found.append(Residual(place=place, reason=f"{share:g} % go to canary; it is not driven with the others"))
        found += [Residual(place=place, reason=reason) for reason in route.leaks]
    return tuple(found)


def _gives(route: Route, percent: float) -> bool:
    """Whether the canary has this share. 0 can always be written, whatever the others hold, and has to be a number."""
    if percent == 0 and route.odd:
        return not any(one.odd or (one.side == "canary" and one.weight > 0) for one in route.destinations if one.side)
    return same_weight(route.share(), percent)


def _served(route: Route) -> bool:
    return any(one.weight > 0 for one in route.destinations)


def _neither(route: Route) -> list[int]:
    """Positions of the destinations of neither side that get requests."""
    return [index for index, one in enumerate(route.destinations) if not one.side and one.weight > 0]


def _splits(route: Route, *, others: bool = False) -> bool:
    """Whether it splits between both; or, with others, between the canary and somebody else who serves."""
    return bool(route.side("canary")) and bool(route.side("stable") or (others and _neither(route)))


def selected(kind: Kind, obj: Object, target: Target) -> list[Route]:
    """The routes that are driven; none of those that stand ahead of them.

    Raises:
        RouterError: It is not clear which are meant, or one of them lacks a destination.
    """
    routes = [route for route in kind.routes(obj, target) if not is_ours(route.holder)]
    metadata = obj.get("metadata")
    called = f"{kind.kind} {metadata.get('name', '') if isinstance(metadata, Mapping) else ''}".strip()
    splitting = [route for route in routes if _splits(route)]
    if target.others and not splitting:
        splitting = [route for route in routes if _splits(route, others=True)]
    if target.routes == ("all",) and not any(route.name == "all" for route in routes):
        chosen = splitting
    elif target.routes:
        chosen = []
        for wanted in target.routes:
            fits = [route for route in routes if route.name == wanted]
            fits = fits or [route for route in routes if str(route.position) == str(wanted)]
            if not fits:
                names = ", ".join(repr(route.name) for route in routes) or "none"
                raise RouteNotFound(f"{called} has no {kind.places} {wanted!r}; there are {names}")
            chosen.append(fits[0])
    else:
        chosen = splitting
        if len(chosen) > 1:
            flags = " ".join(f"--route {route.name}" for route in chosen)
            names = ", ".join(repr(route.name) for route in chosen)
            raise AmbiguousRoute(
                f"{called} splits between {target.stable!r} and {target.canary!r} in several {kind.places}s ({names}); "
                f"name those that are meant ({flags}), or all of them (`routes: all`, --route all)"
            )
        chosen = chosen or routes[:1]
    if not chosen:
        raise NotWeighted(f"{called} has no {kind.places} with a list of destinations")
    for route in chosen:
        if not route.destinations:
            raise NotWeighted(f"{kind.places} {route.name!r} of {called} has no list of destinations to weigh")
        for side, name in (("stable", target.stable), ("canary", target.canary)):
            if not route.side(side) and not (side == "stable" and _splits(route, others=target.others)):
                raise DestinationNotFound(_missing(kind, route, called, side, name))
    return chosen


def _missing(kind: Kind, route: Route, called: str, side: str, name: str) -> str:
    """What to do about a destination that is not there; where its host is, its subset is another one."""
    text = f"{kind.places} {route.name!r} of {called} has no {side} destination {name!r}"
    hosts = [one for item in route.listed if isinstance(one := item.get("destination"), Mapping)]
    subsets = [str(one["subset"]) for one in hosts if one.get("host") == name and one.get("subset")]
    if subsets:
        keys = f"`{side}_subset` ({' or '.join(subsets)})"
        return f"{text}; {name!r} is there by subsets: name the one that is meant, as {keys}"
    weight = 0 if side == "canary" else 100
    return f"{text}; add it with weight {weight} (none is invented: its port and subset are not known)"


def _in_thousandths(kind: Kind, route: Route) -> bool:
    """SMI's quantities: 500m is a half; the unit of the others stays."""
    return any(str(one.get(kind.weight, "")).endswith("m") for one in route.listed)


def _in_its_unit(kind: Kind, route: Route, weight: float) -> str | float:
    if _in_thousandths(kind, route):
        return f"{round(1000 * weight)}m"
    return weight if kind.hundredths and weight != round(weight) else round(weight)


def _split(kind: Kind, route: Route, percent: float) -> tuple[float, float]:
    """The new weights of stable and canary."""
    others = [one.weight for one in route.destinations if not one.side]
    if percent == 0 and len(route.destinations) > 2 and _served(route):  # what the canary had goes to stable, always
        first = route.side("stable")[0]
        both = route.destinations[first].weight + sum(one.weight for one in route.destinations if one.side == "canary")
        return both if kind.largest is None else min(both, kind.largest), 0.0
    unit = 1000 if _in_thousandths(kind, route) else 100 if kind.hundredths else 1
    if not others:
        base = 100.0 if kind.whole or kind.hundredths or percent == round(percent) else 10_000.0
    else:
        base = sum(one.weight for one in route.destinations) or 100.0
    canary = percent * base / 100
    stable = base - sum(others) - canary
    if stable < 0:
        raise NotEnoughWeight(
            f"{kind.places} {route.name!r}: {percent:g} % for the canary leaves less than nothing for stable, because "
            f"other destinations hold {100 * sum(others) / base:g} %; give them less"
        )
    if any(abs(unit * one - round(unit * one)) > 1e-9 for one in (canary, stable)):
        remedy = f"weights here add up to {base:g}; let them add up to 100"
        if kind.whole or kind.hundredths:
            remedy = "use a whole percent" if kind.whole else "use hundredths of a percent"
        raise NotEnoughWeight(f"{kind.places} {route.name!r}: {percent:g} % cannot be written exactly; {remedy}")
    if kind.largest is not None and max(stable, canary) > kind.largest:
        raise NotEnoughWeight(
            f"{kind.places} {route.name!r}: {percent:g} % needs a weight of {max(stable, canary):g}, and the "
            f"largest here is {kind.largest}; let the weights add up to less"
        )
    return round(unit * stable) / unit, round(unit * canary) / unit


def _in_annotation(kind: Kind, obj: Object, target: Target, route: Route, new: Mapping[int, float]) -> list[Operation]:
    """The same change inside of JSON text; what its author put between the values is kept where it can be."""
    assert kind.annotation is not None  # noqa: S101
    key = kind.annotation.format(action=target.action)
    text = obj["metadata"]["annotations"][key]
    whole = json.loads(text)
    listed = whole
    for part in route.pointer:
        listed = listed[part]
    name = route.weight or kind.weight
    inner: list[Operation] = []
    for index, weight in new.items():
        written = name in listed[index]
        listed[index][name] = round(weight)
        there = _pointer((*route.pointer, index, name))
        inner.append({"op": "replace" if written else "add", "path": there, "value": round(weight)})
    path = _pointer(("metadata", "annotations", key))
    changed = _same_text(text, inner, whole)
    return [{"op": "test", "path": path, "value": text}, {"op": "replace", "path": path, "value": changed}]


def _same_text(text: str, operations: Sequence[Operation], whole: Any) -> str:
    """JSON with other weights and nothing else changed; JSON is YAML, but for tabs."""
    try:
        changed = edited(text, documents(text)[0][0], operations, whole)
        if json.loads(changed) == whole:
            return changed
    except (ValueError, IndexError):
        pass
    return json.dumps(whole)


def _pointer(parts: Iterable[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


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
