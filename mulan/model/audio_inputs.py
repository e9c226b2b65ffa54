"""Recordings as users give them to be embedded, and the windows that stand for them."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from mulan.data.audio import covering_windows, evenly_spaced_windows, to_mono_int16
from mulan.data.errors import DecodeError, OnError, Skipped
from mulan.data.samples import RATES_HZ
from mulan.model.embedding_inputs import EmbeddingInputError, as_list

AudioInput = str | os.PathLike[str] | np.ndarray
"""A file's path, or an array [samples] or [channels, samples], int16 or float in [-1, 1]."""

_MOST_CHANNELS = 64
_LOUDEST = 4.0
"""Of float samples: what is mixed or decoded from MP3 goes beyond 1 by some decibels, int16 in floats by 90."""


def embedded(
    inputs: Iterable[AudioInput],
    sample_rate_hz: int | None,
    *,
    on_error: OnError,
    embed: Callable[[AudioInput, int | None], np.ndarray],
) -> tuple[list[np.ndarray], list[Skipped]]:
    """The vectors of all inputs in their order, less those that cannot be embedded, and what these are.

    Args:
        inputs: paths and arrays.
        sample_rate_hz: of the arrays.
        on_error: ``"raise"`` passes over none.
        embed: what makes a vector of an input and its sample rate.

    Raises:
        EmbeddingInputError: what was given is not a number of paths and arrays; with ``"raise"`` also arrays that are
            not audio, all of which are named before anything is read.
        DecodeError: with ``"raise"``, a file that cannot be decoded.
    """
    if on_error not in ("raise", "skip"):
        raise EmbeddingInputError([f"on_error = {on_error!r}: it is 'raise' or 'skip'"])
    items = as_list(inputs, "embed_audio", "paths or arrays")
    rate_hz = _rate(sample_rate_hz, needed_for=[place for place, item in enumerate(items) if _is_array(item)])
    faults = {place: found for place, item in enumerate(items) if (found := list(_faults(item)))}
    named = {place: f"paths_or_arrays[{place}]" for place in faults}
    if faults and on_error == "raise":
        raise EmbeddingInputError([f"{named[place]} {fault}" for place, found in faults.items() for fault in found])
    vectors, skipped = [], []
    for place, item in enumerate(items):
        if place in faults:
            skipped.append(Skipped(named[place], "not audio", "; ".join(faults[place])))
            continue
        try:
            vectors.append(embed(item, rate_hz))
        except DecodeError as error:
            if on_error == "raise":
                raise
            name = os.fsdecode(item).encode(errors="backslashreplace").decode()
            skipped.append(Skipped(name, error.reason, error.detail))
    return vectors, skipped


def windows_of(
    item: AudioInput, window_samples: int, *, sample_rate_hz: int | None, wanted_hz: int
) -> Iterator[np.ndarray]:
    """The windows that stand for a checked input; of a file never more than one of them is in memory.

    Args:
        item: a path or an array.
        window_samples: length of a window.
        sample_rate_hz: of an array; a file knows its own.
        wanted_hz: of the windows.

    Returns:
        int16 [window_samples] each; see :func:`mulan.data.audio.covering_windows`.

    Raises:
        DecodeError: a file that cannot be decoded.
    """
    if isinstance(item, np.ndarray):
        assert sample_rate_hz is not None
        recording = to_mono_int16(np.atleast_2d(item).T, sample_rate_hz, wanted_hz)
        return windows_of_samples(recording, window_samples)
    return covering_windows(_path(item), window_samples, sample_rate_hz=wanted_hz)


def windows_of_samples(recording: np.ndarray, window_samples: int) -> Iterator[np.ndarray]:
    """The windows that stand for a recording, int16 [samples]; see :func:`mulan.data.audio.covering_windows`."""
    for start in evenly_spaced_windows(len(recording), window_samples).tolist():
        part = recording[start : start + window_samples]
        yield part if len(part) == window_samples else np.pad(part, (0, window_samples - len(part)))


def in_batches(windows: Iterator[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """Windows in stacks of at most so many, [windows, window_samples]."""
    while batch := list(islice(windows, most)):
        yield np.stack(batch)


def _is_array(item: object) -> bool:
    return isinstance(item, np.ndarray)


def _path(item: str | os.PathLike[str]) -> str:
    return os.path.expanduser(os.fsdecode(item))


def _rate(sample_rate_hz: Any, *, needed_for: list[int]) -> int | None:
    if not needed_for:
        return None
    if sample_rate_hz is None:
        raise EmbeddingInputError(
            [f"paths_or_arrays[{place}] is an array: give its sample_rate_hz" for place in needed_for]
        )
    number = isinstance(sample_rate_hz, Real) and not isinstance(sample_rate_hz, bool | np.bool_)
    if not number or not RATES_HZ[0] <= sample_rate_hz <= RATES_HZ[1] or sample_rate_hz != int(sample_rate_hz):
        raise EmbeddingInputError(
            [f"sample_rate_hz = {sample_rate_hz!r:.40} is no rate of audio, {RATES_HZ[0]} to {RATES_HZ[1]} Hz"]
        )
    return int(sample_rate_hz)


def _faults(item: object) -> Iterator[str]:
    """What keeps an input from being embedded, in words that follow its name."""
    if isinstance(item, np.ndarray):
        yield from _faults_of_array(item)
    elif not isinstance(item, str | os.PathLike):
        yield f"is a {type(item).__name__}, neither a path nor a numpy array"
    elif "://" in os.fsdecode(item):
        yield f"is the address {os.fsdecode(item)!r:.200}, and only local files are read here; copy it first"


def _faults_of_array(array: np.ndarray) -> Iterator[str]:
    floats = np.issubdtype(array.dtype, np.floating)
    if array.dtype.newbyteorder("=") != np.int16 and not floats:
        whole = f"; divide by {np.iinfo(array.dtype).max + 1:.0f}.0" if array.dtype.kind == "i" else ""
        yield f"has dtype {array.dtype}; int16 or floating point in [-1, 1] is needed{whole}"
    elif np.ma.is_masked(array):
        yield "has samples that are masked; fill them"
    elif floats and array.size:
        loudest = float(max(array.max(), -array.min()))  # not a number where a sample is not
        if not np.isfinite(loudest):
            yield "holds NaN or infinite samples"
        elif loudest > _LOUDEST:
            yield f"reaches {loudest:.5g}, and floats are samples in [-1, 1]; divide int16 in floats by 32768"
    if array.ndim not in (1, 2) or not array.size:
        yield f"has shape {array.shape}; [samples] or [channels, samples] is needed"
    elif array.ndim == 2 and len(array) > min(_MOST_CHANNELS, array.shape[1]):
        yield f"has shape {array.shape}, which is {len(array)} channels; [channels, samples] is needed: turn it by .T"
