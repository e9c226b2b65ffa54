"""How many windows of audio go through a network at once."""

from collections.abc import Callable

import numpy as np

WINDOWS_AT_ONCE = 16
"""Maximum number of windows in one forward pass on a CPU, which more would not make faster. Another number would change
the vectors by about 1e-6."""
WINDOWS_AT_ONCE_ON_GPU = 128
"""Maximum number of windows in one forward pass on a GPU, which 16 leave idle between kernels."""
_MAX_SAMPLES = 2**26
"""Maximum number of samples in one forward pass, so that long windows fit into memory: 139 windows of 10 s at 48
kHz."""


def windows_of_a_pass(device_type: str, window_samples: int) -> int:
    """Returns the maximum number of windows in one forward pass, if they may belong to several recordings.

    Args:
        device_type: Type of the device that computes, such as ``cpu``.
        window_samples: Length of a window in samples.
    """
    windows = WINDOWS_AT_ONCE if device_type == "cpu" else WINDOWS_AT_ONCE_ON_GPU
    return min(windows, max(1, _MAX_SAMPLES // window_samples))


def in_passes(
    network: Callable[[np.ndarray], np.ndarray], windows: np.ndarray, *, at_once: int, dim: int
) -> np.ndarray:
    """Computes the vectors of windows in as many passes as they need.

    Args:
        network: Computes the vectors of [at most at_once, window_samples], as float32 [n, dim].
        windows: [n, window_samples].
        at_once: Maximum number of windows in one pass.
        dim: Size of a vector.

    Returns:
        float32 [n, dim].
    """
    rows = [network(windows[start : start + at_once]) for start in range(0, len(windows), at_once)]
    return np.concatenate([np.zeros((0, dim), np.float32), *rows])
