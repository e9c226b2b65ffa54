"""The class of music among the classes of a tagger."""

import difflib
from collections.abc import Sequence

from mulan.config.errors import MulanError
from mulan.data.errors import one_line

MUSIC = "Music"
"""Name of AudioSet's class of music."""
MUSIC_ID = "/m/04rlf"
"""Id of AudioSet's class of music."""

_MAX_NAMED = 10
"""Maximum number of classes that a message names."""


class MusicDetectorError(MulanError, ValueError):
    """Raised when the music detector that ``music.tagger`` names cannot be used. The message is one line."""

    def __init__(self, tagger: str, fault: str, remedy: str) -> None:
        """
        Args:
            tagger: Value of ``music.tagger``.
            fault: What is wrong, without a full stop.
            remedy: One or more sentences, with which the message ends.
        """
        self.tagger, self.fault, self.remedy = tagger, one_line(fault, 1000), remedy
        super().__init__(f"music.tagger {one_line(tagger)!r}: {self.fault}. {remedy}")

    def __reduce__(self) -> tuple[type["MusicDetectorError"], tuple[str, str, str]]:
        return type(self), (self.tagger, self.fault, self.remedy)


def music_class(tagger: str, tags: Sequence[str]) -> int:
    """Returns the number of the class of music.

    It is the only class that is named ``Music`` in any case, or has AudioSet's id of music. A category before the name,
    as in ``audioset:Music``, does not matter.

    Args:
        tagger: Value of ``music.tagger``, for messages.
        tags: Names of the classes.

    Raises:
        MusicDetectorError: There is no such class, or there are several. The message names those, or similar ones.
    """
    found = [number for number, tag in enumerate(tags) if _name(tag) in (MUSIC.lower(), MUSIC_ID)]
    if len(found) == 1:
        return found[0]
    if found:
        fault = f"it has several classes of music: {_listed([tags[number] for number in found])}"
        raise MusicDetectorError(tagger, fault, f"Set music.tagger to a tagger with one class named {MUSIC}.")
    near = _near(tags)
    classes = f"of its {len(tags)} classes, the nearest are {_listed(near)}" if near else f"it has {_listed(tags)}"
    raise MusicDetectorError(
        tagger,
        f"it has no class named {MUSIC}; {classes}",
        f"Set music.tagger to a tagger with a class {MUSIC}, audioset:{MUSIC} or {MUSIC_ID}.",
    )


def _name(tag: str) -> str:
    """Returns the name of a class without its category, in lower case."""
    return tag.rpartition(":")[2].strip().lower()


def _near(tags: Sequence[str]) -> list[str]:
    """Returns the classes whose names contain the word, then those that are spelled similarly."""
    containing = [tag for tag in tags if MUSIC.lower() in _name(tag)]
    names = {_name(tag): tag for tag in tags if tag not in containing}
    spelled = difflib.get_close_matches(MUSIC.lower(), names, n=_MAX_NAMED)
    return containing + [names[name] for name in spelled]


def _listed(tags: Sequence[str]) -> str:
    more = f" and {len(tags) - _MAX_NAMED} more" if len(tags) > _MAX_NAMED else ""
    return ", ".join(repr(tag) for tag in tags[:_MAX_NAMED]) + more
