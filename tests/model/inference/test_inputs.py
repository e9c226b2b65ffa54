"""Tests that every form of audio becomes the same windows, and that all faults of the inputs are listed."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from mulan.data.errors import DecodeError, SkippedRecording
from mulan.model.inference.inputs import (
    AudioInput,
    EmbeddingInputError,
    check_windows,
    in_batches,
    vectors_of_inputs,
    windows_of,
    windows_of_samples,
)
from tests.sounds import flac, tone

RATE_HZ = 16_000


def counted(samples: int) -> np.ndarray:
    """Returns a recording whose samples are their own positions, counted from 1."""
    return np.arange(1, samples + 1, dtype=np.int16)


def recording_of(item: AudioInput, *, sample_rate_hz: int | None, model_rate_hz: int) -> np.ndarray:
    """Returns an input of at most one second at the model's rate, padded to one second."""
    (window,) = windows_of(item, model_rate_hz, sample_rate_hz=sample_rate_hz, model_rate_hz=model_rate_hz)
    return window


def check_audio(inputs: Any, sample_rate_hz: Any) -> int:
    """Returns the number of inputs that can be embedded."""
    return len(vectors(inputs, sample_rate_hz, "raise", lambda item, rate_hz: np.zeros(1))[0])


def vectors(
    inputs: Any, sample_rate_hz: Any, on_error: Any, vector_of: Callable[[AudioInput, int | None], np.ndarray]
) -> tuple[list[np.ndarray], list[SkippedRecording]]:
    return vectors_of_inputs(inputs, sample_rate_hz, function="embed_audio", on_error=on_error, vector_of=vector_of)


@pytest.mark.parametrize("samples", [8, 9, 15, 16, 17, 23, 24, 25, 100])
def test_windows_are_the_fewest_that_cover_a_recording(samples: int) -> None:
    windows = np.stack(list(windows_of_samples(counted(samples), 8)))
    assert windows.dtype == np.int16
    assert windows.shape == (-(-samples // 8), 8)
    starts = windows[:, 0] - 1
    assert (starts[0], starts[-1]) == (0, samples - 8)
    assert set(windows.flatten().tolist()) == set(range(1, samples + 1))
    for index, (start, window) in enumerate(zip(starts.tolist(), windows, strict=True)):
        assert window.tolist() == list(range(start + 1, start + 9))
        assert abs(start - Fraction(index * (samples - 8), max(1, len(windows) - 1))) <= Fraction(1, 2)


@pytest.mark.parametrize("samples", [1, 5, 7])
def test_a_shorter_recording_is_one_window_padded_with_silence(samples: int) -> None:
    recording = counted(samples)
    assert np.stack(list(windows_of_samples(recording, 8))).tolist() == [[*range(1, samples + 1), *[0] * (8 - samples)]]
    assert recording.tolist() == list(range(1, samples + 1))


def test_files_and_arrays_in_any_form_are_the_same_recording(tmp_path: Path) -> None:
    mono = np.rint(tone(440, 0.1) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "mono.wav", mono, RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "stereo.wav", np.stack([mono, mono], axis=1), RATE_HZ, subtype="PCM_16")
    (tmp_path / "mono.flac").write_bytes(flac(mono / np.float32(32768)))
    forms: list[Any] = [
        tmp_path / "mono.wav",
        str(tmp_path / "mono.flac"),
        f"file://{tmp_path}/mono.flac",
        tmp_path / "stereo.wav",
        mono,
        mono[None],
        np.stack([mono, mono]),
        mono / np.float32(32768),
        mono.astype(np.float64) / 32768,
    ]
    for form in forms:
        recording = recording_of(form, sample_rate_hz=RATE_HZ, model_rate_hz=RATE_HZ)
        assert recording.dtype == np.int16
        np.testing.assert_array_equal(recording[: len(mono)], mono)
        assert not recording[len(mono) :].any()
    from_file = recording_of(forms[0], sample_rate_hz=None, model_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(from_file[: len(mono)], mono)


def test_channels_are_averaged() -> None:
    channels = np.array([[0.5, -0.25, 1.0], [0.25, 0.25, 1.0]])
    recording = recording_of(channels, sample_rate_hz=RATE_HZ, model_rate_hz=RATE_HZ)
    assert recording[:3].tolist() == [12_288, 0, 32_767]


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(440, 1.0, rate_hz=44_100), 44_100, subtype="FLOAT")
    clean = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) / 3
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ) / 3 * 32768
    recording = recording_of(clean, sample_rate_hz=44_100, model_rate_hz=RATE_HZ)
    assert len(recording) == RATE_HZ
    np.testing.assert_allclose(recording[200:-200], expected[200:-200], atol=30)
    # a file specifies its own rate: that of the arrays is ignored
    from_file = recording_of(tmp_path / "tone.wav", sample_rate_hz=8000, model_rate_hz=RATE_HZ)
    assert len(from_file) == RATE_HZ


