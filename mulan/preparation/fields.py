"""The settings that name the fields with texts and tags, for sources whose recordings have named fields."""

from pydantic import Field

from mulan.config.base import Section
from mulan.config.sections import StoredSource
from mulan.data.corpus.fields import Fields


class FieldsConfig(Section):
    """The names of the fields with texts and tags: columns of a table, or members and JSON fields of a WebDataset.

    Names are patterns as of :mod:`fnmatch`; fields of nested objects are named with dots (``meta.caption``).
    """

    texts: dict[StoredSource, tuple[str, ...]] = Field(default_factory=dict)
    """Names of the fields with texts, by text source; empty for the usual names, such as ``caption``."""
    tags: tuple[str, ...] = ()
    """Names of the fields with tags; empty for the usual names, such as ``genre``."""

    def fields(self) -> Fields:
        """Returns the names as the value that readers of corpora use."""
        return Fields(self.texts, self.tags)
