"""From a run's newest checkpoint to a model folder that :meth:`mulan.MuLan.from_pretrained` loads."""

import logging
import tempfile
from pathlib import Path

from mulan.runs.checkpoint import read_newest
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
from mulan.tasks.task import task_of
from mulan.training.state import Checkpoint, weights

log = logging.getLogger(__name__)


def export_run(run: Run) -> int:
    """Writes ``RUN/model/`` and returns the number of steps that the weights were trained for.

    A joint model is for :meth:`mulan.MuLan.from_pretrained`; a tagger for ``audio_tower.pretrained`` of another run; of
    a model that is trained for its audio encoder alone, that encoder is written, for
    :meth:`mulan.AudioBackbone.from_pretrained` and for other runs.

    Raises:
        RunError: there is no such run, or it has no checkpoint.
        CorpusError, PlanError: a tagging run's corpus, which names the classes, is not there any more or is another.
    """
    # the audio tower's first weights may be gone when a checkpoint replaces them
    task = task_of(run.recipe().with_random_audio_tower())
    found = checkpoint_to_export(run)
    model = task.build_model()
    model.load_state_dict(weights(found.state))
    with tempfile.TemporaryDirectory() as folder:
        task.export(model, Path(folder))
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                target = filesystem.join(run.model_uri, file.relative_to(folder).as_posix())
                filesystem.write_atomically(target, file.read_bytes())
    return found.progress.steps_done


def checkpoint_to_export(run: Run) -> Checkpoint:
    """The run's newest checkpoint.

    Raises:
        RunError: it has none.
    """
    found = read_newest(run.uri, on_corrupt=log.warning)
    if found is None:
        raise RunError(f"run {run.uri} has no checkpoint yet; nothing to export")
    return found
