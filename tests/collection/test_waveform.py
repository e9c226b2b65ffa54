"""The picture of a waveform equals that of the whole recording, whatever windows cover it."""

import numpy as np
import pytest

from mulan.collection.waveform import WaveformPicture
from mulan.data.audio.windows import evenly_spaced_windows


def naive(samples: np.ndarray) -> list[int]:
    parts = []
    for k in range(200):
        first = k * len(samples) // 200
        last = max(first + 1, (k + 1) * len(samples) // 200)
        peak = max(abs(int(each)) for each in samples[first:last])
        parts.append(min(255, round(255 * peak / 32767)))
    return parts


@pytest.mark.parametrize("count", [1, 2, 7, 199, 200, 201, 399, 400, 1000, 12_345])
@pytest.mark.parametrize("window", [1, 50, 333, 4000])
def test_any_windows_give_the_picture_of_the_whole(count: int, window: int) -> None:
    generator = np.random.default_rng(count)
    samples = (generator.integers(-32768, 32768, count) * generator.random(count)).astype(np.int16)
    samples[0] = -32768
    waveform = WaveformPicture(count)
    for start in evenly_spaced_windows(count, window).tolist():
        waveform.add(start, samples[start : start + window])
    assert list(waveform.content) == naive(samples)
