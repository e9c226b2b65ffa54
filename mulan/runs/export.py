"""Export of a run's newest checkpoint to a model folder, which :meth:`mulan.MuLan.from_pretrained` loads."""

import json
import logging
import tempfile
from contextlib import closing
from pathlib import Path

from mulan.runs.checkpoint import read_newest
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
from mulan.tasks.task import task_of
from mulan.training.state import Checkpoint, load_weights

log = logging.getLogger(__name__)


def export_run(run: Run) -> int:
    """Writes ``RUN/model/`` and returns the number of steps that the weights were trained for.

    :meth:`mulan.MuLan.from_pretrained` loads a joint model, and :meth:`mulan.Tagger.from_pretrained` a tagger, which
    also serves as ``audio_tower.pretrained`` of other runs. Of any other model, only the audio encoder is exported, for
    :meth:`mulan.AudioBackbone.from_pretrained` and other runs. With ``optim.ema_decay``, the exported weights are the
    averaged ones.

    Raises:
        RunError: The run does not exist or has no checkpoint.
        PretrainedError: The text encoder, or the audio checkpoint of a tower of the family ``pretrained``, is missing.
        CorpusError, PlanError: The corpus of a tagging run, which names the classes, is missing or has changed.
    """
    # the checkpoint replaces the audio tower's initial weights, which may no longer exist; only those of the family
    # pretrained are read again, for their structure
    task = task_of(run.recipe().with_random_audio_tower())
    checkpoint = checkpoint_to_export(run)
    model = task.build_model()
    with closing(checkpoint.state) as state:
        load_weights(model, state, averaged=True)
    with tempfile.TemporaryDirectory() as folder:
        task.export(model, Path(folder))
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                target = filesystem.join(run.model_uri, file.relative_to(folder).as_posix())
                filesystem.write_atomically(target, file.read_bytes())
    steps_done = checkpoint.progress.steps_done
    # last, so that a model that is not written in full counts as the earlier one
    filesystem.write_atomically(run.exported_uri, json.dumps({"steps_done": steps_done}).encode())
    return steps_done


def checkpoint_to_export(run: Run) -> Checkpoint:
    """Returns the run's newest intact checkpoint.

    Raises:
        RunError: The run has no checkpoint.
    """
    checkpoint = read_newest(run.uri, on_corrupt=log.warning)
    if checkpoint is None:
        raise RunError(f"run {run.uri} has no checkpoint yet; nothing to export")
    return checkpoint
