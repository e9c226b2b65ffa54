import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import ray.data
from ray.data import DataContext, ExecutionOptions, ExecutionResources

from mulan.data.pacing import PauseBetweenSteps

SECONDS = 2.0


def steps_of_the_scheduler(callbacks: list[type[Any]]) -> int:
    """How often Ray Data's scheduler turns while nobody takes what is ready."""
    turns: list[float] = []

    class Count(PauseBetweenSteps.__base__):  # type: ignore[misc, name-defined]
        def on_execution_step(self, executor: Any) -> None:
            turns.append(time.monotonic())

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [*callbacks, Count]
    context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(cpu=2, object_store_memory=60e6)
    )
    with DataContext.current(context):
        blocks = ray.data.range(60, override_num_blocks=60).map_batches(
            lambda _: {"x": np.zeros((1, 6_000_000), np.uint8)}, batch_size=None
        )
        taken = iter(blocks.iter_batches(batch_size=None, prefetch_batches=0))
        next(taken)
        time.sleep(3.0)  # until the store's share is full
        begun = time.monotonic()
        time.sleep(SECONDS)
        counted = sum(begun <= turn <= begun + SECONDS for turn in turns)
        assert len(list(taken)) == 59
    return counted


@pytest.mark.usefixtures("ray_cluster")
def test_the_scheduler_rests_while_its_output_is_full() -> None:
    """If the first count falls, Ray no longer spins and the pause can go."""
    assert steps_of_the_scheduler([]) > 5 * steps_of_the_scheduler([PauseBetweenSteps])


@pytest.mark.processes
def test_data_tasks_step_back_behind_training() -> None:
    """Once is enough, and a process that stands further back already stays there."""
    code = "import os; {}; from mulan.data.pacing import give_way; give_way(); give_way(); print(os.nice(0))"
    for before, after in (("pass", 15), ("os.nice(18)", 18)):
        done = subprocess.run([sys.executable, "-c", code.format(before)], capture_output=True, text=True, check=True)
        assert int(done.stdout) == max(after, os.nice(0))
