"""Tests tar members, keys and byte ranges of samples against tarfile and webdataset."""

import io
import itertools
import tarfile
from pathlib import Path

import pytest

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.records import Record, parse_record
from mulan.data.corpus.tar_members import iter_entries, key_of, list_members, split_name
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


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_entries_are_the_files_that_tarfile_finds(form: int, tmp_path: Path) -> None:
    """Among plain headers, some are extended: by long names, and of a directory, a link and hidden files."""
    names = ["a.flac", "a.json", "README", "d" * 90 + "/b.json", "._b.flac", "piste-é.mp3", "t" * 95 + ".txt", "c.flac"]
    if form != tarfile.USTAR_FORMAT:
        names.insert(5, "e" * 150 + ".flac")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 300 * number
            tar.addfile(member, io.BytesIO(b"x" * member.size))
            if number == 3:
                link = tarfile.TarInfo("link.flac")
                link.type, link.linkname = tarfile.SYMTYPE, "a.flac"
                tar.addfile(link)
    with path.open("rb") as file:
        entries = list(iter_entries(file))
    with tarfile.open(path) as tar:
        members = [member for member in tar if member.isfile() and member.name not in ("README", "._b.flac")]
        expected = [(member.name, member.offset, member.offset_data, member.size) for member in members]
    assert [(entry.name, entry.header, entry.start, entry.size) for entry in entries] == expected
    assert [entry.number for entry in entries] == list(range(len(expected)))
    assert [entry.end for entry in entries] == [start + -(-size // 512) * 512 for _, _, start, size in expected]


def test_a_truncated_tar_yields_earlier_files_and_then_raises(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "a.tar", [(f"{name}.flac", b"x" * 700) for name in "abc"]))
    whole = io.BytesIO(path.read_bytes())
    ends = [entry.end for entry in iter_entries(whole)]
    assert ends == [1536, 3072, 4608]
    for cut, count, words in (
        (ends[-1], 3, "no end mark"),
        (ends[0] + 512, 2, "beyond the end"),
        (ends[1] - 1, 2, "beyond the end"),
        (ends[1] + 100, 2, "data after the end mark|no end mark"),
    ):
        found = []
        with pytest.raises(BadRecording, match=words):
            found.extend(entry.name for entry in iter_entries(io.BytesIO(whole.getvalue()[:cut])))
        assert found == ["a.flac", "b.flac", "c.flac"][:count]
