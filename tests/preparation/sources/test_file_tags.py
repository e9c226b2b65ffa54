"""Tests tags on files that FFmpeg and libsndfile write, on tags that are written byte by byte, and on odd files."""

import os
import random
import uuid
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mulan.preparation.audio_files import is_audio
from mulan.preparation.sources.file_tags import FileTags, read_tags, title_of_name
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError
from mulan.storage.filesystem import S3_ATTEMPTS
from tests.conftest import S3
from tests.preparation.tagged_audio import CODECS, write_tagged
from tests.s3_proxy import ACCESS_DENIED, EXPIRED_TOKEN, SLOW_DOWN

ODD = os.environ.get("MULAN_ODD_AUDIO", "")

TAGS = {
    "title": "Été à Paris",
    "artist": "Ada",
    "album": "Nights",
    "genre": "Jazz; Bossa Nova/jazz",
    "comment": "A calm evening, with harp.",
}
EXPECTED = FileTags(
    title="Été à Paris",
    artist="Ada",
    album="Nights",
    genres=("jazz", "bossa nova"),
    comments=("A calm evening, with harp.",),
)


@pytest.mark.parametrize("extension", CODECS)
def test_tags_of_every_format(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    write_tagged(path, TAGS)
    assert read_tags(str(path)) == EXPECTED
    remote = f"memory://{uuid.uuid4().hex}/a.{extension}"
    filesystem.write_atomically(remote, path.read_bytes())
    assert read_tags(remote) == EXPECTED


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "AIFF"])
def test_tags_of_another_program(container: str, tmp_path: Path) -> None:
    path = str(tmp_path / f"a.{container.lower()}")
    with soundfile.SoundFile(path, "w", 8000, 1, format=container) as file:
        file.title, file.artist = "Evening", "Ada"
        file.write(np.zeros(100))
    tags = read_tags(path)
    assert (tags.title, tags.artist) == ("Evening", "Ada")


def test_a_cover_picture_is_ignored(tmp_path: Path) -> None:
    for extension in ("mp3", "m4a"):
        write_tagged(tmp_path / f"a.{extension}", TAGS, picture=True)
        assert read_tags(str(tmp_path / f"a.{extension}")) == EXPECTED


def id3(**frames: bytes) -> bytes:
    """Returns an ID3v2.3 tag of text frames, whose first byte is the encoding."""
    body = b"".join(name.encode() + len(text).to_bytes(4, "big") + b"\0\0" + text for name, text in frames.items())
    size = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + body


def id3v1(title: bytes, genre: int) -> bytes:
    return b"TAG" + title.ljust(94, b"\0") + bytes(30) + bytes([genre])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (id3(TCON=b"\0(17)", TIT2=b"\0A\0"), FileTags(title="A", genres=("rock",))),
        (id3(TCON=b"\x0317\0Folk\0999", TIT2=b"\x03 A \t B"), FileTags(title="A B", genres=("rock", "folk"))),
        (id3(TPE2=b"\0Ada", TCON=b"\0Other"), FileTags(artist="Ada")),
        (id3(TPE2=b"\0Various", TPE1=b"\0Ada"), FileTags(artist="Ada")),
        (id3(COMM=b"\0engA\r\n\r\nB"), FileTags(comments=("A\n\nB",))),
        (id3(COMM=b"\0engiTunNORM\0 000003AA 0000"), FileTags()),
        (id3(TIT2=b"\x01\xff\xfe\x3d\xd8"), FileTags(title="\ufffd")),
        (bytes(1000) + id3v1(b"Evening", 8), FileTags(title="Evening", genres=("jazz",))),
        (b"", FileTags()),
        (b"ID3\x03\0\0\x7f\x7f\x7f\x7fTIT2\xff\xff\xff\xff", FileTags()),
    ],
)
def test_id3(content: bytes, expected: FileTags, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    assert read_tags(str(tmp_path / "a.mp3")) == expected


def test_damaged_tags_are_no_tags(tmp_path: Path) -> None:
    rng = random.Random(0)
    for extension in CODECS:
        path = tmp_path / f"a.{extension}"
        write_tagged(path, TAGS)
        whole = path.read_bytes()
        for _ in range(20):
            content = bytearray(whole[: rng.randint(0, len(whole))] if rng.random() < 0.3 else whole)
            for _ in range(rng.randint(1, 20)):
                if content:
                    content[rng.randrange(min(len(content), 600))] = rng.randrange(256)
            path.write_bytes(content)
            tags = read_tags(str(path))
            "".join([tags.title, tags.artist, tags.album, *tags.genres, *tags.comments]).encode()


def test_missing_files_have_no_tags(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").symlink_to("nothing")
    for uri in (f"{tmp_path}/a.mp3", f"{tmp_path}/b.mp3", f"memory://{uuid.uuid4().hex}/b.mp3"):
        assert read_tags(uri) == FileTags()


def test_storage_that_fails_is_not_taken_for_damaged_tags(s3: S3, tmp_path: Path) -> None:
    write_tagged(tmp_path / "a.mp3", TAGS)
    s3.files.put_file(str(tmp_path / "a.mp3"), f"{s3.uri}/a.mp3")
    s3.proxy.fail(SLOW_DOWN, "GET", times=S3_ATTEMPTS + 1)
    assert read_tags(f"{s3.uri}/a.mp3") == EXPECTED
    s3.proxy.fail(EXPIRED_TOKEN, "GET")
    with pytest.raises(StoragePermanentError, match="credentials"):
        read_tags(f"{s3.uri}/a.mp3")
    s3.proxy.heal()
    s3.proxy.fail(ACCESS_DENIED)
    assert read_tags(f"{s3.uri}/a.mp3") == FileTags()  # the audio is read later, and then reported


def test_only_the_tags_of_remote_files_are_read(s3: S3, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    write_tagged(path, TAGS)
    path.write_bytes(path.read_bytes() + bytes(5_000_000))
    s3.files.put_file(str(path), f"{s3.uri}/a.mp3")
    s3.proxy.requests.clear()
    assert read_tags(f"{s3.uri}/a.mp3") == EXPECTED
    assert len(s3.proxy.requests) <= 8


@pytest.mark.skipif(not ODD, reason="MULAN_ODD_AUDIO names no folder of odd audio files")
def test_tags_of_odd_files() -> None:
    paths = [path for path in sorted(Path(ODD).rglob("*.*")) if is_audio(path.name) or path.suffix == ".bit"]
    tags = {path.name: read_tags(str(path)) for path in paths}
    assert len(tags) == 40
    assert tags["vbri.mp3"].genres == ("dance",)
    assert tags["gsm_6_10.wav"] == FileTags(
        title="track", artist="artist", album="album", genres=("bass",), comments=("some comment here",)
    )
    assert (tags["alaw.aifc"].title, tags["multiplex.ogg"].title) == ("woodblock", "Paper Lights")
    assert sum(bool(each.title) for each in tags.values()) == 6


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("01 Evening.mp3", "Evening"),
        ("a/1-07. Evening_song.mp3", "Evening song"),
        ("12) Evening.mp3", "Evening"),
        ("Track 7.mp3", "Track 7"),
        ("2001 - Evening.mp3", "2001 - Evening"),
        ("1999.mp3", ""),
        ("01.mp3", ""),
        ("7 8.mp3", ""),
    ],
)
def test_titles_of_names(name: str, title: str) -> None:
    assert title_of_name(name) == title
