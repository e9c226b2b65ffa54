"""What a validation measures, on the validation micro-batches of all workers."""

from collections.abc import Iterable

import numpy as np
import torch

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.schedule import Phase
from mulan.evaluation.metrics import gold_ranks, retrieval_scores, tagging_scores
from mulan.objectives.collectives import gather, gather_objects
from mulan.training.engine import Engine


def validate(recipe: Recipe, engine: Engine, batches: Iterable[Batch]) -> dict[str, float]:
    """Scores that depend neither on the temperature nor on the batch, so that runs can be compared by them. Collective.

    Contrastive runs: text-to-music retrieval among the windows of all validation micro-batches; windows of the same
    recording are all right for its texts. Tagging runs: class-balanced ROC-AUC and mAP of the classes that some
    recording there bears and some does not.
    """
    engine.evaluation_mode(True)
    outputs, taken = [], []
    with torch.no_grad():
        for batch in batches:
            assert batch.item.phase is Phase.VALIDATE
            outputs.append(engine.forward(engine.to_device(batch)))
            taken.append(batch)
    engine.evaluation_mode(False)
    if recipe.loss.weights.tagging:
        return _tagging(torch.cat(outputs), taken)
    audio, text, _ = zip(*outputs, strict=True)
    return _retrieval(torch.cat(audio)[:, 0], torch.cat(text), taken)


def _retrieval(audio: torch.Tensor, text: torch.Tensor, batches: list[Batch]) -> dict[str, float]:
    similarity = (gather(text) @ gather(audio).T).cpu().numpy()
    names = np.array(
        [name for of_worker in gather_objects([b.recording_id for b in batches]) for b in of_worker for name in b]
    )
    ranks = [
        gold_ranks(row, np.flatnonzero(names == name).tolist()) for row, name in zip(similarity, names, strict=True)
    ]
    scores = retrieval_scores(ranks, n_items=len(names))
    return {name: getattr(scores, name) for name in scores.__dataclass_fields__}


def _tagging(logits: torch.Tensor, batches: list[Batch]) -> dict[str, float]:
    all_logits = gather(logits).float().cpu().numpy()
    borne = np.concatenate(gather_objects(np.concatenate([batch.tags for batch in batches])))
    scores = tagging_scores(all_logits, borne.astype(bool), [str(number) for number in range(borne.shape[1])])
    return {"roc_auc": scores.roc_auc, "map": scores.map, "n_tags": scores.n_tags, "n_items": scores.n_recordings}
