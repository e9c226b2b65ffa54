"""The web application: the API, the page, and how faults are answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from mulan.config.errors import MulanError
from mulan.serving import api, page_routes
from mulan.serving.answers import detail_of, headers_of_status, status_of
from mulan.serving.audio import UnsatisfiableRange
from mulan.serving.security import Application, Protected
from mulan.serving.service import SearchService
from mulan.serving.uploads import UploadDecoder

_MAX_FAULTS = 5
"""Maximum number of invalid parameters that an answer names."""


def create_app(service: SearchService) -> Application:
    """Makes the application of a service, which opens its index and model when the application starts."""
    application = FastAPI(
        title="mulan search",
        summary="Finds music by words and by sound.",
        version="1",
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        lifespan=_lifespan,
    )
    application.state.service = service
    application.state.uploads = UploadDecoder()
    application.include_router(api.router)
    application.include_router(page_routes.router)
    application.add_exception_handler(MulanError, _faulty)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _refused)
    return Protected(application, token=service.settings.token, hosts=service.settings.hosts)


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Keeps the index fresh, after it and the model have been opened."""
    service: SearchService = application.state.service
    await asyncio.to_thread(service.refresh)
    task = asyncio.create_task(service.keep_fresh())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _faulty(request: Request, error: Exception) -> Response:
    assert isinstance(error, MulanError)
    status = status_of(error)
    response = JSONResponse({"detail": detail_of(error)}, status, headers_of_status(status))
    if isinstance(error, UnsatisfiableRange):
        response.headers["Content-Range"] = f"bytes */{error.length}"
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    """Answers a request with invalid parameters in one sentence, on the page as a page."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    detail = "; ".join(faults[:_MAX_FAULTS]) + more
    if request.url.path in page_routes.PATHS:
        return HTMLResponse(page_routes.refusal(request, detail), 422)
    return JSONResponse({"detail": detail}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = JSONResponse({"detail": str(error.detail)}, error.status_code, headers=error.headers)
    if error.status_code == 405:  # Starlette names the methods of the first route of several with this path
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """Returns the methods that the path of a request has."""
    known = (*api.router.routes, *page_routes.router.routes, *request.app.routes)
    routes = [each for each in known if isinstance(each, Route) and each.matches(request.scope)[0] != Match.NONE]
    return {method for route in routes for method in route.methods or ()}
