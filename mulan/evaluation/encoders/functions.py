"""Encoder for models of other projects, which are adapted by one or two functions."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Self

import numpy as np
import torch

from mulan.config.functions import UserFunctionError, import_function
from mulan.data.errors import one_line
from mulan.evaluation.encoders.digest import file_sha256, text_sha256
from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo
from mulan.model.inference.inputs import check_windows, checked_texts
from mulan.model.inference.passes import in_passes, windows_of_a_pass

KIND = "python"
_TEXTS_AT_ONCE = 64
"""Maximum number of texts in one call."""
_MAX_CHANGE = 1e-2
"""Maximum change of a row with the other windows of a call, relative to the largest value. Half precision changes rows
less; a network in training mode, whose batch norm and dropout are on, changes them more."""
_MAX_RATE_HZ = 1_000_000
_MAX_WINDOW_SAMPLES = 2**27
_REMEDY = (
    "The function takes no arguments and returns an object with sample_rate_hz, window_samples, "
    "embed_audio(windows), which takes float32 [n, window_samples] in [-1, 1] and returns floating point [n, d], "
    "and optionally embed_text(texts), which takes a list of strings and returns floating point [n, d] of the same "
    f"space; name it as {KIND}=MODULE:FUNCTION."
)


class FunctionError(EncoderError):
    """Raised when an encoder of a user's own cannot be used. The message is one line."""

    def __init__(self, function: str, fault: str, remedy: str = _REMEDY) -> None:
        """
        Args:
            function: Name of the function as ``MODULE:FUNCTION``.
            fault: What is wrong, without a full stop.
            remedy: One or more sentences, with which the message ends.
        """
        self.function, self.fault, self.remedy = function, one_line(fault, 1000), remedy
        super().__init__(f"encoder {KIND}={one_line(function)}: {self.fault}. {remedy}")

    def __reduce__(self) -> tuple[type["FunctionError"], tuple[str, str, str]]:
        return type(self), (self.function, self.fault, self.remedy)


class FunctionEncoder:
    """An object of a user's own that embeds windows and, in the same space, texts if it has ``embed_text``.

    With ``embed_text``, vectors are compared by cosine similarity: those of windows and of texts are normalised here.
    Without it, vectors are kept as they are.
    """

    def __init__(self, info: EncoderInfo, adapted: Any, *, windows_at_once: int) -> None:
        """
        Args:
            info: What the encoder is.
            adapted: Object with ``embed_audio`` and, if ``info.embeds_text``, ``embed_text``.
            windows_at_once: Maximum number of windows in one call.
        """
        self._info, self._adapted, self._windows_at_once = info, adapted, windows_at_once

    @classmethod
    def open(cls, function: str, *, name: str, device: str | None = None) -> Self:
        """Imports and calls a function, and embeds two windows and two texts with what it returns.

        Args:
            function: Name of the function as ``MODULE:FUNCTION``.
            name: Name of the encoder in reports.
            device: The device on which windows are likely to be embedded, for the number of windows in one call; the
                function itself chooses the device. If None, a CUDA device if available, otherwise the CPU.

        Raises:
            FunctionError: The function does not exist or raises an exception, or what it returns is no encoder.
        """
        try:
            module, factory = import_function(function)
        except UserFunctionError as error:
            raise FunctionError(function, error.fault, error.remedy or _REMEDY) from error
        try:
            adapted = factory()
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            raise FunctionError(function, f"the function raised {_shown(error)}") from error
        rate_hz, window_samples = _window_of(function, adapted)
        answers = _called(function, adapted, "embed_audio", _sounds(rate_hz, window_samples).astype(np.float32) / 32768)
        embeds_text = callable(getattr(adapted, "embed_text", None))
        info = EncoderInfo(
            name=name,
            kind=KIND,
            uri=function,
            sha256=text_sha256(KIND, function, _version(function, module, adapted, answers)),
            sample_rate_hz=rate_hz,
            window_samples=window_samples,
            dim=answers.shape[1],
            is_unit=embeds_text,
            embeds_text=embeds_text,
        )
        likely = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder = cls(info, adapted, windows_at_once=windows_of_a_pass(likely.type, window_samples))
        encoder._check(_sounds(rate_hz, window_samples))
        return encoder

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        return self._info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows, int16 [n, window_samples], as float32 [n, d]; as unit rows if it embeds texts too.

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
            FunctionError: The function raises an exception, or does not return such vectors.
        """
        check_windows(windows, self._info.window_samples, function="embed_audio")
        return in_passes(self._audio_rows, windows, at_once=self._windows_at_once, dim=self._info.dim)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not a sequence of strings of valid Unicode; lists all other items.
            FunctionError: The function raises an exception, or does not return such vectors; or there is none.
        """
        if not self._info.embeds_text:
            raise FunctionError(self._info.uri, "the object that it returns has no function embed_text")
        items = checked_texts(texts)
        starts = range(0, len(items), _TEXTS_AT_ONCE)
        rows = [self._rows("embed_text", items[start : start + _TEXTS_AT_ONCE]) for start in starts]
        return np.concatenate([np.zeros((0, self._info.dim), np.float32), *rows])

    def _audio_rows(self, windows: np.ndarray) -> np.ndarray:
        return self._rows("embed_audio", windows.astype(np.float32) / 32768)

    def _rows(self, method: str, items: Any) -> np.ndarray:
        """Calls a function with windows or texts, and checks and normalises what it returns."""
        rows = _called(self._info.uri, self._adapted, method, items)
        if rows.shape[1] != self._info.dim:
            other = "of size {} before" if method == "embed_audio" else "embed_audio of size {}"
            fault = f"{method} returned vectors of size {rows.shape[1]}, but {other.format(self._info.dim)}"
            raise FunctionError(self._info.uri, fault)
        if self._info.is_unit:
            norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
            if not norms.all():
                raise FunctionError(self._info.uri, f"{method} returned a vector of zeros, which has no direction")
            rows = (rows / norms).astype(np.float32)
        return rows

    def _check(self, windows: np.ndarray) -> None:
        """Checks that a window's vector does not depend on the other windows, and that texts can be embedded."""
        together, alone = self.embed_audio(windows), self.embed_audio(windows[1:])
        change = float(np.abs(together[1:] - alone).max() / max(np.abs(alone).max(), np.finfo(np.float32).tiny))
        if change > _MAX_CHANGE:
            fault = f"embed_audio returns other vectors for a window with other windows beside it (by {change:.0%})"
            raise FunctionError(self._info.uri, fault, "Call eval() of the network, and draw no random numbers.")
        if self._info.embeds_text:
            self.embed_text(["music", "a song with a slow piano"])


