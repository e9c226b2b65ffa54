"""The routes of the page, which works without scripts, and of its files."""

from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from mulan.config.errors import MulanError
from mulan.serving.answers import collection_of, hits_of, status_of
from mulan.serving.api import service_of, with_sound
from mulan.serving.api_page import render_api_page
from mulan.serving.page import Query as ShownQuery
from mulan.serving.page import render_page, render_results
from mulan.serving.parameters import SearchParameters
from mulan.serving.schema import Collection, Fault, Hits
from mulan.serving.service import NotReady, SearchRequest

Parameters = Annotated[SearchParameters, Query()]

_MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = {
    entry.name: (entry.read_bytes(), _MEDIA_TYPES[entry.name.rpartition(".")[2]])
    for entry in (
        *resources.files("mulan.serving").joinpath("static").iterdir(),
        resources.files("mulan.pages").joinpath("style.css"),
    )
}
"""Content and media type of the files of the page by name. They are read once, so that no request reaches the disk."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request, parameters: Parameters) -> Response:
    """Returns the page, with the results of a search if one is asked for."""
    shown, outcome, status = _shown(parameters), None, 200
    try:
        collection = collection_of(service_of(request).opened)
    except NotReady as error:
        collection, outcome, status = _NOTHING, Fault(detail=str(error)), status_of(error)
    if outcome is None and not parameters.is_empty:
        outcome, status = await _outcome(request, parameters, None)
    return HTMLResponse(render_page(collection, shown, outcome), status)


@router.get("/results")
async def results(request: Request, parameters: Parameters) -> Response:
    """Returns the results of a search by words as a part of the page."""
    return await _results(request, parameters, has_sound=False)


@router.post("/results")
async def results_by_sound(request: Request, parameters: Parameters) -> Response:
    """Returns the results of a search by sound as a part of the page."""
    return await _results(request, parameters, has_sound=True)


@router.get("/docs")
async def documentation(request: Request) -> Response:
    """Returns the documentation of the API."""
    return HTMLResponse(render_api_page(request.app.openapi()))


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    """Returns a file of the page."""
    content, media_type = _FILES.get(name, (b"", ""))
    if not media_type:
        return Response(status_code=404)
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


async def _results(request: Request, parameters: SearchParameters, *, has_sound: bool) -> Response:
    shown = _shown(parameters, sound="the sound" if has_sound else "")
    try:
        collection = collection_of(service_of(request).opened)
        wanted = await with_sound(request, parameters) if has_sound else None
    except MulanError as error:
        return HTMLResponse(render_results(_NOTHING, shown, Fault(detail=str(error))), status_of(error))
    outcome, status = await _outcome(request, parameters, wanted)
    return HTMLResponse(render_results(collection, shown, outcome), status)


async def _outcome(
    request: Request, parameters: SearchParameters, with_sound: SearchRequest | None
) -> tuple[Hits | Fault, int]:
    """Returns what is shown of a search, and the HTTP status."""
    try:
        return hits_of(await service_of(request).search(with_sound or parameters.request())), 200
    except MulanError as error:
        return Fault(detail=str(error)), status_of(error)


def _shown(parameters: SearchParameters, *, sound: str = "") -> ShownQuery:
    like = next(iter(parameters.like), "")
    return ShownQuery(parameters.texts, parameters.unwanted_texts, like, tuple(parameters.tag), sound)


_NOTHING = Collection(recordings=0, windows=0, model="", model_sha256="", tags=[], examples=[])
"""What is shown of a collection that cannot be opened."""

PATHS = frozenset({"/", "/results"})
"""Paths that answer with HTML, also if a request is refused."""


def refusal(request: Request, detail: str) -> str:
    """Returns the page, or the part of it with the results, for a request that is refused."""
    render = render_page if request.url.path == "/" else render_results
    return render(_NOTHING, ShownQuery(), Fault(detail=detail))