@pytest.mark.parametrize("content", [None, b"not audio"])
def test_files_that_cannot_be_decoded(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "notes.wav").write_bytes(content)
    with pytest.raises(DecodeError, match=r"notes\.wav"):
        recording_of(tmp_path / "notes.wav", sample_rate_hz=None, model_rate_hz=RATE_HZ)


def test_all_items_that_are_not_audio_are_listed_at_once() -> None:
    items: list[Any] = [
        np.zeros(100, np.int32),
        np.zeros((2, 3, 4), np.float32),
        np.zeros(0, np.int16),
        np.array([0.0, np.nan]),
        [0.0, 0.1],
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(100, np.int16),
        "file:///no/such/file.wav",
        b"RIFF",
        None,
        "s3://bucket/song.wav",
        np.array([True]),
        np.ma.masked_array([0.1, 0.2], [True, False]),
        np.array([1j]),
        np.zeros(9, np.uint8),
        "",
        Path("s3://bucket/song.wav"),
        "file://",
        torch.zeros(9),
    ]
    with pytest.raises(EmbeddingInputError) as caught:
        check_audio(items, RATE_HZ)
    assert caught.value.faults == (
        "paths_or_arrays[0] has dtype int32; int16 or floating point in [-1, 1] is needed; divide by the range of its "
        "samples: 128.0 for 8 bits, 32768.0 for 16, 8388608.0 for 24, 2147483648.0 for 32",
        "paths_or_arrays[1] has shape (2, 3, 4); [samples] or [channels, samples] is needed",
        "paths_or_arrays[2] has shape (0,); [samples] or [channels, samples] is needed",
        "paths_or_arrays[3] contains NaN or infinite samples",
        "paths_or_arrays[4] is a list, neither a path nor a numpy array; convert samples with numpy.asarray",
        "paths_or_arrays[5] has dtype uint8; int16 or floating point in [-1, 1] is needed; "
        "divide by 128.0 and subtract 1",
        "paths_or_arrays[5] has shape (2, 2, 2); [samples] or [channels, samples] is needed",
        "paths_or_arrays[8] is a bytes, neither a path nor a numpy array; "
        "encoded audio is read from files only: pass a path",
        "paths_or_arrays[9] is a NoneType, neither a path nor a numpy array",
        "paths_or_arrays[10] is the URI 's3://bucket/song.wav', but only local files can be read; download it first",
        "paths_or_arrays[11] has dtype bool; int16 or floating point in [-1, 1] is needed",
        "paths_or_arrays[12] has masked samples; fill them",
        "paths_or_arrays[13] has dtype complex128; int16 or floating point in [-1, 1] is needed",
        "paths_or_arrays[14] has dtype uint8; int16 or floating point in [-1, 1] is needed; "
        "divide by 128.0 and subtract 1",
        "paths_or_arrays[15] is an empty path",
        "paths_or_arrays[16] is the URI 's3:/bucket/song.wav', but only local files can be read; download it first",
        "paths_or_arrays[17] is an empty path",
        "paths_or_arrays[18] is a Tensor, neither a path nor a numpy array; convert samples with numpy.asarray",
    )
    assert all(fault in str(caught.value) for fault in caught.value.faults[:20])
    with pytest.raises(EmbeddingInputError) as also:
        check_audio(items, 0)
    assert also.value.faults == (
        "sample_rate_hz = 0 is not a valid sample rate, a whole number of Hz from 1000 to 1000000",
        *caught.value.faults,
    )


@pytest.mark.parametrize(("dtype", "half"), [(np.uint8, 128.0), (np.uint16, 32_768.0)])
def test_the_suggested_conversion_of_unsigned_samples_is_correct(dtype: type, half: float) -> None:
    samples = np.array([0, half, 2 * half - 1], dtype)
    with pytest.raises(EmbeddingInputError, match=rf"divide by {half} and subtract 1$"):
        check_audio([samples], RATE_HZ)
    assert (samples / half - 1).tolist() == [-1, 0, pytest.approx(1, abs=0.01)]


def test_a_local_path_may_look_like_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    Path("s3:/song.wav").touch()
    assert check_audio(["s3:/song.wav", "C:/song.wav", "song: live.wav"], None) == 3


def test_windows_must_be_int16_and_have_the_length_of_the_model() -> None:
    check_windows(np.zeros((0, 8), np.int16), 8, function="embed_windows")
    for wrong, actual in (
        (np.zeros((2, 8), np.float32), r"float32 \[2, 8\]"),
        (np.zeros((2, 9), np.int16), r"int16 \[2, 9\]"),
        (np.zeros(8, np.int16), r"int16 \[8\]"),
        ([[0] * 8], "a list"),
    ):
        with pytest.raises(EmbeddingInputError, match=rf"takes an int16 array \[n, 8\], not {actual}"):
            check_windows(wrong, 8, function="embed_windows")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(352_800, 2), (3, 2), (65, 100_000), (2, 1), (70, 3)])
