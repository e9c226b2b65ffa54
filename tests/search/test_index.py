"""Searches of an index equal brute force in float64, exactly and approximately, with every kind of condition."""

from pathlib import Path

import numpy as np
import pytest

from mulan.search import summary, table
from mulan.search.building import add_to_index
from mulan.search.errors import UnknownRecording, UnusableIndex
from mulan.search.index import SearchIndex
from mulan.search.query import Filter, Query
from tests.search.planted import DIM, name_of, planted_vectors, tags_of, write_planted

COUNT = 3000
VECTORS = planted_vectors(COUNT)
QUERIES = planted_vectors(20, seed=1)


@pytest.fixture(scope="module", params=[COUNT, 0], ids=["exact", "approximate"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    folder = tmp_path_factory.mktemp("index")
    embeddings = write_planted(folder / "embeddings", VECTORS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(summary, "MAX_POINTS", 50)  # of more, the map takes seconds
        add_to_index(str(folder / "index"), embeddings, approximate_above=request.param)
    opened = SearchIndex.open(str(folder / "index"))
    assert opened.is_exact == bool(request.param)
    return opened


def brute_force(query: np.ndarray, hits: int, keep: np.ndarray) -> list[str]:
    scores = VECTORS.astype(np.float64) @ query.astype(np.float64)
    order = [row for row in np.argsort(-scores, kind="stable") if keep[row]]
    return [name_of(row) for row in order[:hits]]


def test_hits_are_those_of_brute_force_for_many_queries_at_once(index: SearchIndex) -> None:
    found = index.search([Query(query, 1 + number) for number, query in enumerate(QUERIES)])
    for number, (query, hits) in enumerate(zip(QUERIES, found, strict=True)):
        assert [each.row.recording_id for each in hits] == brute_force(query, 1 + number, np.ones(COUNT, bool))
        for each in hits:
            vector = VECTORS[int(each.row.recording_id[-4:])].astype(np.float64)
            assert each.score == pytest.approx(vector @ query.astype(np.float64), abs=1e-12)


@pytest.mark.parametrize(
    "conditions",
    [
        Filter(("genre:rock",)),
        Filter(("genre:rock", "mood:it's happy")),
        Filter(min_duration_s=25.0),
        Filter(("mood:it's happy",), 22.0, 26.0),
        Filter(("genre:no such genre",)),
        Filter(("genre:x'] OR true OR array_has_all(tags, ['",)),
    ],
)
def test_conditions_leave_out_recordings_before_they_are_ranked(index: SearchIndex, conditions: Filter) -> None:
    keep = np.array(
        [
            set(conditions.tags) <= set(tags_of(row))
            and conditions.min_duration_s <= 20 + row % 10 <= conditions.max_duration_s
            for row in range(COUNT)
        ]
    )
    (found, unconditional) = index.search([Query(QUERIES[0], 30, conditions), Query(QUERIES[0], 30)])
    assert [each.row.recording_id for each in found] == brute_force(QUERIES[0], 30, keep)
    assert [each.row.recording_id for each in unconditional] == brute_force(QUERIES[0], 30, np.ones(COUNT, bool))


def test_all_recordings_that_meet_conditions_are_found_in_whatever_part_of_an_approximate_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MAX_POINTS", 50)
    monkeypatch.setattr(table, "_TRAINED_ON", 100)  # 60 partitions,
    monkeypatch.setattr(table, "_PROBES", 2)  # of which a search reads two at least
    count = 6000
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "embeddings", planted_vectors(count)), approximate_above=0)
    index = SearchIndex.open(uri)
    assert not index.is_exact
    conditions = Filter(("genre:rock", "mood:it's happy"), min_duration_s=29.0)
    meeting = {name_of(row) for row in range(9, count, 30)}  # 200, of which about seven are in two partitions
    for wanted in (QUERIES[0], np.zeros(DIM, np.float32)):
        for hits in (10, 90, 1000):
            (found,) = index.search([Query(wanted, hits, conditions)])
            assert len({each.row.recording_id for each in found} & meeting) == len(found) == min(hits, len(meeting))


def test_a_recording_is_not_similar_to_itself(index: SearchIndex) -> None:
    (found,) = index.search([Query(VECTORS[7], 5, without=name_of(7))])
    assert [each.row.recording_id for each in found] == brute_force(VECTORS[7], 6, np.ones(COUNT, bool))[1:]


def test_a_hit_has_the_moment_of_its_best_window_and_what_was_stored(index: SearchIndex) -> None:
    ((found,),) = index.search([Query(VECTORS[4], 1)])
    assert (found.row.recording_id, found.start_s) == (name_of(4), 7.5)  # the second window has the vector
    row = found.row
    assert (row.uri, row.length, row.duration_s, row.title, row.artist) == ("/music/4.flac", 1000, 24.0, "", "Artist 0")
    assert (row.tags, row.waveform) == (tuple(tags_of(4)), bytes([4] * 200))


def test_recordings_are_ranked_by_their_best_window(index: SearchIndex) -> None:
    (found,) = index.search([Query(QUERIES[1], 10, by_window=True)])
    products = np.abs(VECTORS.astype(np.float16).astype(np.float64) @ QUERIES[1].astype(np.float64))
    whole = np.argsort(-(VECTORS @ QUERIES[1]))[:1000]  # among the recordings that match best as a whole
    expected = [name_of(row) for row in sorted(whole, key=lambda row: -products[row])[:10]]
    assert [each.row.recording_id for each in found] == expected


def test_more_hits_than_recordings_are_all_of_them(index: SearchIndex) -> None:
    (found,) = index.search([Query(QUERIES[0], 1000, Filter(("mood:it's happy",), 29.0))])
    assert len(found) == sum(row % 3 == 0 and row % 10 == 9 for row in range(COUNT))


def test_a_recording_is_found_by_its_id(index: SearchIndex) -> None:
    np.testing.assert_array_equal(index.recording(name_of(5)).vector, VECTORS[5])
    with pytest.raises(UnknownRecording, match="there is no recording"):
        index.recording("track/5' OR '1'='1")


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    add_to_index(str(tmp_path / "index"), write_planted(tmp_path / "none", np.zeros((0, DIM), np.float32)))
    index = SearchIndex.open(str(tmp_path / "index"))
    assert index.recordings == 0
    assert index.search([Query(QUERIES[0])]) == [[]]


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex, match=r"there is no index in .*index.json is missing; make it with jobs.index"):
        SearchIndex.open(str(tmp_path))
