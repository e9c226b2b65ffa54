"""Batches on their way through Ray Data: the same batches in the same order as without it."""

import os
from dataclasses import replace

import numpy as np
import pytest
import ray

from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data import pipeline
from mulan.data.batch import TOKEN_MULTIPLE, Batch, Masks, Replaced
from mulan.data.errors import ReadingFailed
from mulan.data.examples import MicroBatchReader
from mulan.data.pipeline import GROUP_BYTES, LONGEST_SEGMENT_GROUPS, _segments, group_size, planned_batches
from mulan.data.schedule import Item, Phase, Schedule
from mulan.data.storage_errors import StorageRefused


def batch_of(lengths: list[int], max_tokens: int, *, views: int = 1, masks: Masks | None = None) -> Batch:
    """A batch whose texts have these numbers of tokens."""
    rng = np.random.default_rng(0)
    mask = (np.arange(max_tokens) < np.array(lengths)[:, None]).astype(np.int64)
    return Batch(
        item=Item(Phase.VALIDATE, 7, 3),
        waveform=rng.integers(-(2**15), 2**15, (len(lengths), views, 50)).astype(np.int16),
        token_ids=rng.integers(1, 30_000, mask.shape) * mask,
        attention_mask=mask,
        tags=rng.integers(0, 2, (len(lengths), 3)).astype(np.uint8),
        recording_id=tuple(f"夜曲 {number}" for number in range(len(lengths))),
        replaced=(Replaced("a", "missing shard", "shards/\n'9'.tar"), Replaced("b", "no samples", "")),
        masks=masks,
    )


def masks_of(pairs: int, max_tokens: int) -> Masks:
    rng = np.random.default_rng(1)
    return Masks(
        token_targets=rng.integers(-100, 30_000, (pairs, max_tokens)),
        segment_hidden=rng.integers(0, 2, (pairs, 5)).astype(np.uint8),
        matched=rng.integers(0, 2, pairs).astype(np.uint8),
    )


def assert_equal(ours: Batch, reference: Batch) -> None:
    assert (ours.item, ours.recording_id, ours.replaced) == (reference.item, reference.recording_id, reference.replaced)
    assert isinstance(ours.item.phase, Phase)
    for name in ("waveform", "token_ids", "attention_mask", "tags"):
        assert_same(getattr(ours, name), getattr(reference, name))
    assert (ours.masks is None) == (reference.masks is None)
    if ours.masks and reference.masks:
        for name in ("token_targets", "segment_hidden", "matched"):
            assert_same(getattr(ours.masks, name), getattr(reference.masks, name))


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)


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


@pytest.mark.parametrize("targets", [32, 0])
def test_columns_carry_views_and_masks(targets: int) -> None:
    """Targets are cut like the tokens that they are of; there are none where no token is to be predicted."""
    whole = batch_of([9, 3, 12], 32, views=2, masks=masks_of(3, targets))
    columns = whole.to_columns()
    assert {len(column) for column in columns.values()} == {1}
    back = Batch.from_columns(columns)
    assert back.waveform.shape == (3, 2, 50)
    assert back.masks is not None and back.masks.token_targets.shape == (3, min(16, targets))
    assert whole.masks is not None
    kept = replace(whole.masks, token_targets=whole.masks.token_targets[:, :16])
    cut = replace(whole, token_ids=whole.token_ids[:, :16], attention_mask=whole.attention_mask[:, :16], masks=kept)
    assert_equal(back, cut)
    assert_equal(Batch.from_columns(back.to_columns()), back)
    assert Batch.from_columns(batch_of([3], 8).to_columns()).masks is None


def short_recipe(uri: str) -> Recipe:
    settings = ["train.steps=4", "train.validate_every_steps=3", "batch.micro_batches=4", "data.window_s=0.5"]
    return load_recipe("demo_miniature", named_recipes(), settings, data_uri=uri)


@pytest.fixture(scope="module")
def reader(tiny_corpus: str) -> MicroBatchReader:
    return MicroBatchReader.of(short_recipe(tiny_corpus))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("size", "segment", "rank"), [(1, 4, 0), (3, 2, 1), (4, 1, 1), (1000, 1, 0)])
