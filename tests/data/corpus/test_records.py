"""Tests that recordings are parsed from the byte ranges of the index, and that other bytes are bad recordings."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import Record, parse_record, read_fragments, read_record
from mulan.data.errors import BadRecording
from tests.data.corpus.tars import FORMATS, RECORDINGS, recording_in_tar, write_tar
from tests.sounds import flac, tone

AUDIO = flac(tone(440, 0.5))
METADATA = {"texts": {"short_form": ["a tone"]}, "split": "test", "tags": ["genre:drone"], "licence": "CC0-1.0"}
GOOD = json.dumps(METADATA).encode()
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X"


def fragment(written: Path, row: int) -> bytes:
    (part,) = read_fragments(Corpus.open(str(written)).locations([row]))
    assert isinstance(part.content, bytes)
    return part.content


def test_a_fragment_truncated_anywhere_is_a_bad_recording(written: Path) -> None:
    whole = fragment(written, 1)
    assert parse_record(whole).recording_id == RECORDINGS[1].recording_id
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        sound, words = tar.getmembers()
    edges = (sound.offset_data, sound.offset_data + sound.size, words.offset, words.offset_data)
    cuts = {edge + shift for edge in edges for shift in (-1, 0, 1)} | set(range(0, 1025, 64))
    cuts |= set(range(0, words.offset_data + words.size, 1499)) | {words.offset_data + words.size - 1}
    for cut in sorted(cuts):
        with pytest.raises(BadRecording):
            parse_record(whole[:cut])


@pytest.mark.parametrize(
    ("form", "stem"),
    [(form, stem) for form in FORMATS for stem in ("folder/" * 20 + "track", "t" * 95, "piste-é", "トラック")]
    + [(form, "t" * 150) for form in ("GNU", "pax")],
)
def test_names_in_extended_headers_are_read(form: str, stem: str) -> None:
    read = parse_record(recording_in_tar(stem, FORMATS[form]))
    assert read == Record(stem, b"sound" * 300, "flac", {"texts": {}})


def test_other_bytes_are_a_bad_recording(written: Path) -> None:
    whole, rng = fragment(written, 0), random.Random(0)
    strays = [b"", b"\0" * 4096, rng.randbytes(4096), whole[300:], whole[512:], b"\x1f\x8b\x08" + rng.randbytes(999)]
    for _ in range(200):  # one damaged byte in the first member's header
        place = rng.randrange(500)
        strays.append(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
    for stray in strays:
        with pytest.raises(BadRecording) as caught:
            parse_record(stray)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        [("./._a.flac", APPLE_DOUBLE), ("./a.flac", AUDIO), ("./._a.json", APPLE_DOUBLE), ("./a.json", GOOD)],
        [("a.flac", AUDIO), ("._a.json", APPLE_DOUBLE), ("a.json", GOOD), ("__MACOSX/._a.flac", APPLE_DOUBLE)],
        [("a.flac", AUDIO), ("a.json", GOOD), ("a.txt", b"words"), ("a.jpg", b"cover"), ("a.cls", b"3")],
        [("a.txt", b"words"), ("a.json", GOOD), ("a.FLAC", AUDIO)],
        [("a.flac", AUDIO), ("a.JSON", GOOD)],
        [(".DS_Store", b"x"), ("a.flac", AUDIO), ("a.json", GOOD), ("readme", b"no dot")],
        [("a.audio.flac", AUDIO), ("a.meta.json", GOOD)],
        [("a.json", GOOD), ("a.bin", AUDIO)],
    ],
    ids=["mac", "mac inside", "more members", "capitals", "JSON", "hidden", "two dots", "one of any kind"],
)
def test_other_members_of_a_recording_are_ignored(members: list[tuple[str, bytes]], tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", members)
    index_shards([shard], str(tmp_path / "corpus"))
    corpus = Corpus.open(str(tmp_path / "corpus"))
    assert corpus.table.num_rows == 1
    record = read_record(corpus, 0)
    assert (record.audio, record.texts("short_form")) == (AUDIO, ["a tone"])
    assert record.recording_id in ("a", "./a")


def place_of_audio(corpus: Corpus, row: int) -> tuple[bytes, bytes]:
    """Returns the audio of a recording, and the bytes at its place in the shard."""
    (location,) = corpus.locations([row])
    (part,) = read_fragments([location])
    record = part.record()
    offset = location.offset_in_shard(record.audio_start)
    return record.audio, Path(location.uri).read_bytes()[offset : offset + len(record.audio)]


def test_the_place_of_the_audio_in_the_shard_is_known(written: Path, tmp_path: Path) -> None:
    # kinds of members one after another, so that those of a recording are not adjacent
    names, further = ["a", "b", "c"], [flac(tone(200 + 100 * number, 0.5, seed=number)) for number in range(3)]
    members = [(f"{name}.json", GOOD) for name in names]
    members += [(f"{name}.txt", b"a tone") for name in names]
    members += [(f"{name}.flac", audio) for name, audio in zip(names, further, strict=True)]
    index_shards([write_tar(tmp_path / "apart.tar", members)], str(tmp_path / "corpus"))
    for folder, expected in ((written, [each.audio for each in RECORDINGS]), (tmp_path / "corpus", further)):
        corpus = Corpus.open(str(folder))
        places = [place_of_audio(corpus, row) for row in range(corpus.table.num_rows)]
        assert [audio for audio, _ in places] == expected
        assert [there for _, there in places] == expected
