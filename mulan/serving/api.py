"""The routes of the API, and that of audio files."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from mulan.serving.answers import collection_of, hits_of, map_of, recording_of
from mulan.serving.audio import ByteRange, media_type, read_audio
from mulan.serving.parameters import MAX_NAME, SearchParameters
from mulan.serving.schema import Collection, CollectionMap, Fault, Hits, ListedRecording
from mulan.serving.service import Answer, NotReady, SearchRequest, SearchService
from mulan.serving.settings import MAX_UPLOAD_BYTES
from mulan.serving.uploads import UploadDecoder, UploadRefused

Parameters = Annotated[SearchParameters, Query()]
RecordingId = Annotated[str, Path(min_length=1, max_length=MAX_NAME, description="Id of a recording.")]

_NOT_READY = {"description": "The index or the model cannot be used at the moment.", "model": Fault}
_UNUSABLE = {"description": "A parameter is invalid, or nothing is searched for.", "model": Fault}
_UNKNOWN = {"description": "The recording is not in the index.", "model": Fault}
_NEEDS_TOKEN = {"description": "The server needs a token.", "model": Fault}
_ALWAYS: dict[int | str, dict[str, Any]] = {401: _NEEDS_TOKEN, 422: _UNUSABLE, 503: _NOT_READY}
_SOUND = {
    "required": True,
    "description": f"An audio file of at most {MAX_UPLOAD_BYTES // 10**6} MB in any usual format.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}

router = APIRouter(responses=_ALWAYS)


def service_of(request: Request) -> SearchService:
    """Returns the service of the application that received a request."""
    service: SearchService = request.app.state.service
    return service


@router.get("/api/search", summary="Search by words", response_model=Hits, responses={404: _UNKNOWN})
async def search_by_words(request: Request, parameters: Parameters) -> Response:
    """Returns the recordings that are most similar to texts and to other recordings of the collection."""
    return await _answered(request, parameters.request())


@router.post(
    "/api/search",
    summary="Search by sound",
    response_model=Hits,
    responses={
        404: _UNKNOWN,
        408: {"description": "The sound did not arrive in time.", "model": Fault},
        413: {"description": "The sound is too large.", "model": Fault},
    },
    openapi_extra={"requestBody": _SOUND},
)
async def search_by_sound(request: Request, parameters: Parameters) -> Response:
    """Returns the recordings that are most similar to the sound in the body of the request, of which the first minute
    is used, and to the texts and recordings that are given too."""
    return await _answered(request, await with_sound(request, parameters))


@router.get("/api/recordings/{recording_id:path}", response_model=ListedRecording, responses={404: _UNKNOWN})
async def recording(request: Request, recording_id: RecordingId) -> Response:
    """Returns a recording of the collection."""
    return _json(recording_of(await service_of(request).recording(recording_id)))


@router.get("/api/collection", response_model=Collection)
async def collection(request: Request) -> Response:
    """Returns what the collection consists of."""
    return _json(collection_of(service_of(request).opened))


@router.get("/api/map", response_model=CollectionMap)
async def collection_map(request: Request) -> Response:
    """Returns a map of the collection."""
    return _json(map_of(service_of(request).opened))


@router.head("/audio/{recording_id:path}", include_in_schema=False)
@router.get(
    "/audio/{recording_id:path}",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The audio file.", "content": {"audio/*": {}, "application/octet-stream": {}}},
        206: {"description": "The range of its bytes.", "content": {"audio/*": {}, "application/octet-stream": {}}},
        404: {"description": "The recording is not in the index, or its audio is missing.", "model": Fault},
        416: {"description": "The range begins after the end of the file.", "model": Fault},
    },
)
async def audio(
    request: Request, recording_id: RecordingId, range_header: Annotated[str | None, Header(alias="Range")] = None
) -> Response:
    """Streams the audio file of a recording, or a range of its bytes."""
    row = await service_of(request).recording(recording_id)
    # without validators, none that a client states is that of the file (RFC 9110 §13.1.5)
    wanted = ByteRange.parsed(None if "if-range" in request.headers else range_header, row.length)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(wanted.end - wanted.start),
        "Cache-Control": "private, max-age=3600",
    }
    if wanted.is_part:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.end - 1}/{row.length}"
    status, kind = 206 if wanted.is_part else 200, media_type(row.extension)
    if request.method == "HEAD" or wanted.start == wanted.end:
        return Response(status_code=status, headers=headers, media_type=kind)
    chunks = read_audio(row, wanted)
    first = await anext(chunks)  # before the answer begins, so that its status tells of a missing file
    return StreamingResponse(_following(first, chunks), status, headers, kind)


@router.get("/healthz", response_model=dict[str, bool])
async def health(request: Request) -> dict[str, bool]:
    """Returns whether searches are answered."""
    try:
        _ = service_of(request).opened
    except NotReady as error:  # anybody may ask, and the reason names folders
        raise NotReady("searches are not answered at the moment; a search says why") from error
    return {"ready": True}


async def with_sound(request: Request, parameters: SearchParameters) -> SearchRequest:
    """Returns the request of a search by the sound in the body of an HTTP request.

    Raises:
        UploadRefused: The sound cannot be used.
        NotReady: There is no model.
        UnusableQuery: The parameters are invalid.
    """
    plain = parameters.request()
    model, decoder = service_of(request).opened.model, request.app.state.uploads
    assert isinstance(decoder, UploadDecoder)
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise UploadRefused("send the bytes of the file, as curl --data-binary @FILE does, and not a form", status=422)
    stated = request.headers.get("content-length", "")
    sound = await decoder.windows(
        request.stream(),
        int(stated) if stated.isdecimal() else None,
        sample_rate_hz=model.sample_rate_hz,
        window_samples=model.window_samples,
    )
    return plain.with_sound(sound)


async def _answered(request: Request, wanted: SearchRequest) -> Response:
    begun = time.perf_counter()
    answer = await service_of(request).search(wanted)
    response = _json(hits_of(answer))
    response.headers["Server-Timing"] = _timing(answer, time.perf_counter() - begun)
    return response


def _timing(answer: Answer, total_s: float) -> str:
    """Returns the times in milliseconds in the format of the header ``Server-Timing``."""
    times = {"model": answer.model_s, "search": answer.search_s, "total": total_s}
    return ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in times.items())


async def _following(first: bytes, chunks: Any) -> Any:
    yield first
    async for chunk in chunks:
        yield chunk


def _json(model: Any) -> Response:
    """Returns a response that has been validated once, when the model was made."""
    return Response(model.model_dump_json(), media_type="application/json")
