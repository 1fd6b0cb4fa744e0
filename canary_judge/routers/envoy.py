"""Envoy as a data plane of its own: by the admin runtime, or by files that it watches (RTDS, RDS)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from canary_judge.bodies import TooMuchError, read_until
from canary_judge.config.metrics import StrictModel
from canary_judge.config.reading import read_options
from canary_judge.errors import (
    ConfigError,
    DestinationNotFound,
    DriftDetected,
    NotEnoughWeight,
    NotWeighted,
    RouteNotFound,
    RouterError,
    RouterUnavailable,
)
from canary_judge.files import put_file
from canary_judge.routers.waiting import wait_until
from canary_judge.routing import Residual, RollbackReport, WeightReading, check_percent, leftovers, same_weight

__all__ = ["EnvoyFile", "EnvoyRuntime"]

_TIMEOUT = 5.0


class _Admin:
    """Envoy's admin interface."""

    def __init__(self, url: str, timeout: float = _TIMEOUT) -> None:
        import requests

        self.url, self._timeout = url.rstrip("/"), timeout
        self._requests, self._session = requests, requests.Session()
        self._session.trust_env = False

    def call(self, method: str, path: str, **query: str) -> str:
        try:
            answer = self._session.request(
                method, f"{self.url}{path}", params=query, timeout=self._timeout, stream=True
            )
            text = read_until(answer, time.monotonic() + self._timeout).decode("utf-8", "replace")
        except (TimeoutError, TooMuchError) as error:
            raise RouterUnavailable(f"envoy at {self.url}: no whole answer within {self._timeout:g} s") from error
        except self._requests.RequestException as error:
            raise RouterUnavailable(f"envoy at {self.url}: no answer: {type(error).__name__}: {error}") from error
        if answer.status_code >= 500:
            raise RouterUnavailable(f"envoy at {self.url}{path}: {answer.status_code} {text[:200].strip()}")
        if not answer.ok:
            raise RouterError(f"envoy at {self.url}{path}: {answer.status_code} {text[:200].strip()}")
        return text

    def json(self, path: str, **query: str) -> Any:
        text = self.call("GET", path, **query)
        try:
            return json.loads(text)
        except ValueError as error:
            raise RouterUnavailable(f"envoy at {self.url}{path}: answered with no JSON: {text[:100]!r}") from error

    def routes(self) -> list[dict[str, Any]]:
        """Every route that is in force, with its route configuration's name."""
        dump = self.json("/config_dump", resource="")
        found = []
        for section in dump.get("configs", ()):
            for group in ("static_route_configs", "dynamic_route_configs"):
                for entry in section.get(group, ()):
                    config = entry.get("route_config", {})
                    found += _of_hosts(config)
        return found


