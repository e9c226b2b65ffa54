"""An exported model of no skill."""

import pytest
import torch

from mulan.tasks.joint import JointTask
from tests.evaluation.small_model import RECIPE


@pytest.fixture(scope="session")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    JointTask(RECIPE).export(JointTask(RECIPE).build_model(), folder)
    return str(folder)
