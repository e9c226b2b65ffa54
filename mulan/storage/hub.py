"""Pretrained weights in a folder, inside an installed Python package, or on the Hugging Face hub.

Weights in other storage are first copied to this machine by :mod:`mulan.storage.weights_cache`.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import huggingface_hub

from mulan.config.audio import AstTowerConfig, AudioTowerConfig, PretrainedTowerConfig
from mulan.config.errors import MulanError
from mulan.config.paths import absolute

_PACKAGE_SCHEME, _HUB_SCHEME = "python:", "hub:"
_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_CONFIGURATION_AND_WEIGHTS = {"configuration": ("config.json",), "weights": _SAFE_WEIGHTS + _PICKLED_WEIGHTS}

_PANIC = "PanicException"
"""Class name of a panic in the tokenizers library; the class cannot be imported and does not derive from Exception."""
_MAX_MESSAGE = 300
"""Maximum number of characters that are quoted of another library's message."""


class PretrainedError(MulanError, ValueError):
    """Raised when pretrained weights are missing or cannot be used. The message lists all faults."""

    def __init__(self, spec: str, faults: Sequence[str], remedy: str) -> None:
        self.faults = tuple(faults)
        super().__init__(f"pretrained {spec!r}: {'; '.join(faults)}. {remedy}")


@contextmanager
def loading(spec: str, fault: str, remedy: str) -> Iterator[None]:
    """Turns every exception of a library that reads pretrained files into a one-line :class:`PretrainedError`.

    Args:
        spec: Name of the weights in the recipe.
        fault: Consequence of an exception, such as ``"its tokenizer cannot be loaded"``.
        remedy: One or more sentences, with which the message ends.
    """
    try:
        yield
    except MulanError:
        raise
    except BaseException as error:  # libraries raise all kinds of exceptions for arbitrary file content
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        kind = "" if isinstance(error, OSError | ValueError) and str(error) else f"{type(error).__name__}: "
        message = " ".join(f"{kind}{error}".split()).rstrip(" .:")
        shown = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]} ..."
        raise PretrainedError(spec, [f"{fault}: {shown}"], remedy) from error


@dataclass(frozen=True)
class RequiredFiles:
    """The files that the folder named by a field of the recipe must contain."""

    field: str
    """Name of the field as ``section.field``, for messages."""
    parts: Mapping[str, tuple[str, ...]]
    """Parts that ``transformers`` loads, each with the names of alternative files, one of which must exist."""
    optional: tuple[str, ...]
    """Names of further files that are fetched, from the hub or from other storage, if they exist."""

    def patterns(self, *, pickled: bool) -> list[str]:
        """Returns glob patterns of the files to fetch, with the weights either as pickles or as safetensors."""
        files = {file for names in self.parts.values() for file in names} - {*_SAFE_WEIGHTS, *_PICKLED_WEIGHTS}
        weights = [*_PICKLED_WEIGHTS, "pytorch_model-*.bin"] if pickled else [*_SAFE_WEIGHTS, "model-*.safetensors"]
        return [*sorted(files), *self.optional, *weights]

    def select(self, names: Iterable[str]) -> list[str]:
        """Returns the files to fetch out of those in a folder, which may hold the same weights in several formats."""
        offered = sorted(names)
        pickled = not {*offered} & {*_SAFE_WEIGHTS}
        patterns = self.patterns(pickled=pickled)
        return [name for name in offered if any(fnmatchcase(name, pattern) for pattern in patterns)]


TEXT_ENCODER = RequiredFiles(
    "text_tower.pretrained",
    _CONFIGURATION_AND_WEIGHTS
    | {"tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")},
    ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
MODEL_CARD = "README.md"
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
AST_CHECKPOINT = RequiredFiles(
    "audio_tower.pretrained",
    _CONFIGURATION_AND_WEIGHTS,
    ("preprocessor_config.json", MODEL_CARD, *LICENCE_FILES),
)
AUDIO_CHECKPOINT = RequiredFiles(
    "audio_tower.pretrained",
    _CONFIGURATION_AND_WEIGHTS | {"feature extractor": ("preprocessor_config.json",)},
    (MODEL_CARD, *LICENCE_FILES),
)


