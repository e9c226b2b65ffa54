"""Tests that an exported audio encoder computes as in training, and that models of other formats are rejected."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import mulan
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.errors import DecodeError
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.backbone import AudioBackbone
from mulan.model.inference.files import ModelFolderError
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.model.tagging import TaggingModel
from mulan.recipes.registry import load_recipe
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.joint import JointTask
from mulan.tasks.tagging import export_tagger
from mulan.tasks.task import task_of
from tests.model.small import RESNET, small_mulap, small_recipe, tiny_text_tower
from tests.sounds import tone


def views_recipe(*settings: str) -> Recipe:
    return load_recipe("semisupcon_miniature", ["data.window_s=0.3", *settings])


RECIPES: dict[str, Callable[[], Recipe]] = {
    "waveform": lambda: views_recipe("audio_tower.stem_channels=4", "audio_tower.block_channels=[4, 6]"),
    "segments": small_mulap,
    "resnet": lambda: views_recipe(
        *("front_end.family=vggish", "front_end.mel_channels=20", "front_end.time_mask_frames=10"),
        *("audio_tower.family=resnet", "audio_tower.layer=basic", "audio_tower.stem_channels=4"),
        *("audio_tower.stage_channels=[4, 8]", "audio_tower.stage_depths=[1, 1]"),
    ),
}


class Exported(NamedTuple):
    encoder: AudioEncoder
    """The encoder that was exported, in evaluation mode."""
    recipe: Recipe
    folder: Path
    backbone: AudioBackbone

    @property
    def rate_hz(self) -> int:
        return self.recipe.data.sample_rate_hz

    def sound(self, windows: float, *, seed: int = 0) -> np.ndarray:
        """Returns a recording, int16 [samples], of this many windows."""
        seconds = windows * self.recipe.encoder_window_samples / self.rate_hz
        return np.rint(tone(300 + 50 * seed, seconds, rate_hz=self.rate_hz, seed=seed) * 32767).astype(np.int16)


def trained(recipe: Recipe) -> AudioEncoder:
    """Returns an encoder in training mode whose running statistics are about those of its inputs, as after a run."""
    torch.manual_seed(0)
    model = task_of(recipe).build_model(tiny_text_tower(3))
    with torch.no_grad():
        noise = torch.randint(-9999, 9999, (4, recipe.encoder_window_samples), dtype=torch.int16)
        model.train()
        for _ in range(20):
            model.audio_encoder(noise)
    return model.audio_encoder


@pytest.fixture(scope="module", params=RECIPES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    recipe, folder = RECIPES[request.param](), tmp_path_factory.mktemp("exported") / "encoder"
    encoder = trained(recipe)
    export_encoder(encoder, recipe, folder)
    return Exported(encoder.eval(), recipe, folder, AudioBackbone.from_pretrained(folder, device="cpu"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an exported encoder that a test may damage."""
    recipe = RECIPES["resnet"]()
    export_encoder(trained(recipe), recipe, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_the_properties_are_those_of_the_encoder(exported: Exported) -> None:
    backbone, recipe = exported.backbone, exported.recipe
    assert backbone.sample_rate_hz == recipe.data.sample_rate_hz
    assert backbone.window_samples == recipe.encoder_window_samples
    assert backbone.output_dim == exported.encoder.output_dim
    empty = backbone.embed_audio([])
    assert empty.shape == (0, backbone.output_dim)
    assert empty.dtype == np.float32


def test_a_recording_is_embedded_as_the_mean_over_its_windows(exported: Exported) -> None:
    length = exported.recipe.encoder_window_samples
    recordings = [exported.sound(windows, seed=seed) for seed, windows in enumerate((0.4, 1, 1.3, 3.7, 20.5))]
    rows = exported.backbone.embed_audio(recordings, exported.rate_hz)
    assert rows.dtype == np.float32
    for recording, row in zip(recordings, rows, strict=True):
        count = -(-len(recording) // length)
        total = torch.zeros(exported.encoder.output_dim, dtype=torch.float64)
        for index in range(count):
            start = round(index * (len(recording) - length) / (count - 1)) if count > 1 else 0
            window = torch.zeros(1, length, dtype=torch.int16)
            part = torch.from_numpy(recording[start : start + length])
            window[0, : len(part)] = part
            total += exported.encoder(window)[0].detach().double()
        np.testing.assert_allclose(row, total / count, atol=1e-5, rtol=1e-4)
    spread = np.abs(rows - rows.mean(axis=0)).max()
    assert spread > 100 * 1e-5


def test_a_vector_has_the_same_bits_whatever_other_items_are_in_the_call(exported: Exported, tmp_path: Path) -> None:
    recordings: list[Any] = [exported.sound(windows, seed=seed) for seed, windows in enumerate((0.5, 2.2, 17.5))]
    together = exported.backbone.embed_audio(recordings, exported.rate_hz)
    for alone, row in zip(recordings, together, strict=True):
        np.testing.assert_array_equal(exported.backbone.embed_audio([alone], exported.rate_hz)[0], row)
    soundfile.write(tmp_path / "sound.wav", recordings[1], exported.rate_hz, subtype="PCM_16")
    forms = [tmp_path / "sound.wav", recordings[1] / np.float32(32768), np.stack([recordings[1]] * 2)]
    for row in exported.backbone.embed_audio(forms, exported.rate_hz):
        np.testing.assert_array_equal(row, together[1])
    again = AudioBackbone.from_pretrained(str(exported.folder), device="cpu")
    np.testing.assert_array_equal(again.embed_audio([str(tmp_path / "sound.wav")])[0], together[1])


def test_windows_are_embedded_whatever_other_windows_are_in_the_call(exported: Exported) -> None:
    windows = np.stack([exported.sound(1, seed=seed) for seed in range(5)])
    rows = exported.backbone.embed_windows(windows)
    np.testing.assert_array_equal(rows[2], exported.encoder(torch.from_numpy(windows))[2].detach())
    tolerance = 1e-6 * float(np.abs(rows).max())
    for at_once in (1, 2):
        others = exported.backbone.embed_windows(windows[::-1], windows_at_once=at_once)[::-1]
        np.testing.assert_allclose(others, rows, rtol=0, atol=tolerance)
    assert np.abs(rows[0] - rows[1]).max() > 100 * tolerance


def test_any_iterable_is_embedded_and_bad_files_are_skipped_on_request(exported: Exported, tmp_path: Path) -> None:
    sounds = [exported.sound(1.2, seed=seed) for seed in range(2)]
    rows = exported.backbone.embed_audio(sounds, exported.rate_hz)
    np.testing.assert_array_equal(exported.backbone.embed_audio(iter(sounds), exported.rate_hz), rows)
    items: list[Any] = [sounds[0], tmp_path / "missing.wav", sounds[1]]
    others, skipped = exported.backbone.embed_audio(items, exported.rate_hz, on_error="skip")
    np.testing.assert_array_equal(others, rows)
    assert [(item.name, item.reason) for item in skipped] == [(str(tmp_path / "missing.wav"), "missing file")]


def test_other_sample_rates_are_resampled(exported: Exported) -> None:
    def clean(rate_hz: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz) / 3

    native, resampled, mistaken = (
        exported.backbone.embed_audio([clean(rate_hz)], passed_hz)[0]
        for rate_hz, passed_hz in ((exported.rate_hz, exported.rate_hz), (44_100, 44_100), (44_100, exported.rate_hz))
    )
    assert 20 * np.linalg.norm(resampled - native) < np.linalg.norm(mistaken - native)


def test_the_files_contain_only_the_audio_encoder(exported: Exported) -> None:
    assert {file.name for file in exported.folder.iterdir()} == {"config.json", "model.safetensors"}
    weights = load_file(exported.folder / "model.safetensors")
    expected = {f"audio_encoder.{name}": weight for name, weight in exported.encoder.state_dict().items()}
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert json.loads((exported.folder / "config.json").read_text()) == {
        "format": "mulan-encoder-2",
        "sample_rate_hz": exported.recipe.data.sample_rate_hz,
        "window_samples": exported.recipe.encoder_window_samples,
        "checkpoint": None,
        "front_end": exported.recipe.front_end.model_dump(mode="json"),
        "audio_tower": exported.recipe.audio_tower.model_dump(mode="json"),
    }


def test_a_run_with_the_same_tower_can_be_warm_started_from_it(exported: Exported) -> None:
    recipe = exported.recipe.replace({"audio_tower.pretrained": str(exported.folder)})
    model = task_of(recipe).build_model(tiny_text_tower(3))
    started = model.audio_encoder.state_dict()
    assert all(torch.equal(started[name], weight) for name, weight in exported.encoder.state_dict().items())
    warm_started = {id(parameter) for parameter in model.warm_started_parameters()}
    assert {id(parameter) for parameter in model.audio_encoder.tower.parameters()} <= warm_started


def test_loading_does_not_need_the_pretrained_checkpoint(tmp_path: Path) -> None:
    recipe = RECIPES["waveform"]()
    encoder = trained(recipe)
    export_encoder(encoder, recipe.replace({"audio_tower.pretrained": "/gone/by/now"}), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["audio_tower"]["pretrained"] == ""
    AudioBackbone.from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize("name", RECIPES)
def test_computes_in_float32_at_any_precision_of_training(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]()
    exact = trained(recipe)
    rounded = trained(recipe.replace({"train.precision": "bf16"}))
    rounded.load_state_dict(exact.state_dict())
    export_encoder(rounded, recipe, tmp_path)
    window = torch.randint(-9999, 9999, (1, recipe.encoder_window_samples), dtype=torch.int16)
    row = AudioBackbone.from_pretrained(tmp_path, device="cpu").embed_audio(
        [window.numpy()], recipe.data.sample_rate_hz
    )
    np.testing.assert_array_equal(row, exact.eval()(window).detach())
    assert not np.array_equal(row, rounded.eval()(window).detach())


def test_loads_from_a_uri_without_changing_the_random_state_of_the_caller(exported: Exported) -> None:
    uri = f"memory://{uuid.uuid4().hex}/run/model"
    fsspec.filesystem("memory").put(f"{exported.folder}/", f"{uri}/", recursive=True)
    before = torch.get_rng_state()
    from_uri = AudioBackbone.from_pretrained(uri, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    sound = [exported.sound(1.5)]
    expected = exported.backbone.embed_audio(sound, exported.rate_hz)
    np.testing.assert_array_equal(from_uri.embed_audio(sound, exported.rate_hz), expected)


def test_the_public_class_is_imported_lazily() -> None:
    assert mulan.AudioBackbone is AudioBackbone


def test_all_missing_files_are_listed_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError) as caught:
        AudioBackbone.from_pretrained(tmp_path / "empty")
    assert caught.value.faults == ("config.json is missing", "model.safetensors is missing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError) as caught:
        AudioBackbone.from_pretrained(folder)
    assert caught.value.faults == ("model.safetensors is missing",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "mulan-encoder-9"}, ["format", "mulan-encoder-2"]),
        ({"window_samples": 0, "colour": "blue"}, ["window_samples", "colour"]),
        ({"audio_tower": RESNET.replace(stem_channels=5).model_dump()}, ["does not fit", "embedder"]),
    ],
)
def test_an_invalid_configuration_is_rejected(folder: Path, changes: dict[str, Any], words: list[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelFolderError) as caught:
        AudioBackbone.from_pretrained(folder)
    for word in [str(folder), *words]:
        assert word in str(caught.value)


def test_corrupt_files_are_rejected(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["renamed"] = weights.pop("audio_encoder.tower.network.embedder.embedder.convolution.weight")
    save_file(weights, file)
    with pytest.raises(ModelFolderError, match=r"(?s)does not fit.*embedder\.convolution\.weight.*renamed"):
        AudioBackbone.from_pretrained(folder)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
        AudioBackbone.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        AudioBackbone.from_pretrained(folder)


def test_a_samplecnn_without_its_last_convolution_is_rejected_as_of_another_version(tmp_path: Path) -> None:
    recipe = RECIPES["waveform"]()
    export_encoder(trained(recipe), recipe, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    last = len(recipe.audio_tower.block_channels) + 1
    earlier = {name: weight for name, weight in weights.items() if f".network.{last}." not in name}
    assert len(earlier) < len(weights)
    save_file(earlier, tmp_path / "model.safetensors")
    with pytest.raises(ModelFolderError, match=rf"(?s)by another version of mulan.*network\.{last}\.0\.weight"):
        AudioBackbone.from_pretrained(tmp_path)


def test_models_of_other_formats_are_rejected_with_an_explanation(tmp_path: Path) -> None:
    recipe = small_recipe(RESNET)
    JointTask(recipe).export(JointTask(recipe).build_model(), tmp_path / "joint")
    tagging = load_recipe("m_resnet50_audioset_miniature")
    tagger = task_of(tagging).build_model()
    assert isinstance(tagger, TaggingModel)
    export_tagger(tagger, tagging, ["one", "two"], tmp_path / "tagger")
    explanations = {
        "joint": r"is a joint model.*load it with mulan\.MuLan",
        "tagger": r"is a tagger; load it with mulan\.Tagger, or if its audio_tower\.family is neither ast nor",
    }
    for kind, explanation in explanations.items():
        with pytest.raises(ModelFolderError, match=explanation):
            AudioBackbone.from_pretrained(tmp_path / kind)


def test_an_encoder_is_not_loaded_as_a_joint_model(exported: Exported) -> None:
    with pytest.raises(
        ModelFolderError, match=r"is an audio encoder, which cannot embed texts.*load it with mulan\.AudioBackbone"
    ):
        mulan.MuLan.from_pretrained(exported.folder)


def test_all_faults_of_inputs_are_listed_before_any_file_is_read(exported: Exported, tmp_path: Path) -> None:
    items: list[Any] = [str(tmp_path / "missing.wav"), np.zeros(9, np.int32), np.zeros((2, 2, 2), np.float32)]
    with pytest.raises(EmbeddingInputError) as caught:
        exported.backbone.embed_audio(items, exported.rate_hz)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["paths_or_arrays[1]", "paths_or_arrays[2]"]
    with pytest.raises(EmbeddingInputError, match="sample_rate_hz"):
        exported.backbone.embed_audio([np.zeros(9, np.int16)])
    with pytest.raises(DecodeError) as unread:
        exported.backbone.embed_audio(items[:1])
    assert isinstance(unread.value, MulanError)
