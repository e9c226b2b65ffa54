"""The groups of recordings on a map: their most frequent tags of one category."""

from collections import Counter
from collections.abc import Sequence

from mulan.data.corpus.metadata import split_tag

MAX_GROUPS = 10
"""Maximum number of groups."""
_PREFERRED = "genre"
_MAX_CHARACTERS = 24
"""Maximum length of the name of a group."""


def tag_groups(tags: Sequence[Sequence[str]]) -> tuple[str, list[str]]:
    """Returns a category and the group of each recording; empty for recordings that have none of the groups.

    The category is ``genre`` if there is one, or else the one that most recordings have a tag of.

    Args:
        tags: The tags of each recording, ``category:text``.
    """
    pairs_of = [[split_tag(tag) for tag in own] for own in tags]
    having = Counter(category for pairs in pairs_of for category in {category for category, _ in pairs})
    if not having:
        return "", [""] * len(tags)
    category = _PREFERRED if _PREFERRED in having else max(having, key=lambda name: (having[name], name))
    counts = Counter(text for pairs in pairs_of for own, text in pairs if own == category)
    # in alphabetical order within equal counts, so that the order of recordings does not matter
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_GROUPS]
    groups = []
    for pairs in pairs_of:
        own = {text for name, text in pairs if name == category}
        group = next((text for text in frequent if text in own), "")
        groups.append(group if len(group) <= _MAX_CHARACTERS else group[: _MAX_CHARACTERS - 1] + "…")
    return category, groups
