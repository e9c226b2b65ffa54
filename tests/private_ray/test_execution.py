"""What an execution tells of its actors while it runs."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import ray.data
from ray.data import DataContext

from mulan.private_ray.execution import Actors, AtEachStep, actors_of, call_at_each_step
from tests.waiting import wait_until


class Counted(AtEachStep):
    seen: list[Actors] = []  # noqa: RUF012  Ray makes the instance

    def step(self, executor: Any) -> None:
        self.seen.append(actors_of(executor))


def test_a_kind_is_called_once_however_often_it_is_asked_for() -> None:
    context = DataContext()
    for _ in range(2):
        call_at_each_step(context, Counted)
    assert context.execution_callback_classes.count(Counted) == 1


def pool(running: int, pending: int, restarting: int) -> SimpleNamespace:
    return SimpleNamespace(get_actor_info=lambda: Actors(running, pending, restarting))


def test_actors_of_all_pools_are_counted_together() -> None:
    topology = [pool(0, 0, 0), pool(1, 2, 3), pool(4, 0, 1)]
    executor = SimpleNamespace(_topology=topology)
    assert actors_of(executor) == Actors(running=5, pending=2, restarting=4)


class Gated:
    """Starts when the file ``open`` is there; the first block ends its process and shuts the gate again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        wait_until((folder / "open").exists, what="an open gate")

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with suppress(FileExistsError):
            (self._folder / "ended").touch(exist_ok=False)
            (self._folder / "open").unlink()
            os._exit(1)
        return block


@pytest.mark.usefixtures("ray_cluster")
def test_actors_are_pending_then_run_and_restart(tmp_path: Path) -> None:
    class Watch(Counted):
        seen: list[Actors] = []  # noqa: RUF012

    def wait_for(actors: Actors) -> None:
        wait_until(lambda: actors in Watch.seen, what=lambda: f"{actors}; seen: {set(Watch.seen)}")

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    call_at_each_step(context, Watch)
    with DataContext.current(context):
        blocks = ray.data.range(4, override_num_blocks=4).map_batches(
            Gated, fn_constructor_args=(tmp_path,), compute=ray.data.ActorPoolStrategy(size=1), batch_size=None
        )
        with ThreadPoolExecutor(max_workers=1) as ahead:
            taken = ahead.submit(blocks.take_all)
            wait_for(Actors(running=0, pending=1, restarting=0))
            (tmp_path / "open").touch()
            wait_for(Actors(running=1, pending=0, restarting=0))
            wait_for(Actors(running=0, pending=0, restarting=1))
            (tmp_path / "open").touch()
            assert sorted(row["id"] for row in taken.result()) == [0, 1, 2, 3]
