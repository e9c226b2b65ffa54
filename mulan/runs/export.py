"""From a run's newest checkpoint to a model folder that :meth:`mulan.MuLan.from_pretrained` loads."""

import logging
import tempfile
from pathlib import Path

from mulan.data.corpus.index import Corpus
from mulan.data.labels import class_names
from mulan.model.build import build_model
from mulan.model.inference.backbone import export_encoder
from mulan.model.inference.mulan import export_model
from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel, export_tagger
from mulan.runs.checkpoint import read_newest
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
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
    recipe = run.recipe()
    found = checkpoint_to_export(run)
    # the audio tower's first weights may be gone when a checkpoint replaces them
    model = build_model(recipe.with_random_audio_tower())
    model.load_state_dict(weights(found.state))
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(model, TaggingModel):
            export_tagger(model, recipe, class_names(Corpus.open(recipe.data.uri), recipe.tagging), Path(folder))
        elif isinstance(model, JointModel):
            export_model(model, recipe, Path(folder))
        else:
            export_encoder(model.audio_encoder, recipe, Path(folder))
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
