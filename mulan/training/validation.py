"""What a validation measures, on the validation micro-batches of all workers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.schedule import Phase
from mulan.distributed.collectives import all_gather, all_gather_objects
from mulan.evaluation.metrics import gold_ranks, retrieval_scores, tagging_scores
from mulan.model.device_batch import DeviceMasks
from mulan.model.outputs import Predictions
from mulan.training.engines.base import Engine


def validate(recipe: Recipe, engine: Engine, batches: Iterable[Batch]) -> dict[str, float]:
    """Scores that depend neither on the temperature nor on the batch, so that runs can be compared by them. Collective.

    Runs with texts and a contrastive term: text-to-music retrieval among the windows of all validation micro-batches;
    windows of the same recording are all right for its texts. Runs on views of audio alone: the same, with a
    recording's last view for the text and its first one for the window. MuLaP: what is predicted of hidden tokens,
    hidden segments and exchanged captions. Tagging runs: class-balanced ROC-AUC and mAP of the classes that some
    recording there bears and some does not.
    """
    engine.evaluation_mode(True)
    outputs: list[Any] = []
    taken = []
    with torch.no_grad():
        for batch in batches:
            assert batch.item.phase is Phase.VALIDATE
            on_device = engine.to_device(batch)
            output = engine.forward(on_device)
            outputs.append(output if on_device.masks is None else _of_predictions(output, on_device.masks))
            taken.append(batch)
    engine.evaluation_mode(False)
    weights = recipe.loss.weights
    if weights.tagging:
        return _tagging(torch.cat(outputs), taken)
    if weights.uses_mulap:
        return _predictions(outputs)
    audio, text, _, views = zip(*outputs, strict=True)
    if weights.contrastive:
        return _retrieval(torch.cat(audio), torch.cat(text), taken)
    return _retrieval(torch.cat(views)[:, 0], torch.cat(views)[:, -1], taken)


def _retrieval(audio: torch.Tensor, text: torch.Tensor, batches: list[Batch]) -> dict[str, float]:
    similarity = (all_gather(text) @ all_gather(audio).T).cpu().numpy()
    names = np.array(
        [name for of_worker in all_gather_objects([b.recording_id for b in batches]) for b in of_worker for name in b]
    )
    ranks = [
        gold_ranks(row, np.flatnonzero(names == name).tolist()) for row, name in zip(similarity, names, strict=True)
    ]
    scores = retrieval_scores(ranks, n_items=len(names))
    return {name: getattr(scores, name) for name in scores.__dataclass_fields__}


def _tagging(logits: torch.Tensor, batches: list[Batch]) -> dict[str, float]:
    all_logits = all_gather(logits).float().cpu().numpy()
    borne = np.concatenate(all_gather_objects(np.concatenate([batch.tags for batch in batches])))
    scores = tagging_scores(all_logits, borne.astype(bool), [str(number) for number in range(borne.shape[1])])
    return {"roc_auc": scores.roc_auc, "map": scores.map, "n_tags": scores.n_tags, "n_items": scores.n_recordings}


def _of_predictions(predictions: Predictions, masks: DeviceMasks) -> dict[str, torch.Tensor]:
    """Sums over a micro-batch, of which :func:`_predictions` makes scores; its logits are too many to be kept."""
    sums: dict[str, torch.Tensor] = {}
    if predictions.token_logits is not None:
        sums["mlm_accuracy"] = _right(predictions.token_logits.argmax(dim=1) == masks.token_targets)
    if predictions.match_logits is not None:
        sums["atm_accuracy"] = _right((predictions.match_logits > 0) == masks.matched.bool())
    if predictions.segments is not None and predictions.segment_features is not None:
        predicted, features = predictions.segments.double(), predictions.segment_features.double()
        errors = (predicted - features).square()
        sums["mam_r2"] = torch.stack([features.square(), features, torch.ones_like(features), errors]).sum(dim=1)
    return sums


def _right(right: torch.Tensor) -> torch.Tensor:
    """How many are right, and of how many."""
    return torch.stack([right, torch.ones_like(right)]).sum(dim=1, dtype=torch.float64)


def _predictions(sums: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Shares of tokens and pairs that are told right, and the share of the hidden features' variance that is explained;
    a score for which nothing was predicted is left out."""
    scores: dict[str, float] = {}
    for name in sums[0]:
        total = all_gather(torch.stack([of_batch[name] for of_batch in sums])).sum(dim=0)
        if name == "mam_r2":
            squares, firsts, counts, errors = total
            variance = float((squares - firsts**2 / counts.clamp_min(1)).sum())
            found = (1 - float(errors.sum()) / variance) if variance > 0 else None
        else:
            right, count = total.tolist()
            found = right / count if count else None
        if found is not None:
            scores[name] = found
    return scores
