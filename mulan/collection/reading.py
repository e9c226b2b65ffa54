"""Reading of the recordings of a collection in the processes that embed: windows, waveforms and where the audio is."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from mulan.collection.recordings import CollectionRecording, extension_of
from mulan.collection.waveform import WaveformPicture
from mulan.data.audio.windows import opened_windows
from mulan.data.corpus.index import Location
from mulan.data.corpus.records import Fragment, read_fragments
from mulan.data.errors import BadRecording
from mulan.preparation.found import AudioLocation
from mulan.preparation.locations import read_audio
from mulan.storage import filesystem

_READ_AHEAD = 4
"""Number of remote files that are read while another one is decoded."""


@dataclass(frozen=True)
class EncodedAudio:
    """The encoded audio of a recording, and where it was read."""

    content: bytes | str
    """The bytes, or the path of a local file that has no others."""
    uri: str
    """Absolute path or URI of the file that contains the audio."""
    offset: int
    """Offset in bytes of the audio in that file."""
    length: int
    """Number of bytes of the audio."""
    extension: str
    """Extension in lower case, without the dot."""
    title: str
    """Title; empty if it is unknown."""
    artist: str
    """Artist; empty if it is unknown."""


@dataclass(frozen=True)
class ReadAudio:
    """What is known of a recording after its windows were decoded, by columns of a part."""

    columns: dict[str, Any]
    """Values of the columns ``uri`` to ``waveform`` but the tags."""
    window_starts_s: np.ndarray
    """Second of the recording at which each window begins, float64 [windows]."""


@dataclass(frozen=True)
class CollectionReading:
    """How recordings of a collection become windows: a :class:`mulan.evaluation.embedding.windows.WindowReading`."""

    sample_rate_hz: int
    """Sample rate of the windows."""
    window_samples: int
    """Length of a window in samples."""

    def opened(self, recordings: Sequence[CollectionRecording]) -> Iterator["_OpenedAudio"]:
        """Yields recordings, of which the tar members of all, or a few remote files, are read at once.

        Raises:
            StorageError, StoragePermanentError: The storage of the recordings failed.
        """
        tars = [each.place for each in recordings if isinstance(each.place, Location)]
        if tars:
            for recording, fragment in zip(recordings, read_fragments(tars), strict=True):
                yield _OpenedAudio(recording, partial(_from_tar, recording, fragment), self)
            return
        for recording, read in _read_ahead(recordings):
            yield _OpenedAudio(recording, read, self)


def _read_ahead(
    recordings: Sequence[CollectionRecording],
) -> Iterator[tuple[CollectionRecording, Callable[[], EncodedAudio]]]:
    """Yields files with what reads them; remote ones are read by threads before they are needed."""
    if all(filesystem.is_local(each.place.uri) for each in recordings):
        yield from ((each, partial(_from_file, each)) for each in recordings)
        return
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        coming = iter(recordings)
        waiting = deque((each, pool.submit(_from_file, each)) for each in islice(coming, _READ_AHEAD))
        while waiting:
            recording, future = waiting.popleft()
            yield recording, future.result
            waiting.extend((each, pool.submit(_from_file, each)) for each in islice(coming, 1))


def _from_file(recording: CollectionRecording) -> EncodedAudio:
    """Reads a file or a range of bytes of it.

    Raises:
        BadRecording, StorageError, StoragePermanentError: As in :func:`mulan.preparation.locations.read_audio`.
    """
    place = recording.place
    assert isinstance(place, AudioLocation)
    content = read_audio(place)
    length = os.stat(content).st_size if isinstance(content, str) else len(content)
    extension = extension_of(place.uri)
    return EncodedAudio(content, place.uri, place.offset, length, extension, recording.title, recording.artist)


def _from_tar(recording: CollectionRecording, fragment: Fragment) -> EncodedAudio:
    """Finds the audio in tar members.

    Raises:
        BadRecording: As in :meth:`mulan.data.corpus.records.Fragment.record`.
    """
    place = recording.place
    assert isinstance(place, Location)
    record = fragment.record()
    title, artist = (_name(record.metadata.get(field)) for field in ("title", "artist"))
    offset = place.offset_in_shard(record.audio_start)
    return EncodedAudio(record.audio, place.uri, offset, len(record.audio), record.extension, title, artist)


def _name(value: Any) -> str:
    """Returns a name of a recording's metadata; empty if it is unknown."""
    return "" if value is None else str(value).encode(errors="replace").decode()


@dataclass
class _OpenedAudio:
    """A recording whose windows are read one after another."""

    recording: CollectionRecording
    read: Callable[[], EncodedAudio]
    reading: CollectionReading
    _labels: ReadAudio | None = None

    @property
    def position(self) -> int:
        return self.recording.position

    def windows(self) -> Iterator[np.ndarray]:
        try:
            audio = self.read()
        except FileNotFoundError as error:  # it was removed after it was found
            raise BadRecording("missing file", str(error)) from error
        rate_hz = self.reading.sample_rate_hz
        opened = opened_windows(
            audio.content,
            self.reading.window_samples,
            sample_rate_hz=rate_hz,
            start_s=self.recording.start_s,
            end_s=self.recording.end_s,
        )
        waveform = WaveformPicture(opened.samples)
        for start, window in zip(opened.starts.tolist(), opened.windows, strict=True):
            waveform.add(start, window[: opened.samples - start])
            yield window
        columns = {
            "uri": audio.uri,
            "offset": audio.offset,
            "length": audio.length,
            "extension": audio.extension,
            "start_s": self.recording.start_s or 0.0,
            "duration_s": opened.seconds,
            "title": audio.title,
            "artist": audio.artist,
            "waveform": waveform.content,
        }
        self._labels = ReadAudio(columns, opened.starts / rate_hz)

    def labels(self) -> ReadAudio:
        assert self._labels is not None
        return self._labels
