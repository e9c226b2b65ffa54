"""Checks of the inputs that users pass for embedding, and the windows of recordings."""

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

_SINGLE_ITEM_TYPES = str | bytes | bytearray | memoryview | array.array | os.PathLike
_ARROW_TYPES = pa.Array | pa.ChunkedArray
_SEQUENCE_DTYPE_KINDS = {"O", "U", "S", "T"}
"""Kinds of NumPy dtypes (objects and strings) whose arrays are sequences of items; any other array is a single item."""


class EmbeddingInputError(MulanError, ValueError):
    """Audio or text that cannot be embedded. The message lists all faults, up to :data:`MAX_FAULTS`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(one_line, faults))
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        super().__init__("; ".join([*self.faults[:MAX_FAULTS], *more]))

    def __reduce__(self) -> tuple[type["EmbeddingInputError"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


def as_list(inputs: Iterable[Any], function: str, expected: str) -> list[Any]:
    """Converts an iterable to a list in a single pass, after checking that it is a collection of items.

    Args:
        inputs: A finite, ordered iterable such as a list, a generator or a column of a table.
        function: Name of the public function that was called, for messages.
        expected: Description of the items that it expects, in the plural, for messages.

    Raises:
        EmbeddingInputError: The argument is a single item, a sequence of numbers, an open file, or unordered.
    """
    fault = _collection_fault(inputs)
    if not fault:
        # iteration over an Arrow array yields Arrow scalars instead of Python objects
        items = inputs.to_pylist() if isinstance(inputs, _ARROW_TYPES) else list(inputs)
        if len(items) <= MAX_FAULTS or not all(isinstance(item, Real) for item in items):
            return items
        fault = f", not a {type(inputs).__name__} of numbers"  # probably the samples of one recording
    raise EmbeddingInputError([f"{function} takes a list of {expected}{fault}"])


def _collection_fault(inputs: Any) -> str:
    """Returns why an argument is not a collection of items, as the end of a message; empty if it is one."""
    type_name, dimensions = type(inputs).__name__, getattr(inputs, "ndim", 1)
    dtype_kind = getattr(getattr(inputs, "dtype", None), "kind", "")  # empty with libraries other than NumPy
    if isinstance(inputs, _ARROW_TYPES):
        return ""
    if isinstance(inputs, _SINGLE_ITEM_TYPES):
        return "; put a single one in a list"
    if not isinstance(inputs, Iterable):
        return f", not a {type_name}"
    if hasattr(inputs, "__dlpack__") and dtype_kind not in _SEQUENCE_DTYPE_KINDS:
        stacked = ", or convert a stack of several with list(...)" if dimensions > 1 else ""
        return f", not a {type_name}; put a single one in a list{stacked}"
    if isinstance(inputs, io.IOBase) or hasattr(inputs, "readline"):
        return ", not an open file; pass its path or its content in a list"
    if isinstance(inputs, Mapping):
        return f", not a {type_name}; pass its keys() or values()"
    if isinstance(inputs, Set) and not isinstance(inputs, MappingView):
        return f", not a {type_name}, which is unordered; sort it"
    return "" if dimensions == 1 else f", not a {dimensions}-dimensional {type_name}; pass one of its columns or rows"


def checked_texts(texts: Iterable[str]) -> list[str]:
    """Converts an iterable of texts to a list, and checks each of them.

    Raises:
        EmbeddingInputError: The argument is not a collection, or items are not strings or not valid Unicode; lists
            all such items.
    """
    items = as_list(texts, "embed_text", "strings")
    faults = []
    for index, text in enumerate(items):
        if not isinstance(text, str):
            remedy = "; decode it" if isinstance(text, bytes) else ""
            faults.append(f"texts[{index}] is a {type(text).__name__}, not a string{remedy}")
        elif not is_unicode(text):
            faults.append(f"texts[{index}] contains a lone surrogate, which is not valid Unicode: {text!r:.80}")
    if faults:
        raise EmbeddingInputError(faults)
    return items


AudioInput = str | os.PathLike[str] | np.ndarray
"""The path of an audio file, or an array [samples] or [channels, samples], int16 or floating point in [-1, 1]."""

_MAX_CHANNELS = 64
_MAX_AMPLITUDE = 4.0
"""Maximum magnitude of floating-point samples. Mixes and decoded MP3s exceed 1 by a few decibels; int16 values stored
as floating point exceed it by up to 90 dB."""


def vectors_of_inputs(
    inputs: Iterable[AudioInput],
    sample_rate_hz: int | None,
    *,
    function: str,
    on_error: OnError,
    vector_of: Callable[[AudioInput, int | None], np.ndarray],
) -> tuple[list[np.ndarray], list[SkippedRecording]]:
    """Checks all inputs, then computes their vectors one by one, in order.

    Args:
        inputs: Paths and arrays.
        sample_rate_hz: Sample rate of the arrays.
        function: Name of the public function that was called, for messages.
        on_error: ``"raise"`` raises for the first input that cannot be used, ``"skip"`` skips such inputs.
        vector_of: Computes the vector of an input from the input and its sample rate.

    Returns:
        The vectors of the inputs, and the skipped ones.

    Raises:
        EmbeddingInputError: The argument is not a collection of paths and arrays. With ``"raise"`` also invalid arrays
            and paths, all of which are listed before any file is read.
        DecodeError: A file cannot be decoded, with ``"raise"`` only.
    """
    if not isinstance(on_error, str) or on_error not in ("raise", "skip"):
        raise EmbeddingInputError([f"on_error = {on_error!r:.40} must be 'raise' or 'skip'"])
    items = as_list(inputs, function, "paths or numpy arrays")
    array_indices = [index for index, item in enumerate(items) if isinstance(item, np.ndarray)]
    faults = list(_rate_faults(sample_rate_hz, array_indices)) if array_indices else []
    invalid = {index: item_faults for index, item in enumerate(items) if (item_faults := list(_item_faults(item)))}
    if on_error == "raise":
        faults += [f"{_label(index)} {fault}" for index, item_faults in invalid.items() for fault in item_faults]
    if faults:
        raise EmbeddingInputError(faults)
    rate_hz = int(sample_rate_hz) if array_indices and sample_rate_hz is not None else None
    vectors, skipped = [], []
    for index, item in enumerate(items):
        if index in invalid:
            detail = one_line("; ".join(invalid[index]))
            skipped.append(SkippedRecording(_path_name(item) or _label(index), "not audio", detail))
            continue
        try:
            vectors.append(vector_of(item, rate_hz))
        except DecodeError as error:
            if on_error == "raise":
                raise
            skipped.append(SkippedRecording(_path_name(item), error.reason, error.detail))
    return vectors, skipped


def windows_of(
    item: AudioInput, window_samples: int, *, sample_rate_hz: int | None, model_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yields the windows that cover a checked input. At most one window of a file is in memory at a time.

    Args:
        item: A path or an array.
        window_samples: Length of a window in samples.
        sample_rate_hz: Sample rate of an array; ignored for files, which specify their own.
        model_rate_hz: Sample rate of the windows.

    Yields:
        int16 [window_samples]; see :func:`mulan.data.audio.windows.covering_windows`.

    Raises:
        DecodeError: The file cannot be decoded.
    """
    if isinstance(item, np.ndarray):
        assert sample_rate_hz is not None
        recording = to_mono_int16(np.atleast_2d(item).T, sample_rate_hz, model_rate_hz)
        return windows_of_samples(recording, window_samples)
    return covering_windows(_local_path(os.fsdecode(item)), window_samples, sample_rate_hz=model_rate_hz)


