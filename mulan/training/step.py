"""One optimizer step on a global batch of any size: gradient caching (Gao et al. 2021) over micro-batches.

All embeddings are computed first, without keeping activations; the loss and its gradient with respect to them are
computed on the whole global batch; then each micro-batch runs again, with the same random numbers, and is driven
backward by that gradient. With one micro-batch per worker the first forward is kept and there is no second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mulan.config.sections import LossWeights
from mulan.data.batch import Batch
from mulan.data.draws import torch_seed
from mulan.model.joint import Embeddings
from mulan.objectives.objective import objective
from mulan.training.batch_norm import RunningStatistics
from mulan.training.engine import Engine
from mulan.training.errors import NonFiniteLoss


@dataclass(frozen=True)
class StepResult:
    """What a step measured, on the global batch."""

    loss: float
    terms: dict[str, float]
    temperature: float
    gradient_norm: float


def training_step(
    engine: Engine, batches: Sequence[Batch], statistics: RunningStatistics, *, weights: LossWeights, seed: int
) -> StepResult:
    """Updates the weights once.

    Args:
        batches: this worker's micro-batches of the step, the same number on every worker.

    Raises:
        NonFiniteLoss: on all workers alike, before anything is updated.
    """
    statistics.begin_step()
    first, second_forward = _first_forwards(engine, batches, statistics, seed)
    leaves = Embeddings(*(tensor.detach().requires_grad_() for tensor in first))
    loss, terms = objective(leaves, weights)
    if not torch.isfinite(loss):
        names = ", ".join(name for batch in batches for name in batch.recording_id)
        raise NonFiniteLoss(f"the loss of step {batches[0].item.step + 1} is {loss.item()}; recordings here: {names}")
    loss.backward()  # type: ignore[no-untyped-call]
    rows = 0
    for number, batch in enumerate(batches):
        embeddings = second_forward(number)
        part = slice(rows, rows + batch.pairs)
        engine.backward(_driven_by(embeddings, leaves, part, share=1 / len(batches)))
        rows += batch.pairs
    gradient_norm = engine.step()
    statistics.end_step(engine.micro_batches)
    return StepResult(
        loss.item(), {name: term.item() for name, term in terms.items()}, leaves.temperature.item(), gradient_norm
    )


def _first_forwards(
    engine: Engine, batches: Sequence[Batch], statistics: RunningStatistics, seed: int
) -> tuple[Embeddings, Callable[[int], Embeddings]]:
    """Embeddings of all of this worker's pairs, and how to get those of one micro-batch with their graph."""
    if len(batches) == 1:
        embeddings = _forward(engine, batches[0], seed)
        statistics.add_micro_batch()
        return embeddings, lambda _: embeddings
    parts = []
    for batch in batches:
        with torch.no_grad():
            parts.append(_forward(engine, batch, seed))
        statistics.add_micro_batch()
    audio, text, temperatures = zip(*parts, strict=True)
    whole = Embeddings(torch.cat(audio), torch.cat(text), temperatures[0])
    return whole, lambda number: _forward(engine, batches[number], seed)


def _forward(engine: Engine, batch: Batch, seed: int) -> Embeddings:
    # dropout and SpecAugment draw from the default generator: what they draw depends on the micro-batch alone
    torch.manual_seed(torch_seed(seed=seed, purpose="forward", key=(batch.item.step, batch.item.micro_batch)))
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
