"""Requests as the operator writes them, filled in and sent: deadlines, few retries, limits on how often, no secrets.

A placeholder is `${query}`, `${start:s}` (also ms, iso; the same for end), `${step:s}` (also ms), or `${label}`. A text
that is nothing but a placeholder becomes its value, so that JSON has numbers where a store wants them. A label inside
of a longer text may hold letters, digits and a few signs only: nothing of it can end what it stands in.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from canary_judge.bodies import read_until
from canary_judge.errors import ConfigError, QueryError, SourceUnavailable
from canary_judge.series import Query, Window
from canary_judge.sources.session import short_cause
from canary_judge.untrusted import printable

__all__ = ["Request", "Sender"]

_PLACE = re.compile(r"\$\{([A-Za-z_]\w*)(?::(\w+))?\}")
# What no language of queries takes for an end, a space between words, or a wildcard.
_SAFE = re.compile(r"[\w.\-:@+]+")
_ATTEMPTS = 4
_TRIED_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_TEXT = 500
# Of a secret; a shorter one may be a part of any text.
_SHORTEST_SECRET = 4
# Such numbers are moments, not seconds to wait.
_A_MOMENT = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent, with or without placeholders.

    Raises:
        ConfigError: There is no address, a placeholder that nothing is known of, or nothing of the time.
    """

    method: str
    url: str
    parameters: Mapping[str, Any]
    body: Any

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        if not re.match(r"https?://[^/?#]+", self.url):
            raise ConfigError("url: is no address; write it as https://store.example/api/query")
        if "?" in self.url or "#" in self.url:
            raise ConfigError("url: has a `?` or `#` part; write what follows it as `parameters`")
        if "${" in self.url.split("/", 3)[2]:
            raise ConfigError("url: the host is the operator's to say; a placeholder may stand in the path only")

    def filled(self, query: Query, window: Window) -> Request:
        """The request of one query and window.

        Raises:
            QueryError: A placeholder is not defined, or a label could end the text that it stands in.
        """
        values = _Values(query, window)
        asked = set(_names([self.url, self.parameters, self.body]))
        if not {"start", "end"} <= asked:
            raise QueryError("the request must say ${start:s} and ${end:s} (or ms, iso): which time is asked for?")
        return replace(
            self,
            url=_PLACE.sub(lambda found: _part_of_path(values.of(found[1], found[2], inside=False)), self.url),
            parameters=values.fill(self.parameters),
            body=values.fill(self.body),
        )

    def with_token(self, into: str, token: Any) -> Request:
        """The same for the next page, whose token goes into `body.NAME` or `parameters.NAME`."""
        where, _, name = into.partition(".")
        if where == "parameters":
            return replace(self, parameters={**self.parameters, name: token})
        return replace(self, body={**(self.body or {}), name: token})


def _part_of_path(value: object) -> str:
    text = quote(str(value), safe="")
    if text in ("", ".", ".."):
        raise QueryError(f"{str(value)!r} is no part of a path: it would lead elsewhere")
    return text


