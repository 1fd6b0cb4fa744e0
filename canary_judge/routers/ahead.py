"""What stands before the weights in a list of routes: a match, a mirror, the routes of an affinity. Pure.

All that is ours has a name of ours: a copy of the selected route is put before it, and taken away as a whole. The
routes of others stay as they are, but for the cookie that an affinity sets.
"""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

from canary_judge.errors import NotWeighted
from canary_judge.routing import Ahead

__all__ = ["Affinity", "Shape", "arranged", "is_ours", "kept", "key_of", "owner_of", "shape_of"]

# whose it is (a hash of the destinations), and what
_NAME = re.compile(r"canary-judge-(?P<owner>[0-9a-f]{8})-(?P<key>(?:match|mirror)-[0-9a-f]{8}|affinity-(?P<value>.+))")
_STABLE = re.compile(r"stable-(?P<generation>\d+)-(?P<weight>[\d.]+)")
_OUR_COOKIE = re.compile(r"[^=;]+=(?:canary-\d+|stable-\d+-[\d.]+); Path=/; Max-Age=\d+")
_Json = dict[str, Any]
Side = Callable[[Mapping[str, Any]], Literal["stable", "canary", ""]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """Clients stay with the version that they were given, until the weight changes.

    Attributes:
        cookie: Name of the cookie.
        max_age: How long it lives.
    """

    cookie: str
    max_age: timedelta = timedelta(hours=24)


def is_ours(route: Mapping[str, Any], owner: str | None = None) -> bool:
    """Whether a route was put there by us: by any rollout, or by the one of these destinations."""
    found = _NAME.fullmatch(str(route.get("name", "")))
    return found is not None and owner in (None, found["owner"])


def owner_of(*destinations: object) -> str:
    """What tells the routes of one rollout from those of another in the same object."""
    return f"{zlib.crc32(repr(destinations).encode()):08x}"


def key_of(routes: Sequence[Mapping[str, Any]], owner: str) -> str:
    """The key of what stands ahead (`Ahead.key`); empty where nothing does."""
    found = [_NAME.fullmatch(str(one["name"])) for one in routes if is_ours(one, owner)]
    return next((one["key"] for one in found if one is not None and one["value"] is None), "")


def kept(wanted: Any, found: Any, place: str = "") -> str:
    """What an API server has dropped of what was sent to it, as a path; empty when nothing is missing.

    It may add defaults, and write values its own way; a key that it does not know it drops without a word.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return place or "."
        pairs = [(f"{place}.{key}", value, found.get(key)) for key, value in wanted.items()]
        lost = next((path for path, value, there in pairs if value is not None and there is None), "")
    elif isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return place or "."
        pairs = [(f"{place}[{index}]", *both) for index, both in enumerate(zip(wanted, found, strict=True))]
        lost = ""
    else:
        return ""
    return lost or next((path for one, value, there in pairs if (path := kept(value, there, one))), "")


def shape_of(form: Literal["istio", "gateway-api"], side: Side) -> Shape:
    """How routes of this form are written; `side` says whose a destination is."""
    return _Istio(side) if form == "istio" else _Gateway(side)


def arranged(
    shape: Shape,
    routes: Sequence[Mapping[str, Any]],
    selected: Sequence[int],
    *,
    owner: str,
    percent: float,
    ahead: Ahead | None,
    affinity: Affinity | None,
    lowering: bool = False,
) -> list[_Json]:
    """The list of routes with what is wanted before the selected ones, and without what was.

    Args:
        shape: How its routes are written.
        routes: The list, the weights being set.
        selected: Which of those that are not ours are driven.
        owner: Whose routes are ours (`owner_of`).
        percent: Weight of the canary; an affinity needs one above 0.
        ahead: What is to stand before the weights.
        affinity: Whether clients are to stay.
        lowering: The weight falls: who was given to the canary at the higher one does not stay.

    Raises:
        NotWeighted: What is wanted would take the place of something of the user's.
    """
    generation, weights = _given(routes, owner, percent)
    prefix = f"canary-judge-{owner}-"
    found: list[_Json] = []
    position = -1
    for route in copy.deepcopy(list(routes)):
        if is_ours(route, owner):
            continue
        plain: _Json = dict(route)
        position += not is_ours(route)
        if position in selected and not is_ours(route):
            shape.unstick(plain, affinity)
            if ahead is not None:
                found.append({**shape.copied(plain, ahead), "name": prefix + ahead.key})
            if affinity is not None and percent > 0:
                sticky = shape.stick(plain, affinity, percent, (generation, weights), lowering=lowering)
                found += [{**one, "name": f"{prefix}affinity-{name}"} for name, one in sticky]
        found.append(plain)
    return found


class Shape(Protocol):
    """How routes of one form are written."""

    def copied(self, route: _Json, ahead: Ahead) -> _Json:
        """A copy of a route that does what is to stand ahead of it."""
        ...

    def stick(
        self, route: _Json, affinity: Affinity, percent: float, given_by: tuple[int, Sequence[float]], *, lowering: bool
    ) -> Iterator[tuple[str, _Json]]:
        """Let clients of the route stay: its cookie, and the routes of those who have one, by their names."""
        ...

    def unstick(self, route: _Json, affinity: Affinity | None) -> None:
        """Take our cookie from the route."""
        ...


def _given(routes: Sequence[Mapping[str, Any]], owner: str, percent: float) -> tuple[int, list[float]]:
    """The generation of the cookies, and the weights at which it gave clients to the stable version.

    Where the weight falls, a new generation begins: who was given to the canary at a higher weight is given anew.
    """
    names = [_NAME.fullmatch(str(one["name"])) for one in routes if is_ours(one, owner)]
    found = [_STABLE.fullmatch(one["value"]) for one in names if one is not None and one["value"] is not None]
    known = [(int(one["generation"]), float(one["weight"])) for one in found if one is not None]
    generation = max((number for number, _ in known), default=1)
    weights = {weight for _, weight in known}
    if percent <= 0:
        return generation, []
    if max(weights, default=0.0) > percent:
        return generation + 1, [percent]
    return generation, sorted({*weights, percent})


class _Istio:
    """HTTP routes of a VirtualService."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def copied(self, route: _Json, ahead: Ahead) -> _Json:
        one = copy.deepcopy(route)
        if ahead.mirror is not None:
            if route.get("mirror") or route.get("mirrors"):
                raise NotWeighted("the route mirrors already; take that away first, or begin without a mirror")
            one["mirrors"] = [
                {"destination": self._canary(route)["destination"], "percentage": {"value": ahead.mirror}}
            ]
            return one
        one["route"] = [_without(self._canary(route), "weight")]
        if ahead.header is not None:
            name, value = ahead.header
            return self._matching(one, name, {"exact": value})
        return self._matching(one, "cookie", {"regex": _cookie(*(ahead.cookie or ("", "")))})

    def _matching(self, one: _Json, name: str, matcher: _Json) -> _Json:
        matches = one.get("match") or [{}]
        _free(name, [key for match in matches for key in (match.get("headers") or {})])
        one["match"] = [{**match, "headers": {**(match.get("headers") or {}), name: matcher}} for match in matches]
        return one

    def _canary(self, route: _Json) -> _Json:
        return next(one for one in route["route"] if self._side(one) == "canary")

    def stick(
        self,
        route: _Json,
        affinity: Affinity,
        percent: float,
        given_by: tuple[int, Sequence[float]],
        *,
        lowering: bool,  # noqa: ARG002
    ) -> Iterator[tuple[str, _Json]]:
        """Cookies for both sides, and the routes of those who have one.

        Who was given to the stable version at a lower weight is given anew, with the chance that makes it the present
        weight for all: at 25 % after 5 % that is 20 of 95.
        """
        generation, weights = given_by
        _only_two([self._side(one) for one in route["route"]])
        given = {"canary": f"canary-{generation}", "stable": f"stable-{generation}-{percent:g}"}
        stable = [(f"stable-{generation}-{one:g}", _anew(one, percent)) for one in weights]
        for value, share in [(f"canary-{generation}", 100.0), *stable]:
            one = copy.deepcopy(route)
            for destination in one["route"]:
                mine = self._side(destination)
                destination["weight"] = round(share if mine == "canary" else 100 - share if mine == "stable" else 0)
            moved = 0 < share < 100
            if moved:
                self._give(one, affinity, given)
            yield value, self._matching(one, "cookie", {"regex": _cookie(affinity.cookie, value)})
        self._give(route, affinity, given)

    def _give(self, route: _Json, affinity: Affinity, given: Mapping[str, str]) -> None:
        for destination in route["route"]:
            value = given.get(self._side(destination))
            if value is not None:
                place = destination
                for key in ("headers", "response", "add"):
                    place[key] = dict(place.get(key) or {})
                    place = place[key]
                if any(name.lower() == "set-cookie" for name in place):
                    raise NotWeighted("a destination sets a cookie of its own, beside which no affinity can be set")
                age = int(affinity.max_age.total_seconds())
                place["Set-Cookie"] = f"{affinity.cookie}={value}; Path=/; Max-Age={age}"

    def unstick(self, route: _Json, affinity: Affinity | None) -> None:  # noqa: ARG002
        for destination in route["route"]:
            path = [destination]
            for key in ("headers", "response", "add"):
                path.append(path[-1].get(key) or {})
            if not _OUR_COOKIE.fullmatch(str(path[-1].get("Set-Cookie", ""))):
                continue
            del path[-1]["Set-Cookie"]
            for outer, key in zip(reversed(path[:-1]), ("add", "response", "headers"), strict=True):
                if not outer[key]:
                    del outer[key]


class _Gateway:
    """Rules of an HTTPRoute."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def copied(self, route: _Json, ahead: Ahead) -> _Json:
        one = copy.deepcopy(route)
        canary = _without(next(ref for ref in route["backendRefs"] if self._side(ref) == "canary"), "weight", "filters")
        if ahead.mirror is not None:
            if any(filter_.get("type") == "RequestMirror" for filter_ in route.get("filters") or ()):
                raise NotWeighted("the rule mirrors already; take that away first, or begin without a mirror")
            if ahead.mirror != round(ahead.mirror):
                raise NotWeighted(f"a mirror of {ahead.mirror:g} % cannot be written; use a whole percent")
            mirror = {"backendRef": canary, "percent": round(ahead.mirror)}
            one["filters"] = [*(route.get("filters") or ()), {"type": "RequestMirror", "requestMirror": mirror}]
            return one
        one["backendRefs"] = [canary]
        if ahead.header is not None:
            name, value = ahead.header
            asked = {"type": "Exact", "name": name, "value": value}
        else:
            asked = {"type": "RegularExpression", "name": "cookie", "value": _cookie(*(ahead.cookie or ("", "")))}
        matches = route.get("matches") or [{"path": {"type": "PathPrefix", "value": "/"}}]
        taken = [str(header.get("name", "")) for match in matches for header in match.get("headers") or ()]
        _free(str(asked["name"]), taken)
        one["matches"] = [{**match, "headers": [*(match.get("headers") or ()), asked]} for match in matches]
        return one

    def stick(
        self,
        route: _Json,
        affinity: Affinity,
        percent: float,  # noqa: ARG002
        given_by: tuple[int, Sequence[float]],  # noqa: ARG002
        *,
        lowering: bool,
    ) -> Iterator[tuple[str, _Json]]:
        """The gateway has cookies of its own; where the weight falls they would keep clients with the canary."""
        if lowering:
            return
        if route.get("sessionPersistence"):
            raise NotWeighted("the rule has a sessionPersistence of its own, beside which no affinity can be set")
        age = f"{int(affinity.max_age.total_seconds())}s"
        route["sessionPersistence"] = {
            "sessionName": affinity.cookie,
            "type": "Cookie",
            "absoluteTimeout": age,
            "cookieConfig": {"lifetimeType": "Permanent"},
        }
        yield from ()

    def unstick(self, route: _Json, affinity: Affinity | None) -> None:
        mine = affinity is not None and (route.get("sessionPersistence") or {}).get("sessionName") == affinity.cookie
        if mine:
            del route["sessionPersistence"]


def _free(name: str, taken: Sequence[str]) -> None:
    """A match on a header that the route matches already would select others than the route does."""
    if name.lower() in {one.lower() for one in taken}:
        raise NotWeighted(f"the route matches the header {name} already; use another one, or another route")


def _only_two(sides: Sequence[str]) -> None:
    """A third destination gets no cookie, so that its clients would be drawn away from it."""
    if len(sides) > 2:
        raise NotWeighted("an affinity keeps clients with one of two versions, and the route has further destinations")


def _anew(before: float, percent: float) -> float:
    return max(0.0, 100 * (percent - before) / (100 - before)) if before < 100 else 0.0


def _cookie(name: str, value: str) -> str:
    """A pattern for the whole header."""
    return rf"(.*;\s*)?{re.escape(name)}={re.escape(value)}(\s*;.*)?"


def _without(item: Mapping[str, Any], *keys: str) -> _Json:
    return {key: value for key, value in item.items() if key not in keys}
