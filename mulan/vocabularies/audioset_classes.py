"""The lists of AudioSet's classes of music that models are evaluated on, as files of this package."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

ClassListName = Literal["music", "gen_25", "mu_141_without_roles", "mu_141_without_moods"]
"""Names of the lists: all labelled classes of music, the 25 genres, and the two readings of the 141 classes of music.

MuLan §4.1.1 evaluates on Gen-25 and Mu-141 without listing their classes.
"""

_FILE = Path(__file__).with_name("audioset_classes.json")


@dataclass(frozen=True)
class ClassList:
    """A list of AudioSet's classes."""

    definition: str
    """How the list follows from AudioSet's ontology."""
    classes: Mapping[str, str]
    """Display name of each class by its machine id, in the order of ``class_labels_indices.csv``."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of recordings that stand for the classes, in their order."""
        return tuple(map(tag_of, self.classes.values()))


def tag_of(display_name: str) -> str:
    """Returns the tag that stands for a class, which is also a class of ``m_resnet50_audioset``.

    Example:
        >>> tag_of("Music of Latin America")
        'audioset:Music of Latin America'
    """
    return f"audioset:{display_name}"


def class_list(name: ClassListName) -> ClassList:
    """Returns a list of AudioSet's classes of music.

    Example:
        >>> class_list("gen_25").tags[:2]
        ('audioset:Pop music', 'audioset:Hip hop music')
    """
    entry = json.loads(_FILE.read_text(encoding="utf-8"))["lists"][name]
    return ClassList(entry["definition"], MappingProxyType(entry["classes"]))
