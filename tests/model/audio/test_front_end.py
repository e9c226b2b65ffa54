"""Tests spectrograms against their formulas and public implementations, and SpecAugment's masks."""

import math

import numpy as np
import pytest
import torch
import torchaudio.transforms
from transformers import ASTFeatureExtractor
from transformers.models.audio_spectrogram_transformer import feature_extraction_audio_spectrogram_transformer

from mulan.config.audio import (
    DecibelFrontEndConfig,
    KaldiFrontEndConfig,
    MelFrontEndConfig,
    VggishFrontEndConfig,
    WaveformFrontEndConfig,
)
from mulan.model.audio.front_end import DecibelMel, KaldiLogMel, LogMel, SpecAugment, Waveform, front_end
from tests.sounds import tone

SECTIONS = [VggishFrontEndConfig(), KaldiFrontEndConfig(), DecibelFrontEndConfig()]
IDS = ["vggish", "kaldi", "decibel"]


def reference_mel(
    waveform: np.ndarray, section: VggishFrontEndConfig | DecibelFrontEndConfig, sample_rate_hz: int, *, power: int
) -> np.ndarray:
    """Computes a mel spectrogram, [mel_channels, frames], from float64 [samples] by the formulas."""
    window_samples = round(section.window_ms * sample_rate_hz / 1000)
    hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
    fft_size = 2 ** math.ceil(math.log2(window_samples))
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window_samples) for n in range(window_samples)]
    columns = []
    start = 0
    while start + window_samples <= len(waveform):
        magnitude = np.abs(np.fft.rfft(waveform[start : start + window_samples] * hann, n=fft_size))
        columns.append(
            [np.dot(weights, magnitude**power) for weights in reference_filters(section, fft_size, sample_rate_hz)]
        )
        start += hop_samples
    return np.array(columns).T


