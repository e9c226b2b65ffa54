"""Tests what a driver does for a run that is trained to its last step."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulan.launch.cluster import SharedReader
from mulan.launch.fit import fit
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.tracking.planted import planted_run, recipe_with


class _IndexAlone:
    index_sha256: Any = None


@pytest.mark.usefixtures("ray_cluster")  # for the folder of the driver's log
def test_trackers_receive_what_they_lack(tmp_path: Path) -> None:
    recipe = recipe_with("tensorboard")
    run = planted_run(tmp_path, recipe, steps=recipe.train.steps)
    write_checkpoint(run.uri, {"weights.a": torch.zeros(1)}, Progress(recipe.train.steps))
    for _ in range(2):  # and nothing twice
        fit(recipe, run, reader=cast(SharedReader, _IndexAlone()))
    tracked = EventAccumulator(f"{run.uri}/tensorboard").Reload()
    assert [each.step for each in tracked.Scalars("train/loss")] == list(range(1, recipe.train.steps + 1))
    assert len(list(Path(run.uri, "tensorboard").iterdir())) == 1
