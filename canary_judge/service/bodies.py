"""Bodies of requests: their size and depth first, then their fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from canary_judge.config.reading import explain
from canary_judge.errors import DataError
from canary_judge.service.given import number_of

__all__ = ["BadBody", "read_as", "read_form", "read_json"]

_DEEPEST = 64
_FORM_BYTES = 64 * 1024
# Half of a surrogate pair, and the zero that no database takes.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


class BadBody(Exception):
    """It cannot be read; `status` says how to tell."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def _bytes(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BadBody(413, f"the body has {announced} bytes; at most {limit} are read")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise BadBody(413, f"the body has more than {limit} bytes, which is the most that is read")
            parts.append(part)
    except ClientDisconnect:
        raise BadBody(400, "the caller went away before its body was whole") from None
    return b"".join(parts)


async def read_json(request: Request, limit: int) -> Any:
    """The JSON of a body.

    Raises:
        BadBody: It is too large, too deep, no JSON, or holds a text that is none.
    """
    text = await _bytes(request, limit)
    try:
        data = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadBody(400, f"the body is no JSON: {error}") from None
    _check(data)
    return data


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON; write it in quotes where it is taken")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond all numbers; write it smaller")
    return value


def _check(data: Any) -> None:
    """Not too deep, and only texts that can be kept."""
    level: list[Any] = [data]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, str) and _NO_TEXT.search(one):
                raise BadBody(400, "the body has a text with a character that is none (U+0000, or half of a pair)")
            if isinstance(one, dict):
                inner += [*one, *one.values()]
            elif isinstance(one, list):
                inner += one
        if not inner:
            return
        level = inner
    raise BadBody(400, f"the body is nested deeper than {_DEEPEST} levels")


def read_as(model: type[BaseModel], data: object) -> dict[str, Any]:
    """The fields that were given, with numbers and truth values where texts stood for them.

    Raises:
        DataError: The field, its value and the remedy.
    """
    if not isinstance(data, Mapping):
        raise DataError(f"the body must be an object with {', '.join(model.model_fields)}")
    try:
        model.model_validate(dict(data))
    except ValidationError as error:
        raise DataError("; ".join(explain(error, data, known=list(model.model_fields)))) from None
    given = {name: value for name, value in data.items() if value is not None}
    if isinstance(weight := given.get("weight"), str) and weight:
        given["weight"] = number_of(weight, "weight")
    if isinstance(restart := given.get("restart"), str):
        if restart.lower() not in ("true", "false", ""):
            raise DataError(f"restart is {restart!r}; give true or false")
        given["restart"] = restart.lower() == "true"
    # what a template left empty was not given
    return {name: value for name, value in given.items() if value != "" or model.model_fields[name].is_required()}


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; empty where the body is none."""
    text = await _bytes(request, _FORM_BYTES)
    try:
        return dict(parse_qsl(text.decode("utf-8"), max_num_fields=100))
    except ValueError as error:
        raise BadBody(400, f"the body is no form: {error}") from None
