"""Tests that the settings for training on a new corpus are those that it needs."""

import shlex
from pathlib import Path

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.launch.checks import check_corpus
from mulan.preparation.next_step import training_command, training_settings
from mulan.recipes.registry import load_recipe, named_recipes
from tests.sounds import flac, tone

DEMO = named_recipes()["demo_miniature"]


def corpus_of(folder: Path, texts: dict[str, list[str]], tags: list[str], *, validation: int = 0) -> Corpus:
    def recording(number: int, split: str) -> Recording:
        return Recording(
            recording_id=f"{split}{number}",
            audio=flac(tone(200, 1.0, seed=number)),
            extension="flac",
            split=split,
            texts=texts,
            tags=tags,
            provenance="",
            licence="",
        )

    recordings = [recording(number, "train") for number in range(3)]
    write_corpus([*recordings, *(recording(number, "validation") for number in range(validation))], folder)
    return Corpus.open(str(folder))


def test_a_corpus_of_titles_and_tags_can_be_trained_on_with_its_settings(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", {"short_form": ["jazz"]}, ["genre:jazz"])
    settings = training_settings(corpus, DEMO)
    assert settings == [
        "data.source_ratio.long_form=0",
        "data.source_ratio.playlist=0",
        "data.source_ratio.audioset=0",
        "data.source_ratio.tags=1",
        "train.validation_micro_batches=0",
    ]
    check_corpus(load_recipe("demo_miniature", settings, data_uri=corpus.uri))


def test_a_corpus_with_all_sources_needs_no_settings_but_tags(tiny_corpus: str) -> None:
    corpus = Corpus.open(tiny_corpus)
    assert training_settings(corpus, DEMO) == ["data.source_ratio.tags=1"]
    assert shlex.split(training_command(corpus, "demo_miniature", DEMO))[-2:] == ["--set", "data.source_ratio.tags=1"]


def test_enough_recordings_to_validate_on_are_used(tmp_path: Path) -> None:
    needed = DEMO.batch.pairs_per_micro_batch
    few = corpus_of(tmp_path / "few", {"short_form": ["jazz"]}, [], validation=needed - 1)
    enough = corpus_of(tmp_path / "enough", {"short_form": ["jazz"]}, [], validation=needed)
    assert "train.validation_micro_batches=0" in training_settings(few, DEMO)
    assert "train.validation_micro_batches=0" not in training_settings(enough, DEMO)


def test_without_texts_there_is_nothing_to_train_a_joint_model_on(tmp_path: Path) -> None:
    assert training_command(corpus_of(tmp_path / "corpus", {}, []), "demo_miniature", DEMO) == ""
