"""Tests that the vectors of a folder of ``ClapModel`` are those that ``transformers`` computes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapAudioModel, ClapFeatureExtractor, ClapModel, ClapProcessor

from mulan.evaluation.encoders.clap import ClapEncoder
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.storage import filesystem
from mulan.storage.hub import PretrainedError
from mulan.storage.machine_cache import CACHE_VARIABLE
from tests.evaluation.encoders.clap_folder import DIM, MAX_TOKENS, SENTENCES, save_clap
from tests.sounds import tone

RATE_HZ = 24_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Folders of models without and with fusion."""
    return {fusion: save_clap(tmp_path_factory.mktemp("clap"), fusion=fusion) for fusion in (False, True)}


def opened(folder: Path | str) -> ClapEncoder:
    return ClapEncoder.open(str(folder), name="clap", device="cpu")


def windows(count: int) -> np.ndarray:
    """Returns windows of 1 s, of which the second is a sound of 0.4 s, padded with silence, and the third is silent."""
    rows = np.stack([tone(120 * 1.3**k, 1.0, rate_hz=RATE_HZ, seed=k) for k in range(count)])
    rows[1, 9600:] = rows[2] = 0
    return np.rint(rows * 20_000).astype(np.int16)


def audio_of_transformers(folder: Path, sound: np.ndarray) -> np.ndarray:
    """Returns the vectors that ``transformers`` computes window by window, none of which is longer than its input."""
    model, extractor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder).feature_extractor
    channels = 4 if model.config.audio_config.enable_fusion else 1
    rows = []
    for window in sound:
        inputs = extractor(window.astype(np.float64) / 32768, sampling_rate=RATE_HZ, return_tensors="pt")
        assert inputs["input_features"].shape[:2] == (1, channels)
        # the extractor declares a random one of its inputs to be longer if none is
        is_longer = torch.zeros((1, 1), dtype=torch.bool)
        with torch.no_grad():
            rows.append(model.get_audio_features(inputs["input_features"].float(), is_longer).pooler_output[0])
    return torch.stack(rows).numpy()


def text_of_transformers(folder: Path, text: str) -> np.ndarray:
    model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    tokens = processor(text=[text], return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
    with torch.no_grad():
        return model.get_text_features(**tokens).pooler_output[0].numpy()


@pytest.mark.parametrize("fusion", [False, True])
def test_vectors_of_audio_are_those_of_transformers(fusion: bool, folders: dict[bool, Path]) -> None:
    encoder, sound = opened(folders[fusion]), windows(5)
    rows = encoder.embed_audio(sound)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, audio_of_transformers(folders[fusion], sound), rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distances[~np.eye(5, dtype=bool)].min() > 5e-3  # every window has a vector of its own


def test_vectors_of_text_are_those_of_transformers(folders: dict[bool, Path]) -> None:
    rows = opened(folders[False]).embed_text(SENTENCES)
    expected = [text_of_transformers(folders[False], text) for text in SENTENCES]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distances[~np.eye(len(rows), dtype=bool)].min() > 1e-2


def test_the_end_of_a_text_that_is_too_long_is_not_read(folders: dict[bool, Path]) -> None:
    encoder = opened(folders[False])
    rows = encoder.embed_text(["music " * 40, "music " * 40 + "and drums", "and drums " + "music " * 40])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[0] - rows[2]).max() > 1e-2


