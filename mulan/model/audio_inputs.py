"""Recordings as users give them, and the windows that stand for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulan.config.errors import MulanError
from mulan.data.audio import decode_recording, evenly_spaced_windows, to_mono_int16

AudioInput = str | Path | np.ndarray
"""A file's path, or an array [samples] or [channels, samples], int16 or float in [-1, 1]."""


class EmbeddingInputError(MulanError, ValueError):
    """Audio or text that cannot be embedded as it was given. Lists every fault found."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(faults))


def check_audio(inputs: Sequence[AudioInput], sample_rate_hz: int | None) -> None:
    """
    Args:
        sample_rate_hz: of the arrays.

    Raises:
        EmbeddingInputError: an array that is not audio, or no ``sample_rate_hz`` with arrays; tells of all of them.
    """
    if isinstance(inputs, str | Path | np.ndarray):
        raise EmbeddingInputError(["embed_audio takes a list of paths or arrays; put a single one in a list"])
    faults = [fault for place, item in enumerate(inputs) for fault in _faults(place, item, sample_rate_hz)]
    if faults:
        raise EmbeddingInputError(faults)


def recording_of(item: AudioInput, *, sample_rate_hz: int | None, wanted_hz: int) -> np.ndarray:
    """A checked input as int16 [samples] at the wanted rate, mono.

    Args:
        sample_rate_hz: of an array; a file knows its own.

    Raises:
        DecodeError: a file that cannot be decoded.
    """
    if isinstance(item, np.ndarray):
        assert sample_rate_hz is not None
        return to_mono_int16(np.atleast_2d(item).T, sample_rate_hz, wanted_hz)
    return decode_recording(str(item), sample_rate_hz=wanted_hz)


def covering_windows(recording: np.ndarray, window_samples: int) -> np.ndarray:
    """The windows that stand for a recording.

    Args:
        recording: int16 [samples].

    Returns:
        int16 [windows, window_samples]: the fewest that cover it, evenly spaced from its first sample to its last. A
        shorter recording is one window, followed by silence.
    """
    padded = np.pad(recording, (0, max(0, window_samples - len(recording))))
    starts = evenly_spaced_windows(len(padded), window_samples)
    return np.stack([padded[start : start + window_samples] for start in starts])


def _faults(place: int, item: object, sample_rate_hz: int | None) -> list[str]:
    """What keeps an item of ``paths_or_arrays`` from being audio."""
    name = f"paths_or_arrays[{place}]"
    if isinstance(item, str | Path):
        return []
    if not isinstance(item, np.ndarray):
        return [f"{name} is a {type(item).__name__}, neither a path nor a numpy array"]
    faults = []
    if sample_rate_hz is None:
        faults.append(f"{name} is an array: give its sample_rate_hz")
    if item.dtype != np.int16 and not np.issubdtype(item.dtype, np.floating):
        faults.append(f"{name} has dtype {item.dtype}; int16 or floating point in [-1, 1] is needed")
    elif not np.isfinite(item).all():
        faults.append(f"{name} holds NaN or infinite samples")
    if item.ndim not in (1, 2) or not item.size:
        faults.append(f"{name} has shape {item.shape}; [samples] or [channels, samples] is needed")
    return faults
