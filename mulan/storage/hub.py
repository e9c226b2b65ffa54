"""Where pretrained weights are: in a folder, inside an installed Python package, or on the Hugging Face hub.

What lies in other storage is first copied to this machine, by :mod:`mulan.storage.weights_cache`.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import huggingface_hub

from mulan.config.errors import MulanError
from mulan.config.paths import absolute

_PACKAGE_SCHEME, _HUB_SCHEME = "python:", "hub:"
_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_CONFIGURATION_AND_WEIGHTS = {"configuration": ("config.json",), "weights": _SAFE_WEIGHTS + _PICKLED_WEIGHTS}

_PANIC = "PanicException"
"""The panic of the tokenizers library, which gives its class no name to import and no kinship with ``Exception``."""
_MAX_SAID = 300
"""Characters of another library's message."""


class PretrainedError(MulanError, ValueError):
    """Pretrained weights that are not there or cannot be used. Lists every fault found."""

    def __init__(self, spec: str, faults: Sequence[str], remedy: str) -> None:
        self.faults = tuple(faults)
        super().__init__(f"pretrained {spec!r}: {'; '.join(faults)}. {remedy}")


@contextmanager
def loading(spec: str, fault: str, remedy: str) -> Iterator[None]:
    """Turns all that a library raises while it reads files into a :class:`PretrainedError` of one line.

    Args:
        spec: what the recipe names.
        fault: what is then wrong: ``the tokenizer cannot be loaded``.
        remedy: a sentence or more.
    """
    try:
        yield
    except MulanError:
        raise
    except BaseException as error:  # what libraries raise for files of any content cannot be listed
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        kind = "" if isinstance(error, OSError | ValueError) and str(error) else f"{type(error).__name__}: "
        said = " ".join(f"{kind}{error}".split()).rstrip(" .:")
        shown = said if len(said) <= _MAX_SAID else f"{said[:_MAX_SAID]} ..."
        raise PretrainedError(spec, [f"{fault}: {shown}"], remedy) from error


@dataclass(frozen=True)
class Needed:
    """What a folder must hold for a field of the recipe."""

    field: str
    """``section.field``, for messages."""
    parts: Mapping[str, tuple[str, ...]]
    """Parts that ``transformers`` loads, each with the files of which one must be there."""
    companions: tuple[str, ...]
    """Files that are fetched as well, from the hub or from other storage, where they are there."""

    def patterns(self, *, pickled: bool) -> list[str]:
        """Names of the files to fetch, with ``*``; of the weights those in pickles, or those in safetensors."""
        files = {file for names in self.parts.values() for file in names} - {*_SAFE_WEIGHTS, *_PICKLED_WEIGHTS}
        weights = [*_PICKLED_WEIGHTS, "pytorch_model-*.bin"] if pickled else [*_SAFE_WEIGHTS, "model-*.safetensors"]
        return [*sorted(files), *self.companions, *weights]

    def chosen(self, names: Iterable[str]) -> list[str]:
        """The files to fetch of a folder that holds these: folders hold the same weights in many formats."""
        offered = sorted(names)
        pickled = not {*offered} & {*_SAFE_WEIGHTS}
        patterns = self.patterns(pickled=pickled)
        return [name for name in offered if any(fnmatchcase(name, pattern) for pattern in patterns)]


TEXT_ENCODER = Needed(
    "text_tower.pretrained",
    _CONFIGURATION_AND_WEIGHTS
    | {"tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")},
    ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
AST_CHECKPOINT = Needed("audio_tower.pretrained", _CONFIGURATION_AND_WEIGHTS, ("preprocessor_config.json",))


def absolute_spec(spec: str) -> str:
    """A field of the recipe that names pretrained weights, the same from every folder: a path in it is absolute."""
    return spec if spec.startswith((_HUB_SCHEME, _PACKAGE_SCHEME)) else absolute(spec)


def is_of_hub(spec: str) -> bool:
    """Whether a field of the recipe names a model of the Hugging Face hub."""
    return spec.startswith(_HUB_SCHEME)


def pretrained_folder(spec: str, needed: Needed = TEXT_ENCODER) -> Path:
    """The folder that a field of the recipe names.

    Args:
        spec: a folder's path; ``python:PACKAGE/FOLDER`` for a folder inside an installed package, which is found
            without being imported; or ``hub:OWNER/NAME`` for a model of the Hugging Face hub. The hub is asked for its
            newest version and only files that are not in the local cache are downloaded; where ``HF_HUB_OFFLINE`` is
            set, or the hub cannot be reached, the cache below ``HF_HOME`` is all there is.
        needed: what the folder is for.

    Raises:
        PretrainedError: there is no such package, folder or model, or it lacks a part.
    """
    if not spec:
        raise PretrainedError(
            spec,
            ["names nothing"],
            f"Set {needed.field} to a folder, its URI, hub:OWNER/NAME or python:PACKAGE/FOLDER.",
        )
    if is_of_hub(spec):
        folder = _from_hub(spec, needed)
    elif spec.startswith(_PACKAGE_SCHEME):
        folder = _inside_package(spec, needed)
    else:
        folder = Path(absolute(spec).removeprefix("file://"))
    if not folder.is_dir():
        raise PretrainedError(
            spec,
            [f"there is no folder {folder}"],
            f"Set {needed.field} to the folder of a model, or to hub:OWNER/NAME for a model of the Hugging Face hub.",
        )
    return whole_folder(spec, folder, needed)


def whole_folder(spec: str, folder: Path, needed: Needed) -> Path:
    """The folder itself, which is what ``spec`` names.

    Raises:
        PretrainedError: it lacks a part.
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


def _inside_package(spec: str, needed: Needed) -> Path:
    package, _, folder = spec.removeprefix(_PACKAGE_SCHEME).partition("/")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise PretrainedError(
            spec,
            [f"no Python package {package!r} is installed here"],
            f"Install the package that brings it, on every machine of the cluster, or name a folder in {needed.field}.",
        )
    return Path(found.submodule_search_locations[0]) / folder


def _from_hub(spec: str, needed: Needed) -> Path:
    """The folder of the local cache with the files needed, and no others: repositories hold the same weights in many
    formats."""
    name = spec.removeprefix(_HUB_SCHEME)
    try:
        folder = _snapshot(name, needed.patterns(pickled=False))
        if not _any_file(folder, needed.parts["weights"]):
            folder = _snapshot(name, needed.patterns(pickled=True))
    except Exception as error:  # the errors of the HTTP library that the hub's client happens to use are among them
        raise PretrainedError(
            spec,
            [f"not to be had from the Hugging Face hub or its local cache: {type(error).__name__}: {error}"],
            f"Download it where there is a network (hf download {name}) into the HF_HOME of every machine of the "
            f"cluster, or name a folder or its URI, such as s3://..., in {needed.field}.",
        ) from error
    return folder


def _snapshot(name: str, patterns: list[str]) -> Path:
    return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
