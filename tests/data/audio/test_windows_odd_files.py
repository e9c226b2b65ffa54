"""Tests decoding of forty unusual files that were written by various programs.

Their folder is named by MULAN_ODD_AUDIO; they are not part of this project because of their different licences. The
expected numbers of frames are those that soundfile 0.14 and PyAV 18.1 decode; where the two differ, a comment states
which one is correct.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.windows import decode_recording, decode_window, duration_s
from mulan.data.errors import DecodeError

VARIABLE = "MULAN_ODD_AUDIO"
FOLDER = Path(os.environ.get(VARIABLE, ""))
pytestmark = pytest.mark.skipif(
    VARIABLE not in os.environ or not FOLDER.is_dir(), reason=f"{VARIABLE} names no folder of odd audio files"
)

RATE_HZ = 16_000
DRAWS = (0.0, 0.5, 0.999999)


@dataclass(frozen=True)
class Sound:
    """The expected content of a file."""

    frames: int
    rate_hz: int
    within: int = 0
    """Number of frames that a decoder may omit or add, for the reason given in a comment."""
    silent: bool = False
    max_steps: int = 2
    """Maximum difference between samples of a window and of the recording: resampling begins at other samples."""


TAGLIB, MUTAGEN, TINYTAG = "taglib/tests/data", "mutagen/tests/data", "tinytag/tinytag/tests/samples"

SOUNDS = {
    # both decoders agree
    f"{TAGLIB}/alaw.aifc": Sound(1622, 44_100),
    f"{TAGLIB}/float64.wav": Sound(4281, 44_100),
    f"{TAGLIB}/uint8we.wav": Sound(23_493, 8000),
    f"{TAGLIB}/noise_odd.aif": Sound(101, 44_100),
    f"{TAGLIB}/infloop.wav": Sound(14_083, 11_025),
    f"{MUTAGEN}/silence-44-s-mpeg25.mp3": Sound(44_217, 12_000, silent=True),
    "music-metadata/test/samples/wav/ffmpeg-missing-chunksize.wav": Sound(27_648, 44_100),
    "scipy/scipy/io/tests/data/test-44100Hz-le-1ch-4bytes-early-eof.wav": Sound(236, 44_100),
    "datasets/tests/features/data/test_audio_44100.mp3": Sound(110_592, 44_100),
    "cpython/new-wraith-bot/Lib/test/audiodata/pluck-pcm24.au": Sound(3307, 11_025),
    # an Opus decoder that begins in the middle converges to one that has read everything before
    f"{MUTAGEN}/example.opus": Sound(545_026, 48_000, max_steps=100),
    # libsndfile opens it at the encoder's input rate, FFmpeg at 48 kHz: 5 s with both
    f"{TINYTAG}/8khz_5s.opus": Sound(240_000, 48_000),
    # an APE tag after the last frame, which FFmpeg reports as invalid data after it has decoded all audio
    f"{TAGLIB}/ape-id3v1.mp3": Sound(91_008, 44_100),
    # containers and codecs that libsndfile does not know
    f"{TAGLIB}/flac.m4a": Sound(48_000, 48_000),
    f"{TAGLIB}/opus.m4a": Sound(48_648, 48_000),
    f"{TAGLIB}/lossless.wma": Sound(156_556, 44_100),
    f"{TAGLIB}/empty_flac.oga": Sound(163_392, 44_100, silent=True),
    f"{TAGLIB}/multiplex.ogg": Sound(96_000, 48_000),
    "audiofile/tests/assets/gs-16b-1c-44100hz.aac": Sound(699_392, 44_100),
    "flac-test-files/subset/22 - 12 bit per sample.flac": Sound(218_666, 44_100),
    # libsndfile opens them but cannot seek
    f"{TINYTAG}/gsm_6_10.wav": Sound(4480, 44_100),
    f"{MUTAGEN}/lame397v9short.mp3": Sound(229, 24_000),
    # the header declares no length, or the channels change: libsndfile reports 2**63 - 1 frames
    "music-metadata/test/samples/flac/test-unknown-duration.flac": Sound(220_500, 44_100),
    "flac-test-files/uncommon/02 - increasing number of channels.flac": Sound(638_856, 44_100),
    # the header declares too few frames, which libsndfile trusts: FFmpeg decodes up to the end
    f"{MUTAGEN}/vbri.mp3": Sound(19_584, 44_100, within=1152),  # libsndfile decodes the info frame, too
    f"{MUTAGEN}/xing.mp3": Sound(91_008, 44_100, within=1152),
    f"{TINYTAG}/id3_frames.mp3": Sound(72_576, 16_000, within=1152),
    # mono and stereo frames: libsndfile stops at the first change
    "minimp3/vectors/l3-he_mode.bit": Sound(147_456, 44_100, within=1152),
    # noise before the first frame: libsndfile interprets a number in it as the length, and ends early
    f"{TAGLIB}/garbage.mp3": Sound(21_888, 44_100, within=1152),
    # the last frame ends with padding, which FFmpeg decodes
    f"{TAGLIB}/bladeenc.mp3": Sound(156_660, 44_100, within=12),
    # FFmpeg omits half a block at the end
    f"{TAGLIB}/empty_vorbis.oga": Sound(162_496, 44_100, within=128, silent=True),
    # FFmpeg does not support free format, stops at side information that it considers invalid, does not support RIFX
    # with floats, and rejects blocks that are longer than the header allows
    "minimp3/vectors/l3-he_free.bit": Sound(78_336, 44_100, within=1152),
    "minimp3/vectors/l3-nonstandard-compl-sideinfo-bigvalues.bit": Sound(248_832, 48_000, within=1152),
    "scipy/scipy/io/tests/data/test-44100Hz-2ch-32bit-float-be.wav": Sound(441, 44_100),
    "flac-test-files/faulty/01 - wrong max blocksize.flac": Sound(101_999, 24_000),
    # a file that was read and written as UTF-8 has grown: the header declares the former length, and the audio of an
    # AU file may extend to the end, as it does if no length is declared
    "cpython/Lib/test/audiodata/pluck-pcm32.au": Sound(6165, 11_025, within=6165 - 3307),
}

REFUSED = {
    # a chunk of 2 GiB is declared, and nothing follows
    f"{TAGLIB}/excessive_alloc.aif": "undecodable audio",
    f"{TINYTAG}/empty_file.mp3": "undecodable audio",
    f"{TINYTAG}/no_audio_data_uncompressed.wav": "no samples",
    # the file contains 39,936 of the 11,563,008 frames that the header declares: a truncated recording of 262 s
    f"{MUTAGEN}/variable-block.flac": "truncated audio",
}


@functools.cache
def content_of(path: str) -> bytes:
    return (FOLDER / path).read_bytes()


@functools.cache
def whole_of(path: str) -> np.ndarray:
    return decode_recording(content_of(path), sample_rate_hz=RATE_HZ)


def test_every_file_has_an_expectation() -> None:
    files = {line.partition("\t")[0] for line in (FOLDER / "MANIFEST.tsv").read_text().splitlines()[1:]}
    assert files == SOUNDS.keys() | REFUSED.keys()


@pytest.mark.parametrize("path", SOUNDS)
def test_all_audio_of_odd_files_is_decoded(path: str) -> None:
    sound, whole = SOUNDS[path], whole_of(path)
    tolerance_s = sound.within / sound.rate_hz + 2 / RATE_HZ
    assert len(whole) / RATE_HZ == pytest.approx(sound.frames / sound.rate_hz, abs=tolerance_s)
    assert duration_s(content_of(path)) == pytest.approx(len(whole) / RATE_HZ, abs=2 / RATE_HZ)
    assert whole.any() != sound.silent


@pytest.mark.parametrize("path", SOUNDS)
def test_a_window_of_an_odd_file_is_a_slice_of_the_recording(path: str) -> None:
    whole = whole_of(path)
    for draw in DRAWS:
        window = np.full(max(1, len(whole) // 3), 12_345, np.int16)
        assert decode_window(content_of(path), window, draw=draw, sample_rate_hz=RATE_HZ) == len(window)
        start = int(draw * (len(whole) - len(window) + 1))
        steps = int(np.abs(window.astype(int) - whole[start : start + len(window)]).max())
        assert steps <= SOUNDS[path].max_steps


@pytest.mark.parametrize("path", REFUSED)
def test_files_without_their_audio_are_rejected(path: str) -> None:
    audio, window = content_of(path), np.zeros(1000, np.int16)
    for read in (
        lambda: decode_recording(audio, sample_rate_hz=RATE_HZ),
        lambda: decode_window(audio, window, draw=0.5, sample_rate_hz=RATE_HZ),
        lambda: duration_s(audio),
    ):
        with pytest.raises(DecodeError) as caught:
            read()
        assert caught.value.reason == REFUSED[path]
