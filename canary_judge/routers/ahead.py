"""What stands before the weights in a list of routes: a match, a mirror, the routes of an affinity. Pure.

All that is ours has a name of ours: a copy of the selected route is put before it, and taken away as a whole. The
routes of others stay as they are, but for the cookie that an affinity sets.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from canary_judge.errors import NotWeighted
from canary_judge.routing import Ahead

__all__ = ["OURS", "Affinity", "arranged", "is_ours", "kept", "key_of"]

OURS = "canary-judge-"
_STICKY = f"{OURS}affinity-"
_Json = dict[str, Any]
_Side = Callable[[Mapping[str, Any]], Literal["stable", "canary", ""]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """Clients stay with the version that they were given, until the weight changes.

    Attributes:
        cookie: Name of the cookie.
        max_age: How long it lives.
    """

    cookie: str
    max_age: timedelta = timedelta(hours=24)


def is_ours(route: Mapping[str, Any]) -> bool:
    """Whether a route was put there by us."""
    return str(route.get("name", "")).startswith(OURS)


def key_of(routes: Sequence[Mapping[str, Any]]) -> str:
    """The key of what stands ahead (`Ahead.key`); empty where nothing does."""
    names = [str(one["name"]) for one in routes if is_ours(one)]
    return next((name.removeprefix(OURS) for name in names if not name.startswith(_STICKY)), "")


def kept(wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    """What an API server has dropped of the routes that were sent to it; empty when nothing is missing."""
    names = {one.get("name") for one in found}
    if any(is_ours(one) and one["name"] not in names for one in wanted):
        return "the names of routes"
    sent = sum("sessionPersistence" in one for one in wanted)
    return "sessionPersistence" if sent > sum("sessionPersistence" in one for one in found) else ""


def arranged(
    form: Literal["istio", "gateway-api"],
    routes: Sequence[Mapping[str, Any]],
    selected: Sequence[int],
    side: _Side,
    *,
    percent: float,
    ahead: Ahead | None,
    affinity: Affinity | None,
) -> list[_Json]:
    """The list of routes with what is wanted before the selected ones, and without what was.

    Args:
        form: How its routes are written.
        routes: The list, the weights being set.
        selected: Which of those that are not ours are driven.
        side: Whose a destination is.
        percent: Weight of the canary; an affinity needs one above 0.
        ahead: What is to stand before the weights.
        affinity: Whether clients are to stay.

    Raises:
        NotWeighted: A mirror is wanted where there is one.
    """
    shape: _Istio | _Gateway = _Istio(side) if form == "istio" else _Gateway(side)
    weights = sorted({*_weights(routes), *([percent] if percent > 0 else [])})
    found: list[_Json] = []
    for position, route in enumerate(one for one in copy.deepcopy(list(routes)) if not is_ours(one)):
        plain: _Json = dict(route)
        if position in selected:
            if affinity is not None:
                shape.unstick(plain, affinity)
            if ahead is not None:
                found.append({**shape.copied(plain, ahead), "name": OURS + ahead.key})
            if affinity is not None and percent > 0:
                found += [
                    {**one, "name": _STICKY + name} for name, one in shape.stick(plain, affinity, percent, weights)
                ]
        found.append(plain)
    return found


def _weights(routes: Sequence[Mapping[str, Any]]) -> list[float]:
    """Weights at which clients were given to the stable version."""
    names = [str(one.get("name", "")) for one in routes]
    found = [re.fullmatch(rf"{_STICKY}stable-([\d.]+)", name) for name in names]
    return [float(one[1]) for one in found if one is not None]


class _Istio:
    """HTTP routes of a VirtualService."""

    def __init__(self, side: _Side) -> None:
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
        one["match"] = [{**match, "headers": {**(match.get("headers") or {}), name: matcher}} for match in matches]
        return one

    def _canary(self, route: _Json) -> _Json:
        return next(one for one in route["route"] if self._side(one) == "canary")

    def stick(
        self, route: _Json, affinity: Affinity, percent: float, weights: Sequence[float]
    ) -> Iterator[tuple[str, _Json]]:
        """Cookies for both sides, and the routes of those who have one.

        Who was given to the stable version at a lower weight is given anew, with the chance that makes it the present
        weight for all: at 25 % after 5 % that is 20 of 95.
        """
        given = {"canary": "canary", "stable": f"stable-{percent:g}"}
        for value, share in [("canary", 100.0), *((f"stable-{one:g}", _anew(one, percent)) for one in weights)]:
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
                response = destination.setdefault("headers", {}).setdefault("response", {})
                age = int(affinity.max_age.total_seconds())
                response.setdefault("add", {})["Set-Cookie"] = f"{affinity.cookie}={value}; Path=/; Max-Age={age}"

    def unstick(self, route: _Json, affinity: Affinity) -> None:
        for destination in route["route"]:
            path = [destination]
            for key in ("headers", "response", "add"):
                path.append(path[-1].get(key) or {})
            if not str(path[-1].get("Set-Cookie", "")).startswith(f"{affinity.cookie}="):
                continue
            del path[-1]["Set-Cookie"]
            for outer, key in zip(reversed(path[:-1]), ("add", "response", "headers"), strict=True):
                if not outer[key]:
                    del outer[key]


class _Gateway:
    """Rules of an HTTPRoute."""

    def __init__(self, side: _Side) -> None:
        self._side = side

    def copied(self, rule: _Json, ahead: Ahead) -> _Json:
        one = copy.deepcopy(rule)
        canary = _without(next(ref for ref in rule["backendRefs"] if self._side(ref) == "canary"), "weight", "filters")
        if ahead.mirror is not None:
            if any(filter_.get("type") == "RequestMirror" for filter_ in rule.get("filters") or ()):
                raise NotWeighted("the rule mirrors already; take that away first, or begin without a mirror")
            mirror = {"backendRef": canary, "percent": round(ahead.mirror)}
            one["filters"] = [*(rule.get("filters") or ()), {"type": "RequestMirror", "requestMirror": mirror}]
            return one
        one["backendRefs"] = [canary]
        if ahead.header is not None:
            name, value = ahead.header
            asked = {"type": "Exact", "name": name, "value": value}
        else:
            asked = {"type": "RegularExpression", "name": "cookie", "value": _cookie(*(ahead.cookie or ("", "")))}
        matches = rule.get("matches") or [{"path": {"type": "PathPrefix", "value": "/"}}]
        one["matches"] = [{**match, "headers": [*(match.get("headers") or ()), asked]} for match in matches]
        return one

    def stick(
        self,
        rule: _Json,
        affinity: Affinity,
        percent: float,  # noqa: ARG002
        weights: Sequence[float],  # noqa: ARG002
    ) -> Iterator[tuple[str, _Json]]:
        """The gateway has cookies of its own."""
        age = f"{int(affinity.max_age.total_seconds())}s"
        rule["sessionPersistence"] = {
            "sessionName": affinity.cookie,
            "type": "Cookie",
            "absoluteTimeout": age,
            "cookieConfig": {"lifetimeType": "Permanent"},
        }
        yield from ()

    def unstick(self, rule: _Json, affinity: Affinity) -> None:
        if (rule.get("sessionPersistence") or {}).get("sessionName") == affinity.cookie:
            del rule["sessionPersistence"]


def _anew(before: float, percent: float) -> float:
    return max(0.0, 100 * (percent - before) / (100 - before)) if before < 100 else 0.0


def _cookie(name: str, value: str) -> str:
    """A pattern for the whole header."""
    return rf"(.*;\s*)?{re.escape(name)}={re.escape(value)}(\s*;.*)?"


def _without(item: Mapping[str, Any], *keys: str) -> _Json:
    return {key: value for key, value in item.items() if key not in keys}
