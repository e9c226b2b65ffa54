"""Recordings as users give them to be embedded, and the windows that stand for them."""

import array
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from mulan.config.errors import MulanError
from mulan.config.paths import LOCAL_SCHEMES, is_mistyped, scheme_of
from mulan.data.audio.samples import RATES_HZ
from mulan.data.audio.windows import covering_windows, evenly_spaced_windows, to_mono_int16
from mulan.data.errors import MAX_FAULTS, DecodeError, OnError, SkippedRecording, one_line
from mulan.data.text import is_unicode

_SINGLE = str | bytes | bytearray | memoryview | array.array | os.PathLike
_ARROW = pa.Array | pa.ChunkedArray
_HOLDS_THINGS = {"O", "U", "S", "T"}
"""Kinds of NumPy's dtypes whose arrays are lists of things; any other array is one thing."""


class EmbeddingInputError(MulanError, ValueError):
    """Audio or text that cannot be embedded as it was given. Names all faults found, up to :data:`MAX_FAULTS`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(one_line, faults))
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        super().__init__("; ".join([*self.faults[:MAX_FAULTS], *more]))

    def __reduce__(self) -> tuple[type["EmbeddingInputError"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


def as_list(inputs: Iterable[Any], call: str, what: str) -> list[Any]:
    """All that an iterable gives, once and in order.

    Args:
        inputs: a list, a generator, a column of a table or the like; it must come to an end.
        call: the function that was called, for messages.
        what: what it takes, in the plural, for messages.

    Raises:
        EmbeddingInputError: a single thing, numbers, an open file, or something without an order.
    """
    fault = _fault_of_whole(inputs)
    if not fault:
        # Arrow's own items are no Python objects
        items = inputs.to_pylist() if isinstance(inputs, _ARROW) else list(inputs)
        if len(items) <= MAX_FAULTS or not all(isinstance(item, Real) for item in items):
            return items
        fault = f", not a {type(inputs).__name__} of numbers"  # the samples of a recording, say
    raise EmbeddingInputError([f"{call} takes a list of {what}{fault}"])


def _fault_of_whole(inputs: Any) -> str:
    """Why something is no list of things, in words that follow what is wanted; empty if it is one."""
    kind, dimensions = type(inputs).__name__, getattr(inputs, "ndim", 1)
    dtype_kind = getattr(getattr(inputs, "dtype", None), "kind", "")  # empty with libraries other than NumPy
    if isinstance(inputs, _ARROW):
        return ""
    if isinstance(inputs, _SINGLE):
        return "; put a single one in a list"
    if not isinstance(inputs, Iterable):
        return f", not a {kind}"
    if hasattr(inputs, "__dlpack__") and dtype_kind not in _HOLDS_THINGS:
        several = ", and make a list of several that are stacked: list(...)" if dimensions > 1 else ""
        return f", not a {kind}; put a single one in a list{several}"
    if isinstance(inputs, io.IOBase) or hasattr(inputs, "readline"):
        return ", not an open file; give its path, or what is read from it, in a list"
    if isinstance(inputs, Mapping):
        return f", not a {kind}; give its keys() or values()"
    if isinstance(inputs, Set) and not isinstance(inputs, MappingView):
        return f", not a {kind}, whose order is not known; sort it"
    return "" if dimensions == 1 else f", not a {kind} of {dimensions} dimensions; give one of its columns or rows"


def checked_texts(texts: Iterable[str]) -> list[str]:
    """Texts that can be embedded.

    Raises:
        EmbeddingInputError: something else, or text that is not Unicode; names all of it.
    """
    items = as_list(texts, "embed_text", "strings")
    faults = []
    for place, text in enumerate(items):
        if not isinstance(text, str):
            remedy = "; decode it" if isinstance(text, bytes) else ""
            faults.append(f"texts[{place}] is a {type(text).__name__}, not a string{remedy}")
        elif not is_unicode(text):
            faults.append(f"texts[{place}] has half of a surrogate pair, which is not Unicode: {text!r:.80}")
    if faults:
        raise EmbeddingInputError(faults)
    return items


AudioInput = str | os.PathLike[str] | np.ndarray
"""A file's path, or an array [samples] or [channels, samples], int16 or float in [-1, 1]."""

_MAX_CHANNELS = 64
_LOUDEST = 4.0
"""Of float samples: what is mixed or decoded from MP3 goes beyond 1 by some decibels, int16 in floats by 90."""


