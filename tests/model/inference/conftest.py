"""Fixtures: a small exported model with random weights, and the same loaded."""

from pathlib import Path

import pytest

from mulan.model.inference.mulan import MuLan
from tests.model.small import RESNET, export_untrained, small_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_untrained(small_recipe(RESNET), tmp_path_factory.mktemp("exported"))[1]


@pytest.fixture(scope="module")
def loaded(folder: Path) -> MuLan:
    return MuLan.from_pretrained(folder, device="cpu")
