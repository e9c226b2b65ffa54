"""Tests tar members, keys and byte ranges of samples against tarfile and webdataset."""

import io
import itertools
import tarfile
from pathlib import Path

import pytest

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.records import Record, parse_record
from mulan.data.corpus.tar_members import iter_samples, key_of, list_members, split_name
from mulan.data.errors import BadRecording, CorpusError
from tests.data.corpus.tars import FORMATS, ODD_IDS, PLAIN_IDS, recording_in_tar, write_tar


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_a_plain_recording_is_read_without_tarfile(form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = recording_in_tar("a/b/track-1", form, uname="someone", mtime=1_600_000_000)
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    by_tarfile = parse_record(folder.tobuf(form) + plain)
    monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("tarfile was asked"))
    assert parse_record(plain) == by_tarfile == Record("a/b/track-1", b"sound" * 300, "flac", {"texts": {}})


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_compressed_tars_are_rejected(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, f"w:{mode}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("a.flac"))
    with pytest.raises(CorpusError, match=r"compressed shard: it is compressed .*; decompress it"):
        index_shards([str(path)], str(tmp_path))


@pytest.mark.parametrize("name", [*PLAIN_IDS, *ODD_IDS])
def test_keys_and_extensions_are_read_back(name: str) -> None:
    key = key_of(name)
    assert key == ODD_IDS.get(name, name)
    assert split_name(f"{key}.flac") == (key, "flac")
    assert split_name(f"{key}.seg.JSON") == (key, "seg.json")


def test_different_ids_have_different_keys() -> None:
    parts = ("a", "/", ".", "_", "__", "%", "%2E", "\\", "\n", "é")
    names = {"".join(some) for count in (1, 2, 3) for some in itertools.product(parts, repeat=count)}
    assert len({key_of(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["._a.flac", "set/._a.flac", "__MACOSX/a.flac", "set/__MACOSX/a.flac", ".DS_Store", "__key__", "readme"]
)
def test_files_outside_recordings_are_ignored(name: str) -> None:
    assert split_name(name) is None


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("stem", ["plain", "folder/" * 20 + "track", "t" * 95, "piste-é"])
def test_members_equal_those_of_tarfile(form: int, stem: str) -> None:
    fragment = recording_in_tar(stem, form)
    with tarfile.open(fileobj=io.BytesIO(fragment + bytes(1024))) as tar:
        theirs = [(member.name, member.offset_data, member.size) for member in tar.getmembers()]
    assert [tuple(member) for member in list_members(fragment)] == theirs


def test_samples_are_adjacent_members_and_their_bytes_are_a_tar(tmp_path: Path) -> None:
    names = ["a.flac", "a.json", "README", "set/b.json", "._b.flac", "set/b.mp3", "c.flac", "a.txt"]
    path = Path(write_tar(tmp_path / "a.tar", [(name, name.encode() * 300) for name in names]))
    with path.open("rb") as file:
        samples = list(iter_samples(file))
    assert [sample.key for sample in samples] == ["a", "set/b", "c", "a"]
    content = path.read_bytes()
    for sample, own in zip(samples, (names[:2], names[3:6], names[6:7], names[7:]), strict=True):
        with tarfile.open(fileobj=io.BytesIO(content[sample.start : sample.end] + bytes(1024))) as tar:
            assert tar.getnames() == own
            last = tar.extractfile(own[-1])
            assert last is not None and last.read() == own[-1].encode() * 300


def test_a_truncated_tar_yields_earlier_samples_and_then_raises(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "a.tar", [(f"{name}.flac", b"x" * 700) for name in "abc"]))
    whole = io.BytesIO(path.read_bytes())
    ends = [sample.end for sample in iter_samples(whole)]
    assert ends == [1536, 3072, 4608]
    yielded = []
    with pytest.raises(BadRecording, match="no end mark"):
        yielded += iter_samples(io.BytesIO(whole.getvalue()[: ends[-1]]))
    for cut in (ends[0] + 512, ends[1] - 1):  # within the second sample
        *_, last = iter_samples(io.BytesIO(whole.getvalue()[:cut]))
        assert last == ("b", ends[0], cut)
