"""Where pretrained weights are. Only local files: nothing here or behind it asks a model hub."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mulan.config.errors import MulanError

_PACKAGE_SCHEME = "python:"
_NEEDED = {
    "configuration": ("config.json",),
    "weights": (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    "tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model"),
}
"""Parts of a folder that ``transformers`` loads, each with the files of which one must be there."""


class PretrainedError(MulanError, ValueError):
    """Pretrained weights that are not there or cannot be used. Lists every fault found."""

    def __init__(self, spec: str, faults: Sequence[str], remedy: str) -> None:
        self.faults = tuple(faults)
        super().__init__(f"pretrained {spec!r}: {'; '.join(faults)}. {remedy}")


def pretrained_folder(spec: str) -> Path:
    """The folder that a recipe's ``text_tower.pretrained`` names.

    Args:
        spec: a folder's path, or ``python:PACKAGE/FOLDER`` for a folder inside an installed package, which is found
            without being imported.

    Raises:
        PretrainedError: there is no such package or folder, or it lacks a configuration, weights or a tokenizer.
    """
    if not spec:
        raise PretrainedError(
            spec, ["names nothing"], "Set text_tower.pretrained to a folder or to python:PACKAGE/FOLDER."
        )
    folder = _inside_package(spec) if spec.startswith(_PACKAGE_SCHEME) else Path(spec).expanduser()
    if not folder.is_dir():
        raise PretrainedError(
            spec,
            [f"there is no folder {folder}"],
            "Download the model beforehand and name its folder; nothing is fetched from a hub.",
        )
    faults = [
        f"no {part} in {folder} (looked for {' or '.join(files)})"
        for part, files in _NEEDED.items()
        if not any((folder / file).is_file() for file in files)
    ]
    if faults:
        raise PretrainedError(
            spec, faults, "Save the model and its tokenizer there with transformers' save_pretrained."
        )
    return folder


def _inside_package(spec: str) -> Path:
    package, _, folder = spec.removeprefix(_PACKAGE_SCHEME).partition("/")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise PretrainedError(
            spec,
            [f"no Python package {package!r} is installed here"],
            "Install the package that brings it, on every machine of the cluster, or name a folder.",
        )
    return Path(found.submodule_search_locations[0]) / folder
