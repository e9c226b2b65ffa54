import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from mulan.data.text import pretrained_tokenizer
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import AST_CHECKPOINT, PretrainedError, pretrained_folder
from mulan.storage.machine_cache import CACHE_VARIABLE
from mulan.storage.weights_cache import cached_folder, weights_folder
from tests.conftest import S3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "pretrained"


@pytest.fixture
def encoder(s3: S3) -> str:
    """URI of a small stand-in for the files of an encoder."""
    for name, content in {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same weights",
        "vocab.txt": b"[CLS]",
        "README.md": b"",
        "onnx/model.onnx": b"the same weights",
    }.items():
        s3.files.pipe_file(f"{s3.uri}/encoder/{name}", content)
    return f"{s3.uri}/encoder"


def downloads(s3: S3) -> list[str]:
    """Returns the files of the encoder that were requested."""
    return [
        request.rpartition("/")[2]
        for request in s3.proxy.requests
        if request.startswith("GET") and "/encoder/" in request
    ]


def test_needed_files_are_copied_once(encoder: str, cache: Path, s3: S3) -> None:
    s3.proxy.requests.clear()
    folder = weights_folder(encoder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "vocab.txt": b"[CLS]",
    }
    assert folder.parent == cache
    assert sorted(downloads(s3)) == ["config.json", "model.safetensors", "vocab.txt"]
    assert weights_folder(f"{encoder}/") == folder
    assert len(downloads(s3)) == 3


def test_replaced_weights_are_copied_again(encoder: str, s3: S3) -> None:
    old = weights_folder(encoder)
    s3.files.pipe_file(f"{encoder}/model.safetensors", b"WEIGHTS")  # of the same size
    new = weights_folder(encoder)
    assert (old / "model.safetensors").read_bytes() == b"weights"
    assert (new / "model.safetensors").read_bytes() == b"WEIGHTS"


def test_an_interrupted_copy_is_repeated(encoder: str, cache: Path, s3: S3) -> None:
    folder = weights_folder(encoder)
    shutil.move(folder, f"{folder}.partial-0")
    (Path(f"{folder}.partial-0") / "vocab.txt").unlink()
    assert (weights_folder(encoder) / "vocab.txt").is_file()
    assert [left.name for left in cache.iterdir() if "partial" in left.name] == []


def _folder(uri: str) -> str:
    return str(weights_folder(uri))


@pytest.mark.processes
def test_simultaneous_processes_copy_once(encoder: str, s3: S3) -> None:
    s3.proxy.requests.clear()
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        folders = set(pool.map(_folder, [encoder] * 3))
    assert len(folders) == 1
    assert sorted(downloads(s3)) == ["config.json", "model.safetensors", "vocab.txt"]


def test_a_tokenizer_from_s3_equals_that_of_its_folder(s3: S3) -> None:
    here = pretrained_folder(MINILM)
    for file in here.iterdir():
        if file.suffix in (".json", ".txt"):
            s3.files.put_file(str(file), f"{s3.uri}/minilm/{file.name}")
    s3.files.pipe_file(f"{s3.uri}/minilm/model.safetensors", b"")
    text = "A song of lentils and rain"
    assert pretrained_tokenizer(f"{s3.uri}/minilm")(text) == pretrained_tokenizer(MINILM)(text)


def test_missing_weights_are_named_as_in_the_recipe(encoder: str, s3: S3) -> None:
    s3.files.rm_file(f"{encoder}/vocab.txt")
    with pytest.raises(PretrainedError, match=rf"'{encoder}': no tokenizer in .*text_tower\.pretrained"):
        weights_folder(encoder)
    for spec in (f"{s3.uri}/nothing", "memory://nothing", "nosuchscheme://model"):
        with pytest.raises(PretrainedError, match=rf"'{spec}': cannot be read: .*audio_tower\.pretrained"):
            weights_folder(spec, AST_CHECKPOINT)


def test_an_unwritable_cache_is_named_with_its_variable(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(PretrainedError, match=rf"cannot be cached in {tmp_path}/file/pretrained: .*{CACHE_VARIABLE}"):
        weights_folder(encoder)


def test_a_user_without_a_home_folder_sees_the_variable(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is the case in a container image that runs under an arbitrary user id."""
    for name in (CACHE_VARIABLE, "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(PretrainedError, match=rf"'{encoder}': cannot be cached: .*home.*{CACHE_VARIABLE}"):
        weights_folder(encoder)


def test_local_weights_are_not_copied(cache: Path) -> None:
    for spec in ("relative/folder", "/folder", "hub:owner/name", MINILM, "file:///folder"):
        assert cached_folder(spec, AST_CHECKPOINT) == spec
    assert weights_folder(MINILM) == pretrained_folder(MINILM)
    assert not cache.exists()
