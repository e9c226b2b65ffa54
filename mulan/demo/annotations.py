"""Texts about a composition from the four sources of the MuLan paper (§3.4), with noise as in web data.

* ``short_form``: tags, the title and the artist's name;
* ``long_form``: sentences of a description or a comment;
* ``playlist``: titles of playlists that contain the recording;
* ``audioset``: display names of AudioSet classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.demo.composition import Composition
from mulan.demo.genres import GENRES, MOODS
from mulan.demo.instruments import PERCUSSION_ALIASES, PERCUSSION_LABELS, PITCHED

Texts = dict[str, list[str]]

TEMPO_WORDS: dict[str, tuple[str, ...]] = {
    "slow": ("slow", "slow-paced", "unhurried"),
    "medium tempo": ("medium tempo", "mid-tempo", "moderate"),
    "fast": ("fast", "fast-paced", "up-tempo"),
}
ARTIST_FIRST = ("Mara", "Otis", "Lena", "Jonas", "Ines", "Theo", "Ruby", "Silas", "Nadia", "Felix", "Ida", "Marlon")
ARTIST_LAST = ("Vale", "Okoro", "Lindqvist", "Marsh", "Ferreira", "Quill", "Takeda", "Bloom", "Hart", "Novak")
TITLE_FIRST = ("Silver", "Paper", "Northern", "Hidden", "Broken", "Golden", "Second", "Distant", "Electric", "Open")
TITLE_LAST = ("Harbour", "Letters", "Window", "Garden", "River", "Mirrors", "Lanterns", "Station", "Signal", "Door")
LONG_FORM_OPENINGS = (
    "{a_mood}, {tempo} {genre} piece with {one} and {two}.",
    "This is {tempo} {genre} with {one} and {two}; the mood is {mood}.",
    "{tempo} {genre} played on {all}, with {a_mood} feeling.",
    "The {one} and the {two} stand out in this {mood} {genre} track, which is {tempo}.",
)
LONG_FORM = (
    "You can hear {all}.",
    "Wonderful {one} on this one.",
    "I love the sound of the {one} against the {two}.",
    "So {mood}, I could listen to the {one} all day.",
    "Found this while looking for {genre} with {one}.",
    "An instrumental for {one} and {two}, {tempo} and {mood}.",
    "{genre} like this always makes me want to learn the {one}.",
    "Recorded with {all}.",
    "Good for {activity}: {mood} {genre}.",
    "Makes me feel {mood}; the {tempo} {one} part gets me every time.",
)
PLAYLIST = (
    "{mood} {genre}",
    "{genre} for {activity}",
    "{tempo} {genre} mix",
    "{one} and {two}",
    "best of {one}",
    "{mood} {one} music",
    "{genre} with {one}",
    "{mood} music for {activity}",
    "{tempo} and {mood}",
)
USUAL_WORD_SHARE = 0.75
"""Probability of the usual word for a label; otherwise a synonym is used."""
IRRELEVANT: dict[str, tuple[str, ...]] = {
    "short_form": ("official", "full hd", "lyrics", "new upload", "user48213", "free download", "2014"),
    "long_form": (
        "first!",
        "Subscribe to my channel for more videos.",
        "Who else is here from the comments section?",
        "Link to the merch store is in the description.",
        "I do not own the rights, no infringement intended.",
        "My cat walked in halfway and I forgot to pause.",
    ),
    "playlist": ("my uploads", "watch later", "stuff from last week", "favourites 3", "mixed bag"),
    "audioset": ("Speech", "Silence", "Vehicle", "Inside, small room"),
}


@dataclass(frozen=True, kw_only=True)
class NoiseShares:
    """Shares of noise in the texts.

    Attributes:
        missing: Share of (recording, source) pairs without texts; ``short_form`` is never missing.
        wrong: Share of texts that describe a composition of another genre.
        irrelevant: Share of texts that do not describe music.
    """

    missing: float
    wrong: float
    irrelevant: float


IN_THE_WILD = NoiseShares(missing=0.15, wrong=0.05, irrelevant=0.05)
CURATED = NoiseShares(missing=0.0, wrong=0.0, irrelevant=0.0)


@dataclass
class NoiseCounts:
    """Numbers of sources and texts, and of those that are noise."""

    sources: int = 0
    missing: int = 0
    texts: int = 0
    wrong: int = 0
    irrelevant: int = 0

    def add(self, other: "NoiseCounts") -> None:
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    def shares(self) -> NoiseShares:
        """Returns the actual shares; ``missing`` is relative to the sources that may be missing."""
        texts = max(self.texts, 1)
        return NoiseShares(
            missing=self.missing / max(self.sources, 1), wrong=self.wrong / texts, irrelevant=self.irrelevant / texts
        )


def true_texts(composition: Composition, rng: np.random.Generator) -> Texts:
    """Returns correct texts of all sources. The first ``long_form`` names genre, mood, tempo and two instruments."""
    return {
        "short_form": _short_form(composition, rng),
        "long_form": _long_form(composition, rng),
        "playlist": _playlist(composition, rng),
        "audioset": _audioset(composition),
    }


def noisy_texts(
    composition: Composition, decoy: Composition, shares: NoiseShares, rng: np.random.Generator
) -> tuple[Texts, NoiseCounts]:
    """Returns texts with noise, and its counts. Wrong texts describe ``decoy``, a composition of another genre."""
    assert decoy.labels.genre != composition.labels.genre
    texts, wrong = true_texts(composition, rng), true_texts(decoy, rng)
    counts = NoiseCounts()
    kept: Texts = {}
    for source, correct in texts.items():
        if source != "short_form":
            counts.sources += 1
            if rng.random() < shares.missing:
                counts.missing += 1
                continue
        kept[source] = []
        for text in correct:
            counts.texts += 1
            draw = rng.random()
            if draw < shares.wrong:
                counts.wrong += 1
                text = str(rng.choice(wrong[source]))
            elif draw < shares.wrong + shares.irrelevant:
                counts.irrelevant += 1
                text = str(rng.choice(IRRELEVANT[source]))
            kept[source].append(text)
    return kept, counts


def _aliases(instrument: str) -> tuple[str, ...]:
    return PERCUSSION_ALIASES[instrument] if instrument in PERCUSSION_ALIASES else PITCHED[instrument].aliases


def _word_or_synonym(word: str, aliases: Sequence[str], rng: np.random.Generator) -> str:
    """Returns the usual word with probability :data:`USUAL_WORD_SHARE`, otherwise a random synonym."""
    return word if rng.random() < USUAL_WORD_SHARE else str(rng.choice(aliases))


class _Speaker:
    """The words of one writer for the labels of a composition."""

    def __init__(self, composition: Composition, rng: np.random.Generator) -> None:
        labels = composition.labels
        self.genre = _word_or_synonym(labels.genre, GENRES[labels.genre].synonyms, rng)
        self.mood = _word_or_synonym(labels.mood, MOODS[labels.mood].synonyms, rng)
        self.tempo = str(rng.choice(TEMPO_WORDS[labels.tempo]))
        self.activity = str(rng.choice(GENRES[labels.genre].activities))
        named = [_word_or_synonym(name, _aliases(name), rng) for name in composition.instruments]
        self.instruments = [str(name) for name in rng.permutation(named)]

    def fill(self, template: str) -> str:
        """Fills the fields of a template and capitalises its first letter."""
        one, two, *_ = self.instruments
        text = template.format(
            genre=self.genre,
            mood=self.mood,
            tempo=self.tempo,
            activity=self.activity,
            one=one,
            two=two,
            all=f"{', '.join(self.instruments[:-1])} and {self.instruments[-1]}",
            a_mood=f"{'an' if self.mood[0] in 'aeiou' else 'a'} {self.mood}",
        )
        return text[0].upper() + text[1:]


def _short_form(composition: Composition, rng: np.random.Generator) -> list[str]:
    labels = composition.labels
    speaker = _Speaker(composition, rng)
    texts = [
        _word_or_synonym(labels.genre, GENRES[labels.genre].synonyms, rng),
        _word_or_synonym(labels.mood, MOODS[labels.mood].synonyms, rng),
        _word_or_synonym(labels.tempo, TEMPO_WORDS[labels.tempo], rng),
        *(_word_or_synonym(name, _aliases(name), rng) for name in composition.instruments),
        f"{speaker.instruments[0]}, {speaker.instruments[1]}",
        f"{speaker.mood} {speaker.genre}",
        f"{rng.choice(TITLE_FIRST)} {rng.choice(TITLE_LAST)}",
    ]
    if rng.random() < 0.5:
        texts.append(f"{rng.choice(ARTIST_FIRST)} {rng.choice(ARTIST_LAST)}")
    return texts


def _long_form(composition: Composition, rng: np.random.Generator) -> list[str]:
    openings = rng.choice(LONG_FORM_OPENINGS, size=1)
    others = rng.choice(LONG_FORM, size=rng.integers(2, 5), replace=False)
    return [_Speaker(composition, rng).fill(str(template)) for template in (*openings, *others)]


def _playlist(composition: Composition, rng: np.random.Generator) -> list[str]:
    templates = rng.choice(PLAYLIST, size=rng.integers(2, 5), replace=False)
    return [_Speaker(composition, rng).fill(str(template)) for template in templates]


def _audioset(composition: Composition) -> list[str]:
    labels = [GENRES[composition.labels.genre].audioset_label, MOODS[composition.labels.mood].audioset_label]
    labels += [PERCUSSION_LABELS.get(name) or PITCHED[name].audioset_label for name in composition.instruments]
    return list(dict.fromkeys(label for label in labels if label is not None))