def audio_checkpoint_files(tower: AudioTowerConfig) -> RequiredFiles | None:
    """Returns the files of the checkpoint of ``transformers`` that an audio tower names; None if it names none."""
    if isinstance(tower, PretrainedTowerConfig):
        return AUDIO_CHECKPOINT
    return AST_CHECKPOINT if isinstance(tower, AstTowerConfig) and tower.pretrained else None


def absolute_spec(spec: str) -> str:
    """Returns the name of pretrained weights in a recipe, made absolute if it is a path."""
    return spec if spec.startswith((_HUB_SCHEME, _PACKAGE_SCHEME)) else absolute(spec)


def is_hub_model(spec: str) -> bool:
    """Returns whether the name of pretrained weights in a recipe is that of a model on the Hugging Face hub."""
    return spec.startswith(_HUB_SCHEME)


def pretrained_folder(spec: str, needed: RequiredFiles = TEXT_ENCODER) -> Path:
    """Returns the local folder of the pretrained weights that a recipe names.

    Args:
        spec: Path of a folder; ``python:PACKAGE/FOLDER`` for a folder inside an installed package, which is located
            without being imported; or ``hub:OWNER/NAME`` for a model on the Hugging Face hub. The newest version on the
            hub is used, and only files that are not in the local cache are downloaded; if ``HF_HUB_OFFLINE`` is set, or
            the hub cannot be reached, only the cache below ``HF_HOME`` is used.
        needed: Files that the folder must contain.

    Raises:
        PretrainedError: There is no such package, folder or model, or it lacks a part.
    """
    if not spec:
        raise PretrainedError(
            spec,
            ["the name is empty"],
            f"Set {needed.field} to a folder, its URI, hub:OWNER/NAME or python:PACKAGE/FOLDER.",
        )
    if is_hub_model(spec):
        folder = _from_hub(spec, needed)
    elif spec.startswith(_PACKAGE_SCHEME):
        folder = _inside_package(spec, needed)
    else:
        folder = Path(absolute(spec).removeprefix("file://"))
    if not folder.is_dir():
        raise PretrainedError(
            spec,
            [f"there is no folder {folder}"],
            f"Set {needed.field} to the folder of a model, or to hub:OWNER/NAME for a model on the Hugging Face hub.",
        )
    return check_folder(spec, folder, needed)


def check_folder(spec: str, folder: Path, needed: RequiredFiles) -> Path:
    """Checks that a folder contains all parts, and returns it.

    Args:
        spec: Name of the weights in the recipe, for messages.
        folder: Folder to check.
        needed: Files that the folder must contain.

    Raises:
        PretrainedError: A part is missing.
    """
    faults = [
        f"no {part} in {folder} (looked for {' or '.join(files)})"
        for part, files in needed.parts.items()
        if not _any_file(folder, files)
    ]
    if faults:
        raise PretrainedError(
            spec,
            faults,
            f"Set {needed.field} to a folder with {', '.join(needed.parts)} as transformers' save_pretrained "
            "writes them.",
        )
    return folder


def _any_file(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _inside_package(spec: str, needed: RequiredFiles) -> Path:
    package, _, folder = spec.removeprefix(_PACKAGE_SCHEME).partition("/")
    try:
        module = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        module = None
    if module is None or not module.submodule_search_locations:
        raise PretrainedError(
            spec,
            [f"no Python package {package!r} is installed here"],
            f"Install it on every machine of the cluster, or name a folder in {needed.field}.",
        )
    return Path(module.submodule_search_locations[0]) / folder


def _from_hub(spec: str, needed: RequiredFiles) -> Path:
    """Downloads only the needed files, as repositories hold the same weights in several formats; returns the folder."""
    name = spec.removeprefix(_HUB_SCHEME)
    try:
        folder = _snapshot(name, needed.patterns(pickled=False))
        if not _any_file(folder, needed.parts["weights"]):
            folder = _snapshot(name, needed.patterns(pickled=True))
    except Exception as error:  # including those of the HTTP library that the hub's client uses
        raise PretrainedError(
            spec,
            [f"neither on the Hugging Face hub nor in its local cache: {type(error).__name__}: {error}"],
            f"Download it with network access (hf download {name}) into the HF_HOME of every machine of the "
            f"cluster, or name a folder or its URI, such as s3://..., in {needed.field}.",
        ) from error
    return folder


def _snapshot(name: str, patterns: list[str]) -> Path:
    return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