def test_too_many_channels_are_rejected(shape: tuple[int, int]) -> None:
    """The first shape is that of eight seconds of stereo as soundfile returns them, [samples, channels]."""
    remedy = r"transpose it with \.T" if shape[0] > shape[1] else "pass several recordings as a list"
    with pytest.raises(EmbeddingInputError, match=rf"{shape[0]} channels.*{remedy}"):
        check_audio([np.zeros(shape, np.float32)], RATE_HZ)


def test_up_to_64_channels_are_accepted() -> None:
    assert check_audio([np.zeros(shape, np.int16) for shape in ((2, 352_800), (64, 100), (2, 2), (1, 1))], RATE_HZ) == 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_floating_point_samples_may_slightly_exceed_1(dtype: type) -> None:
    samples = tone(440, 0.1).astype(dtype)
    assert check_audio([samples, 3 * samples, samples.reshape(1, -1)], RATE_HZ) == 3
    with pytest.raises(EmbeddingInputError, match="divide int16 values by 32768"):
        check_audio([np.stack([samples, 32_767 * samples])], RATE_HZ)
    with pytest.raises(EmbeddingInputError, match=r"amplitude of 8, "):
        check_audio([np.array([0, -8], dtype)], RATE_HZ)


def test_arrays_of_any_memory_layout_are_the_same_recording(tmp_path: Path) -> None:
    mono = np.rint(tone(440, 1.0) * 32767).astype(np.int16)
    mapped = np.memmap(tmp_path / "samples", np.int16, "w+", shape=mono.shape)
    mapped[:] = mono
    frozen = mono.copy()
    frozen.flags.writeable = False
    for form in (mono.astype(">i2"), np.repeat(mono, 2)[::2], mapped, frozen, mono.astype(">f8") / 32768):
        assert check_audio([form], RATE_HZ) == 1
        np.testing.assert_array_equal(recording_of(form, sample_rate_hz=RATE_HZ, model_rate_hz=RATE_HZ), mono)


@pytest.mark.parametrize("rate_hz", [0, -1, 999, 44_100.5, 1e9, "44100", True, np.nan, [44_100]])
def test_an_invalid_sample_rate_is_rejected(rate_hz: Any) -> None:
    with pytest.raises(EmbeddingInputError, match="is not a valid sample rate"):
        check_audio([np.zeros(3, np.int16)], rate_hz)
    assert check_audio(["song.wav"], rate_hz) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate_hz", [44_100, 44_100.0, np.int32(44_100), np.float32(44_100), np.float16(8000)])
def test_a_sample_rate_may_have_any_numeric_type(rate_hz: Any) -> None:
    assert check_audio([np.zeros(3, np.int16)], rate_hz) == 1


def test_inputs_that_cannot_be_embedded_are_skipped_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "good.flac").write_bytes(flac(tone(440, 0.1)))
    odd = str(tmp_path / "caf\udce9.mp3")
    last = np.full(9, 0.5)
    items: list[Any] = [
        "~/good.flac",
        tmp_path / "empty.mp3",
        np.zeros((9, 2)),
        odd,
        None,
        last,
        tmp_path,
        "a\0b",
        "s3://b/c.mp3",
    ]

    def loudest(item: AudioInput, rate_hz: int | None) -> np.ndarray:
        return np.array([recording_of(item, sample_rate_hz=rate_hz, model_rate_hz=RATE_HZ).max()])

    rows, skipped = vectors(items, RATE_HZ, "skip", loudest)
    assert [row.item() for row in rows] == [pytest.approx(10_500, abs=700), 16_384]
    assert [(item.name, item.reason) for item in skipped] == [
        (str(tmp_path / "empty.mp3"), "undecodable audio"),
        ("paths_or_arrays[2]", "not audio"),
        (str(tmp_path / "caf\\udce9.mp3"), "missing file"),
        ("paths_or_arrays[4]", "not audio"),
        (str(tmp_path), "missing file"),
        ("a\0b", "missing file"),
        ("s3://b/c.mp3", "not audio"),
    ]
    for index in (1, 3, 6):
        with pytest.raises(DecodeError, match=r"empty\.mp3|caf|regular file"):
            vectors([items[0], items[index]], None, "raise", loudest)
    for other in ("ignore", None, True, np.array([1, 2])):
        with pytest.raises(EmbeddingInputError, match="'raise' or 'skip'"):
            vectors([], None, other, loudest)


def test_windows_are_stacked_in_batches() -> None:
    assert [batch.shape for batch in in_batches(iter(np.zeros((9, 4), np.int16)), 4)] == [(4, 4), (4, 4), (1, 4)]
    assert list(in_batches(iter([]), 4)) == []


def test_arrays_need_a_rate_and_files_do_not() -> None:
    check_audio(["song.wav", Path("song.wav")], None)
    check_audio([np.zeros(3, np.int16), np.zeros((2, 3), np.float64), "song.wav"], RATE_HZ)
    check_audio([], None)
    with pytest.raises(EmbeddingInputError) as caught:
        check_audio([np.zeros(3, np.int16), "song.wav", np.zeros(3, np.float32)], None)
    assert caught.value.faults == tuple(f"paths_or_arrays[{i}] is an array: pass its sample_rate_hz" for i in (0, 2))
