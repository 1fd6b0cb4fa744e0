"""FastAPI around `Runs` and the adapters: addresses, statuses and limits, and nothing else.

Bodies are read and checked by hand: a limit on their size and depth comes before any model, and what is wrong is told
in one line that names the field, the value and the remedy, with the status that the caller understands.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from canary_judge._version import __version__
from canary_judge.errors import CanaryJudgeError
from canary_judge.service.access import Token
from canary_judge.service.bodies import BadBody
from canary_judge.service.flagger import Flagger
from canary_judge.service.gatekeeper import Gatekeeper
from canary_judge.service.http import problem, status_of
from canary_judge.service.kayenta import Facade
from canary_judge.service.page import page_of, page_of_all
from canary_judge.service.prom import PromFacade
from canary_judge.service.routes_controllers import routes_of_flagger, routes_of_judge, routes_of_prom
from canary_judge.service.routes_kayenta import routes_of_kayenta
from canary_judge.service.routes_v1 import routes_of_v1
from canary_judge.service.runs import Runs
from canary_judge.service.standalone import Standalone
from canary_judge.service.telemetry import Telemetry

__all__ = ["make_app"]

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 1.0
_DAY = 86_400.0


def make_app(
    runs: Runs,
    *,
    tokens: Sequence[Token] = (),
    retention: float = 30 * _DAY,
    most_requests: int = 512,
) -> FastAPI:
    """The service as an ASGI application, which closes `runs` at its end.

    Args:
        runs: What it serves.
        tokens: Who may call; anybody where there are none.
        retention: Seconds after which runs that nobody asks of are forgotten.
        most_requests: Requests that are taken at once.
    """
    flagger, prom, facade = Flagger(runs), PromFacade(runs), Facade(runs)
    standalone, telemetry = Standalone(runs, facade), Telemetry(runs)
    stop = threading.Event()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = most_requests
        ticker = threading.Thread(target=_tick, args=(runs, standalone, stop, retention), name="ticker", daemon=True)
        ticker.start()
        yield
        stop.set()
        await anyio.to_thread.run_sync(_close, ticker, facade, flagger, runs)

    app = FastAPI(
        title="canary_judge",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redirect_slashes=False,
        redoc_url=None,
        description="One question, one JSON answer: may the canary advance?",
        responses={400: {"description": "What is wrong, and the remedy."}, 401: {"description": "No token."}},
    )
    app.state.runs = runs
    _answer_errors(app)
    _add_operations(app, runs, telemetry)
    for routes in (
        routes_of_v1(runs),
        routes_of_flagger(flagger),
        routes_of_kayenta(facade, standalone),
        routes_of_judge(runs),
        routes_of_prom(prom),
    ):
        app.include_router(routes)
    app.add_middleware(Gatekeeper, tokens=tokens, most_requests=most_requests)
    return app


def _tick(runs: Runs, standalone: Standalone, stop: threading.Event, retention: float) -> None:
    """Look at what is watched, go on with what takes hours, forget what is old."""
    swept = 0.0
    while not stop.wait(_TICK_SECONDS):
        _guarded(runs.tick)
        _guarded(standalone.tick)
        if time.monotonic() - swept > _DAY / 24:
            swept = time.monotonic()
            _guarded(lambda: runs.store.drop(runs.now().timestamp() - retention))


def _guarded(work: Callable[[], object]) -> None:
    try:
        work()
    except CanaryJudgeError as error:
        _LOG.warning("%s", error)
    except Exception:  # noqa: BLE001  (the next tick may work)
        _LOG.exception("a bug in the ticker")


def _close(ticker: threading.Thread, facade: Facade, flagger: Flagger, runs: Runs) -> None:
    ticker.join()
    facade.close()
    flagger.close()
    runs.close()


# --- errors ---------------------------------------------------------------------------------------------------------


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(CanaryJudgeError)
    async def ours(request: Request, error: CanaryJudgeError) -> JSONResponse:
        status = status_of(error)
        if status == 503 and request.url.path.startswith("/judge"):
            status = 429  # Kayenta's client knows no other answer of a judge that it may ask again
        return problem(status, str(error), {"Retry-After": "5"} if status in (429, 503) else None)

    @app.exception_handler(BadBody)
    async def body(_: Request, error: BadBody) -> JSONResponse:
        return problem(error.status, str(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return problem(400, f"{where}: {first['msg']}")


def _add_operations(app: FastAPI, runs: Runs, telemetry: Telemetry) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_class=PlainTextResponse)
    def alive() -> str:
        """The process answers."""
        return "ok\n"

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "Why it is not ready."}})
    def ready() -> Response:
        """Database and configs can be read."""
        try:
            runs.store.ping()
            runs.configs.names()
        except CanaryJudgeError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)
        return PlainTextResponse("ok\n")

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """In Prometheus' text form."""
        return Response(telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/runs", response_class=HTMLResponse)
    def all_pages() -> Response:
        """The newest runs, for people."""
        return _page(page_of_all(runs.store.listed(limit=200)))

    @app.get("/runs/{run}", response_class=HTMLResponse, responses={404: {"description": "There is none."}})
    def page(run: str) -> Response:
        """The page of a run, for people."""
        answer = runs.get(run)
        return _page(page_of(answer, runs.store.looks_of(answer.run.id, limit=20_000)))


def _page(text: str) -> Response:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(text, headers=headers)
