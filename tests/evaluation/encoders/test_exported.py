"""Tests that exported models of all formats embed as their public classes do."""

import json
import shutil
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

import mulan
from mulan.config.errors import MulanError
from mulan.evaluation.encoders.exported import open_exported
from mulan.model.inference.files import ModelFolderError
from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel
from mulan.recipes.registry import load_recipe
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.tagging import export_tagger
from mulan.tasks.task import task_of
from tests.evaluation.encoders.windows import noise
from tests.evaluation.small_model import RECIPE

TEXTS = ["piano", "sad piano", "drums", "a fast and furious drum solo", "", "guitar"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaggingModel, Path]:
    torch.manual_seed(0)
    recipe = load_recipe("m_resnet50_audioset_miniature", ["data.window_s=0.5"])
    model, folder = task_of(recipe).build_model(), tmp_path_factory.mktemp("tagger")
    assert isinstance(model, TaggingModel)
    export_tagger(model, recipe, ["one", "two"], folder)
    return model.eval(), folder


def test_a_joint_model_embeds_audio_and_text_as_unit_rows(model_uri: str) -> None:
    encoder, model = open_exported(model_uri, name="small", device="cpu"), mulan.MuLan.from_pretrained(model_uri)
    info = encoder.info
    assert (info.name, info.kind, info.uri, info.dim) == ("small", "exported", model_uri, 8)
    assert (info.sample_rate_hz, info.window_samples) == (16_000, 8000)
    assert info.is_unit and info.embeds_text and info.embeds_audio
    windows = noise(21, 8000)
    np.testing.assert_array_equal(encoder.embed_audio(windows), model.embed_windows(windows))
    np.testing.assert_allclose(encoder.embed_text(TEXTS), model.embed_text(TEXTS), rtol=0, atol=1e-6)


def test_rows_do_not_depend_on_the_order_or_on_other_rows(model_uri: str) -> None:
    encoder, windows = open_exported(model_uri, name="small", device="cpu"), noise(21, 8000)
    order = np.random.default_rng(0).permutation(21)
    rows, texts = encoder.embed_audio(windows), encoder.embed_text(TEXTS)
    np.testing.assert_allclose(encoder.embed_audio(windows[order]), rows[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder.embed_audio(windows[4:5]), rows[4:5], rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder.embed_text(TEXTS[::-1]), texts[::-1], rtol=0, atol=1e-6)
    assert np.abs(rows[0] - rows[1:]).max(axis=1).min() > 1e-4


def test_an_audio_encoder_embeds_audio_alone(model_uri: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    joint = task_of(RECIPE).build_model().eval()
    assert isinstance(joint, JointModel)
    export_encoder(joint.audio_encoder, RECIPE, tmp_path)
    encoder, windows = open_exported(str(tmp_path), name="backbone", device="cpu"), noise(3, 8000)
    info = encoder.info
    assert (info.dim, info.is_unit, info.embeds_text) == (joint.audio_encoder.output_dim, False, False)
    rows = encoder.embed_audio(windows)
    np.testing.assert_array_equal(rows, joint.audio_encoder(torch.from_numpy(windows)).detach())
    assert rows.dtype == np.float32
    with pytest.raises(MulanError, match="encoder backbone: it embeds audio alone"):
        encoder.embed_text(["piano"])


def test_the_audio_encoder_of_a_tagger_embeds_audio(tagger: tuple[TaggingModel, Path]) -> None:
    model, folder = tagger
    before = torch.get_rng_state()
    encoder, windows = open_exported(str(folder), name="tagger", device="cpu"), noise(3, 8000)
    assert torch.equal(torch.get_rng_state(), before)
    rows = encoder.embed_audio(windows)
    np.testing.assert_array_equal(rows, model.audio_encoder(torch.from_numpy(windows)).detach())
    assert (encoder.info.dim, encoder.info.is_unit, encoder.info.embeds_text) == (rows.shape[1], False, False)


def test_the_digest_is_that_of_the_content_wherever_it_is(model_uri: str, tmp_path: Path) -> None:
    sha256 = open_exported(model_uri, name="a", device="cpu").info.sha256
    uri = f"memory://{uuid.uuid4().hex}/model"
    fsspec.filesystem("memory").put(f"{model_uri}/", f"{uri}/", recursive=True)
    assert open_exported(uri, name="b", device="cpu").info.sha256 == sha256
    copy = shutil.copytree(model_uri, tmp_path / "copy")
    (copy / ".DS_Store").write_bytes(b"-")
    assert open_exported(str(copy), name="c", device="cpu").info.sha256 == sha256
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"prefix": "query: "}))
    assert open_exported(str(copy), name="d", device="cpu").info.sha256 != sha256


def test_damaged_folders(model_uri: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="the folder does not exist"):
        open_exported(str(tmp_path / "nowhere"), name="a")
    with pytest.raises(ModelFolderError, match=r"config\.json is missing; model\.safetensors is missing"):
        open_exported(str(tmp_path), name="a")
    copy = shutil.copytree(model_uri, tmp_path / "copy")
    for content, fault in (("{", r"config\.json"), ("[]", r"config\.json"), ('{"format": "mulan-9"}', "mulan-2")):
        (copy / "config.json").write_text(content)
        with pytest.raises(ModelFolderError, match=fault):
            open_exported(str(copy), name="a")
