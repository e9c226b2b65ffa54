"""Tests that texts are true unless they are noise, and that the noise has the specified shares."""

import re

import numpy as np
import pytest

from mulan.demo.annotations import CURATED, IN_THE_WILD, NoiseCounts, noisy_texts, true_texts
from mulan.demo.composition import Composition, CompositionLabels, compose
from mulan.demo.genres import GENRES, MOODS
from mulan.demo.instruments import PERCUSSION_ALIASES, PITCHED

TEMPO_WORDS = {
    "slow": ("slow", "unhurried"),
    "medium tempo": ("medium tempo", "mid-tempo", "moderate"),
    "fast": ("fast", "up-tempo"),
}
WORDS_OF = {name: (name, *instrument.aliases) for name, instrument in PITCHED.items()} | {
    name: (name, *aliases) for name, aliases in PERCUSSION_ALIASES.items()
}


def example(seed: int) -> Composition:
    name = list(GENRES)[seed % len(GENRES)]
    moods, tempi = GENRES[name].moods, GENRES[name].tempi
    return compose(
        CompositionLabels(genre=name, mood=moods[seed % len(moods)], tempo=tempi[seed % len(tempi)]), seed=seed
    )


def decoy_for(composition: Composition) -> Composition:
    return next(c for c in map(example, range(1000, 1002)) if c.labels.genre != composition.labels.genre)


def instruments_in(text: str) -> set[str]:
    """Returns the instruments that a text names; longer names are matched first (an electric piano is not a piano)."""
    names, text = set(), text.lower()
    for word, name in sorted(((w, n) for n, words in WORDS_OF.items() for w in words), key=lambda wn: -len(wn[0])):
        text, hits = re.subn(rf"\b{re.escape(word)}\b", "|", text)
        if hits:
            names.add(name)
    return names


def names_one_of(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text.lower() for word in words)


def test_no_word_names_two_instruments() -> None:
    words = [word for words in WORDS_OF.values() for word in words]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("seed", range(40))
def test_true_texts_name_only_instruments_and_labels_of_the_composition(seed: int) -> None:
    composition = example(seed)
    texts = true_texts(composition, np.random.default_rng(seed))
    true = [text for source in ("short_form", "long_form", "playlist") for text in texts[source]]
    assert set().union(*map(instruments_in, true)) <= set(composition.instruments)
    assert set().union(*map(instruments_in, texts["short_form"])) == set(composition.instruments)
    for name, genre in GENRES.items():
        if name != composition.labels.genre:
            assert not any(re.search(rf"\b{re.escape(w)}\b", t.lower()) for w in (name, *genre.synonyms) for t in true)
    for name, mood in MOODS.items():
        if name != composition.labels.mood:
            assert not any(re.search(rf"\b{re.escape(w)}\b", t.lower()) for w in (name, *mood.synonyms) for t in true)
    assert 6 <= len(texts["short_form"]) <= 14
    assert 3 <= len(texts["long_form"]) <= 5
    assert len(texts["audioset"]) == len(set(texts["audioset"])) >= 4


@pytest.mark.parametrize("seed", range(40))
def test_the_first_sentence_names_all_labels(seed: int) -> None:
    composition = example(seed)
    labels = composition.labels
    sentence = true_texts(composition, np.random.default_rng(seed))["long_form"][0]
    assert names_one_of(sentence, (labels.genre, *GENRES[labels.genre].synonyms))
    assert names_one_of(sentence, (labels.mood, *MOODS[labels.mood].synonyms))
    assert names_one_of(sentence, TEMPO_WORDS[labels.tempo])
    assert len(instruments_in(sentence)) >= 2


def test_curated_texts_are_the_true_ones() -> None:
    composition = example(4)
    texts, counts = noisy_texts(composition, decoy_for(composition), CURATED, np.random.default_rng(9))
    assert texts == true_texts(composition, np.random.default_rng(9))
    assert counts.missing == counts.wrong == counts.irrelevant == 0


def test_noise_has_the_specified_shares() -> None:
    total, sources, missing, texts, changed = NoiseCounts(), 0, 0, 0, 0
    for seed in range(300):
        composition = example(seed)
        noisy, counts = noisy_texts(composition, decoy_for(composition), IN_THE_WILD, np.random.default_rng(seed))
        total.add(counts)
        truth = true_texts(composition, np.random.default_rng(seed))
        assert "short_form" in noisy
        sources += 3
        missing += len(set(truth) - set(noisy))
        for source, kept in noisy.items():
            texts += len(kept)
            changed += sum(a != b for a, b in zip(kept, truth[source], strict=True))
    assert (total.sources, total.missing, total.texts) == (sources, missing, texts)
    actual = total.shares()
    assert actual.missing == pytest.approx(IN_THE_WILD.missing, abs=0.03)
    assert actual.wrong == pytest.approx(IN_THE_WILD.wrong, abs=0.01)
    assert actual.irrelevant == pytest.approx(IN_THE_WILD.irrelevant, abs=0.01)
    assert changed / texts == pytest.approx(actual.wrong + actual.irrelevant, abs=0.01)
