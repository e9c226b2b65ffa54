"""Tests the files of a preparation: what is finished, and which folders are refused."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mulan.data.corpus.index_rows import SCHEMA, write_index
from mulan.preparation.chunks import Chunk, describe_chunk, to_json
from mulan.preparation.shards import RESULT_SCHEMA
from mulan.preparation.workspace import PreparationRefused, Workspace, WorkspaceChanged
from tests.preparation.results import result_row
from tests.preparation.sources_of_tests import tones

SETTINGS = {"sources": ["folder=/a"], "settings": {"clip": {"start_s": 30.0}, "text": {"off": []}}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "corpus"))


def corpus_of(workspace: Workspace) -> None:
    write_index(pa.Table.from_pylist([], SCHEMA), workspace.uri)


def test_an_empty_folder_and_the_same_settings_are_accepted(workspace: Workspace) -> None:
    workspace.check(SETTINGS)
    workspace.begin(SETTINGS)
    corpus_of(workspace)
    workspace.check(json.loads(json.dumps(SETTINGS)))


def test_other_settings_are_refused_with_the_fields_that_differ(workspace: Workspace) -> None:
    workspace.begin(SETTINGS)
    corpus_of(workspace)
    other = {"sources": ["folder=/b"], "settings": {"clip": {"start_s": 0.0}, "text": {"off": []}}}
    with pytest.raises(PreparationRefused) as refused:
        workspace.check(other)
    assert "settings.clip.start_s was 30.0, is 0.0" in str(refused.value)
    assert "sources was ['folder=/a'], is ['folder=/b']" in str(refused.value)
    assert "text" not in str(refused.value).partition("(")[2].partition(")")[0]
    assert "--replace" in str(refused.value)


def test_other_settings_are_accepted_until_there_is_an_index(workspace: Workspace) -> None:
    workspace.begin(SETTINGS)
    workspace.check({"sources": ["folder=/b"]})


def test_a_corpus_that_was_not_prepared_is_refused(workspace: Workspace) -> None:
    corpus_of(workspace)
    with pytest.raises(PreparationRefused, match=r"jobs.prepare has not made; name another folder"):
        workspace.check(SETTINGS)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', "3"])
def test_a_damaged_settings_file_is_refused(content: str, workspace: Workspace) -> None:
    workspace.begin(SETTINGS)
    corpus_of(workspace)
    Path(workspace.uri, "preparation", "settings.json").write_text(content, encoding="utf-8")
    with pytest.raises(PreparationRefused, match=r"settings.json is damaged: .*give --replace"):
        workspace.check(SETTINGS)


def finish(workspace: Workspace, chunk: Chunk, *, reason: str = "") -> None:
    workspace.write_result(chunk, pa.Table.from_pylist([result_row("a", reason=reason)], RESULT_SCHEMA))


def write_shard(workspace: Workspace, chunk: Chunk) -> None:
    path = Path(workspace.uri, chunk.shard_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def is_complete(workspace: Workspace, chunk: Chunk) -> bool:
    return workspace.is_complete(chunk, workspace.finished(), workspace.shards())


def test_a_chunk_is_complete_with_its_result_and_its_shard(workspace: Workspace) -> None:
    chunk = Chunk("aa", "bb", 1)
    assert not is_complete(workspace, chunk)
    write_shard(workspace, chunk)
    assert not is_complete(workspace, chunk)  # killed before the result was written
    finish(workspace, chunk)
    assert is_complete(workspace, chunk)
    assert not is_complete(workspace, Chunk("aa", "changed", 1))
    Path(workspace.uri, chunk.shard_name).unlink()
    assert not is_complete(workspace, chunk)


def test_a_chunk_without_usable_recordings_needs_no_shard(workspace: Workspace) -> None:
    chunk = Chunk("aa", "bb", 1)
    finish(workspace, chunk, reason="undecodable audio")
    assert is_complete(workspace, chunk)


def test_recordings_of_a_chunk_are_read_back(workspace: Workspace, tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 3)
    chunk = describe_chunk(found, "")
    workspace.write_chunk(chunk, found)
    assert to_json(workspace.read_chunk(chunk)) == to_json(found)
    workspace.remove_chunks()
    with pytest.raises(WorkspaceChanged, match="another command may have prepared the same folder") as changed:
        workspace.read_chunk(chunk)
    assert changed.value.exit_code == 1


def test_results_are_read_in_the_order_of_the_chunks(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulan.preparation.workspace._RESULTS_AT_ONCE", 4)
    chunks = [Chunk(f"{number:04d}", "v", 1) for number in range(10)]
    for chunk in reversed(chunks):
        workspace.write_result(chunk, pa.Table.from_pylist([result_row(chunk.name)], RESULT_SCHEMA))
    names = [name for rows in workspace.read_results(chunks) for name in rows["recording_id"].to_pylist()]
    assert names == [chunk.name for chunk in chunks]


@pytest.mark.parametrize("size", [0, 100, -10])
def test_a_damaged_result_is_removed_so_that_it_is_made_again(size: int, workspace: Workspace) -> None:
    chunk, other = Chunk("aa", "bb", 1), Chunk("cc", "dd", 1)
    for each in (chunk, other):
        write_shard(workspace, each)
        finish(workspace, each)
    result = Path(workspace.uri, "preparation", "results", f"{chunk.file_name}.parquet")
    result.write_bytes(result.read_bytes()[:size])
    with pytest.raises(WorkspaceChanged, match=r"was damaged and is removed: .*repeat the command"):
        list(workspace.read_results([other, chunk]))
    assert not is_complete(workspace, chunk)
    assert is_complete(workspace, other)
    with pytest.raises(WorkspaceChanged, match="has vanished"):
        list(workspace.read_results([other, chunk]))


def test_a_damaged_result_without_a_shard_is_not_complete(workspace: Workspace) -> None:
    chunk = Chunk("aa", "bb", 1)
    finish(workspace, chunk, reason="undecodable audio")
    result = Path(workspace.uri, "preparation", "results", f"{chunk.file_name}.parquet")
    result.write_bytes(result.read_bytes()[:-20])
    assert not is_complete(workspace, chunk)
    assert result.exists()  # a dry run changes nothing


def test_an_index_ends_before_shards_that_it_names_are_replaced(workspace: Workspace) -> None:
    corpus_of(workspace)
    write_shard(workspace, Chunk("aa", "old", 1))
    workspace.remove_index_of([Chunk("bb", "new", 1)])
    assert Path(workspace.uri, "index.parquet").exists()
    workspace.remove_index_of([Chunk("bb", "new", 1), Chunk("aa", "new", 1)])
    assert not Path(workspace.uri, "index.parquet").exists()


def test_unfinished_shards_of_killed_processes_are_removed(workspace: Workspace) -> None:
    unfinished = Path(workspace.uri, ".being-written-x", "shard.tar")
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    workspace.remove_leftovers([])
    assert not unfinished.parent.exists()


def test_files_of_other_chunks_are_removed(workspace: Workspace) -> None:
    kept, old, adopted = (Chunk(32 * letter, "bb", 1) for letter in "abc")
    for chunk in (kept, old, adopted):
        write_shard(workspace, chunk)
        finish(workspace, chunk)
    workspace.remove_leftovers([kept], adopted={f"{workspace.uri}/{adopted.shard_name}"})
    assert workspace.finished() == {kept.file_name}
    assert workspace.shards() == {kept.shard_name, adopted.shard_name}


def test_tars_of_somebody_else_beside_the_shards_are_kept(workspace: Workspace) -> None:
    other = Chunk("00000", "bb", 1)
    write_shard(workspace, other)
    workspace.remove_leftovers([])
    assert workspace.shards() == {other.shard_name}
