"""The length of what is decoded is that of what was encoded, and each part of it is that part of the whole."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.windows import covering_windows, decode_recording, decode_window, duration_s
from mulan.data.errors import DecodeError
from tests.encodings import by_ffmpeg, by_libsndfile, vbr_mp3, with_flac_frames, with_xing_count, without_xing
from tests.sounds import tone

RATE_HZ = 16_000


def check(audio: bytes, seconds: float, *, within_s: float = 0.06, tolerance: int = 1) -> np.ndarray:
    """Decodes a file of so many seconds, and windows of it, and gives what was decoded."""
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert len(whole) / RATE_HZ == pytest.approx(seconds, abs=within_s)
    assert duration_s(audio) == pytest.approx(len(whole) / RATE_HZ, abs=2e-4)
    window = np.empty(len(whole) // 3, np.int16)
    for draw in (0.0, 0.61, 0.9999):
        assert decode_window(audio, window, draw=draw, sample_rate_hz=RATE_HZ) == len(window)
        start = int(draw * (len(whole) - len(window) + 1))
        assert np.abs(window.astype(int) - whole[start : start + len(window)]).max() <= tolerance
    return whole


def pitch_hz(whole: np.ndarray, from_s: float) -> float:
    """The loudest tone in a second of a recording."""
    part = whole[round(from_s * RATE_HZ) :][:RATE_HZ].astype(float) * np.hanning(RATE_HZ)
    return float(np.argmax(np.abs(np.fft.rfft(part))))


def noise(seconds: float, rate_hz: int, *, loud: float) -> np.ndarray:
    return (loud * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))).clip(-1, 1).astype(np.float32)


UNEVEN = {
    "noise first": np.concatenate([noise(2, 44_100, loud=0.3), 0.1 * tone(330, 8, rate_hz=44_100)]),
    "loud late": np.concatenate([tone(220, 5, rate_hz=44_100), noise(5, 44_100, loud=0.2)]),
    "quiet first": np.concatenate([np.zeros(88_200, np.float32), noise(8, 44_100, loud=0.3)]),
}
"""Ten seconds each, whose bit rate at the start is not that of the rest."""


@pytest.mark.parametrize("samples", UNEVEN.values(), ids=UNEVEN)
def test_mp3_without_a_count_is_as_long_as_its_frames(samples: np.ndarray) -> None:
    whole = check(without_xing(vbr_mp3(samples, 44_100)), 10.0)
    assert np.abs(whole[-RATE_HZ:]).max() > 1000


@pytest.mark.parametrize("times", [0, 0.1, 0.99, 1, 1.02, 10, 1e5])
def test_a_count_that_is_wrong_is_not_believed(times: float) -> None:
    check(with_xing_count(vbr_mp3(UNEVEN["loud late"], 44_100), times), 10.0)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
def test_a_window_among_small_frames_of_mp3_is_a_slice_of_the_whole(rate_hz: int) -> None:
    """A frame's data begins in frames before it: in many, where these are small."""
    samples = np.concatenate([tone(440, 1.0, rate_hz=rate_hz), noise(1, rate_hz, loud=0.3), np.zeros(rate_hz)])
    audio = vbr_mp3(np.tile(samples, 2), rate_hz)
    whole, window = decode_recording(audio, sample_rate_hz=rate_hz), np.empty(3000, np.int16)
    for start in range(0, len(whole) - 3000, 2777):
        decode_window(audio, window, draw=(start + 0.5) / (len(whole) - 2999), sample_rate_hz=rate_hz)
        assert np.abs(window.astype(int) - whole[start : start + 3000]).max() <= 1


