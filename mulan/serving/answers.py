"""What the service returns, as the API answers it: recordings, hits, the collection, and faults with their statuses."""

from typing import Any
from urllib.parse import quote

from mulan.config.errors import MulanError
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.search.errors import UnknownRecording, UnusableQuery
from mulan.search.index import Found
from mulan.search.rows import IndexedRow
from mulan.serving.audio import UnavailableAudio, UnsatisfiableRange
from mulan.serving.schema import Collection, CollectionMap, Hit, Hits, ListedRecording
from mulan.serving.service import LOGGER, Answer, Opened
from mulan.serving.uploads import UploadRefused
from mulan.storage.errors import StorageError

_STATUSES: tuple[tuple[type[MulanError], int], ...] = (
    (UnknownRecording, 404),
    (UnavailableAudio, 404),
    (UnsatisfiableRange, 416),
    (UnusableQuery, 422),
    (EmbeddingInputError, 422),
)
"""HTTP statuses of errors; any other one, such as that of a storage that fails, is 503: it may pass."""


def status_of(error: MulanError) -> int:
    """Returns the HTTP status of an error."""
    if isinstance(error, UploadRefused):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 503)


def headers_of_status(status: int) -> dict[str, str]:
    """Returns the headers that tell a client when to try again."""
    return {"Retry-After": "5"} if status == 503 else {}


def detail_of(error: MulanError) -> str:
    """Returns what a client is told of an error; where the storage has failed stands in the log of the server."""
    if isinstance(error, StorageError):
        LOGGER.warning("%s", error)
        return "the index cannot be read at the moment; the log of the server says why"
    return str(error)


def recording_of(row: IndexedRow) -> ListedRecording:
    """Returns a recording of the index as the API answers it."""
    return ListedRecording(**_known(row))


def hits_of(answer: Answer) -> Hits:
    """Returns the recordings that a search has found as the API answers them."""
    return Hits(hits=[_hit(found) for found in answer.found])


def _hit(found: Found) -> Hit:
    return Hit(**_known(found.row), score=found.score, start_s=found.start_s)


def _known(row: IndexedRow) -> dict[str, Any]:
    return {
        "recording_id": row.recording_id,
        "title": row.title or row.recording_id,
        "artist": row.artist,
        "duration_s": row.duration_s,
        "tags": list(row.tags),
        "waveform": list(row.waveform),
        "audio": f"/audio/{quote(row.recording_id, safe='')}",
        "offset_s": row.start_s,
    }


def collection_of(opened: Opened) -> Collection:
    """Returns what is said of the collection."""
    overview, model = opened.overview, opened.index.manifest.model
    return Collection(
        recordings=opened.index.recordings,
        windows=overview.windows,
        model=model.uri,
        model_sha256=model.sha256,
        tags=list(overview.tags),
        examples=list(overview.examples),
    )


def map_of(opened: Opened) -> CollectionMap:
    """Returns the map of the collection."""
    return CollectionMap(category=opened.overview.map_category, points=list(opened.overview.map_points))