def reference_filters(
    section: VggishFrontEndConfig | DecibelFrontEndConfig, fft_size: int, sample_rate_hz: int
) -> list[list[float]]:
    """Returns triangular filters between edges that are equally spaced on HTK's scale, 2595 log10(1 + f / 700)."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (section.mel_min_hz, section.mel_max_hz))
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
        (VggishFrontEndConfig(), 16_000),
        (
            VggishFrontEndConfig(mel_channels=30, window_ms=31.3, hop_ms=12.5, mel_min_hz=0, mel_max_hz=4000, mean=2.0),
            8000,
        ),
        (VggishFrontEndConfig(mel_channels=24, window_ms=32.0), 16_000),  # the window has the length of the FFT
        (VggishFrontEndConfig(mel_channels=24, window_ms=24.9375), 16_000),  # an odd number of samples
    ],
)
def test_log_mel_equals_the_formulas(section: VggishFrontEndConfig, sample_rate_hz: int) -> None:
    samples = np.random.default_rng(0).normal(0, 3000, sample_rate_hz // 2 + 17).astype(np.int16)
    samples[: len(samples) // 3] //= 1000  # almost silent, so that the offset dominates
    mel = reference_mel(samples / 32768.0, section, sample_rate_hz, power=1)
    expected = (np.log(mel + section.log_offset) - section.mean) / section.std

    computed = LogMel(section, sample_rate_hz=sample_rate_hz)(torch.from_numpy(samples))

    assert computed.dtype == torch.float32
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("section", "sample_rate_hz"),
    [
        (DecibelFrontEndConfig(), 16_000),
        (DecibelFrontEndConfig(range_db=30.0, mean=-40.0, std=20.0), 16_000),
        (DecibelFrontEndConfig(mel_channels=24, window_ms=31.3, hop_ms=12.5, mel_min_hz=50, mel_max_hz=4000), 8000),
    ],
)
def test_decibels_equal_the_formulas(section: DecibelFrontEndConfig, sample_rate_hz: int) -> None:
    samples = np.random.default_rng(0).normal(0, 3000, sample_rate_hz // 2 + 17).astype(np.int16)
    samples[: len(samples) // 3] //= 1000  # 60 dB below the rest
    decibels = 10 * np.log10(np.maximum(reference_mel(samples / 32768.0, section, sample_rate_hz, power=2), 1e-10))
    expected = (np.maximum(decibels, decibels.max() - section.range_db) - section.mean) / section.std

    computed = DecibelMel(section, sample_rate_hz=sample_rate_hz)(torch.from_numpy(samples))

    assert computed.dtype == torch.float32
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed.numpy(), expected, atol=2e-3)


def test_decibels_equal_those_of_torchaudio_for_single_examples(recording: np.ndarray) -> None:
    mel = torchaudio.transforms.MelSpectrogram(
        n_fft=512, hop_length=256, n_mels=96, f_min=0.0, f_max=8000.0, center=False
    )
    decibels = torchaudio.transforms.AmplitudeToDB(stype="power", top_db=80.0)
    waveforms = torch.from_numpy(recording / np.float32(32768)) * torch.tensor([[1.0], [0.1], [1e-4], [0.0]])
    computed = DecibelMel(DecibelFrontEndConfig(), sample_rate_hz=16_000)(waveforms)
    assert computed.shape == (4, 96, 624)
    for one, waveform in zip(computed, waveforms, strict=True):
        torch.testing.assert_close(one, decibels(mel(waveform)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("views", [(), (2,)])
def test_an_example_in_decibels_does_not_depend_on_its_neighbours(views: tuple[int, ...]) -> None:
    decibels = DecibelMel(DecibelFrontEndConfig(range_db=20.0), sample_rate_hz=16_000)
    noise = torch.randn(3, *views, 4000, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([1e-3, 0.0, 1.0]).view(3, *(1 for _ in views), 1)
    beside_loud, beside_silence = decibels(noise * scales), decibels(noise * scales * (scales < 1))
    assert torch.equal(beside_loud[:2], beside_silence[:2])
    torch.testing.assert_close(beside_loud[0], decibels(noise[0] * 1e-3))
    assert torch.equal(beside_loud[1], torch.full_like(beside_loud[1], -100.0))  # silence


@pytest.fixture
def recording() -> np.ndarray:
    """Returns int16 [160000]: silence, noise of one bit, and a loud tone with noise, all with a constant offset."""
    generator = np.random.default_rng(0)
    loud = tone(440.0, 10.0, seed=1) * 30_000
    loud[:16_000] = 0
    loud[16_000:48_000] = generator.normal(0, 1, 32_000)
    return np.rint(loud + 100).astype(np.int16)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize("has_torchaudio", [True, False])
@pytest.mark.parametrize("section", [KaldiFrontEndConfig(), KaldiFrontEndConfig(mel_channels=40, mean=-1.0, std=3.0)])
def test_kaldi_log_mel_equals_the_feature_extractor(
    section: KaldiFrontEndConfig, has_torchaudio: bool, recording: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extractor of ``transformers`` uses torchaudio or, if it is not installed, float64 in numpy."""
    monkeypatch.setattr(feature_extraction_audio_spectrogram_transformer, "is_speech_available", lambda: has_torchaudio)
    form = {"num_mel_bins": section.mel_channels, "mean": section.mean, "std": section.std / 2}
    computed = KaldiLogMel(section, sample_rate_hz=16_000)(torch.from_numpy(recording))
    assert computed.dtype == torch.float32
    assert computed.shape == (section.mel_channels, 998)
    for max_length in (998, 1024):  # the second pads with zeros, which are ignored
        extractor = ASTFeatureExtractor(max_length=max_length, **form)
        expected = extractor(recording / np.float32(32768), sampling_rate=16_000)["input_values"][0]
        np.testing.assert_allclose(computed.T, expected[:998], atol=1e-4)


def test_kaldi_filters_peak_at_the_frequency_of_a_tone() -> None:
    """The filters are equally spaced on the mel scale, 1127 ln(1 + f / 700), from 20 to 8000 Hz."""
    low, high, at = (1127 * math.log(1 + f / 700) for f in (20, 8000, 1000))
    spectrogram = KaldiLogMel(KaldiFrontEndConfig(), sample_rate_hz=16_000)(torch.from_numpy(tone(1000.0, 0.5)))
    assert spectrogram.mean(dim=1).argmax() == round((at - low) / ((high - low) / 129)) - 1


@pytest.mark.parametrize("section", [VggishFrontEndConfig(), KaldiFrontEndConfig()], ids=["vggish", "kaldi"])
def test_ten_seconds_are_998_frames_as_in_the_original_networks(section: MelFrontEndConfig) -> None:
    log_mel = front_end(section, sample_rate_hz=16_000)
    assert log_mel.frames(160_000) == 998
    assert log_mel(torch.zeros(160_000)).shape == (section.mel_channels, 998)


@pytest.mark.parametrize(
    ("section", "window", "hop"), [*zip(SECTIONS, (400, 400, 512), (160, 160, 256), strict=True)], ids=IDS
)
def test_frames_returns_the_number_of_frames(section: MelFrontEndConfig, window: int, hop: int) -> None:
    log_mel = front_end(section, sample_rate_hz=16_000)
    for samples in (0, window - 1, window, window + hop - 1, window + hop, window + hop + 1, 4000):
        assert log_mel.frames(samples) == len(range(0, samples - window + 1, hop))
        if samples >= window:
            assert log_mel(torch.zeros(samples)).shape[-1] == log_mel.frames(samples)


