"""Tests which fields change what trials read, against readers of recipes with another value."""

import numpy as np
import pytest

from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.registry import load_recipe
from tune.reading import is_judged_alike, is_read_alike

TRAINED = {"optim.lr=0.01", "loss.temperature_init=0.3", "audio_tower.stem_channels=4", "optim.beta2=0.99"}
READ = {"data.text_sampling=all", "text_tower.max_tokens=5", "text_tower.prefix=a "}
JUDGED = {"data.source_ratio.playlist=0", "data.window_s=1.25", "train.seed=1", "batch.pairs_per_micro_batch=2"}


def batch(reader: MicroBatchReader, phase: Phase) -> tuple[np.ndarray, ...]:
    read = reader(Item(phase, 0, 0))
    return read.waveform, read.token_ids, np.array(read.recording_id)


def are_equal(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    return all(a.shape == b.shape and (a == b).all() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("setting", sorted(TRAINED | READ | JUDGED))
def test_readers_agree_where_recipes_are_read_alike(setting: str, tiny_corpus: str) -> None:
    base = load_recipe("demo_miniature", data_uri=tiny_corpus)
    other = load_recipe("demo_miniature", [setting], data_uri=tiny_corpus)
    assert is_read_alike(base, base)
    assert is_read_alike(base, other) == (setting in TRAINED)
    assert is_judged_alike(base, other) == (setting not in JUDGED)
    readers = [MicroBatchReader.from_recipe(recipe) for recipe in (base, other)]
    for phase in (Phase.TRAIN, Phase.VALIDATE):
        own, others = (batch(reader, phase) for reader in readers)
        if setting in TRAINED:
            assert are_equal(own, others)
        if setting not in JUDGED and phase is Phase.VALIDATE:
            assert (own[2] == others[2]).all()
            assert (own[0] == others[0]).all()
    if setting in READ | JUDGED:
        assert not all(are_equal(*(batch(reader, phase) for reader in readers)) for phase in Phase)
