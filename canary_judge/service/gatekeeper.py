"""In front of every address: who calls, how many call at once, and one line in the log without a secret."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from canary_judge.service.access import Token, may, needed, tokens_in, who

__all__ = ["Gatekeeper"]

_LOG = logging.getLogger("canary_judge.access")
# What Flagger is told where too much is asked at once: no at a gate, yes at a check, carry on at a rollback.
_TOO_MUCH = {
    "/flagger/gate": 412,
    "/flagger/check": 200,
    "/flagger/rollback": 403,
    "/flagger/event": 202,
    "/flagger/end": 412,
    "/judge": 429,
}
_KINDS = ("v1", "flagger", "kayenta", "prom", "judge", "runs", "metrics")
_WORDS = {"read": "reading", "look": "looking", "all": "all"}
_UNKNOWN = "the token that was sent is none that is known here"
_NONE = "no token was sent; send it as `Authorization: Bearer TOKEN`, as the password of Basic, or as /t/TOKEN/..."
_BUSY = "too much is asked at once; ask again in a few seconds"


class Gatekeeper:
    """ASGI middleware.

    Args:
        app: What is behind it.
        tokens: Who may call; anybody where there are none.
        most_requests: At once.
    """

    def __init__(self, app: ASGIApp, *, tokens: Sequence[Token], most_requests: int) -> None:
        self._app, self._tokens, self._most = app, tuple(tokens), most_requests
        self._now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it pass, or answer in its place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        sent, path = _out_of_the_path(scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogatepass")}

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        caller = scope["caller"] = ""
        scope["may"] = ""
        self._now += 1
        try:
            refused = self._refused(scope, sent)
            caller = scope["caller"]
            if refused is not None:
                await refused(scope, receive, told)
            else:
                await self._app(scope, receive, told)
        finally:
            self._now -= 1
            seconds = round(time.perf_counter() - begun, 4)
            # the address as it is declared: what else stands in a path may be somebody's token
            route = getattr(scope.get("route"), "path", "") or _kind_of(path)
            more = {"method": scope["method"], "path": route, "status": status, "seconds": seconds, "caller": caller}
            _LOG.info("request", extra={"more": more})

    def _refused(self, scope: Scope, sent: list[str]) -> Response | None:
        """Why not; None where it may pass, and then the caller's name and rights are in the scope."""
        path = scope["path"]
        need = needed(scope["method"], path)
        if need is None:
            return None
        if self._tokens:
            sent = [*sent, *tokens_in(scope["headers"])]
            token = who(self._tokens, sent)
            if token is None:
                headers = {"WWW-Authenticate": 'Basic realm="canary_judge"'}
                return _problem(path, 401, _UNKNOWN if sent else _NONE, headers)
            scope["caller"], scope["may"] = token.name, token.may
            if not may(token, need):
                text = f"this token is for {_WORDS[token.may]}, and this takes one for {_WORDS[need]}"
                return _problem(path, 403, text)
        if self._now > self._most:
            return _problem(path, _TOO_MUCH.get(path, 503), _BUSY, {"Retry-After": "5"})
        return None


def _problem(path: str, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    if path.startswith("/flagger/"):
        return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)
    if path.startswith("/prom/"):
        body = {"status": "error", "errorType": "unavailable" if status == 503 else "forbidden", "error": text}
        return JSONResponse(body, status_code=status, headers=headers)
    return JSONResponse({"status": status, "error": "refused", "message": text}, status_code=status, headers=headers)


def _kind_of(path: str) -> str:
    """Of an address that was refused, or is none: what can be no secret."""
    first = path.split("/")[1]
    return f"/{first}/..." if first in _KINDS else "(no such address)"


def _out_of_the_path(path: str) -> tuple[list[str], str]:
    """A token that stands in the path, as /t/TOKEN/kayenta/..., and the path without it."""
    parts = [part for part in path.split("/") if part]  # a base address may end with a slash, and a path begin with one
    if parts[:1] == ["t"] and len(parts) > 1:
        return [parts[1]], f"/{'/'.join(parts[2:])}"
    return [], f"/{'/'.join(parts)}"