@pytest.mark.parametrize("seconds", [0.2, 1.0, 7.0])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_window_at_the_end_of_vorbis_is_a_slice_of_the_whole(seconds: float, rate_hz: int) -> None:
    """In the last page of Ogg, which is cut where the sound ends."""
    audio = by_libsndfile(noise(seconds, rate_hz, loud=0.2), rate_hz, "OGG", "VORBIS")
    whole, window = decode_recording(audio, sample_rate_hz=rate_hz), np.empty(1000, np.int16)
    for start in [*range(max(0, len(whole) - 30_000), len(whole) - 1000, 1777), len(whole) - 1000]:
        decode_window(audio, window, draw=(start + 0.5) / (len(whole) - 999), sample_rate_hz=rate_hz)
        assert np.abs(window.astype(int) - whole[start : start + 1000]).max() <= 1


@pytest.mark.parametrize("frames", [0, 1, 20_000, 79_000])
def test_flac_that_says_too_little_is_decoded_whole(frames: int) -> None:
    check(with_flac_frames(by_libsndfile(tone(440, 5.0), RATE_HZ, "FLAC"), frames), 5.0)


LENGTHS = {
    "WAV": (b"data", 4, 4, "little"),
    "AIFF": (b"SSND", 4, 4, "big"),
    "CAF": (b"data", 4, 8, "big"),
    "RF64": (b"ds64", 16, 8, "little"),
    "AU": (b".snd", 8, 4, "big"),
}
"""Where a header says the bytes of its sound: how far behind which name, in how many bytes, and their order."""


@pytest.mark.parametrize("container", LENGTHS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("said", [0, 1200, 120_000, 2**31, 2**32 - 1])
def test_plain_samples_are_read_to_their_end_whatever_the_header_says(container: str, subtype: str, said: int) -> None:
    audio = by_libsndfile(np.stack([tone(440, 5.0), tone(550, 5.0)], axis=1), RATE_HZ, container, subtype)
    name, behind, size, order = LENGTHS[container]
    place = audio.rindex(name, 0, 5000) + behind
    wrong = audio[:place] + said.to_bytes(size, order) + audio[place + size :]  # type: ignore[arg-type]
    assert np.array_equal(check(wrong, 5.0, within_s=0), decode_recording(audio, sample_rate_hz=RATE_HZ))


def test_what_follows_plain_samples_is_no_sound() -> None:
    """Chunks with a picture, and a tag that belongs to another format."""
    audio = by_libsndfile(tone(440, 1.0), RATE_HZ, "WAV")
    for behind in (b"id3 " + (40_000).to_bytes(4, "little") + bytes(40_000), b"TAG" + bytes(125), bytes(20_000)):
        assert len(check(audio + behind, 1.0, within_s=0)) == RATE_HZ


def mono_and_stereo(one_hz: int, other_hz: int, encode: Callable[[np.ndarray, int], bytes]) -> Iterator[bytes]:
    """Two files of 3 s, of 440 Hz."""
    one, other = tone(440, 3.0, rate_hz=one_hz), tone(440, 3.0, rate_hz=other_hz)
    yield encode(one, one_hz)
    yield encode(np.stack([other, other], axis=1), other_hz)


ENCODERS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "mp3": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "MP3"),
    "flac": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "FLAC"),
    "vorbis": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "OGG", "VORBIS"),
    "wav": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "WAV"),
    "aiff": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "AIFF"),
    "aac": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "adts", "aac"),
    "ac3": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "ac3", "ac3"),
    "flac in ogg": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "ogg", "flac"),
}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize(("one_hz", "other_hz"), [(44_100, 48_000), (48_000, 32_000), (44_100, 44_100)])
def test_rate_and_channels_may_change_on_the_way(
    encode: Callable[[np.ndarray, int], bytes], one_hz: int, other_hz: int
) -> None:
    """Streams that were put one behind the other, which are one file for a player."""
    whole = check(b"".join(mono_and_stereo(one_hz, other_hz, encode)), 6.0, within_s=0.15, tolerance=60)
    assert [pitch_hz(whole, from_s) for from_s in (1.0, 4.5)] == [440, 440]


def test_the_same_file_twice_is_twice_as_long() -> None:
    for encode in ENCODERS.values():
        once = encode(tone(440, 2.0, rate_hz=44_100), 44_100)
        check(once + once, 4.0, within_s=0.15, tolerance=60)


