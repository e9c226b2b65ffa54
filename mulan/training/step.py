"""One optimizer step on a global batch of any size.

Terms over the global batch use gradient caching (Gao et al. 2021): all embeddings are computed first, without keeping
activations; the loss and its gradient with respect to them are computed on the whole global batch; then each
micro-batch runs again, with the same random numbers, and is driven backward by that gradient. With one micro-batch per
worker the first forward is kept and there is no second. Terms of single micro-batches need one forward in any case.

Until all of a step's work is queued, nothing waits for the device: the host runs ahead, and takes and copies the next
micro-batches meanwhile.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from mulan.config.sections import LossWeightsConfig, TrainConfig
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
    """Updates the weights once.

    Args:
        batches: this worker's micro-batches of the step, the same number on every worker.

    Returns:
        ``loss``, each unweighted term as ``loss_TERM``, ``grad_norm`` and, if there is one, ``temperature``; all of
        the global batch. Where the loss is not finite the norm is not either, and then nothing was updated, on any
        worker: no weight, no moment, no running statistic.
    """
    measured = queue_gradients(engine, batches, statistics, task, train)
    # the host waits for the device here, and in the update for the norm: the gradients of the step are queued
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
    """Forward and backward of a step, without waiting for the device.

    Returns:
        float32 scalars on the device, named as :func:`train_step` returns them.
    """
    statistics.begin_step()
    on_device = map(engine.to_device, batches)
    if not task.gradient_caching:
        return _micro_batch_gradients(engine, on_device, statistics, task, train)
    first, kept, second_forward = _first_forwards(engine, on_device, statistics, train)
    leaves = Embeddings(*(None if tensor is None else tensor.detach().requires_grad_() for tensor in first))
    terms = task.loss_terms(leaves, kept)
    loss = weighted_sum(terms, task.weights)
    loss.backward()  # type: ignore[no-untyped-call]
    row = 0
    for number, batch in enumerate(kept):
        pairs = batch.batch.pairs
        embeddings = second_forward(number)
        scalar = _surrogate_loss(embeddings, leaves, slice(row, row + pairs), share=1 / engine.micro_batches)
        engine.backward(_propagate_nonfinite(loss, scalar))
        row += pairs
    measured = {"loss": loss.detach(), **_named(terms)}
    return measured if leaves.temperature is None else {**measured, "temperature": leaves.temperature.detach()}


def _first_forwards(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, train: TrainConfig
) -> tuple[Embeddings, list[DeviceBatch], Callable[[int], Embeddings]]:
    """Embeddings of all of this worker's pairs, its micro-batches, and the embeddings of each with their graph."""
    if engine.micro_batches_per_worker == 1:
        (batch,) = batches
        embeddings = _forward(engine, batch, train.seed)
        statistics.add_micro_batch()
        return embeddings, [batch], lambda _: embeddings
    kept, parts = [], []
    for batch in batches:
        # what is compiled without a backward pass rounds otherwise than the second forward, or the only one
        with torch.set_grad_enabled(train.compile):
            found = _forward(engine, batch, train.seed)
        parts.append([None if tensor is None else tensor.detach() for tensor in found])
        del found  # and its activations
        statistics.add_micro_batch()
        kept.append(batch)
    audio, text, temperatures, views = zip(*parts, strict=True)
    whole = Embeddings(_joined(audio), _joined(text), temperatures[0], _joined(views))
    return whole, kept, lambda number: _forward(engine, kept[number], train.seed)


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _micro_batch_gradients(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, task: Task, train: TrainConfig
) -> dict[str, torch.Tensor]:
    found: list[dict[str, torch.Tensor]] = []
    for batch in batches:
        terms = task.loss_terms(_forward(engine, batch, train.seed), [batch])
        terms = {name: term / engine.micro_batches for name, term in terms.items()}
        statistics.add_micro_batch()
        loss = weighted_sum(terms, task.weights)
        engine.backward(_propagate_nonfinite(loss, loss))
        found.append({name: term.detach() for name, term in terms.items()})
    # those of the global batch in order, so that the sum has the same bits on any number of workers
    sums = all_gather(torch.stack([torch.stack(list(terms.values())) for terms in found])).sum(dim=0)
    terms = dict(zip(found[0], sums.unbind(), strict=True))
    return {"loss": weighted_sum(terms, task.weights), **_named(terms)}


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: LossWeightsConfig) -> torch.Tensor:
    """Returns the loss: the sum of the terms multiplied by their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _propagate_nonfinite(loss: torch.Tensor, scalar: torch.Tensor) -> torch.Tensor:
    """The scalar; where the loss is not finite neither is its gradient, and no engine updates by it."""
    return scalar * (1 + 0 * loss.detach())


def _named(terms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"loss_{name}": term.detach() for name, term in terms.items()}


def _forward(engine: Engine, batch: DeviceBatch, seed: int) -> Any:
    # dropout and SpecAugment draw from the default generator: what they draw depends on the micro-batch alone
    item = batch.batch.item
    torch.manual_seed(torch_seed(seed=seed, purpose="forward", key=(item.step, item.micro_batch)))
    return engine.forward(batch)


def _surrogate_loss(embeddings: Embeddings, leaves: Embeddings, part: slice, *, share: float) -> torch.Tensor:
    """A scalar whose gradient is the loss's: sum of outputs times their cached gradients (chain rule).

    The temperature is one output of every micro-batch, so each takes its share of the gradient.
    """
    products = []
    for name, output, leaf in zip(Embeddings._fields, embeddings, leaves, strict=True):
        if output is not None:
            assert leaf is not None and leaf.grad is not None, f"no term reads {name}"
            products.append(output * leaf.grad * share if name == "temperature" else (output * leaf.grad[part]).sum())
    return torch.stack(products).sum()