def _window_of(function: str, adapted: Any) -> tuple[int, int]:
    """Returns the sample rate and the length of the windows that an object states."""
    faults, numbers = [], []
    for name, largest in (("sample_rate_hz", _MAX_RATE_HZ), ("window_samples", _MAX_WINDOW_SAMPLES)):
        number: Any = getattr(adapted, name, None)
        is_whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if is_whole and 1 <= number <= largest:
            numbers.append(int(number))
        else:
            faults.append(f"its {name} is {number!r:.40}, not a whole number from 1 to {largest}")
    if not callable(getattr(adapted, "embed_audio", None)):
        faults.append("it has no function embed_audio")
    if faults:
        raise FunctionError(function, f"the function returned a {type(adapted).__name__}: {'; '.join(faults)}")
    return numbers[0], numbers[1]


def _version(function: str, module: ModuleType, adapted: Any, answers: np.ndarray) -> str:
    """Returns what changes if the encoder does: the version that the object states, or the module's source and what it
    answers, which other weights change.

    Args:
        function: Name of the function.
        module: Its module.
        adapted: What it returned.
        answers: Vectors of :func:`_sounds`.
    """
    stated = getattr(adapted, "version", None)
    if isinstance(stated, str) and stated:
        return stated
    source = getattr(module, "__file__", None)
    if source is None or not source.endswith(".py"):
        fault = f"the module {module.__name__} has no source file, by which its vectors could be told from others"
        raise FunctionError(function, fault, "Give the object an attribute version, a text.")
    return f"{file_sha256(source)} {_summary(answers)}"


def _summary(vectors: np.ndarray) -> list[int]:
    """Returns a few numbers that change with vectors, but hardly ever with the order of additions on a GPU."""
    unit = vectors.ravel().astype(np.float64) / max(float(np.linalg.norm(vectors.astype(np.float64))), 1e-300)
    directions = np.random.default_rng(0).normal(size=(8, unit.size))
    summary: list[int] = np.rint(1000 * directions @ unit).astype(int).tolist()
    return summary


def _sounds(rate_hz: int, window_samples: int) -> np.ndarray:
    """Returns a window with a tone and one with noise, int16 [2, window_samples]."""
    tone = 8000 * np.sin(2 * np.pi * 440 / rate_hz * np.arange(window_samples))
    noise = np.random.default_rng(0).normal(0, 3000, window_samples).clip(-32768, 32767)
    return np.stack([tone, noise]).astype(np.int16)


def _called(function: str, adapted: Any, method: str, items: Any) -> np.ndarray:
    """Calls a function of an object with n items, and checks that it returns n finite vectors, float32 [n, d]."""
    try:
        result = getattr(adapted, method)(items)
        # tensors of torch, on any device and with a gradient
        result = result.detach().cpu().float().numpy() if hasattr(result, "detach") else np.asarray(result)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise FunctionError(function, f"{method} raised {_shown(error)}") from error
    if not np.issubdtype(result.dtype, np.floating) or result.ndim != 2 or len(result) != len(items):
        fault = f"{method} returned {result.dtype} {list(result.shape)} for {len(items)} items"
        raise FunctionError(function, f"{fault}, not floating point [{len(items)}, d]")
    if not result.shape[1]:
        raise FunctionError(function, f"{method} returned vectors of size 0")
    with np.errstate(over="ignore"):  # becomes infinite
        rows = result.astype(np.float32)
    bad = int((~np.isfinite(rows).all(axis=1)).sum())
    if bad:
        raise FunctionError(function, f"{method} returned NaN or infinite values in {bad} of {len(rows)} vectors")
    return rows


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
