"""Metadata that are read alone equal those that are read with the audio, and the audio is not read."""

import json
from pathlib import Path

import pytest

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.metadata_reading import read_metadata
from mulan.data.corpus.records import read_fragments
from mulan.data.errors import BadRecording
from tests.conftest import S3
from tests.data.corpus.tars import FORMATS, recording_in_tar, write_tar
from tests.sounds import flac, tone

AUDIO = flac(tone(440, 0.5))


def metadata_with_audio(locations: list[Location]) -> list[dict]:
    return [dict(fragment.record().metadata) for fragment in read_fragments(locations)]


def test_metadata_equal_those_that_are_read_with_the_audio(tiny_corpus: str) -> None:
    corpus = Corpus.open(tiny_corpus)
    locations = corpus.locations(range(48))
    assert read_metadata(locations) == metadata_with_audio(locations)
    assert read_metadata([]) == []


@pytest.mark.parametrize("texts_first", [True, False])
@pytest.mark.parametrize("size", [10, 3000, 3584, 3585, 9000])
def test_texts_before_and_after_the_audio_and_of_any_size(tmp_path: Path, texts_first: bool, size: int) -> None:
    members = []
    for number in range(3):
        text = json.dumps(
            {"caption": f"{number} ".ljust(size, "x"), "artist": "Ann", "title": f"Song {number}"}
        ).encode()
        pair = [(f"take{number}.flac", AUDIO), (f"take{number}.json", text), (f"take{number}.notes", b"\0" * 700)]
        members += pair[::-1] if texts_first else pair
    write_tar(tmp_path / "a.tar", members)
    index_shards([str(tmp_path / "a.tar")], str(tmp_path / "corpus"))
    locations = Corpus.open(str(tmp_path / "corpus")).locations(range(3))
    read = read_metadata(locations)
    assert read == metadata_with_audio(locations)
    assert [each["title"] for each in read if isinstance(each, dict)] == ["Song 0", "Song 1", "Song 2"]


@pytest.mark.parametrize("form", FORMATS)
def test_extended_headers_are_read(tmp_path: Path, form: str) -> None:
    content = recording_in_tar("トラック", FORMATS[form])
    (tmp_path / "a.tar").write_bytes(content)
    assert read_metadata([Location(str(tmp_path / "a.tar"), 0, len(content))]) == [{"texts": {}}]


def test_what_cannot_be_read_has_the_reason_that_reading_with_the_audio_gives(tiny_corpus: str, tmp_path: Path) -> None:
    good = Corpus.open(tiny_corpus).locations([0])[0]
    (tmp_path / "zeros.tar").write_bytes(bytes(good.offset + good.length))
    cut = Path(good.uri).read_bytes()[: good.offset + good.length - 600]
    (tmp_path / "cut.tar").write_bytes(cut)
    bad = [good._replace(uri=str(tmp_path / name)) for name in ("missing.tar", "zeros.tar", "cut.tar")]
    read = read_metadata([bad[0], good, *bad[1:]])
    assert isinstance(read[1], dict)
    reasons = []
    for fragment in read_fragments(bad):
        with pytest.raises(BadRecording) as caught:
            fragment.record()
        reasons.append(str(caught.value))
    assert [str(read[number]) for number in (0, 2, 3)] == reasons
    assert all(isinstance(read[number], BadRecording) for number in (0, 2, 3))


@pytest.mark.processes
def test_audio_is_not_read(s3: S3, tmp_path: Path) -> None:
    audio = flac(tone(440, 20))
    members = [
        (f"take{number}.{kind}", content)
        for number in range(4)
        for kind, content in (("flac", audio), ("json", b'{"caption": "a tone"}'))
    ]
    write_tar(tmp_path / "a.tar", members)
    index_shards([str(tmp_path / "a.tar")], str(tmp_path / "corpus"))
    s3.files.put_file(str(tmp_path / "a.tar"), f"{s3.uri}/a.tar")
    locations = [
        location._replace(uri=f"{s3.uri}/a.tar")
        for location in Corpus.open(str(tmp_path / "corpus")).locations(range(4))
    ]
    s3.proxy.sent.clear()
    assert [each["texts"] for each in read_metadata(locations) if isinstance(each, dict)] == [
        {"long_form": ["a tone"]}
    ] * 4
    assert 0 < s3.proxy.sent.total() < len(audio) / 4
