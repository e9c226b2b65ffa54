"""The order of a worker's micro-batches: its share of every training step, and of every validation in between."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mulan.config.errors import MulanError
from mulan.config.sections import BatchConfig, TrainConfig


class Phase(IntEnum):
    TRAIN = 0
    VALIDATE = 1


class ScheduleError(MulanError, ValueError):
    """Micro-batches that cannot be shared among the workers."""


class Item(NamedTuple):
    """One micro-batch of the run."""

    phase: Phase
    step: int
    """Training: the step it belongs to, from 0. Validation: the number of steps done."""
    micro_batch: int
    """Its number in the global batch, or among the validation micro-batches."""


@dataclass(frozen=True)
class Schedule:
    """A sequence of items, computed and not stored, however long the run.

    A step's micro-batches 0..K-1 are shared in order: worker r of W has numbers r*K/W and on. Validation micro-batches
    follow each ``validate_every_steps``-th step, and the last step, shared likewise.

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
        """Micro-batches of a step that are this worker's."""
        return self.batch.micro_batches // self.workers

    @property
    def validation_micro_batches_per_worker(self) -> int:
        return self.train.validation_micro_batches // self.workers

    def validates_after(self, steps_done: int) -> bool:
        """Whether a validation follows when this many steps are done."""
        every = self.train.validate_every_steps
        regular = every > 0 and steps_done % every == 0
        return self.validation_micro_batches_per_worker > 0 and (regular or steps_done == self.train.steps)

    def __len__(self) -> int:
        # the last validation is counted apart where no regular one falls on the last step
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
        cycle, place = divmod(
            number, every * self.train_micro_batches_per_worker + self.validation_micro_batches_per_worker
        )
        if place >= every * self.train_micro_batches_per_worker:
            return self._validation((cycle + 1) * every, place - every * self.train_micro_batches_per_worker)
        step, micro_batch = divmod(place, self.train_micro_batches_per_worker)
        return Item(Phase.TRAIN, cycle * every + step, self.rank * self.train_micro_batches_per_worker + micro_batch)

    def _validation(self, steps_done: int, place: int) -> Item:
        return Item(Phase.VALIDATE, steps_done, self.rank * self.validation_micro_batches_per_worker + place)

    def _items_before(self, step: int) -> int:
        """Items that precede the first micro-batch of a step."""
        every = self.train.validate_every_steps
        validations = step // every if every else 0
        return step * self.train_micro_batches_per_worker + validations * self.validation_micro_batches_per_worker
