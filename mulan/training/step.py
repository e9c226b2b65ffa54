"""One optimizer step on a global batch of any size.

Terms over the global batch use gradient caching (Gao et al. 2021): all embeddings are computed first, without keeping
activations; the loss and its gradient with respect to them are computed on the whole global batch; then each
micro-batch runs again, with the same random numbers, and is driven backward by that gradient. With one micro-batch per
worker the first forward is kept and there is no second. Terms of single micro-batches need one forward in any case.

Until all of a step's work is queued, nothing waits for the device: the host runs ahead, and takes and copies the next
micro-batches meanwhile.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from mulan.config.sections import LossWeights
from mulan.data.batch import Batch
from mulan.data.draws import torch_seed
from mulan.model.joint import Embeddings
from mulan.objectives.collectives import sum_over_workers
from mulan.objectives.logistic_regression import tagging_loss
from mulan.objectives.objective import objective
from mulan.training.batch_norm import RunningStatistics
from mulan.training.engine import Engine
from mulan.training.errors import NonFiniteLoss
from mulan.training.transfer import DeviceBatch


def training_step(
    engine: Engine, batches: Iterable[Batch], statistics: RunningStatistics, *, weights: LossWeights, seed: int
) -> dict[str, float]:
    """Updates the weights once.

    Args:
        batches: this worker's micro-batches of the step, the same number on every worker.

    Returns:
        ``loss``, each unweighted term as ``loss_TERM``, ``gradient_norm`` and, if there is one, ``temperature``; all of
        the global batch.

    Raises:
        NonFiniteLoss: on all workers alike, before anything is updated.
    """
    taken: list[Batch] = []
    measured = queue_gradients(engine, _noted(batches, taken), statistics, weights=weights, seed=seed)
    # the one place where the host waits for the device: all that the update needs is queued
    values = torch.stack(list(measured.values())).tolist()
    result: dict[str, float] = dict(zip(measured, values, strict=True))
    if not math.isfinite(result["loss"]):
        names = ", ".join(name for batch in taken for name in batch.recording_id)
        raise NonFiniteLoss(f"the loss of step {taken[0].item.step + 1} is {result['loss']}; recordings here: {names}")
    result["gradient_norm"] = engine.step()
    statistics.end_step(engine.micro_batches)
    return result


def queue_gradients(
    engine: Engine, batches: Iterable[Batch], statistics: RunningStatistics, *, weights: LossWeights, seed: int
) -> dict[str, torch.Tensor]:
    """Forward and backward of a step, without waiting for the device.

    Returns:
        float32 scalars on the device, named as :func:`training_step` returns them.
    """
    statistics.begin_step()
    on_device = map(engine.to_device, batches)
    if weights.tagging:
        return _tagging_gradients(engine, on_device, statistics, weights, seed)
    return _contrastive_gradients(engine, on_device, statistics, weights, seed)


def _noted(batches: Iterable[Batch], taken: list[Batch]) -> Iterable[Batch]:
    for batch in batches:
        taken.append(batch)
        yield batch


def _contrastive_gradients(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, weights: LossWeights, seed: int
) -> dict[str, torch.Tensor]:
    first, pairs, second_forward = _first_forwards(engine, batches, statistics, seed)
    leaves = Embeddings(*(tensor.detach().requires_grad_() for tensor in first))
    loss, terms = objective(leaves, weights)
    loss.backward()  # type: ignore[no-untyped-call]
    row = 0
    for number, count in enumerate(pairs):
        embeddings = second_forward(number)
        engine.backward(_driven_by(embeddings, leaves, slice(row, row + count), share=1 / len(pairs)))
        row += count
    named = {f"loss_{name}": term for name, term in terms.items()}
    return {"loss": loss.detach(), **named, "temperature": leaves.temperature.detach()}


def _first_forwards(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, seed: int
) -> tuple[Embeddings, list[int], Callable[[int], Embeddings]]:
    """Embeddings of all of this worker's pairs, pairs of each micro-batch, and its embeddings with their graph."""
    if engine.share == 1:
        (batch,) = batches
        embeddings = _forward(engine, batch, seed)
        statistics.add_micro_batch()
        return embeddings, [batch.batch.pairs], lambda _: embeddings
    kept, parts = [], []
    for batch in batches:
        with torch.no_grad():
            parts.append(_forward(engine, batch, seed))
        statistics.add_micro_batch()
        kept.append(batch)
    audio, text, temperatures = zip(*parts, strict=True)
    whole = Embeddings(torch.cat(audio), torch.cat(text), temperatures[0])
    return whole, [batch.batch.pairs for batch in kept], lambda number: _forward(engine, kept[number], seed)


def _tagging_gradients(
    engine: Engine, batches: Iterable[DeviceBatch], statistics: RunningStatistics, weights: LossWeights, seed: int
) -> dict[str, torch.Tensor]:
    own = []
    for batch in batches:
        loss = tagging_loss(_forward(engine, batch, seed), batch.tags) / engine.micro_batches
        statistics.add_micro_batch()
        engine.backward(weights.tagging * loss)
        own.append(loss.detach())
    term = sum_over_workers(torch.stack(own).sum())
    return {"loss": weights.tagging * term, "loss_tagging": term}


def _forward(engine: Engine, batch: DeviceBatch, seed: int) -> Any:
    # dropout and SpecAugment draw from the default generator: what they draw depends on the micro-batch alone
    item = batch.batch.item
    torch.manual_seed(torch_seed(seed=seed, purpose="forward", key=(item.step, item.micro_batch)))
    return engine.forward(batch)


def _driven_by(embeddings: Embeddings, leaves: Embeddings, part: slice, *, share: float) -> torch.Tensor:
    """A scalar whose gradient is the loss's: sum of outputs times their cached gradients (chain rule).

    The temperature is one output of every micro-batch, so each takes its share of the gradient.
    """
    assert leaves.audio.grad is not None and leaves.text.grad is not None and leaves.temperature.grad is not None
    return (
        (embeddings.audio * leaves.audio.grad[part]).sum()
        + (embeddings.text * leaves.text.grad[part]).sum()
        + embeddings.temperature * leaves.temperature.grad * share
    )
