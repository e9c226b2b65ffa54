"""The interface of a task, which defines what is trained. The loss weights of a recipe determine its task."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from mulan.config.objectives import LossWeightsConfig
from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import TrainedModel
from mulan.model.device_batch import DeviceBatch
from mulan.model.towers.text import TextTower
from mulan.tasks.joint import JointTask
from mulan.tasks.mulap import MulapTask
from mulan.tasks.tagging import TaggingTask
from mulan.tasks.views import ViewsTask


class Task(Protocol):
    """Defines what a recipe trains: a model, the terms of its loss, its validation scores and its export."""

    weights: LossWeightsConfig
    """The weights of the loss terms, by name."""
    gradient_caching: bool
    """True if the terms compare the examples of the whole global batch. The model then returns
    :class:`mulan.model.outputs.Embeddings`, on which the loss is computed once for all micro-batches (Gao et al. 2021).
    Every field that is not None must be used by a term. If False, the terms are computed for one micro-batch at a time,
    and averaged over the micro-batches."""

    def build_model(self, text_tower: TextTower | None = None) -> TrainedModel:
        """Builds the model, with the pretrained weights that the recipe specifies.

        All other weights are initialised from torch's default generator.

        Args:
            text_tower: Text tower to use instead of the recipe's; ignored by models without texts.

        Raises:
            PretrainedError: A pretrained tower of the recipe cannot be used.
        """

    def loss_terms(self, outputs: Any, batches: Sequence[DeviceBatch]) -> dict[str, torch.Tensor]:
        """Computes the terms that have a weight: unweighted scalars, under the names of their weights.

        Args:
            outputs: With gradient caching, the embeddings of all micro-batches of this worker, concatenated; the call
                is then collective. Otherwise the model's outputs for a single micro-batch.
            batches: The micro-batches of the outputs, in order.
        """

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Any]]) -> dict[str, float]:
        """Computes the scores of a validation by name, among them the recipe's selection metric
        (:func:`mulan.config.objectives.selection_metric`) if there is anything to score. Collective.

        The scores depend neither on the temperature nor on the batch size, so that runs can be compared by them.

        Args:
            outputs: This worker's micro-batches with the model's outputs, which are computed as they are consumed:
                keeping all of them may take too much memory.
        """

    def export(self, model: Any, folder: Path) -> None:
        """Writes the trained model to a local folder, which is created if necessary.

        Args:
            model: A model that :meth:`build_model` built, with unsharded weights.

        Raises:
            CorpusError, PlanError, PretrainedError: Other content of the files, such as a tokenizer or the names of
                classes, is not available any more.
        """


def task_of(recipe: Recipe) -> Task:
    """Chooses the task of a recipe by the loss terms that have a weight."""
    weights = recipe.loss.weights
    if weights.tagging:
        return TaggingTask(recipe)
    if weights.uses_mulap:
        return MulapTask(recipe)
    return JointTask(recipe) if weights.embeds_text else ViewsTask(recipe)
