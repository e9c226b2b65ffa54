"""Windows of audio for encoders."""

import numpy as np


def noise(windows: int, samples: int, *, seed: int = 0) -> np.ndarray:
    """Returns windows of noise of different loudness, int16 [windows, samples]."""
    rng = np.random.default_rng(seed)
    loudness = rng.uniform(300, 6000, (windows, 1))
    return rng.normal(0, loudness, (windows, samples)).clip(-32768, 32767).astype(np.int16)
