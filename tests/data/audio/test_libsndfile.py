"""Tests that files of libsndfile are read to their end, with any declared length and any number of channels."""

import numpy as np
import pytest

from mulan.data.audio.libsndfile import CannotOpen, open_with_libsndfile, read_mono, start_of_undeclared_samples
from mulan.data.audio.source import audio_source
from mulan.data.audio.windows import (
    decode_recording,
)
from tests.data.audio.decoded import RATE_HZ, check, pitch_hz, window_of
from tests.encodings import by_libsndfile
from tests.sounds import tone

LENGTHS = {
    "WAV": (b"data", 4, 4, "little"),
    "AIFF": (b"SSND", 4, 4, "big"),
    "CAF": (b"data", 4, 8, "big"),
    "RF64": (b"ds64", 16, 8, "little"),
    "AU": (b".snd", 8, 4, "big"),
}
"""The location of the declared length of the audio: its distance from a name, its size in bytes, and its byte order."""


@pytest.mark.parametrize("container", LENGTHS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("declared", [0, 1200, 120_000, 2**31, 2**32 - 1])
def test_raw_samples_are_read_to_their_end_with_any_declared_length(
    container: str, subtype: str, declared: int
) -> None:
    audio = by_libsndfile(np.stack([tone(440, 5.0), tone(550, 5.0)], axis=1), RATE_HZ, container, subtype)
    name, behind, size, order = LENGTHS[container]
    place = audio.rindex(name, 0, 5000) + behind
    wrong = audio[:place] + declared.to_bytes(size, order) + audio[place + size :]  # type: ignore[arg-type]
    assert np.array_equal(check(wrong, 5.0, within_s=0), decode_recording(audio, sample_rate_hz=RATE_HZ))


def test_data_after_raw_samples_are_not_decoded() -> None:
    """The data are chunks with a picture, and a tag of a different format."""
    audio = by_libsndfile(tone(440, 1.0), RATE_HZ, "WAV")
    for behind in (b"id3 " + (40_000).to_bytes(4, "little") + bytes(40_000), b"TAG" + bytes(125), bytes(20_000)):
        assert len(check(audio + behind, 1.0, within_s=0)) == RATE_HZ


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "GSM610"),
        ("AIFF", "GSM610"),
        ("W64", "GSM610"),
        ("WAV", "G721_32"),
        ("WAV", "NMS_ADPCM_32"),
        ("AU", "G721_32"),
        ("AU", "G723_24"),
        ("AU", "G723_40"),
        ("XI", "DPCM_16"),
        ("SDS", "PCM_16"),
        ("PAF", "PCM_24"),
        ("CAF", "ALAC_16"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
    ],
)
def test_unseekable_formats_are_decoded_from_the_start(container: str, subtype: str) -> None:
    rate_hz = 44_100 if container in ("XI", "SDS", "CAF") else 8000  # XI has a fixed rate
    whole = check(by_libsndfile(tone(440, 4.0, rate_hz=rate_hz), rate_hz, container, subtype), 4.0, tolerance=40)
    assert pitch_hz(whole, 1.5) == 440


@pytest.mark.parametrize("channels", [2, 8, 64, 1000])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_any_number_of_channels_is_mixed_down(channels: int, subtype: str) -> None:
    """The largest numbers of channels exceed the size of one read."""
    samples = np.random.default_rng(channels).integers(-32_768, 32_768, (5000, channels))
    given = samples.astype(np.int16) if subtype == "PCM_16" else samples / 32_768
    audio = by_libsndfile(given, RATE_HZ, "WAV", subtype)
    decoded = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert np.abs(decoded - samples.mean(axis=1)).max() < 0.51
    assert np.array_equal(window_of(audio, 2000, draw=0.999999), decoded[3000:])


PLAIN = (
    *("WAV", "WAVEX", "AIFF", "AU", "W64", "CAF", "RF64", "NIST", "IRCAM", "VOC", "PAF", "SVX", "MAT4", "MAT5"),
    *("PVF", "HTK", "AVR", "SDS", "MPC2K"),
)
WRITTEN = dict.fromkeys(PLAIN, "PCM_16") | {
    "XI": "DPCM_16",
    "WVE": "ALAW",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III",
}


@pytest.mark.parametrize("container", WRITTEN)
def test_every_format_of_libsndfile_is_recognised_by_its_first_bytes(container: str) -> None:
    rate_hz = {"XI": 44_100, "WVE": 8000}.get(container, RATE_HZ)
    file = audio_source(by_libsndfile(tone(440, 1.0, rate_hz=rate_hz), rate_hz, container, WRITTEN[container]))
    with file.open() as content, open_with_libsndfile(file, content) as opened:
        assert opened.format in (container, "WAV")  # WAVEX is reported as WAV
        part = read_mono(opened, 1000)
        assert len(part) == 1000


@pytest.mark.parametrize("content", [b"\xff", b"some words", bytes(4000), b"RIFF", b"\xf0\x7e" + bytes(4000)])
def test_unreadable_files_raise_libsndfile_s_message(content: bytes) -> None:
    file = audio_source(content)
    with file.open() as opened, pytest.raises(CannotOpen, match=r"not recognised|No 'data' chunk|marker"):
        open_with_libsndfile(file, opened)


@pytest.mark.parametrize("container", LENGTHS)
def test_undeclared_samples_are_located(container: str) -> None:
    audio = by_libsndfile(tone(440, 1.0), RATE_HZ, container, "PCM_16")
    assert start_of_undeclared_samples(audio_source(audio)) is None
    name, behind, size, order = LENGTHS[container]
    place = audio.rindex(name, 0, 5000) + behind
    shorter = audio[:place] + (1000).to_bytes(size, order) + audio[place + size :]  # type: ignore[arg-type]
    start = start_of_undeclared_samples(audio_source(shorter))
    assert start is not None
    plain = (np.frombuffer(shorter[start:][: 2 * RATE_HZ], kind) for kind in ("<i2", ">i2"))
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert any(np.array_equal(samples, whole) for samples in plain)
