"""Tests the description of corpora whose content is known."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.errors import CorpusError
from mulan.preparation.description import describe
from tests.preparation.sources_of_tests import GivenSource, preparation, tones
from tests.preparation.test_prepare import make
from tests.sounds import flac, tone


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    def recordings() -> list[Recording]:
        return [
            Recording(
                recording_id=f"r{number}",
                audio=flac(tone(200, 1.0 + number, seed=number)),
                extension="flac",
                split="test" if number == 3 else "train",
                texts={"short_form": ["slow jazz", "piano!"]} if number % 2 else {},
                tags=["genre:jazz", "mood:calm"] if number else ["genre:rock"],
                provenance="",
                licence="",
            )
            for number in range(4)
        ]

    write_corpus(recordings(), tmp_path / "corpus")
    return Corpus.open(str(tmp_path / "corpus"))


def test_counts_of_a_corpus(corpus: Corpus) -> None:
    description, _ = describe(corpus)
    assert description["recordings"] == 4
    assert description["hours"] == pytest.approx((1 + 2 + 3 + 4) / 3600)
    assert description["shards"] == 1
    assert {split: found["recordings"] for split, found in description["splits"].items()} == {"train": 3, "test": 1}
    assert description["duration_s"]["quantile_0.5"] == 2.5
    assert description["tags"]["genre"] == {"different": 2, "given": 4, "most_frequent": {"jazz": 3, "rock": 1}}
    assert description["tags"]["mood"]["most_frequent"] == {"calm": 3}
    assert description["audio"] == {"flac, 16000 Hz, mono": 4}
    assert description["sample"] == {"recordings": 4, "unreadable": []}


def test_texts_are_counted_as_in_the_table_of_the_paper(corpus: Corpus) -> None:
    """Two of four recordings have two texts: "slow jazz" of two tokens, and "piano!", a word and a punctuation mark."""
    found = describe(corpus)[0]["texts"]
    assert found == {
        "short_form": {
            "recordings": 2,
            "texts_per_recording": 1.0,
            "tokens_per_text": 2.0,
            "tokens": 8,
            "examples": ["slow jazz", "slow jazz"],
        }
    }


def test_numbers_of_texts_are_extrapolated_from_a_sample(tmp_path: Path, tiny_corpus: str) -> None:
    corpus = Corpus.open(tiny_corpus)
    part, whole = describe(corpus, sample=12)[0], describe(corpus)[0]
    assert part["sample"]["recordings"] == 12
    assert part["recordings"] == whole["recordings"] == 48
    assert part["texts"]["short_form"]["recordings"] == 48
    assert part["texts"]["short_form"]["texts_per_recording"] == 2
    assert 0.7 < part["texts"]["long_form"]["tokens"] / whole["texts"]["long_form"]["tokens"] < 1.3


def test_examples_are_spread_over_the_corpus(corpus: Corpus) -> None:
    _, examples = describe(corpus, examples=2)
    assert [example.recording_id for example in examples] == ["r0", "r3"]
    assert examples[1].texts["short_form"] == ["slow jazz", "piano!"]
    assert examples[1].audio.startswith(b"fLaC")
    assert list(examples[0].tags) == ["genre:rock"]


def test_unreadable_recordings_are_named(corpus: Corpus) -> None:
    (shard,) = Path(corpus.uri, "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-20_000])
    description, _ = describe(corpus)
    assert description["recordings"] == 4
    assert [name.partition(":")[0] for name in description["sample"]["unreadable"]] == ["r3"]


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_damaged_table_of_the_preparation_is_an_error(content: bytes | None, corpus: Corpus) -> None:
    path = Path(corpus.uri, "preparation", "recordings.parquet")
    path.parent.mkdir()
    if content is None:
        pq.write_table(pa.table({"recording_id": ["r0"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"preparation/recordings.parquet is damaged: .*remove the file"):
        describe(corpus)


def test_what_a_preparation_has_measured_is_shown(tmp_path: Path) -> None:
    make(preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 5))))
    description, _ = describe(Corpus.open(str(tmp_path / "corpus")))
    assert description["left_out"] == {}
    assert description["damaged"] == 0
    assert description["artists"] == 5
    assert description["silent_share"]["mean"] == 0
    texts = description["texts"]
    assert texts["long_form_unfiltered"]["texts_per_recording"] == 1
    assert set(texts) <= {"short_form", "long_form", "short_form_unfiltered", "long_form_unfiltered"}
