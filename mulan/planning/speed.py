"""The speed of a training worker, and the time that a run takes at it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.model.audio_encoder import TrainedModel
from mulan.planning.measured import MeasuredSteps
from mulan.planning.reading import RunReading
from mulan.telemetry.flops import count_flops
from mulan.telemetry.peaks import named_peak

FORWARD_SHARE = 1 / 3
"""Time of a validated pair relative to a trained one where none was measured: a backward pass has twice the operations
of a forward pass."""


class UnknownSpeed(MulanError):
    """The speed of a training worker can neither be read nor calculated."""


@dataclass(frozen=True)
class Speed:
    """The speed of one training worker, and what is known about the pauses between steps."""

    pairs_per_s: float
    """Number of pairs per second of one worker, without validations and checkpoints."""
    basis: str
    """How it is known."""
    flops_per_pair: float | None = None
    """Model FLOPs of a pair, if it was calculated from them."""
    measured: MeasuredSteps | None = None
    """The steps from which it was measured."""


@dataclass(frozen=True)
class SpeedSource:
    """Where the speed of a worker is from: a number, a measured run or, without either, a share of a GPU's peak."""

    pairs_per_s: float | None
    """Number of pairs per second of one worker; None if it is not given."""
    measured: MeasuredSteps | None
    """Steps of a run of the same model; None if none are given."""
    peak_name: str
    """Name of the GPU, as ``torch.cuda.get_device_name`` returns it."""
    peak_share: float
    """Share of its peak at which model FLOPs are computed (MFU), above 0 and at most 1."""

    def speed(self, model: TrainedModel, recipe: Recipe, batches: Sequence[Batch]) -> Speed:
        """Returns the speed of one worker.

        Args:
            model: The recipe's model.
            recipe: The recipe.
            batches: Micro-batches of the run, for the lengths of their texts; waveforms are not needed.

        Raises:
            UnknownSpeed: It must be calculated, and the recipe trains on CPUs or no peak of this GPU is known.
            NotCounted: It must be calculated, and an operation of the model cannot be counted.
        """
        if self.measured is not None:
            return measured_speed(self.measured)
        if self.pairs_per_s is not None:
            return Speed(self.pairs_per_s, "given")
        return calculated_speed(model, recipe, batches, peak_name=self.peak_name, peak_share=self.peak_share)


@dataclass(frozen=True)
class TrainingTime:
    """The time of a run in seconds, from its first step to its last, without interruptions and waiting for nodes."""

    steps_s: float
    """Time of all steps."""
    validations_s: float
    """Time of all validations."""
    checkpoints_s: float | None
    """Time for which training pauses for checkpoints; None if no pause was measured."""

    @property
    def total_s(self) -> float:
        """Time of steps, validations and, as far as known, pauses for checkpoints."""
        return self.steps_s + self.validations_s + (self.checkpoints_s or 0.0)


def calculated_speed(
    model: TrainedModel, recipe: Recipe, batches: Sequence[Batch], *, peak_name: str, peak_share: float
) -> Speed:
    """Calculates the speed from the model's FLOPs and a share of a GPU's peak.

    Args:
        model: The recipe's model.
        recipe: The recipe.
        batches: Micro-batches of the run, for the lengths of their texts; waveforms are not needed.
        peak_name: Name of the GPU, as ``torch.cuda.get_device_name`` returns it.
        peak_share: Share of the peak at which model FLOPs are computed (MFU), above 0 and at most 1.

    Raises:
        UnknownSpeed: The recipe trains on CPUs, or no peak of this GPU is known.
        NotCounted: An operation of the model cannot be counted.
    """
    peak = named_peak(peak_name, recipe.train.precision, tf32=True)
    if not recipe.scale.use_gpu:
        raise UnknownSpeed(
            "no peak is known for CPU workers (scale.use_gpu is false): give --measured RUN_URI or --pairs-per-s"
        )
    if peak is None:
        raise UnknownSpeed(
            f"no peak of {peak_name!r} in {recipe.train.precision} is known: give --peak as torch.cuda.get_device_name "
            "returns it, such as 'NVIDIA A100-SXM4-80GB', or --measured RUN_URI or --pairs-per-s"
        )
    counted = count_flops(model, recipe)
    flops = sum(counted(batch) for batch in batches) / len(batches) / recipe.batch.pairs_per_micro_batch
    of_peak = f"{peak_share:.0%} of the peak of {peak_name}, {peak / 1e12:.4g} TFLOP/s"
    basis = f"calculated: {flops / 1e9:.4g} GFLOP per pair, at {of_peak}"
    return Speed(peak_share * peak / flops, basis, flops_per_pair=flops)


def measured_speed(measured: MeasuredSteps) -> Speed:
    """Returns the speed of a measured run."""
    basis = (
        f"measured in {measured.steps} steps of {measured.run_uri} on {measured.workers} workers, of which "
        f"{measured.data_wait_share:.1%} waiting for data"
    )
    return Speed(measured.pairs_per_s_per_worker, basis, measured=measured)


def training_time(
    speed: Speed, recipe: Recipe, reading: RunReading, *, workers: int, steps: int, checkpoints: int
) -> TrainingTime:
    """Returns the time of a number of steps, of their validations, and of the pauses for their checkpoints.

    It is assumed that speed grows with the number of workers. A pause for a checkpoint is that of the measured run,
    whatever the number of workers.

    Args:
        speed: Speed of one worker.
        recipe: The recipe.
        reading: What these steps read.
        workers: Number of training workers.
        steps: Number of steps.
        checkpoints: Number of checkpoints that steps follow.
    """
    measured = speed.measured
    if measured is None or measured.validation_s is None:
        validations_s = FORWARD_SHARE * reading.validation_pairs / (workers * speed.pairs_per_s)
    else:
        validations_s = reading.validations * measured.validation_s * measured.workers / workers
    known_pause_s = None if measured is None else measured.checkpoint_s
    return TrainingTime(
        steps_s=steps * recipe.batch.pairs / (workers * speed.pairs_per_s),
        validations_s=validations_s,
        checkpoints_s=None if known_pause_s is None else checkpoints * known_pause_s,
    )
