"""The Ray Data pipeline: it reads groups of micro-batches in order, each in a read task that produces one block.

Tasks are used rather than an actor pool: they are retried on another node when their node is lost, their number follows
the available CPUs, and the next execution reuses the processes of the previous one.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Protocol

import ray
import ray.data
from ray.data import DataContext, Datasource, ExecutionOptions, ExecutionResources, ReadTask
from ray.data.block import BlockAccessor, BlockMetadata

from mulan.data.freed_memory import KEEP_FREED_MEMORY
from mulan.data.groups import Groups, make_group
from mulan.data.ray_data_output import hide_progress_bars
from mulan.data.reader import MicroBatchReader
from mulan.private_ray.core import SchedulerStepCallback, add_scheduler_callback

SEGMENT_GROUPS = 256
"""Number of groups of the first execution of Ray Data. Ray Data creates all tasks of an execution before the first one
runs, about 1,000 per second, and the start of a run must not depend on its length. Later executions are longer, because
readers are idle between executions."""

MAX_SEGMENT_GROUPS = 2**13
"""Maximum number of groups of an execution."""

READERS_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | KEEP_FREED_MEMORY
"""Environment variables of readers, which have one CPU each. They also keep Ray from reusing readers for training."""


READER_CPUS = 0.66
"""Share of a CPU that a reader reserves: three readers share two CPUs. A reader that has finished a group waits until
Ray Data's scheduler notices and assigns the next, a sixth of the time for groups of FLAC; the third uses its CPU."""


class GroupServer(Protocol):
    """The readers' interface to the server of groups."""

    def begin_group(self, number: int) -> bool:
        """Returns whether a group is still needed. Called before it is read."""

    def end_group(self, number: int) -> None:
        """Reports that a group has been read."""


def segments(groups: int, first_groups: int = SEGMENT_GROUPS) -> list[range]:
    """Returns the groups of each execution: each has twice as many as the last, up to :data:`MAX_SEGMENT_GROUPS`."""
    result: list[range] = []
    length = first_groups
    while (first := result[-1].stop if result else 0) < groups:
        result.append(range(first, min(first + length, groups)))
        length = min(2 * length, MAX_SEGMENT_GROUPS)
    return result


def execute(
    groups: Groups,
    segment: range,
    reader: "ray.ObjectRef[MicroBatchReader]",
    server: GroupServer,
    *,
    readers: int,
    label_selector: Mapping[str, str],
) -> Iterator["ray.ObjectRef[Any]"]:
    """Yields the blocks of a segment in order, without fetching them.

    Args:
        groups: Groups of all workers.
        segment: Numbers of the groups to read.
        reader: Reader with the index, stored once per node in the object store.
        server: Server of the groups, pickled once for all tasks.
        readers: Maximum number of concurrent tasks, of :data:`READER_CPUS` each.
        label_selector: Labels of the nodes that may read.
    """
    context = DataContext.get_current()
    hide_progress_bars(context)
    context.target_max_block_size = None  # a block is one group of any size
    context.execution_no_progress_timeout_s = -1  # a long validation or checkpoint must not fail the run
    add_scheduler_callback(context, PauseBetweenSteps)
    work = ray.put((groups, [reader], server))  # the reader in a list, so that it is fetched only where it is used
    dataset = ray.data.read_datasource(
        _Tasks([partial(_read_group, [work], number) for number in segment]),
        override_num_blocks=len(segment),
        ray_remote_args={"num_cpus": READER_CPUS, "runtime_env": {"env_vars": READERS_ENVIRONMENT}},
    )
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True,
        resource_limits=ExecutionResources(cpu=readers * READER_CPUS),
        label_selector=dict(label_selector) or None,  # also used for requests to the autoscaler
    )
    for bundle in dataset.iter_internal_ref_bundles():
        for entry in bundle.blocks:
            yield entry.ref


class _Tasks(Datasource):
    """A datasource of read tasks that each produce one block."""

    def __init__(self, tasks: list[Callable[[], list[Any]]]) -> None:
        super().__init__()
        self._tasks = tasks

    def get_name(self) -> str:
        return "Groups"  # processes and the dashboard then show ReadGroups

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(task, unknown) for task in self._tasks]


def _read_group(work: list["ray.ObjectRef[Any]"], number: int) -> list[Any]:
    groups, reader, server = _work(work[0])
    lower_priority()
    if not server.begin_group(number):
        return [BlockAccessor.batch_to_block({"unwanted": [True]})]
    group = make_group(reader, groups.items(number))
    server.end_group(number)
    return [BlockAccessor.batch_to_block(group)]


@lru_cache(maxsize=1)
def _work(work: "ray.ObjectRef[Any]") -> tuple[Groups, MicroBatchReader, GroupServer]:
    """Returns the objects that a process needs for all groups of an execution."""
    groups, (reader,), server = ray.get(work)
    return groups, ray.get(reader), server


def columns(block: Any) -> dict[str, Any]:
    """Returns the columns of a block as NumPy arrays, without a copy if possible."""
    return dict(BlockAccessor.for_block(block).to_numpy())


_PAUSE_S = 0.05
"""Duration of a pause: short, because a reader that has finished a group waits for the scheduler to assign the next."""
_NICE = 15
"""Niceness of readers, which is Ray's default for its workers."""


class PauseBetweenSteps(SchedulerStepCallback):
    """A pause after each step of Ray Data's scheduler, which frees a core for training.

    The scheduler of Ray 2.60 also runs when there is nothing to do, and continuously when all running tasks wait for
    space in the output.
    """

    def step(self) -> None:
        time.sleep(_PAUSE_S)


def lower_priority() -> None:
    """Lowers the priority of this thread below that of training workers on the same cores.

    On Linux, the priority is that of a thread. An actor is created in one thread and called in another, so its methods
    must call this function.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
