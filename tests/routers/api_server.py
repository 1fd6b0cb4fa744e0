"""A fake Kubernetes API server that models what bites a router.

resourceVersion and generation, 409 on a stale PUT, merge patches that replace whole lists, JSON patches whose failed `test`
is a 422, 415 for strategic patches of custom resources, admission rules, discovery (for kubectl), a request log, and a
hook between a client's read and its write.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonpatch

from canary_judge.routers.kubernetes import Ref

BUILT_IN = {"networking.k8s.io", ""}


class Refusal(Exception):
    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def merged(target, patch):
    """RFC 7386: a list is replaced as a whole."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merged(target.get(key), value)
    return target


def admit(obj):
    """The rules of the kinds' webhooks and schemas."""
    if obj["kind"] == "VirtualService":
        for protocol in ("http", "tcp", "tls"):
            for route in obj["spec"].get(protocol, ()):
                weights = [one.get("weight", 0) for one in route.get("route", ())]
                if any(not isinstance(one, int) or one < 0 for one in weights) or (
                    len(weights) > 1 and sum(weights) == 0
                ):
                    raise Refusal(
                        400, "BadRequest", f"admission webhook denied the request: total destination weight {weights}"
                    )
    if obj["kind"] in ("HTTPRoute", "GRPCRoute"):
        for rule in obj["spec"].get("rules", ()):
            for one in rule.get("backendRefs", ()):
                if not (isinstance(one.get("weight", 1), int) and 0 <= one.get("weight", 1) <= 1_000_000):
                    raise Refusal(422, "Invalid", f"spec.rules.backendRefs.weight: Invalid value: {one.get('weight')}")


class ApiServer:
    """Serves these objects on 127.0.0.1.

    Attributes:
        log: (method, path, content type, body, status) of every request for an object.
        hook: Called as hook(method, ref, server) before a request is served; may edit objects, sleep, or raise Refusal.
        verbs: What the credentials allow.
    """

    def __init__(self, objects):
        self.objects, self.log, self.version = {}, [], 100
        self.hook, self.verbs = None, {"get", "patch", "update"}
        self.lock = threading.RLock()
        for obj in objects:
            metadata = obj["metadata"]
            ref = Ref(
                api_version=obj["apiVersion"], kind=obj["kind"], namespace=metadata["namespace"], name=metadata["name"]
            )
            stored = copy.deepcopy(obj)
            stored["metadata"].update(resourceVersion=self.next_version(), generation=1, uid=f"uid-{self.version}")
            self.objects[ref] = stored
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def next_version(self):
        self.version += 1
        return str(self.version)

    def edit(self, ref, change):
        """Somebody else's write."""
        with self.lock:
            obj = copy.deepcopy(self.objects[ref])
            change(obj)
            self.store(ref, obj)

    def store(self, ref, obj):
        old = self.objects[ref]
        if {**obj, "metadata": 0, "status": 0} != {**old, "metadata": 0, "status": 0}:
            obj["metadata"]["generation"] = old["metadata"]["generation"] + 1
        obj["metadata"]["resourceVersion"] = self.next_version()
        self.objects[ref] = obj
        return obj

    def serve(self, method, path, content, body):
        ref = next((ref for ref in self.objects if ref.path == path), None)
        if self.hook is not None and ref is not None:
            self.hook(method, ref, self)
        verb = {"GET": "get", "PATCH": "patch", "PUT": "update"}.get(method)
        if verb not in self.verbs:
            raise Refusal(403, "Forbidden", f'User "canary" cannot {verb} resource at the cluster scope')
        if ref is None:
            raise Refusal(404, "NotFound", f"{path} not found")
        with self.lock:
            old = self.objects[ref]
            if method == "GET":
                return old
            new = self.changed(ref, method, content, body, copy.deepcopy(old))
            admit(new)
            return old if new == old else self.store(ref, new)

    def changed(self, ref, method, content, body, old):
        if method == "PUT":
            new = json.loads(body)
            version = new["metadata"].get("resourceVersion")
            if version is not None and version != old["metadata"]["resourceVersion"]:
                raise Refusal(
                    409, "Conflict", "the object has been modified; please apply your changes to the latest version"
                )
            new["metadata"] = {**old["metadata"], **new["metadata"]}
            return new
        if content == "application/json-patch+json":
            operations = json.loads(body)
            if not isinstance(operations, list):
                raise Refusal(400, "BadRequest", "json patch must be a list")
            try:
                return jsonpatch.apply_patch(old, operations)
            except jsonpatch.JsonPatchTestFailed as error:
                raise Refusal(
                    422,
                    "Invalid",
                    f"the server rejected our request due to an error in our request: test failed {error}"[:300],
                ) from None
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise Refusal(422, "Invalid", str(error)) from None
        if content == "application/strategic-merge-patch+json" and ref.api_version.rpartition("/")[0] not in BUILT_IN:
            raise Refusal(415, "UnsupportedMediaType", "strategic merge patch is not supported for custom resources")
        if content in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
            patch = json.loads(body)
            if not isinstance(patch, dict):
                raise Refusal(400, "BadRequest", "cannot unmarshal array into Go value of type map")
            return merged(old, patch)
        raise Refusal(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content}")

    def discovery(self, path):
        groups = sorted({ref.api_version for ref in self.objects})
        named = [
            {
                "name": group.partition("/")[0],
                "versions": [{"groupVersion": group, "version": group.partition("/")[2]}],
                "preferredVersion": {"groupVersion": group, "version": group.partition("/")[2]},
            }
            for group in groups
        ]
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/api/v1":
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
        for group in groups:
            if path == f"/apis/{group}":
                resources = [
                    {
                        "name": ref.plural,
                        "singularName": ref.kind.lower(),
                        "namespaced": True,
                        "kind": ref.kind,
                        "verbs": ["get", "list", "patch", "update"],
                    }
                    for ref in self.objects
                    if ref.api_version == group
                ]
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
        return None

    def handler(server):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                path, content = self.path.split("?")[0], self.headers.get("Content-Type", "")
                found = server.discovery(path)
                status = 200
                if found is None:
                    try:
                        found = server.serve(self.command, path, content, body)
                    except Refusal as refusal:
                        status = refusal.code
                        found = {
                            "kind": "Status",
                            "apiVersion": "v1",
                            "metadata": {},
                            "status": "Failure",
                            "message": refusal.message,
                            "reason": refusal.reason,
                            "code": refusal.code,
                        }
                    server.log.append((self.command, path, content, body, status))
                data = json.dumps(found).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client has given up

            do_GET = do_PATCH = do_PUT = answer  # noqa: N815

            def log_message(self, *_):
                pass

        return Handler


def hang(seconds):
    """A hook: the server takes its time."""
    return lambda *_: time.sleep(seconds)
