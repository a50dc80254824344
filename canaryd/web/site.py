"""The application: pages, the JSON API, and what stands around both."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.staticfiles import StaticFiles

from canaryd import __version__
from canaryd.errors import CanarydError
from canaryd.web import api
from canaryd.web.coming import Hall
from canaryd.web.faults import Fault, fault_of
from canaryd.web.guard import Guard
from canaryd.web.pages import Pages, environment, router
from canaryd.web.reporting import Neighbours, Reports, no_neighbours
from canaryd.web.sessions import Session

log = structlog.get_logger()


def site(hall: Hall, *, neighbours: Neighbours = no_neighbours, now: Callable[[], float] = time.time) -> FastAPI:
    """The application for who comes in through ``hall``; ``neighbours`` gives the links and traces of a run."""
    # The pages that FastAPI makes of an API load scripts from elsewhere, and a closed network has none.
    made = FastAPI(
        title="canaryd", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        summary="Canary analysis and traffic shifting for Istio: what the release manager's page shows and asks.",
        description=api.ABOUT,
    )  # fmt: skip
    pages = Pages(hall, environment(), Reports(neighbours), now)
    made.state.pages = pages
    made.include_router(router)
    made.include_router(api.router)
    static = resources.files("canaryd.web") / "static"
    made.mount("/static", StaticFiles(directory=str(static)), name="static")

    @made.middleware("http")
    async def keep(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        """A session that began in this request is kept by the browser, as a number."""
        answer = await call(request)
        begun: Session | None = getattr(request.state, "begun", None)
        if begun is not None:
            answer.set_cookie(
                hall.cookie, begun.id, path="/", secure=hall.addresses.secure, httponly=True, samesite="strict"
            )  # fmt: skip
        return answer

    @made.exception_handler(CanarydError)
    def told(request: Request, error: CanarydError) -> Response:
        fault = fault_of(error)
        if _of_api(request):
            return api.problem(fault)
        return pages.at_the_door(request, fault) if fault.status == 401 else pages.fault(request, fault)

    @made.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        fault = Fault(422, "Not understood", said[:2000])
        return api.problem(fault) if _of_api(request) else pages.fault(request, fault)

    @made.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> Response:
        fault = Fault(error.status_code, "Not there" if error.status_code == 404 else "Not possible", str(error.detail))
        answer = api.problem(fault) if _of_api(request) else pages.fault(request, fault)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed(request))
        return answer

    @made.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        log.error("page.failed", path=request.url.path, error=f"{type(error).__name__}: {error}", exc_info=error)
        fault = Fault(500, "Something is wrong in canaryd", "The page's log has what; the runs go on without it.")
        return api.problem(fault) if _of_api(request) else pages.fault(request, fault)

    made.add_middleware(Guard, addresses=hall.addresses)
    return made


def _allowed(request: Request) -> list[str]:
    """The methods that there are at a path; a route knows of its own one only."""
    scope: dict[str, Any] = dict(request.scope)
    found = {
        method
        for method in ("GET", "POST")
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in request.app.routes)
    }
    return sorted(found)


def _of_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
