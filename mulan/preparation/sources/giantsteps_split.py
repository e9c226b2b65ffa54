"""The split by artist of the GiantSteps MTG key data set that jukemir introduced (Castellon et al. 2021)."""

import hashlib
from collections.abc import Sequence

_TRAIN, _VALIDATION = 100, 16
"""Numbers of artists in ``train`` and ``validation`` of every 116: jukemir's shares of songs of 80 and 20 %."""


def artist_splits(songs: Sequence[str]) -> dict[str, str]:
    """Returns the split, ``train`` or ``validation``, of each combination of artists that made a song.

    An artist's split follows from SHA-1 of the name in lower case. Then, song after song, all artists of a song of
    which one is in ``validation`` come to ``validation``; this is done twice, for collaborators of collaborators.

    Args:
        songs: Artists of every song of the data set, also of those that are not used, separated by commas.
    """
    artists = {song: [name.strip() for name in song.split(",")] for song in songs}
    splits = {name: _split(name) for names in artists.values() for name in names}
    for _ in range(2):
        for song in songs:
            if any(splits[name] == "validation" for name in artists[song]):
                splits.update(dict.fromkeys(artists[song], "validation"))
    return {
        song: "validation" if any(splits[name] == "validation" for name in names) else "train"
        for song, names in artists.items()
    }


def _split(artist: str) -> str:
    number = int(hashlib.sha1(artist.lower().encode()).hexdigest(), 16)
    return "train" if number % (_TRAIN + _VALIDATION) < _TRAIN else "validation"
