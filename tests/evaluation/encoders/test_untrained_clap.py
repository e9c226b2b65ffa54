"""Tests that the untrained baseline of a ``ClapModel`` is its audio tower as ``transformers`` initialises it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapAudioModel, ClapConfig, ClapProcessor

from mulan.evaluation.encoders.clap import ClapEncoder
from mulan.evaluation.encoders.untrained_clap import open_untrained_clap
from mulan.storage.hub import PretrainedError
from tests.evaluation.encoders.clap_folder import save_clap
from tests.evaluation.encoders.windows import noise

SAMPLES = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap"))


@pytest.mark.parametrize("seed", [0, 5])
def test_vectors_are_those_of_the_tower_that_transformers_draws_from_the_seed(folder: Path, seed: int) -> None:
    windows = noise(3, SAMPLES)
    torch.manual_seed(seed)
    tower = ClapAudioModel(ClapConfig.from_pretrained(folder).audio_config).eval()
    extractor = ClapProcessor.from_pretrained(folder).feature_extractor
    inputs = extractor(list(windows / 32768), sampling_rate=SAMPLES, return_tensors="pt")
    with torch.no_grad():
        expected = tower(inputs["input_features"].float()).pooler_output.numpy()
    before = torch.get_rng_state()
    untrained = open_untrained_clap(str(folder), name="a", device="cpu", seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    found = untrained.embed_audio(windows)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(expected).max()


def test_what_the_baseline_says_of_itself(folder: Path, tmp_path: Path) -> None:
    info, trained = open_untrained_clap(str(folder), name="a").info, ClapEncoder.open(str(folder), name="a").info
    assert (info.kind, info.uri, info.dim) == ("untrained", str(folder), 16)
    assert (info.sample_rate_hz, info.window_samples) == (trained.sample_rate_hz, trained.window_samples)
    assert not info.is_unit and not info.embeds_text
    assert open_untrained_clap(str(folder), name="a").info == info
    assert open_untrained_clap(str(folder), name="a", seed=1).info.sha256 != info.sha256
    other = save_clap(tmp_path, hop_length=100)
    assert open_untrained_clap(str(other), name="a").info.sha256 != info.sha256


def test_rows_do_not_depend_on_the_others(folder: Path) -> None:
    encoder, windows = open_untrained_clap(str(folder), name="a", device="cpu"), noise(20, SAMPLES)
    together = encoder.embed_audio(windows)
    alone = np.concatenate([encoder.embed_audio(windows[row : row + 1]) for row in range(20)])
    np.testing.assert_allclose(together, alone, atol=1e-6 * np.abs(alone).max())


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="there is no folder"):
        open_untrained_clap(str(tmp_path / "nowhere"), name="a")
