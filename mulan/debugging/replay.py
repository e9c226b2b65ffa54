"""The replay of a step of a run from the newest checkpoint before it, in a single process, without writing anything.

The plan gives the same micro-batches as in the run, regardless of its number of workers. With ``train.exact_sums``, on
the same kind of device, the results are bitwise equal.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from torch._C._distributed_c10d import HashStore

from mulan.config.parsing import parse_json
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase, Schedule
from mulan.launch.checks import ReplayError, check_replay
from mulan.launch.devices import device_kind, reproducibility_warnings
from mulan.model.deterministic import deterministic_kernels
from mulan.runs.checkpoint import read_newest
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.training.batch_source import consumed_checksum
from mulan.training.loop import train
from mulan.training.observer import NullObserver
from mulan.training.state import Progress

COMPARED = ("loss", "grad_norm")
"""Names of the metrics of a step that are compared with those of the run."""


def replay(recipe: Recipe, run: Run, step: int, console: Console, *, reader: MicroBatchReader) -> None:
    """Trains up to a step, diagnoses it, and prints the diagnosis.

    Args:
        recipe: Recipe of the run; its ``data.uri`` may name a different copy of the corpus.
        run: Run to replay.
        step: Step to diagnose, counted from 1.
        console: Console on which the diagnosis is printed.
        reader: Reader of the recipe's corpus.

    Raises:
        ReplayError: The run has no such step, or the recordings of the corpus differ from those in the run.
    """
    check_replay(run, step)
    use_gpu = recipe.scale.use_gpu and torch.cuda.is_available()
    single = _for_single_worker(recipe)
    checkpoint = read_newest(run.uri, on_corrupt=lambda text: console.print(f"replay  {text}"), max_step=step - 1)
    progress = checkpoint.progress if checkpoint else Progress(steps_done=0)
    first_step = progress.steps_done
    origin = f"the checkpoint of step {first_step}" if checkpoint else "the initial weights"
    console.print(f"replay  from {origin}; steps to run before step {step}: {step - 1 - first_step}", soft_wrap=True)
    comparison = _Comparison({line["step"]: line for line in run.metrics()})
    with _single_process_group(use_gpu=use_gpu):
        # DeepSpeed chooses its accelerator when imported
        from mulan.debugging.step_diagnosis import diagnose_step, print_diagnosis
        from mulan.tasks.task import task_of
        from mulan.training.worker import prepare_engine

        device = torch.device("cuda", 0) if use_gpu else torch.device("cpu")
        kind = device_kind(device, threads=recipe.scale.cpus_per_worker)
        for text in reproducibility_warnings([kind], progress):
            console.print(f"replay  {text}", soft_wrap=True)
        task = task_of(single)
        engine = prepare_engine(task, single, checkpoint, device)
        if first_step < step - 1:
            before = single.replace({"train.steps": step - 1})
            schedule = Schedule(before.train, before.batch, 0, 1, first_step=first_step)
            train(task, before, engine, (reader(item) for item in _items(schedule)), schedule, progress, comparison)
        if comparison.num_steps:
            console.print(
                f"replay  steps with the run's recordings: {comparison.num_steps}; {comparison.summary}", soft_wrap=True
            )
        batches = [reader(Item(Phase.TRAIN, step - 1, number)) for number in range(recipe.batch.micro_batches)]
        recordings = [batch.recording_id for batch in batches]
        comparison.check_recordings(step, recordings, stored=_stored_recordings(run, step))
        with deterministic_kernels(recipe.train.deterministic):
            diagnosis = diagnose_step(engine, batches, task, single.train)
    shown = "  ".join(f"{name} {value:.6g}" for name, value in diagnosis.measured.items())
    console.print(f"replay  step {step}  {shown}{comparison.describe(step, diagnosis.measured)}", soft_wrap=True)
    print_diagnosis(diagnosis, console)


def _for_single_worker(recipe: Recipe) -> Recipe:
    """Returns the recipe for a single worker that does not validate, and does not stop at anomalies."""
    return recipe.replace(
        {
            "train.zero_stage": 0,
            "train.validation_micro_batches": 0,
            "scale.workers": 1,
            "health.non_finite": "warn",
            "health.collapse": "warn",
        }
    )


def _items(schedule: Schedule) -> Iterator[Item]:
    return (schedule[number] for number in range(len(schedule)))


def _stored_recordings(run: Run, step: int) -> Sequence[Sequence[str]] | None:
    uri = run.anomaly_uri(step)
    if not filesystem.exists(uri):
        return None
    try:
        return [[str(name) for name in names] for names in parse_json(filesystem.read_bytes(uri))["recordings"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ReplayError(f"{uri} is damaged; restore it, or remove it to replay without it") from error


@dataclass
class _Comparison(NullObserver):
    """An observer that compares the replayed steps with the metrics of the run."""

    recorded: Mapping[int, Mapping[str, Any]]
    """Lines of the run's ``metrics.jsonl`` by step."""
    num_steps: int = 0
    """Number of steps that have been compared."""
    difference: float = 0.0
    """Maximum relative difference of losses and gradient norms; infinite if only one of the two values is finite."""

    def on_step(self, metrics: dict[str, Any]) -> None:
        recorded = self.recorded.get(metrics["step"])
        if recorded is None:
            return
        self._check(metrics["step"], metrics["recordings_checksum"])
        self.num_steps += 1
        differences = [_difference(metrics[name], recorded[name]) for name in COMPARED]
        self.difference = max(self.difference, *differences)

    @property
    def summary(self) -> str:
        if not self.difference:
            return "their losses and gradient norms are bitwise equal"
        return f"their losses and gradient norms differ by at most {self.difference:.1e}"

    def describe(self, step: int, measured: Mapping[str, float]) -> str:
        """Returns how the measurements of a step compare with those of the run; empty if the run recorded none."""
        recorded = self.recorded.get(step)
        if recorded is None:
            return ""
        replayed = {name: measured[name] if math.isfinite(measured[name]) else None for name in COMPARED}
        if all(replayed[name] == recorded[name] for name in COMPARED):
            return "  (bitwise equal to the run)"
        return f"  (in the run: {'  '.join(f'{name} {_format(recorded[name])}' for name in COMPARED)})"

    def check_recordings(
        self, step: int, recordings: Sequence[tuple[str, ...]], *, stored: Sequence[Sequence[str]] | None
    ) -> None:
        checksum = 0
        for number, names in enumerate(recordings):
            checksum ^= consumed_checksum(number, names)
        self._check(step, f"{checksum:016x}")
        if stored is not None and [tuple(names) for names in stored] != list(recordings):
            raise _other_recordings(step)

    def _check(self, step: int, checksum: str) -> None:
        if step in self.recorded and self.recorded[step].get("recordings_checksum") != checksum:
            raise _other_recordings(step)


def _difference(replayed: float | None, recorded: float | None) -> float:
    """Returns the relative difference of two values, where None stands for a non-finite one."""
    if replayed == recorded:
        return 0.0
    return abs(replayed / recorded - 1) if replayed is not None and recorded else math.inf


def _format(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


def _other_recordings(step: int) -> ReplayError:
    return ReplayError(f"step {step} had other recordings when the run was trained: the corpus has changed")


@contextmanager
def _single_process_group(*, use_gpu: bool) -> Iterator[None]:
    if not use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("nccl" if use_gpu else "gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
