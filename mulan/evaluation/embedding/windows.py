"""Reading and decoding of recordings to windows, batched across recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mulan.data.audio.windows import covering_windows, decode_window
from mulan.data.corpus.records import Fragment, read_fragments
from mulan.data.errors import BadRecording
from mulan.evaluation.embedding.indexed import IndexedRecording
from mulan.evaluation.embedding.labels import with_labels
from mulan.evaluation.encoders.encoder import Encoder, EncoderError
from mulan.evaluation.recordings import LabelledRecording
from mulan.model.inference.inputs import windows_of_samples

WINDOW_RULE = (
    "the mean of the vectors of the fewest evenly spaced windows that cover it, each as long as the model's window; "
    "the mean is normalised if vectors are compared by cosine similarity, and a shorter recording is padded with "
    "silence"
)
"""How a recording gets its vector, in words."""
CORRUPTED_S = 60.0
"""Duration in seconds of what is evaluated of a corrupted recording, its beginning: corruptions need a recording as a
whole, which would not fit into memory if it has hours."""


class AudioCorruption(Protocol):
    """A corruption of recordings, such as :class:`mulan.evaluation.corruptions.Corruption`; it must be picklable."""

    @property
    def name(self) -> str:
        """Name of the kind of corruption."""

    @property
    def strength(self) -> int:
        """How strong it is."""

    @property
    def description(self) -> str:
        """What it does, with its parameters: recordings are embedded again if it changes."""

    def __call__(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Corrupts a recording, int16 [samples], of which another number may be returned."""


@dataclass(frozen=True)
class CorpusPart:
    """What vectors are computed of together, and kept in a file: a split of a corpus, under one corruption or none."""

    split: str
    """``train``, ``validation`` or ``test``."""
    corruption: AudioCorruption | None = None
    """The corruption; None if recordings are embedded as they are."""


class OpenRecording(Protocol):
    """A recording whose windows are read one after another."""

    @property
    def position(self) -> int:
        """Number of the recording among those of its part."""

    def windows(self) -> Iterator[np.ndarray]:
        """Yields the windows that cover the recording, int16 [window_samples].

        Raises:
            BadRecording: The recording cannot be used, although windows of it may have been yielded.
        """

    def labels(self) -> Any:
        """Returns what is known of the recording, after all windows were taken; it is picklable."""


class WindowReading(Protocol):
    """How recordings are read and become windows; it must be picklable."""

    @property
    def window_samples(self) -> int:
        """Length of a window in samples."""

    def opened(self, recordings: Sequence[Any], /) -> Iterator[OpenRecording]:
        """Yields recordings in their order.

        Raises:
            StorageError, StoragePermanentError: The storage of the recordings failed.
        """


@dataclass(frozen=True)
class Windowing:
    """How a recording becomes windows."""

    sample_rate_hz: int
    """Sample rate of the windows."""
    window_samples: int
    """Length of a window in samples."""
    corruption: AudioCorruption | None = None
    """Corruption of each recording, or rather of its first :data:`CORRUPTED_S` seconds."""

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.sample_rate_hz

    def opened(self, recordings: Sequence[IndexedRecording]) -> Iterator[OpenRecording]:
        """Yields recordings of a corpus, whose bytes are read together, with their labels.

        Raises:
            StorageError, StoragePermanentError: The storage of the corpus failed.
        """
        fragments = read_fragments([each.location for each in recordings])
        for recording, fragment in zip(recordings, fragments, strict=True):
            yield _LabelledAudio(recording, fragment, self)

    def windows(self, audio: bytes) -> Iterator[np.ndarray]:
        """Yields the fewest windows that cover an encoded recording, int16 [window_samples].

        Raises:
            DecodeError: As in :func:`mulan.data.audio.windows.covering_windows`.
        """
        if self.corruption is None:
            yield from covering_windows(audio, self.window_samples, sample_rate_hz=self.sample_rate_hz)
            return
        beginning = np.empty(round(CORRUPTED_S * self.sample_rate_hz), np.int16)
        count = decode_window(audio, beginning, draw=0.0, sample_rate_hz=self.sample_rate_hz)
        corrupted = self.corruption(beginning[:count], self.sample_rate_hz)
        yield from windows_of_samples(corrupted, self.window_samples)