def _names(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [name for inner in value.values() for name in _names(inner)]
    if isinstance(value, list):
        return [name for inner in value for name in _names(inner)]
    return [found[1] for found in _PLACE.finditer(value)] if isinstance(value, str) else []


class _Values:
    """What stands for the placeholders of one query."""

    def __init__(self, query: Query, window: Window) -> None:
        self._labels = dict(query.labels)
        self._window, self._step = window, query.step.total_seconds()
        text = query.template or query.expression
        self._query = _PLACE.sub(lambda found: str(self.of(found[1], found[2], inside=True)), text)

    def of(self, name: str, unit: str | None, *, inside: bool) -> str | int | float:
        if name in ("start", "end"):
            return self._moment(getattr(self._window, name), name, unit)
        if name == "step":
            if unit not in ("s", "ms"):
                raise QueryError("write ${step:s} or ${step:ms}: a length needs a unit")
            length = self._step * (1000 if unit == "ms" else 1)
            return int(length) if length == int(length) else length
        if name == "query" and hasattr(self, "_query"):
            return self._query
        if name == "interval":
            return f"{self._step:g}s"
        if name not in self._labels:
            known = ", ".join(sorted([*self._labels, "query", "start:s", "end:s", "step:s"]))
            raise QueryError(f"`{name}` is not defined; there are {known}")
        value = self._labels[name]
        if inside and not _SAFE.fullmatch(value):
            raise QueryError(
                f"label {name} is {printable(value)!r}: inside of a text it may hold letters, digits and . - : @ + "
                "only, for anything else could end the text or match more than one version"
            )
        return value

    @staticmethod
    def _moment(moment: datetime, name: str, unit: str | None) -> str | int | float:
        seconds = moment.timestamp()
        if unit == "s":
            return int(seconds) if seconds == int(seconds) else seconds
        if unit == "ms":
            return round(seconds * 1000)
        if unit == "iso":
            text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
            return text.replace("+00:00", "Z")
        raise QueryError(f"write ${{{name}:s}}, ${{{name}:ms}} or ${{{name}:iso}}: a time needs a unit")

    def fill(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if not isinstance(value, str):
            return value
        if alone := _PLACE.fullmatch(value):
            return self.of(alone[1], alone[2], inside=False)
        return _PLACE.sub(lambda found: str(self.of(found[1], found[2], inside=True)), value)


class Sender:
    """Sends requests, a few of them at a time.

    Args:
        headers: Sent with each; their values are never shown.
        auth: Adds who we are.
        verify: The server's certificate: by a CA bundle, by the usual ones, or not at all.
        cert: A client certificate, and its key.
        workers: Connections that are kept.
        per_minute: Most requests in a minute; they are spaced out.
        throttled: JMESPath that is true of an answer which says "too often" in another way than by its status.
        secrets: More that must not be shown.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        auth: AuthBase | None,
        verify: str | bool,
        cert: str | tuple[str, str] | None,
        workers: int,
        per_minute: float | None,
        throttled: Any,
        secrets: Sequence[str] = (),
    ) -> None:
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=workers, pool_maxsize=workers, max_retries=0)
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, adapter)
        self._session.headers.update({"Accept": "application/json", **headers})
        # without one of ours the session would take that of ~/.netrc
        self._session.auth = auth or _as_it_is
        self._session.verify, self._session.cert = verify, cert
        self._auth = auth
        self._secrets = {part for value in (*headers.values(), *secrets) for part in (value, *value.split())}
        self._space = 0.0 if per_minute is None else 60.0 / per_minute
        self._throttled = throttled
        self._lock = threading.Lock()
        self._free = 0.0

    def shown(self, said: Any) -> str:
        """What a store said, as it may be shown."""
        text = said if isinstance(said, str) else json.dumps(said, default=str)
        text = " ".join(printable(text).split())
        known = {*self._secrets, *getattr(self._auth, "secrets", ())}
        for secret in sorted((one for one in known if len(one) >= _SHORTEST_SECRET), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text[:_LONGEST_TEXT]

    def send(self, request: Request, until: float, shown_url: str) -> Any:
        """The JSON that answers a request.

        Args:
            request: Filled in.
            until: Monotonic time by which the answer must be there.
            shown_url: The address, for messages.

        Raises:
            QueryError: The store refuses the request.
            SourceUnavailable: There is no answer that can be trusted.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self._wait_for_a_turn(until, shown_url)
            answer, wait, why = self._attempt(request, until, shown_url)
            if wait is None:
                return answer
            wait = wait if wait > 0 else 0.2 * 2**attempt
            if attempt == _ATTEMPTS or time.monotonic() + wait >= until:
                raise SourceUnavailable(f"{shown_url}: {why}")
            time.sleep(wait)
        raise AssertionError("unreachable: the last attempt answers or raises")

    def _wait_for_a_turn(self, until: float, shown_url: str) -> None:
        with self._lock:
            turn = max(self._free, time.monotonic())
            if turn >= until:
                raise SourceUnavailable(
                    f"{shown_url}: not asked in time, for `per_minute` lets no more requests through"
                )
            self._free = turn + self._space
        time.sleep(max(turn - time.monotonic(), 0.0))

    def _attempt(self, request: Request, until: float, shown_url: str) -> tuple[Any, float | None, str]:
        """An answer; or how long to wait before the next try (0: not said), and why."""
        left = max(until - time.monotonic(), 0.001)
        try:
            response = self._session.request(
                request.method,
                request.url,
                params=dict(request.parameters),
                json=request.body,
                timeout=(min(5.0, left), left),
                stream=True,
                allow_redirects=False,
            )
            body = read_until(response, until)
        except requests.exceptions.SSLError as error:
            raise SourceUnavailable(
                f"{shown_url}: its certificate was not accepted: {_cause(error)}; set `ca`"
            ) from None
        except (requests.exceptions.Timeout, TimeoutError):
            raise SourceUnavailable(f"{shown_url}: no answer in time") from None
        except requests.exceptions.RequestException as error:
            return None, 0.0, f"cannot be reached: {_cause(error)}"
        if response.is_redirect:
            raise SourceUnavailable(f"{shown_url}: sends us on to another address; use that one if it is the right one")
        status = response.status_code
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status in _TRIED_AGAIN or (answer is not None and self._is_throttled(answer)):
            return None, _asked_to_wait(response.headers), f"asks for fewer requests, or is busy (HTTP {status})"
        if status in (401, 403):
            raise SourceUnavailable(f"{shown_url}: refused access (HTTP {status}); check its headers or `auth`")
        if answer is None:
            text = self.shown(body[:200].decode("utf-8", "replace"))
            if 400 <= status < 500:
                raise QueryError(f"HTTP {status}: {text or 'nothing'}")
            raise SourceUnavailable(f"{shown_url}: answered with no JSON (HTTP {status}): {text or 'nothing'}")
        if 400 <= status < 500:
            raise QueryError(f"HTTP {status}: {self.shown(answer)}")
        if status != 200:
            raise SourceUnavailable(f"{shown_url}: HTTP {status}: {self.shown(answer)}")
        return answer, None, ""

    def _is_throttled(self, answer: Any) -> bool:
        if self._throttled is None:
            return False
        from jmespath.exceptions import JMESPathError

        try:
            return bool(self._throttled.search(answer))
        except JMESPathError:
            return False


def _cause(error: Exception) -> str:
    """Without the address, which may hold a key."""
    cause = short_cause(error)
    return type(error).__name__ if "url" in cause else cause


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _asked_to_wait(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds that a store asks to be left alone; 0 where it does not say."""
    if (text := headers.get("Retry-After", "")) and not text.isdigit():
        try:
            return max(parsedate_to_datetime(text).timestamp() - now(), 0.0)
        except (TypeError, ValueError):
            return 0.0
    for name in ("Retry-After", "X-RateLimit-Reset", "RateLimit-Reset"):
        try:
            value = float(headers.get(name, ""))
        except ValueError:
            continue
        return max(value - now(), 0.0) if value > _A_MOMENT else max(value, 0.0)
    return 0.0
