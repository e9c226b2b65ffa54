"""Tagging by logistic regression, which pretrains the audio tower (MuLan §3.2)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.data.labels import class_names
from mulan.distributed.collectives import all_gather, all_gather_objects
from mulan.evaluation.metrics.tagging import tagging_scores
from mulan.model.device_batch import DeviceBatch
from mulan.model.inference.files import TaggerConfig, write_model
from mulan.model.tagging import TaggingModel
from mulan.model.towers.text import TextTower
from mulan.objectives.tagging import tagging_loss
from mulan.tasks.audio_encoder import encoder_from_recipe, exported_fields


class TaggingTask:
    """Trains an audio encoder and a classifier of tags; see :class:`mulan.tasks.task.Task`."""

    gradient_caching = False

    def __init__(self, recipe: Recipe) -> None:
        self.weights, self._recipe = recipe.loss.weights, recipe

    def build_model(self, text_tower: TextTower | None = None) -> TaggingModel:
        return TaggingModel(encoder_from_recipe(self._recipe), classes=self._recipe.tagging.classes)

    def loss_terms(self, outputs: torch.Tensor, batches: Sequence[DeviceBatch]) -> dict[str, torch.Tensor]:
        (batch,) = batches
        return {"tagging": tagging_loss(outputs, batch.tags)}

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, torch.Tensor]]) -> dict[str, float]:
        """Computes class-balanced ROC-AUC and mAP over the classes with both positive and negative recordings."""
        logits, tags = [], []
        for batch, batch_logits in outputs:
            logits.append(batch_logits)
            tags.append(batch.batch.tags)
        all_logits = all_gather(torch.cat(logits)).float().cpu().numpy()
        all_tags = np.concatenate(all_gather_objects(np.concatenate(tags)))
        names = [str(number) for number in range(all_tags.shape[1])]
        scores = tagging_scores(all_logits, all_tags.astype(bool), names)
        return {
            "roc_auc": scores.roc_auc,
            "map": scores.map,
            "num_tags": scores.num_tags,
            "num_items": scores.num_recordings,
        }

    def export(self, model: TaggingModel, folder: Path) -> None:
        """Writes encoder, classifier and class names, for :class:`mulan.Tagger` and the tower of other runs.

        Raises:
            CorpusError, PlanError: The corpus does not exist any more, or its classes have changed.
        """
        classes = class_names(Corpus.open(self._recipe.data.uri), self._recipe.tagging)
        export_tagger(model, self._recipe, classes, folder)


def export_tagger(model: TaggingModel, recipe: Recipe, classes: Sequence[str], folder: Path) -> None:
    """Writes a tagger for :class:`mulan.Tagger`, and for the ``audio_tower.pretrained`` of other runs.

    Args:
        model: A model that was built from the recipe, with unsharded weights.
        classes: The tags in the order of the logits.
        folder: A local folder; created if necessary.

    Raises:
        ValueError: The numbers of tags and logits differ.
    """
    if len(classes) != model.classifier.out_features:
        raise ValueError(f"{len(classes)} tags for {model.classifier.out_features} logits")
    config = TaggerConfig(**exported_fields(model.audio_encoder, recipe), classes=tuple(classes))
    write_model(model.state_dict(), config, folder)
