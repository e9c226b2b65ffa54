"""Words find the recordings with their tags, in the API as in jobs.search as by brute force, if vectors are of tags."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import mulan
from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingModel, Manifest, write_manifest
from mulan.collection.part import part_name, part_schema, part_table, write_part
from mulan.evaluation.encoders.registry import open_encoder
from mulan.search.building import add_to_index
from mulan.serving.app import create_app
from mulan.serving.service import SearchService
from mulan.serving.settings import ServerSettings
from tests.jobs.called import Job
from tests.jobs.conftest import job  # noqa: F401  # a fixture
from tests.search.measure_precision import BEST, measured, pairs_of, precisions, ranking, rows_of, words_of

TAGS = {
    "genre": ("rock", "jazz", "ambient", "celtic", "hip hop"),
    "instrument": ("organ", "piano", "harp", "congas", "flute"),
    "mood": ("happy", "dark", "calm"),
}
COPIES = 2
"""Number of recordings with the same tags."""


@pytest.fixture(scope="module")
def index_uri(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> str:
    """Makes an index of recordings whose vectors are the sums of those of their tags' words.

    The vectors of a model of no skill are nearly the same; only that in which they differ is summed.
    """
    folder = tmp_path_factory.mktemp("planted")
    words = list(itertools.chain(*TAGS.values()))
    rows = mulan.MuLan.from_pretrained(model_uri).embed_text(words).astype(np.float64)
    common = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    vectors = dict(zip(words, rows - np.outer(rows @ common, common), strict=True))
    all_words = [own for own in itertools.product(*TAGS.values()) for _ in range(COPIES)]
    sums = np.stack(
        [sum(vectors[word] * weight for word, weight in zip(own, (1, 1, 0.3), strict=True)) for own in all_words]
    )
    count = len(all_words)
    info = open_encoder(model_uri, device="cpu").info
    columns = {
        "recording_id": [f"r{number:04d}" for number in range(count)],
        "uri": ["/music/none.flac"] * count,
        "offset": [0] * count,
        "length": [1] * count,
        "extension": ["flac"] * count,
        "start_s": [0.0] * count,
        "duration_s": [3.0] * count,
        "title": [""] * count,
        "artist": [""] * count,
        "tags": [[f"{category}:{word}" for category, word in zip(TAGS, own, strict=True)] for own in all_words],
        "waveform": [bytes(200)] * count,
        "embedding": (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32),
    }
    part = part_name("0a")
    write_part(str(folder), part, part_table(columns, part_schema(info.dim, "float32", windows=False)))
    described = EmbeddingModel(**{name: getattr(info, name) for name in EmbeddingModel.model_fields})
    manifest = Manifest(model=described, dtype="float32", windows=False, recordings=count, parts=(part,), skipped={})
    write_manifest(str(folder), manifest)
    add_to_index(str(folder / "index"), CollectionEmbeddings.open(str(folder)))
    return str(folder / "index")


@pytest.fixture(scope="module")
def client(index_uri: str, model_uri: str) -> Iterator[TestClient]:
    service = SearchService(ServerSettings(index_uri=index_uri, model=model_uri))
    with TestClient(create_app(service), base_url="http://localhost") as opened:
        yield opened


Find = Callable[[tuple[str, str]], list[str]]


def precision(index_uri: str, find: Find) -> tuple[float, float]:
    """Returns the mean precision and the mean chance over all pairs of a genre and an instrument."""
    tags = {row.recording_id: row.tags for row in rows_of(index_uri)}
    pairs = {pair: count for pair, count in pairs_of(list(tags.values())).items() if "mood" not in pair[1]}
    assert len(pairs) == len(TAGS["genre"]) * len(TAGS["instrument"])
    found = precisions(pairs, dict(tags), find)
    return float(np.mean([each.share for each in found])), float(np.mean([each.chance for each in found]))


def brute_force(index_uri: str, model_uri: str) -> Find:
    model, rows = mulan.MuLan.from_pretrained(model_uri), rows_of(index_uri)
    return lambda words: ranking(rows, model.embed_text(list(words)).astype(np.float64).mean(axis=0))


def test_words_find_recordings_with_both_tags_in_the_api(client: TestClient, index_uri: str, model_uri: str) -> None:
    expected = brute_force(index_uri, model_uri)

    def find(words: tuple[str, str]) -> list[str]:
        hits = client.get("/api/search", params={"q": list(words), "k": BEST}).json()["hits"]
        ids = [hit["recording_id"] for hit in hits]
        assert ids == expected(words)[:BEST]
        return ids

    share, chance = precision(index_uri, find)
    assert chance == pytest.approx(1 / 25)
    assert share > 0.8


def test_words_find_the_same_in_the_job(job: Job, client: TestClient, index_uri: str) -> None:  # noqa: F811
    for words in [("rock", "organ"), ("hip hop", "flute")]:
        code, out, err = job("search", "--index", index_uri, *words, "-k", str(BEST), "--json")
        assert (code, err) == (0, "")
        found = client.get("/api/search", params={"q": list(words), "k": BEST}).json()["hits"]
        assert [hit["recording_id"] for hit in json.loads(out)["hits"]] == [hit["recording_id"] for hit in found]


def test_the_measurement_of_an_index_compares_with_brute_force(index_uri: str) -> None:
    found = measured(index_uri, None, as_one_text=False)
    assert len(found) == 25 + 2 * 15
    assert np.mean([each.share for each in found]) > 3 * np.mean([each.chance for each in found])


def test_pairs_are_of_two_categories_and_frequent(tmp_path: Path) -> None:
    tags = [["a:x", "a:y", "b:z"]] * 5 + [["a:x", "b:w"]] * 4
    assert pairs_of(tags) == {("a:x", "b:z"): 5, ("a:y", "b:z"): 5}
    assert words_of(("genre:hip hop", "mood:dark")) == ("hip hop", "dark")
