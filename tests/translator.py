"""What an ingress controller does, in small: an HTTPRoute or a VirtualService becomes the routes of a running Envoy."""

from __future__ import annotations

import json
import threading
import time
import urllib.request


def cluster_of(name):
    """Services are called `app-stable` and `app-canary`, the clusters of `tests.proxies` without `app-`."""
    return name.removeprefix("app-")


def header_match(name, kind, value):
    matcher = {"exact": value} if kind == "Exact" else {"safe_regex": {"regex": value}}
    return {"name": name.lower(), "string_match": matcher}


def weighted(pairs):
    """Clusters with weights and the headers that their answers get."""
    clusters = []
    for name, weight, added in pairs:
        one = {"name": name, "weight": weight}
        if added:
            one["response_headers_to_add"] = [{"header": {"key": key, "value": value}} for key, value in added.items()]
        clusters.append(one)
    return {"weighted_clusters": {"clusters": clusters}}


def mirroring(action, cluster, percent):
    fraction = {"default_value": {"numerator": round(100 * percent), "denominator": "TEN_THOUSAND"}}
    policies = [{"cluster": cluster, "runtime_fraction": fraction}]
    return {**action, "request_mirror_policies": policies}


def of_http_route(obj):
    """Gateway API: earlier rules first (their paths tie here); a session stays with its backend, also at weight 0."""
    routes = []
    for rule in obj["spec"]["rules"]:
        session = rule.get("sessionPersistence", {}).get("sessionName")
        refs = [(cluster_of(one["name"]), one.get("weight", 1)) for one in rule["backendRefs"]]
        cookies = {name: {"Set-Cookie": f"{session}={name}; Path=/"} if session else {} for name, _ in refs}
        action = weighted([(name, weight, cookies[name]) for name, weight in refs])
        for one in rule.get("filters", []):
            if one["type"] == "RequestMirror":
                mirror = one["requestMirror"]
                action = mirroring(action, cluster_of(mirror["backendRef"]["name"]), mirror.get("percent", 100))
        for match in rule.get("matches") or [{}]:
            headers = [
                header_match(one["name"], one.get("type", "Exact"), one["value"]) for one in match.get("headers", [])
            ]
            prefix = match.get("path", {}).get("value", "/")
            for name, _ in refs if session else []:
                kept = header_match("cookie", "RegularExpression", rf"(.*;\s*)?{session}={name}(;.*)?")
                routes.append({"match": {"prefix": prefix, "headers": [*headers, kept]}, "route": {"cluster": name}})
            routes.append({"match": {"prefix": prefix, "headers": headers}, "route": action})
    return routes


def of_virtual_service(obj):
    """Istio: the first route that matches; `exact` and `regex` of headers, mirrors, headers of answers."""
    routes = []
    for route in obj["spec"]["http"]:
        action = weighted(
            [
                (
                    cluster_of(one["destination"]["host"]),
                    one.get("weight", 100 if len(route["route"]) == 1 else 0),
                    one.get("headers", {}).get("response", {}).get("add", {}),
                )
                for one in route["route"]
            ]
        )
        for one in route.get("mirrors", []):
            action = mirroring(action, cluster_of(one["destination"]["host"]), one["percentage"]["value"])
        for match in route.get("match") or [{}]:
            headers = [
                header_match(name, "Exact" if "exact" in how else "RegularExpression", *how.values())
                for name, how in match.get("headers", {}).items()
            ]
            prefix = match.get("uri", {}).get("prefix", "/")
            routes.append({"match": {"prefix": prefix, "headers": headers}, "route": action})
    return routes


class Translator:
    """Writes Envoy's routes whenever the object of an API server has changed, as its controller would."""

    def __init__(self, server, path):
        self._server, self._path = server, path
        self._done, self._lock = threading.Event(), threading.Lock()
        self._seen, self.version = None, 0
        self.update()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def update(self):
        with self._lock:
            self._update()

    def _update(self):
        (obj,) = self._server.objects.values()
        text = json.dumps(obj, sort_keys=True)
        if text == self._seen:
            return
        self._seen = text
        routes = of_http_route(obj) if obj["kind"] == "HTTPRoute" else of_virtual_service(obj)
        resource = {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "app",
            "virtual_hosts": [{"name": "app", "domains": ["*"], "routes": routes}],
        }
        beside = self._path.with_name("next.json")
        self.version += 1
        beside.write_text(json.dumps({"version_info": str(self.version), "resources": [resource]}))
        beside.replace(self._path)

    def settled(self, admin):
        """Wait until Envoy serves by what the object says now."""
        self.update()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with urllib.request.urlopen(f"{admin}/config_dump?resource=dynamic_route_configs") as answer:
                found = json.load(answer)["configs"]
            if found and found[0].get("version_info") == str(self.version):
                return
            time.sleep(0.02)
        raise TimeoutError(f"Envoy has not taken over version {self.version}: {found}")

    def _run(self):
        while not self._done.wait(0.02):
            self.update()

    def close(self):
        self._done.set()
        self._thread.join()
