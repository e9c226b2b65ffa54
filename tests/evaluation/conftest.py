"""An exported model of no skill."""

import pytest
import torch

from mulan.model.inference.mulan import export_model
from mulan.model.joint import build_joint_model
from tests.evaluation.small_model import RECIPE


@pytest.fixture(scope="session")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    export_model(build_joint_model(RECIPE), RECIPE, folder)
    return str(folder)
