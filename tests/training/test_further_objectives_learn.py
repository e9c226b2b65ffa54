"""What MuLaP and SemiSupCon learn of the demo's music in minutes, on recordings that they were not trained on.

The figures are printed: ``pytest -rP`` shows them.
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
from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data.audio import decode_recording
from mulan.data.examples import MicroBatchReader
from mulan.data.index import Corpus
from mulan.data.schedule import Phase, Schedule
from mulan.data.shards import read_record
from mulan.demo.corpus import build_corpus
from mulan.model.backbone import export_encoder
from mulan.model.build import build_model
from mulan.training.export import export_run
from mulan.training.run import Run
from tests.processes import run_in_processes
from tests.training.inline import train_inline

PROBED_S = 8
"""Of every recording, for the probes."""

pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(scope="module")
def corpus_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("demo") / "corpus")
    build_corpus(uri, tracks=600, seed=2022, workers=2)
    return uri


def trained(recipe: Recipe, folder: Path) -> tuple[Run, list[dict[str, Any]]]:
    """A run on two workers, its model exported, and its lines of metrics."""
    run = Run.at(str(folder), "run")
    run.begin(recipe)
    lines, _ = run_in_processes(train_inline, 2, recipe, run.uri, folder=folder / "processes")[0]
    export_run(run)
    return run, lines


def mulap(corpus_uri: str) -> Recipe:
    """On phrases rather than sentences: they are shorter, and there are fewer of them to learn."""
    settings = [
        "data.source_ratio={short_form=0,long_form=0,playlist=1,audioset=0}",
        "front_end.hop_ms=20",
        "audio_tower.horizontal_frames=[17,9]",
        *("text_tower.layers=6", "text_tower.frozen_layers=6", "text_tower.max_tokens=8"),
        *("mulap.audio_size=128", "mulap.fusion_size=256", "mulap.dropout=0", "loss.weights.mam=0.05"),
        *("batch.micro_batches=2", "batch.pairs_per_micro_batch=48"),
        *("optim.lr=1e-3", "optim.warmup_steps=20", "optim.max_gradient_norm=5"),
        *("train.steps=640", "train.checkpoint_every_steps=640"),
        *("train.validate_every_steps=640", "train.validation_micro_batches=40"),
    ]
    return load_recipe("mulap_miniature", named_recipes(), settings, data_uri=corpus_uri)


def best_guess(recipe: Recipe) -> float:
    """Share of the validation's hidden tokens that are the commonest of them: more than a model that knows the
    frequencies of training alone can tell right."""
    schedule, read = Schedule(recipe.train, recipe.batch, 0, 1), MicroBatchReader.of(recipe)
    items = [schedule[number] for number in range(len(schedule)) if schedule[number].phase is Phase.VALIDATE]
    targets: Counter[int] = Counter()
    for item in items[-recipe.train.validation_micro_batches :]:
        masks = read(item).masks
        assert masks is not None
        targets.update(masks.token_targets[masks.token_targets >= 0].tolist())
    return targets.most_common(1)[0][1] / targets.total()


def test_mulap_learns_its_three_terms(corpus_uri: str, tmp_path: Path) -> None:
    recipe = mulap(corpus_uri)
    _, lines = trained(recipe, tmp_path)
    first, last = (
        {term: statistics.mean(line[f"loss_{term}"] for line in some) for term in ("mlm", "mam", "atm")}
        for some in (lines[:3], lines[-20:])
    )
    scores, guess = lines[-1]["validation"], best_guess(recipe)
    print(f"terms at first {first}, at last {last}; held out {scores}, commonest token {guess:.3f}")
    assert last["mlm"] < 0.8 * first["mlm"]
    assert last["mam"] < 0.8 * first["mam"]
    assert last["atm"] < 0.9 * first["atm"]
    assert scores["atm_accuracy"] > 0.7
    assert scores["mlm_accuracy"] > guess


def semisupcon(corpus_uri: str, *, labels_used: float) -> Recipe:
    """Nothing but the labels depends on how many there are: recordings and windows are the same."""
    settings = [
        *("semisupcon.tag_prefix=instrument:", "semisupcon.labelled_share=as_found", "semisupcon.weighting=dice"),
        *("semisupcon.min_shared_tags=3", f"semisupcon.labels_used={labels_used}"),
        # shifts of pitch take most of the time
        *("semisupcon.augmentation.pitch_probability=0", "semisupcon.augmentation.probability=0.5"),
        *("batch.micro_batches=2", "batch.pairs_per_micro_batch=48"),
        *("data.sample_rate_hz=16000", "optim.lr=1e-3", "optim.warmup_steps=10"),
        *("train.steps=700", "train.checkpoint_every_steps=700", "train.validation_micro_batches=0"),
    ]
    return load_recipe("semisupcon_miniature", named_recipes(), settings, data_uri=corpus_uri)


def at_random(recipe: Recipe, folder: Path) -> AudioBackbone:
    """The encoder as it is drawn."""
    torch.manual_seed(recipe.train.seed)
    export_encoder(build_model(recipe).audio_encoder, recipe, folder)
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
    """ROC-AUC of a linear probe for each instrument, all of the same weight, on recordings held out of training."""
    train, test = ["train"], ["validation", "test"]
    train_features, test_features = features(backbone, corpus, train), features(backbone, corpus, test)
    train_tags, test_tags = instruments(corpus, train), instruments(corpus, test)
    scores = []
    for tag in sorted(set.union(*test_tags)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
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
