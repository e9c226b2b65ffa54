"""Tests that tasks of Ray train what this process trains, and that their errors arrive."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.evaluation.finetuning.on_ray import train_on_ray
from mulan.evaluation.finetuning.training import EndToEndJob, FinishedEpoch
from mulan.model.inference.files import ModelFolderError
from tests.evaluation.finetuning.trained_here import train_here


@pytest.mark.usefixtures("ray_cluster")
def test_networks_are_those_of_this_process_and_errors_are_raised(job: EndToEndJob, tmp_path: Path) -> None:
    small = replace(job, settings=replace(job.settings, learning_rates=(1e-3, 1e-4), max_epochs=1))
    epochs: list[FinishedEpoch] = []
    found, expected = train_on_ray(small, use_gpu=False, on_epoch=epochs.append), train_here(small)
    assert sorted(each.learning_rate for each in epochs) == [1e-4, 1e-3]
    for one, other in zip(found, expected, strict=True):
        assert (one.learning_rate, one.epoch, one.quality) == (other.learning_rate, other.epoch, other.quality)
        np.testing.assert_array_equal(one.predictions, other.predictions)
    with pytest.raises(ModelFolderError, match=r"config\.json is missing"):
        train_on_ray(replace(small, model_uri=str(tmp_path)), use_gpu=False, on_epoch=epochs.append)
