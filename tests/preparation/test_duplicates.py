"""Tests which copies are left out, against comparisons of all pairs."""

import hashlib
import random
from collections.abc import Callable, Iterable

import pytest

from mulan.config.errors import RecipeError
from mulan.preparation.duplicates import bands_and_rows, exact_duplicates, near_duplicates
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.settings import DuplicateConfig

SPLITS = ("test", "validation", "train")
TITLED, ALL = DuplicateConfig(), DuplicateConfig(texts="all")
WORDS = [f"{first}{second}" for first in ("ba", "ko", "mi", "ster") for second in ("lan", "rock", "tune", "ving", "s")]

Found = list[tuple[FoundRecording, str]]


def sha256(content: int) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def by_preference(recordings: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return sorted(recordings, key=lambda recording: SPLITS.index(recording[1]))


@pytest.mark.parametrize("seed", range(30))
def test_exact_duplicates_are_those_of_all_pairs(seed: int) -> None:
    rng = random.Random(seed)
    recordings = [(f"id{n}", rng.choice(SPLITS), sha256(rng.randrange(25))) for n in range(60)]
    expected: dict[str, str] = {}
    for at, (recording_id, _, digest) in enumerate(by_preference(recordings)):
        originals = [other for other, _, same in by_preference(recordings)[:at] if same == digest]
        if originals:
            expected[recording_id] = originals[0]
    assert exact_duplicates(iter(recordings)) == expected
    assert len(recordings) - len(expected) == len({digest for *_, digest in recordings})


def test_a_copy_of_a_test_recording_does_not_remain_in_train() -> None:
    recordings = [("a", "train", sha256(1)), ("b", "validation", sha256(1)), ("c", "test", sha256(1))]
    assert exact_duplicates(recordings) == {"a": "c", "b": "c"}
    assert exact_duplicates(reversed(recordings)) == {"a": "c", "b": "c"}
    assert exact_duplicates([("x", "train", sha256(2)), *recordings[:1]]) == {}


def found(recording_id: str, *texts: str, title: str = "Title", artist: str = "Artist") -> FoundRecording:
    location = AudioLocation(uri=f"/{recording_id}.mp3")
    return FoundRecording(
        recording_id=recording_id, audio=location, title=title, artist=artist, texts={"long_form": list(texts)}
    )


def again(recordings: Found) -> Callable[[], Iterable[tuple[FoundRecording, str]]]:
    return lambda: iter(recordings)


def shingles_by_hand(texts: Iterable[str]) -> set[str]:
    """For texts of lower-case letters and single spaces, whose normalised form they are."""
    return {text[at : at + 5] for text in texts for at in range(len(text) - 4)}


def similar_by_hand(recordings: Found, similarity: float, *, titled: bool) -> dict[str, str]:
    """Compares each recording with all that are kept, in the order of preference."""
    kept: list[FoundRecording] = []
    left_out = {}
    for recording, _ in sorted(recordings, key=lambda pair: SPLITS.index(pair[1])):
        mine = shingles_by_hand(recording.texts["long_form"])
        for other in kept:
            theirs = shingles_by_hand(other.texts["long_form"])
            same = not titled or (recording.title, recording.artist) == (other.title, other.artist)
            if same and len(mine & theirs) / len(mine | theirs) >= similarity:
                left_out[recording.recording_id] = other.recording_id
                break
        else:
            kept.append(recording)
    return left_out


def planted(seed: int, count: int) -> Found:
    """Returns recordings with texts of random words, of which half are copies with some words changed."""
    rng = random.Random(seed)
    originals = [rng.choices(WORDS, k=rng.randint(20, 60)) for _ in range(count // 2)]
    recordings = []
    for number in range(count):
        words = list(originals[number % len(originals)])
        for _ in range(rng.choice([0, 0, 1, 2, 3, 6]) if number >= len(originals) else 0):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        title = f"Title {rng.randrange(2)}" if rng.random() < 0.5 else f"Title {number % len(originals)}"
        recordings.append((found(f"id{number}", " ".join(words), title=title), rng.choice(SPLITS)))
    rng.shuffle(recordings)
    return recordings


@pytest.mark.parametrize("similarity", [0.7, 0.9, 1.0])
@pytest.mark.parametrize("texts", ["titled", "all"])
@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_are_those_of_all_pairs(seed: int, texts: str, similarity: float) -> None:
    recordings = planted(seed, 100)
    config = DuplicateConfig(texts=texts, similarity=similarity)
    expected = similar_by_hand(recordings, similarity, titled=texts == "titled")
    assert near_duplicates(again(recordings), config) == expected
    assert len(expected) >= 5


def test_no_pair_is_missed_among_many() -> None:
    """Of a pair at the minimum similarity, MinHash misses less than one in a thousand."""
    rng, recordings, pairs = random.Random(0), [], {}
    for number in range(150):
        words = rng.choices(WORDS, k=60)
        changed = [*words[:30], "changed", *words[31:]]
        one, other = " ".join(words), " ".join(changed)
        a, b = shingles_by_hand([one]), shingles_by_hand([other])
        if len(a & b) / len(a | b) >= 0.9:
            pairs[f"copy{number}"] = f"id{number}"
        recordings += [(found(f"id{number}", one), "train"), (found(f"copy{number}", other), "train")]
    assert near_duplicates(again(recordings), ALL) == pairs
    assert 30 < len(pairs) < 150


@pytest.mark.parametrize("similarity", [0.5, 0.63, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_nearly_all_pairs(similarity: float) -> None:
    bands, rows = bands_and_rows(similarity)
    assert bands * rows <= 128 and bands >= 2
    assert (1 - similarity**rows) ** bands <= 1e-3
    assert rows == 64 or (1 - similarity ** (rows + 1)) ** (128 // (rows + 1)) > 1e-3


CAPTION = "a slow and sad piano piece with a lot of reverb and no voice"


def test_the_same_caption_of_different_recordings_is_no_duplicate() -> None:
    recordings = [(found(f"id{n}", CAPTION, title=f"Title {n}"), "train") for n in range(5)]
    assert near_duplicates(again(recordings), TITLED) == {}
    assert near_duplicates(again(recordings), ALL) == {f"id{n}": "id0" for n in range(1, 5)}
    assert near_duplicates(again(recordings), DuplicateConfig(texts="off")) == {}


def test_titles_and_artists_are_normalised_and_must_be_known() -> None:
    spellings = [("Déjà Vu", "The Artist"), ("deja vu", "Artist feat. Others"), ("DEJA-VU!", "artist")]
    recordings = [(found(f"id{n}", CAPTION, title=t, artist=a), "train") for n, (t, a) in enumerate(spellings)]
    assert near_duplicates(again(recordings), TITLED) == {"id1": "id0", "id2": "id0"}
    for title, artist in (("", "Artist"), ("Title", ""), ("Title", "Various Artists"), ("Untitled", "Artist")):
        unknown = [(found(f"id{n}", CAPTION, title=title, artist=artist), "train") for n in range(2)]
        assert near_duplicates(again(unknown), TITLED) == {}


def test_texts_that_only_repeat_names_are_not_compared() -> None:
    bare = [(found(f"id{n}", "Title", "ARTIST.", ""), "train") for n in range(3)]
    assert near_duplicates(again(bare), TITLED) == {}
    assert near_duplicates(again([(found(f"id{n}"), "train") for n in range(3)]), TITLED) == {}
    short = [(found(f"id{n}", "short", "Title"), "train") for n in range(2)]
    assert near_duplicates(again(short), TITLED) == {"id1": "id0"}


def test_few_words_are_compared_only_between_equal_titles() -> None:
    seven, eight = (
        [(found(f"id{n}", " ".join(CAPTION.split()[:words])), "train") for n in range(2)] for words in (7, 8)
    )
    assert near_duplicates(again(seven), ALL) == {}
    assert near_duplicates(again(eight), ALL) == {"id1": "id0"} == near_duplicates(again(seven), TITLED)


def test_the_order_and_the_case_of_texts_do_not_matter() -> None:
    one, other = found("a", CAPTION, "Second text!"), found("b", "second TEXT", CAPTION.upper())
    assert near_duplicates(again([(one, "train"), (other, "train")]), DuplicateConfig(similarity=1)) == {"b": "a"}


def test_the_recording_in_train_is_left_out() -> None:
    for texts in (TITLED, ALL):
        recordings = [(found(split, CAPTION), split) for split in ("train", "validation", "test")]
        assert near_duplicates(again(recordings), texts) == {"validation": "test", "train": "test"}


def test_similarities_that_select_everything_are_refused() -> None:
    with pytest.raises(RecipeError, match="similarity"):
        DuplicateConfig().replace(similarity=0.3)
