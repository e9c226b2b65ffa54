"""The manifest of an index, ``index.json``: the model that its vectors are from, and how it is searched."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mulan.search.errors import UnusableIndex
from mulan.storage import filesystem

MANIFEST = "index.json"
_FORMAT: Literal["mulan-index-v1"] = "mulan-index-v1"


class IndexedModel(BaseModel):
    """The model that the vectors of an index are from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    uri: str
    """Path or URI that it was loaded from."""
    sha256: str
    """Digest of its files, which a model has to have to search the index."""
    dim: int = Field(ge=1)
    """Size d of its vectors."""


class IndexManifest(BaseModel):
    """What is fixed when an index is made. A folder without it is no index, or an unfinished one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mulan-index-v1"] = _FORMAT
    model: IndexedModel
    windows: bool
    """Whether it has the vectors of windows, and thereby moments."""
    approximate_above: int = Field(ge=0)
    """The number of recordings above which searches are approximate."""

    def write(self, uri: str) -> None:
        """Writes the manifest to the folder of an index.

        Raises:
            StorageError: The storage cannot be written.
        """
        filesystem.write_atomically(filesystem.join(uri, MANIFEST), self.model_dump_json(indent=2).encode())

    @classmethod
    def read(cls, uri: str) -> "IndexManifest":
        """Reads the manifest from the folder of an index.

        Raises:
            UnusableIndex: There is none, or it is damaged or of another version.
            StorageError: The storage cannot be read.
        """
        try:
            content = json.loads(filesystem.read_bytes(filesystem.join(uri, MANIFEST)))
            return cls.model_validate(content)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableIndex(f"there is no index in {uri}; make it with jobs.index, which may have been interrupted") from error
        except (ValidationError, ValueError) as error:
            raise UnusableIndex(
                f"{filesystem.join(uri, MANIFEST)} is damaged, or of another version of mulan; make the index again with "
                f"jobs.index: {str(error).splitlines()[0]}"
            ) from error

    def check_model(self, sha256: str, model_uri: str, index_uri: str) -> None:
        """Checks that a model is the one of the index.

        Raises:
            UnusableIndex: It is another one.
        """
        if sha256 != self.model.sha256:
            raise UnusableIndex(
                f"the index {index_uri} has vectors of {self.model.uri} (SHA-256 {self.model.sha256[:12]}), which "
                f"cannot be compared with those of {model_uri} ({sha256[:12]}); give that model, or embed the collection "
                "with this one and index it again"
            )
