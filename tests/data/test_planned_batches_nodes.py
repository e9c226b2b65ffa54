"""Tests that the pool of readers follows the nodes of a cluster, and that the batches do not."""

import multiprocessing
import os
from itertools import islice
from multiprocessing.queues import Queue
from typing import NamedTuple

import numpy as np
import pytest
import ray

from mulan.data import groups
from mulan.data.planned_batches import planned_batches, start_batch_service
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Schedule
from mulan.recipes.registry import load_recipe
from tests.nodes import ENVIRONMENT, cluster

pytestmark = [pytest.mark.processes, pytest.mark.long(group="chaos"), pytest.mark.timeout(300)]

MAX_CPUS = 2
LIMIT_S = 60
SETTINGS = ["train.steps=100000", "train.validation_micro_batches=0", "batch.micro_batches=1", "scale.workers=1"]


class Arrived(NamedTuple):
    """A batch that has arrived, and the CPUs that were reading then."""

    item: Item
    waveform: np.ndarray
    active_cpus: int


def read(address: str, uri: str, arrived: "Queue[Arrived]") -> None:
    """Reads without end, in a process of its own because that of the tests may be connected to another cluster."""
    os.environ.update(ENVIRONMENT)
    ray.init(address=address, log_to_driver=False)
    groups.GROUP_BYTES = 1
    recipe = load_recipe("demo_miniature", SETTINGS, data_uri=uri)
    reader = ray.put(MicroBatchReader.from_recipe(recipe))
    source = start_batch_service(reader, cpus=MAX_CPUS, label_selector={"pool": "cpu"})
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    for batch in planned_batches(source, source.begin(schedule), schedule):
        arrived.put(Arrived(batch.item, batch.waveform, ray.get(source.server.readers.remote()).active_cpus))


def until_active(cpus: int, arrived: "Queue[Arrived]") -> list[Arrived]:
    """Returns the next batches up to one during which this number of CPUs was reading."""
    taken = [arrived.get(timeout=LIMIT_S)]
    while taken[-1].active_cpus != cpus:
        taken.append(arrived.get(timeout=LIMIT_S))
    return taken


def test_readers_follow_the_nodes_up_to_the_limit_and_the_batches_are_those_of_the_plan(tiny_corpus: str) -> None:
    context = multiprocessing.get_context("spawn")
    arrived: Queue[Arrived] = context.Queue(maxsize=1)
    with cluster() as nodes:
        nodes.add_node(cpus=1)
        reading = context.Process(target=read, args=(nodes.address, tiny_corpus, arrived))
        reading.start()
        try:
            batches = until_active(1, arrived)
            nodes.add_node(cpus=4)
            batches += until_active(MAX_CPUS, arrived)
            batches += [arrived.get(timeout=LIMIT_S) for _ in range(50)]
            nodes.nodes.pop().cut_off()
            batches += until_active(1, arrived)
            batches += [arrived.get(timeout=LIMIT_S) for _ in range(20)]
        finally:
            reading.kill()
            reading.join()
    assert max(batch.active_cpus for batch in batches) == MAX_CPUS
    assert [batch.item.step for batch in batches] == list(range(len(batches)))
    reader = MicroBatchReader.from_recipe(load_recipe("demo_miniature", SETTINGS, data_uri=tiny_corpus))
    for batch in islice(batches, 0, None, 7):
        assert np.array_equal(batch.waveform, reader(batch.item).waveform)
