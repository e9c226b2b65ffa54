import io
from array import array
from dataclasses import replace

import av
import numpy as np
import pytest

from mulan.data.audio.mpeg import MpegFrames, mpeg_frames
from mulan.data.audio.source import audio_source
from tests.encodings import by_ffmpeg, by_libsndfile, vbr_mp3, without_xing
from tests.sounds import tone

SOUND = {rate_hz: tone(440, 2.0, rate_hz=rate_hz) for rate_hz in (8000, 16_000, 22_050, 32_000, 44_100, 48_000)}


def packets(audio: bytes) -> int:
    """Returns the number of frames by FFmpeg, which excludes the info frame."""
    with av.open(io.BytesIO(audio), format="mp3") as container:
        return sum(packet.size > 0 for packet in container.demux(audio=0))


@pytest.mark.parametrize("rate_hz", SOUND)
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_layer_3_are_counted(rate_hz: int, channels: int) -> None:
    audio = vbr_mp3(np.stack([SOUND[rate_hz]] * channels, axis=1), rate_hz)
    parsed = mpeg_frames(audio_source(audio))
    assert parsed is not None
    assert parsed.count == packets(audio) + 1
    assert parsed.samples_per_frame == (1152 if rate_hz >= 32_000 else 576)
    assert parsed.rate_hz == rate_hz
    assert parsed.has_info_frame
    assert parsed.count * parsed.samples_per_frame - parsed.samples_per_frame - sum(parsed.padding) == 2 * rate_hz


def test_frames_without_an_info_frame_are_counted() -> None:
    audio = without_xing(vbr_mp3(SOUND[44_100], 44_100))
    parsed = mpeg_frames(audio_source(audio))
    assert parsed is not None
    assert (parsed.count, parsed.has_info_frame, parsed.padding) == (packets(audio), False, (0, 0))


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_frames_of_layer_2_are_counted(rate_hz: int) -> None:
    audio = by_ffmpeg(SOUND[rate_hz], rate_hz, "mp2", "mp2")
    parsed = mpeg_frames(audio_source(audio))
    assert parsed is not None
    assert (parsed.count, parsed.samples_per_frame) == (packets(audio), 1152)


def id3(size: int) -> bytes:
    return b"ID3\4\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + bytes(size)


APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(48)


@pytest.mark.parametrize("front", [b"", id3(0), id3(100_000), id3(5) + id3(70), bytes(700), b"\xff\xfb junk"])
@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125), APE, bytes(3000), id3(9)])
def test_tags_before_and_after_the_frames_are_not_counted(front: bytes, behind: bytes) -> None:
    audio = vbr_mp3(SOUND[44_100], 44_100)
    plain, tagged = mpeg_frames(audio_source(audio)), mpeg_frames(audio_source(front + audio + behind))
    assert plain is not None
    assert tagged is not None
    assert [place - len(front) for place in tagged.offsets] == list(plain.offsets)
    assert replace(tagged, offsets=plain.offsets) == plain


def test_the_preroll_covers_frames_with_earlier_data() -> None:
    """Frames of 138 bytes have 100 bytes of data: six contain the maximum reservoir, and each overlaps the next."""
    offsets = array("Q", range(0, 138 * 101, 138))
    frames = MpegFrames(offsets, 1152, 44_100, has_info_frame=False)
    assert frames.count == 100
    assert [frames.preroll(frame) for frame in (0, 1, 2, 6, 7, 8, 50, 100)] == [1, 1, 2, 6, 7, 7, 7, 7]


def test_a_file_on_disk_is_counted_in_chunks(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("mp3") / "long.mp3"
    one = without_xing(vbr_mp3(SOUND[48_000], 48_000))
    audio = one[one.index(b"\xff\xfb") :] * 70
    path.write_bytes(audio)
    assert len(audio) > 2**20
    assert mpeg_frames(audio_source(str(path))) == mpeg_frames(audio_source(audio)) is not None


def test_files_that_are_not_one_sequence_of_frames_are_rejected() -> None:
    one, other = (by_libsndfile(SOUND[rate_hz], rate_hz, "MP3") for rate_hz in (44_100, 48_000))
    stereo = by_libsndfile(np.stack([SOUND[44_100]] * 2, axis=1), 44_100, "MP3")
    place = one.index(b"\xff\xfb") + 36
    for audio in (
        b"",
        b"\xff",
        b"no sound" * 1000,
        one + other,
        one + stereo,
        one[:-10],
        one + b"junk!",
        one[:5000] + bytes(700) + one[5000:],
        one[:place] + b"VBRI" + one[place + 4 :],
    ):
        assert mpeg_frames(audio_source(audio)) is None