def windows_of_samples(recording: np.ndarray, window_samples: int) -> Iterator[np.ndarray]:
    """Yields the windows of a recording, int16 [samples], as :func:`mulan.data.audio.windows.covering_windows` does."""
    for start in evenly_spaced_windows(len(recording), window_samples).tolist():
        part = recording[start : start + window_samples]
        yield part if len(part) == window_samples else np.pad(part, (0, window_samples - len(part)))


def in_batches(windows: Iterator[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Yields the windows stacked in batches of at most ``batch_size``, [windows, window_samples]."""
    while batch := list(islice(windows, batch_size)):
        yield np.stack(batch)


def check_windows(waveform: np.ndarray, window_samples: int, *, function: str) -> None:
    """Checks that the argument of the public function of this name is an array of windows.

    Raises:
        EmbeddingInputError: The argument is not an int16 array [n, window_samples].
    """
    is_array = isinstance(waveform, np.ndarray)
    if not is_array or waveform.dtype != np.int16 or waveform.ndim != 2 or waveform.shape[1] != window_samples:
        actual = f"{waveform.dtype} {list(waveform.shape)}" if is_array else f"a {type(waveform).__name__}"
        raise EmbeddingInputError([f"{function} takes an int16 array [n, {window_samples}], not {actual}"])


def check_count(name: str, count: int) -> None:
    """Checks that the argument of this name is a number of items.

    Raises:
        EmbeddingInputError: The argument is not a whole number of at least 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise EmbeddingInputError([f"{name} = {count!r:.40} must be a whole number of at least 1"])


def _label(index: int) -> str:
    """Returns the name of an input in messages."""
    return f"paths_or_arrays[{index}]"


def _path_name(item: object) -> str:
    """Returns a path as it was passed, in printable form; empty for anything else."""
    return os.fsdecode(item).encode(errors="backslashreplace").decode() if isinstance(item, str | os.PathLike) else ""


def _rate_faults(sample_rate_hz: Any, array_indices: list[int]) -> Iterator[str]:
    """Yields the faults of the sample rate of the arrays at these indices of the inputs."""
    if sample_rate_hz is None:
        yield from (f"{_label(index)} is an array: pass its sample_rate_hz" for index in array_indices)
        return
    # NumPy's float16 would overflow in a comparison with the maximum rate
    rate_hz = sample_rate_hz.item() if isinstance(sample_rate_hz, np.generic) else sample_rate_hz
    is_number = isinstance(rate_hz, Real) and not isinstance(rate_hz, bool)
    if not is_number or not RATES_HZ[0] <= rate_hz <= RATES_HZ[1] or rate_hz != int(rate_hz):
        bounds = f"a whole number of Hz from {RATES_HZ[0]} to {RATES_HZ[1]}"
        yield f"sample_rate_hz = {sample_rate_hz!r:.40} is not a valid sample rate, {bounds}"


def _item_faults(item: object) -> Iterator[str]:
    """Yields the reasons why an input cannot be embedded, each as a predicate whose subject is the input's name."""
    if isinstance(item, np.ndarray):
        yield from _array_faults(item)
    elif isinstance(item, str | os.PathLike):
        yield from _path_faults(os.fsdecode(item))
    else:
        remedy = ""
        if isinstance(item, bytes | bytearray | memoryview) or hasattr(item, "readline"):
            remedy = "; encoded audio is read from files only: pass a path"
        elif isinstance(item, list | tuple) or hasattr(item, "__array__"):
            remedy = "; convert samples with numpy.asarray"
        yield f"is a {type(item).__name__}, neither a path nor a numpy array{remedy}"


def _path_faults(path: str) -> Iterator[str]:
    local = _local_path(path)
    # pathlib merges the two slashes of a URI into one, which then looks like a mistyped URI
    if not local:
        yield "is an empty path"
    elif (scheme_of(local) or is_mistyped(local)) and not os.path.lexists(local):
        yield f"is the URI {path!r:.200}, but only local files can be read; download it first"


def _local_path(path: str) -> str:
    """Removes ``file://`` and expands ``~``; returns any other URI unchanged."""
    scheme = scheme_of(path)
    return os.path.expanduser(path[len(f"{scheme}://") :] if scheme in LOCAL_SCHEMES else path)


def _array_faults(array: np.ndarray) -> Iterator[str]:
    is_float = np.issubdtype(array.dtype, np.floating)
    if array.dtype.newbyteorder("=") != np.int16 and not is_float:
        yield f"has dtype {array.dtype}; int16 or floating point in [-1, 1] is needed{_conversion_hint(array.dtype)}"
    elif np.ma.is_masked(array):
        yield "has masked samples; fill them"
    elif is_float and array.size:
        amplitude = float(max(array.max(), -array.min()))  # NaN if any sample is
        if not np.isfinite(amplitude):
            yield "contains NaN or infinite samples"
        elif amplitude > _MAX_AMPLITUDE:
            yield (
                f"has a maximum amplitude of {amplitude:.5g}, but floating-point samples must be in [-1, 1]; "
                "divide int16 values by 32768"
            )
    if array.ndim not in (1, 2) or not array.size:
        yield f"has shape {array.shape}; [samples] or [channels, samples] is needed"
    elif array.ndim == 2 and len(array) > array.shape[1]:
        yield (
            f"has shape {array.shape}, which is {len(array)} channels; [channels, samples] is needed: "
            "transpose it with .T"
        )
    elif array.ndim == 2 and len(array) > _MAX_CHANNELS:
        yield (
            f"has shape {array.shape}, which is {len(array)} channels, more than the maximum of {_MAX_CHANNELS}; "
            "pass several recordings as a list"
        )


def _conversion_hint(dtype: np.dtype) -> str:
    """Returns how to convert samples of an integer dtype to floating point, as the end of a message."""
    if dtype.kind == "u":
        half = np.iinfo(dtype).max // 2 + 1
        return f"; divide by {half}.0 and subtract 1"
    if dtype.kind == "i":  # the dtype does not determine the range: int64 mostly holds 16-bit samples
        ranges = "128.0 for 8 bits, 32768.0 for 16, 8388608.0 for 24, 2147483648.0 for 32"
        return f"; divide by the range of its samples: {ranges}"
    return ""
