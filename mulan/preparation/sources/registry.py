"""The kinds of sources by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mulan.config.base import Section
from mulan.preparation.found import Source

SourceKind = Callable[[str, Section], Source]
"""Creates a source from its path or URI, which is absolute, and its section of the settings."""

KINDS: Mapping[str, SourceKind] = MappingProxyType({})
"""The kinds of sources, by the names that ``--source KIND=PATH`` takes; each has a section of that name."""