@dataclass
class _LabelledAudio:
    """A recording of a corpus whose bytes have been read."""

    recording: IndexedRecording
    fragment: Fragment
    windowing: Windowing
    _labels: LabelledRecording | None = None

    @property
    def position(self) -> int:
        return self.recording.position

    def windows(self) -> Iterator[np.ndarray]:
        record = self.fragment.record()
        self._labels = with_labels(self.recording, record.metadata)
        yield from self.windowing.windows(record.audio)

    def labels(self) -> LabelledRecording:
        assert self._labels is not None
        return self._labels


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Windows of some recordings, or their vectors. A recording of many windows is spread over several batches."""

    windows: np.ndarray
    """Windows, int16 [n, window_samples], or vectors, float32 [n, d]."""
    positions: np.ndarray
    """:attr:`OpenRecording.position` of the recording of each window, int64 [n]."""
    numbers: np.ndarray
    """Number of each window among those of its recording, from 0, int64 [n]."""
    finished: tuple[tuple[int, Any, int], ...] = ()
    """Position, labels and number of windows of the recordings of which this batch, or an earlier one, has the last
    window."""
    skipped: tuple[tuple[int, BadRecording], ...] = ()
    """Position and error of the recordings that cannot be used, although some of their windows may have been read."""

    def embedded(self, encoder: Encoder) -> "WindowBatch":
        """Replaces the windows by their vectors.

        Raises:
            EncoderError: The encoder returns something else than a vector of its size for each window.
        """
        expected = (len(self.windows), encoder.info.dim)
        vectors = np.zeros(expected, np.float32)
        if len(self.windows):
            vectors = np.asarray(encoder.embed_audio(self.windows))
        if vectors.shape != expected or vectors.dtype.kind != "f":
            raise EncoderError(
                f"{encoder.info.name}: embed_audio returned {vectors.dtype} {list(vectors.shape)} for "
                f"{len(self.windows)} windows; it must return float32 {list(expected)}"
            )
        return WindowBatch(
            vectors.astype(np.float32, copy=False), self.positions, self.numbers, self.finished, self.skipped
        )


@dataclass
class _Pending:
    """What the next batch will contain."""

    windows: list[np.ndarray] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    finished: list[tuple[int, Any, int]] = field(default_factory=list)
    skipped: list[tuple[int, BadRecording]] = field(default_factory=list)

    def take(self, window_samples: int) -> WindowBatch:
        places = np.array(self.places, np.int64).reshape(-1, 2)
        windows = np.stack(self.windows) if self.windows else np.zeros((0, window_samples), np.int16)
        batch = WindowBatch(windows, places[:, 0], places[:, 1], tuple(self.finished), tuple(self.skipped))
        for items in (self.windows, self.places, self.finished, self.skipped):
            items.clear()
        return batch


def read_windows(recordings: Sequence[Any], reading: WindowReading, *, at_once: int) -> Iterator[WindowBatch]:
    """Reads and decodes recordings. At most ``at_once`` windows are in memory, and the encoded recordings.

    Args:
        recordings: Recordings, which are opened together.
        reading: How they become windows.
        at_once: Number of windows in each batch but the last one.

    Raises:
        StorageError, StoragePermanentError: The storage of the recordings failed.
    """
    pending = _Pending()
    for recording in reading.opened(recordings):
        try:
            count = 0
            for window in recording.windows():
                pending.windows.append(window)
                pending.places.append((recording.position, count))
                count += 1
                if len(pending.windows) == at_once:
                    yield pending.take(reading.window_samples)
            pending.finished.append((recording.position, recording.labels(), count))
        except BadRecording as error:
            pending.skipped.append((recording.position, error))
    if pending.windows or pending.finished or pending.skipped:
        yield pending.take(reading.window_samples)
