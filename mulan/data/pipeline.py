"""The Ray Data pipeline: groups of micro-batches in order, a read task and a block each.

Tasks, and not a pool of actors: what is running on a node that is lost is read again on another one, as many run as
there are CPUs for, and the next execution runs in the processes of the one before.
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
from mulan.data.reader import MicroBatchReader
from mulan.private_ray.core import SchedulerStepCallback, add_scheduler_callback

SEGMENT_GROUPS = 256
"""Groups of the first execution of Ray Data, which makes all of its tasks before the first one runs, 1,000 a second:
the start of a run must not take longer the longer the run. Later ones are longer: between two, readers rest."""

MAX_SEGMENT_GROUPS = 2**13

READERS_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | KEEP_FREED_MEMORY
"""A reader has one CPU. Processes with an environment of their own are not used again for training, either."""


class GroupServer(Protocol):
    """Whoever hands the groups out, as the processes know it that read them: asked before each, and told after it."""

    def begins(self, number: int) -> bool:
        """Returns whether the group is still wanted."""

    def ends(self, number: int) -> None: ...


def hide_progress_bars(context: DataContext) -> None:
    """Has Ray Data show no progress bars in executions of this context."""
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False


def segments(groups: int, first_groups: int = SEGMENT_GROUPS) -> list[range]:
    """Returns the groups of each execution: twice as many as in the one before, up to a bound."""
    found: list[range] = []
    longest = first_groups
    while (first := found[-1].stop if found else 0) < groups:
        found.append(range(first, min(first + longest, groups)))
        longest = min(2 * longest, MAX_SEGMENT_GROUPS)
    return found


def execute(
    groups: Groups,
    segment: range,
    reader: "ray.ObjectRef[MicroBatchReader]",
    server: GroupServer,
    *,
    cpus: int,
    label_selector: Mapping[str, str],
) -> Iterator["ray.ObjectRef[Any]"]:
    """Yields the blocks of a segment in order, without fetching them.

    Args:
        reader: lies once per node in the object store, with the index in it.
        server: pickled once for all tasks.
        cpus: most tasks at a time, of one CPU each.
        label_selector: labels of the nodes that may read.
    """
    context = DataContext.get_current()
    hide_progress_bars(context)
    context.target_max_block_size = None  # a block is a group, however large
    context.execution_no_progress_timeout_s = -1  # a long validation or checkpoint must not end the run
    add_scheduler_callback(context, PauseBetweenSteps)
    work = ray.put((groups, [reader], server))  # in a list, so that it is fetched where it is used
    dataset = ray.data.read_datasource(
        _Tasks([partial(_read_group, [work], number) for number in segment]),
        override_num_blocks=len(segment),
        ray_remote_args={"num_cpus": 1, "runtime_env": {"env_vars": READERS_ENVIRONMENT}},
    )
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True,
        resource_limits=ExecutionResources(cpu=cpus),
        label_selector=dict(label_selector) or None,  # also of the nodes that Ray Data asks the autoscaler for
    )
    for bundle in dataset.iter_internal_ref_bundles():
        for entry in bundle.blocks:
            yield entry.ref


class _Tasks(Datasource):
    """Read tasks that are known beforehand, one block each."""

    def __init__(self, tasks: list[Callable[[], list[Any]]]) -> None:
        super().__init__()
        self._tasks = tasks

    def get_name(self) -> str:
        return "Groups"  # so that processes, and the dashboard, show ReadGroups

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        nothing_known = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(task, nothing_known) for task in self._tasks]


def _read_group(work: list["ray.ObjectRef[Any]"], number: int) -> list[Any]:
    groups, reader, server = _work(work[0])
    lower_priority()
    if not server.begins(number):
        return [BlockAccessor.batch_to_block({"unwanted": [True]})]
    group = make_group(reader, groups.items(number))
    server.ends(number)
    return [BlockAccessor.batch_to_block(group)]


@lru_cache(maxsize=1)
def _work(work: "ray.ObjectRef[Any]") -> tuple[Groups, MicroBatchReader, GroupServer]:
    """What a process needs for all groups of an execution."""
    groups, (reader,), server = ray.get(work)
    return groups, ray.get(reader), server


def columns(block: Any) -> dict[str, Any]:
    """The columns of a block as NumPy arrays, without a copy where that can be."""
    return dict(BlockAccessor.for_block(block).to_numpy())


_PAUSE_S = 0.05
"""Short, since a reader that is done with a group waits for the scheduler to give it the next one."""
_NICE = 15


class PauseBetweenSteps(SchedulerStepCallback):
    """A pause after each step of the scheduler.

    That of Ray 2.60 steps also when there is nothing to do, and without end when every running task waits for room in
    the output. These are the cores that the training workers need.
    """

    def step(self) -> None:
        time.sleep(_PAUSE_S)


def lower_priority() -> None:
    """Puts this thread behind training workers on the same cores, at the nice value that Ray gives its own.

    Linux keeps the value for each thread; an actor is made in one and called in another.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
