"""/v1: runs, looks, finished windows, configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from canary_judge.service.access import ALL
from canary_judge.service.answers import Answer, key_of
from canary_judge.service.bodies import read_as
from canary_judge.service.given import bounded
from canary_judge.service.http import REFUSED, Owner, Rights, SmallBody, body_of
from canary_judge.service.runs import Runs
from canary_judge.service.store import RUNNING, Run

__all__ = ["routes_of_v1"]

Labels = Annotated[dict[str, str] | None, Field(description="Labels of this version, for ${label} in queries.")]


class _Asked(BaseModel):
    """A config of the folder, and two versions. Numbers and durations may be texts, as templates write them."""

    model_config = ConfigDict(extra="forbid", title="Asked")

    config: str = Field(description="The name of a config in the service's folder.")
    canary: Labels = None
    baseline: Labels = None


class _LookAsked(_Asked):
    """Find the run or begin it, look, and tell how it stands."""

    model_config = ConfigDict(extra="forbid", title="LookAsked")

    start: str | None = Field(default=None, description="When the canary began to serve (ISO 8601); now by default.")
    horizon: str | None = Field(default=None, description="Planned length, as 45m.")
    weight: float | str | None = Field(default=None, description="Percent of the traffic that the canary gets.")
    key: str | None = Field(default=None, description="By which the run is found again.")
    restart: bool | str = Field(default=False, description="Begin another run of this key.")


class _PreflightAsked(_Asked):
    """See whether the queries can work at all."""

    model_config = ConfigDict(extra="forbid", title="PreflightAsked")

    horizon: str | None = None
    weight: float | str | None = None


class _WindowAsked(_Asked):
    """Judge one finished window, without any state."""

    model_config = ConfigDict(extra="forbid", title="WindowAsked")

    start: str
    end: str


def routes_of_v1(runs: Runs) -> APIRouter:
    """Runs, looks, finished windows."""
    app = APIRouter()

    @app.post("/v1/looks", responses=REFUSED, openapi_extra=body_of(_LookAsked))
    def look(owner: Owner, rights: Rights, body: SmallBody) -> Response:
        """Find the run or begin it, take in what is new, and tell how it stands; asking again gives the same."""
        asked = read_as(_LookAsked, body)
        _refuse_others(runs, asked, owner, rights)
        answer = runs.look(**asked, owner=owner)
        summary = json.dumps(answer.summary(), ensure_ascii=False)
        # the judgement is JSON as it is kept
        text = f'{{"summary": {summary}, "judgement": {answer.run.judgement or "null"}}}'
        return Response(text, media_type="application/json")

    @app.post("/v1/preflight", responses=REFUSED, openapi_extra=body_of(_PreflightAsked))
    def preflight(body: SmallBody) -> JSONResponse:
        """Whether the queries can work at all, and what looks wrong."""
        return JSONResponse(runs.preflight(**read_as(_PreflightAsked, body)))

    @app.post("/v1/judge", responses=REFUSED, openapi_extra=body_of(_WindowAsked))
    def judge(body: SmallBody) -> Response:
        """Judge one finished window at one planned look; to look again and again ask /v1/looks."""
        judgement = runs.judge(**read_as(_WindowAsked, body))
        return Response(judgement.to_json(), media_type="application/json")

    @app.post("/v1/runs", status_code=201, responses=REFUSED, openapi_extra=body_of(_LookAsked))
    def begin(owner: Owner, rights: Rights, body: SmallBody) -> JSONResponse:
        """Have the service look every interval, until the run is decided."""
        asked = read_as(_LookAsked, body)
        _refuse_others(runs, asked, owner, rights)
        weight = asked.pop("weight", None)
        run = runs.open(**asked, watched=True, owner=owner)
        answer = runs.look_at(run, weight=weight)
        return JSONResponse(_told(runs, answer), status_code=201)

    @app.get("/v1/runs", responses=REFUSED)
    def listed(
        state: Annotated[str | None, Query(pattern="^(running|passed|failed|undecided|cancelled|errored)$")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> JSONResponse:
        """The newest runs."""
        return JSONResponse([_short(runs, run) for run in runs.store.listed(state=state, limit=limit)])

    @app.get("/v1/runs/{run}", responses=REFUSED)
    def one(run: str) -> JSONResponse:
        """How a run stands, without a look."""
        return JSONResponse(_told(runs, runs.get(run)))

    @app.delete("/v1/runs/{run}", responses=REFUSED)
    def cancel(run: str, owner: Owner, rights: Rights) -> JSONResponse:
        """End a run that is running; with a token for looking only one's own."""
        if rights not in ("", ALL) and runs.get(run).run.owner != owner:
            raise HTTPException(403, "this run was begun with another token; cancel it with that one, or one for all")
        return JSONResponse(_told(runs, runs.cancel(run)))

    @app.get("/v1/configs", responses=REFUSED)
    def configs() -> JSONResponse:
        """The configs that can be named, and what is wrong with them."""
        return JSONResponse(runs.configs.listing())

    return app


def _refuse_others(runs: Runs, asked: Mapping[str, Any], owner: str, rights: str) -> None:
    """With a token for looking only one's own run is begun anew while it is running."""
    if not asked.get("restart") or rights in ("", ALL):
        return
    sides = {side: asked.get(side) or {} for side in ("baseline", "canary")}
    found = runs.store.newest(bounded(asked.get("key") or key_of(asked["config"], **sides)))
    if found is not None and found.state == RUNNING and found.owner != owner:
        raise HTTPException(403, "this run was begun with another token; begin it anew with that one, or one for all")


def _judgement(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _short(runs: Runs, run: Run) -> dict[str, Any]:
    answer = runs.answer(run)
    plain = {name: getattr(run, name) for name in ("id", "key", "attempt", "start", "baseline", "canary", "weight")}
    more = {"config": run.config_name, "config_hash": run.config_hash, "horizon_seconds": run.horizon}
    status = f"{runs.url}/v1/runs/{run.id}"
    return {**plain, **more, "statusUrl": status, "watched": run.watched, **answer.summary()}


def _told(runs: Runs, answer: Answer) -> dict[str, Any]:
    return {**_short(runs, answer.run), **answer.summary(), "judgement": _judgement(answer.run.judgement)}
