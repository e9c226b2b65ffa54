"""Tests that recordings of one artist are in one split, and that splits are stable and have their shares."""

import math
from collections import Counter

import pytest

from mulan.config.errors import RecipeError
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.settings import SplitConfig
from mulan.preparation.splits import split_of

CONFIG = SplitConfig(validation=0.1, test=0.2)


def recording(recording_id: str, artist: str = "", split: str = "") -> FoundRecording:
    return FoundRecording(recording_id=recording_id, audio=AudioLocation(uri="/a.mp3"), artist=artist, split=split)


@pytest.mark.parametrize("by", ["artist", "id"])
@pytest.mark.parametrize("config", [CONFIG, SplitConfig(validation=0.5, test=0.5)])
def test_the_shares_of_artists(config: SplitConfig, by: str) -> None:
    """Each number is within five standard deviations of its binomial distribution."""
    artists, n = [f"Artist {number}" for number in range(20_000)], 20_000
    splits = Counter(split_of(recording(name, name if by == "artist" else ""), config) for name in artists)
    shares = {"validation": config.validation, "test": config.test, "train": 1 - config.validation - config.test}
    for split, share in shares.items():
        assert abs(splits[split] - n * share) <= 5 * math.sqrt(n * share * (1 - share))
    assert sum(splits.values()) == n


def test_all_recordings_of_an_artist_are_in_one_split() -> None:
    for artist in (f"Artist {number}" for number in range(50)):
        spellings = [artist, artist.upper(), f"  {artist}", f"{artist} feat. Others", f"The {artist}", f"{artist}, The"]
        found = {split_of(recording(f"{artist}-{name}", name), CONFIG) for name in spellings}
        assert len(found) == 1


def test_recordings_of_unknown_artists_are_in_splits_of_their_own() -> None:
    for artist in ("", "Unknown Artist", "Various Artists"):
        splits = Counter(split_of(recording(str(number), artist), CONFIG) for number in range(1000))
        assert set(splits) == {"train", "validation", "test"}


def test_official_splits_are_kept() -> None:
    for split in ("train", "validation", "test"):
        assert {split_of(recording(str(n), f"Artist {n}", split), CONFIG) for n in range(100)} == {split}
    with pytest.raises(ValueError, match="7: the split 'valid' is none of train, validation, test"):
        split_of(recording("7", split="valid"), CONFIG)


KNOWN = {"Radiohead": "test", "Björk": "train", "Nina Simone": "train", "Can": "validation", "Fela Kuti": "train"}
KNOWN_IDS = ["train", "validation", "validation", "validation", "train"]


def test_splits_never_change() -> None:
    """The values were computed once: prepared corpora depend on them."""
    wide = SplitConfig(validation=0.3, test=0.3)
    assert {name: split_of(recording("1", name), wide) for name in KNOWN} == KNOWN
    assert [split_of(recording(name), wide) for name in ("a/1", "a/2", "a/3", "a/4", "a/5")] == KNOWN_IDS


def test_a_test_artist_stays_one_when_the_shares_grow() -> None:
    artists = [f"Artist {number}" for number in range(2000)]
    small, large = SplitConfig(validation=0.05, test=0.05), SplitConfig(validation=0.1, test=0.2)
    tested = {name for name in artists if split_of(recording(name, name), small) == "test"}
    assert tested < {name for name in artists if split_of(recording(name, name), large) == "test"}


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"more than 1 together: 0\.6 \+ 0\.5"):
        SplitConfig().replace(validation=0.6, test=0.5)
    assert SplitConfig(validation=0.3, test=0.7).test == 0.7
