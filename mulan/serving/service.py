"""The service behind the API: an index and its model, opened once, and searches that are batched across requests."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mulan.config.errors import MulanError
from mulan.search.errors import OtherModel, UnusableQuery
from mulan.search.index import Found, SearchIndex
from mulan.search.manifest import IndexManifest
from mulan.search.model import QueryModel
from mulan.search.overview import Overview
from mulan.search.query import Filter, Query, combined
from mulan.search.rows import IndexedRow
from mulan.serving.batching import Batches
from mulan.serving.settings import ServerSettings

LOGGER = logging.getLogger("ray.serve")
CHECK_S = 10.0
"""Time in seconds between looks for another version of the index."""
MAX_EMBEDDED, MAX_FOUND = 16, 8
"""Maximum numbers of requests whose texts are embedded together, and that are searched for together: a search by more
would take longer for all of them, and saves little."""


class NotReady(MulanError):
    """The index or the model cannot be used at the moment; the message says why."""

    exit_code = 1


@dataclass(frozen=True, eq=False)
class SearchRequest:
    """What a client searches for: the recordings that are similar to all that is wanted."""

    texts: tuple[str, ...] = ()
    """Texts that describe the music."""
    unwanted: tuple[str, ...] = ()
    """Texts that do not."""
    like: tuple[str, ...] = ()
    """Ids of recordings that it sounds like, of which the first one is not returned."""
    sound: np.ndarray | None = None
    """Windows of a sound that it sounds like, int16 [n, window_samples]."""
    hits: int = 10
    """Number of recordings to return."""
    filter: Filter = field(default_factory=Filter)
    """The recordings that are considered."""
    by_window: bool = False
    """See :attr:`mulan.search.query.Query.by_window`."""

    def with_sound(self, windows: np.ndarray) -> "SearchRequest":
        """Returns the request with a sound, int16 [n, window_samples]."""
        return replace(self, sound=windows)


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a request."""

    found: list[Found]
    """The recordings, the best one first."""
    model_s: float
    """Time in seconds until texts and sounds were embedded, together with those of other requests."""
    search_s: float
    """Time in seconds after that until the recordings were found."""


@dataclass(frozen=True, eq=False)
class Opened:
    """An index with its overview and its model."""

    index: SearchIndex
    overview: Overview
    model: QueryModel


class SearchService:
    """Answers requests. If the index or the model cannot be opened, it says why, and tries again later."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._opened: Opened | None = None
        self._fault = "the server is starting; try again in a few seconds"
        self._embedded = Batches(_embed, max_size=MAX_EMBEDDED)
        self._found = Batches(_find, max_size=MAX_FOUND)  # of other requests than those that are embedded meanwhile

    @property
    def opened(self) -> Opened:
        """What requests are answered from.

        Raises:
            NotReady: It could not be opened, or the index has become one of another model.
        """
        if self._opened is None or self._fault:
            raise NotReady(self._fault)
        return self._opened

    def refresh(self) -> None:
        """Opens the index and the model, or a newer version of the index; what is open stays so if that fails."""
        settings, opened = self.settings, self._opened
        try:
            if opened is not None:  # before the vectors are read, again and again, of an index of another model
                manifest = IndexManifest.read(settings.index_uri)
                manifest.check_model(opened.index.manifest.model.sha256, settings.model, settings.index_uri)
            index = SearchIndex.open(settings.index_uri, unless=opened.index if opened else None)
            if opened is not None and index is opened.index:
                if opened.overview.version != index.version:  # it is written after the index has changed
                    self._opened = replace(opened, overview=Overview.read(index.uri))
                self._fault = ""
                return
            device = "cuda" if settings.use_gpu else "cpu"
            model = (
                QueryModel.open(settings.model, index.manifest, index.uri, device=device)
                if opened is None
                else opened.model
            )
            self._opened, self._fault = Opened(index, Overview.read(index.uri), model), ""
        except MulanError as error:
            LOGGER.warning("%s", error)
            if opened is None or isinstance(error, OtherModel):  # what is open has vectors of an index that is gone
                self._fault = str(error)

    async def keep_fresh(self) -> None:
        """Looks for newer versions of the index until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # of a library, for a file that is just being replaced: the next look may be better
                LOGGER.exception("the index %s cannot be read", self.settings.index_uri)
            await asyncio.sleep(CHECK_S)

    async def search(self, request: SearchRequest) -> Answer:
        """Answers a request, together with those that arrive at the same time.

        Raises:
            NotReady: The index or the model cannot be used.
            UnknownRecording, UnusableQuery, EmbeddingInputError: The request cannot be answered.
            StorageError: The storage of the index failed.
        """
        opened, begun = self.opened, time.perf_counter()
        query = await self._query(opened, request)
        embedded = time.perf_counter()
        found = await self._found((opened.index, query))
        if isinstance(found, MulanError):
            raise found
        return Answer(found, embedded - begun, time.perf_counter() - embedded)

    async def recording(self, recording_id: str) -> IndexedRow:
        """Returns a recording of the index.

        Raises:
            UnknownRecording: It is not in the index.
            NotReady, StorageError: As in :meth:`search`.
        """
        return await asyncio.to_thread(self.opened.index.recording, recording_id)

    async def _query(self, opened: Opened, request: SearchRequest) -> Query:
        texts = (*request.texts, *request.unwanted)
        vectors = list(await self._embedded((opened.model, texts))) if texts else []
        wanted = vectors[: len(request.texts)]
        wanted += [(await self.recording(name)).vector for name in request.like]
        if request.sound is not None:
            wanted.append(await asyncio.to_thread(opened.model.of_windows, iter(request.sound)))
        unwanted = vectors[len(request.texts) :]
        if not (wanted or unwanted) and request.filter.is_empty:
            raise UnusableQuery("nothing to search for: give a text, a recording, a sound or a tag")
        return Query(
            combined(wanted, unwanted, dim=opened.index.manifest.model.dim),
            request.hits,
            request.filter,
            without=request.like[0] if request.like else "",
            by_window=request.by_window,
        )


def _embed(requests: Sequence[tuple[QueryModel, tuple[str, ...]]]) -> list[np.ndarray]:
    """Returns the vectors of the texts of each request, all of which one model embeds together."""
    model = requests[0][0]  # a service has one
    rows = model.of_texts([text for _, texts in requests for text in texts])
    return np.split(rows, np.cumsum([len(texts) for _, texts in requests])[:-1])


def _find(requests: Sequence[tuple[SearchIndex, Query]]) -> list[list[Found] | MulanError]:
    """Returns what each query finds, or why it finds nothing. Queries to one version of the index are one search."""
    outcomes: list[list[Found] | MulanError] = [[] for _ in requests]
    for index in dict.fromkeys(index for index, _ in requests):
        rows = [row for row, (own, _) in enumerate(requests) if own is index]
        try:
            found: Sequence[list[Found] | MulanError] = index.search([requests[row][1] for row in rows])
        except MulanError as error:
            found = [error] * len(rows)
        for row, outcome in zip(rows, found, strict=True):
            outcomes[row] = outcome
    return outcomes