@pytest.mark.parametrize("section", SECTIONS, ids=IDS)
def test_int16_and_float_waveforms_and_leading_dimensions_agree(section: MelFrontEndConfig) -> None:
    log_mel = front_end(section, sample_rate_hz=16_000)
    waveform = torch.randint(-32768, 32767, (2, 3, 4000), dtype=torch.int16)
    together = log_mel(waveform)
    assert together.shape == (2, 3, section.mel_channels, log_mel.frames(4000))
    torch.testing.assert_close(together, log_mel(waveform.double() / 32768))
    torch.testing.assert_close(together[1, 2], log_mel(waveform[1, 2]))


@pytest.mark.parametrize("section", SECTIONS, ids=IDS)
def test_stays_float32_under_autocast(section: MelFrontEndConfig) -> None:
    log_mel = front_end(section, sample_rate_hz=16_000)
    waveform = torch.randint(-999, 999, (2, 8000), dtype=torch.int16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = log_mel(waveform)
    assert torch.equal(under_autocast, log_mel(waveform))


def test_a_waveform_is_converted_to_float32() -> None:
    waveform = front_end(WaveformFrontEndConfig(), sample_rate_hz=22_050)
    assert isinstance(waveform, Waveform)
    samples = torch.tensor([[-32768, 0, 16384]], dtype=torch.int16)
    expected = torch.tensor([[-1.0, 0.0, 0.5]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for form in (samples, samples.double() / 32768):
            assert waveform(form).dtype == torch.float32
            assert torch.equal(waveform(form), expected)
    assert waveform.state_dict() == {}


@pytest.mark.parametrize("section", SECTIONS, ids=IDS)
def test_has_no_state(section: MelFrontEndConfig) -> None:
    assert front_end(section, sample_rate_hz=16_000).state_dict() == {}


def masked_examples(section: VggishFrontEndConfig, *, examples: int, bins: int, frames: int) -> torch.Tensor:
    """Returns the mask of each example, bool [examples, bins, frames]."""
    return SpecAugment(section).train()(torch.ones(examples, bins, frames)) == 0


def test_masks_are_one_band_and_one_stretch_with_uniform_widths() -> None:
    torch.manual_seed(0)
    examples, widest_band, widest_stretch = 6000, 5, 8
    section = VggishFrontEndConfig(frequency_mask_bins=widest_band, time_mask_frames=widest_stretch)
    masked = masked_examples(section, examples=examples, bins=16, frames=30)
    bands, stretches = masked.all(dim=2), masked.all(dim=1)

    assert torch.equal(masked, bands[:, :, None] | stretches[:, None, :])
    for masks, widest in ((bands, widest_band), (stretches, widest_stretch)):
        edges = (masks[:, 1:] != masks[:, :-1]).sum(dim=1) + masks[:, 0] + masks[:, -1]
        assert set(edges.tolist()) == {0, 2}  # no mask, or a single one
        counts = torch.bincount(masks.sum(dim=1))
        assert len(counts) == widest  # widths 0 to widest - 1
        expected = examples / widest
        assert (counts - expected).abs().max() < 4 * math.sqrt(expected)
        assert masks[:, :-1].any(dim=0).all()  # torchaudio's masks end before the last index
        centre = (masks * torch.arange(masks.shape[1])).sum() / masks.sum()
        assert abs(centre - (masks.shape[1] - 1) / 2) < 1  # which shifts them down by up to one index
    assert abs(torch.corrcoef(torch.stack([bands.sum(1), stretches.sum(1)]).float())[0, 1]) < 0.05


@pytest.mark.parametrize("section", [VggishFrontEndConfig(), KaldiFrontEndConfig()], ids=["vggish", "kaldi"])
def test_masks_depend_on_the_seed_alone(section: MelFrontEndConfig) -> None:
    augment, spectrogram = SpecAugment(section).train(), torch.randn(4, 2, section.mel_channels, 200)
    torch.manual_seed(7)
    first, second = augment(spectrogram), augment(spectrogram)
    torch.manual_seed(7)
    assert torch.equal(augment(spectrogram), first)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0, 0] == 0, first[0, 1] == 0)  # each example has its own masks


def test_nothing_is_masked_in_evaluation_or_with_width_0() -> None:
    spectrogram = torch.randn(4, 64, 100)
    assert torch.equal(SpecAugment(VggishFrontEndConfig()).eval()(spectrogram), spectrogram)
    no_masks = VggishFrontEndConfig(frequency_mask_bins=0, time_mask_frames=0)
    assert torch.equal(SpecAugment(no_masks).train()(spectrogram), spectrogram)
    only_time = VggishFrontEndConfig(frequency_mask_bins=0, time_mask_frames=50)
    assert not masked_examples(only_time, examples=50, bins=16, frames=100).all(dim=2).any()
