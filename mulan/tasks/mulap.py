"""Masked language, masked audio and audio-text matching (MuLaP, Manco et al. 2022)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from mulan.config.recipe import Recipe
from mulan.distributed.collectives import all_gather
from mulan.model.device_batch import DeviceBatch, DeviceMasks
from mulan.model.mulap import FusionModel, check_text_tower
from mulan.model.outputs import Predictions
from mulan.model.towers.text import TextTower
from mulan.objectives.mulap import mulap_terms
from mulan.tasks.audio_encoder import encoder_from_recipe, export_encoder


class MulapTask:
    """Trains an audio encoder within MuLaP's fusion model; see :class:`mulan.tasks.task.Task`."""

    gradient_caching = False

    def __init__(self, recipe: Recipe) -> None:
        self.weights, self._recipe = recipe.loss.weights, recipe

    def build_model(self, text_tower: TextTower | None = None) -> FusionModel:
        recipe = self._recipe
        text_tower = text_tower or TextTower.from_section(recipe.text_tower)
        check_text_tower(text_tower, recipe.mulap, self.weights, pretrained=recipe.text_tower.pretrained)
        return FusionModel(
            audio_encoder=encoder_from_recipe(recipe),
            text_tower=text_tower,
            section=recipe.mulap,
            weights=self.weights,
            segments=recipe.segments,
            segment_samples=recipe.encoder_window_samples,
            precision=recipe.train.precision,
        )

    def loss_terms(self, outputs: Predictions, batches: Sequence[DeviceBatch]) -> dict[str, torch.Tensor]:
        (batch,) = batches
        assert batch.masks is not None
        return mulap_terms(
            outputs,
            token_targets=batch.masks.token_targets,
            matched=batch.masks.matched,
            weights=self.weights,
        )

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Predictions]]) -> dict[str, float]:
        """Computes the accuracy of tokens and of matching, and R2 of masked segments' features.

        Scores without any prediction are omitted.
        """
        sums = []
        for batch, predictions in outputs:
            assert batch.masks is not None
            sums.append(_sums(predictions, batch.masks))
        scores: dict[str, float] = {}
        for name in sums[0]:
            total = all_gather(torch.stack([batch_sums[name] for batch_sums in sums])).sum(dim=0)
            if name == "mam_r2":
                score = _explained_variance(*total)
            else:
                correct, count = total.tolist()
                score = correct / count if count else None
            if score is not None:
                scores[name] = score
        return scores

    def export(self, model: FusionModel, folder: Path) -> None:
        """Writes the audio encoder; the other modules are used in training only (§3.2)."""
        export_encoder(model.audio_encoder, self._recipe, folder)


def _sums(predictions: Predictions, masks: DeviceMasks) -> dict[str, torch.Tensor]:
    """Returns the sums from which the scores are computed; the logits themselves would take too much memory."""
    sums: dict[str, torch.Tensor] = {}
    if predictions.token_logits is not None:
        sums["mlm_accuracy"] = _count(predictions.token_logits.argmax(dim=1) == masks.token_targets)
    if predictions.match_logits is not None:
        sums["atm_accuracy"] = _count((predictions.match_logits > 0) == masks.matched.bool())
    if predictions.segments is not None and predictions.segment_features is not None:
        predicted, features = predictions.segments.double(), predictions.segment_features.double()
        errors = (predicted - features).square()
        sums["mam_r2"] = torch.stack([features.square(), features, torch.ones_like(features), errors]).sum(dim=1)
    return sums


def _count(correct: torch.Tensor) -> torch.Tensor:
    """Returns the number of correct predictions and the number of predictions, float64 [2]."""
    return torch.stack([correct, torch.ones_like(correct)]).sum(dim=1, dtype=torch.float64)


def _explained_variance(
    squares: torch.Tensor, sums: torch.Tensor, counts: torch.Tensor, errors: torch.Tensor
) -> float | None:
    """Returns the share of the features' variance that the predictions explain; None if the variance is zero.

    Args:
        squares: Sums of squares of each feature over all masked segments, [features].
        sums: Sums of each feature, [features].
        counts: Number of values of each feature, [features].
        errors: Sums of squared errors of each feature, [features].
    """
    variance = float((squares - sums**2 / counts.clamp_min(1)).sum())
    return 1 - float(errors.sum()) / variance if variance > 0 else None
