"""Tests that the selection metric of each recipe is among its validation scores."""

import pytest
import torch

from mulan.config.objectives import selection_metric
from mulan.data.batch import Batch
from mulan.data.schedule import Phase
from mulan.tasks.task import task_of
from mulan.training.validation import validate
from tests.training.small import batches_of, small, torch_engine


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("demo", []),
        ("m_resnet50_audioset", []),
        ("semisupcon", []),
        ("mulan_semi", []),
        ("mulap", []),
        ("mulap", ["loss.weights.atm=0"]),
        ("mulap", ["loss.weights.atm=0", "loss.weights.mlm=0"]),
    ],
)
def test_a_validation_has_the_selection_metric(name: str, settings: list[str]) -> None:
    recipe = small(name, *settings, "tagging.classes=20")
    torch.manual_seed(0)
    batches = [
        Batch(**(vars(one) | {"item": one.item._replace(phase=Phase.VALIDATE)})) for one in batches_of(recipe, 0)
    ]
    scores = validate(torch_engine(recipe), batches, task_of(recipe))
    assert scores[selection_metric(recipe.loss.weights).name] <= 1