def test_mp4_that_is_joined_is_decoded_whole() -> None:
    one, other = (by_ffmpeg(tone(440, 2.0, rate_hz=rate_hz), rate_hz, "ipod", "aac") for rate_hz in (44_100, 22_050))
    whole = check(one + other, 4.0, within_s=0.15)
    assert [pitch_hz(whole, from_s) for from_s in (0.5, 2.5)] == [440, 440]


@pytest.mark.parametrize(
    ("container", "codec"), [("wv", "wavpack"), ("ac3", "ac3"), ("tta", "tta"), ("mp3", "libmp3lame")]
)
def test_what_is_decoded_before_a_fault_is_kept(container: str, codec: str) -> None:
    """A tag of another format behind the sound, at which FFmpeg's demuxers and decoders fail in many ways."""
    audio = by_ffmpeg(tone(440, 4.0, rate_hz=44_100), 44_100, container, codec)
    check(audio + b"TAG" + bytes(125), 4.0)


@pytest.mark.parametrize("container", ["AU", "AIFF", "WAV"])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_tag_in_front_shifts_nothing(container: str, subtype: str) -> None:
    audio = by_libsndfile(noise(3, RATE_HZ, loud=0.2), RATE_HZ, container, subtype)
    whole = check(b"ID3\3\0\0\0\0\7\x68" + bytes(1000) + audio, 3.0, within_s=0.04)
    plain = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert np.abs(whole.astype(int) - plain[: len(whole)]).max() <= 1


def test_a_chain_of_ogg_may_change_its_codec() -> None:
    vorbis = by_libsndfile(tone(440, 3.0, rate_hz=44_100), 44_100, "OGG", "VORBIS")
    opus = by_libsndfile(tone(440, 3.0, rate_hz=48_000), 48_000, "OGG", "OPUS")
    whole = check(vorbis + opus, 6.0, tolerance=60)
    assert [pitch_hz(whole, from_s) for from_s in (1.0, 4.5)] == [440, 440]


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
def test_what_libsndfile_cannot_seek_in_is_decoded_from_its_start(container: str, subtype: str) -> None:
    rate_hz = 44_100 if container in ("XI", "SDS", "CAF") else 8000  # XI has no other
    whole = check(by_libsndfile(tone(440, 4.0, rate_hz=rate_hz), rate_hz, container, subtype), 4.0, tolerance=40)
    assert pitch_hz(whole, 1.5) == 440


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("ipod", "aac"),
        ("ipod", "alac"),
        ("mp4", "flac"),
        ("adts", "aac"),
        ("matroska", "libopus"),
        ("ac3", "ac3"),
        ("tta", "tta"),
        ("wv", "wavpack"),
        ("mpegts", "aac"),
        ("avi", "libmp3lame"),
        ("mp2", "mp2"),
        ("ogg", "flac"),
    ],
)
def test_a_window_of_what_ffmpeg_alone_reads_is_a_slice_of_the_whole(container: str, codec: str) -> None:
    rate_hz = 48_000 if codec == "libopus" else 44_100
    samples = np.stack([tone(440, 4.0, rate_hz=rate_hz)] * 2, axis=1)
    assert pitch_hz(check(by_ffmpeg(samples, rate_hz, container, codec), 4.0, within_s=0.08), 1.5) == 440


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 44_101, 96_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_a_window_at_another_rate_is_a_slice_of_the_whole(container: str, rate_hz: int) -> None:
    check(by_libsndfile(noise(3, rate_hz, loud=0.2), rate_hz, container), 3.0, within_s=1e-4)


