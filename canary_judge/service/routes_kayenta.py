"""/kayenta: Kayenta's own addresses. Account parameters are accepted and ignored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from canary_judge.service.http import FREE, REFUSED, SmallBody
from canary_judge.service.kayenta import Facade
from canary_judge.service.standalone import Standalone

__all__ = ["routes_of_kayenta"]

Parent = Annotated[str, Query(alias="parentPipelineExecutionId", max_length=200)]
Application = Annotated[str, Query(max_length=200)]


def routes_of_kayenta(facade: Facade, standalone: Standalone) -> APIRouter:
    """All of them."""
    app = APIRouter(prefix="/kayenta")
    for part in (_routes_of_configs(facade), _routes_of_windows(facade), _routes_of_standalone(standalone)):
        app.include_router(part)
    return app


def _routes_of_configs(facade: Facade) -> APIRouter:
    """Canary configs, judges, accounts."""
    app = APIRouter()
    configs = facade.configs

    @app.get("/canaryConfig", responses=REFUSED)
    def listed(application: str | None = None) -> JSONResponse:
        """All canary configs."""
        return JSONResponse(configs.listed(application))

    @app.post("/canaryConfig", openapi_extra=FREE, responses=REFUSED)
    def store(body: SmallBody) -> JSONResponse:
        """Store a canary config."""
        return JSONResponse({"canaryConfigId": configs.put(body)})

    @app.get("/canaryConfig/{identity}", responses=REFUSED)
    def read(identity: str) -> JSONResponse:
        """One canary config."""
        return JSONResponse(configs.document(identity))

    @app.put("/canaryConfig/{identity}", openapi_extra=FREE, responses=REFUSED)
    def replace(identity: str, body: SmallBody) -> JSONResponse:
        """Replace a canary config."""
        return JSONResponse({"canaryConfigId": configs.put(body, identity=identity)})

    @app.delete("/canaryConfig/{identity}", status_code=204, responses=REFUSED)
    def drop(identity: str) -> Response:
        """Forget a canary config."""
        configs.drop(identity)
        return Response(status_code=204)

    @app.get("/judges")
    def judges() -> JSONResponse:
        """Both judges."""
        return JSONResponse(facade.judges())

    @app.get("/credentials")
    def credentials() -> JSONResponse:
        """One account, which is accepted and ignored everywhere."""
        return JSONResponse(facade.credentials())

    return app


def _routes_of_windows(facade: Facade) -> APIRouter:
    """One window of a canary."""
    app = APIRouter()

    @app.get("/canary/executions", responses=REFUSED)
    def executions(
        application: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        page: Annotated[int, Query(ge=1, le=10_000)] = 1,
        statuses: str = "",
    ) -> JSONResponse:
        """The newest executions of an application."""
        wanted = [one.strip().lower() for one in statuses.split(",") if one.strip()]
        return JSONResponse(facade.executions(application=application, limit=limit, page=page, statuses=wanted))

    @app.post("/canary", openapi_extra=FREE, responses=REFUSED)
    def start_sent(body: SmallBody, application: Application = "", parent: Parent = "") -> JSONResponse:
        """Judge a window with the canary config of the body."""
        return JSONResponse(facade.start(None, body, application=application, parent=parent))

    @app.post("/canary/{identity}", openapi_extra=FREE, responses=REFUSED)
    def start(identity: str, body: SmallBody, application: Application = "", parent: Parent = "") -> JSONResponse:
        """Judge a window."""
        return JSONResponse(facade.start(identity, body, application=application, parent=parent))

    @app.get("/canary/{execution}", responses=REFUSED)
    def status(execution: str) -> JSONResponse:
        """What came of it."""
        return JSONResponse(facade.status(execution))

    @app.put("/pipelines/{execution}/cancel", responses=REFUSED)
    def cancel(execution: str) -> Response:
        """Stop it."""
        facade.cancel(execution)
        return Response(status_code=200)

    @app.get("/metricSetPairList/{execution}", responses=REFUSED)
    def pairs(execution: str) -> JSONResponse:
        """What was compared."""
        return JSONResponse(facade.pairs(execution))

    return app


def _routes_of_standalone(standalone: Standalone) -> APIRouter:
    """Several windows."""
    app = APIRouter()

    @app.post("/standalone_canary_analysis", openapi_extra=FREE, responses=REFUSED)
    def analyse_sent(body: SmallBody, application: Application = "", parent: Parent = "") -> JSONResponse:
        """Judge several windows with the canary config of the body."""
        return JSONResponse(standalone.start(None, body, application=application, parent=parent))

    @app.post("/standalone_canary_analysis/{identity}", openapi_extra=FREE, responses=REFUSED)
    def analyse(identity: str, body: SmallBody, application: Application = "", parent: Parent = "") -> JSONResponse:
        """Judge several windows."""
        return JSONResponse(standalone.start(identity, body, application=application, parent=parent))

    @app.get("/standalone_canary_analysis/{execution}", responses=REFUSED)
    def analysed(execution: str) -> JSONResponse:
        """What came of them so far."""
        return JSONResponse(standalone.status(execution))

    return app
