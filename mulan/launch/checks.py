"""Checks before a job starts anything, and the licence that it states.

They do not import Ray, and import torch only to build or load a model, so that all other errors are reported at once.
"""

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.instrumentation.settings import InstrumentSettings
from mulan.runs.checkpoint_list import newest_checkpoint, steps_saved
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
from mulan.storage.hub import audio_checkpoint_files
from mulan.storage.licence import read_licence
from mulan.storage.weights_cache import weights_folder


class ReplayError(MulanError):
    """A step cannot be replayed."""


def check_corpus(recipe: Recipe) -> MicroBatchReader:
    """Checks that the recipe's corpus has what the recipe needs, and that its model can be built.

    Returns:
        The reader of the corpus. Loading the index takes minutes for millions of recordings.

    Raises:
        CorpusError, PlanError: The corpus does not fit the recipe.
        PretrainedError: A pretrained tower is missing or cannot be used.
    """
    if recipe.loss.weights.uses_text:
        weights_folder(recipe.text_tower.pretrained)
    needed = audio_checkpoint_files(recipe.audio_tower)
    if needed is not None:
        weights_folder(recipe.audio_tower.pretrained, needed)
    reader = MicroBatchReader.from_recipe(recipe)
    check_buildable(recipe)
    return reader


def licence_lines(recipe: Recipe) -> list[str]:
    """Returns a line about the licence of the audio tower's checkpoint, if the recipe names one.

    Raises:
        PretrainedError: The checkpoint is missing.
    """
    needed, spec = audio_checkpoint_files(recipe.audio_tower), recipe.audio_tower.pretrained
    return [] if needed is None else [f"audio tower {spec}: {read_licence(weights_folder(spec, needed))}"]


def check_buildable(recipe: Recipe) -> None:
    """Builds the model that every worker will build, and discards it.

    Raises:
        PretrainedError: A pretrained tower is missing or cannot be used.
    """
    import torch

    from mulan.tasks.task import task_of

    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state unchanged
        task_of(recipe).build_model()


def check_instruments(settings: InstrumentSettings, recipe: Recipe, run: Run) -> None:
    """Checks that a run will train the steps that are to be profiled.

    Raises:
        ProfileRefused: It will not.
    """
    if settings.profile_steps is not None:
        settings.profile_steps.check(run_uri=run.uri, steps=recipe.train.steps, steps_done=steps_saved(run.uri))


def check_is_no_sweep(run: Run) -> None:
    """Checks that the folder of a run is not that of a sweep.

    Raises:
        RunError: A sweep has this name.
    """
    if filesystem.names_in(filesystem.join(run.uri, "trials")):
        raise RunError(f"{run.uri} is a sweep; give the run another --name, or continue it with python -m tune.sweep")


def check_checkpoint(run: Run) -> None:
    """Checks that a run has a checkpoint to export.

    Raises:
        RunError: The run has no checkpoint.
    """
    if newest_checkpoint(run.uri) is None:
        raise RunError(f"run {run.uri} has no checkpoint yet; nothing to export")


def check_exported(run: Run) -> None:
    """Checks that a run has an exported model.

    Raises:
        RunError: The run does not exist, or has no such model.
    """
    run.recipe()
    if not run.has_model:
        raise RunError(f"run {run.uri} has no exported model; export its newest checkpoint with python -m jobs.export")


def check_replay(run: Run, step: int) -> None:
    """Checks that a run has a step to replay.

    Raises:
        ReplayError: The run has no such step.
    """
    newest = max((line["step"] for line in run.metrics()), default=0)
    # the step that stopped a run has no line in metrics.jsonl
    if not (1 <= step <= newest or (step >= 1 and filesystem.exists(run.anomaly_uri(step)))):
        there = f"steps 1 to {newest}" if newest else "no steps yet"
        raise ReplayError(f"--replay-step {step}: run {run.uri} has {there}")
