"""Tests all tasks: their names, and that models of known skill get the scores that they must get."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.config.errors import MulanError
from mulan.evaluation.corruptions import CORRUPTIONS, Corruption
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.published import published_figures
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.evaluation.tasks.registry import TASKS, TASKS_OF_FILES, task_named
from mulan.evaluation.tasks.triplets import ontology_task
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.registry import KINDS
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.tasks.planted_tasks import (
    ConstantTexts,
    LastWords,
    OneHotTexts,
    captioned_recordings,
    ontology_file,
    perfect_model,
    tagged_recordings,
    words,
)

TAGGED = {
    "tags": ("jamendo_genre", "jamendo_moodtheme"),
    "audioset": ("audioset_gen25",),
    "fma_medium": ("fma_medium",),
    "fma_small": ("fma_small",),
    "giantsteps": ("keys",),
    "gtzan": ("gtzan",),
    "mtat": ("mtat_top50",),
    "mtg_jamendo": ("jamendo_genre", "jamendo_instrument", "jamendo_moodtheme"),
    "nsynth": ("nsynth_families", "nsynth_pitches"),
}
"""Lists from which the recordings of a planted corpus have tags, one of each list, by task."""
CLASSES = 5
"""Number of the first tags of a list that a planted corpus has."""
CAPTIONED = {
    "musiccaps": "long_form_unfiltered",
    "song_describer": "long_form_unfiltered",
    "song_describer_all": "long_form_unfiltered",
}
"""Sources of the captions, by task."""


def test_tasks_have_the_names_that_commands_take() -> None:
    assert all(name == task.name for name, task in TASKS.items())
    others = {"captions", "emomusic", "mtat_robustness", "playlists", "robustness", "triplets"}
    assert set(TASKS) == {*TAGGED, *CAPTIONED, *others} and set(TASKS_OF_FILES) == {"ontology"}
    assert task_named("mtat") is TASKS["mtat"]
    assert TASKS["mtat"].splits == ("test", "train", "validation") and TASKS["captions"].splits == ("test",)


def test_an_unknown_name_is_an_error_that_lists_the_names() -> None:
    with pytest.raises(MulanError, match=r"no task 'gtzam'; did you mean gtzan\? The tasks are .*giantsteps.*nsynth"):
        task_named("gtzam")
    with pytest.raises(MulanError, match=r"no task 'x'\. The tasks are tags, captions,"):
        task_named("x")


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.prepared_by])
def test_the_corpus_of_a_public_data_set_can_be_prepared_as_its_task_says(name: str) -> None:
    flag, source, *settings = shlex.split(TASKS[name].prepared_by)
    assert flag == "--source" and source.partition("=")[0] in KINDS
    changes = dict(setting.split("=") for setting in settings[1::2])
    assert settings[::2] == ["--set"] * len(changes)
    config = PreparationConfig().replace(changes)
    assert (config.clip.start_s, config.clip.duration_s, config.duplicates.audio) == (0, 0, False)


def test_published_figures_stand_beside_sets_of_tasks(tmp_path: Path) -> None:
    named = {
        (protocol_section(protocol), getattr(protocol, "name", "") or getattr(protocol, "vocabulary", ""))
        for task in (*TASKS.values(), ontology_task(ontology_file(tmp_path)))
        for protocol in task.protocols
    }
    published = {(figure.section, figure.set_name) for figure in published_figures()}
    assert published <= named, published - named


def protocol_section(protocol: object) -> str:
    kind = type(protocol).__name__
    sections = {"Robustness": "robustness", "ZeroShot": "zero_shot", "Probe": "probes", "Caption": "retrieval.captions"}
    sections |= {"Playlist": "retrieval.playlists", "Triplets": "triplets"}
    return next(section for word, section in sections.items() if word in kind)


def evaluated(name: str, model: Evaluated) -> dict[tuple[str, str], SetScores]:
    found = [scores for protocol in TASKS[name].protocols for scores in protocol.evaluate(model)]
    sets = {(scores.section, scores.name): scores for scores in found}
    assert len(sets) == len(found) > 0, "the names of sets are unique in their section"
    for scores in found:
        assert scores.protocol.endswith(".") and scores.counts and set(scores.draws) <= set(scores.scores)
        assert all(draws.shape == (model.replicates,) for draws in scores.draws.values())
    return sets


def model_of_tags(name: str, *, constant: bool = False) -> Evaluated:
    """Returns a model of recordings with tags of the lists of a task, five of each list."""
    asked = {getattr(protocol, "vocabulary", None) for protocol in TASKS[name].protocols} - {None}
    prompts = [word for each in sorted(asked) for word in words(vocabulary(each).tags)]
    recordings = tagged_recordings([vocabulary(each).tags[:CLASSES] for each in TAGGED[name]])
    return perfect_model(recordings, prompts, constant=constant)


@pytest.mark.parametrize("name", TAGGED)
def test_a_model_that_knows_all_tags_gets_the_highest_scores(name: str) -> None:
    for key, scores in evaluated(name, model_of_tags(name)).items():
        best = {score: value for score, value in scores.scores.items() if score != "prevalence"}
        assert best == dict.fromkeys(best, pytest.approx(1.0)), key
        assert all(draws == pytest.approx(np.ones(5)) for draws in scores.draws.values()), key


@pytest.mark.parametrize("name", TAGGED)
def test_a_model_that_ignores_its_input_gets_the_scores_of_chance(name: str) -> None:
    model = model_of_tags(name, constant=True)
    for scores in evaluated(name, model).values():
        classes = CLASSES if scores.section == "probes" else scores.counts["tags"]
        chance = {"roc_auc": 0.5, "map": scores.scores.get("prevalence"), "accuracy": 1 / classes}
        for score in chance.keys() & scores.scores.keys():
            assert scores.scores[score] == pytest.approx(chance[score]), (scores.section, scores.name, score)


@pytest.mark.parametrize("name", CAPTIONED)
def test_captions_find_their_recordings(name: str) -> None:
    recordings = captioned_recordings(12, source=CAPTIONED[name])
    (perfect,) = evaluated(name, perfect_model(recordings)).values()
    ranks = {"recall1": 1.0, "recall5": 1.0, "recall10": 1.0, "median_rank": 1.0, "map10": 1.0, "mrr": 1.0}
    assert perfect.scores == ranks and perfect.counts["queries"] == 12
    (ignorant,) = evaluated(name, perfect_model(recordings, constant=True)).values()
    assert ignorant.scores == {**dict.fromkeys(ranks, 0.0), "median_rank": 12.0, "mrr": pytest.approx(1 / 12)}


def test_long_and_short_captions_are_sets_of_their_own() -> None:
    recordings = [
        LabelledRecording(f"{row:02}", "test", texts={"long_form": (f"long {row}",), "short_form": (f"of {row % 2}",)})
        for row in range(12)
    ]
    sets = evaluated("captions", perfect_model(recordings))
    assert {name: scores.counts["queries"] for (_, name), scores in sets.items()} == {"long_form": 12, "short_form": 2}
    assert all(scores.scores["recall1"] == 1 for scores in sets.values())


def test_playlists_find_their_recordings() -> None:
    recordings = [
        LabelledRecording(
            f"{row:02}", "test", texts={"playlist": (f"list {row % 3}",), "long_form": (f"of {row % 3}", "heard")}
        )
        for row in range(12)
    ]
    sets = evaluated("playlists", perfect_model(recordings))
    assert [name for _, name in sets] == ["titles", "descriptions"]
    for scores in sets.values():
        assert (scores.counts["queries"], scores.counts["relevant"]) == (3, 12)
        assert (scores.scores["roc_auc"], scores.scores["map"]) == (1.0, 1.0)
    for scores in evaluated("playlists", perfect_model(recordings, constant=True)).values():
        assert scores.scores["roc_auc"] == 0.5 and scores.scores["map"] == scores.scores["prevalence"]


@pytest.mark.parametrize(("encoder", "accuracy"), [(LastWords, 1.0), (ConstantTexts, 0.5)])
def test_texts_of_one_topic_are_more_similar_than_others(encoder: type[OneHotTexts], accuracy: float) -> None:
    recordings = tuple(
        LabelledRecording(
            f"{row:02}",
            "test",
            texts={
                "playlist": (f"list {row // 2}",),
                "long_form": (f"about {row // 2}",),
                "short_form": (f"of {row // 2}",),
            },
        )
        for row in range(12)
    )
    model = Evaluated(encoder(map(str, range(6))), None, recordings, replicates=5)
    sets = evaluated("triplets", model)
    assert [name for _, name in sets] == ["playlists", "recordings"]
    assert all(scores.scores["accuracy"] == accuracy for scores in sets.values())


def test_ratings_are_predicted_from_vectors_that_contain_them() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.uniform(1, 9, size=(240, 2))
    recordings = tuple(
        LabelledRecording(
            f"{row:03}", ("train", "train", "validation", "test")[row % 4], targets={"arousal": a, "valence": v}
        )
        for row, (a, v) in enumerate(ratings.tolist())
    )
    for vectors, low, high in ((ratings, 0.98, 1.0), (np.ones((240, 2)), -0.1, 0.0)):
        audio = EmbeddedRecordings(recordings, vectors.astype(np.float32), np.arange(241), is_unit=False)
        model = Evaluated(OneHotTexts(["unused"]), audio, recordings, replicates=5)
        (scores,) = evaluated("emomusic", model).values()
        assert scores.counts["recordings"] == 60
        assert all(low < scores.scores[name] <= high for name in ("r2", "r2_arousal", "r2_valence")), scores.scores


@pytest.mark.parametrize(("name", "sets"), [("robustness", 3), ("mtat_robustness", 1)])
def test_tags_and_captions_of_corrupted_recordings_are_scored(name: str, sets: int) -> None:
    tags = vocabulary("mtat_top50").tags[:CLASSES]
    recordings = [
        replace(each, texts={"long_form": (f"about {each.recording_id}",)}) for each in tagged_recordings([tags])
    ]
    model = perfect_model(recordings, words(tags))
    uncorrupted = model.of_split("test")
    # from strength 3 on, all recordings sound alike
    alike = replace(uncorrupted, vectors=np.ones_like(uncorrupted.vectors))
    asked: list[Corruption] = []

    def corrupted(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
        asked.extend(corruptions)
        assert split == "test"
        return (alike if corruption.strength >= 3 else uncorrupted for corruption in corruptions)

    found = evaluated(name, replace(model, corrupted=corrupted))
    assert len(found) == sets * len(CORRUPTIONS) and len(asked) == sets * 36
    for (section, _), scores in found.items():
        assert section == "robustness"
        details = scores.details
        assert details["section"] in ("probes", "zero_shot", "retrieval.captions") and details["set"]
        values = [scores.scores[f"strength_{strength}"] for strength in range(6)]
        assert values[:3] == [1.0] * 3
        assert (
            values[3:] == [{"roc_auc": 0.5, "map": pytest.approx(1 / CLASSES), "recall10": 0.0}[details["score"]]] * 3
        )