def _of_hosts(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The routes of a route configuration, with the mirrors that they inherit where they have none of their own."""
    return [
        {
            "config": config.get("name", ""),
            "host": host.get("name", ""),
            "index": index,
            "mirrors": host.get("request_mirror_policies") or config.get("request_mirror_policies") or (),
            **route,
        }
        for host in config.get("virtual_hosts") or ()
        for index, route in enumerate(host.get("routes") or ())
    ]


def _called(route: Mapping[str, Any]) -> str:
    name = route.get("name") or f"{route['host']}[{route['index']}]"
    return f"route {name}"


def _pinned(route: Mapping[str, Any]) -> str:
    headers = {str(one.get("name", "")).lower() for one in route.get("match", {}).get("headers", ())}
    return "cookie" if "cookie" in headers else "header" if headers else ""


def _leftovers(routes: list[dict[str, Any]], canary: str, mine: Callable[[Mapping[str, Any]], bool]) -> list[Residual]:
    """Routes that lead to the canary's cluster although the split gives it nothing."""
    found = []
    for route in routes:
        action = route.get("route", {})
        place, pin = _called(route), _pinned(route)
        if action.get("cluster") == canary:
            found.append(Residual(place=place, reason=f"{pin} match pins canary" if pin else "leads to canary only"))
        weighted = action.get("weighted_clusters", {})
        for one in weighted.get("clusters", ()):
            if one.get("name") != canary:
                continue
            if not mine(route) and one.get("weight", 0):
                reason = f"{pin} match sends traffic to canary" if pin else "weight in a route that was not selected"
                found.append(Residual(place=place, reason=reason))
            added = [*one.get("response_headers_to_add", ()), *route.get("response_headers_to_add", ())]
            if any(str(header.get("header", {}).get("key", "")).lower() == "set-cookie" for header in added):
                found.append(Residual(place=place, reason="Set-Cookie header for canary still configured"))
        mirrors = action.get("request_mirror_policies") or route.get("mirrors") or ()
        if any(one.get("cluster") == canary for one in mirrors):
            found.append(Residual(place=place, reason="mirror still copies requests to canary"))
        if any("cookie" in one for one in action.get("hash_policy", ())) and mine(route):
            found.append(Residual(place=place, reason="cookie hash policy keeps clients where they are"))
    return found


class _RuntimeOptions(StrictModel):
    url: str
    prefix: str = Field(min_length=1)
    stable: str = "stable"
    canary: str = "canary"
    timeout: float = Field(default=_TIMEOUT, gt=0)


class EnvoyRuntime:
    """Sets the weights of `weighted_clusters` with a `runtime_key_prefix`, by the admin interface.

    Both keys go out in one call: with two calls, the canary's first, 7 % of the requests failed for want of any weight.
    What the admin layer holds is lost when Envoy restarts; `EnvoyFile` survives that.

    Args:
        url: The admin interface, as http://127.0.0.1:9901.
        prefix: The route's `runtime_key_prefix`.
        stable: Cluster of the stable version.
        canary: Cluster of the canary.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self, url: str, prefix: str, *, stable: str = "stable", canary: str = "canary", timeout: float = _TIMEOUT
    ) -> None:
        self._admin, self._prefix, self._stable, self._canary = _Admin(url, timeout), prefix, stable, canary

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From a config's `router:` section; keys as the arguments."""
        read = read_options(_RuntimeOptions, options)
        return cls(read.url, read.prefix, stable=read.stable, canary=read.canary, timeout=read.timeout)

    def _mine(self, route: Mapping[str, Any]) -> bool:
        return bool(route.get("route", {}).get("weighted_clusters", {}).get("runtime_key_prefix") == self._prefix)

    def _route(self) -> dict[str, Any]:
        routes = [route for route in self._admin.routes() if self._mine(route)]
        if not routes:
            raise RouteNotFound(
                f"envoy at {self._admin.url} has no weighted_clusters with runtime_key_prefix {self._prefix!r}"
            )
        return routes[0]

    def get_weight(self) -> WeightReading:
        """The weights in force: those of the runtime, else those of the route."""
        clusters = self._route()["route"]["weighted_clusters"].get("clusters", ())
        entries = self._admin.json("/runtime").get("entries", {})
        weights: dict[str, float] = {}
        for one in clusters:
            value = entries.get(f"{self._prefix}.{one['name']}", {}).get("final_value") or one.get("weight", 0)
            try:
                weights[one["name"]] = float(value)
            except ValueError:
                raise NotWeighted(f"runtime key {self._prefix}.{one['name']} is {value!r}, no number") from None
        for name in (self._stable, self._canary):
            if name not in weights:
                raise DestinationNotFound(f"{self._prefix!r} has no cluster {name!r}; there are {', '.join(weights)}")
        total = sum(weights.values())
        percent = 100 * weights[self._canary] / total if total else 0.0
        return WeightReading(percent=percent, per_route={self._prefix: percent})

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Both weights in one call."""
        check_percent(percent)
        clusters = [one["name"] for one in self._route()["route"]["weighted_clusters"].get("clusters", ())]
        if len(clusters) != 2:
            raise NotEnoughWeight(f"{self._prefix!r} splits between {', '.join(clusters)}; two clusters are needed")
        reading = self.get_weight()
        if expect is not None and not same_weight(reading.percent, expect):
            raise DriftDetected(f"envoy: {reading} is in force, {expect:g} % was expected")
        if same_weight(reading.percent, percent):
            return False
        base = 100 if percent == round(percent) else 10_000
        canary = round(percent * base / 100)
        self._admin.call(
            "POST",
            "/runtime_modify",
            **{f"{self._prefix}.{self._stable}": str(base - canary), f"{self._prefix}.{self._canary}": str(canary)},
        )
        return True

    def rollback(self) -> RollbackReport:
        """Weight 0, and the routes that lead past it."""
        changed = self.set_weight(0.0)
        return RollbackReport(changed=changed, residuals=leftovers(self))

    def leftovers(self) -> tuple[Residual, ...]:
        """The routes that lead past the weight."""
        return tuple(_leftovers(self._admin.routes(), self._canary, self._mine))

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """The runtime is in force as soon as it can be read."""
        return wait_until(lambda: same_weight(self.get_weight().percent, percent), timeout)


class _FileOptions(StrictModel):
    path: str
    stable: str = "stable"
    canary: str = "canary"
    kind: Literal["rtds", "rds"] = "rds"
    prefix: str | None = None
    route: str | None = None
    admin: str | None = None


class EnvoyFile:
    """Sets the weights in a file that Envoy watches, which survives its restart.

    The file is JSON (which Envoy takes as YAML, too): for `rds` a DiscoveryResponse with one RouteConfiguration, for
    `rtds` one with a Runtime layer. It is put in place by a rename, so `watched_directory` must be set in Envoy. A file
    that Envoy rejects leaves the old weights in force without a word to the writer; with the admin interface given
    `verify` finds that out.

    Args:
        path: The file.
        kind: "rds" edits `weighted_clusters`, "rtds" the two runtime keys below the prefix.
        stable: Cluster of the stable version.
        canary: Cluster of the canary.
        prefix: For rtds: the `runtime_key_prefix`.
        route: For rds: name of the route, needed when several split between the two.
        admin: Address of the admin interface, to read what is in force.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        kind: Literal["rtds", "rds"] = "rds",
        stable: str = "stable",
        canary: str = "canary",
        prefix: str | None = None,
        route: str | None = None,
        admin: str | None = None,
    ) -> None:
        if kind == "rtds" and not prefix:
            raise ConfigError("prefix: is missing; give the route's runtime_key_prefix for kind: rtds")
        self._path, self._kind, self._stable, self._canary = Path(path), kind, stable, canary
        self._prefix, self._route = prefix or "", route
        self._admin = None if admin is None else _Admin(admin)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From a config's `router:` section; keys as the arguments."""
        return cls(**read_options(_FileOptions, options).model_dump())

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RouteNotFound(f"{self._path}: there is no such file") from error
        except OSError as error:
            raise RouterUnavailable(f"{self._path}: cannot be read: {error}") from error
        except ValueError as error:
            raise RouterError(f"{self._path}: is no JSON: {error}; write Envoy's file as JSON") from error
        return found

    def _routes(self, whole: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [route for resource in whole.get("resources") or () for route in _of_hosts(resource)]

    def _mine(self, route: Mapping[str, Any]) -> bool:
        names = {one.get("name") for one in route.get("route", {}).get("weighted_clusters", {}).get("clusters", ())}
        return {self._stable, self._canary} <= names and self._route in (None, route.get("name"))

    def _places(self, whole: dict[str, Any]) -> list[tuple[dict[str, Any], str, str]]:
        """Where the weights are kept: a mapping, a key, and whose each is (stable, canary or nobody's of both)."""
        if self._kind == "rtds":
            for resource in whole.get("resources", ()):
                layer = resource.get("layer")
                if isinstance(layer, dict):
                    return [
                        (*_runtime_key(layer, f"{self._prefix}.{name}"), side) for name, side in self._sides.items()
                    ]
            raise RouteNotFound(f"{self._path}: holds no Runtime with a `layer`")
        clusters = self._split(whole)["clusters"]
        return [(one, "weight", self._sides.get(one["name"], "")) for one in clusters]

    @property
    def _sides(self) -> dict[str, str]:
        return {self._stable: "stable", self._canary: "canary"}

    def _split(self, whole: dict[str, Any]) -> dict[str, Any]:
        """The weighted clusters of the one route that splits between the two."""
        fits = [
            route
            for resource in whole.get("resources", ())
            for host in resource.get("virtual_hosts", ())
            for route in host.get("routes", ())
            if self._mine(route)
        ]
        if len(fits) != 1:
            raise DestinationNotFound(
                f"{self._path}: {len(fits)} routes split between {self._stable!r} and {self._canary!r}"
                f"{f' and are named {self._route!r}' if self._route else ''}; exactly one must (`route` names it)"
            )
        found: dict[str, Any] = fits[0]["route"]["weighted_clusters"]
        return found

    def get_weight(self) -> WeightReading:
        """The weight in the file; whether Envoy has taken it over is for `verify` to say."""
        places = self._places(self._read())
        weights = [(self._number(place, key), side) for place, key, side in places]
        total = sum(weight for weight, _ in weights)
        canary = sum(weight for weight, side in weights if side == "canary")
        percent = 100 * canary / total if total else 0.0
        return WeightReading(percent=percent, per_route={self._path.name: percent})

    def _number(self, place: Mapping[str, Any], key: str) -> float:
        value = place.get(key, 0)
        try:
            number = -1.0 if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 <= number < math.inf:
            raise NotWeighted(f"{self._path}: {key} is {value!r}, which is no weight; write a number from 0 on")
        return number

    def _had(self, place: Mapping[str, Any], key: str, percent: float) -> float:
        """The weight that a place has; where 0 is to be written what is no number counts for nothing."""
        try:
            return self._number(place, key)
        except NotWeighted:
            if percent > 0:
                raise
            return 0.0

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Write the file beside the old one and put it in place."""
        check_percent(percent)
        whole = self._read()
        places = self._places(whole)
        try:
            reading = self.get_weight()
        except NotWeighted:
            if percent > 0 or expect is not None:
                raise
        else:
            if expect is not None and not same_weight(reading.percent, expect):
                raise DriftDetected(f"{self._path}: {reading} is in force, {expect:g} % was expected")
            if same_weight(reading.percent, percent) and any(place.get(key) for place, key, _ in places):
                return False
        for (place, key, _), weight in zip(places, self._wanted(whole, places, percent), strict=True):
            place[key] = weight
        try:
            put_file(self._path, json.dumps(whole, indent=1))
        except OSError as error:
            raise RouterUnavailable(f"{self._path}: cannot be written: {error}") from error
        return True

    def _wanted(
        self, whole: dict[str, Any], places: Sequence[tuple[dict[str, Any], str, str]], percent: float
    ) -> list[int]:
        """The new weight of each place; others than the two keep theirs, and 0 can always be written."""
        had = [int(self._had(place, key, percent)) for place, key, _ in places]
        sides = [side for _, _, side in places]
        total = sum(had) or 100
        if len(places) == 2 and not (self._kind == "rds" and "total_weight" in self._split(whole)):
            total = 100 if percent == round(percent) else 10_000
        others = sum(weight for weight, side in zip(had, sides, strict=True) if not side)
        canary = percent * total / 100
        twice = max(sides.count("stable"), sides.count("canary")) > 1 and percent > 0
        if abs(canary - round(canary)) > 1e-9 or total - others - canary < 0 or twice:
            raise NotEnoughWeight(
                f"{self._path}: {percent:g} % of {total} cannot be written beside the other clusters; let there be two "
                "with weights that add up to 100"
            )
        new = [weight if not side else 0 for weight, side in zip(had, sides, strict=True)]
        new[sides.index("canary")] = round(canary)
        new[sides.index("stable")] = total - others - round(canary)
        return new

    def rollback(self) -> RollbackReport:
        """Weight 0, and the routes that lead past it."""
        changed = self.set_weight(0.0)
        return RollbackReport(changed=changed, residuals=leftovers(self))

    def leftovers(self) -> tuple[Residual, ...]:
        """The routes that lead past the weight."""
        if self._admin is not None:
            routes = self._admin.routes()
        else:
            routes = self._routes(self._read()) if self._kind == "rds" else []
        return tuple(_leftovers(routes, self._canary, self._mine))

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """Whether Envoy routes by this weight; without the admin interface only the file is known."""
        return wait_until(lambda: same_weight(self._in_force(), percent), timeout)

    def _in_force(self) -> float | None:
        if self._admin is None:
            return self.get_weight().percent
        if self._kind == "rtds":
            return (
                EnvoyRuntime(self._admin.url, self._prefix, stable=self._stable, canary=self._canary)
                .get_weight()
                .percent
            )
        for route in self._admin.routes():
            if self._mine(route):
                clusters = route["route"]["weighted_clusters"]["clusters"]
                weights = [(one["name"], float(one.get("weight", 0))) for one in clusters]
                total = sum(weight for _, weight in weights)
                canary = sum(weight for name, weight in weights if name == self._canary)
                return 100 * canary / total if total else 0.0
        return None


def _runtime_key(layer: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Where a key of Envoy's runtime stands, its dots being parts of keys or ways into mappings; a new one, nested."""
    for there, inner in layer.items():
        if there == key:
            return layer, key
        rest = key.removeprefix(f"{there}.")
        if rest != key and isinstance(inner, dict) and _has(inner, rest):
            return _runtime_key(inner, rest)
    *path, last = key.split(".")
    for part in path:
        layer = layer.setdefault(part, {})
        if not isinstance(layer, dict):
            raise RouterError(f"the layer has a value at {part!r}, where the way to {key!r} leads; mend the file")
    return layer, last


def _has(layer: dict[str, Any], key: str) -> bool:
    return any(
        there == key or (key.startswith(f"{there}.") and isinstance(inner, dict) and _has(inner, key[len(there) + 1 :]))
        for there, inner in layer.items()
    )
