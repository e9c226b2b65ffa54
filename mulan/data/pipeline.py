"""The Ray Data pipeline: a range of micro-batch numbers, one block each, turned into batches on CPU workers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ray
import ray.data
from ray.data import DataContext, Dataset, ExecutionOptions, ExecutionResources

from mulan.data.batch import Batch
from mulan.data.examples import MicroBatchReader
from mulan.data.pacing import PauseUnderBackpressure
from mulan.data.schedule import Schedule


def quiet_data_context() -> DataContext:
    """Ray Data without progress bars, and with the settings that our blocks need, for this process."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.target_max_block_size = None  # a block is a micro-batch, however large
    context.execution_no_progress_timeout_s = -1  # a long validation or checkpoint must not end the run
    if PauseUnderBackpressure not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(PauseUnderBackpressure)
    return context


def planned_dataset(schedule: Schedule, reader: "ray.ObjectRef[MicroBatchReader]", *, cpus: float) -> Dataset:
    """One worker's micro-batches in order, each a block of one row (see :meth:`Batch.to_columns`).

    Args:
        reader: lies once per node in the object store, with the index in it.
        cpus: this worker's share of the CPUs that read and decode.
    """
    quiet_data_context()
    count = len(schedule)

    def read(block: Mapping[str, Any]) -> dict[str, Any]:
        found: MicroBatchReader = ray.get(reader)
        return found(schedule[int(block["id"][0])]).to_columns()

    dataset = ray.data.range(count, override_num_blocks=max(1, count)).map_batches(
        read, batch_size=None, zero_copy_batch=True
    )
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(cpu=cpus)
    )
    return dataset


def batches(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    """The batches in a dataset's blocks."""
    return map(Batch.from_columns, blocks)
