"""A step taken apart: what each of its micro-batches makes of the model and of the gradient. Nothing is updated."""

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
"""That are shown."""


@dataclass
class MicroBatchDiagnosis:
    """One micro-batch. Its inputs are whole numbers: there is nothing in them that could not be finite."""

    recordings: tuple[str, ...]
    terms: dict[str, float] = field(default_factory=dict)
    """Those that are computed of single micro-batches."""
    outputs: int = 0
    """Values of the model's outputs that are not finite."""
    nonfinite_recordings: list[str] = field(default_factory=list)
    """Recordings with such values."""
    cosines: dict[str, float] = field(default_factory=dict)
    """By kind of embedding: the mean cosine of different rows. 1 where all are the same."""
    output_gradients: int = 0
    """Values that are not finite in the gradient of its outputs,"""
    gradients: int = 0
    """and in that of the parameters."""
    grad_norm: float = 0.0
    """Of its own part of the gradient."""
    too_large: int = 0
    """Values of the gradient of the parameters that are finite, and more than the sums have room for."""


@dataclass
class ParameterDiagnosis:
    name: str
    weights: int
    """Values that are not finite, and"""
    gradients: int
    """those of the gradient."""
    grad_norm: float


@dataclass
class StepDiagnosis:
    """A whole step."""

    measured: dict[str, float]
    """As :func:`mulan.training.step.train_step` returns it."""
    parts: list[MicroBatchDiagnosis]
    parameters: list[ParameterDiagnosis]
    """Those that have a gradient: not finite ones first, then by norm."""
    room: float
    """What every value of a micro-batch's gradient must be smaller than for the sums; infinite where they are plain."""


def diagnose_step(engine: Engine, batches: Iterable[Batch], task: Task, train: TrainConfig) -> StepDiagnosis:
    """Forward and backward of a step on the only worker, whose weights must be whole.

    With ``train.exact_sums`` what is measured has the bits that the step's own measurements have.
    """
    observed = _Observed(engine, task, exact_sums=train.exact_sums)
    queued = queue_gradients(observed, batches, RunningStatistics(engine.module), task, train)
    named = dict(engine.module.named_parameters())
    parameters = [
        ParameterDiagnosis(name, _not_finite(named[name]), _not_finite(gradient), _norm([gradient]))
        for name, gradient in observed.gradients.items()
    ]
    parameters.sort(key=lambda one: (-one.weights, -one.gradients, -one.grad_norm))
    measured = {name: float(value) for name, value in queued.items()}
    measured["grad_norm"] = observed.grad_norm()
    return StepDiagnosis(measured, [part for _, part in sorted(observed.parts.items())], parameters, observed.room)


class _Observed:
    """An engine that looks at what passes through it, and whose backward passes leave no gradient anywhere else."""

    def __init__(self, engine: Engine, task: Task, *, exact_sums: bool) -> None:
        self._engine, self._task = engine, task
        self._trained = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
        self.parts: dict[int, MicroBatchDiagnosis] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.room, self._sum = math.inf, None
        if exact_sums:
            parameters = list(self._trained.values())
            self.room = term_limit(engine.micro_batches)
            self._sum = FixedPointSum(
                sum(parameter.numel() for parameter in parameters),
                max_terms=engine.micro_batches,
                device=parameters[0].device,
            )
        self._current = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def forward(self, batch: DeviceBatch) -> Any:
        outputs = self._engine.module(*batch.inputs)  # DeepSpeed's engines would ask for their own backward pass
        self._current = batch.batch.item.micro_batch
        named = dict(_tensors(outputs))
        if self._current not in self.parts:
            self.parts[self._current] = self._part(outputs, named, batch)
        part = self.parts[self._current]

        def note(gradient: torch.Tensor) -> None:
            part.output_gradients += _not_finite(gradient)

        for tensor in named.values():
            if tensor.requires_grad:
                tensor.register_hook(note)  # type: ignore[no-untyped-call]
        return outputs

    def backward(self, scalar: torch.Tensor) -> None:
        found = torch.autograd.grad(scalar, list(self._trained.values()), allow_unused=True)
        own = {name: gradient for name, gradient in zip(self._trained, found, strict=True) if gradient is not None}
        part = self.parts[self._current]
        for name, gradient in own.items():
            part.gradients += _not_finite(gradient)
            part.too_large += int(((gradient.abs() >= self.room) & gradient.isfinite()).sum())
            self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient
        part.grad_norm = _norm(own.values())
        if self._sum is not None:
            self._sum.add(own.get(name, torch.zeros_like(p)) * UNITS for name, p in self._trained.items())

    def grad_norm(self) -> float:
        """The norm of the whole gradient, as a step finds it."""
        if self._sum is None:
            return float(torch.nn.utils.get_total_norm(list(self.gradients.values())))
        return norm_over_workers([to_float(self._sum.units)], self._sum.nonfinite)

    def _part(self, outputs: Any, named: dict[str, torch.Tensor], batch: DeviceBatch) -> MicroBatchDiagnosis:
        names = batch.batch.recording_id
        part = MicroBatchDiagnosis(names, outputs=sum(map(_not_finite, named.values())))
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


def _not_finite(tensor: torch.Tensor) -> int:
    return int((~torch.isfinite(tensor.detach())).sum())


def _norm(tensors: Iterable[torch.Tensor]) -> float:
    return math.hypot(*(float(tensor.double().norm()) for tensor in tensors))  # in float32 right to 1e-5 only


def _mean_cosine(rows: torch.Tensor) -> float:
    """Of different rows of [m, d] unit rows."""
    m = len(rows)
    return (float(rows.detach().double().sum(dim=0).square().sum()) - m) / (m * (m - 1))


def print_diagnosis(diagnosis: StepDiagnosis, console: Console) -> None:
    """Two tables, and micro-batches whose embeddings are not finite or whose gradients are too large."""
    parts = diagnosis.parts
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
    for one in diagnosis.parameters[:MAX_PARAMETERS]:
        table.add_row(one.name, f"{one.grad_norm:.4g}", f"{one.gradients}", f"{one.weights}")
    console.print(table)
    for number, part in enumerate(parts):
        if part.nonfinite_recordings:
            names = part.nonfinite_recordings
            more = f" and {len(names) - MAX_RECORDINGS} more" if len(names) > MAX_RECORDINGS else ""
            listed = ", ".join(names[:MAX_RECORDINGS])
            console.print(f"micro-batch {number}: embeddings not finite: {listed}{more}", soft_wrap=True)
        if part.too_large:
            console.print(
                f"micro-batch {number}: values of its gradient that are {diagnosis.room:g} or more, too large for "
                f"train.exact_sums: {part.too_large}",
                soft_wrap=True,
            )
