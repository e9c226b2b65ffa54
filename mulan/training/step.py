"""One optimizer step on a global batch of any size.

Terms over the global batch use gradient caching (Gao et al. 2021): all embeddings are computed first, without keeping
activations; the loss and its gradient with respect to them are computed on the whole global batch; then the forward
pass of each micro-batch is repeated, with the same random numbers, and that gradient is backpropagated through it. With
one micro-batch per worker, the first forward pass keeps its activations and is not repeated. Terms over single
micro-batches always need only one forward pass.

The host does not wait for the device until all work of a step is queued: meanwhile, it takes and copies the next
micro-batches.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from mulan.config.objectives import LossWeightsConfig
from mulan.config.sections import TrainConfig
from mulan.data.batch import Batch
from mulan.data.randomness import torch_seed
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import all_gather
from mulan.model.device_batch import DeviceBatch
from mulan.model.outputs import Embeddings
from mulan.tasks.task import Task
from mulan.training.engines.base import Engine


def train_step(
    engine: Engine, batches: Iterable[Batch], statistics: RunningStatistics, task: Task, train: TrainConfig
) -> dict[str, float]:
    """Performs one optimizer step. Collective.

    Args:
        batches: This worker's micro-batches of the step, the same number on every worker.

    Returns:
        ``loss``, each unweighted term as ``loss_TERM``, ``grad_norm`` and, if the model has them, ``temperature`` and
        ``bias``, over the global batch. If the loss is not finite, neither is the norm. If the norm is not finite, the
        step is skipped on all workers: weights, moments and running statistics are unchanged.
    """
    measured = queue_gradients(engine, batches, statistics, task, train)
    # the host waits for the device here and, for the norm, in step(): by now all gradients are queued
    values = torch.stack(list(measured.values())).tolist()
    result: dict[str, float] = dict(zip(measured, values, strict=True))
    result["grad_norm"] = engine.step()
    if math.isfinite(result["grad_norm"]):
        statistics.end_step()
    else:
        statistics.undo_step()
    return result


def queue_gradients(
    engine: Engine, batches: Iterable[Batch], statistics: RunningStatistics, task: Task, train: TrainConfig
) -> dict[str, torch.Tensor]:
    """Queues the forward and backward passes of a step, without waiting for the device. Collective.

    Returns:
        float32 scalars on the device, under the names that :func:`train_step` returns, without ``grad_norm``.
    """
    statistics.begin_step()
    on_device = map(engine.to_device, batches)
    if not task.gradient_caching:
        return _micro_batch_gradients(engine, on_device, statistics, task, train)
    cached, micro_batches, forward_again = _cache_embeddings(engine, on_device, statistics, train)
    leaves = Embeddings(*(None if tensor is None else tensor.detach().requires_grad_() for tensor in cached))
    terms = task.loss_terms(leaves, micro_batches)
    loss = weighted_sum(terms, task.weights)
    loss.backward()  # type: ignore[no-untyped-call]
    row = 0
    for number, batch in enumerate(micro_batches):
        pairs = batch.batch.pairs
        embeddings = forward_again(number)
        surrogate = _surrogate_loss(embeddings, leaves, slice(row, row + pairs), share=1 / engine.micro_batches)
        engine.backward(_propagate_nonfinite(loss, surrogate))
        row += pairs
    named = zip(Embeddings._fields, leaves, strict=True)
    scalars = {name: leaf.detach() for name, leaf in named if leaf is not None and _is_scalar(leaf)}
    return {"loss": loss.detach(), **_loss_names(terms), **scalars}


def _cache_embeddings(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, train: TrainConfig
) -> tuple[Embeddings, list[DeviceBatch], Callable[[int], Embeddings]]:
    """Computes the embeddings of all pairs of this worker.

    Returns:
        The embeddings, the micro-batches, and a function that computes the embeddings of the micro-batch with a given
        number, with their graph.
    """
    if engine.micro_batches_per_worker == 1:
        (batch,) = batches
        embeddings = _forward(engine, batch, train.seed)
        statistics.add_micro_batch()
        return embeddings, [batch], lambda _: embeddings
    micro_batches, parts = [], []
    for batch in batches:
        # a network that is compiled without a backward pass rounds differently from one with it
        with torch.set_grad_enabled(train.compile):
            outputs = _forward(engine, batch, train.seed)
        parts.append([None if tensor is None else tensor.detach() for tensor in outputs])
        del outputs  # frees the activations, which exist if the network is compiled
        statistics.add_micro_batch()
        micro_batches.append(batch)
    cached = Embeddings(*map(_concatenate, zip(*parts, strict=True)))
    return cached, micro_batches, lambda number: _forward(engine, micro_batches[number], train.seed)


def _concatenate(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    tensors = [part for part in parts if part is not None]
    if not tensors or _is_scalar(tensors[0]):
        return parts[0]
    return torch.cat(tensors)


def _is_scalar(output: torch.Tensor) -> bool:
    """Returns whether an output has no rows, because it is the same for all pairs: temperature and bias."""
    return output.ndim == 0


def _micro_batch_gradients(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, task: Task, train: TrainConfig
) -> dict[str, torch.Tensor]:
    by_micro_batch: list[dict[str, torch.Tensor]] = []
    for batch in batches:
        terms = task.loss_terms(_forward(engine, batch, train.seed), [batch])
        terms = {name: term / engine.micro_batches for name, term in terms.items()}
        statistics.add_micro_batch()
        loss = weighted_sum(terms, task.weights)
        engine.backward(_propagate_nonfinite(loss, loss))
        by_micro_batch.append({name: term.detach() for name, term in terms.items()})
    # in the order of the global batch, so that the sum has the same bits on any number of workers
    sums = all_gather(torch.stack([torch.stack(list(terms.values())) for terms in by_micro_batch])).sum(dim=0)
    terms = dict(zip(by_micro_batch[0], sums.unbind(), strict=True))
    return {"loss": weighted_sum(terms, task.weights), **_loss_names(terms)}


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: LossWeightsConfig) -> torch.Tensor:
    """Returns the loss: the sum of the terms multiplied by their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _propagate_nonfinite(loss: torch.Tensor, scalar: torch.Tensor) -> torch.Tensor:
    """Returns the scalar, with a nonfinite gradient if the loss is not finite, so that the engine skips the update."""
    return scalar * (1 + 0 * loss.detach())


def _loss_names(terms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"loss_{name}": term.detach() for name, term in terms.items()}


def _forward(engine: Engine, batch: DeviceBatch, seed: int) -> Any:
    # dropout and SpecAugment use the default generator: their random numbers depend only on the micro-batch
    item = batch.batch.item
    torch.manual_seed(torch_seed(seed=seed, purpose="forward", key=(item.step, item.micro_batch)))
    return engine.forward(batch)


def _surrogate_loss(embeddings: Embeddings, leaves: Embeddings, part: slice, *, share: float) -> torch.Tensor:
    """Returns a scalar with the gradient of the loss: the sum of the outputs times their cached gradients.

    Every micro-batch outputs the same scalars, so each backpropagates ``share`` of their gradients.
    """
    products = []
    for name, output, leaf in zip(Embeddings._fields, embeddings, leaves, strict=True):
        if output is not None:
            assert leaf is not None and leaf.grad is not None, f"no term reads {name}"
            products.append(output * leaf.grad * share if _is_scalar(output) else (output * leaf.grad[part]).sum())
    return torch.stack(products).sum()
