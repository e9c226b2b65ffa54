"""Batches on their way through Ray Data: the same batches in the same order as without it."""

import numpy as np
import pytest
import ray

from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data.batch import TOKEN_MULTIPLE, Batch, Replaced
from mulan.data.examples import MicroBatchReader, plans
from mulan.data.index import Corpus
from mulan.data.pipeline import batches, planned_dataset
from mulan.data.schedule import Item, Phase, Schedule


def batch_of(lengths: list[int], max_tokens: int) -> Batch:
    """A batch whose texts have these numbers of tokens."""
    rng = np.random.default_rng(0)
    mask = (np.arange(max_tokens) < np.array(lengths)[:, None]).astype(np.int64)
    return Batch(
        item=Item(Phase.VALIDATE, 7, 3),
        waveform=rng.integers(-(2**15), 2**15, (len(lengths), 1, 50)).astype(np.int16),
        token_ids=rng.integers(1, 30_000, mask.shape) * mask,
        attention_mask=mask,
        tags=rng.integers(0, 2, (len(lengths), 3)).astype(np.uint8),
        recording_id=tuple(f"夜曲 {number}" for number in range(len(lengths))),
        replaced=(Replaced("a", "missing shard", "shards/\n'9'.tar"), Replaced("b", "no samples", "")),
    )


def assert_equal(ours: Batch, reference: Batch) -> None:
    assert (ours.item, ours.recording_id, ours.replaced) == (reference.item, reference.recording_id, reference.replaced)
    assert isinstance(ours.item.phase, Phase)
    for name in ("waveform", "token_ids", "attention_mask", "tags"):
        one, other = getattr(ours, name), getattr(reference, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), name


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "kept"),
    [([3, 5, 2], 32, 8), ([8, 1], 32, 8), ([9, 1], 32, 16), ([32, 3], 32, 32), ([9, 3], 12, 12), ([5, 3], 6, 6)],
)
def test_columns_lose_nothing_but_padding(lengths: list[int], max_tokens: int, kept: int) -> None:
    whole = batch_of(lengths, max_tokens)
    columns = whole.to_columns()
    assert {len(column) for column in columns.values()} == {1}
    back = Batch.from_columns(columns)
    assert back.token_ids.shape == back.attention_mask.shape == (len(lengths), kept)
    assert not whole.attention_mask[:, kept:].any()
    assert kept - max(lengths) < TOKEN_MULTIPLE
    cut = Batch(
        whole.item,
        whole.waveform,
        whole.token_ids[:, :kept],
        whole.attention_mask[:, :kept],
        whole.tags,
        whole.recording_id,
        whole.replaced,
    )
    assert_equal(back, cut)
    assert_equal(Batch.from_columns(back.to_columns()), back)


def short_recipe(uri: str) -> Recipe:
    settings = ["train.steps=4", "train.validate_every_steps=3", "batch.micro_batches=4", "data.window_s=0.5"]
    return load_recipe("demo_miniature", named_recipes(), settings, data_uri=uri)


@pytest.fixture(scope="module")
def reader(tiny_corpus: str) -> MicroBatchReader:
    recipe, corpus = short_recipe(tiny_corpus), Corpus.open(tiny_corpus)
    return MicroBatchReader(
        corpus, plans(corpus, recipe.data, recipe.batch, recipe.train), recipe.data, recipe.text_tower
    )


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("first_step", [0, 2])
def test_ray_data_gives_each_worker_its_batches_in_order(first_step: int, reader: MicroBatchReader) -> None:
    recipe = short_recipe(reader.corpus.uri)
    in_store = ray.put(reader)
    for rank in range(2):
        schedule = Schedule(recipe.train, recipe.batch, rank, 2, first_step)
        dataset = planned_dataset(schedule, in_store, cpus=2)
        streamed = list(batches(dataset.iter_batches(batch_size=None, batch_format="numpy")))
        assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
        assert len(streamed) == (4 - first_step) * 2 + 2 * 1
        for batch in streamed:
            assert_equal(batch, Batch.from_columns(reader(batch.item).to_columns()))
