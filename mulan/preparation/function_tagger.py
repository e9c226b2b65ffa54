"""A tagger that is a function of the user's own, which returns the probability of music."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from mulan.config.functions import UserFunctionError, import_function
from mulan.preparation.music_class import MUSIC, MusicDetectorError

PREFIX = "python:"
RATE_HZ = 16_000
"""Sample rate of the waveform that the function receives, in Hz."""
WINDOW_S = 10
"""Duration of the waveform in seconds, that of MuLan's windows (§3.2)."""

_REMEDY = (
    f"The function takes a waveform, float32 [samples] in [-1, 1], and its sample rate in Hz, and returns the "
    f"probability of music, a number from 0 to 1; name it as {PREFIX}MODULE:FUNCTION."
)


def names_function(tagger: str) -> bool:
    """Returns whether a value of ``music.tagger`` names a function; ``python:PACKAGE/FOLDER`` names a folder."""
    return tagger.startswith(PREFIX) and "/" not in tagger


class FunctionTagger:
    """A function as a tagger with one class. The function is called with windows of 10 s at 16 kHz, one by one."""

    def __init__(self, tagger: str, function: Callable[[np.ndarray, int], Any]) -> None:
        """
        Args:
            tagger: Value of ``music.tagger``, for messages.
            function: Takes a waveform, float32 [samples] in [-1, 1], and its sample rate in Hz; returns the probability
                of music.
        """
        self._tagger, self._function = tagger, function
        self.tags: tuple[str, ...] = (MUSIC,)
        self.sample_rate_hz, self.window_samples = RATE_HZ, WINDOW_S * RATE_HZ

    @classmethod
    def load(cls, tagger: str) -> Self:
        """Imports the function that ``python:MODULE:FUNCTION`` names.

        Raises:
            MusicDetectorError: The module cannot be imported, or has no such function.
        """
        try:
            _, function = import_function(tagger.removeprefix(PREFIX))
        except UserFunctionError as error:
            raise MusicDetectorError(tagger, error.fault, error.remedy or _REMEDY) from error
        return cls(tagger, function)

    def check(self) -> None:
        """Calls the function with silence and with a tone.

        Raises:
            MusicDetectorError: The function raises an exception, or does not return a probability.
        """
        tone = 8000 * np.sin(2 * np.pi * 440 / self.sample_rate_hz * np.arange(self.window_samples))
        self.tag_windows(np.stack([np.zeros_like(tone), tone]).astype(np.int16))

    def tag_windows(self, waveform: np.ndarray) -> np.ndarray:
        """Computes the probability of music in windows, int16 [n, window_samples], as float32 [n, 1].

        Raises:
            MusicDetectorError: The function raises an exception, or does not return a probability.
        """
        return np.array([[self._probability(window)] for window in waveform], np.float32).reshape(-1, 1)

    def _probability(self, window: np.ndarray) -> float:
        try:
            result = self._function(window.astype(np.float32) / 32768, self.sample_rate_hz)
            # scalars of NumPy and torch, and arrays with one number
            number = result.item() if hasattr(result, "item") else result
        except Exception as error:  # a user's function may raise anything
            fault = f"the function raised {type(error).__name__}: {error}"
            raise MusicDetectorError(self._tagger, fault, _REMEDY) from error
        if not isinstance(number, int | float) or not 0 <= number <= 1:
            raise MusicDetectorError(self._tagger, f"the function returned {number!r:.80}, not a probability", _REMEDY)
        return float(number)
