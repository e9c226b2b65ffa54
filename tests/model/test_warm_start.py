"""Tests warm starts from public AST checkpoints and exported models, and reports of all differences from the recipe."""

import json
import math
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from mulan.config.audio import (
    AstTowerConfig,
    AudioTowerConfig,
    DecibelFrontEndConfig,
    FrontEndConfig,
    KaldiFrontEndConfig,
    MusicnnTowerConfig,
    ResNetTowerConfig,
    SampleCnnTowerConfig,
    VggishFrontEndConfig,
    WaveformFrontEndConfig,
)
from mulan.config.recipe import Recipe
from mulan.config.sections import DataConfig
from mulan.model.inference.files import EncoderConfig, TaggerConfig, write_model
from mulan.model.towers.audio import audio_tower
from mulan.model.warm_start import interpolate_positions, warm_start
from mulan.storage.hub import PretrainedError
from mulan.tasks.audio_encoder import encoder_from_recipe
from mulan.tasks.joint import JointTask
from mulan.tasks.tagging import TaggingTask, export_tagger
from tests.model.small import AST, RESNET, small_recipe

FRAMES = 48  # in half a second
KALDI = KaldiFrontEndConfig(mel_channels=20, frequency_mask_bins=5, time_mask_frames=10)


def checkpoint(folder: Path, *, max_length: int = FRAMES, **changes: Any) -> ASTForAudioClassification:
    """Saves a small checkpoint with its feature extractor in the format of the public ones; no weight is 0."""
    config = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
        "frequency_stride": 6,
        "time_stride": 6,
        "num_mel_bins": 20,
        "max_length": max_length,
        "num_labels": 5,
    }
    model = ASTForAudioClassification(ASTConfig(**(config | changes))).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=config["num_mel_bins"], max_length=max_length).save_pretrained(folder)
    return model


def in_other_storage(folder: Path) -> str:
    """Copies a folder to another filesystem and returns the URI of the copy."""
    uri = f"memory://{uuid.uuid4().hex}/run/model"
    fsspec.filesystem("memory").put(f"{folder}/", f"{uri}/", recursive=True)
    return uri


def ast_recipe(folder: Path | str, **changes: Any) -> Recipe:
    tower = AST.replace({"pretrained": str(folder), **changes})
    return small_recipe(tower).replace(front_end=KALDI)


def windows(count: int = 3) -> np.ndarray:
    """Returns windows, int16 [count, 8000]."""
    return np.random.default_rng(4).normal(0, 3000, (count, 8000)).astype(np.int16)


@pytest.mark.parametrize("remote", [False, True])
def test_a_public_ast_checkpoint_has_the_outputs_of_transformers(tmp_path: Path, remote: bool) -> None:
    theirs = checkpoint(tmp_path)
    encoder = encoder_from_recipe(ast_recipe(in_other_storage(tmp_path) if remote else tmp_path)).eval()
    sounds = [window / np.float32(32768) for window in windows()]
    features = ASTFeatureExtractor.from_pretrained(tmp_path)(sounds, sampling_rate=16_000, return_tensors="pt")
    expected = theirs.audio_spectrogram_transformer(**features).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(torch.from_numpy(windows())), expected, atol=1e-4, rtol=1e-4)