def test_ray_data_gives_each_worker_its_batches_in_order(
    size: int, segment: int, rank: int, reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tasks of ``size`` micro-batches, the first ``segment`` of them executed by themselves.

    Of a worker's 10 micro-batches two are of validations.
    """
    recipe = short_recipe(reader.corpus.uri)
    monkeypatch.setattr(pipeline, "SEGMENT_GROUPS", segment)
    monkeypatch.setattr(pipeline, "GROUP_BYTES", size * waveform_bytes(reader(Item(Phase.TRAIN, 0, 0))))
    schedule = Schedule(recipe.train, recipe.batch, rank, 2)
    streamed = list(planned_batches(schedule, ray.put(reader), cpus=2))
    assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
    assert [number for number, batch in enumerate(streamed) if batch.item.phase is Phase.VALIDATE] == [6, 9]
    for batch in streamed:
        assert_equal(batch, Batch.from_columns(reader(batch.item).to_columns()))


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_carries_views_and_masks(tiny_corpus: str) -> None:
    recipe = load_recipe("mulap_miniature", named_recipes(), ["train.steps=2"], data_uri=tiny_corpus)
    reader = replace(MicroBatchReader.of(recipe), views=2)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    streamed = list(planned_batches(schedule, ray.put(reader), cpus=1))
    assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
    for batch in streamed:
        assert batch.waveform.shape == (8, 2, 48_000)
        assert batch.masks is not None and batch.masks.token_targets.shape == batch.token_ids.shape
        assert_equal(batch, Batch.from_columns(reader(batch.item).to_columns()))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("first_step", [1, 2, 3])
def test_a_resumed_run_gets_the_rest_of_the_batches(
    first_step: int, reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short_recipe(reader.corpus.uri)
    monkeypatch.setattr(pipeline, "GROUP_BYTES", 3 * waveform_bytes(reader(Item(Phase.TRAIN, 0, 0))))
    whole = Schedule(recipe.train, recipe.batch, rank=1, workers=2)
    rest = Schedule(recipe.train, recipe.batch, rank=1, workers=2, first_step=first_step)
    streamed = list(planned_batches(rest, ray.put(reader), cpus=1))
    assert [batch.item for batch in streamed] == [whole[number] for number in range(len(whole))][-len(rest) :]
    for batch in streamed:
        assert_equal(batch, Batch.from_columns(reader(batch.item).to_columns()))


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_reading_process_meets_is_told_in_its_words_and_in_its_place(reader: MicroBatchReader) -> None:
    class Failing(MicroBatchReader):
        def __call__(self, item: Item, *, waveform: np.ndarray | None = None) -> Batch:
            if item.step == 2:
                raise StorageRefused("s3://bucket/shard.tar cannot be read: credentials")
            return super().__call__(item, waveform=waveform)

    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=2, first_step=1)
    failing = Failing(**vars(reader))
    with pytest.MonkeyPatch.context() as one_a_task:
        one_a_task.setattr(pipeline, "GROUP_BYTES", 1)
        batches = planned_batches(schedule, ray.put(failing), cpus=1)
        assert [next(batches).item.step for _ in range(schedule.training_share)] == [1] * schedule.training_share
        with pytest.raises(ReadingFailed, match=r"^s3://bucket/shard.tar cannot be read: credentials$"):
            next(batches)


@pytest.mark.usefixtures("ray_cluster")
def test_reading_stands_behind_training(reader: MicroBatchReader) -> None:
    class Watched(MicroBatchReader):
        def __call__(self, item: Item, *, waveform: np.ndarray | None = None) -> Batch:
            batch = super().__call__(item, waveform=waveform)
            return replace(batch, recording_id=(str(os.getpriority(os.PRIO_PROCESS, 0)),) * batch.pairs)

    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=2)
    found = {
        name
        for batch in planned_batches(schedule, ray.put(Watched(**vars(reader))), cpus=1)
        for name in batch.recording_id
    }
    assert found == {"15"}


@pytest.mark.parametrize(
    ("pairs", "views", "samples", "size"),
    [(64, 1, 160_000, 3), (32, 1, 160_000, 6), (32, 2, 160_000, 3), (32, 1, 48_000, 21), (2**12, 1, 160_000, 1)],
)
def test_a_task_makes_as_much_as_its_bound_allows(pairs: int, views: int, samples: int, size: int) -> None:
    assert group_size((pairs, views, samples)) == size
    assert size == 1 or size * pairs * views * samples * 2 <= GROUP_BYTES


def test_a_run_begins_in_short_executions_and_goes_on_in_long_ones() -> None:
    size = 3
    segments = _segments(10**6, size)
    assert [number for segment in segments for number in segment] == list(range(10**6))
    groups = [-(-len(segment) // size) for segment in segments]
    assert groups[:5] == [1024, 2048, 4096, 8192, 16384]
    assert set(groups[5:-1]) == {LONGEST_SEGMENT_GROUPS}
    assert _segments(0, size) == []


def waveform_bytes(batch: Batch) -> int:
    return batch.waveform.nbytes
