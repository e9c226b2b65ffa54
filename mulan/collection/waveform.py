"""The picture of a recording's waveform, computed from windows of it that cover it."""

import numpy as np

from mulan.collection.part import WAVEFORM_BYTES

_FULL_SCALE = 32_767


class WaveformPicture:
    """The largest magnitudes of the samples in equal parts of a recording.

    Part k of 200 are the samples from ``k * samples // 200`` to before ``(k + 1) * samples // 200``, and at least one:
    those of a recording of fewer than 200 samples repeat.

    Example:
        >>> waveform = WaveformPicture(4)
        >>> waveform.add(0, np.array([0, -32768], np.int16))
        >>> waveform.add(2, np.array([16384, 257], np.int16))
        >>> [waveform.content[k] for k in (0, 50, 100, 150)]
        [0, 255, 128, 2]
    """

    def __init__(self, samples: int) -> None:
        """
        Args:
            samples: Number of samples of the recording, at least 1.
        """
        edges = np.arange(WAVEFORM_BYTES + 1) * samples // WAVEFORM_BYTES
        self._starts = edges[:-1]
        self._ends = np.maximum(edges[1:], self._starts + 1)
        self._peaks = np.zeros(WAVEFORM_BYTES, np.int32)

    def add(self, start: int, samples: np.ndarray) -> None:
        """Adds samples of the recording, which may have been added before.

        Args:
            start: Number of the first of them.
            samples: int16 [at least 1].
        """
        end = start + len(samples)
        first = int(np.searchsorted(self._ends, start, side="right"))
        last = int(np.searchsorted(self._starts, end, side="left"))
        if len(self._ends) < self._ends[-1]:
            edges = np.maximum(self._starts[first:last] - start, 0)
            peaks = np.maximum.reduceat(np.abs(samples.astype(np.int32)), edges)
        else:  # parts of single samples, which may be the same
            peaks = np.abs(samples.astype(np.int32))[self._starts[first:last] - start]
        self._peaks[first:last] = np.maximum(self._peaks[first:last], peaks)

    @property
    def content(self) -> bytes:
        """The magnitudes of what was added, 200 bytes, where 255 is full scale."""
        scaled = (2 * 255 * self._peaks + _FULL_SCALE) // (2 * _FULL_SCALE)
        return np.minimum(scaled, 255).astype(np.uint8).tobytes()
