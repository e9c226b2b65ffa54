"""Tests the needs of a run that are put together from its parts, against calculations by hand."""

import io
import pickle
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from mulan.config.sections import TrainConfig
from mulan.data.reader import MicroBatchReader
from mulan.planning import reading_cost
from mulan.planning.needs import RunNeeds, checkpoints_kept, checkpoints_written, pickled_bytes, run_needs
from mulan.planning.prices import read_prices
from mulan.planning.speed import SpeedSource
from tests.planning.planned import miniature_recipe

GIVEN = SpeedSource(pairs_per_s=8.0, measured=None, peak_name="none", peak_share=0.5)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_cost, "MEASURED_S", 0.0)


def needs_of(data_uri: str, *settings: str) -> RunNeeds:
    recipe = miniature_recipe(data_uri, *settings)
    reader = MicroBatchReader.from_recipe(recipe)
    return run_needs(recipe, reader, GIVEN, read_prices(None), name="demo_miniature", workers_per_node=2)


def test_time_cpus_and_cost(tiny_corpus: str) -> None:
    """Steps of 16 pairs take 1 s on two workers of 8 pairs/s; two validations of 16 pairs take a third of that."""
    found = needs_of(tiny_corpus)
    assert found.time.total_s == pytest.approx(6 + 2 / 3)
    assert found.worker_hours == pytest.approx(2 * (6 + 2 / 3) / 3600)
    assert found.data_cpus == max(1, int(np.ceil(16 * found.cost_of_reading.wall_s)))
    prices = found.prices
    assert found.cost["GPUs"] == 0
    assert found.cost["CPUs of workers"] == pytest.approx(found.worker_hours * prices.worker_cpu_hour)
    assert found.cost["total"] == pytest.approx(sum(value for name, value in found.cost.items() if name != "total"))
    on_gpus = needs_of(tiny_corpus, "scale.use_gpu=true")
    assert on_gpus.cost["GPUs"] == pytest.approx(found.worker_hours * prices.gpu_hour)
    assert on_gpus.cost["CPUs of workers"] == 0


def test_slow_decoding_needs_more_cpus(tiny_corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = SpeedSource(pairs_per_s=1e6, measured=None, peak_name="none", peak_share=0.5)
    recipe = miniature_recipe(tiny_corpus)
    reader = MicroBatchReader.from_recipe(recipe)
    found = run_needs(recipe, reader, fast, read_prices(None), name="", workers_per_node=2)
    assert found.data_cpus == int(np.ceil(2e6 * found.cost_of_reading.wall_s)) > 1


def test_memory_of_a_node(tiny_corpus: str) -> None:
    """Two workers hold three groups each. A group has at most the three micro-batches that a worker trains on."""
    found = needs_of(tiny_corpus, "train.steps=3").node
    micro_batch = 8 * 16_000 * 2
    assert found.group_bytes == 3 * micro_batch
    assert found.object_store_bytes == found.reader_bytes + 2 * 3 * 3 * micro_batch
    assert found.object_store_per_data_cpu_bytes == 2 * 3 * micro_batch
    large = needs_of(tiny_corpus, "train.steps=6000")
    assert large.node.group_bytes == 2**26 // micro_batch * micro_batch
    assert large.node.host_bytes == large.checkpoints.each_bytes + 2 * micro_batch


class Kept:
    """A list of checkpoints as the writer keeps them, with a score after each validation."""

    def __init__(self, train: TrainConfig, scores: Sequence[float]) -> None:
        self.written, self.most, kept = 0, 0, list[tuple[int, float]]()
        for step, score in zip(range(1, train.steps + 1), scores, strict=True):
            if step % train.checkpoint_every_steps == 0 or step == train.steps:
                self.written += 1
                kept.append((step, score))
                best = sorted(kept, key=lambda each: -each[1])[: train.keep_best_checkpoints]
                kept = sorted({*kept[-train.keep_latest_checkpoints :], *best})
                self.most = max(self.most, len(kept))


@pytest.mark.parametrize(("steps", "every"), [(1, 5), (4, 5), (5, 5), (12, 5), (40, 5)])
@pytest.mark.parametrize("best", [0, 2])
def test_checkpoints_are_those_of_a_run_that_gets_worse(steps: int, every: int, best: int) -> None:
    train = TrainConfig(
        steps=steps,
        checkpoint_every_steps=every,
        keep_best_checkpoints=best,
        validation_micro_batches=2,
        validate_every_steps=1,
    )
    kept = Kept(train, [1 / step for step in range(1, steps + 1)])
    assert (checkpoints_written(train, steps), checkpoints_kept(train)) == (kept.written, kept.most)
    without_scores = train.replace(validation_micro_batches=0)
    assert checkpoints_kept(without_scores) == Kept(train.replace(keep_best_checkpoints=0), [0.0] * steps).most


def test_checkpoints_in_the_first_steps_have_no_last_one() -> None:
    train = TrainConfig(steps=12, checkpoint_every_steps=5)
    assert [checkpoints_written(train, steps) for steps in (4, 5, 11, 12)] == [0, 1, 2, 3]


def test_the_size_of_a_pickled_value_includes_its_arrays_and_tables() -> None:
    value = {"table": pa.table({"n": np.arange(100_000)}), "rows": np.arange(70_000), "name": "corpus"}
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol=5).dump(value)
    assert pickled_bytes(value) == pytest.approx(len(buffer.getvalue()), rel=1e-3)
