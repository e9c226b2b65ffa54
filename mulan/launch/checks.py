"""What is made sure of before anything is started.

Needs no Ray, and torch for the last of it alone: who is refused for anything else is told so at once.
"""

from mulan.config.audio import AstTowerConfig
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.data.errors import CorpusError
from mulan.data.reader import MicroBatchReader
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
from mulan.storage.hub import AST_CHECKPOINT
from mulan.storage.weights_cache import weights_folder


class ReplayError(MulanError):
    """A step that cannot be replayed."""


def check_corpus(recipe: Recipe) -> MicroBatchReader:
    """Makes sure that the recipe's corpus has what the recipe asks for, and that its model can be built.

    Returns:
        what reads the corpus; to load its index takes minutes where there are millions of recordings.

    Raises:
        CorpusError, PlanError, PretrainedError: it has not, or a pretrained tower is not there or cannot be used.
    """
    if recipe.loss.weights.uses_text:
        weights_folder(recipe.text_tower.pretrained)
    if isinstance(recipe.audio_tower, AstTowerConfig) and recipe.audio_tower.pretrained:
        weights_folder(recipe.audio_tower.pretrained, AST_CHECKPOINT)
    reader = MicroBatchReader.of(recipe)
    check_buildable(recipe)
    return reader


def check_buildable(recipe: Recipe) -> None:
    """Builds the model that every worker will build, and lets go of it.

    Raises:
        PretrainedError: a pretrained tower is not there or cannot be used.
    """
    import torch

    from mulan.tasks.task import task_of

    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        task_of(recipe).build_model()


def check_checkpoint(run: Run) -> None:
    """Makes sure that there is a checkpoint to export.

    Raises:
        RunError: there is none.
    """
    if not checkpoints(run.uri):
        raise RunError(f"run {run.uri} has no checkpoint yet; nothing to export")


def check_model(run: Run, data_uri: str, split: str = "test") -> None:
    """Makes sure that there are a model and recordings to evaluate it on.

    Raises:
        RunError, CorpusError: there are not.
    """
    weights = run.recipe().loss.weights
    if not weights.embeds_text:
        what = "a tagger" if weights.tagging else "an audio encoder"
        raise RunError(
            f"run {run.uri} trained {what}, which knows no text; its scores are the validations in {run.metrics_uri}, "
            f"and another run takes it up by --set audio_tower.pretrained={run.model_uri}"
        )
    if not filesystem.exists(filesystem.join(run.model_uri, "model.safetensors")):
        raise RunError(f"run {run.uri} has no exported model; python -m jobs.export makes one of its newest checkpoint")
    if not len(Corpus.open(data_uri).rows(split)):
        raise CorpusError(data_uri, [f"it has no recordings in the split {split!r}"])


def check_loadable(run: Run) -> None:
    """Loads the exported model of a run, and lets go of it.

    Raises:
        ModelFolderError: it cannot be loaded.
    """
    from mulan.model.inference.mulan import MuLan

    MuLan.from_pretrained(run.model_uri, device="cpu")


def check_replay(run: Run, step: int) -> None:
    """
    Raises:
        ReplayError: the run has no such step.
    """
    newest = max((line["step"] for line in run.metrics()), default=0)
    # the step that stopped a run has no line of metrics
    if not (1 <= step <= newest or (step >= 1 and filesystem.exists(run.anomaly_uri(step)))):
        there = f"steps 1 to {newest}" if newest else "no steps yet"
        raise ReplayError(f"--replay-step {step}: run {run.uri} has {there}")
