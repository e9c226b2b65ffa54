"""Training and evaluation of a variant of a recipe: ``python -m mulan.benchmarks.variant_process TOML SPLIT``.

It trains with the recipe's workers but without Ray, keeps nothing, and prints the scores as JSON. The weights are those
of a run of the recipe.
"""

import json
import math
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from mulan.benchmarks.worker_group import Reading, read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.corpus.index import Corpus
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.encoders.exported import open_exported
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.protocol import Evaluated
from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.state_parts import PartCopy
from mulan.tasks.task import task_of
from mulan.training.loop import train
from mulan.training.observer import NullObserver
from mulan.training.state import Progress, load_weights
from mulan.training.worker import prepare_engine


def train_and_evaluate(recipe: Recipe, split: str, device: torch.device) -> Reading:
    """Trains a recipe on its corpus, and evaluates the weights as ``jobs.evaluate`` does.

    Collective: every worker of the recipe calls it.

    Args:
        recipe: Recipe of a joint model, with a corpus.
        split: Split to evaluate on, with at least one recording.
        device: Device of this worker.

    Returns:
        On the first worker, zero-shot ROC-AUC by category of tags, and ``recall@10`` and ``mAP@10`` of text-to-music
        retrieval, without those that the split does not define; on the others, nothing.

    Raises:
        MulanError: Too many recordings were skipped, or training ended as :func:`mulan.training.loop.train` says.
    """
    keep_freed_memory()  # as training workers do
    task, (rank, workers) = task_of(recipe), rank_and_world_size()
    schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=0)
    reader = MicroBatchReader.from_recipe(recipe)
    engine = prepare_engine(task, recipe, None, device)
    batches = (reader(schedule[number]) for number in range(len(schedule)))
    train(task, recipe, engine, batches, schedule, Progress(steps_done=0), NullObserver())
    with tempfile.TemporaryDirectory() as own_folder:
        folder = all_gather_objects(own_folder)[0]
        write_checkpoint(folder, PartCopy(engine.own_state()), Progress(recipe.train.steps))
        if rank:
            return {}
        checkpoint, model = read_newest(folder, on_corrupt=lambda _: None), task.build_model()
        assert checkpoint is not None
        load_weights(model, checkpoint.state, averaged=True)
        exported = Path(folder, "model")
        exported.mkdir()
        task.export(model, exported)
        return _scores(str(exported), recipe, split, device)


def _scores(model_uri: str, recipe: Recipe, split: str, device: torch.device) -> Reading:
    encoder = open_exported(model_uri, name="variant", device=str(device))
    corpus, share = Corpus.open(recipe.data.uri), recipe.data.max_skipped_share
    found = embed_here(encoder, corpus, [split], max_skipped_share=share)
    model = Evaluated(encoder, found.embedded, replicates=0)
    scores = {}
    with suppress(EvaluationError):  # no recording has a tag
        for tagging in ZeroShotTagging("tagged", split=split).evaluate(model):
            scores[tagging.name] = tagging.scores["roc_auc"]
    with suppress(EvaluationError):  # no recording has a caption
        (captions,) = CaptionRetrieval("captions", split=split).evaluate(model)
        scores |= {"recall@10": captions.scores["recall10"], "mAP@10": captions.scores["map10"]}
    return {name: score for name, score in scores.items() if not math.isnan(score)}


if __name__ == "__main__":
    _recipe = recipe_from_toml(sys.argv[1], name="variant")
    print(json.dumps(read_in_workers(train_and_evaluate, _recipe.scale, _recipe, sys.argv[2])[0]))
