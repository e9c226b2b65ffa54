"""Vectors are computed once for each model, corpus, split and corruption, and again if their file is damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embedding.cache import embed_cached, embed_corruptions_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.encoders.encoder import EncoderInfo
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

    def __call__(self, *splits: str, info: EncoderInfo = INFO, share: float = 0.2, **of: Any) -> CorpusEmbeddings:
        corpus = replace(self.corpus, **of)

        def embed(splits: Sequence[str]) -> CorpusEmbeddings:
            self.computed.append(tuple(splits))
            encoder = StubEncoder(info)
            result = embed_here(encoder, corpus, splits, max_skipped_share=1)
            return replace(result, is_lasting=self.is_lasting)

        self.computed.clear()
        self.messages.clear()
        return embed_cached(
            self.folder,
            info,
            corpus,
            splits,
            embed,
            max_skipped_share=share,
            on_message=self.messages.append,
        )


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
    both = cached("train", "test", "validation")
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


def test_the_allowed_share_is_checked_for_stored_vectors_too(cached: Computing) -> None:
    cached("test", share=0.2)
    with pytest.raises(TooManySkippedRecordings, match=r"(?s)2 of the 14 recordings in the split 'test'.*tone-003"):
        cached("test", share=0.1)
    assert cached.computed == []


def test_corruptions_are_computed_together_and_once(damaged: Corpus, storage_uri: str) -> None:
    computed: list[list[Quieter]] = []

    def embed(missing: Sequence[Quieter]) -> Iterator[CorpusEmbeddings]:
        computed.append(list(missing))
        for each in missing:
            yield embed_here(StubEncoder(), damaged, ["train"], max_skipped_share=1, corruption=each)

    def cached(*corruptions: Quieter) -> list[CorpusEmbeddings]:
        computed.clear()
        folder = f"{storage_uri}/embeddings"
        share = {"max_skipped_share": 0.2}
        return list(
            embed_corruptions_cached(folder, INFO, damaged, "train", corruptions, embed, on_message=print, **share)
        )

    one, two, other, same_strength = Quieter(1), Quieter(2), Quieter(1, "other"), Quieter(1, description="changed")
    cached(two)
    found = cached(one, two, other)
    assert computed == [[one, other]]
    for corruption, embeddings in zip((one, two, other), found, strict=True):
        assert same(
            embeddings, embed_here(StubEncoder(), damaged, ["train"], max_skipped_share=1, corruption=corruption)
        )
    assert all(same(*pair) for pair in zip(cached(one, two, other), found, strict=True)) and not computed
    cached(same_strength)
    assert computed == [[same_strength]]
