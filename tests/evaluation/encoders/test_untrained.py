"""Tests that the untrained baseline is the network of the model with weights drawn from the seed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mulan.config.errors import MulanError
from mulan.evaluation.encoders.untrained import open_untrained
from mulan.model.inference.files import ModelFolderError
from mulan.tasks.task import task_of
from tests.evaluation.encoders.windows import noise
from tests.evaluation.small_model import RECIPE


def test_the_weights_are_those_that_training_draws_from_the_seed(model_uri: str) -> None:
    windows = noise(3, 8000)
    for seed in (0, 5):
        torch.manual_seed(seed)
        encoder = task_of(RECIPE).build_model().audio_encoder.eval()
        expected = encoder(torch.from_numpy(windows)).detach()
        before = torch.get_rng_state()
        untrained = open_untrained(model_uri, name="a", device="cpu", seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        np.testing.assert_array_equal(untrained.embed_audio(windows), expected)
    info = untrained.info
    assert (info.kind, info.uri, info.dim) == ("untrained", model_uri, encoder.output_dim)
    assert (info.sample_rate_hz, info.window_samples) == (16_000, 8000)
    assert not info.is_unit and not info.embeds_text
    with pytest.raises(MulanError, match="embeds audio alone"):
        untrained.embed_text(["piano"])


def test_the_digest_changes_with_the_seed(model_uri: str) -> None:
    one, same, other = (open_untrained(model_uri, name="a", device="cpu", seed=seed).info for seed in (0, 0, 1))
    assert one == same
    assert one.sha256 != other.sha256


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="the folder does not exist"):
        open_untrained(str(tmp_path / "nowhere"), name="a")
