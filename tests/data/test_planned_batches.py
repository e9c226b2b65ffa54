"""Tests that Ray Data and local reading give the same batches in the same order as the reader itself."""

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray

from mulan.config.recipe import Recipe
from mulan.data import groups
from mulan.data.batch import Batch
from mulan.data.errors import ReadingFailed
from mulan.data.planned_batches import BatchService, NoData, planned_batches, start_batch_service
from mulan.data.reader import Fetched, MicroBatchReader
from mulan.data.schedule import Item, Phase, Schedule
from mulan.recipes.registry import load_recipe
from mulan.storage.errors import StoragePermanentError
from tests.data.same_batches import assert_equal

pytestmark = pytest.mark.usefixtures("ray_cluster")


def streamed_to(schedule: Schedule, reader: MicroBatchReader, **how: Any) -> Iterator[Batch]:
    """Yields the batches of one worker from a server to which all other workers have reported their first batches."""
    source = start_batch_service(ray.put(reader), **how)
    attempt = source.begin(schedule)
    for rank in range(schedule.workers):
        if rank != schedule.rank:
            source.server.report_first_batches.remote(attempt, rank, schedule.workers)
    with closing(planned_batches(source, attempt, schedule)) as streamed:
        yield from streamed
    source.end()


def short_recipe(uri: str) -> Recipe:
    settings = ["train.steps=4", "train.validate_every_steps=3", "batch.micro_batches=4", "data.window_s=0.5"]
    return load_recipe("demo_miniature", settings, data_uri=uri)


@pytest.fixture(scope="module")
def reader(tiny_corpus: str) -> MicroBatchReader:
    return MicroBatchReader.from_recipe(short_recipe(tiny_corpus))