def test_a_cut_file_gives_what_is_left_or_is_refused() -> None:
    samples = tone(440, 5.0, rate_hz=44_100)
    for audio in (
        by_libsndfile(samples, 44_100, "MP3"),
        by_libsndfile(samples, 44_100, "WAV"),
        by_ffmpeg(samples, 44_100, "adts", "aac"),
    ):
        check(audio[: len(audio) * 6 // 10], 3.0, within_s=0.1)
    for audio in (
        by_libsndfile(samples, 44_100, "FLAC"),
        *(by_ffmpeg(samples, 44_100, "ipod", codec, movflags="+faststart") for codec in ("aac", "alac")),
    ):
        with pytest.raises(DecodeError, match="truncated audio"):
            decode_recording(audio[: len(audio) * 6 // 10], sample_rate_hz=RATE_HZ)


def test_a_damaged_packet_does_not_end_a_file_and_many_refuse_it() -> None:
    audio = bytearray(by_ffmpeg(tone(440, 20.0, rate_hz=44_100), 44_100, "mp4", "flac", movflags="+faststart"))
    middle = len(audio) // 2
    audio[middle : middle + 60] = np.random.default_rng(1).bytes(60)
    assert len(decode_recording(bytes(audio), sample_rate_hz=RATE_HZ)) / RATE_HZ == pytest.approx(20, abs=0.15)
    for place in range(middle, middle + 200_000, 20_000):
        audio[place : place + 60] = np.random.default_rng(place).bytes(60)
    with pytest.raises(DecodeError, match="damaged audio"):
        decode_recording(bytes(audio), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD><Period><AdaptationSet><BaseURL>{}</BaseURL></AdaptationSet></Period></MPD>',
        "{}",
    ],
    ids=["concat", "playlist", "playlist of addresses", "session", "dash", "path"],
)
def test_a_text_that_names_a_file_opens_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("private.wav").write_bytes(by_libsndfile(tone(440, 3.0), RATE_HZ, "WAV"))
    for name in ("private.wav", str(tmp_path / "private.wav")):
        with pytest.raises(DecodeError, match="undecodable audio"):
            decode_recording(text.format(name).encode(), sample_rate_hz=RATE_HZ)


LONG: dict[str, Callable[[np.ndarray], bytes]] = {
    "flac": lambda samples: by_libsndfile(samples, 44_100, "FLAC"),
    "m4a": lambda samples: by_ffmpeg(samples, 44_100, "ipod", "aac"),
    "mp3 without a count": lambda samples: without_xing(vbr_mp3(samples, 44_100)),
}


@pytest.mark.parametrize("encode", LONG.values(), ids=LONG)
def test_memory_does_not_depend_on_the_length_of_a_file(
    encode: Callable[[np.ndarray], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute has 10 MiB of float32 samples, and 1.8 MiB of int16 at the rate asked for."""
    monkeypatch.setattr("mulan.data.audio.sound._MAX_KEPT", 2**17)
    path = tmp_path / "long"
    path.write_bytes(encode(np.tile(tone(330, 10.0, rate_hz=44_100), 6)))
    audio, window = path.read_bytes(), np.empty(RATE_HZ, np.int16)
    tracemalloc.start()
    try:
        assert decode_window(audio, window, draw=0.5, sample_rate_hz=RATE_HZ) == len(window)
        assert sum(1 for _ in covering_windows(str(path), len(window), sample_rate_hz=RATE_HZ)) in (60, 61)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.01, 9.7, 300.0])
def test_covering_windows_are_the_slices_of_the_whole(seconds: float) -> None:
    """The longest is decoded twice: once for its length, once for its windows."""
    audio = by_libsndfile(noise(seconds, 8000, loud=0.1), 8000, "WAV")
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    windows = list(covering_windows(audio, RATE_HZ, sample_rate_hz=RATE_HZ))
    assert len(windows) == max(1, -(-len(whole) // RATE_HZ))
    starts = np.linspace(0, max(0, len(whole) - RATE_HZ), len(windows)).round().astype(int)
    padded = np.pad(whole, (0, RATE_HZ))
    for start, window in zip(starts, windows, strict=True):
        expected = padded[start : start + RATE_HZ] if len(whole) >= RATE_HZ else padded[:RATE_HZ]
        assert np.array_equal(window, expected)
