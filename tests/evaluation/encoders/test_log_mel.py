"""Tests that the log-mel baseline equals a naive computation in float64."""

import numpy as np
import pytest
import torch

from mulan.config.audio import VggishFrontEndConfig
from mulan.config.errors import MulanError
from mulan.evaluation.encoders.log_mel import open_log_mel
from mulan.model.audio.front_end import LogMel
from tests.evaluation.encoders.windows import noise


def test_the_vectors_are_means_and_deviations_over_time() -> None:
    encoder, windows = open_log_mel(device="cpu"), noise(18, 160_000)
    rows = encoder.embed_audio(windows)
    assert (rows.shape, rows.dtype) == ((18, 128), np.float32)
    front_end = LogMel(VggishFrontEndConfig(), sample_rate_hz=16_000)
    for row, window in list(zip(rows, windows, strict=True))[::8]:
        spectrogram = front_end(torch.from_numpy(window)).numpy().astype(np.float64)
        assert spectrogram.shape == (64, 998)
        means = [sum(channel) / 998 for channel in spectrogram]
        variances = [sum((channel - mean) ** 2) / 998 for channel, mean in zip(spectrogram, means, strict=True)]
        np.testing.assert_allclose(row, np.concatenate([means, np.sqrt(variances)]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_audio(windows[::-1])[::-1], rows, rtol=0, atol=1e-6)
    info = encoder.info
    assert (info.name, info.dim, info.is_unit, info.embeds_text) == ("log_mel", 128, False, False)
    assert info == open_log_mel(device="cpu").info


def test_louder_audio_has_larger_means_and_silence_does_not_vary() -> None:
    encoder, windows = open_log_mel(device="cpu"), noise(1, 160_000) // 4
    quiet, loud, silent = encoder.embed_audio(np.concatenate([windows, windows * 4, windows * 0]))
    assert (loud[:64] > quiet[:64]).all()
    assert (quiet[:64] > silent[:64]).all()
    np.testing.assert_allclose(silent[64:], 0, atol=1e-7)


def test_rows_do_not_depend_on_the_others() -> None:
    encoder, windows = open_log_mel(device="cpu"), noise(20, 160_000)
    together = encoder.embed_audio(windows)
    alone = np.concatenate([encoder.embed_audio(windows[row : row + 1]) for row in range(20)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_other_arrays_are_rejected() -> None:
    encoder = open_log_mel(device="cpu")
    assert encoder.embed_audio(np.zeros((0, 160_000), np.int16)).shape == (0, 128)
    with pytest.raises(MulanError, match=r"embed_audio takes an int16 array \[n, 160000\], not float32"):
        encoder.embed_audio(np.zeros((1, 160_000), np.float32))
    with pytest.raises(MulanError, match="embeds audio alone"):
        encoder.embed_text(["piano"])
