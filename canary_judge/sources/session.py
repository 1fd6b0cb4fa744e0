"""The HTTP session that prometheus-api-client is handed: deadlines, few retries, error texts and warnings kept."""

from __future__ import annotations

import gc
import json
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from canary_judge.bodies import TooMuchError, read_until
from canary_judge.errors import QueryError, SourceUnavailable
from canary_judge.untrusted import printable

__all__ = ["Session", "short_cause", "without_collection"]

_ATTEMPTS = 3
_LOCK, _parsing, _collects = threading.Lock(), 0, True
# Of what a server says is wrong.
_LONGEST_TEXT = 2000
_RETRIED = frozenset({429, 502, 504})
# What those say that ask stores behind them, with a status of queries that cannot be evaluated, where one is away.
_AWAY = re.compile(r"(?i)rpc error|unavailable|connection re(fused|set)|no such host|deadline exceeded|i/o timeout")


class Session(requests.Session):
    """What the client sends its requests through: deadlines, few retries, error texts and warnings kept."""

    def __init__(self, *, timeout: float, workers: int) -> None:
        super().__init__()
        adapter = HTTPAdapter(pool_connections=workers, pool_maxsize=workers, pool_block=True, max_retries=0)
        for prefix in ("http://", "https://"):
            super().mount(prefix, adapter)
        self.headers["Accept-Encoding"] = "identity"
        self._seconds = timeout
        self._heard = threading.local()
        self._refuses_post = False

    def settle(self, url: str) -> None:
        """Ask the environment for proxies, certificates and passwords (.netrc) once, and not at every request."""
        # what is asked for goes before what the environment says
        found = self.merge_environment_settings(url, {}, True, self.verify, None)
        self.proxies, self.verify = found["proxies"], found["verify"]
        if "Authorization" not in self.headers:
            self.auth = self.auth or requests.utils.get_netrc_auth(url)
        self.trust_env = False

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        """Keep our adapter: the client would put its own, with other retries and a smaller pool, in its place."""

    def listening(self, until: float) -> _Ear:
        """A context in which this thread's warnings are collected, and its requests end by `until` (monotonic)."""
        return _Ear(self._heard, until)

    def request(  # type: ignore[override]
        self, method: str, url: str, params: Any = None, **options: Any
    ) -> requests.Response:
        """Send the client's request: tried again only where that can help, and within the deadline.

        Raises:
            QueryError: The server refused the query.
            SourceUnavailable: There is no answer that can be trusted.
        """
        until = min(time.monotonic() + self._seconds, getattr(self._heard, "until", math.inf))
        if time.monotonic() > until:
            raise SourceUnavailable("not asked any more: the time for this query has passed")
        options = {name: options[name] for name in ("verify", "cert") if name in options}
        for attempt in range(1, _ATTEMPTS + 1):
            response, wait = self._attempt(method, url, params, options, until, attempt)
            if response is not None:
                return response
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
        raise AssertionError("unreachable: the last attempt answers or raises")

    def _attempt(
        self, method: str, url: str, params: Any, options: Mapping[str, Any], until: float, attempt: int
    ) -> tuple[requests.Response | None, float]:
        """One try: an answer, or how long to wait before the next."""
        left = until - time.monotonic()
        last = attempt == _ATTEMPTS or left <= 0
        backoff = 0.1 * 2**attempt
        post = method == "POST" and not self._refuses_post
        sent: dict[str, Any] = {"data": params} if post else {"params": params}
        try:
            response = super().request(
                "POST" if post else "GET",
                url,
                timeout=(min(3.0, max(left, 0.001)), max(left, 0.001)),
                stream=True,
                allow_redirects=False,
                **sent,
                **options,
            )
            body = read_until(response, until)
        except requests.exceptions.SSLError as error:
            raise SourceUnavailable(f"its certificate was not accepted: {short_cause(error)}; set `ca`") from error
        except requests.exceptions.ConnectTimeout as error:
            raise SourceUnavailable("cannot be reached: no connection in time") from error
        except (requests.exceptions.ReadTimeout, TimeoutError) as error:
            raise SourceUnavailable(f"no answer within {self._seconds:g} s") from error
        except requests.exceptions.ConnectionError as error:
            if "timed out" in str(error).lower():
                raise SourceUnavailable(f"no answer within {self._seconds:g} s") from error
            if last:
                raise SourceUnavailable(f"cannot be reached: {short_cause(error)}") from error
            return None, backoff
        except requests.exceptions.RequestException as error:
            raise SourceUnavailable(f"the request failed: {short_cause(error)}") from error
        if response.status_code == 405 and post:
            self._refuses_post = True
            return self._attempt(method, url, params, options, until, attempt)
        if response.is_redirect:
            where = urlsplit(response.headers.get("Location", ""))
            there = f"{where.scheme}://{where.hostname}" if where.hostname else ""
            raise SourceUnavailable(
                f"sends us on to {printable(there + where.path)}; use that address if it is the right one"
            )
        if response.status_code in _RETRIED and not last:
            asked = response.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdigit() else backoff
            if wait < until - time.monotonic():
                return None, wait
        return self._understood(response, body), 0.0

    def _understood(self, response: requests.Response, body: bytes) -> requests.Response:
        """The response with its JSON checked and read once; anything but success is raised with the server's text."""
        status = response.status_code
        try:
            answer = json.loads(body)
        except RecursionError:
            raise SourceUnavailable("answered with JSON that is nested without end") from None
        except ValueError:
            text = printable(body[:200].decode("utf-8", "replace").strip())
            if text[:1] == "<":
                what = "answered with a web page, no Prometheus API: a login, a proxy, or a missing path prefix?"
            else:
                what = f"answered with no JSON (HTTP {status}): {text or 'nothing'}"
            raise SourceUnavailable(what) from None
        if not isinstance(answer, dict) or answer.get("status") != "success":
            said = answer if isinstance(answer, dict) else {}
            text = printable(f"{said.get('errorType', 'error')}: {said.get('error', said or answer)}")[:_LONGEST_TEXT]
            self._refuse(status, str(said.get("errorType")), text)
        data, told = answer.get("data"), (answer.get("warnings"), answer.get("infos"))
        warnings, infos = ([printable(str(one)) for one in texts] if isinstance(texts, list) else [] for texts in told)
        if not isinstance(data, dict) or "result" not in data:
            raise SourceUnavailable(f"answered with success but without data.result (HTTP {status})")
        heard = getattr(self._heard, "warnings", None)
        if heard is not None:
            heard += [f"warning of the server: {text}" for text in warnings]
            if answer.get("isPartial") is True:
                heard.append("warning of the server: isPartial, its answer is not complete")
            heard += [f"note of the server: {text}" for text in infos]
        response.json = lambda **_: answer  # type: ignore[method-assign]
        return response

    def _refuse(self, status: int, kind: str, text: str) -> None:
        if status in (401, 403):
            raise SourceUnavailable(f"refused access (HTTP {status}): {text}; check the token, user or tenant")
        if kind == "timeout" or "too many samples" in text:
            raise TooMuchError(f"HTTP {status}, {text}")
        if kind == "execution" and _AWAY.search(text):
            raise SourceUnavailable(f"HTTP {status}, {text}")
        if kind in ("bad_data", "execution", "bad_response") or status in (400, 422):
            raise QueryError(f"HTTP {status}, {text}")
        raise SourceUnavailable(f"HTTP {status}, {text}")


class _Ear:
    """Collects this thread's warnings while it is open."""

    def __init__(self, heard: threading.local, until: float) -> None:
        self._heard, self._until = heard, until

    def __enter__(self) -> list[str]:
        warnings: list[str] = []
        self._heard.warnings, self._heard.until = warnings, self._until
        return warnings

    def __exit__(self, *_: object) -> None:
        self._heard.warnings, self._heard.until = None, math.inf


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection while answers are parsed: it looks through millions of numbers again and again."""
    global _parsing, _collects  # noqa: PLW0603
    with _LOCK:
        if _parsing == 0:
            _collects = gc.isenabled()
            gc.disable()
        _parsing += 1
    try:
        yield
    finally:
        with _LOCK:
            _parsing -= 1
            if _parsing == 0 and _collects:
                gc.enable()


def short_cause(error: BaseException) -> str:
    """The innermost cause of a client error, without the tower of wrappers around it."""
    text = str(error)
    found = re.search(
        r"(Connection refused|Name or service not known|No route to host|Connection reset by peer|"
        r"Temporary failure in name resolution|certificate verify failed[^)']*)",
        text,
    )
    return found[1].lower() if found else text[:200]