def test_file_names_equal_those_of_the_published_checkpoints(tmp_path: Path) -> None:
    """The test above therefore also covers MIT/ast-finetuned-audioset-10-10-0.4593."""
    checkpoint(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    prefix = "audio_spectrogram_transformer."
    assert f"{prefix}encoder.layer.0.attention.attention.query.weight" in names
    assert f"{prefix}embeddings.position_embeddings" in names


def bilinear(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Interpolates [F, T] at the centres of rows x columns equal cells; constant beyond the outer centres."""
    result = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            y = min(max((row + 0.5) * image.shape[0] / rows - 0.5, 0), image.shape[0] - 1)
            x = min(max((column + 0.5) * image.shape[1] / columns - 0.5, 0), image.shape[1] - 1)
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            above = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            below = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
            result[row, column] = above * (1 - (y - top)) + below * (y - top)
    return result


@pytest.mark.parametrize(("grid", "target"), [((12, 101), (12, 99)), ((3, 7), (5, 4)), ((2, 3), (4, 9))])
def test_positions_are_interpolated_bilinearly(grid: tuple[int, int], target: tuple[int, int]) -> None:
    embeddings = torch.randn(1, 2 + grid[0] * grid[1], 3, generator=torch.Generator().manual_seed(0))
    resized = interpolate_positions(embeddings, grid, target)
    assert resized.shape == (1, 2 + target[0] * target[1], 3)
    assert torch.equal(resized[:, :2], embeddings[:, :2])
    for dimension in range(3):
        image = embeddings[0, 2:, dimension].reshape(grid).double().numpy()
        np.testing.assert_allclose(resized[0, 2:, dimension].reshape(target), bilinear(image, *target), atol=5e-5)


def test_positions_of_an_equal_grid_are_unchanged_and_constants_stay_constant() -> None:
    embeddings = torch.randn(1, 2 + 12, 5)
    assert interpolate_positions(embeddings, (3, 4), (3, 4)) is embeddings
    constant = torch.ones(1, 2 + 12, 5) * torch.arange(5)
    torch.testing.assert_close(interpolate_positions(constant, (3, 4), (7, 2)), constant[:, :1].expand(1, 16, 5))


def test_positions_of_a_longer_checkpoint_are_resized_to_our_window(tmp_path: Path) -> None:
    """The published checkpoint, for example, has 1024 frames instead of 998."""
    theirs = checkpoint(tmp_path, max_length=60).audio_spectrogram_transformer.embeddings.position_embeddings
    tower = encoder_from_recipe(ast_recipe(tmp_path)).tower
    expected = interpolate_positions(theirs, (3, 9), (3, 7))
    assert torch.equal(tower.network.embeddings.position_embeddings, expected)


def test_every_difference_from_the_recipe_is_named(tmp_path: Path) -> None:
    checkpoint(tmp_path, time_stride=5, hidden_act="relu")
    recipe = ast_recipe(tmp_path, hidden_size=24, layers=2, heads=3, feed_forward_size=48, patch_size=7)
    front_end = KALDI.replace(mel_channels=24, mean=0.0, std=1.0, hop_ms=11.0)
    with pytest.raises(PretrainedError) as caught:
        encoder_from_recipe(recipe.replace(front_end=front_end, data=DataConfig(sample_rate_hz=22_050)))
    assert len(caught.value.faults) == 12
    assert set(caught.value.faults) == {
        "audio_tower.hidden_size is 16 in the checkpoint, 24 in the recipe",
        "audio_tower.layers is 1 in the checkpoint, 2 in the recipe",
        "audio_tower.heads is 2 in the checkpoint, 3 in the recipe",
        "audio_tower.feed_forward_size is 32 in the checkpoint, 48 in the recipe",
        "audio_tower.patch_size is 8 in the checkpoint, 7 in the recipe",
        "audio_tower.patch_stride is 6 by 5 in the checkpoint, 6 in the recipe",
        "hidden_act is relu in the checkpoint, but always gelu in mulan",
        "front_end.mel_channels is 20 in the checkpoint, 24 in the recipe",
        "front_end.mean is -4.2677393 in the checkpoint, 0.0 in the recipe",
        "front_end.std is 9.1379948 in the checkpoint, 1.0 in the recipe",
        "front_end.hop_ms is 10.0 in the checkpoint, 11.0 in the recipe",
        "data.sample_rate_hz is 16000 in the checkpoint, 22050 in the recipe",
    }


def test_another_front_end_is_rejected_if_the_checkpoint_has_a_feature_extractor(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    recipe = small_recipe(AST.replace(pretrained=str(tmp_path)))
    with pytest.raises(PretrainedError, match=r"front_end\.family is kaldi in the checkpoint, vggish in the recipe"):
        encoder_from_recipe(recipe)
    (tmp_path / "preprocessor_config.json").unlink()
    encoder_from_recipe(recipe)


def test_features_without_normalisation(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    ASTFeatureExtractor(num_mel_bins=20, do_normalize=False).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=r"front_end\.std is 1\.0 in the checkpoint"):
        encoder_from_recipe(ast_recipe(tmp_path))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["audio_spectrogram_transformer.embeddings.cls_token"], weights["classifier.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PretrainedError, match=r"has no weights for embeddings\.cls_token\."):
        encoder_from_recipe(ast_recipe(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", '{"model_type": "bert"}', "describes bert, not audio-spectrogram-transformer"),
        ("config.json", '{"format": "mulan-tagger-2"}', "describes no model of transformers"),
        ("config.json", "{", "cannot be loaded"),
        ("config.json", "[]", "cannot be loaded"),
        ("config.json", '{"model_type": "audio-spectrogram-transformer", "hidden_size": "wide"}', "hidden_size"),
        ("model.safetensors", "not tensors", "cannot be loaded"),
        ("preprocessor_config.json", "{", r"preprocessor_config\.json cannot be read"),
    ],
)
def test_folders_without_an_ast_checkpoint_are_rejected(tmp_path: Path, file: str, content: str, words: str) -> None:
    checkpoint(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(PretrainedError, match=words):
        encoder_from_recipe(ast_recipe(tmp_path))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"audio_tower\.pretrained"):
        encoder_from_recipe(ast_recipe(tmp_path / "nowhere"))
    with pytest.raises(PretrainedError) as caught:
        encoder_from_recipe(ast_recipe(tmp_path))
    assert len(caught.value.faults) == 2  # configuration and weights; no tokenizer is required


@pytest.fixture
def tagger(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Returns the folder of an exported tagger with changed running statistics, and the weights of its trunk."""
    recipe = small_recipe(RESNET)
    model = TaggingTask(recipe).build_model().train()
    model(torch.from_numpy(windows())[:, None])
    export_tagger(model, recipe, [f"tag {number}" for number in range(527)], tmp_path / "tagger")
    return tmp_path / "tagger", model.audio_encoder.state_dict()


def resnet_recipe(pretrained: Path | str, **changes: Any) -> Recipe:
    return small_recipe(RESNET.replace({"pretrained": str(pretrained), **changes}))


@pytest.mark.parametrize("remote", [False, True])
def test_a_joint_model_can_be_warm_started_from_a_tagger(
    tagger: tuple[Path, dict[str, torch.Tensor]], remote: bool
) -> None:
    folder, trunk = tagger
    model = JointTask(resnet_recipe(in_other_storage(folder) if remote else folder)).build_model()
    loaded = model.audio_encoder.state_dict()
    assert loaded.keys() == trunk.keys()
    assert all(torch.equal(loaded[name], trunk[name]) for name in trunk)
    assert float(loaded["tower.network.embedder.embedder.normalization.running_var"].std()) > 0
    warm_started = {id(parameter) for parameter in model.warm_started_parameters()}
    fresh = {name for name, parameter in model.named_parameters() if id(parameter) not in warm_started}
    assert {name.partition(".")[0] for name in fresh} == {"audio_projection", "text_projection", "temperature_scale"}


def test_a_warm_start_consumes_the_same_random_numbers(
    tagger: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    checkpoint(tmp_path / "ast")
    for recipe in (resnet_recipe(tagger[0]), ast_recipe(tmp_path / "ast")):
        cold = recipe.replace({"audio_tower.pretrained": ""})
        projections = []
        for one in (recipe, cold):
            torch.manual_seed(0)
            projections.append(JointTask(one).build_model().audio_projection.weight)
        assert torch.equal(*projections)


def test_every_difference_from_the_tagging_run_is_named(tagger: tuple[Path, dict[str, torch.Tensor]]) -> None:
    recipe = resnet_recipe(tagger[0], stem_stride=1, stage_depths=(1, 2))
    changes = {"mel_channels": 24, "log_offset": 0.5, "time_mask_frames": 3}  # masks have no effect in evaluation
    front_end = recipe.front_end.replace(changes)
    with pytest.raises(PretrainedError) as caught:
        encoder_from_recipe(recipe.replace(front_end=front_end, data=DataConfig(sample_rate_hz=22_050)))
    assert set(caught.value.faults) == {
        "audio_tower.stem_stride is 2 in the checkpoint, 1 in the recipe",
        "audio_tower.stage_depths is (1, 1) in the checkpoint, (1, 2) in the recipe",
        "front_end.mel_channels is 20 in the checkpoint, 24 in the recipe",
        "front_end.log_offset is 0.01 in the checkpoint, 0.5 in the recipe",
        "data.sample_rate_hz is 16000 in the checkpoint, 22050 in the recipe",
    }
    with pytest.raises(PretrainedError, match=r"front_end\.family is vggish in the checkpoint, kaldi in the recipe"):
        encoder_from_recipe(resnet_recipe(tagger[0]).replace(front_end=KALDI))


def test_a_residual_network_accepts_a_trunk_with_another_window_length(
    tagger: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    recipe = resnet_recipe(tagger[0], expects_pretrained=True)
    encoder_from_recipe(recipe.replace(data=DataConfig(window_s=2.0)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"format": "mulan-2"}, "'mulan-2', which is not that of a tagger or an audio encoder"),
        ({"format": "mulan-encoder-2"}, r"config\.json: classes: Extra inputs"),
        ({"audio_tower": AstTowerConfig().model_dump()}, "family is ast in the checkpoint, resnet in the recipe"),
        ({"audio_tower": ResNetTowerConfig().model_dump()}, r"audio_tower\.stage_channels"),
        ({"format": None, "model_type": "hubert"}, r"needs audio_tower\.family and front_end\.family = pretrained"),
    ],
)
def test_models_without_a_matching_trunk_are_rejected(
    tagger: tuple[Path, dict[str, torch.Tensor]], damage: dict[str, Any], words: str
) -> None:
    file = tagger[0] / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    with pytest.raises(PretrainedError, match=words):
        encoder_from_recipe(resnet_recipe(tagger[0]))


def test_a_tagger_that_cannot_be_read(tagger: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder = tagger[0]
    for spec in ("/no/such/tagger", "memory://no/such/tagger", "nosuchscheme://tagger"):
        with pytest.raises(PretrainedError, match=r"cannot be read.*audio_tower\.pretrained"):
            encoder_from_recipe(resnet_recipe(spec))
    weights = load_file(folder / "model.safetensors")
    del weights["audio_encoder.tower.network.embedder.embedder.convolution.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(PretrainedError, match=r"(?s)does not fit config\.json.*embedder\.convolution\.weight"):
        encoder_from_recipe(resnet_recipe(folder))
    (folder / "model.safetensors").write_text("not tensors")
    with pytest.raises(PretrainedError, match="cannot be read"):
        encoder_from_recipe(resnet_recipe(folder))


TRUNKS: list[tuple[AudioTowerConfig, FrontEndConfig]] = [
    (RESNET, VggishFrontEndConfig(mel_channels=20)),
    (
        MusicnnTowerConfig(vertical_channels=3, horizontal_channels=2, dense_channels=4),
        DecibelFrontEndConfig(mel_channels=20),
    ),
    (SampleCnnTowerConfig(stem_channels=4, block_channels=(4, 6)), WaveformFrontEndConfig()),
]


@pytest.mark.parametrize("kind", [TaggerConfig, EncoderConfig])
@pytest.mark.parametrize(("section", "front_end"), TRUNKS, ids=["resnet", "musicnn", "samplecnn"])
def test_towers_of_every_family_accept_the_trunk_of_a_tagger_or_an_audio_encoder(
    section: AudioTowerConfig, front_end: FrontEndConfig, kind: type[TaggerConfig | EncoderConfig], tmp_path: Path
) -> None:
    theirs, ours = (audio_tower(section, mel_channels=20, frames=48) for _ in range(2))
    for tensor in theirs.state_dict().values():
        tensor.copy_(torch.randint(1, 9, tensor.shape))  # changes the running statistics of batch norm
    common = {"sample_rate_hz": 16_000, "window_samples": 8000, "front_end": front_end, "audio_tower": section}
    config = kind(**common, **({"classes": ("one", "two")} if kind is TaggerConfig else {}))
    encoder = nn.ModuleDict({"tower": theirs, "beside the tower": nn.Linear(2, 2)})
    whole = nn.ModuleDict({"audio_encoder": encoder, "classifier": nn.Linear(2, 2)})
    write_model(whole.state_dict(), config, tmp_path)
    named = section.replace(pretrained=str(tmp_path))
    warm_start(ours, named, front_end=front_end, sample_rate_hz=16_000)
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
    with pytest.raises(PretrainedError) as caught:
        warm_start(ours, named, front_end=KALDI, sample_rate_hz=22_050)
    assert caught.value.faults == (
        f"front_end.family is {front_end.family} in the checkpoint, kaldi in the recipe",
        "data.sample_rate_hz is 16000 in the checkpoint, 22050 in the recipe",
    )
