"""A data set of Hugging Face on disk: saved by ``datasets``, downloaded from the hub, or an audio folder."""

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from mulan.config.parsing import parse_json
from mulan.data.corpus.fields import split_name
from mulan.data.errors import BadRecording
from mulan.preparation.columnar import ARROW_EXTENSIONS, PARQUET_EXTENSIONS
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.layout import is_settings, without_corpora
from mulan.preparation.sources.official_files import read_official
from mulan.preparation.sources.table_recordings import RowsConfig, TableRecordings
from mulan.preparation.sources.table_rows import TableFile, is_table
from mulan.storage import filesystem
from mulan.storage.listing import files_below

_DICT, _STATE, _METADATA = "dataset_dict.json", "state.json", "metadata"
_DOWNLOAD = "download or save the data set again"
_LAYOUTS = (
    "name the folder of a data set: the output of save_to_disk, a snapshot of the hub with Parquet files, or an audio "
    "folder with metadata.csv or metadata.jsonl; for plain audio files use folder=PATH, and for tars webdataset=PATH"
)
_COLUMNAR = tuple(f".{extension}" for extension in sorted(PARQUET_EXTENSIONS | ARROW_EXTENSIONS))


class HfConfig(RowsConfig):
    """The settings of data sets of Hugging Face."""


class HuggingFaceDataset:
    """A data set in one of three layouts, which are told apart by their files:

    * the output of ``save_to_disk``: ``dataset_dict.json`` or ``state.json``, and Arrow files;
    * a snapshot of the hub, or the cache of ``datasets``: Parquet or Arrow files, whose split is in their name or that
      of their folder (``data/train-00000-of-00002.parquet``);
    * an audio folder: ``metadata.csv``, ``.jsonl`` or ``.parquet`` with a column ``file_name``, in any folder.

    Columns are understood as of :func:`mulan.data.corpus.fields.map_fields`, and class labels by their names. Paths
    must stay in the folder. The library ``datasets`` is not needed.
    """

    def __init__(self, uri: str, config: HfConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the folder.
            config: The settings.
        """
        self._uri, self._config = uri, config

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings in the order of files and rows, as of :class:`mulan.preparation.found.Source`.

        Raises:
            SourceError: The folder has another layout, or a file is missing or damaged.
            StorageError, StoragePermanentError: A file cannot be read.
        """
        source = f"hf={self._uri}"
        files = self._files(source)
        yield from TableRecordings(source, self._uri, files, self._config, trusted=False).recordings(faults)

    def _files(self, source: str) -> list[TableFile]:
        try:
            versions = files_below(
                self._uri,
                lambda name: is_table(name) or posixpath.basename(name) in (_DICT, _STATE) or is_settings(name),
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(source, [f"there is no folder {self._uri}; {_LAYOUTS}"]) from error
        if _DICT in versions or _STATE in versions:
            chosen = self._saved(source, versions)
        else:
            tables = [name for name in without_corpora(versions) if is_table(name)]
            metadata = [name for name in tables if posixpath.splitext(posixpath.basename(name))[0] == _METADATA]
            others = [name for name in tables if name.endswith(_COLUMNAR) and name not in metadata]
            chosen = {name: split_of(name) for name in others or metadata}
        if not chosen:
            raise SourceError(source, [f"{self._uri} is no data set of Hugging Face; {_LAYOUTS}"])
        return [
            TableFile(
                uri=filesystem.join(self._uri, name),
                name=name,
                prefix=posixpath.dirname(name),
                split=split,
                version=versions[name],
            )
            for name, split in chosen.items()
        ]

    def _saved(self, source: str, versions: dict[str, str]) -> dict[str, str]:
        """Returns the split of each file of a data set that save_to_disk has written, by its name."""
        if _DICT in versions:
            splits = _names(self._json(source, _DICT).get("splits"))
            states = {f"{split}/{_STATE}": split_of(split) for split in splits}
        else:
            states = {_STATE: ""}
        faults = [
            f"there is no {filesystem.join(self._uri, name)}; {_DOWNLOAD}" for name in states if name not in versions
        ]
        chosen: dict[str, str] = {}
        for name, split in states.items():
            if name not in versions:
                continue
            state = self._json(source, name)
            stated = state.get("_split")
            files = _file_names(state.get("_data_files"))
            if not files:
                faults.append(f"{filesystem.join(self._uri, name)} names no files; {_DOWNLOAD}")
            for file in files:
                path = posixpath.join(posixpath.dirname(name), file)
                chosen[path] = split or (split_of(stated) if isinstance(stated, str) else "")
                if path not in versions:  # nor is a path that leads out of the folder
                    faults.append(f"there is no {filesystem.join(self._uri, path)}, which {name} names; {_DOWNLOAD}")
        if faults:
            raise SourceError(source, faults)
        return chosen

    def _json(self, source: str, name: str) -> dict[str, Any]:
        uri = filesystem.join(self._uri, name)
        try:
            content = parse_json(read_official(source, uri, remedy=_DOWNLOAD))
        except ValueError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(source, [f"{uri} is not JSON: {error}; {_DOWNLOAD}"]) from error
        return content if isinstance(content, dict) else {}


def split_of(name: str) -> str:
    """Returns the split that the name of a file states, or else that of the innermost folder that does; or none.

    Example:
        >>> split_of("data/train-00000-of-00002.parquet"), split_of("dev/part-1.parquet"), split_of("all/data.parquet")
        ('train', 'validation', '')
    """
    for part in reversed(posixpath.splitext(name)[0].split("/")):
        for word in re.split(r"[-_. ]", part):
            try:
                split = split_name(word)
            except BadRecording:
                continue
            if split:
                return split
    return ""


def _file_names(files: Any) -> list[str]:
    """Returns the names in a list of objects with ``filename``."""
    objects = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return _names([file.get("filename") for file in objects])


def _names(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
