"""Tests the split of GiantSteps by artist; tests/preparation/sources/test_giantsteps.py compares it with jukemir's."""

import hashlib
import itertools
import random

from mulan.preparation.sources.giantsteps_split import artist_splits


def hashed_to_validation(artist: str) -> bool:
    """Jukemir's rule, written with its list of 116 parts."""
    parts = ["train"] * 100 + ["validation"] * 16
    return parts[int.from_bytes(hashlib.sha1(artist.lower().encode()).digest(), "big") % 116] == "validation"


NAMES = [f"Artist {number}" for number in range(400)]
TRAIN = [name for name in NAMES if not hashed_to_validation(name)]
VALIDATION = [name for name in NAMES if hashed_to_validation(name)]


def test_single_artists_have_the_splits_of_jukemir() -> None:
    """As its file giantsteps_clips.json.gz has them."""
    train = ["Philippe Van Mullem", "Billy Paul Williams", "Alek Biotic"]
    validation = ["Pole Folder", "Solid Slide", "Jan Jelinek"]
    assert artist_splits(train + validation) == dict.fromkeys(train, "train") | dict.fromkeys(validation, "validation")


def test_every_artist_alone_follows_the_hash_of_the_name_in_lower_case() -> None:
    assert len(VALIDATION) > 20
    splits = artist_splits(NAMES)
    assert {name for name, split in splits.items() if split == "validation"} == set(VALIDATION)
    assert list(artist_splits([name.upper() for name in NAMES]).values()) == list(splits.values())


def test_collaborators_of_validation_come_to_validation() -> None:
    first, second, third, alone = TRAIN[:4]
    songs = [f"{second},  {third}", f"{first}, {second}", f"{VALIDATION[0]}, {first}", third, alone]
    # against the order of the songs, each pass reaches one collaborator more, and the songs themselves another one
    assert artist_splits(songs) == {
        songs[0]: "validation", songs[1]: "validation", songs[2]: "validation", third: "train", alone: "train"
    }  # fmt: skip
    # in their order, one pass reaches all of them
    assert artist_splits(songs[2::-1] + songs[3:])[third] == "validation"


def test_songs_of_the_same_artists_and_their_order_within_a_song() -> None:
    rng = random.Random(0)
    songs = [", ".join(rng.sample(TRAIN[:60] + VALIDATION[:3], rng.choice([1, 2, 3]))) for _ in range(80)]
    splits = {name: hashed_to_validation(name) for name in NAMES}
    for _, song in itertools.product(range(2), songs):
        names = song.split(", ")
        if any(map(splits.get, names)):
            for name in names:
                splits[name] = True
    expected = {song: any(splits[name] for name in song.split(", ")) for song in songs}
    assert 0 < sum(expected.values()) < len(expected)
    assert {song: split == "validation" for song, split in artist_splits(songs + songs[:1]).items()} == expected
