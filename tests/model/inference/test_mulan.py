"""Tests that a loaded model embeds as the exported one, and names every fault of its folder and its inputs."""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import mulan
from mulan.config.errors import MulanError
from mulan.config.objectives import LossConfig, LossWeightsConfig, SemiSupConConfig
from mulan.config.recipe import Recipe
from mulan.data.errors import DecodeError
from mulan.data.text import MAX_CHARACTERS
from mulan.model.inference.files import ModelFolderError
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.model.inference.mulan import MuLan
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import pretrained_folder
from mulan.tasks.joint import JointTask
from tests.model.small import RESNET, export_untrained, small_recipe
from tests.sounds import flac, tone

RATE_HZ, WINDOW = 16_000, 8000
TEXTS = ["sad piano", "A fast and furious drum solo, recorded live in a very small room with far too much reverb.", ""]


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may damage."""
    copy = tmp_path / "model"
    fsspec.filesystem("file").put(f"{folder}/", f"{copy}/", recursive=True)
    return copy


def recording(seconds: float, *, seed: int = 0) -> np.ndarray:
    """Returns a recording, int16 [samples] at RATE_HZ."""
    return np.rint(tone(300.0 + 50 * seed, seconds, seed=seed) * 32767).astype(np.int16)


def test_loaded_model_embeds_as_the_exported_one(recipe: Recipe, tmp_path: Path) -> None:
    model, folder = export_untrained(recipe, tmp_path)
    model.eval()
    loaded = MuLan.from_pretrained(str(folder), device="cpu")
    assert (loaded.sample_rate_hz, loaded.window_samples, loaded.embedding_dim) == (RATE_HZ, WINDOW, 24)

    windows = np.stack([recording(0.5, seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(loaded.embed_windows(windows), model.embed_audio(torch.from_numpy(windows)).detach())
    tokenizer = AutoTokenizer.from_pretrained(pretrained_folder(MINILM), local_files_only=True)
    for text, vector in zip(TEXTS, loaded.embed_text(TEXTS), strict=True):
        tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        expected = model.embed_text(tokens["input_ids"], tokens["attention_mask"])
        np.testing.assert_array_equal(vector, expected[0].detach())


def test_the_projection_head_of_views_is_not_exported(tmp_path: Path) -> None:
    weights = LossWeightsConfig(contrastive=1, semisupcon=0.5)
    model, folder = export_untrained(
        small_recipe(RESNET).replace(loss=LossConfig(weights=weights), semisupcon=SemiSupConConfig(head_dim=6)),
        tmp_path,
    )
    names = load_file(folder / "model.safetensors").keys()
    assert names == {name for name in model.state_dict() if not name.startswith("view_head.")}
    assert names < set(model.state_dict())
    windows = np.stack([recording(0.5, seed=seed) for seed in range(2)])
    loaded = MuLan.from_pretrained(folder, device="cpu")
    expected = model.eval().embed_audio(torch.from_numpy(windows)).detach()  # nothing is augmented in evaluation
    np.testing.assert_array_equal(loaded.embed_windows(windows), expected)


def test_the_bias_of_the_sigmoid_loss_is_not_exported(tmp_path: Path) -> None:
    weights = LossWeightsConfig(contrastive=0, siglip=1)
    model, folder = export_untrained(small_recipe(RESNET).replace(loss=LossConfig(weights=weights)), tmp_path)
    assert set(model.state_dict()) - load_file(folder / "model.safetensors").keys() == {"logit_bias.bias"}
    MuLan.from_pretrained(folder, device="cpu")


def test_loading_does_not_need_the_pretrained_checkpoint(tmp_path: Path) -> None:
    model, folder = export_untrained(small_recipe(RESNET), tmp_path)
    tower = RESNET.replace(pretrained="/gone/by/now")
    JointTask(small_recipe(tower)).export(model, folder)
    assert json.loads((folder / "config.json").read_text())["audio_tower"]["pretrained"] == ""
    MuLan.from_pretrained(folder, device="cpu")


def test_loads_from_a_uri(loaded: MuLan, folder: Path) -> None:
    uri = f"memory://{uuid.uuid4().hex}/run/model"
    fsspec.filesystem("memory").put(f"{folder}/", f"{uri}/", recursive=True)
    from_uri = MuLan.from_pretrained(uri, device="cpu")
    np.testing.assert_array_equal(from_uri.embed_text(TEXTS), loaded.embed_text(TEXTS))


def test_rows_are_unit_vectors_in_float32_even_without_items(loaded: MuLan) -> None:
    audio = loaded.embed_audio([recording(0.2), recording(1.7)], RATE_HZ)
    text = loaded.embed_text(TEXTS)
    assert (audio.shape, text.shape) == ((2, 24), (3, 24))
    assert audio.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([audio, text]), axis=1), 1, atol=1e-6)
    for empty in (loaded.embed_audio([]), loaded.embed_text([]), loaded.embed_windows(np.zeros((0, WINDOW), np.int16))):
        assert empty.shape == (0, 24)
        assert empty.dtype == np.float32


def test_a_vector_does_not_depend_on_other_items_in_the_call(loaded: MuLan) -> None:
    recordings = [recording(seconds, seed=seed) for seed, seconds in enumerate((0.3, 4.2, 0.5, 12.0))]
    together = loaded.embed_audio(recordings, RATE_HZ)
    for alone, row in zip(recordings, together, strict=True):
        np.testing.assert_array_equal(loaded.embed_audio([alone], RATE_HZ)[0], row)
    np.testing.assert_array_equal(loaded.embed_audio(recordings[::-1], RATE_HZ), together[::-1])
    text = loaded.embed_text(TEXTS)
    for sentence, row in zip(TEXTS, text, strict=True):
        np.testing.assert_array_equal(loaded.embed_text([sentence])[0], row)


def test_other_texts_in_a_batch_change_a_row_only_by_rounding(loaded: MuLan) -> None:
    texts = [*TEXTS, "sad piano", "happy piano", "slow drums", "a sad piano", "fast guitar", "piano " * 50] * 3
    alone = loaded.embed_text(texts)
    for at_once in (2, 64):
        np.testing.assert_allclose(loaded.embed_text(texts, texts_at_once=at_once), alone, rtol=0, atol=1e-6)
        backwards = loaded.embed_text(texts[::-1], texts_at_once=at_once)
        np.testing.assert_allclose(backwards[::-1], alone, rtol=0, atol=1e-6)
    assert loaded.embed_text([], texts_at_once=64).shape == (0, 24)
    with pytest.raises(EmbeddingInputError, match="texts_at_once = 0 must be a whole number of at least 1"):
        loaded.embed_text(texts, texts_at_once=0)


def test_other_windows_in_a_batch_change_a_row_only_by_rounding(loaded: MuLan) -> None:
    windows = np.stack([recording(0.5, seed=seed) for seed in range(40)])
    together = loaded.embed_windows(windows)
    alone = np.concatenate([loaded.embed_windows(window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=2e-6)


@pytest.mark.parametrize(
    ("samples", "starts"), [(8000, [0]), (8001, [0, 1]), (14_000, [0, 6000]), (20_000, [0, 6000, 12_000])]
)
def test_a_recording_is_embedded_as_the_mean_of_its_windows(loaded: MuLan, samples: int, starts: list[int]) -> None:
    whole = recording(2.0)[:samples]
    rows = loaded.embed_windows(np.stack([whole[start : start + WINDOW] for start in starts]))
    mean = rows.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(loaded.embed_audio([whole], RATE_HZ)[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_short_recording_is_padded_with_silence(loaded: MuLan) -> None:
    short = recording(0.3)
    padded = np.concatenate([short, np.zeros(WINDOW - len(short), np.int16)])
    np.testing.assert_array_equal(loaded.embed_audio([short], RATE_HZ), loaded.embed_audio([padded], RATE_HZ))


def test_files_and_arrays_in_any_form_are_the_same_recording(loaded: MuLan, tmp_path: Path) -> None:
    mono = recording(1.3)
    expected = loaded.embed_audio([mono], RATE_HZ)[0]
    soundfile.write(tmp_path / "mono.wav", mono, RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "stereo.wav", np.stack([mono, mono], axis=1), RATE_HZ, subtype="PCM_16")
    (tmp_path / "mono.flac").write_bytes(flac(mono / np.float32(32768)))
    forms: list[Any] = [
        tmp_path / "mono.wav",
        str(tmp_path / "mono.flac"),
        tmp_path / "stereo.wav",
        mono[None],
        np.stack([mono, mono]),
        mono / np.float32(32768),
        mono.astype(np.float64) / 32768,
    ]
    for row in loaded.embed_audio(forms, RATE_HZ):
        np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(loaded.embed_audio([tmp_path / "mono.wav"])[0], expected)


def test_other_sample_rates_are_resampled(loaded: MuLan, tmp_path: Path) -> None:
    at_44k = tone(440, 1.0, rate_hz=44_100)
    soundfile.write(tmp_path / "44k.wav", at_44k, 44_100, subtype="FLOAT")
    array, file = loaded.embed_audio([at_44k, tmp_path / "44k.wav"], 44_100)
    np.testing.assert_array_equal(array, file)
    clean = [np.sin(2 * np.pi * 440 * np.arange(rate) / rate) / 3 for rate in (16_000, 44_100)]
    resampled = loaded.embed_audio([clean[1]], 44_100)[0]
    assert loaded.embed_audio([clean[0]], 16_000)[0] @ resampled > 0.9999
    assert loaded.embed_audio([clean[1]], 16_000)[0] @ resampled < 0.9999  # a wrong rate changes the sound


def test_long_texts_are_truncated_to_the_tokens_of_training(loaded: MuLan) -> None:
    words = ["piano"] * 9 + ["violin"]  # 12 tokens with [CLS] and [SEP]
    cut, longer, shorter = loaded.embed_text([" ".join(words), " ".join([*words, "eleven"]), " ".join(words[:-1])])
    np.testing.assert_array_equal(cut, longer)
    assert not np.array_equal(cut, shorter)


def test_loading_does_not_change_the_random_state_of_the_caller(folder: Path) -> None:
    before = torch.get_rng_state()
    MuLan.from_pretrained(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.processes
def test_the_public_class_is_imported_lazily() -> None:
    assert mulan.MuLan is MuLan
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = mulan.NoSuchName
    code = "import sys, mulan, mulan.recipes.registry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_missing_files_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError) as caught:
        MuLan.from_pretrained(tmp_path)
    assert caught.value.faults == ("config.json is missing", "model.safetensors is missing", "tokenizer is missing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "mulan-9"}, ["format", "mulan-2"]),
        ({"embedding_dim": 0, "colour": "blue"}, ["embedding_dim", "colour"]),
        ({"embedding_dim": 25}, ["does not fit", "audio_projection.weight"]),
        ({"text_encoder": {"model_type": "unheard-of"}}, ["text_encoder", "unheard-of"]),
        ({"text_encoder": {}}, ["text_encoder"]),
    ],
)
def test_an_invalid_configuration_is_rejected(damaged: Path, changes: dict[str, Any], words: list[str]) -> None:
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelFolderError) as caught:
        MuLan.from_pretrained(damaged)
    for word in [str(damaged), *words]:
        assert word in str(caught.value)


def test_weights_of_another_model_or_corrupt_files_are_rejected(damaged: Path) -> None:
    weights = load_file(damaged / "model.safetensors")
    weights["renamed"] = weights.pop("audio_projection.bias")
    save_file(weights, damaged / "model.safetensors")
    with pytest.raises(ModelFolderError, match=r"(?s)audio_projection\.bias.*renamed"):
        MuLan.from_pretrained(damaged)
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
        MuLan.from_pretrained(damaged)
    (damaged / "model.safetensors").unlink()
    (damaged / "model.safetensors").mkdir()
    with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
        MuLan.from_pretrained(damaged)
    (damaged / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        MuLan.from_pretrained(damaged)


def test_a_tokenizer_that_lacks_any_of_its_files_is_rejected(damaged: Path) -> None:
    files = sorted((damaged / "tokenizer").iterdir())
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(ModelFolderError, match=f"tokenizer/{file.name} is missing"):
            MuLan.from_pretrained(damaged)
        file.write_bytes(content)


def test_any_iterable_is_embedded_and_bad_files_are_skipped_on_request(loaded: MuLan, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.flac").write_bytes(flac(tone(200.0 * (number + 1), 0.3)))
    files = sorted(tmp_path.glob("*.flac"))
    rows = loaded.embed_audio(files)
    np.testing.assert_array_equal(loaded.embed_audio(file for file in files), rows)
    np.testing.assert_array_equal(loaded.embed_text(text for text in TEXTS), loaded.embed_text(TEXTS))
    (tmp_path / "empty.mp3").touch()
    items = [*files[:2], tmp_path / "empty.mp3", files[2]]
    others, skipped = loaded.embed_audio(items, on_error="skip")
    np.testing.assert_array_equal(others, rows)
    assert [(item.name, item.reason) for item in skipped] == [(str(tmp_path / "empty.mp3"), "undecodable audio")]
    with pytest.raises(DecodeError, match=r"empty\.mp3"):
        loaded.embed_audio(items)


def test_windows_of_another_dtype_are_rejected(loaded: MuLan) -> None:
    with pytest.raises(EmbeddingInputError, match=rf"int16 array \[n, {WINDOW}\], not float32"):
        loaded.embed_windows(np.zeros((1, WINDOW), np.float32))


def test_invalid_inputs_are_reported_before_any_file_is_read(loaded: MuLan) -> None:
    with pytest.raises(EmbeddingInputError, match=r"paths_or_arrays\[1\] is an array: pass its sample_rate_hz"):
        loaded.embed_audio(["/no/such/file.wav", np.zeros(100, np.int16)])


def test_single_items_must_be_in_a_list(loaded: MuLan) -> None:
    for single in ("song.wav", Path("song.wav"), np.zeros(100, np.int16)):
        with pytest.raises(EmbeddingInputError, match="list"):
            loaded.embed_audio(single, RATE_HZ)  # type: ignore[arg-type]
    with pytest.raises(EmbeddingInputError, match="list"):
        loaded.embed_text("sad piano")
    with pytest.raises(EmbeddingInputError, match=r"texts\[1\] is a int"):
        loaded.embed_text(["sad piano", 3])  # type: ignore[list-item]


def test_a_file_that_is_missing_or_not_audio_raises(loaded: MuLan, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not audio")
    for path in (tmp_path / "notes.wav", tmp_path / "missing.wav"):
        with pytest.raises(DecodeError) as caught:
            loaded.embed_audio([path])
        assert isinstance(caught.value, MulanError)


def test_long_texts_are_cut_to_the_characters_of_training(loaded: MuLan) -> None:
    blank, beyond = " " * MAX_CHARACTERS, " " * MAX_CHARACTERS + "jazz"
    assert np.array_equal(*loaded.embed_text([blank, beyond]))
    assert not np.array_equal(*loaded.embed_text([blank, beyond[4:]]))