def embedded(
    inputs: Iterable[AudioInput],
    sample_rate_hz: int | None,
    *,
    on_error: OnError,
    embed: Callable[[AudioInput, int | None], np.ndarray],
) -> tuple[list[np.ndarray], list[SkippedRecording]]:
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
    if not isinstance(on_error, str) or on_error not in ("raise", "skip"):
        raise EmbeddingInputError([f"on_error = {on_error!r:.40}: it is 'raise' or 'skip'"])
    items = as_list(inputs, "embed_audio", "paths or numpy arrays")
    arrays = [place for place, item in enumerate(items) if isinstance(item, np.ndarray)]
    told = list(_faults_of_rate(sample_rate_hz, arrays)) if arrays else []
    faults = {place: found for place, item in enumerate(items) if (found := list(_faults(item)))}
    if on_error == "raise":
        told += [f"{_place(place)} {fault}" for place, found in faults.items() for fault in found]
    if told:
        raise EmbeddingInputError(told)
    rate_hz = int(sample_rate_hz) if arrays and sample_rate_hz is not None else None
    vectors, skipped = [], []
    for place, item in enumerate(items):
        if place in faults:
            skipped.append(
                SkippedRecording(_name(item) or _place(place), "not audio", one_line("; ".join(faults[place])))
            )
            continue
        try:
            vectors.append(embed(item, rate_hz))
        except DecodeError as error:
            if on_error == "raise":
                raise
            skipped.append(SkippedRecording(_name(item), error.reason, error.detail))
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
        int16 [window_samples] each; see :func:`mulan.data.audio.windows.covering_windows`.

    Raises:
        DecodeError: a file that cannot be decoded.
    """
    if isinstance(item, np.ndarray):
        assert sample_rate_hz is not None
        recording = to_mono_int16(np.atleast_2d(item).T, sample_rate_hz, wanted_hz)
        return windows_of_samples(recording, window_samples)
    return covering_windows(_local_path(os.fsdecode(item)), window_samples, sample_rate_hz=wanted_hz)


def windows_of_samples(recording: np.ndarray, window_samples: int) -> Iterator[np.ndarray]:
    """Yields the windows of a recording, int16 [samples], as :func:`mulan.data.audio.windows.covering_windows` does."""
    for start in evenly_spaced_windows(len(recording), window_samples).tolist():
        part = recording[start : start + window_samples]
        yield part if len(part) == window_samples else np.pad(part, (0, window_samples - len(part)))


def in_batches(windows: Iterator[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """Windows in stacks of at most so many, [windows, window_samples]."""
    while batch := list(islice(windows, most)):
        yield np.stack(batch)


def check_windows(waveform: np.ndarray, window_samples: int) -> None:
    """
    Raises:
        EmbeddingInputError: something other than windows, int16 [n, window_samples].
    """
    is_array = isinstance(waveform, np.ndarray)
    if not is_array or waveform.dtype != np.int16 or waveform.ndim != 2 or waveform.shape[1] != window_samples:
        given = f"{waveform.dtype} {list(waveform.shape)}" if is_array else f"a {type(waveform).__name__}"
        raise EmbeddingInputError([f"embed_windows takes an int16 array [n, {window_samples}], not {given}"])


def _place(place: int) -> str:
    return f"paths_or_arrays[{place}]"


def _name(item: object) -> str:
    """A path as it was given, for messages; empty of anything else."""
    return os.fsdecode(item).encode(errors="backslashreplace").decode() if isinstance(item, str | os.PathLike) else ""


def _faults_of_rate(sample_rate_hz: Any, arrays: list[int]) -> Iterator[str]:
    """What keeps a rate from being that of the arrays at these places."""
    if sample_rate_hz is None:
        yield from (f"{_place(place)} is an array: give its sample_rate_hz" for place in arrays)
        return
    # NumPy's smallest floats cannot be compared with the highest rate
    rate_hz = sample_rate_hz.item() if isinstance(sample_rate_hz, np.generic) else sample_rate_hz
    number = isinstance(rate_hz, Real) and not isinstance(rate_hz, bool)
    if not number or not RATES_HZ[0] <= rate_hz <= RATES_HZ[1] or rate_hz != int(rate_hz):
        bounds = f"a whole number of Hz from {RATES_HZ[0]} to {RATES_HZ[1]}"
        yield f"sample_rate_hz = {sample_rate_hz!r:.40} is no rate of audio, which is {bounds}"


def _faults(item: object) -> Iterator[str]:
    """What keeps an input from being embedded, in words that follow its name."""
    if isinstance(item, np.ndarray):
        yield from _faults_of_array(item)
    elif isinstance(item, str | os.PathLike):
        yield from _faults_of_path(os.fsdecode(item))
    else:
        remedy = ""
        if isinstance(item, bytes | bytearray | memoryview) or hasattr(item, "readline"):
            remedy = "; encoded audio is read from files alone: give the path of one"
        elif isinstance(item, list | tuple) or hasattr(item, "__array__"):
            remedy = "; make samples one by numpy.asarray"
        yield f"is a {type(item).__name__}, neither a path nor a numpy array{remedy}"


def _faults_of_path(path: str) -> Iterator[str]:
    local = _local_path(path)
    # of the two slashes of an address Path leaves one, and it looks mistyped
    if not local:
        yield "is an empty path"
    elif (scheme_of(local) or is_mistyped(local)) and not os.path.lexists(local):
        yield f"is the address {path!r:.200}, and only local files are read here; copy it first"


def _local_path(path: str) -> str:
    """A path without ``file://``, and with ``~`` expanded; any other address as it is."""
    scheme = scheme_of(path)
    return os.path.expanduser(path[len(f"{scheme}://") :] if scheme in LOCAL_SCHEMES else path)


def _faults_of_array(array: np.ndarray) -> Iterator[str]:
    floats = np.issubdtype(array.dtype, np.floating)
    if array.dtype.newbyteorder("=") != np.int16 and not floats:
        yield f"has dtype {array.dtype}; int16 or floating point in [-1, 1] is needed{_scaling(array.dtype)}"
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
    elif array.ndim == 2 and len(array) > array.shape[1]:
        yield f"has shape {array.shape}, which is {len(array)} channels; [channels, samples] is needed: turn it by .T"
    elif array.ndim == 2 and len(array) > _MAX_CHANNELS:
        yield (
            f"has shape {array.shape}, which is {len(array)} channels, and {_MAX_CHANNELS} are the most; "
            "make a list of several recordings"
        )


def _scaling(dtype: np.dtype) -> str:
    """How integers become samples, in words that follow what is wanted."""
    if dtype.kind == "u":
        half = np.iinfo(dtype).max // 2 + 1
        return f"; divide by {half}.0 and subtract 1"
    if dtype.kind == "i":  # whose own range says nothing: int64 mostly holds samples of 16 bits
        ranges = "128.0 of 8 bits, 32768.0 of 16, 8388608.0 of 24, 2147483648.0 of 32"
        return f"; divide by the range of its samples: {ranges}"
    return ""
