"""The diagnosis of a training step: outputs and gradients of each micro-batch, without an update."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mulan.config.sections import TrainConfig
from mulan.data.batch import Batch
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.fixed_point import UNITS, FixedPointSum, norm_over_workers, term_limit, to_float
from mulan.model.device_batch import DeviceBatch
from mulan.tasks.task import Task
from mulan.training.engines.base import Engine
from mulan.training.step import queue_gradients

MAX_PARAMETERS, MAX_RECORDINGS = 10, 20
"""Maximum numbers of parameters and of recordings that are printed."""


@dataclass
class MicroBatchDiagnosis:
    """The diagnosis of one micro-batch. Its inputs are integers, which are always finite."""

    recordings: tuple[str, ...]
    terms: dict[str, float] = field(default_factory=dict)
    """Values of the loss terms by name; empty if they are computed over the global batch."""
    outputs: int = 0
    """Number of non-finite values in the model's outputs."""
    nonfinite_recordings: list[str] = field(default_factory=list)
    """Ids of the recordings with non-finite outputs."""
    cosines: dict[str, float] = field(default_factory=dict)
    """Mean cosine similarity of different rows, by kind of embedding; 1 if all rows are equal."""
    output_gradients: int = 0
    """Number of non-finite values in the gradient of the outputs."""
    gradients: int = 0
    """Number of non-finite values in the gradient of the parameters."""
    grad_norm: float = 0.0
    """Norm of this micro-batch's gradient."""
    too_large: int = 0
    """Number of finite values in the gradient of the parameters that exceed the range of the exact sums."""


@dataclass
class ParameterDiagnosis:
    """The diagnosis of one parameter."""

    name: str
    weights: int
    """Number of non-finite values in the parameter."""
    gradients: int
    """Number of non-finite values in the gradient of the parameter."""
    grad_norm: float
    """Norm of the gradient of the parameter."""


@dataclass
class StepDiagnosis:
    """The diagnosis of a whole step."""

    measured: dict[str, float]
    """Measurements of the step by name, as :func:`mulan.training.step.train_step` returns them."""
    micro_batches: list[MicroBatchDiagnosis]
    parameters: list[ParameterDiagnosis]
    """Parameters with a gradient: those with non-finite values first, then by descending norm of the gradient."""
    limit: float
    """Bound on the values of a micro-batch's gradient with ``train.exact_sums``, and infinity without."""


def diagnose_step(engine: Engine, batches: Iterable[Batch], task: Task, train: TrainConfig) -> StepDiagnosis:
    """Runs the forward and backward passes of a step on a single worker, without an update.

    With ``train.exact_sums``, the measurements are bitwise equal to those of the step.

    Args:
        engine: Engine whose weights are not sharded.
        batches: All micro-batches of the step.
        task: Task that is trained.
        train: Section of the recipe.
    """
    observed = _Observed(engine, task, exact_sums=train.exact_sums)
    queued = queue_gradients(observed, batches, RunningStatistics(engine.module), task, train)
    named = dict(engine.module.named_parameters())
    parameters = [
        ParameterDiagnosis(name, _num_nonfinite(named[name]), _num_nonfinite(gradient), _norm([gradient]))
        for name, gradient in observed.gradients.items()
    ]
    parameters.sort(key=lambda parameter: (-parameter.weights, -parameter.gradients, -parameter.grad_norm))
    measured = {name: float(value) for name, value in queued.items()}
    measured["grad_norm"] = observed.grad_norm()
    return StepDiagnosis(measured, [part for _, part in sorted(observed.parts.items())], parameters, observed.limit)


