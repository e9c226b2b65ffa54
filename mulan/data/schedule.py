"""The order of a worker's micro-batches: its share of every training step and of every validation."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mulan.config.errors import MulanError
from mulan.config.sections import BatchConfig, TrainConfig


class Phase(IntEnum):
    """The purpose of a micro-batch."""

    TRAIN = 0
    VALIDATE = 1


class ScheduleError(MulanError, ValueError):
    """Raised when the micro-batches cannot be divided evenly among the workers."""


class Item(NamedTuple):
    """Identifies a micro-batch of the run."""

    phase: Phase
    step: int
    """Step in training, from 0; number of completed steps in validation."""
    micro_batch: int
    """Number of the micro-batch in the global batch, or among the validation micro-batches."""


@dataclass(frozen=True)
class Schedule:
    """The sequence of a worker's items, computed lazily, for a run of any length.

    The micro-batches 0..K-1 of a step are divided in order: worker r of W has K/W of them, from r*K/W on. Validation
    micro-batches follow every ``validate_every_steps``-th step and the last step, and are divided in the same way.

    Example:
        >>> train = TrainConfig(steps=2, validate_every_steps=2, validation_micro_batches=2)
        >>> second = Schedule(train, BatchConfig(micro_batches=4), rank=1, workers=2)
        >>> [(item.phase.name, item.step, item.micro_batch) for item in second]
        [('TRAIN', 0, 2), ('TRAIN', 0, 3), ('TRAIN', 1, 2), ('TRAIN', 1, 3), ('VALIDATE', 2, 1)]
    """

    train: TrainConfig
    batch: BatchConfig
    rank: int
    workers: int
    first_step: int = 0

    def __post_init__(self) -> None:
        shared = {
            "batch.micro_batches": self.batch.micro_batches,
            "train.validation_micro_batches": self.train.validation_micro_batches,
        }
        faults = [f"{name} = {count}" for name, count in shared.items() if count % self.workers]
        if faults:
            raise ScheduleError(f"{self.workers} workers cannot share {' and '.join(faults)} evenly")

    @property
    def train_micro_batches_per_worker(self) -> int:
        """Number of micro-batches of a step for each worker."""
        return self.batch.micro_batches // self.workers

    @property
    def validation_micro_batches_per_worker(self) -> int:
        """Number of micro-batches of a validation for each worker."""
        return self.train.validation_micro_batches // self.workers

    def validates_after(self, steps_done: int) -> bool:
        """Returns whether a validation follows once ``steps_done`` steps are complete."""
        every = self.train.validate_every_steps
        regular = every > 0 and steps_done % every == 0
        return self.validation_micro_batches_per_worker > 0 and (regular or steps_done == self.train.steps)

    def __len__(self) -> int:
        # add the final validation, unless a regular one follows the last step
        every = self.train.validate_every_steps
        last = 0 if every and self.train.steps % every == 0 else self.validation_micro_batches_per_worker
        return self._items_before(self.train.steps) + last - self._items_before(self.first_step)

    def __getitem__(self, number: int) -> Item:
        if not 0 <= number < len(self):
            raise IndexError(number)
        number += self._items_before(self.first_step)
        last_validation = number - self._items_before(self.train.steps)
        if last_validation >= 0:
            return self._validation(self.train.steps, last_validation)
        every = self.train.validate_every_steps or self.train.steps
        cycle, index = divmod(
            number, every * self.train_micro_batches_per_worker + self.validation_micro_batches_per_worker
        )
        if index >= every * self.train_micro_batches_per_worker:
            return self._validation((cycle + 1) * every, index - every * self.train_micro_batches_per_worker)
        step, micro_batch = divmod(index, self.train_micro_batches_per_worker)
        return Item(Phase.TRAIN, cycle * every + step, self.rank * self.train_micro_batches_per_worker + micro_batch)

    def _validation(self, steps_done: int, index: int) -> Item:
        return Item(Phase.VALIDATE, steps_done, self.rank * self.validation_micro_batches_per_worker + index)

    def _items_before(self, step: int) -> int:
        """Returns the number of items before the first micro-batch of a step."""
        every = self.train.validate_every_steps
        validations = step // every if every else 0
        return step * self.train_micro_batches_per_worker + validations * self.validation_micro_batches_per_worker
