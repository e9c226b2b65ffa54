from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mulan.data.errors import DecodeError
from mulan.model.audio_inputs import EmbeddingInputError, check_audio, covering_windows, recording_of
from tests.sounds import flac, tone

RATE_HZ = 16_000


def counted(samples: int) -> np.ndarray:
    """A recording whose samples tell their own places."""
    return np.arange(1, samples + 1, dtype=np.int16)


@pytest.mark.parametrize("samples", [8, 9, 15, 16, 17, 23, 24, 25, 100])
def test_windows_are_the_fewest_that_cover_a_recording(samples: int) -> None:
    windows = covering_windows(counted(samples), 8)
    assert windows.dtype == np.int16
    assert windows.shape == (-(-samples // 8), 8)
    starts = windows[:, 0] - 1
    assert (starts[0], starts[-1]) == (0, samples - 8)
    assert set(windows.flatten().tolist()) == set(range(1, samples + 1))
    for place, (start, window) in enumerate(zip(starts.tolist(), windows, strict=True)):
        assert window.tolist() == list(range(start + 1, start + 9))
        assert abs(start - Fraction(place * (samples - 8), max(1, len(windows) - 1))) <= Fraction(1, 2)


@pytest.mark.parametrize("samples", [1, 5, 7])
def test_a_shorter_recording_is_one_window_followed_by_silence(samples: int) -> None:
    recording = counted(samples)
    assert covering_windows(recording, 8).tolist() == [[*range(1, samples + 1), *[0] * (8 - samples)]]
    assert recording.tolist() == list(range(1, samples + 1))


def test_files_and_arrays_in_any_form_are_the_same_recording(tmp_path: Path) -> None:
    mono = np.rint(tone(440, 0.1) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "mono.wav", mono, RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "stereo.wav", np.stack([mono, mono], axis=1), RATE_HZ, subtype="PCM_16")
    (tmp_path / "mono.flac").write_bytes(flac(mono / np.float32(32768)))
    forms: list[Any] = [
        tmp_path / "mono.wav",
        str(tmp_path / "mono.flac"),
        tmp_path / "stereo.wav",
        mono,
        mono[None],
        np.stack([mono, mono]),
        mono / np.float32(32768),
        mono.astype(np.float64) / 32768,
    ]
    for form in forms:
        recording = recording_of(form, sample_rate_hz=RATE_HZ, wanted_hz=RATE_HZ)
        assert recording.dtype == np.int16
        np.testing.assert_array_equal(recording, mono)
    np.testing.assert_array_equal(recording_of(forms[0], sample_rate_hz=None, wanted_hz=RATE_HZ), mono)


def test_channels_are_averaged() -> None:
    channels = np.array([[0.5, -0.25, 1.0], [0.25, 0.25, 1.0]])
    recording = recording_of(channels, sample_rate_hz=RATE_HZ, wanted_hz=RATE_HZ)
    assert recording.tolist() == [12_288, 0, 32_767]


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(440, 1.0, rate_hz=44_100), 44_100, subtype="FLOAT")
    clean = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) / 3
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ) / 3 * 32768
    recording = recording_of(clean, sample_rate_hz=44_100, wanted_hz=RATE_HZ)
    assert len(recording) == RATE_HZ
    np.testing.assert_allclose(recording[200:-200], expected[200:-200], atol=30)
    # a file knows its own rate, whatever that of the arrays beside it is
    of_file = recording_of(tmp_path / "tone.wav", sample_rate_hz=8000, wanted_hz=RATE_HZ)
    assert len(of_file) == RATE_HZ


@pytest.mark.parametrize("content", [None, b"not audio"])
def test_files_that_cannot_be_decoded(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "notes.wav").write_bytes(content)
    with pytest.raises(DecodeError):
        recording_of(tmp_path / "notes.wav", sample_rate_hz=None, wanted_hz=RATE_HZ)


def test_everything_that_is_not_audio_is_named_at_once() -> None:
    items: list[Any] = [
        np.zeros(100, np.int32),
        np.zeros((2, 3, 4), np.float32),
        np.zeros(0, np.int16),
        np.array([0.0, np.nan]),
        [0.0, 0.1],
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(100, np.int16),
        "/no/such/file.wav",
    ]
    with pytest.raises(EmbeddingInputError) as caught:
        check_audio(items, RATE_HZ)
    assert caught.value.faults == (
        "paths_or_arrays[0] has dtype int32; int16 or floating point in [-1, 1] is needed",
        "paths_or_arrays[1] has shape (2, 3, 4); [samples] or [channels, samples] is needed",
        "paths_or_arrays[2] has shape (0,); [samples] or [channels, samples] is needed",
        "paths_or_arrays[3] holds NaN or infinite samples",
        "paths_or_arrays[4] is a list, neither a path nor a numpy array",
        "paths_or_arrays[5] has dtype uint8; int16 or floating point in [-1, 1] is needed",
        "paths_or_arrays[5] has shape (2, 2, 2); [samples] or [channels, samples] is needed",
    )
    assert all(fault in str(caught.value) for fault in caught.value.faults)


def test_arrays_need_a_rate_and_files_do_not() -> None:
    check_audio(["song.wav", Path("song.wav")], None)
    check_audio([np.zeros(3, np.int16), np.zeros((2, 3), np.float64), "song.wav"], RATE_HZ)
    check_audio([], None)
    with pytest.raises(EmbeddingInputError) as caught:
        check_audio([np.zeros(3, np.int16), "song.wav", np.zeros(3, np.float32)], None)
    assert caught.value.faults == tuple(f"paths_or_arrays[{i}] is an array: give its sample_rate_hz" for i in (0, 2))


@pytest.mark.parametrize("single", ["song.wav", Path("song.wav"), np.zeros(100, np.int16)])
def test_a_single_item_must_be_in_a_list(single: Any) -> None:
    with pytest.raises(EmbeddingInputError, match="put a single one in a list"):
        check_audio(single, RATE_HZ)