@pytest.mark.parametrize(("size", "segment", "rank"), [(1, 4, 0), (3, 2, 1), (4, 1, 1), (1000, 1, 0)])
def test_each_worker_receives_its_batches_in_order(
    size: int, segment: int, rank: int, reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads in tasks of ``size`` micro-batches, the first ``segment`` of which are an execution of their own.

    Of a worker's 10 micro-batches two are of validations.
    """
    recipe = short_recipe(reader.corpus.uri)
    monkeypatch.setattr(groups, "GROUP_BYTES", size * waveform_bytes(reader(Item(Phase.TRAIN, 0, 0))))
    schedule = Schedule(recipe.train, recipe.batch, rank, 2)
    streamed = list(streamed_to(schedule, reader, cpus=2, segment_groups=segment))
    assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
    assert [number for number, batch in enumerate(streamed) if batch.item.phase is Phase.VALIDATE] == [6, 9]
    for batch in streamed:
        assert_equal(batch, reader(batch.item))


def test_views_and_masks_pass_through_ray_data(tiny_corpus: str) -> None:
    recipe = load_recipe("mulap_miniature", ["train.steps=2"], data_uri=tiny_corpus)
    reader = replace(MicroBatchReader.from_recipe(recipe), views=2)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    streamed = list(streamed_to(schedule, reader, cpus=1))
    assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
    for batch in streamed:
        assert batch.waveform.shape == (8, 2, 48_000)
        assert batch.masks is not None and batch.masks.token_targets.shape == batch.token_ids.shape
        assert_equal(batch, reader(batch.item))


@pytest.mark.parametrize("first_step", [1, 2, 3])
def test_a_resumed_run_receives_the_remaining_batches(
    first_step: int, reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short_recipe(reader.corpus.uri)
    monkeypatch.setattr(groups, "GROUP_BYTES", 3 * waveform_bytes(reader(Item(Phase.TRAIN, 0, 0))))
    whole = Schedule(recipe.train, recipe.batch, rank=1, workers=2)
    rest = Schedule(recipe.train, recipe.batch, rank=1, workers=2, first_step=first_step)
    streamed = list(streamed_to(rest, reader, cpus=1))
    assert [batch.item for batch in streamed] == [whole[number] for number in range(len(whole))][-len(rest) :]
    for batch in streamed:
        assert_equal(batch, reader(batch.item))


def test_an_error_of_a_reader_is_raised_in_place_of_its_batch(reader: MicroBatchReader) -> None:
    class Failing(MicroBatchReader):
        def fetch(self, item: Item) -> Iterator[Fetched]:
            if item.step == 2:
                raise StoragePermanentError("s3://bucket/shard.tar cannot be read: credentials")
            return super().fetch(item)

    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=2, first_step=1)
    failing = Failing(**vars(reader))
    with pytest.MonkeyPatch.context() as one_a_task:
        one_a_task.setattr(groups, "GROUP_BYTES", 1)
        batches = streamed_to(schedule, failing, cpus=1)
        assert [next(batches).item.step for _ in range(schedule.train_micro_batches_per_worker)] == [
            1
        ] * schedule.train_micro_batches_per_worker
        with pytest.raises(ReadingFailed, match=r"^s3://bucket/shard.tar cannot be read: credentials$") as failed:
            next(batches)
        assert failed.value.exit_code == StoragePermanentError.exit_code


def test_readers_have_a_lower_priority_than_training(reader: MicroBatchReader) -> None:
    class Watched(MicroBatchReader):
        def decode(self, item: Item, fetched: Iterable[Fetched], waveform: np.ndarray) -> Batch:
            batch = super().decode(item, fetched, waveform)
            return replace(batch, recording_id=(str(os.getpriority(os.PRIO_PROCESS, 0)),) * batch.pairs)

    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=2)
    priorities = {
        name for batch in streamed_to(schedule, Watched(**vars(reader)), cpus=1) for name in batch.recording_id
    }
    assert priorities == {"15"}


def waveform_bytes(batch: Batch) -> int:
    return batch.waveform.nbytes


class OneAtATime(MicroBatchReader):
    """A reader whose batches name the process that has read them."""

    def decode(self, item: Item, fetched: Iterable[Fetched], waveform: np.ndarray) -> Batch:
        batch = super().decode(item, fetched, waveform)
        return replace(batch, recording_id=(str(os.getpid()),) * batch.pairs)


def starved(reader: MicroBatchReader, **how: Any) -> BatchService:
    """Returns a source of batches for which no node may read."""
    source = start_batch_service(ray.put(reader), cpus=3, label_selector={"pool": "nowhere"}, **how)
    return replace(source, server_timeout_s=0.2)


def test_workers_without_readers_read_locally_and_report_it(reader: MicroBatchReader) -> None:
    recipe = short_recipe(reader.corpus.uri)
    schedules = [Schedule(recipe.train, recipe.batch, rank, workers=2) for rank in range(2)]
    source = starved(reader, max_workers=2)
    attempt = source.begin(schedules[0])
    with ThreadPoolExecutor(max_workers=2) as workers:
        given = list(workers.map(lambda schedule: list(planned_batches(source, attempt, schedule)), schedules))
    for schedule, streamed in zip(schedules, given, strict=True):
        assert [batch.item for batch in streamed] == [schedule[number] for number in range(len(schedule))]
        for batch in streamed:
            assert_equal(batch, reader(batch.item))
    readers = ray.get(source.server.readers.remote())
    assert (readers.active_cpus, readers.reading_locally) == (0, (0, 1))
    source.end()


def test_the_pool_takes_over_once_it_has_cpus_and_skips_local_groups(
    reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(
        "demo_miniature",
        ["train.steps=1000", "train.validation_micro_batches=0", "batch.micro_batches=1", "scale.workers=1"],
        data_uri=reader.corpus.uri,
    )
    monkeypatch.setattr(groups, "GROUP_BYTES", 1)
    cpus = int(ray.cluster_resources()["CPU"])
    in_the_way = ray.remote(num_cpus=cpus)(Sleeper).remote()
    ray.get(in_the_way.ready.remote())
    watched = OneAtATime(**vars(MicroBatchReader.from_recipe(recipe)))
    source = replace(start_batch_service(ray.put(watched), cpus=1), server_timeout_s=0.2)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    streamed = planned_batches(source, source.begin(schedule), schedule)
    own = [next(streamed) for _ in range(5)]
    (process,) = {name for batch in own for name in batch.recording_id}
    ray.kill(in_the_way)
    rest: list[Batch] = []
    while len(rest) < 3 or any(process in batch.recording_id for batch in rest[-3:]):
        rest.append(next(streamed))
        time.sleep(0.2)  # a step takes longer than a group: the pool can get ahead
    assert [batch.item.step for batch in [*own, *rest]] == list(range(5 + len(rest)))
    assert ray.get(source.server.readers.remote()).reading_locally == ()
    source.end()


class Sleeper:
    def ready(self) -> None:
        pass


def test_a_worker_without_data_fails_before_collectives_time_out(
    reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(MicroBatchReader):
        def decode(self, item: Item, fetched: Iterable[Fetched], waveform: np.ndarray) -> Batch:
            time.sleep(1.5 if item.step == 0 else 30)
            return super().decode(item, fetched, waveform)

    recipe = short_recipe(reader.corpus.uri)
    monkeypatch.setattr(groups, "GROUP_BYTES", 1)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    source = starved(Slow(**vars(reader)), max_wait_s=1)
    batches = planned_batches(source, source.begin(schedule), replace(schedule))
    next(batches)  # the first may take longer than the limit
    with pytest.raises(NoData, match=r"^no batches for 1 s; data: 0 of 3 CPUs, waiting for nodes; worker 0 reads for"):
        list(batches)
    source.end()


def test_a_block_that_never_arrives_is_read_locally(reader: MicroBatchReader) -> None:
    """This simulates a block that is lost with its node, in a cluster without nodes to read it again."""
    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    source = starved(reader)
    attempt = source.begin(schedule)
    never = ray.remote(num_cpus=0)(lambda: time.sleep(600)).remote()
    ray.get(source.server.__ray_call__.remote(lambda server, blocks: server._blocks.update({0: blocks[0]}), [never]))
    streamed = list(planned_batches(source, attempt, schedule))
    assert [batch.item for batch in streamed] == list(schedule)
    source.end()
    ray.cancel(never, force=True)


def process_of(_: object) -> int:
    return os.getpid()


def test_an_attempt_that_waits_for_cpus_is_stopped_for_the_next_one(reader: MicroBatchReader) -> None:
    """Otherwise it would keep requesting nodes from the autoscaler."""
    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    source = starved(reader)
    source.begin(schedule)
    process = ray.get(source.server.__ray_call__.remote(process_of))
    attempt = source.begin(schedule)
    assert ray.get(source.server.__ray_call__.remote(process_of)) != process
    assert [batch.item for batch in planned_batches(source, attempt, schedule)] == list(schedule)
    source.end()


def test_each_execution_reuses_the_processes_of_the_previous_one(
    reader: MicroBatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_BYTES", 1)
    recipe = short_recipe(reader.corpus.uri)
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=2)
    streamed = streamed_to(schedule, OneAtATime(**vars(reader)), cpus=1, segment_groups=2)
    assert len({name for batch in streamed for name in batch.recording_id}) == 1


def test_workers_wait_until_all_have_their_first_batches(reader: MicroBatchReader) -> None:
    """Otherwise the wait for data would count towards the timeout of a collective."""
    recipe = short_recipe(reader.corpus.uri)
    first, second = (Schedule(recipe.train, recipe.batch, rank, workers=2) for rank in range(2))
    source = start_batch_service(ray.put(reader), cpus=1, max_workers=2)
    attempt = source.begin(first)
    streamed = [planned_batches(source, attempt, schedule) for schedule in (first, second)]
    with ThreadPoolExecutor(max_workers=2) as workers:
        waiting = workers.submit(next, streamed[0])
        assert wait([waiting], timeout=5).not_done
        given = workers.submit(next, streamed[1])
        assert [one.result(timeout=60).item for one in (waiting, given)] == [first[0], second[0]]
    for each in streamed:
        each.close()
    source.end()
