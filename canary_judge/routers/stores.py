"""Access to a cluster: by plain HTTP, kubectl, lightkube or the official client, whichever is at hand.

Each turns what its client says into our errors; `canary_judge.testing.store_checks` holds them to the same behaviour.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from canary_judge.bodies import TooMuchError, read_until
from canary_judge.errors import ConfigError, Conflict, RouteNotFound, RouterError, RouterUnavailable
from canary_judge.routers.kubernetes import Forbidden, Ref
from canary_judge.routers.weighted import Operation

__all__ = ["ClientStore", "HttpStore", "KubectlStore", "LightkubeStore"]

_TIMEOUT = 10.0
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def _refused(status: int, message: str, ref: Ref) -> RouterError:
    """Our error for an API server's status."""
    text = f"{ref}: {status} {message}".strip()
    if status == 404:
        return RouteNotFound(f"{text}; check kind, namespace and name")
    # 405, 415: the server has no such verb, as Cloud Run has no PATCH; another one may do
    if status in (401, 403, 405, 415):
        return Forbidden(text)
    # 422 is a failed `test`, or an admission rule; reading again tells
    if status == 409 or (status == 422 and "test" in message.lower()):
        return Conflict(text)
    if status == 429 or status >= 500:
        return RouterUnavailable(text)
    return RouterError(text)


class HttpStore:
    """The API server by plain HTTPS, with a token: in a pod, in CI, or behind `kubectl proxy`.

    Args:
        url: Address of the API server.
        token: Bearer token, or a function that reads a fresh one (they expire).
        verify: Path of the CA, or False.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str] | None = None,
        verify: str | bool = True,
        timeout: float = _TIMEOUT,
    ) -> None:
        import requests  # comes with prometheus-api-client

        self._requests, self._session = requests, requests.Session()
        self._session.trust_env = False  # no proxy between us and the API server
        self._url, self._token, self._verify, self._timeout = url.rstrip("/"), token, verify, timeout

    @classmethod
    def in_cluster(cls) -> Self:
        """With the pod's own service account."""
        import os

        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (_ACCOUNT / "token").exists():
            raise ConfigError("this is no pod with a service account; use store: kubectl, or give the API server's url")
        shown = f"[{host}]" if ":" in host else host
        return cls(
            f"https://{shown}:{port}",
            token=lambda: (_ACCOUNT / "token").read_text(encoding="utf-8").strip(),
            verify=str(_ACCOUNT / "ca.crt"),
        )

    def _call(self, method: str, ref: Ref, body: Any = None, content: str = "application/json") -> dict[str, Any]:
        token = ((self._token() if callable(self._token) else self._token) or "").strip()
        headers = {"Accept": "application/json", "Content-Type": content}
        if not token.isprintable():  # the error of the client would show it
            raise RouterError(f"{ref}: the token has characters that cannot be sent; write it on one line")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        until = time.monotonic() + self._timeout
        try:
            answer = self._session.request(
                method,
                self._url + ref.path,
                data=None if body is None else json.dumps(body),
                headers=headers,
                timeout=self._timeout,
                verify=self._verify,
                stream=True,
            )
            given = read_until(answer, until)
            found: Any = json.loads(given) if given else {}
        except (TimeoutError, TooMuchError) as error:
            raise RouterUnavailable(f"{ref}: no whole answer from {self._url} within {self._timeout:g} s") from error
        except RecursionError as error:
            raise RouterUnavailable(f"{ref}: {self._url} answered with something that is no object") from error
        except (self._requests.RequestException, ValueError) as error:
            raise RouterUnavailable(f"{ref}: no answer from {self._url}: {type(error).__name__}: {error}") from error
        if not answer.ok:
            message = found.get("message", "") if isinstance(found, dict) else ""
            raise _refused(answer.status_code, str(message), ref)
        if not isinstance(found, dict) or "metadata" not in found:
            raise RouterUnavailable(f"{ref}: {self._url} answered with something that is no object")
        return found

    def get(self, ref: Ref) -> dict[str, Any]:
        """GET."""
        return self._call("GET", ref)

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """PATCH."""
        return self._call("PATCH", ref, operations, "application/json-patch+json")

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """PUT."""
        return self._call("PUT", ref, obj)


