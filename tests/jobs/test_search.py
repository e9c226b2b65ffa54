"""Tests jobs.search: ranked recordings as a table and as JSON, by words, by sound and by both."""

import json
from pathlib import Path

import numpy as np
import pytest

import mulan
from tests.jobs.called import Job, assert_refused
from tests.serving.collection import TestCollection, make_collection
from tests.sounds import flac, tone


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> TestCollection:
    ids = [f"tone-{number:02d}" for number in range(8)]
    return make_collection(tmp_path_factory.mktemp("collection"), model_uri, ids=ids)


def hits(job: Job, *arguments: str) -> list[dict[str, object]]:
    code, out, err = job("search", *arguments, "--json")
    assert (code, err) == (0, "")
    found: list[dict[str, object]] = json.loads(out)["hits"]
    return found


def ranking(collection: TestCollection, query: np.ndarray) -> list[str]:
    scores = {name: float(vector.astype(np.float64) @ query) for name, vector in collection.vectors.items()}
    return sorted(scores, key=lambda name: -scores[name])


def test_texts_and_sounds_are_combined_as_brute_force_does(job: Job, collection: TestCollection) -> None:
    model = mulan.MuLan.from_pretrained(collection.model_uri)
    one, other, unwanted = model.embed_text(["piano", "slow", "drums"]).astype(np.float64)
    index = ("--index", collection.index_uri)
    assert [hit["recording_id"] for hit in hits(job, *index, "piano")] == ranking(collection, one)
    Path("like.flac").write_bytes(flac(tone(300.0, 2.0)))
    sound = model.embed_audio(["like.flac"])[0].astype(np.float64)
    found = hits(job, *index, "piano", "slow", "--like", "like.flac", "--not", "drums", "-k", "4")
    assert [hit["recording_id"] for hit in found] == ranking(collection, (one + other + sound) / 3 - unwanted)[:4]


def test_the_table_shows_rank_score_moment_and_tags(job: Job, collection: TestCollection) -> None:
    code, out, err = job("search", "--index", collection.index_uri, "--like-id", "tone-03", "-k", "2")
    assert (code, err) == (0, "")
    header, first, second = out.rstrip().splitlines()
    assert header.split() == ["score", "recording", "best", "at", "tags"]
    assert first.split()[0] == "1"
    assert second.split()[0] == "2"
    assert "Oscillator - Tone" in first
    assert "0:0" in first
    assert "it's <b>calm</b>" in first
    assert "tone-03" not in out


def test_conditions_leave_recordings_out(job: Job, collection: TestCollection) -> None:
    index = ("--index", collection.index_uri)
    assert len(hits(job, *index, "x", "--tags", "genre:low", "mood:it's <b>calm</b>")) == 4
    assert len(hits(job, *index, "x", "--windows", "--max-duration-s", "3")) == 8
    code, out, _ = job("search", *index, "--tags", "genre:low", "-k", "1")
    header, row = out.rstrip().splitlines()
    assert (code, header.split(), row.split()[:2]) == (0, ["recording", "tags"], ["1", "tone-00"])
    code, out, _ = job("search", *index, "x", "--tags", "genre:other", "mood:nothing similar")
    assert (code, out) == (0, "no recordings match the conditions\n")
    code, out, _ = job("search", *index, "x", "--tags", "genre:lo")
    assert (code, out) == (0, "no recordings match the conditions; no recording has the tag genre:lo: genre:low?\n")


def test_what_cannot_be_searched_is_refused(job: Job, collection: TestCollection) -> None:
    index = ("--index", collection.index_uri)
    assert_refused(job("search", *index), "nothing to search for")
    swallowed = job("search", *index, "--tags", "genre:low", "slow piano")
    assert_refused(swallowed, "--tags: 'slow piano' is no CATEGORY:TAG", "write it before --tags")
    assert_refused(job("search", "--index", "none", "x"), "there is no index in", "jobs.index")
    assert_refused(job("search", *index, "x", "-k", "1001"), "ask for 1 to 1000")
    assert_refused(job("search", *index, "x", "--min-duration-s", "3", "--max-duration-s", "2"), "from 3 to 2 s")
    assert_refused(job("search", *index, "--like-id", "none"), "there is no recording 'none' in the index")
    assert_refused(job("search", *index, "--like", "none.mp3"), "none.mp3")
    assert_refused(job("search", *index, "x", "--model", "none"), "none")
