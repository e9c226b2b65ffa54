"""Indices are made, extended, changed and shortened without a rebuild, and interruptions lose nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulan.collection.embeddings import CollectionEmbeddings
from mulan.search import building
from mulan.search.building import Change, add_to_index, delete_from_index
from mulan.search.errors import OtherModel, UnusableIndex
from mulan.search.index import SearchIndex
from mulan.search.overview import Overview
from mulan.search.query import Query
from mulan.search.table import RecordingTable
from mulan.storage.errors import StorageError
from tests.search.planted import MODEL, name_of, planted_vectors, write_planted

VECTORS = planted_vectors(40)


def ids_of(uri: str) -> list[str]:
    (found,) = SearchIndex.open(uri).search([Query(VECTORS[0], 1000)])
    return sorted(each.row.recording_id for each in found)


def test_recordings_are_added_replaced_and_kept(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    first = add_to_index(uri, write_planted(tmp_path / "first", VECTORS[:20]))
    assert first == Change(added=20, recordings=20)
    # 10 to 19 as before but for one, and ten new ones
    changed = VECTORS[10:30].copy()
    changed[0] = -changed[0]
    second = add_to_index(uri, write_planted(tmp_path / "second", changed, numbers=range(10, 30)))
    assert second == Change(added=11, unchanged=9, recordings=30)
    assert ids_of(uri) == [name_of(number) for number in range(30)]
    np.testing.assert_array_equal(SearchIndex.open(uri).recording(name_of(10)).vector, -VECTORS[10])
    assert Overview.read(uri).recordings == 30


def test_adding_the_same_again_makes_no_new_version(tmp_path: Path) -> None:
    uri, embeddings = str(tmp_path / "index"), write_planted(tmp_path / "embeddings", VECTORS)
    add_to_index(uri, embeddings)
    version = SearchIndex.open(uri).version
    assert add_to_index(uri, embeddings) == Change(unchanged=40, recordings=40)
    assert SearchIndex.open(uri).version == version


def test_recordings_are_deleted(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "embeddings", VECTORS))
    opened_before = SearchIndex.open(uri)
    assert delete_from_index(uri, [name_of(3), name_of(3), name_of(5)]) == Change(deleted=2, recordings=38)
    assert ids_of(uri) == [name_of(number) for number in range(40) if number not in (3, 5)]
    assert Overview.read(uri).recordings == 38
    ((found,),) = opened_before.search([Query(VECTORS[3], 1)])  # what is open does not change
    assert found.row.recording_id == name_of(3)


def test_unknown_recordings_are_named_and_nothing_is_deleted(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "embeddings", VECTORS))
    with pytest.raises(UnusableIndex, match=r"nothing was deleted: 'one', \"' OR true --\""):
        delete_from_index(uri, [name_of(3), "one", "' OR true --"])
    assert len(ids_of(uri)) == 40


def test_an_interrupted_creation_is_no_index_and_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, embeddings = str(tmp_path / "index"), write_planted(tmp_path / "embeddings", VECTORS)

    def interrupted(self: CollectionEmbeddings) -> Iterator[pa.RecordBatch]:
        yield from ()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CollectionEmbeddings, "batches", interrupted)
        with pytest.raises((KeyboardInterrupt, StorageError)):
            add_to_index(uri, embeddings)
    with pytest.raises(UnusableIndex, match=r"index\.json is missing"):
        SearchIndex.open(uri)
    assert add_to_index(uri, embeddings).recordings == 40
    assert len(ids_of(uri)) == 40


def test_an_interrupted_addition_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "first", VECTORS[:5]))
    embeddings = write_planted(tmp_path / "all", VECTORS)
    monkeypatch.setattr(building, "_ROWS_OF_A_CHANGE", 1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_to_index(uri, embeddings, on_progress=interrupt)
    assert SearchIndex.open(uri).recordings == 40  # one batch
    assert Overview.read(uri).recordings == 5
    assert add_to_index(uri, embeddings) == Change(unchanged=40, recordings=40)
    assert Overview.read(uri).recordings == 40


def test_what_follows_an_interrupted_deletion_is_done_by_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "embeddings", VECTORS))

    def interrupt(table: RecordingTable) -> Overview:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(building, "overview_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            delete_from_index(uri, [name_of(3)])
    assert Overview.read(uri).recordings == 40
    with pytest.raises(UnusableIndex, match="nothing was deleted"):
        delete_from_index(uri, [name_of(3)])
    assert Overview.read(uri).recordings == 39
    (Path(uri) / "overview.json").write_text("damaged")
    assert add_to_index(uri, write_planted(tmp_path / "embeddings", VECTORS[:3])) == Change(unchanged=3, recordings=39)
    assert Overview.read(uri).recordings == 39


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "first", VECTORS))
    other = MODEL.replace(sha256="cd" * 32, uri="/models/other")
    with pytest.raises(OtherModel, match=r"/models/planted \(SHA-256 abababababab\).*/models/other \(cdcdcdcdcdcd\)"):
        add_to_index(uri, write_planted(tmp_path / "other", VECTORS, model=other))
    audio_only = MODEL.replace(embeds_text=False)
    with pytest.raises(UnusableIndex, match="no joint model of music and text"):
        add_to_index(uri, write_planted(tmp_path / "audio", VECTORS, model=audio_only))


def test_windows_are_needed_where_the_index_has_them(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "first", VECTORS))
    without = write_planted(tmp_path / "without", VECTORS, windows=False)
    with pytest.raises(UnusableIndex, match=r"repeat jobs\.embed with --windows"):
        add_to_index(uri, without)
    plain = str(tmp_path / "plain")
    add_to_index(plain, without)
    add_to_index(plain, write_planted(tmp_path / "with", VECTORS))
    ((found,),) = SearchIndex.open(plain).search([Query(VECTORS[2], 1)])
    assert found.start_s == 0


def test_the_index_becomes_approximate_when_it_grows(tmp_path: Path) -> None:
    uri, vectors = str(tmp_path / "index"), planted_vectors(600)
    add_to_index(uri, write_planted(tmp_path / "first", vectors[:300]), approximate_above=400)
    assert SearchIndex.open(uri).is_exact
    change = add_to_index(uri, write_planted(tmp_path / "all", vectors))
    assert change == Change(added=300, unchanged=300, recordings=600, is_approximate=True)
    index = SearchIndex.open(uri)
    for number in (10, 450):
        ((found,),) = index.search([Query(vectors[number], 1)])
        assert found.row.recording_id == name_of(number)


def test_another_limit_makes_an_index_approximate_or_exact_without_other_changes(tmp_path: Path) -> None:
    uri, embeddings = str(tmp_path / "index"), write_planted(tmp_path / "embeddings", planted_vectors(300))
    add_to_index(uri, embeddings)
    for limit, is_approximate in ((299, True), (300, False), (0, True)):
        change = add_to_index(uri, embeddings, approximate_above=limit)
        assert change == Change(unchanged=300, recordings=300, is_approximate=is_approximate)
        assert SearchIndex.open(uri).is_exact != is_approximate
    change = delete_from_index(uri, [name_of(number) for number in range(1, 300)])
    assert (change.recordings, change.is_approximate) == (1, True)
    assert len(ids_of(uri)) == 1
