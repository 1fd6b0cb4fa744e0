"""/flagger, /prom and /judge: hooks, a metric, and Kayenta's remote judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from canary_judge.service.flagger import Flagger, Reply
from canary_judge.service.http import FREE, REFUSED, Form, LargeBody, Owner, SmallBody
from canary_judge.service.prom import PromFacade
from canary_judge.service.remote import judge_pairs
from canary_judge.service.runs import Runs

__all__ = ["routes_of_flagger", "routes_of_judge", "routes_of_prom"]

_FIELDS = {"type": "object", "properties": {"query": {"type": "string"}}}
_FORM = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": _FIELDS}}}}


def routes_of_flagger(flagger: Flagger) -> APIRouter:
    """/flagger."""
    app = APIRouter()
    said: dict[int | str, dict[str, Any]] = {
        403: {"description": "Carry on (rollback)."},
        412: {"description": "No."},
    }

    def add(name: str, work: Callable[..., Reply]) -> None:
        @app.post(
            f"/flagger/{name}",
            name=f"flagger_{name}",
            response_class=PlainTextResponse,
            responses=said,
            openapi_extra=FREE,
            description=work.__doc__,
        )
        def hook(owner: Owner, body: SmallBody) -> Response:
            reply = work(body, owner)
            return PlainTextResponse(f"{reply.text}\n", status_code=reply.status)

    for name in ("gate", "check", "rollback"):
        add(name, getattr(flagger, name))

    @app.post("/flagger/end", response_class=PlainTextResponse, openapi_extra=FREE)
    def end(body: SmallBody) -> Response:
        """The rollout is over."""
        reply = flagger.end(body)
        return PlainTextResponse(f"{reply.text}\n", status_code=reply.status)

    @app.post("/flagger/event", status_code=202, response_class=PlainTextResponse, openapi_extra=FREE)
    def event(background: BackgroundTasks, body: SmallBody) -> Response:
        """What Flagger has done; it waits for the answer, so that this comes at once."""
        background.add_task(flagger.event, body)
        return PlainTextResponse("noted\n", status_code=202, background=background)

    return app


def routes_of_judge(runs: Runs) -> APIRouter:
    """/judge."""
    app = APIRouter()

    @app.post("/judge", responses=REFUSED, openapi_extra=FREE)
    def judge(body: LargeBody) -> JSONResponse:
        """Kayenta's remote judge: metric set pairs in, the result of a judge out."""
        return JSONResponse(judge_pairs(runs, body))

    return app


def routes_of_prom(prom: PromFacade) -> APIRouter:
    """/prom."""
    app = APIRouter()
    said: dict[int | str, dict[str, Any]] = {503: {"description": "Nothing is known of the present."}}

    def add(name: str, *, ranged: bool) -> None:
        @app.get(f"/prom/api/v1/{name}", name=f"prom_{name}", responses=said)
        def asked(owner: Owner, query: str = "") -> JSONResponse:
            """`canary_judge_score{config="..."}`: exactly one series."""
            status, body = prom.query(query, ranged=ranged, owner=owner)
            return JSONResponse(body, status_code=status)

        @app.post(f"/prom/api/v1/{name}", name=f"prom_{name}_form", responses=said, openapi_extra=_FORM)
        def posted(owner: Owner, form: Form, query: str = "") -> JSONResponse:
            """The same with a form."""
            status, body = prom.query(form.get("query", query), ranged=ranged, owner=owner)
            return JSONResponse(body, status_code=status)

    add("query", ranged=False)
    add("query_range", ranged=True)
    return app
