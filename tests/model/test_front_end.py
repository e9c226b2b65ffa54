import math

import numpy as np
import pytest
import torch

from mulan.config.sections import VggishFrontEnd
from mulan.model.front_end import LogMel, SpecAugment


def reference_log_mel(waveform: np.ndarray, section: VggishFrontEnd, sample_rate_hz: int) -> np.ndarray:
    """float64 [samples] to [mel_channels, frames], written from the formulas."""
    window_samples = round(section.window_ms * sample_rate_hz / 1000)
    hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
    fft_size = 2 ** math.ceil(math.log2(window_samples))
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window_samples) for n in range(window_samples)]
    columns = []
    start = 0
    while start + window_samples <= len(waveform):
        magnitude = np.abs(np.fft.rfft(waveform[start : start + window_samples] * hann, n=fft_size))
        columns.append([np.dot(weights, magnitude) for weights in reference_filters(section, fft_size, sample_rate_hz)])
        start += hop_samples
    return (np.log(np.array(columns).T + section.log_offset) - section.mean) / section.deviation


def reference_filters(section: VggishFrontEnd, fft_size: int, sample_rate_hz: int) -> list[list[float]]:
    """HTK: mel = 2595 log10(1 + f / 700); triangles between edges that are equally spaced in mel."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (section.mel_low_hz, section.mel_high_hz))
    count = section.mel_channels
    edges = [700 * (10 ** ((low + (high - low) * i / (count + 1)) / 2595) - 1) for i in range(count + 2)]
    frequencies = [bin * sample_rate_hz / fft_size for bin in range(fft_size // 2 + 1)]
    return [
        [max(0.0, min((f - left) / (peak - left), (right - f) / (right - peak))) for f in frequencies]
        for left, peak, right in zip(edges, edges[1:], edges[2:], strict=False)
    ]


@pytest.mark.parametrize(
    ("section", "sample_rate_hz"),
    [
        (VggishFrontEnd(), 16_000),
        (VggishFrontEnd(mel_channels=30, window_ms=31.3, hop_ms=12.5, mel_low_hz=0, mel_high_hz=4000, mean=2.0), 8000),
        (VggishFrontEnd(mel_channels=24, window_ms=32.0), 16_000),  # the window fills the whole FFT
        (VggishFrontEnd(mel_channels=24, window_ms=24.9375), 16_000),  # an odd number of samples
    ],
)
def test_log_mel_is_that_of_the_formulas(section: VggishFrontEnd, sample_rate_hz: int) -> None:
    samples = np.random.default_rng(0).normal(0, 3000, sample_rate_hz // 2 + 17).astype(np.int16)
    samples[: len(samples) // 3] //= 1000  # near silence, where the offset decides
    expected = reference_log_mel(samples / 32768.0, section, sample_rate_hz)

    computed = LogMel(section, sample_rate_hz=sample_rate_hz)(torch.from_numpy(samples))

    assert computed.dtype == torch.float32
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed.numpy(), expected, atol=2e-5)


def test_ten_seconds_are_998_frames_as_in_the_original_network() -> None:
    log_mel = LogMel(VggishFrontEnd(), sample_rate_hz=16_000)
    assert log_mel.frames(160_000) == 998
    assert log_mel(torch.zeros(160_000)).shape == (64, 998)


@pytest.mark.parametrize("samples", [0, 399, 400, 559, 560, 561, 4000])
def test_number_of_frames_is_announced(samples: int) -> None:
    log_mel = LogMel(VggishFrontEnd(), sample_rate_hz=16_000)
    assert log_mel.frames(samples) == len(range(0, samples - 400 + 1, 160))
    if samples >= 400:
        assert log_mel(torch.zeros(samples)).shape[-1] == log_mel.frames(samples)


def test_int16_and_float_waveforms_and_leading_dimensions_agree() -> None:
    log_mel = LogMel(VggishFrontEnd(mel_channels=20), sample_rate_hz=16_000)
    waveform = torch.randint(-32768, 32767, (2, 3, 4000), dtype=torch.int16)
    together = log_mel(waveform)
    assert together.shape == (2, 3, 20, log_mel.frames(4000))
    torch.testing.assert_close(together, log_mel(waveform.double() / 32768))
    torch.testing.assert_close(together[1, 2], log_mel(waveform[1, 2]))


def test_stays_float32_under_autocast() -> None:
    log_mel = LogMel(VggishFrontEnd(), sample_rate_hz=16_000)
    waveform = torch.randint(-999, 999, (2, 8000), dtype=torch.int16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = log_mel(waveform)
    assert torch.equal(under_autocast, log_mel(waveform))


def test_holds_nothing_that_a_checkpoint_would_have_to_keep() -> None:
    assert LogMel(VggishFrontEnd(), sample_rate_hz=16_000).state_dict() == {}


def masked_examples(section: VggishFrontEnd, *, examples: int, bins: int, frames: int) -> torch.Tensor:
    """[examples, bins, frames], True where masked."""
    return SpecAugment(section).train()(torch.ones(examples, bins, frames)) == 0


def test_masks_are_one_band_and_one_stretch_with_uniform_widths() -> None:
    torch.manual_seed(0)
    examples, widest_band, widest_stretch = 6000, 5, 8
    section = VggishFrontEnd(frequency_mask_bins=widest_band, time_mask_frames=widest_stretch)
    masked = masked_examples(section, examples=examples, bins=16, frames=30)
    bands, stretches = masked.all(dim=2), masked.all(dim=1)

    assert torch.equal(masked, bands[:, :, None] | stretches[:, None, :])
    for masks, widest in ((bands, widest_band), (stretches, widest_stretch)):
        edges = (masks[:, 1:] != masks[:, :-1]).sum(dim=1) + masks[:, 0] + masks[:, -1]
        assert set(edges.tolist()) == {0, 2}  # nothing, or one piece
        counts = torch.bincount(masks.sum(dim=1))
        assert len(counts) == widest  # widths 0 to widest - 1
        expected = examples / widest
        assert (counts - expected).abs().max() < 4 * math.sqrt(expected)
        assert masks[:, :-1].any(dim=0).all()  # torchaudio's masks end before the last place
        centre = (masks * torch.arange(masks.shape[1])).sum() / masks.sum()
        assert abs(centre - (masks.shape[1] - 1) / 2) < 1  # and stand up to a place too low for it
    assert abs(torch.corrcoef(torch.stack([bands.sum(1), stretches.sum(1)]).float())[0, 1]) < 0.05


def test_masks_depend_on_the_seed_alone() -> None:
    augment, spectrogram = SpecAugment(VggishFrontEnd()).train(), torch.randn(4, 2, 64, 100)
    torch.manual_seed(7)
    first, second = augment(spectrogram), augment(spectrogram)
    torch.manual_seed(7)
    assert torch.equal(augment(spectrogram), first)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0, 0] == 0, first[0, 1] == 0)  # each example has its own


def test_nothing_is_masked_in_evaluation_or_with_width_0() -> None:
    spectrogram = torch.randn(4, 64, 100)
    assert torch.equal(SpecAugment(VggishFrontEnd()).eval()(spectrogram), spectrogram)
    no_masks = VggishFrontEnd(frequency_mask_bins=0, time_mask_frames=0)
    assert torch.equal(SpecAugment(no_masks).train()(spectrogram), spectrogram)
    only_time = VggishFrontEnd(frequency_mask_bins=0, time_mask_frames=50)
    assert not masked_examples(only_time, examples=50, bins=16, frames=100).all(dim=2).any()
