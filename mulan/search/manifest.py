"""The manifest of an index, ``index.json``: the model that its vectors are from, and how it is searched."""

from typing import Literal

from mulan.collection.embeddings import EmbeddingModel
from mulan.config.base import NonNegativeInt, Section
from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_json
from mulan.config.validation import validated
from mulan.search.errors import OtherModel, UnusableIndex
from mulan.storage import filesystem

MANIFEST_NAME = "index.json"


class IndexManifest(Section):
    """What is fixed when an index is made. A folder without it is no index, or an unfinished one."""

    format: Literal["mulan-index-v1"] = "mulan-index-v1"
    """Name and version of the format."""
    model: EmbeddingModel
    """The model that has computed the vectors, the only one whose queries the index answers."""
    windows: bool
    """Whether it has the vectors of windows, and thereby moments."""
    approximate_above: NonNegativeInt
    """The number of recordings above which searches are approximate."""

    def write(self, uri: str) -> None:
        """Writes the manifest to the folder of an index.

        Raises:
            StorageError: The storage cannot be written.
        """
        filesystem.write_atomically(filesystem.join(uri, MANIFEST_NAME), self.model_dump_json(indent=2).encode())

    @classmethod
    def read(cls, uri: str) -> "IndexManifest":
        """Reads the manifest from the folder of an index.

        Raises:
            UnusableIndex: There is none, or it is damaged or of another version.
            StorageError: The storage cannot be read.
        """
        where = filesystem.join(uri, MANIFEST_NAME)
        try:
            values = parse_json(filesystem.read_bytes(where))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableIndex(f"there is no index in {uri}: {MANIFEST_NAME} is missing; {_MAKE}") from error
        except (OSError, ValueError) as error:
            raise UnusableIndex(f"{where} cannot be read: {error}; {_MAKE}") from error
        try:
            return validated(cls, values if isinstance(values, dict) else {}, name=where)
        except RecipeError as error:
            raise UnusableIndex(f"{where} is damaged, or of another version of mulan; {_MAKE}\n{error}") from error

    def check_model(self, sha256: str, model_uri: str, index_uri: str) -> None:
        """Checks that a model is the one of the index.

        Raises:
            OtherModel: It is another one.
        """
        if sha256 != self.model.sha256:
            raise OtherModel(
                f"the index {index_uri} has vectors of {self.model.uri} (SHA-256 {self.model.sha256[:12]}), which "
                f"cannot be compared with those of {model_uri} ({sha256[:12]}); name that model, or embed the "
                "collection with this one and index it again"
            )


_MAKE = "make it with jobs.index"
