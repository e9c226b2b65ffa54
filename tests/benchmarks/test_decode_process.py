"""Tests that both decoders of the benchmark decode the same window."""

import numpy as np
import pytest

from mulan.benchmarks.decode_process import FORMATS, RATE_HZ, by_mulan, by_soundfile, encoded


@pytest.mark.parametrize("form", FORMATS)
def test_both_decoders_decode_the_same_window(form: str) -> None:
    audio = encoded(*FORMATS[form], seconds=3)
    ours, plain = np.zeros(RATE_HZ, np.int16), np.zeros(RATE_HZ, np.int16)
    by_mulan(audio, ours, 0.37)
    by_soundfile(audio, plain, 0.37)
    inner = slice(200, -200)  # soundfile's window is resampled without its surroundings
    # one starts at a sample of the output, the other at a sample of the file
    assert np.abs(ours[inner].astype(int) - plain[inner]).max() < 0.03 * np.abs(ours).max() + 900
    assert np.corrcoef(ours[inner], plain[inner])[0, 1] > 0.98
