"""The recordings of a collection: those of a corpus, of a folder of audio files, or of a table of their locations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.scan import NamedSource, usable_recordings
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.registry import KINDS
from mulan.preparation.sources.table_rows import is_table
from mulan.storage import filesystem
from mulan.storage.listing import file_version, files_below

_NOMINAL_S = 240.0
"""Duration in seconds of a recording of which nothing tells it."""
_BYTES_PER_S = {"wav": 176_400, "wave": 176_400, "aif": 176_400, "aiff": 176_400, "au": 176_400, "flac": 90_000}
_COMPRESSED_BYTES_PER_S = 24_000
_REQUESTS = 16
"""Number of files whose versions are asked for at once."""

OnFound = Callable[[int, str], None]
"""Called with the number of recordings that have been found so far, and the name of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecording:
    """A recording that is to be embedded."""

    recording_id: str
    """Id, unique in the collection."""
    place: Location | AudioLocation
    """Where its tar members are, or its encoded audio."""
    version: str
    """What changes if the content of its file does, as far as a listing shows it; empty if nothing shows it."""
    tags: tuple[str, ...] = ()
    """Tags, ``category:text``."""
    title: str = ""
    """Title; empty if it is unknown, or is read with the audio."""
    artist: str = ""
    """Artist, as the title."""
    start_s: float | None = None
    """Start in seconds of the part of the audio that is the recording; None for the whole of it."""
    end_s: float | None = None
    """End in seconds of that part; None for the end of the audio."""
    duration_s: float = _NOMINAL_S
    """Duration in seconds, about."""
    position: int = 0
    """Number of the recording in its part."""


@dataclass(frozen=True)
class AudioCollection:
    """What is to be embedded."""

    name: str
    """``corpus=URI``, ``folder=URI`` or ``table=URI``."""
    recordings: Sequence[CollectionRecording]
    """The recordings in ascending order of their ids, at least one."""
    faults: Faults
    """What the source has left out."""


def open_collection(
    uri: str, config: PreparationConfig, *, on_found: OnFound = lambda found, source: None
) -> AudioCollection:
    """Finds the recordings of a collection. All of them are in memory, with their tags and locations.

    Args:
        uri: A folder with an index is a corpus, and any other one a folder of audio files; a file is a table.
        config: The settings of folders and tables.
        on_found: Called for each recording of a folder or a table.

    Raises:
        CorpusError: The index of a corpus cannot be used.
        SourceError: A folder or table cannot be used, a table contains the audio itself, or there are no recordings.
        StorageError, StoragePermanentError: The storage cannot be read.
    """
    uri = filesystem.absolute(uri)
    if INDEX_NAME in filesystem.names_in(uri) and not is_table(uri):
        return _of_corpus(Corpus.open(uri))
    kind = "table" if is_table(uri) else "folder"
    name, faults = f"{kind}={uri}", Faults()
    named = NamedSource(name, "", KINDS[kind](uri, config.of_source(kind)))
    recordings: list[CollectionRecording] = []
    for found in usable_recordings(named, faults, set()):
        faults.found += 1
        recordings.append(_of_found(name, found))
        on_found(faults.found, name)
    if not recordings:
        counts = ", ".join(f"{reason}: {count}" for reason, count in faults.counts.most_common())
        details = [detail for named_faults in faults.named.values() for detail in named_faults]
        raise SourceError(name, [f"none of its recordings can be used ({counts or 'there are none'})", *details])
    return AudioCollection(name, sorted(recordings, key=lambda each: each.recording_id), faults)


def _of_corpus(corpus: Corpus) -> AudioCollection:
    columns = corpus.table.select(["recording_id", "tags", "duration_s"]).to_pydict()
    locations = corpus.locations(range(corpus.recordings))
    versions = _versions(corpus.uri, {location.uri for location in locations})
    recordings = [
        CollectionRecording(
            recording_id=recording_id,
            place=location,
            version=versions[location.uri],
            tags=tuple(tags),
            duration_s=duration_s,
        )
        for recording_id, tags, duration_s, location in zip(*columns.values(), locations, strict=True)
    ]
    found = Faults(found=len(recordings))
    return AudioCollection(f"corpus={corpus.uri}", sorted(recordings, key=lambda each: each.recording_id), found)


def _versions(folder_uri: str, uris: Iterable[str]) -> dict[str, str]:
    """Returns the versions of shards by their URIs; those of missing ones are empty."""
    listed = files_below(folder_uri)
    versions = {filesystem.join(folder_uri, name): version for name, version in listed.items()}
    others = sorted(set(uris) - versions.keys())
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return versions | dict(zip(others, pool.map(_version, others), strict=True))


def _version(uri: str) -> str:
    try:
        return file_version(uri)
    except OSError:  # its recordings are skipped when they are read, with the reason
        return ""


def _of_found(source: str, found: FoundRecording) -> CollectionRecording:
    if found.audio.row is not None:
        raise SourceError(
            source,
            [
                f"{found.audio.uri} contains the audio itself, of which ranges of bytes cannot be read; make "
                f"a corpus of it (python -m jobs.prepare --source {source} --out CORPUS), and embed that"
            ],
        )
    return CollectionRecording(
        recording_id=found.recording_id,
        place=found.audio,
        version=found.audio.version,
        tags=tuple(found.tags),
        title=found.title,
        artist=found.artist,
        start_s=found.start_s,
        end_s=found.end_s,
        duration_s=_duration_s(found),
    )


def _duration_s(found: FoundRecording) -> float:
    """Returns about how long a recording is, which decides how many are embedded at once, and not the vectors."""
    size = found.audio.version.partition("-")[0]
    whole_s = _NOMINAL_S
    if size.isdecimal():
        rate = _BYTES_PER_S.get(extension_of(found.audio.uri), _COMPRESSED_BYTES_PER_S)
        whole_s = int(size) / rate
    start_s = found.start_s or 0.0
    return max(1.0, (whole_s if found.end_s is None else found.end_s) - start_s)


def extension_of(uri: str) -> str:
    """Returns the extension of a file in lower case, without the dot; empty if it has none.

    Example:
        >>> extension_of("s3://music/a.b/One.MP3"), extension_of("/music/one")
        ('mp3', '')
    """
    name = uri.rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name[1:] else ""
    return extension if extension.isalnum() else ""


def shown_faults(faults: Faults, shown: int) -> Iterator[str]:
    """Yields lines about what a source has left out.

    Args:
        faults: What was left out.
        shown: Number of recordings that are named for each reason.
    """
    for reason, count in faults.counts.most_common():
        yield f"        left out, {reason}: {count}"
        yield from (f"          {detail}" for detail in faults.named[reason][:shown])
        if count > shown:
            yield f"          and {count - shown} more"
