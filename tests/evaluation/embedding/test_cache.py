"""Vectors are computed once for each model, corpus, split and corruption, and again if their file is damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.cache import embed_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings, joined
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.windows import CorpusPart
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.errors import EmbeddingFailed
from tests.evaluation.embedding.parquet_places import vectors_start
from tests.evaluation.embedding.stub_encoder import INFO, Quieter, StubEncoder


@dataclass
class Computing:
    """Calls the cache for a folder, and keeps which splits were computed and what was said."""

    folder: str
    corpus: Corpus
    computed: list[tuple[str, ...]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    is_lasting: bool = True

    def __call__(self, *splits: str, info: EncoderInfo = INFO, **of: Any) -> CorpusEmbeddings:
        return joined(self.parts(*map(CorpusPart, splits), info=info, **of))

    def parts(self, *parts: CorpusPart, info: EncoderInfo = INFO, **of: Any) -> list[CorpusEmbeddings]:
        corpus = replace(self.corpus, **of)

        def embed(missing: Sequence[CorpusPart]) -> Iterator[CorpusEmbeddings]:
            self.computed.append(tuple(part.split for part in missing))
            for part in missing:
                result = embed_here(
                    StubEncoder(info), corpus, [part.split], max_skipped_share=1, corruption=part.corruption
                )
                yield replace(result, is_lasting=self.is_lasting)

        self.computed.clear()
        self.messages.clear()
        return list(embed_cached(self.folder, info, corpus, parts, embed, on_message=self.messages.append))


@pytest.fixture
def cached(damaged: Corpus, storage_uri: str) -> Computing:
    return Computing(f"{storage_uri}/embeddings", damaged)


def same(one: CorpusEmbeddings, other: CorpusEmbeddings) -> bool:
    return (
        np.array_equal(one.embedded.windows, other.embedded.windows)
        and np.array_equal(one.embedded.starts, other.embedded.starts)
        and one.embedded.recordings == other.embedded.recordings
        and one.skipped == other.skipped
    )


def test_vectors_are_computed_once(cached: Computing) -> None:
    first = cached("test", "train")
    assert (cached.computed, cached.messages) == ([("test", "train")], [])
    again = cached("test", "train")
    assert cached.computed == []
    assert [message.partition(".parquet ")[2] for message in cached.messages] == [
        "has the vectors of 12 recordings",
        "has the vectors of 6 recordings",
    ]
    assert same(first, again)
    assert same(first, embed_here(StubEncoder(), cached.corpus, ["train", "test"], max_skipped_share=1))


def test_a_split_is_reused_by_another_task(cached: Computing) -> None:
    cached("train")
    both = cached("train", "test")
    assert cached.computed == [("test",)]
    assert len(both.embedded.recordings) == 18 and list(both.skipped) == ["tone-003", "tone-007"]


def test_other_content_is_computed_and_other_names_are_not(cached: Computing) -> None:
    cached("train")
    for changed in (
        {"info": replace(INFO, sha256="cd" * 32)},
        {"info": replace(INFO, window_samples=4_000)},
        {"info": replace(INFO, sample_rate_hz=8_000)},
        {"index_sha256": "ef" * 32},
    ):
        cached("train", **changed)  # type: ignore[arg-type]
        assert cached.computed == [("train",)], changed
        cached("train", **changed)  # type: ignore[arg-type]
        assert cached.computed == [], changed
    for renamed in (replace(INFO, uri="elsewhere", licence="MIT"), replace(INFO, name="runs/another/name")):
        cached("train", info=renamed)
        assert cached.computed == []


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another"])
def test_a_damaged_file_is_computed_again_with_a_message(damaged: Corpus, tmp_path: Path, damage: str) -> None:
    cached = Computing(str(tmp_path), damaged)
    first = cached("train")
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("stub-1-train-")
    content = path.read_bytes()
    if damage == "another":  # the file of another window under the name of this one
        cached("train", info=replace(INFO, window_samples=4_000))
        (other,) = set(tmp_path.iterdir()) - {path}
        path.write_bytes(other.read_bytes())
        other.unlink()
    else:
        place = vectors_start(path) + 50
        changed = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        path.write_bytes({"cut": content[:-100], "changed": changed, "empty": b""}[damage])
    assert same(first, cached("train"))
    assert cached.computed == [("train",)]
    assert len(cached.messages) == 1 and str(path) in cached.messages[0]
    assert cached.messages[0].endswith("it is computed again")
    assert path.read_bytes() == content
    cached("train")
    assert cached.computed == []


def test_vectors_are_not_kept_if_bytes_could_not_be_read(cached: Computing) -> None:
    cached.is_lasting = False
    cached("train")
    cached("train")
    assert cached.computed == [("train",)]


def test_what_was_computed_before_an_error_is_kept(cached: Computing) -> None:
    def embed(missing: Sequence[CorpusPart]) -> Iterator[CorpusEmbeddings]:
        yield embed_here(StubEncoder(), cached.corpus, ["test"], max_skipped_share=1)
        raise EmbeddingFailed("a process ended")

    parts = [CorpusPart("test"), CorpusPart("train")]
    with pytest.raises(EmbeddingFailed):
        list(embed_cached(cached.folder, INFO, cached.corpus, parts, embed, on_message=print))
    cached("test", "train")
    assert cached.computed == [("train",)]


def test_a_part_of_a_split_has_a_file_of_its_own_and_other_splits_have_not(cached: Computing) -> None:
    cached("test", "train")
    cached.corpus = cached.corpus.with_at_most(3, "train")
    part = cached("test", "train")
    assert cached.computed == [("train",)]
    assert sum(each.split == "train" for each in part.embedded.recordings) == 3
    cached("test", "train")
    assert cached.computed == []


def test_corruptions_are_computed_together_and_once(cached: Computing) -> None:
    def corrupted(*corruptions: Quieter) -> list[CorpusEmbeddings]:
        return cached.parts(*(CorpusPart("train", each) for each in corruptions))

    one, two, other, same_strength = Quieter(1), Quieter(2), Quieter(1, "other"), Quieter(1, description="changed")
    corrupted(two)
    found = corrupted(one, two, other)
    assert cached.computed == [("train", "train")]
    for corruption, embeddings in zip((one, two, other), found, strict=True):
        expected = embed_here(StubEncoder(), cached.corpus, ["train"], max_skipped_share=1, corruption=corruption)
        assert same(embeddings, expected)
    assert all(same(*pair) for pair in zip(corrupted(one, two, other), found, strict=True)) and not cached.computed
    corrupted(same_strength)
    assert cached.computed == [("train",)]
