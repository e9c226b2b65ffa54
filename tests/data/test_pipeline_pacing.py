import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.data
from ray.data import DataContext, ExecutionOptions, ExecutionResources

from mulan.data.pipeline import PauseBetweenSteps
from mulan.private_ray.core import SchedulerStepCallback
from tests.waiting import wait_until

SECONDS = 2.0
BLOCKS, BYTES = 60, 6_000_000


def steps_of_the_scheduler(callbacks: list[type[Any]], folder: Path) -> int:
    """Returns how often Ray Data's scheduler runs while its output is full."""
    turns: list[float] = []
    made: list[tuple[float, int]] = [(0.0, 0)]

    def block(_: Any) -> dict[str, np.ndarray]:
        (folder / uuid.uuid4().hex).touch()
        return {"x": np.zeros((1, BYTES), np.uint8)}

    def store_is_full() -> bool:
        """Returns whether no block has been produced for a while."""
        count = len(list(folder.iterdir()))
        if count != made[-1][1]:
            made.append((time.monotonic(), count))
        return count > 1 and time.monotonic() - made[-1][0] > SECONDS

    class Count(SchedulerStepCallback):
        def step(self) -> None:
            turns.append(time.monotonic())

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [*callbacks, Count]
    context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(cpu=2, object_store_memory=60e6)
    )
    with DataContext.current(context):
        blocks = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(block, batch_size=None)
        taken = iter(blocks.iter_batches(batch_size=None, prefetch_batches=0))
        next(taken)
        wait_until(store_is_full, what=lambda: f"a full store; seconds and blocks: {made}", period_s=0.1)
        begun = time.monotonic()
        time.sleep(SECONDS)
        counted = sum(begun <= turn <= begun + SECONDS for turn in turns)
        assert len(list(taken)) == BLOCKS - 1
    return counted


@pytest.mark.usefixtures("ray_cluster")
def test_the_scheduler_pauses_while_its_output_is_full(tmp_path: Path) -> None:
    """If the count without the pause decreases, Ray no longer spins and the pause can be removed."""
    counts = []
    for name, callbacks in (("spins", []), ("rests", [PauseBetweenSteps])):
        (tmp_path / name).mkdir()
        counts.append(steps_of_the_scheduler(callbacks, tmp_path / name))
    assert counts[0] > 5 * counts[1]


@pytest.mark.processes
def test_readers_lower_their_priority() -> None:
    """A repeated call changes nothing, and a lower priority is kept."""
    code = (
        "import os; os.nice({}); from mulan.data.pipeline import lower_priority; "
        "lower_priority(); lower_priority(); print(os.nice(0))"
    )
    here = os.nice(0)  # the tests themselves may stand back
    for before, after in ((here, max(15, here)), (max(18, here), max(18, here))):
        done = subprocess.run(
            [sys.executable, "-c", code.format(before - here)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == after
