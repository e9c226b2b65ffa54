import io
import os
from itertools import pairwise
from pathlib import Path

import pytest

from mulan.data.audio.source import audio_source, split_concatenated
from mulan.data.errors import DecodeError
from tests.encodings import by_libsndfile
from tests.sounds import tone

FILES = {
    "flac": by_libsndfile(tone(440, 60.0), 16_000, "FLAC"),
    "vorbis": by_libsndfile(tone(440, 1.0), 16_000, "OGG", "VORBIS"),
    "wav": by_libsndfile(tone(440, 0.9999), 16_000, "WAV", "PCM_24"),
    "aiff": by_libsndfile(tone(440, 1.0), 16_000, "AIFF"),
}
"""Recordings, of which the first has more than 1 MiB."""


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("shift", range(4))
def test_concatenated_files_are_split_in_memory_and_on_disk(kind: str, shift: int, tmp_path: Path) -> None:
    one = FILES[kind]
    odd = one + bytes(shift) if kind in ("flac", "vorbis") else one
    path = tmp_path / "joined"
    path.write_bytes(odd + one + one)
    bounds = [0, len(odd), len(odd) + len(one), len(odd) + 2 * len(one)]
    for audio in (odd + one + one, str(path)):
        contents = []
        for part in split_concatenated(audio_source(audio)):
            with part.open() as file:
                contents.append(file.read())
        assert [len(content) for content in contents] == [end - start for start, end in pairwise(bounds)]
        assert b"".join(contents) == odd + one + one


@pytest.mark.parametrize(
    "content", [b"", b"OggS", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"FORM" + bytes(8), b"ID3", b"x" * 50]
)
def test_other_content_is_not_split(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(content)
    for audio in (content, str(path)):
        (only,) = split_concatenated(audio_source(audio))
        assert len(only) == len(content)


def test_a_slice_of_a_file_behaves_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(100)))
    part = audio_source(str(path)).slice(10, 60)
    with part.open() as file:
        assert file.read() == bytes(range(10, 60))
        assert file.seek(-5, io.SEEK_END) == 45
        assert file.read(100) == bytes(range(55, 60))
        assert file.seek(2) == file.tell() == 2
        assert file.seek(3, io.SEEK_CUR) == 5
        assert file.read(2) == bytes([15, 16])
        assert 0 <= file.seek(-1) <= 50
    assert part.read_chunk(48) == (bytes([58, 59]), 0)


def test_paths_that_are_not_files_are_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("none.mp3", "No such file"), ("", "not a regular file"), ("pipe", "not a regular file")):
        with pytest.raises(DecodeError, match=f"missing file: .*{name}: {reason}"):
            audio_source(str(tmp_path / name))
    with pytest.raises(DecodeError, match=r"missing file: .*null"):
        audio_source("song\0.mp3")
