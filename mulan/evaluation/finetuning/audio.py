"""The windows that networks are trained on and predict, read and decoded while they are needed.

Recordings are those that have been embedded before, so that none of them is skipped, and all models have the same ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mulan.data.audio.windows import decode_window
from mulan.data.corpus.records import read_fragments
from mulan.data.errors import BadRecording
from mulan.evaluation.embedding.indexed import IndexedRecording, in_blocks
from mulan.evaluation.embedding.local import BATCHES_PER_BLOCK
from mulan.evaluation.embedding.windows import Windowing, read_windows
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.read_ahead import read_ahead
from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.model.inference.passes import WINDOWS_AT_ONCE


@dataclass(frozen=True, eq=False)
class AudioRecordings:
    """Recordings without their labels, whose windows can be read any number of times; it is picklable."""

    recordings: tuple[IndexedRecording, ...]
    """The recordings, each with its number here as the position, and without tags."""
    counts: np.ndarray
    """Number of windows that cover each recording, int64 [recordings]."""
    windowing: Windowing
    """How a recording becomes windows."""

    @classmethod
    def of(
        cls, audio: EmbeddedRecordings, indexed: Mapping[str, IndexedRecording], windowing: Windowing
    ) -> "AudioRecordings":
        """Finds embedded recordings in the index of their corpus.

        Args:
            audio: The recordings; of their vectors only the numbers are used.
            indexed: The recordings of the corpus by their ids.
            windowing: How they became windows.
        """
        recordings = tuple(
            replace(indexed[each.recording_id], position=number, tags=())
            for number, each in enumerate(audio.recordings)
        )
        return cls(recordings, np.diff(audio.starts), windowing)

    def random_windows(
        self, batches: list[tuple[np.ndarray, np.ndarray]], *, threads: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields batches of windows, int16 [n, window_samples], with the numbers of their recordings, int64 [n].

        Args:
            batches: For each batch the numbers of the recordings, and the position of the window of each in [0, 1),
                relative to the first and last possible ones.
            threads: Number of batches that are read at once.

        Raises:
            EvaluationError: A recording cannot be read any more.
            StorageError, StoragePermanentError: The storage of the corpus failed.
        """
        yield from read_ahead((partial(self._random_batch, *batch) for batch in batches), threads=threads)

    def covering_windows(self, *, threads: int, at_most: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the windows that cover each recording, batched like :meth:`random_windows`.

        Args:
            threads: Number of blocks of recordings that are read at once.
            at_most: Number of windows of a recording, evenly spaced among all of its windows; None for all.

        Raises:
            EvaluationError, StorageError, StoragePermanentError: As in :meth:`random_windows`.
        """
        blocks = in_blocks(
            self.recordings, windows=BATCHES_PER_BLOCK * WINDOWS_AT_ONCE, window_s=self.windowing.window_s
        )
        yield from read_ahead((partial(self._covering_batches, block, at_most) for block in blocks), threads=threads)

    def counts_of(self, at_most: int | None) -> np.ndarray:
        """Returns the number of windows of each recording that :meth:`covering_windows` yields, int64 [recordings]."""
        return self.counts if at_most is None else np.minimum(self.counts, at_most)

    def _random_batch(self, numbers: np.ndarray, draws: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        recordings = [self.recordings[number] for number in numbers.tolist()]
        windows = np.empty((len(recordings), self.windowing.window_samples), np.int16)
        fragments = read_fragments([each.location for each in recordings])
        for recording, fragment, window, draw in zip(recordings, fragments, windows, draws.tolist(), strict=True):
            try:
                audio = fragment.record().audio
                decode_window(audio, window, draw=draw, sample_rate_hz=self.windowing.sample_rate_hz)
            except BadRecording as error:
                raise _unreadable(recording, error) from error
        yield windows, numbers

    def _covering_batches(
        self, block: list[IndexedRecording], at_most: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in read_windows(block, self.windowing, at_once=WINDOWS_AT_ONCE):
            for position, error in batch.skipped:
                raise _unreadable(self.recordings[position], error)
            kept = [self._is_kept(*each, at_most) for each in zip(batch.positions, batch.numbers, strict=True)]
            if any(kept):
                yield batch.windows[kept], batch.positions[kept]

    def _is_kept(self, position: int, number: int, at_most: int | None) -> bool:
        count = int(self.counts[position])
        if at_most is None or count <= at_most:
            return True
        return int(number) in np.linspace(0, count - 1, at_most).round().astype(int)


def _unreadable(recording: IndexedRecording, error: BadRecording) -> EvaluationError:
    return EvaluationError(
        f"recording {recording.recording_id}, which was read before, cannot be read any more ({error}); repeat the "
        "command when it can"
    )
