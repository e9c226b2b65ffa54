"""Tests training through Ray on a GPU: a killed worker changes no bit, and the model embeds there like on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.pipeline import embed_corpus
from mulan.evaluation.embedding.windows import CorpusPart
from mulan.evaluation.encoders.registry import open_encoder
from mulan.launch.fit import fit
from mulan.recipes.registry import load_recipe
from mulan.runs.export import export_run
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from tests.chaos.scenarios import assert_nothing_lost
from tests.launch.killing import kill_a_worker_of

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("ray_cluster")]
SETTINGS = (
    *("scale.use_gpu=true", "scale.workers=1", "train.precision=bf16"),
    *("train.steps=200", "train.checkpoint_every_steps=5", "train.validate_every_steps=100"),
)


@pytest.mark.parametrize("stage", [0, 3])
def test_a_run_with_a_killed_worker_equals_an_undisturbed_one(stage: int, tiny_corpus: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", [*SETTINGS, f"train.zero_stage={stage}"], data_uri=tiny_corpus)
    undisturbed, killed = Run(str(tmp_path), "undisturbed"), Run(str(tmp_path), "killed")
    fit(recipe, undisturbed)
    with ThreadPoolExecutor() as pool:
        killing = pool.submit(kill_a_worker_of, killed)
        fit(recipe, killed)
        killing.result()
    assert len(list(read_lines(killed.failures_uri))) == 1
    assert_nothing_lost(killed, undisturbed)


def test_a_trained_model_embeds_a_corpus_on_a_gpu_like_on_the_cpu(tiny_corpus: str, tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    fit(load_recipe("demo_miniature", SETTINGS, data_uri=tiny_corpus), run)
    export_run(run)
    encoder, corpus = open_encoder(run.model_uri, device="cpu"), Corpus.open(tiny_corpus)
    (found,) = embed_corpus(
        partial(open_encoder, run.model_uri), encoder.info, corpus, [CorpusPart("test")], use_gpu=True
    )
    expected = embed_here(encoder, corpus, ["test"], max_skipped_share=0)
    assert found.embedded.recordings == expected.embedded.recordings
    np.testing.assert_allclose(found.embedded.windows, expected.embedded.windows, atol=1e-5)
