"""The size of a recipe's model: of its checkpoints, and of what a training worker holds on its device."""

from dataclasses import dataclass

import torch

from mulan.benchmarks.memory import activation_bytes
from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import TrainedModel

_FLOAT32, _FLOAT64, _INT16 = 4, 8, 2
_MOMENTS = 2
"""Number of moments that Adam keeps for each trained parameter."""


@dataclass(frozen=True)
class ModelNeeds:
    """Numbers of parameters and bytes of a model that is trained."""

    parameters: int
    """Number of parameters."""
    trained_parameters: int
    """Number of parameters that are not frozen."""
    checkpoint_bytes: int
    """Bytes of the tensors of a checkpoint: weights, buffers, both moments of Adam, and the average if one is kept."""
    worker_bytes: dict[str, int]
    """Bytes that a worker holds on its device, by what they are for. Workspaces of kernels, what the allocator cannot
    reuse, the context of the device, and the fusion of MuLaP are unknown."""


def model_needs(model: TrainedModel, recipe: Recipe, *, workers: int) -> ModelNeeds:
    """Counts a model.

    Args:
        model: The whole model, before its weights are sharded.
        recipe: Its recipe.
        workers: Number of training workers.
    """
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    of_trained = sum(_bytes(tensor) for tensor in trained)
    copies = _MOMENTS + bool(recipe.optim.ema_decay)
    return ModelNeeds(
        parameters=sum(parameter.numel() for parameter in parameters),
        trained_parameters=sum(parameter.numel() for parameter in trained),
        checkpoint_bytes=sum(_bytes(tensor) for tensor in model.state_dict().values()) + copies * of_trained,
        worker_bytes=_worker_bytes(model, recipe, workers),
    )


def _worker_bytes(model: TrainedModel, recipe: Recipe, workers: int) -> dict[str, int]:
    """Returns the bytes of a worker at the recipe's ZeRO stage, which shards over the workers what it names."""
    train, batch = recipe.train, recipe.batch
    whole = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def held(number: int, *, from_stage: int) -> int:
        return -(-number // workers) if train.zero_stage >= from_stage else number

    per_item = activation_bytes(recipe)
    pairs = batch.pairs_per_micro_batch
    pair_values = batch.pairs * recipe.embedding_dim
    found = {
        "weights": _FLOAT32 * held(whole, from_stage=3),
        # with exact sums, each worker holds whole gradients below stage 3
        "gradients": _FLOAT32 * held(trained, from_stage=3 if train.exact_sums else 2),
        "exact sums of gradients": _FLOAT64 * held(trained, from_stage=3) if train.exact_sums else 0,
        "moments of Adam": _MOMENTS * _FLOAT32 * held(trained, from_stage=1),
        "averaged weights": _FLOAT32 * held(trained, from_stage=3) if recipe.optim.ema_decay else 0,
        "activations for the windows of a micro-batch": round(pairs * recipe.views * per_item["audio"]),
        "activations for its texts, if all have full length": round(pairs * per_item.get("text", 0.0)),
        "waveforms of a step": waveform_bytes(recipe) * batch.micro_batches // workers,
        "embeddings of the batch and their gradients": 4 * _FLOAT32 * pair_values,
    }
    return {name: count for name, count in found.items() if count}


def waveform_bytes(recipe: Recipe) -> int:
    """Returns the bytes of the waveforms of a micro-batch, int16."""
    return recipe.batch.pairs_per_micro_batch * recipe.views * recipe.data.window_samples * _INT16


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
