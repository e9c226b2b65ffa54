"""Tests which recordings are excluded by lists of ids and hashes, and by corpora, and which lists are refused."""

import hashlib
import io
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index_rows import SCHEMA, index_row, write_index
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.faults import SourceError
from mulan.preparation.layout import RECORDINGS_NAME


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def corpus(uri: str, *ids: str) -> str:
    rows = [index_row(each, "shards/0.tar", [(0, 512)], {"duration_s": 1.0, "texts": {}}) for each in ids]
    write_index(pa.Table.from_pylist(rows, SCHEMA), uri)
    return uri


def hashes(folder: Path, table: dict[str, list[str | None]]) -> None:
    path = folder / RECORDINGS_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_a_list(end: str, mark: str, last: bool, tmp_path: Path) -> None:
    lines = ["# MusicCaps", "-0Gj8-vB1q4", "", "  fma/00/1, two.mp3  ", f"sha256:{sha256('a')}", " # sha256:x"]
    lines.append(f"sha256:{sha256('b').upper()}")
    exclusions = Exclusions.read([write(tmp_path / "ids.txt", mark + end.join(lines) + end * last)])
    assert exclusions.ids == {"-0Gj8-vB1q4", "fma/00/1, two.mp3"}
    assert [exclusions.excludes_audio(sha256(name)) for name in "abc"] == [True, True, False]


@pytest.mark.parametrize(
    ("recording_id", "excluded"),
    [
        ("-0Gj8-vB1q4", True),
        ("youtube/-0Gj8-vB1q4", True),
        ("youtube/2019/-0Gj8-vB1q4", True),
        ("youtube/-0Gj8-vB1q4/0", False),
        ("youtube/x-0Gj8-vB1q4", False),
        ("-0gj8-vb1q4", False),
        ("fma/00/1", True),
        ("other/fma/00/1", False),
        ("00/1", False),
        ("1", False),
        ("", False),
    ],
)
def test_ids_match_whole_or_without_folders(recording_id: str, excluded: bool, tmp_path: Path) -> None:
    exclusions = Exclusions.read([write(tmp_path / "ids.txt", "-0Gj8-vB1q4\nfma/00/1\n")])
    assert exclusions.excludes_id(recording_id) == excluded
    assert not exclusions.excludes_audio(sha256(recording_id))


def test_a_corpus_excludes_its_ids_and_its_audio(tmp_path: Path) -> None:
    uri = corpus(str(tmp_path), "music/a", "b")
    assert Exclusions.read([uri]) == Exclusions(frozenset({"music/a", "b"}))
    hashes(
        tmp_path, {"recording_id": ["music/a", "b", "c"], "sha256": [sha256("a"), None, sha256("c")], "x": [None] * 3}
    )
    exclusions = Exclusions.read([uri])
    assert [exclusions.excludes_id(name) for name in ("music/a", "x/b", "a", "c")] == [True, True, False, False]
    assert [exclusions.excludes_audio(sha256(name)) for name in "abc"] == [True, False, False]  # c is not in the corpus


def test_several_lists_and_corpora_on_any_storage(tmp_path: Path) -> None:
    uri = corpus("memory://exclusion/corpus", "a")
    table = io.BytesIO()
    pq.write_table(pa.table({"recording_id": ["a"], "sha256": [sha256("a")]}), table)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/exclusion/corpus/preparation/recordings.parquet", table.getvalue())
    memory.pipe_file("/exclusion/more.txt", b"b")
    exclusions = Exclusions.read([uri, "memory://exclusion/more.txt", write(tmp_path / "ids", "c")])
    assert exclusions.ids == {"a", "b", "c"} and exclusions.excludes_audio(sha256("a"))
    assert Exclusions.read([]) == Exclusions()


def test_all_faults_are_named_with_their_files_and_lines(tmp_path: Path) -> None:
    empty, table = write(tmp_path / "empty.txt", " \n"), write(tmp_path / "table.txt", "good\nid\ttitle\n")
    bad = write(tmp_path / "bad.txt", "\n".join(["# x", "good", "sha256:12", f"sha256:{sha256('a')}0"]))
    comments, latin = write(tmp_path / "comments.txt", "# nothing"), write(tmp_path / "latin.txt", b"a\nbj\xf6rk\n")
    (tmp_path / "folder").mkdir()
    missing, folder = str(tmp_path / "missing.txt"), str(tmp_path / "folder")
    with pytest.raises(SourceError) as caught:
        Exclusions.read([empty, table, bad, comments, latin, missing, folder])
    starts = [
        f"{empty} is empty",
        f"{table}, line 2: 'id\\ttitle' is no id",
        f"{bad}, line 3: 'sha256:12' is no SHA-256",
        f"{bad}, line 4: 'sha256:",
        f"{comments} has comments only",
        f"{latin}, line 2: not UTF-8",
        f"there is no file {missing}",
        f"there is no file {folder}",
    ]
    assert len(caught.value.faults) == caught.value.count == len(starts)
    for fault, start in zip(caught.value.faults, starts, strict=True):
        assert fault.startswith(start) and fault.endswith("or name the folder of a prepared corpus")


def test_the_number_of_faults_is_bounded(tmp_path: Path) -> None:
    uri = write(tmp_path / "bad.txt", "sha256:\n" * 1000)
    with pytest.raises(SourceError, match="has 2000 faults") as caught:
        Exclusions.read([uri, uri])
    assert len(str(caught.value).splitlines()) < 30


def test_damaged_corpora_are_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    write(tmp_path / "damaged" / "index.parquet", "text")
    whole = corpus(str(tmp_path / "whole"), "a")
    for content in ({"recording_id": ["a"]}, {"recording_id": ["a"], "sha256": ["abcd"]}):
        hashes(tmp_path / "whole", content)
        with pytest.raises(SourceError) as caught:
            Exclusions.read([str(tmp_path / "damaged"), whole])
        assert len(caught.value.faults) == 2
        assert "index.parquet is not a Parquet file" in caught.value.faults[0]
        assert "recordings.parquet is damaged or has no column sha256" in caught.value.faults[1]
        assert not any("\n" in fault for fault in caught.value.faults)
