"""Examination of many tars at once: what is made of each recording in them, or what is wrong with it."""

import os
import posixpath
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from mulan.data.corpus.scanning import ScannedSample, scan
from mulan.data.errors import BadRecording
from mulan.data.text import is_unicode
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError, affects_all_files
from mulan.storage.ranged_file import RangedFile

_CONCURRENT_SHARDS = 16
"""Number of shards of a remote storage that are scanned at once, since each waits for its requests."""

T = TypeVar("T")

Use = Callable[[str, RangedFile, ScannedSample], tuple[str, T]]
"""Returns the id of a recording, and what is made of it. The arguments are the URI of the tar, the tar, and the
recording. It raises a BadRecording if that cannot be used."""


class Examined(NamedTuple, Generic[T]):
    """A recording of a tar, or what is wrong with it or with the whole tar."""

    shard_uri: str
    """Absolute path or URI of the tar."""
    name: str
    """Id of the recording, or its key for an error; for an error of a whole tar, its URI."""
    outcome: T | BadRecording
    """What was made of the recording, or why nothing was."""


def examine_shards(
    shard_uris: Sequence[str | os.PathLike[str]], use: Use[T], *, keys_restart: bool = False
) -> Iterator[Examined[T]]:
    """Yields the recordings of tars, in the order of the tars and of their first files.

    Args:
        shard_uris: Paths and URIs of uncompressed tars.
        use: Function that is called with each recording, in several threads at once.
        keys_restart: Whether different tars use the same keys; ids then begin with the name of the tar.

    Raises:
        StorageError: The storage kept failing, or no tar can be read.
    """
    uris = [filesystem.absolute(uri) for uri in shard_uris]
    prefixes = _prefixes(uris) if keys_restart else [""] * len(uris)
    calls = [partial(_examine, uri, prefix, use) for uri, prefix in zip(uris, prefixes, strict=True)]
    shard_of: dict[str, str] = {}
    is_local = all(map(filesystem.is_local, uris))
    for outcomes in (call() for call in calls) if is_local else _in_order(calls):
        for examined in outcomes:
            if isinstance(examined.outcome, BadRecording):
                yield examined
                continue
            repetition = _repetition(examined.name, examined.shard_uri, shard_of, keys_restart)
            yield examined._replace(outcome=repetition) if repetition else examined


def _in_order(calls: Sequence[Callable[[], Iterator[Examined[T]]]]) -> Iterator[list[Examined[T]]]:
    """Yields the results of calls in order, and begins only few of them before their result is needed."""
    pending: deque[Future[list[Examined[T]]]] = deque()
    with ThreadPoolExecutor(_CONCURRENT_SHARDS) as pool:
        try:
            for call in calls:
                pending.append(pool.submit(_all_of, call))
                if len(pending) > _CONCURRENT_SHARDS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _all_of(call: Callable[[], Iterator[Examined[T]]]) -> list[Examined[T]]:
    return list(call())


def _examine(shard_uri: str, prefix: str, use: Use[T]) -> Iterator[Examined[T]]:
    is_empty = True
    try:
        with RangedFile(shard_uri) as file:
            for scanned in scan(file):
                is_empty = False
                try:
                    recording_id, made = use(shard_uri, file, scanned)
                    recording_id = _unicode(prefix + recording_id)
                except BadRecording as error:
                    yield Examined(shard_uri, scanned.sample.key, error)
                    continue
                yield Examined(shard_uri, recording_id, made)
        if is_empty:
            raise BadRecording("no recordings", "no member has a name and an extension")
    except BadRecording as error:
        yield Examined(shard_uri, shard_uri, error)
    except (OSError, StoragePermanentError) as error:
        if error.__cause__ is not None and affects_all_files(error.__cause__):
            raise
        yield Examined(shard_uri, shard_uri, BadRecording("unreadable shard", f"cannot be read: {error}"))


def _unicode(recording_id: str) -> str:
    if not is_unicode(recording_id):
        raise BadRecording("name not Unicode", f"its key is {recording_id!r}; rename the members")
    return recording_id


def _repetition(recording_id: str, shard_uri: str, shard_of: dict[str, str], keys_restart: bool) -> BadRecording | None:
    """Returns what is wrong with an id that occurs again, and notes one that does not."""
    other = shard_of.get(recording_id)
    if other is None:
        shard_of[recording_id] = shard_uri
        return None
    if other == shard_uri:
        cause = "its members have the same names as others, another recording has its id, or the shard is listed twice"
        return BadRecording("duplicate id", cause)
    remedy = "" if keys_restart else "; if keys restart in every shard, pass keys_restart=True"
    return BadRecording("duplicate id", f"{recording_id} is also in {other}{remedy}")


def _prefixes(shard_uris: Sequence[str]) -> list[str]:
    """Returns a prefix for the keys of each shard that makes them unique."""
    paths = [uri.removesuffix(".tar").split("/") for uri in shard_uris]
    shared = len(posixpath.commonprefix([path[:-1] for path in paths]))
    return ["/".join([*path[shared:], ""]) for path in paths]
