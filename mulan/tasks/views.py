"""Contrastive learning on audio alone: views of the same recording, or of recordings with shared tags (SemiSupCon)."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from mulan.config.objectives import SemiSupConConfig
from mulan.config.recipe import Recipe
from mulan.distributed.collectives import all_gather, all_gather_objects
from mulan.evaluation.metrics.retrieval import gold_positions, retrieval_scores
from mulan.model.device_batch import DeviceBatch
from mulan.model.outputs import Embeddings
from mulan.model.towers.text import TextTower
from mulan.model.views import ViewHead, ViewModel
from mulan.objectives.semisupcon import Labels, semisupcon_loss
from mulan.tasks.audio_encoder import encoder_from_recipe, export_encoder


class ViewsTask:
    """Trains an audio encoder with SemiSupCon's term alone; see :class:`mulan.tasks.task.Task`."""

    gradient_caching = True

    def __init__(self, recipe: Recipe) -> None:
        self.weights, self._recipe = recipe.loss.weights, recipe

    def build_model(self, text_tower: TextTower | None = None) -> ViewModel:
        audio_encoder = encoder_from_recipe(self._recipe)
        return ViewModel(audio_encoder, ViewHead(audio_encoder.output_dim, self._recipe.semisupcon))

    def loss_terms(self, outputs: Embeddings, batches: Sequence[DeviceBatch]) -> dict[str, torch.Tensor]:
        return {"semisupcon": semisupcon_term(outputs, batches, self._recipe.semisupcon)}

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Embeddings]]) -> dict[str, float]:
        """Computes the scores of retrieving the first views of the recordings with their last views as queries."""
        views: list[torch.Tensor] = []
        recording_ids: list[str] = []
        for batch, embeddings in outputs:
            assert embeddings.views is not None
            views.append(embeddings.views)
            recording_ids.extend(batch.batch.recording_id)
        joined = torch.cat(views)
        return window_retrieval_scores(joined[:, 0], joined[:, -1], recording_ids)

    def export(self, model: ViewModel, folder: Path) -> None:
        """Writes the audio encoder; the projection head is used in training only."""
        export_encoder(model.audio_encoder, self._recipe, folder)


def semisupcon_term(embeddings: Embeddings, batches: Sequence[DeviceBatch], section: SemiSupConConfig) -> torch.Tensor:
    """Computes SemiSupCon's loss of the global batch from this worker's embeddings of views. Collective."""
    assert embeddings.views is not None
    labels = Labels(torch.cat([batch.recordings for batch in batches]), torch.cat([batch.tags for batch in batches]))
    return semisupcon_loss(embeddings.views, labels, section)


def window_retrieval_scores(
    windows: torch.Tensor, queries: torch.Tensor, recording_ids: Sequence[str]
) -> dict[str, float]:
    """Computes retrieval scores of windows, of which all those of a query's recording are relevant. Collective.

    Args:
        windows: This worker's windows, [n, d] unit rows.
        queries: Queries of the same recordings, [n, d] unit rows.
        recording_ids: Recording id of each row.

    Returns:
        The fields of :class:`mulan.evaluation.metrics.retrieval.RetrievalScores` by name, for the windows of all
        workers.
    """
    similarity = (all_gather(queries) @ all_gather(windows).T).cpu().numpy()
    names = np.array(list(chain.from_iterable(all_gather_objects(recording_ids))))
    gold = [np.flatnonzero(names == name).tolist() for name in names]
    scores = retrieval_scores([gold_positions(*each) for each in zip(similarity, gold, strict=True)])
    return {name: getattr(scores, name) for name in scores.__dataclass_fields__}
