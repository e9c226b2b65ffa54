"""The corpus of hidden tones, and an untrained network that has heard it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.encoders.encoder import Encoder
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.finetuning.training import EndToEndJob, TrainedNetwork
from mulan.evaluation.probes.probe import LabelledVectors, ProbeData, mean_roc_auc
from mulan.evaluation.recordings import EmbeddedRecordings, multi_hot
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.task import task_of
from tests.evaluation.finetuning.hidden_tones import write_hidden_tones
from tests.evaluation.finetuning.trained_here import QUICK, end_to_end
from tests.evaluation.small_model import RECIPE


@dataclass(frozen=True)
class Hidden:
    """The corpus and its vectors."""

    corpus: Corpus
    encoder: Encoder
    audio: EmbeddedRecordings


@pytest.fixture(scope="session")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Hidden:
    folder = tmp_path_factory.mktemp("hidden")
    torch.manual_seed(7)
    export_encoder(task_of(RECIPE).build_model().audio_encoder, RECIPE, Path(folder / "encoder"))
    corpus = write_hidden_tones(str(folder / "corpus"))
    encoder = open_encoder(str(folder / "encoder"), name="small", device="cpu")
    audio = embed_here(encoder, corpus, ["train", "validation", "test"], max_skipped_share=0).embedded
    return Hidden(corpus, encoder, audio)


@pytest.fixture(scope="session")
def job(hidden: Hidden, tmp_path_factory: pytest.TempPathFactory) -> EndToEndJob:
    jobs: list[EndToEndJob] = []

    def remembering(job: EndToEndJob) -> list[TrainedNetwork]:
        jobs.append(job)
        return [TrainedNetwork(1e-3, 1, 0.5, np.zeros((len(job.scored.recordings), 1)))]

    train, validation = (
        LabelledVectors(part, multi_hot(part.recordings, ["band:high"]))
        for part in (hidden.audio.of_splits("train"), hidden.audio.of_splits("validation"))
    )
    data = ProbeData("tags", 1, train, validation, mean_roc_auc, 0)
    folder = str(tmp_path_factory.mktemp("predictions"))
    end_to_end(hidden.encoder.info, hidden.corpus, hidden.audio, folder, train=remembering).fit(data)
    (job,) = jobs
    return replace(job, settings=replace(QUICK, max_epochs=2, min_batches=5))