class _Observed:
    """A wrapper of an engine that inspects outputs and gradients, and sums the gradients outside the engine."""

    def __init__(self, engine: Engine, task: Task, *, exact_sums: bool) -> None:
        self._engine, self._task = engine, task
        self._trained = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
        self.parts: dict[int, MicroBatchDiagnosis] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.limit, self._sum = math.inf, None
        if exact_sums:
            parameters = list(self._trained.values())
            self.limit = term_limit(engine.micro_batches)
            self._sum = FixedPointSum(
                sum(parameter.numel() for parameter in parameters),
                max_terms=engine.micro_batches,
                device=parameters[0].device,
            )
        self._current = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def forward(self, batch: DeviceBatch) -> Any:
        outputs = self._engine.module(*batch.inputs)  # DeepSpeed's engines would require their own backward pass
        self._current = batch.batch.item.micro_batch
        named = dict(_tensors(outputs))
        if self._current not in self.parts:
            self.parts[self._current] = self._part(outputs, named, batch)
        part = self.parts[self._current]

        def count_nonfinite(gradient: torch.Tensor) -> None:
            part.output_gradients += _num_nonfinite(gradient)

        for tensor in named.values():
            if tensor.requires_grad:
                tensor.register_hook(count_nonfinite)  # type: ignore[no-untyped-call]
        return outputs

    def backward(self, scalar: torch.Tensor) -> None:
        gradients = torch.autograd.grad(scalar, list(self._trained.values()), allow_unused=True)
        own = {name: gradient for name, gradient in zip(self._trained, gradients, strict=True) if gradient is not None}
        part = self.parts[self._current]
        for name, gradient in own.items():
            part.gradients += _num_nonfinite(gradient)
            part.too_large += int(((gradient.abs() >= self.limit) & gradient.isfinite()).sum())
            self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient
        part.grad_norm = _norm(own.values())
        if self._sum is not None:
            self._sum.add(own.get(name, torch.zeros_like(p)) * UNITS for name, p in self._trained.items())

    def grad_norm(self) -> float:
        """Returns the norm of the summed gradient, computed as in a step."""
        if self._sum is None:
            return float(torch.nn.utils.get_total_norm(list(self.gradients.values())))
        return norm_over_workers([to_float(self._sum.units)], self._sum.nonfinite)

    def _part(self, outputs: Any, named: dict[str, torch.Tensor], batch: DeviceBatch) -> MicroBatchDiagnosis:
        names = batch.batch.recording_id
        part = MicroBatchDiagnosis(names, outputs=sum(map(_num_nonfinite, named.values())))
        rows: set[int] = set()
        for tensor in named.values():
            if tensor.ndim and len(tensor) == len(names):
                rows |= set((~torch.isfinite(tensor)).reshape(len(names), -1).any(dim=1).nonzero().flatten().tolist())
        part.nonfinite_recordings = [names[row] for row in sorted(rows)]
        part.cosines = {kind: _mean_cosine(named[kind]) for kind in ("audio", "text") if kind in named}
        if not self._task.gradient_caching:
            with torch.no_grad():
                part.terms = {name: float(term) for name, term in self._task.loss_terms(outputs, [batch]).items()}
        return part


def _tensors(outputs: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(outputs, torch.Tensor):
        yield "logits", outputs
        return
    for name, tensor in outputs._asdict().items():
        if tensor is not None:
            yield name, tensor


def _num_nonfinite(tensor: torch.Tensor) -> int:
    return int((~torch.isfinite(tensor.detach())).sum())


def _norm(tensors: Iterable[torch.Tensor]) -> float:
    return math.hypot(*(float(tensor.double().norm()) for tensor in tensors))  # float32 would be accurate to 1e-5 only


def _mean_cosine(rows: torch.Tensor) -> float:
    """Returns the mean cosine similarity of different rows, which are unit vectors, [m, d]."""
    m = len(rows)
    return (float(rows.detach().double().sum(dim=0).square().sum()) - m) / (m * (m - 1))


def print_diagnosis(diagnosis: StepDiagnosis, console: Console) -> None:
    """Prints tables of micro-batches and parameters, non-finite embeddings, and gradients that are too large."""
    parts = diagnosis.micro_batches
    terms, kinds = list(parts[0].terms), list(parts[0].cosines)
    table = Table(title="micro-batches")
    for column in ("micro-batch", "recordings", *terms, *(f"mean cosine, {kind}" for kind in kinds)):
        table.add_column(column, justify="right")
    for column in ("outputs not finite", "their gradients", "gradient norm", "gradients not finite"):
        table.add_column(column, justify="right")
    for number, part in enumerate(parts):
        shown = [f"{value:.4g}" for value in (*part.terms.values(), *part.cosines.values())]
        counts = [f"{part.outputs}", f"{part.output_gradients}", f"{part.grad_norm:.4g}", f"{part.gradients}"]
        table.add_row(f"{number}", f"{len(part.recordings)}", *shown, *counts)
    console.print(table)
    table = Table(title="parameters: not finite ones, then the largest gradients")
    table.add_column("parameter")
    for column in ("gradient norm", "gradients not finite", "weights not finite"):
        table.add_column(column, justify="right")
    for parameter in diagnosis.parameters[:MAX_PARAMETERS]:
        norm, gradients = f"{parameter.grad_norm:.4g}", f"{parameter.gradients}"
        table.add_row(parameter.name, norm, gradients, f"{parameter.weights}")
    console.print(table)
    for number, part in enumerate(parts):
        if part.nonfinite_recordings:
            names = part.nonfinite_recordings
            more = f" and {len(names) - MAX_RECORDINGS} more" if len(names) > MAX_RECORDINGS else ""
            listed = ", ".join(names[:MAX_RECORDINGS])
            console.print(f"micro-batch {number}: embeddings not finite: {listed}{more}", soft_wrap=True)
        if part.too_large:
            console.print(
                f"micro-batch {number}: values of its gradient that are {diagnosis.limit:g} or more, too large for "
                f"train.exact_sums: {part.too_large}",
                soft_wrap=True,
            )
