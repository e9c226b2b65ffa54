"""Training and evaluation of a variant of a recipe: ``python -m mulan.benchmarks.variant_process TOML`` prints JSON.

It trains with the recipe's workers but without Ray, and writes nothing. The weights are those of a run of the recipe.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mulan import MuLan
from mulan.benchmarks.variants import TRAINING
from mulan.benchmarks.worker_group import Reading, read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.audio.windows import decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import rank_and_world_size
from mulan.evaluation.zero_shot import QUERY_SOURCE, queries_and_gold, text_to_music, vocabulary, zero_shot_tagging
from mulan.tasks.task import task_of
from mulan.training.loop import train
from mulan.training.observer import NullObserver
from mulan.training.state import Progress, averaged_weights
from mulan.training.worker import prepare_engine


def train_and_evaluate(recipe: Recipe, device: torch.device) -> Reading:
    """Trains a recipe on its corpus, and evaluates the weights on the split ``test`` as ``jobs.evaluate`` does.

    Collective: every worker of the recipe calls it.

    Returns:
        On the first worker, zero-shot ROC-AUC by category of tags, ``recall@10`` and ``mAP@10`` of text-to-music
        retrieval, and ``training``, the seconds of training; on the others, nothing.
    """
    keep_freed_memory()  # as training workers do
    task, (rank, workers) = task_of(recipe), rank_and_world_size()
    begun = time.perf_counter()
    schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=0)
    reader = MicroBatchReader.from_recipe(recipe)
    engine = prepare_engine(task, recipe, None, device)
    batches = (reader(schedule[number]) for number in range(len(schedule)))
    train(task, recipe, engine, batches, schedule, Progress(steps_done=0), NullObserver())
    seconds, state = time.perf_counter() - begun, engine.state()
    if rank:
        return {}
    model = task.build_model()
    model.load_state_dict(averaged_weights(state))
    with tempfile.TemporaryDirectory() as folder:
        task.export(model, Path(folder))
        scores = _scores(MuLan.from_pretrained(folder, device=device), Corpus.open(recipe.data.uri))
    return scores | {TRAINING: seconds}


def _scores(model: MuLan, corpus: Corpus) -> Reading:
    rows, rate_hz = corpus.rows("test"), model.sample_rate_hz
    records = [read_record(corpus, row) for row in rows.tolist()]
    recordings = (decode_recording(record.audio, sample_rate_hz=rate_hz) for record in records)
    audio = np.concatenate([model.embed_audio([samples], rate_hz) for samples in recordings])
    tags = corpus.table["tags"].take(rows).to_pylist()
    prompts = {
        category: dict(zip(texts, model.embed_text(texts), strict=True)) for category, texts in vocabulary(tags).items()
    }
    gold = queries_and_gold([record.texts(QUERY_SOURCE) for record in records])
    retrieval = text_to_music(model.embed_text(list(gold)), audio, list(gold.values()))
    return {
        **{category: scores.roc_auc for category, scores in zero_shot_tagging(audio, tags, prompts).items()},
        "recall@10": retrieval.recall10,
        "mAP@10": retrieval.map10,
    }


if __name__ == "__main__":
    _recipe = recipe_from_toml(sys.argv[1], name="variant")
    print(json.dumps(read_in_workers(train_and_evaluate, _recipe.scale, _recipe)[0]))
