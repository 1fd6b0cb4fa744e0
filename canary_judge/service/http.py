"""What the addresses share: who asks, bodies, how a problem is told, and how a body looks in OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from canary_judge.errors import CanaryJudgeError, SourceError
from canary_judge.service.bodies import read_form, read_json
from canary_judge.service.problems import Busy, Clash, StoreDown, UnknownConfig, UnknownRun

__all__ = ["FREE", "REFUSED", "Form", "LargeBody", "Owner", "Rights", "SmallBody", "body_of", "problem", "status_of"]

_LARGE_BYTES = 16 * 1024 * 1024
SMALL_BYTES = 1024 * 1024

REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"description": "What is wrong, and the remedy."},
    404: {"description": "No such config or run."},
    409: {"description": "The key is of another run."},
    413: {"description": "The body is too large."},
    502: {"description": "The source or the database gave no answer."},
    503: {"description": "Too much is asked at once."},
}
# A body whose fields are those of somebody else.
FREE = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """A body for OpenAPI; it is read by hand, for its size and depth come first."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _owner(request: Request) -> str:
    return str(request.scope.get("caller", ""))


def _rights(request: Request) -> str:
    return str(request.scope.get("may", ""))


async def _small(request: Request) -> Any:
    return await read_json(request, SMALL_BYTES)


async def _large(request: Request) -> Any:
    return await read_json(request, _LARGE_BYTES)


Owner = Annotated[str, Depends(_owner)]
Rights = Annotated[str, Depends(_rights)]
SmallBody = Annotated[Any, Depends(_small)]
LargeBody = Annotated[Any, Depends(_large)]
Form = Annotated[dict[str, str], Depends(read_form)]


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """As Kayenta's own service has it, which its clients read; `message` says it."""
    words = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 502: "Bad Gateway", 503: "Service Unavailable"}
    body = {"status": status, "error": words.get(status, "Error"), "message": text}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def status_of(error: CanaryJudgeError) -> int:
    """Which status an error of ours has."""
    for kinds, status in (
        ((UnknownConfig, UnknownRun), 404),
        ((Clash,), 409),
        ((Busy,), 503),
        ((StoreDown, SourceError), 502),
    ):
        if isinstance(error, kinds):
            return status
    return 400
