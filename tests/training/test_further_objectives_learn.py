"""Tests what MuLaP and SemiSupCon learn from the demo's music in minutes, on held-out recordings.

The scores are printed and shown by ``pytest -rP``.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mulan import AudioBackbone
from mulan.config.recipe import Recipe
from mulan.data.audio.windows import decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase, Schedule
from mulan.demo.corpus import build_corpus
from mulan.recipes.registry import load_recipe
from mulan.runs.export import export_run
from mulan.runs.run import Run
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.task import task_of
from tests.processes import run_in_processes
from tests.training.inline import train_inline

TRACKS = 1600
PROBED_S = 8
"""Instrument of every recording, for the probes."""
DECIBELS = 'front_end={family="decibel", mel_channels=32, hop_ms=20.0}'
MUSICNN = (
    'audio_tower={family="musicnn", vertical_channels=16, horizontal_channels=8, horizontal_frames=[17, 9], '
    "dense_channels=16, dense_layers=2}"
)
"""The tower of ``mulap_miniature``, for frames with twice the hop."""

pytestmark = [pytest.mark.processes, pytest.mark.long(group="learning"), pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def corpus_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("demo") / "corpus")
    build_corpus(uri, tracks=TRACKS, seed=2022, workers=2)
    return uri


def recipe(name: str, corpus_uri: str, settings: Sequence[str], *, steps: int) -> Recipe:
    trained = [f"train.steps={steps}", f"train.checkpoint_every_steps={steps}", f"train.validate_every_steps={steps}"]
    return load_recipe(name, [*settings, *trained], data_uri=corpus_uri)


def trained(one: Recipe, folder: Path) -> tuple[Run, list[dict[str, Any]]]:
    """Trains with one worker per micro-batch, exports the model, and returns the run with its lines of metrics."""
    run = Run.at(str(folder), "run")
    run.begin(one)
    lines, _ = run_in_processes(train_inline, one.batch.micro_batches, one, run.uri, folder=folder / "processes")[0]
    export_run(run)
    return run, lines


def tagger(corpus_uri: str) -> Recipe:
    """Returns a recipe for all tags, whose tower warm-starts MuLaP: a random one learns matching more slowly."""
    settings = [
        *(DECIBELS, MUSICNN, 'tagging.prefix=""', "tagging.classes=45"),
        *("batch.micro_batches=1", "batch.pairs_per_micro_batch=64", "scale.workers=1"),
        "train.validation_micro_batches=0",
        *("optim.lr=3e-3", "optim.warmup_steps=20", "optim.decay_every_steps=100", "optim.decay_factor=0.7"),
    ]
    return recipe("m_resnet50_audioset_miniature", corpus_uri, settings, steps=600)


def mulap(corpus_uri: str, pretrained: str) -> Recipe:
    """Returns a MuLaP recipe on playlist titles, the shortest texts that name several things.

    It has one co-attention layer: with two, and as many steps, matching has hardly begun to be learned.
    """
    settings = [
        "data.source_ratio={short_form=0,long_form=0,playlist=1,audioset=0}",
        *(DECIBELS, MUSICNN, f"audio_tower.pretrained={pretrained}"),
        *("text_tower.layers=6", "text_tower.frozen_layers=5", "text_tower.max_tokens=8"),
        *("mulap.fusion_layers=1", "mulap.audio_layers=1"),
        *("mulap.audio_size=128", "mulap.fusion_size=256", "mulap.dropout=0"),
        *("loss.weights.mlm=0.02", "loss.weights.mam=0.05"),
        *("batch.micro_batches=2", "batch.pairs_per_micro_batch=48"),
        *("optim.lr=1e-3", "optim.pretrained_lr_scale=0.3", "optim.weight_decay=0.01", "optim.warmup_steps=20"),
        *("optim.decay_every_steps=150", "optim.decay_factor=0.7", "optim.max_grad_norm=5"),
        "train.validation_micro_batches=24",
    ]
    return recipe("mulap_miniature", corpus_uri, settings, steps=720)


def best_guess(one: Recipe) -> float:
    """Returns the share of the most common token among the validation's masked tokens.

    It is an upper bound on the accuracy of a model that knows only the token frequencies of training.
    """
    schedule, read = Schedule(one.train, one.batch, 0, 1), MicroBatchReader.from_recipe(one)
    items = [schedule[number] for number in range(len(schedule)) if schedule[number].phase is Phase.VALIDATE]
    targets: Counter[int] = Counter()
    for item in items[-one.train.validation_micro_batches :]:
        masks = read(item).masks
        assert masks is not None
        targets.update(masks.token_targets[masks.token_targets >= 0].tolist())
    return targets.most_common(1)[0][1] / targets.total()


def test_mulap_learns_its_three_terms(corpus_uri: str, tmp_path: Path) -> None:
    warm, _ = trained(tagger(corpus_uri), tmp_path / "tagger")
    one = mulap(corpus_uri, warm.model_uri)
    _, lines = trained(one, tmp_path / "mulap")
    first, last = (
        {term: statistics.mean(line[f"loss_{term}"] for line in some) for term in ("mlm", "mam", "atm")}
        for some in (lines[:3], lines[-20:])
    )
    scores, guess = lines[-1]["validation"], best_guess(one)
    print(f"terms at first {first}, at last {last}; held out {scores}, commonest token {guess:.3f}")
    assert last["mlm"] < 0.8 * first["mlm"]
    assert last["mam"] < 0.8 * first["mam"]
    assert last["atm"] < 0.8 * first["atm"]
    assert scores["atm_accuracy"] > 0.7
    assert scores["mlm_accuracy"] > guess
    assert scores["mam_r2"] > 0.2  # the loss would also fall if the features shrank


def semisupcon(corpus_uri: str, *, labels_used: float) -> Recipe:
    """Returns a SemiSupCon recipe on spectrograms, with which a few minutes gain more than with a small SampleCNN.

    ``labels_used`` changes only the labels; recordings and windows are the same.
    """
    settings = [
        'front_end={family="vggish", mel_channels=32, hop_ms=20.0, frequency_mask_bins=0, time_mask_frames=0}',
        'audio_tower={family="resnet", layer="basic", stem_stride=2, stem_channels=8, stage_channels=[8, 16, 32], '
        "stage_depths=[1, 1, 1]}",
        *("semisupcon.tag_prefix=instrument:", "semisupcon.labelled_share=as_found", "semisupcon.weighting=dice"),
        *("semisupcon.min_shared_tags=3", f"semisupcon.labels_used={labels_used}"),
        *("semisupcon.head_hidden_size=128", "semisupcon.head_dim=64"),
        # pitch shift takes most of the time of augmentation
        *("semisupcon.augmentation.pitch_probability=0", "semisupcon.augmentation.probability=0.25"),
        *("batch.micro_batches=2", "batch.pairs_per_micro_batch=48", "data.sample_rate_hz=16000"),
        *("optim.lr=5e-3", "optim.warmup_steps=10", "optim.decay_every_steps=170", "optim.decay_factor=0.7"),
        *("optim.max_grad_norm=5", "train.validation_micro_batches=0"),
    ]
    return recipe("semisupcon_miniature", corpus_uri, settings, steps=1200)


def at_random(one: Recipe, folder: Path) -> AudioBackbone:
    """Exports the randomly initialised encoder."""
    torch.manual_seed(one.train.seed)
    export_encoder(task_of(one).build_model().audio_encoder, one, folder)
    return AudioBackbone.from_pretrained(folder)


def features(backbone: AudioBackbone, corpus: Corpus, splits: Sequence[str]) -> np.ndarray:
    rate_hz = backbone.sample_rate_hz
    recordings = [
        decode_recording(read_record(corpus, row).audio, sample_rate_hz=rate_hz)[: PROBED_S * rate_hz]
        for split in splits
        for row in corpus.rows(split)
    ]
    return backbone.embed_audio(recordings, rate_hz)


def instruments(corpus: Corpus, splits: Sequence[str]) -> list[set[str]]:
    records = (read_record(corpus, row) for split in splits for row in corpus.rows(split))
    return [{tag for tag in record.metadata["tags"] if tag.startswith("instrument:")} for record in records]


def probed(backbone: AudioBackbone, corpus: Corpus) -> float:
    """Returns the mean ROC-AUC of linear probes for the instruments, on recordings held out from training."""
    train, test = ["train"], ["validation", "test"]
    train_features, test_features = features(backbone, corpus, train), features(backbone, corpus, test)
    train_tags, test_tags = instruments(corpus, train), instruments(corpus, test)
    scores = []
    for tag in sorted(set.union(*test_tags)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        probe.fit(train_features, [tag in tags for tags in train_tags])
        scores.append(roc_auc_score([tag in tags for tags in test_tags], probe.decision_function(test_features)))
    return statistics.mean(scores)


def test_semisupcon_learns_instruments_and_labels_help(corpus_uri: str, tmp_path: Path) -> None:
    corpus = Corpus.open(corpus_uri)
    scores = {"no training": probed(at_random(semisupcon(corpus_uri, labels_used=1), tmp_path / "random"), corpus)}
    for share in (0.05, 1.0):
        run, _ = trained(semisupcon(corpus_uri, labels_used=share), tmp_path / f"{share}")
        scores[f"{share:.0%} of labels"] = probed(AudioBackbone.from_pretrained(run.model_uri), corpus)
    print({name: round(score, 3) for name, score in scores.items()})
    assert scores["100% of labels"] > scores["no training"] + 0.1
    assert scores["100% of labels"] > scores["5% of labels"]
