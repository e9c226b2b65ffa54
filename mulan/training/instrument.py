"""The interface of an instrument, which a worker calls around each training step."""

from typing import Protocol


class StepInstrument(Protocol):
    """Measures or watches training steps without changing them. Every worker has its own.

    All workers call the same methods in the same order, so a method may be collective. A validation or a checkpoint
    lies between the end of a step and the begin of the next one. If a step raises an error, its end is not called.
    """

    def begin_step(self, step: int) -> None:
        """Called before a step, counted from 1, takes its batches."""

    def end_step(self, step: int) -> None:
        """Called when all workers have ended the step and exchanged their reports."""
