"""Fixed lists of tags by name, so that a score does not depend on which tags a corpus happens to have.

Each list is a file of ``lists/`` with one tag ``category:text`` per line, or one of AudioSet's lists of classes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mulan.vocabularies.audioset_classes import ClassListName, class_list

_LISTS = Path(__file__).with_name("lists")
_AUDIOSET: dict[str, ClassListName] = {
    "audioset_gen25": "gen_25",
    "audioset_mu141_without_roles": "mu_141_without_roles",
    "audioset_mu141_without_moods": "mu_141_without_moods",
}


@dataclass(frozen=True)
class Vocabulary:
    """A fixed list of tags."""

    name: str
    """Name of the list, such as ``mtat_top50``."""
    tags: tuple[str, ...]
    """Distinct tags, ``category:text``."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the tags, each followed by a line feed, in hexadecimal; reports state it."""
        return hashlib.sha256("".join(f"{tag}\n" for tag in self.tags).encode()).hexdigest()


def vocabulary_names() -> tuple[str, ...]:
    """Returns the names of all lists, in alphabetical order."""
    return tuple(sorted([*_AUDIOSET, *(path.stem for path in _LISTS.glob("*.txt"))]))


def vocabulary(name: str) -> Vocabulary:
    """Returns a list by its name.

    Raises:
        KeyError: There is no such list.

    Example:
        >>> vocabulary("mtat_top50").tags[:2], len(vocabulary("audioset_gen25").tags)
        (('mtat:guitar', 'mtat:classical'), 25)
    """
    if name not in vocabulary_names():
        raise KeyError(name)
    if name in _AUDIOSET:
        return Vocabulary(name, class_list(_AUDIOSET[name]).tags)
    return Vocabulary(name, tuple((_LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()))