class KubectlStore:
    """Whatever cluster `kubectl` is set up for: all its ways to log in, nothing to install.

    Args:
        context: Of the kubeconfig; the current one by default.
        arguments: Further global arguments of kubectl.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, *, context: str | None = None, arguments: tuple[str, ...] = (), timeout: float = 20.0) -> None:
        found = shutil.which("kubectl")
        if found is None:
            raise ConfigError("store: kubectl is not on the PATH; install it, or use another store")
        self._command = [found, *(["--context", context] if context else []), *arguments]
        self._timeout = timeout

    def _run(self, ref: Ref, *arguments: str, stdin: str | None = None) -> dict[str, Any]:
        command = [*self._command, "--namespace", ref.namespace, f"--request-timeout={self._timeout:g}s", *arguments]
        try:
            done = subprocess.run(  # noqa: S603
                command, input=stdin, capture_output=True, text=True, timeout=self._timeout + 5, check=False
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise RouterUnavailable(f"{ref}: kubectl gave no answer: {error}") from error
        if done.returncode:
            # its client logs every attempt; the last words are for people
            said = [line for line in done.stderr.splitlines() if not re.match(r"[EWI]\d{4} ", line)]
            raise self._error(ref, " ".join(" ".join(said).split()) or f"exit code {done.returncode}")
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise RouterUnavailable(f"{ref}: kubectl printed no object: {done.stdout[:200]!r}") from error
        return found

    def _error(self, ref: Ref, message: str) -> RouterError:
        for sign, status in (
            ("(NotFound)", 404),
            ("(Forbidden)", 403),
            ("(Unauthorized)", 401),
            ("(Conflict)", 409),
            ("(Invalid)", 422),
            ("testing path", 409),
            ("the server rejected our request", 422),
            ("(TooManyRequests)", 429),
            ("doesn't have a resource type", 404),
            ("is invalid", 422),
        ):
            if sign in message:
                return _refused(status, message, ref)
        return RouterUnavailable(f"{ref}: kubectl: {message}")

    def _what(self, ref: Ref) -> str:
        group, _, version = ref.api_version.rpartition("/")
        return f"{ref.plural}.{version}.{group}/{ref.name}" if group else f"{ref.plural}/{ref.name}"

    def get(self, ref: Ref) -> dict[str, Any]:
        """`kubectl get`."""
        return self._run(ref, "get", self._what(ref), "--output=json")

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """`kubectl patch --type=json`."""
        patch = json.dumps(operations)
        return self._run(ref, "patch", self._what(ref), "--type=json", f"--patch={patch}", "--output=json")

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """`kubectl replace`."""
        return self._run(ref, "replace", "--validate=false", "--filename=-", "--output=json", stdin=json.dumps(obj))


class LightkubeStore:
    """By lightkube, the small client (`pip install 'canary-judge[kubernetes]'`).

    Args:
        client: A `lightkube.Client`; by default one made from the kubeconfig or the pod's account.
    """

    def __init__(self, client: Any = None) -> None:
        try:
            import httpx2
            import lightkube
            from lightkube.generic_resource import create_namespaced_resource
        except ImportError as error:
            raise ConfigError(
                f"store: lightkube is not installed ({error}); pip install 'canary-judge[kubernetes]'"
            ) from error
        self._http, self._lightkube, self._create = httpx2, lightkube, create_namespaced_resource
        try:
            self._client = client or lightkube.Client()
        except lightkube.ConfigError as error:
            raise ConfigError(f"store: lightkube finds no cluster: {error}") from error

    def _resource(self, ref: Ref) -> Any:
        group, _, version = ref.api_version.rpartition("/")
        return self._create(group=group, version=version, kind=ref.kind, plural=ref.plural)

    def _call(self, ref: Ref, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = call().to_dict()
        except self._lightkube.ApiError as error:
            raise _refused(error.status.code or 0, error.status.message or "", ref) from error
        except (self._http.HTTPError, ValueError) as error:
            raise RouterUnavailable(f"{ref}: no answer: {type(error).__name__}: {error}") from error
        return found

    def get(self, ref: Ref) -> dict[str, Any]:
        """GET."""
        return self._call(ref, lambda: self._client.get(self._resource(ref), ref.name, namespace=ref.namespace))

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """PATCH."""
        patch = self._lightkube.types.PatchType.JSON
        return self._call(
            ref,
            lambda: self._client.patch(
                self._resource(ref), ref.name, operations, namespace=ref.namespace, patch_type=patch
            ),
        )

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """PUT."""
        return self._call(ref, lambda: self._client.replace(self._resource(ref).from_dict(dict(obj))))


class ClientStore:
    """By the official `kubernetes` client, for programs that have one.

    Args:
        api: A `kubernetes.client.ApiClient`; by default one made from the kubeconfig or the pod's account.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, api: Any = None, *, timeout: float = _TIMEOUT) -> None:
        try:
            import kubernetes
            import urllib3
        except ImportError as error:
            raise ConfigError(
                f"store: the official client is not installed ({error}); pip install kubernetes"
            ) from error
        self._kubernetes, self._http, self._timeout = kubernetes, urllib3, timeout
        if api is None:
            try:
                kubernetes.config.load_config()  # type: ignore[no-untyped-call]
            except kubernetes.config.ConfigException as error:
                raise ConfigError(f"store: the kubernetes client finds no cluster: {error}") from error
        # it addresses objects of any group, built-in ones too
        self._objects = kubernetes.client.CustomObjectsApi(api)

    def _call(self, verb: str, ref: Ref, *body: Any, **options: Any) -> dict[str, Any]:
        group, _, version = ref.api_version.rpartition("/")
        call = getattr(self._objects, f"{verb}_namespaced_custom_object")
        try:
            found: dict[str, Any] = call(
                group, version, ref.namespace, ref.plural, ref.name, *body, _request_timeout=self._timeout, **options
            )
        except self._kubernetes.client.ApiException as error:
            try:
                message = str(json.loads(error.body or "{}").get("message", ""))
            except (ValueError, AttributeError):
                message = str(error.reason)
            raise _refused(error.status or 0, message, ref) from error
        except (self._http.exceptions.HTTPError, ValueError) as error:
            raise RouterUnavailable(f"{ref}: no answer: {type(error).__name__}: {error}") from error
        return found

    def get(self, ref: Ref) -> dict[str, Any]:
        """GET."""
        return self._call("get", ref)

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """PATCH; a list body needs its content type, or the client sends a merge patch."""
        return self._call("patch", ref, operations, _content_type="application/json-patch+json")

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """PUT."""
        return self._call("replace", ref, dict(obj))
