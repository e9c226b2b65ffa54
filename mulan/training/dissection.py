"""A step taken apart: what each of its micro-batches makes of the model and of the gradient. Nothing is updated."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.training.batch_norm import RunningStatistics
from mulan.training.engine import Engine
from mulan.training.step import micro_batch_terms, queue_gradients
from mulan.training.transfer import DeviceBatch

MOST_PARAMETERS, MOST_RECORDINGS = 10, 20
"""That are shown."""


@dataclass
class Part:
    """One micro-batch. Its inputs are whole numbers: there is nothing in them that could not be finite."""

    recordings: tuple[str, ...]
    terms: dict[str, float] = field(default_factory=dict)
    """Those that are computed of single micro-batches."""
    outputs: int = 0
    """Values of the model's outputs that are not finite."""
    spoiled: list[str] = field(default_factory=list)
    """Recordings with such values."""
    cosines: dict[str, float] = field(default_factory=dict)
    """By kind of embedding: the mean cosine of different rows. 1 where all are the same."""
    output_gradients: int = 0
    """Values that are not finite in the gradient of its outputs,"""
    gradients: int = 0
    """and in that of the parameters."""
    gradient_norm: float = 0.0
    """Of its own part of the gradient."""


@dataclass
class Parameter:
    name: str
    weights: int
    """Values that are not finite, and"""
    gradients: int
    """those of the gradient."""
    gradient_norm: float


@dataclass
class Dissection:
    """A whole step."""

    measured: dict[str, float]
    """As :func:`mulan.training.step.training_step` returns it."""
    parts: list[Part]
    parameters: list[Parameter]
    """Those that have a gradient: not finite ones first, then by norm."""


def dissect(engine: Engine, batches: Iterable[Batch], recipe: Recipe) -> Dissection:
    """Forward and backward of a step on the only worker; the gradient must be on the parameters, not sharded."""
    observed = _Observed(engine, recipe)
    queued = queue_gradients(observed, batches, RunningStatistics(engine.module), recipe)
    named = dict(engine.module.named_parameters())
    parameters = [
        Parameter(name, _not_finite(named[name]), _not_finite(gradient), float(gradient.norm()))
        for name, gradient in observed.gradients.items()
    ]
    parameters.sort(key=lambda one: (-one.weights, -one.gradients, -one.gradient_norm))
    measured = {name: float(value) for name, value in queued.items()}
    measured["gradient_norm"] = float(torch.nn.utils.get_total_norm(list(observed.gradients.values())))
    return Dissection(measured, [part for _, part in sorted(observed.parts.items())], parameters)


class _Observed:
    """An engine that looks at what passes through it, and takes the gradient of each micro-batch off the model."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine, self._weights = engine, recipe.loss.weights
        self.parts: dict[int, Part] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self._current = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def forward(self, batch: DeviceBatch) -> Any:
        outputs = self._engine.forward(batch)
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
        self._engine.backward(scalar)
        part, own = self.parts[self._current], []
        for name, parameter in self._engine.module.named_parameters():
            if parameter.grad is None:
                continue
            own.append(parameter.grad)
            part.gradients += _not_finite(parameter.grad)
            self.gradients[name] = self.gradients[name] + parameter.grad if name in self.gradients else parameter.grad
            parameter.grad = None
        part.gradient_norm = float(torch.nn.utils.get_total_norm(own))

    def _part(self, outputs: Any, named: dict[str, torch.Tensor], batch: DeviceBatch) -> Part:
        names = batch.batch.recording_id
        part = Part(names, outputs=sum(map(_not_finite, named.values())))
        spoiled: set[int] = set()
        for tensor in named.values():
            if tensor.ndim and len(tensor) == len(names):
                spoiled |= set(
                    (~torch.isfinite(tensor)).reshape(len(names), -1).any(dim=1).nonzero().flatten().tolist()
                )
        part.spoiled = [names[row] for row in sorted(spoiled)]
        part.cosines = {kind: _mean_cosine(named[kind]) for kind in ("audio", "text") if kind in named}
        if not (self._weights.contrastive or self._weights.semisupcon):
            with torch.no_grad():
                part.terms = {k: float(v) for k, v in micro_batch_terms(outputs, batch, self._weights).items()}
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


def _mean_cosine(rows: torch.Tensor) -> float:
    """Of different rows of [m, d] unit rows."""
    m = len(rows)
    return (float(rows.detach().double().sum(dim=0).square().sum()) - m) / (m * (m - 1))


def show(dissection: Dissection, console: Console) -> None:
    """Two tables, and the names of recordings with embeddings that are not finite."""
    parts = dissection.parts
    terms, kinds = list(parts[0].terms), list(parts[0].cosines)
    table = Table(title="micro-batches")
    for column in ("micro-batch", "recordings", *terms, *(f"mean cosine, {kind}" for kind in kinds)):
        table.add_column(column, justify="right")
    for column in ("outputs not finite", "their gradients", "gradient norm", "gradients not finite"):
        table.add_column(column, justify="right")
    for number, part in enumerate(parts):
        shown = [f"{value:.4g}" for value in (*part.terms.values(), *part.cosines.values())]
        counts = [f"{part.outputs}", f"{part.output_gradients}", f"{part.gradient_norm:.4g}", f"{part.gradients}"]
        table.add_row(f"{number}", f"{len(part.recordings)}", *shown, *counts)
    console.print(table)
    table = Table(title="parameters: not finite ones, then the largest gradients")
    table.add_column("parameter")
    for column in ("gradient norm", "gradients not finite", "weights not finite"):
        table.add_column(column, justify="right")
    for one in dissection.parameters[:MOST_PARAMETERS]:
        table.add_row(one.name, f"{one.gradient_norm:.4g}", f"{one.gradients}", f"{one.weights}")
    console.print(table)
    for number, part in enumerate(parts):
        if part.spoiled:
            more = f" and {len(part.spoiled) - MOST_RECORDINGS} more" if len(part.spoiled) > MOST_RECORDINGS else ""
            listed = ", ".join(part.spoiled[:MOST_RECORDINGS])
            console.print(f"micro-batch {number}: embeddings not finite: {listed}{more}", soft_wrap=True)