@pytest.mark.parametrize("fusion", [False, True])
def test_rows_do_not_depend_on_the_others_or_on_their_order(fusion: bool, folders: dict[bool, Path]) -> None:
    encoder, sound = opened(folders[fusion]), windows(20)
    together = encoder.embed_audio(sound)
    alone = np.concatenate([encoder.embed_audio(sound[row : row + 1]) for row in range(len(sound))])
    order = np.random.default_rng(0).permutation(len(sound))
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder.embed_audio(sound[order]), together[order], rtol=0, atol=1e-6)

    texts = [*SENTENCES * 15, "piano"]
    rows = encoder.embed_text(texts)
    np.testing.assert_allclose(rows, np.concatenate([encoder.embed_text([text]) for text in texts]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder.embed_text(texts[::-1]), rows[::-1], rtol=0, atol=1e-6)


def test_two_runs_are_equal_whatever_the_state_of_random_generators(folders: dict[bool, Path]) -> None:
    results = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002  # the feature extractor draws from it
        torch.manual_seed(seed)
        encoder = opened(folders[True])
        results.append((encoder.embed_audio(windows(4)), encoder.embed_text(SENTENCES)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_what_the_encoder_says_of_itself(tmp_path: Path) -> None:
    folder = save_clap(tmp_path / "model", max_length_s=2, sampling_rate=12_000, frequency_max=6000)
    info = opened(folder).info
    assert (info.name, info.kind, info.uri, info.licence) == ("clap", "clap", str(folder), "apache-2.0")
    assert (info.sample_rate_hz, info.window_samples, info.dim) == (12_000, 24_000, DIM)
    assert info.is_unit
    assert info.embeds_text
    assert info.embeds_audio
    assert opened(folder).embed_audio(np.zeros((0, 24_000), np.int16)).shape == (0, DIM)
    assert opened(folder).embed_text([]).shape == (0, DIM)


def test_the_licence_may_be_unknown_or_in_a_file(tmp_path: Path) -> None:
    folder = save_clap(tmp_path, licence="")
    assert opened(folder).info.licence == ""
    (folder / "LICENSE").write_text("All may use it.\n")
    assert opened(folder).info.licence == "in its file LICENSE"


def test_the_digest_depends_on_what_the_vectors_depend_on(folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    digest = opened(folder).info.sha256
    assert digest == opened(folders[False]).info.sha256
    (folder / "README.md").write_text("# Another description\n")
    (folder / "tf_model.h5").write_bytes(b"the same weights for another library")
    assert opened(folder).info.sha256 == digest
    change(folder / "processor_config.json", feature_extractor={**extractor_values(folder), "frequency_min": 50})
    other_extractor = opened(folder).info.sha256
    change_weights(folder, "text_projection.linear2.bias", lambda weight: weight + 1)
    assert len({digest, other_extractor, opened(folder).info.sha256}) == 3


def test_the_feature_extractor_may_have_a_file_of_its_own(folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    ClapFeatureExtractor(**extractor_values(folder)).save_pretrained(folder)
    (folder / "processor_config.json").unlink()
    expected = opened(folders[False]).embed_audio(windows(3))
    np.testing.assert_array_equal(opened(folder).embed_audio(windows(3)), expected)


def test_a_model_in_other_storage_is_opened_from_a_copy(
    folders: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    fs, path = filesystem.url_to_fs("memory://models/clap")
    fs.put(f"{folders[True]}/", f"{path}/", recursive=True)
    remote, local = opened("memory://models/clap"), opened(folders[True])
    assert (remote.info.uri, remote.info.sha256) == ("memory://models/clap", local.info.sha256)
    np.testing.assert_array_equal(remote.embed_audio(windows(3)), local.embed_audio(windows(3)))
    np.testing.assert_array_equal(remote.embed_text(SENTENCES), local.embed_text(SENTENCES))


def test_wrong_arguments_are_refused(folders: dict[bool, Path]) -> None:
    encoder = opened(folders[False])
    with pytest.raises(EmbeddingInputError, match=r"embed_audio takes an int16 array \[n, 24000\], not int16 \[1, 9\]"):
        encoder.embed_audio(np.zeros((1, 9), np.int16))
    with pytest.raises(EmbeddingInputError, match="float32"):
        encoder.embed_audio(np.zeros((1, RATE_HZ), np.float32))
    with pytest.raises(EmbeddingInputError, match="put a single one in a list"):
        encoder.embed_text("music")


def extractor_values(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "processor_config.json").read_text())["feature_extractor"]


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def change_weights(folder: Path, name: str, changed: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = changed(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("missing", "fault"),
    [
        (["config.json"], r"no configuration in .* \(looked for config\.json\)"),
        (["model.safetensors"], "no weights in"),
        (["tokenizer.json"], "no tokenizer in"),
        (["processor_config.json"], r"no feature extractor in .*processor_config\.json or preprocessor_config\.json"),
        (["config.json", "tokenizer.json"], r"no configuration in .*; no tokenizer in"),
    ],
)
def test_incomplete_folders(missing: list[str], fault: str, folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(PretrainedError, match=fault) as caught:
        opened(folder)
    assert "Set --model clap= to" in str(caught.value)


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="there is no folder"):
        opened(tmp_path / "nowhere")


TEXT, AUDIO = "text_config", "audio_config"


@pytest.mark.parametrize(
    ("section", "values", "fault"),
    [
        ("", {"model_type": "hubert"}, r"config\.json cannot be used: it describes a network of type 'hubert'"),
        ("", {"model_type": None}, "it describes no network of transformers"),
        ("", {"projection_dim": "wide"}, r"config\.json cannot be used"),
        ("", {"projection_dim": 9}, r"has shape \[8, 16\] in its file, but \[9, 16\] by config"),
        (TEXT, {"num_hidden_layers": 3}, r"has no weights for text_model\.encoder\.layer\.2"),
        (TEXT, {"vocab_size": 290}, "its tokenizer cannot be used: it has token id 299, but the network has only 290"),
        (TEXT, {"pad_token_id": 0}, "it pads with token 1, but the network with 0"),
        (TEXT, {"max_position_embeddings": 4}, "a text may have at most 2 tokens"),
        (AUDIO, {"enable_fusion": True, "fusion_type": "channel_map"}, "fusion_type channel_map is not supported"),
        (AUDIO, {"spec_size": 32}, "cannot be run on the output of its feature extractor and its tokenizer: .*size"),
        (AUDIO, {"hidden_size": 12}, r"audio_projection\.linear1\.weight has shape \[8, 16\] in its file, but"),
    ],
)
def test_networks_that_cannot_be_used(
    section: str, values: dict[str, Any], fault: str, folders: dict[bool, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", **({section: {**config[section], **values}} if section else values))
    with pytest.raises(PretrainedError, match=fault) as caught:
        opened(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"feature_extractor_type": "ASTFeatureExtractor"}, "it is a ASTFeatureExtractor, but the network needs a Cl"),
        ({"max_length_s": 0}, "nb_max_samples is 0"),
        ({"max_length_s": 0.12345}, r"nb_max_samples is 2962\.8"),
        ({"sampling_rate": "fast"}, "its feature extractor cannot be used"),
        ({"max_length_s": 3}, "cannot be run on the output of its feature extractor and its tokenizer: .*wav size"),
        ({"feature_size": 20}, "cannot be run on the output"),
    ],
)
def test_feature_extractors_that_cannot_be_used(
    values: dict[str, Any], fault: str, folders: dict[bool, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    change(folder / "processor_config.json", feature_extractor={**extractor_values(folder), **values})
    with pytest.raises(PretrainedError, match=fault):
        opened(folder)


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files(file: str, folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    (folder / file).write_text("{")
    with pytest.raises(PretrainedError, match=r"cannot be (used|loaded)"):
        opened(folder)


def test_a_folder_of_the_audio_encoder_alone_is_refused(folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    ClapAudioModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(PretrainedError, match="it describes a network of type 'clap_audio_model'"):
        opened(folder)


def test_weights_that_are_not_finite_are_refused(folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[False], tmp_path / "copy")
    change_weights(folder, "audio_projection.linear1.bias", lambda weight: weight * float("nan"))
    with pytest.raises(PretrainedError, match="its outputs are not finite"):
        opened(folder)
