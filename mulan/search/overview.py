"""The overview of an index, ``overview.json``: its most frequent tags, texts to search for, and a map of it.

It is made when the index changes, so that a server need not read all recordings to show it.
"""

from typing import Annotated

from pydantic import Field

from mulan.config.base import Fraction, NonNegativeInt, Section
from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_json
from mulan.config.validation import validated
from mulan.search.errors import UnusableIndex
from mulan.storage import filesystem

OVERVIEW_NAME = "overview.json"
MAX_EXAMPLES = 5
"""Maximum number of texts to search for."""


class TagCount(Section):
    """A tag and how frequent it is."""

    tag: str
    """The tag, ``category:text``."""
    recordings: NonNegativeInt
    """Number of recordings that have it."""


class MapPoint(Section):
    """A recording on the map."""

    recording_id: str
    """Id of the recording."""
    title: str
    """Title, or else the id."""
    x: Fraction
    """Position from left to right."""
    y: Fraction
    """Position from top to bottom."""
    group: str
    """Group that it belongs to; empty for none."""


class Overview(Section):
    """What is shown of a collection before it is searched."""

    version: NonNegativeInt = 0
    """Version of the table that it was made from."""
    recordings: NonNegativeInt = 0
    """Number of recordings."""
    windows: NonNegativeInt = 0
    """Number of windows of which the index has vectors."""
    tags: tuple[TagCount, ...] = ()
    """The most frequent tags, the most frequent one first."""
    examples: Annotated[tuple[str, ...], Field(max_length=MAX_EXAMPLES)] = ()
    """Texts to search for, made of frequent tags."""
    map_category: str = ""
    """Category of the tags that the groups of the map are; empty if there are no groups."""
    map_points: tuple[MapPoint, ...] = ()
    """The recordings on the map."""

    def write(self, uri: str) -> None:
        """Writes the overview to the folder of an index.

        Raises:
            StorageError: The storage cannot be written.
        """
        filesystem.write_atomically(filesystem.join(uri, OVERVIEW_NAME), self.model_dump_json().encode())

    @classmethod
    def read(cls, uri: str) -> "Overview":
        """Reads the overview from the folder of an index.

        Raises:
            UnusableIndex: There is none, or it is damaged.
            StorageError: The storage cannot be read.
        """
        where = filesystem.join(uri, OVERVIEW_NAME)
        try:
            values = parse_json(filesystem.read_bytes(where))
            return validated(cls, values if isinstance(values, dict) else {"": ""}, name=where)
        except (OSError, ValueError, RecipeError) as error:
            raise UnusableIndex(f"{where} is missing or damaged; repeat jobs.index, which makes it again") from error
