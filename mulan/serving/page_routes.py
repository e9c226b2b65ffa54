"""The routes of the page, which works without scripts, and of its files."""

from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import ConfigDict, Field, field_validator

from mulan.config.errors import MulanError
from mulan.serving.answers import collection_of, detail_of, headers_of_status, hits_of, status_of
from mulan.serving.api import service_of, with_sound
from mulan.serving.api_page import render_api_page
from mulan.serving.page import ShownQuery, render_page, render_results
from mulan.serving.parameters import MAX_NAME, MAX_TAGS, MAX_TEXTS, SearchParameters
from mulan.serving.schema import Collection, Fault, Hits


class PageParameters(SearchParameters):
    """What is searched for on the page, whose address may have other parameters too."""

    model_config = ConfigDict(extra="ignore")

    sound: str = Field("", max_length=MAX_NAME)
    """Name of the file of the sound that is sent, for the heading."""

    @field_validator("like")
    @classmethod
    def _first(cls, ids: list[str]) -> list[str]:
        """Returns the first recording: the page shows one, and searches for no others than it shows."""
        return list(filter(str.strip, ids))[:1]


Parameters = Annotated[PageParameters, Query()]
Rendering = Callable[[Collection, ShownQuery, Hits | Fault | None], str]

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


@router.head("/")
@router.get("/")
async def page(request: Request, parameters: Parameters) -> Response:
    """Returns the page, with the results of a search if one is asked for."""
    return await _answered(request, parameters, render_page, has_sound=False)


@router.get("/results")
async def results(request: Request, parameters: Parameters) -> Response:
    """Returns the results of a search by words as a part of the page."""
    return await _answered(request, parameters, render_results, has_sound=False)


@router.post("/results")
async def results_by_sound(request: Request, parameters: Parameters) -> Response:
    """Returns the results of a search by sound as a part of the page."""
    return await _answered(request, parameters, render_results, has_sound=True)


@router.get("/docs")
async def documentation(request: Request) -> Response:
    """Returns the documentation of the API."""
    return HTMLResponse(render_api_page(request.app.openapi()))


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    """Returns a file of the page."""
    content, media_type = _FILES.get(name, (b"", ""))
    if not media_type:
        raise HTTPException(404)
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


async def _answered(request: Request, parameters: PageParameters, render: Rendering, *, has_sound: bool) -> Response:
    collection, status = _NOTHING, 200
    outcome: Hits | Fault | None = None
    try:
        collection = collection_of(service_of(request).opened)
        if has_sound or parameters.asks:
            outcome = await _hits(request, parameters, has_sound=has_sound)
    except MulanError as error:
        outcome, status = Fault(detail=detail_of(error)), status_of(error)
    content = render(collection, await _shown(request, parameters, has_sound=has_sound), outcome)
    return HTMLResponse(content, status, headers_of_status(status))


async def _hits(request: Request, parameters: PageParameters, *, has_sound: bool) -> Hits:
    wanted = await with_sound(request, parameters) if has_sound else parameters.request()
    return hits_of(await service_of(request).search(wanted))


async def _shown(request: Request, parameters: PageParameters, *, has_sound: bool) -> ShownQuery:
    """Returns what the page says that is searched for."""
    like, title = next(iter(parameters.like), ""), ""
    if like:
        with suppress(MulanError):  # it is unknown, which the outcome says
            title = (await service_of(request).recording(like)).title
    return ShownQuery(
        texts=parameters.texts,
        unwanted=parameters.unwanted_texts,
        like=like,
        like_title=title,
        tags=tuple(parameters.tag),
        sound=parameters.sound if has_sound else "",
        unshown=parameters.unshown,
    )


_NOTHING = Collection(recordings=0, windows=0, model="", model_sha256="", tags=[], examples=[])
"""What is shown of a collection that cannot be opened."""

PATHS = frozenset({"/", "/results"})
"""Paths that answer with HTML, also if a request is refused."""


def refusal(request: Request, detail: str) -> str:
    """Returns the page, or the part of it with the results, for a request that is refused, with its texts to change."""
    render = render_page if request.url.path == "/" else render_results
    collection = _NOTHING
    with suppress(MulanError):  # the page says why the request was refused
        collection = collection_of(service_of(request).opened)
    given = request.query_params
    texts, unwanted = (tuple(filter(str.strip, given.getlist(name)[:MAX_TEXTS])) for name in ("q", "not"))
    tags = tuple(given.getlist("tag")[:MAX_TAGS])
    return render(collection, ShownQuery(texts=texts, unwanted=unwanted, tags=tags), Fault(detail=detail))
