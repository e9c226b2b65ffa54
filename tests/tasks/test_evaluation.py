"""Tests the evaluation in each validation, in real process groups."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mulan import MuLan
from mulan.config.evaluation import SCORES_OF_TASK, SET_OF_TASK
from mulan.config.recipe import Recipe
from mulan.data.audio.windows import decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.retrieval import retrieval_scores, search
from mulan.evaluation.metrics.tagging import tagging_scores
from mulan.evaluation.protocols.queries import recordings_by_text
from mulan.evaluation.protocols.retrieval import CAPTION_SCORES, PLAYLIST_SCORES, CaptionRetrieval, PlaylistRetrieval
from mulan.evaluation.recordings import LabelledRecording, multi_hot
from mulan.recipes.registry import load_recipe
from mulan.runs.export import export_run
from mulan.runs.run import Run
from mulan.tasks.evaluation import ValidationEvaluation, _protocol
from mulan.tasks.joint import JointTask
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import measured

TASKS = ['evaluation.tasks=["tags","captions","playlists"]', "evaluation.recordings=7"]


def recipe(uri: str, bert: str, *settings: str) -> Recipe:
    common = ["train.steps=4", "train.checkpoint_every_steps=4", "train.validate_every_steps=2", "scale.workers=1"]
    common += ["batch.micro_batches=2", "batch.pairs_per_micro_batch=4", "train.validation_micro_batches=2"]
    common += [f"text_tower.pretrained={bert}", "text_tower.layers=1", "text_tower.frozen_layers=0"]
    return load_recipe("demo_miniature", [*common, *settings], data_uri=uri)


def train_all(recipes: dict[str, Recipe], folder: str) -> dict[str, list[dict[str, Any]]]:
    lines = {}
    for name, one in recipes.items():
        run = Run.at(folder, name)
        run.begin(one)
        lines[name] = measured(train_inline(one, run.uri)[0])
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def runs(tiny_corpus: str, narrow_bert: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of metrics of the first process of each run."""
    evaluated = recipe(tiny_corpus, narrow_bert, *TASKS)
    sharded = recipe(tiny_corpus, narrow_bert, *TASKS, "train.zero_stage=3", "scale.workers=2")
    alone = {"evaluated": evaluated, "plain": recipe(tiny_corpus, narrow_bert)}
    lines = run_in_processes(train_all, 1, alone, str(folder), folder=folder / "one")[0]
    return lines | run_in_processes(train_all, 2, {"sharded": sharded}, str(folder), folder=folder / "two")[0]


def validations(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [line["validation"] for line in lines if "validation" in line]


@pytest.mark.processes
def test_training_is_the_same_with_an_evaluation(runs: dict[str, list[dict[str, Any]]]) -> None:
    without = [{name: value for name, value in line.items() if name != "validation"} for line in runs["evaluated"]]
    assert without == [{k: v for k, v in line.items() if k != "validation"} for line in runs["plain"]]
    for evaluated, plain in zip(validations(runs["evaluated"]), validations(runs["plain"]), strict=True):
        assert plain.items() < evaluated.items()


@pytest.mark.processes
def test_the_scores_have_the_same_bits_with_sharded_weights_on_two_workers(
    runs: dict[str, list[dict[str, Any]]],
) -> None:
    assert runs["sharded"] == runs["evaluated"]


@pytest.mark.processes
def test_the_scores_are_those_of_the_exported_model(
    runs: dict[str, list[dict[str, Any]]], tiny_corpus: str, folder: Path
) -> None:
    run = Run.at(str(folder), "evaluated")
    export_run(run)
    model, corpus = MuLan.from_pretrained(run.model_uri, device="cpu"), Corpus.open(tiny_corpus)
    rows = corpus.rows("validation")[np.linspace(0, 7, 7).round().astype(int)].tolist()
    records = [read_record(corpus, row) for row in rows]
    rate_hz = model.sample_rate_hz
    audio = model.embed_audio([decode_recording(each.audio, sample_rate_hz=rate_hz) for each in records], rate_hz)
    labelled = [
        LabelledRecording(each.recording_id, "validation", tuple(each.metadata["tags"]), each.metadata["texts"])
        for each in records
    ]
    (_, last), expected = validations(runs["evaluated"]), {}
    for category in ("genre", "pitch"):
        tags = sorted({tag for each in labelled for tag in each.tags if tag.startswith(f"{category}:")})
        prompts = model.embed_text([tag.partition(":")[2] for tag in tags])
        found = tagging_scores(audio @ prompts.T, multi_hot(labelled, tags), tags)
        expected |= {f"zero_shot.{category}.roc_auc": found.roc_auc, f"zero_shot.{category}.map": found.map}
    for section, source in (("captions", "long_form"), ("playlists", "playlist")):
        gold = {
            text: rows
            for text, rows in recordings_by_text(labelled, source).items()
            if section == "captions" or len(rows) > 1
        }
        found_text = retrieval_scores(list(search(model.embed_text(list(gold)), audio, list(gold.values()))))
        name = {"captions": "long_form", "playlists": "titles"}[section]
        expected[f"retrieval.{section}.{name}.recall10"] = found_text.recall10
    assert {name: last[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_an_unknown_figure_is_refused_with_those_that_there_are(tiny_corpus: str, narrow_bert: str) -> None:
    settings = [*TASKS, "evaluation.select=zero_shot.mood.roc_auc"]
    one = recipe(tiny_corpus, narrow_bert, *settings)
    evaluation = ValidationEvaluation.from_recipe(one, 0, 1)
    assert evaluation is not None
    model = JointTask(one).build_model().eval()
    with (
        torch.no_grad(),
        pytest.raises(EvaluationError, match=r"zero_shot\.mood\.roc_auc is not among .*zero_shot\.genre"),
    ):
        evaluation.scores(model, torch.device("cpu"))


def test_recipes_accept_the_figures_that_the_protocols_have() -> None:
    assert SCORES_OF_TASK["captions"] == CAPTION_SCORES and SCORES_OF_TASK["playlists"] == PLAYLIST_SCORES
    for task, name in SET_OF_TASK.items():
        protocol = _protocol(task)
        assert isinstance(protocol, CaptionRetrieval | PlaylistRetrieval) and (protocol.name or protocol.source) == name


def test_without_tasks_nothing_is_read(tiny_corpus: str, narrow_bert: str) -> None:
    assert ValidationEvaluation.from_recipe(recipe(tiny_corpus, narrow_bert), 0, 1) is None
