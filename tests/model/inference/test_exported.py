"""Tests loading from a folder, batches of the windows of a recording, and reports of missing folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mulan.config.audio import SampleCnnTowerConfig, WaveformFrontEndConfig
from mulan.model.inference.backbone import AudioBackbone
from mulan.model.inference.exported import AudioEmbedder, ExportedModel
from mulan.model.inference.files import EncoderConfig, ModelFolder, ModelFolderError
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.model.inference.mulan import MuLan
from mulan.model.inference.tagger import Tagger

CONFIG = EncoderConfig(
    sample_rate_hz=8000, window_samples=4, front_end=WaveformFrontEndConfig(), audio_tower=SampleCnnTowerConfig()
)


class Sums(AudioEmbedder):
    """A network whose vectors contain the sum of a window and the number of forward passes so far."""

    num_passes = 0

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> "Sums":
        return cls(folder.config(EncoderConfig), device)

    @property
    def _vector_size(self) -> int:
        return 2

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        self.num_passes += 1
        return torch.stack([windows.sum(dim=1).float(), torch.full((len(windows),), float(self.num_passes))], dim=1)


def test_loads_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG.model_dump_json())
    model = Sums.from_pretrained(tmp_path, device="cpu")
    assert (model.sample_rate_hz, model.window_samples) == (8000, 4)


def test_only_windows_of_the_same_recording_are_batched() -> None:
    model = Sums(CONFIG, torch.device("cpu"))
    long, short = np.ones(4 * 17, np.int16), np.full(4, 3, np.int16)
    rows = model.embed_audio([long, short], 8000)
    np.testing.assert_array_equal(rows, np.array([[4, (16 * 1 + 2) / 17], [12, 3]], np.float32))
    assert rows.dtype == np.float32


@pytest.mark.parametrize(("at_once", "passes"), [(None, [16, 5]), (7, [7, 7, 7]), (40, [21]), (1, [1] * 21)])
def test_windows_are_embedded_in_order_with_as_many_in_a_pass_as_asked_for(
    at_once: int | None, passes: list[int]
) -> None:
    model = Sums(CONFIG, torch.device("cpu"))
    windows = np.repeat(np.arange(21, dtype=np.int16)[:, None], 4, axis=1)
    rows = model.embed_windows(windows, windows_at_once=at_once)
    numbers = [number for number, count in enumerate(passes, 1) for _ in range(count)]
    np.testing.assert_array_equal(rows, np.stack([4 * np.arange(21), numbers], axis=1).astype(np.float32))
    assert model.embed_windows(windows[:0]).shape == (0, 2)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "16"])
def test_a_number_of_windows_that_is_none_is_rejected(wrong: Any) -> None:
    with pytest.raises(EmbeddingInputError, match=r"windows_at_once = .* must be a whole number of at least 1"):
        Sums(CONFIG, torch.device("cpu")).embed_windows(np.zeros((1, 4), np.int16), windows_at_once=wrong)


def test_the_settings_of_convolutions_are_restored() -> None:
    def settings() -> list[bool]:
        cudnn = torch.backends.cudnn
        return [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32]

    before, within = settings(), []

    class Recording(Sums):
        def _network(self, windows: torch.Tensor) -> torch.Tensor:
            within.append(settings())
            return super()._network(windows)

    Recording(CONFIG, torch.device("cpu")).embed_windows(np.zeros((1, 4), np.int16))
    assert within == [[True, False, True, False]]
    assert settings() == before


@pytest.mark.parametrize("kind", [MuLan, AudioBackbone, Tagger])
@pytest.mark.parametrize("uri", ["{tmp_path}/nowhere", "memory://nowhere/model", "nosuchscheme://model"])
def test_a_folder_that_does_not_exist_is_named(kind: type[ExportedModel], uri: str, tmp_path: Path) -> None:
    uri = uri.format(tmp_path=tmp_path)
    with pytest.raises(ModelFolderError) as caught:
        kind.from_pretrained(uri)
    assert uri in str(caught.value)
