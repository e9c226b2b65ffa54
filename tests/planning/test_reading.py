"""Tests what a run reads against reading it, request by request, and estimates from samples against counts."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mulan.config.sections import BatchConfig, TrainConfig
from mulan.data.corpus.index_rows import index_tables, write_index
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase, Schedule
from mulan.planning import reading as reading_module
from mulan.planning.reading import Amount, run_reading, validations
from mulan.storage.joined_ranges import MAX_GAP_BYTES
from tests.conftest import S3
from tests.planning.planned import miniature_recipe


def copied_to(s3: S3, folder: str) -> str:
    """Copies a corpus to the bucket, and returns its URI there."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            s3.files.put_file(str(path), f"{s3.uri}/corpus/{path.relative_to(folder)}")
    return f"{s3.uri}/corpus"


def test_requests_and_bytes_are_those_of_reading_the_whole_run(s3: S3, tiny_corpus: str) -> None:
    """Everything is read from S3, through a proxy that counts requests and the bytes that it sends."""
    recipe = miniature_recipe(copied_to(s3, tiny_corpus), "train.steps=7")
    reader = MicroBatchReader.from_recipe(recipe)
    predicted = run_reading(reader, recipe.train)
    s3.proxy.requests.clear()
    s3.proxy.sent.clear()
    items = list(Schedule(recipe.train, recipe.batch, rank=0, workers=1))
    assert [item.phase for item in items].count(Phase.VALIDATE) == 3 * recipe.train.validation_micro_batches
    batches = [reader(item) for item in items]
    assert not any(batch.skipped for batch in batches)
    ranged = [request for request in s3.proxy.requests if request.startswith("GET") and ".tar" in request]
    assert predicted.requests == Amount(len(ranged))
    assert predicted.read_bytes == Amount(sum(size for request, size in s3.proxy.sent.items() if ".tar" in request))
    assert (predicted.pairs, predicted.validations) == (sum(len(batch.recording_id) for batch in batches), 3)


def test_epochs_count_how_often_recordings_are_met(tiny_corpus: str) -> None:
    recipe = miniature_recipe(tiny_corpus)
    reader = MicroBatchReader.from_recipe(recipe)
    planned = [
        example
        for step in range(6)
        for micro_batch in range(2)
        for example in reader.plans[Phase.TRAIN].micro_batch(step, micro_batch)
    ]
    met = Counter(str(example.stream) for example in planned)
    for stream in run_reading(reader, recipe.train).streams:
        assert (stream.pairs, stream.recordings) == (met[stream.stream], 32)
        assert stream.epochs == met[stream.stream] / 32


@pytest.mark.parametrize("spacing", [0, 1_000, MAX_GAP_BYTES + 1_000, 2 * MAX_GAP_BYTES])
def test_near_ranges_of_a_micro_batch_are_one_request(tmp_path: Path, spacing: int) -> None:
    """The reference joins the ranges of each micro-batch one by one; half of the recordings have several."""
    lengths = [512 + number for number in range(40)]
    offsets = [number * spacing for number in range(40)]
    further = [
        [offset + 200_000, 100, offset + 10**9, 70] if number % 2 else [] for number, offset in enumerate(offsets)
    ]
    reader = planted_index(tmp_path, lengths=lengths, offsets=offsets, further=further)
    requests = read_bytes = 0
    for step in range(10):
        for number in range(2):
            rows = [example.row for example in reader.plans[Phase.TRAIN].micro_batch(step, number)]
            end = -math.inf
            for first, length in sorted(span for where in reader.corpus.locations(rows) for span in where.ranges):
                if first - end > MAX_GAP_BYTES:
                    requests, read_bytes = requests + 1, read_bytes + length
                else:
                    read_bytes += max(0, first + length - int(end))
                end = max(end, first + length)
    found = run_reading(reader, TrainConfig(steps=10))
    assert (found.requests, found.read_bytes) == (Amount(requests), Amount(read_bytes))


def planted_index(
    folder: Path, *, lengths: list[int], offsets: list[int] | None = None, further: list[list[int]] | None = None
) -> MicroBatchReader:
    """Writes an index without shards, all of whose recordings have a playlist text, and returns its reader.

    By default, no two recordings are in the same shard.
    """
    rows = [
        {
            "recording_id": f"r{number}",
            "uri": "shards/00000.tar" if offsets else f"shards/{number:05d}.tar",
            "offset": offsets[number] if offsets else 0,
            "length": length,
            "duration_s": 10.0,
            "split": "train",
            "sources": ["playlist"],
            "tags": [],
            "fields": "",
            "further_ranges": further[number] if further else [],
        }
        for number, length in enumerate(lengths)
    ]
    write_index(list(index_tables(rows)), str(folder))
    only = [f"data.source_ratio.{source}=0" for source in ("short_form", "long_form", "audioset")]
    return MicroBatchReader.from_recipe(miniature_recipe(str(folder), *only, "train.validation_micro_batches=0"))


def test_samples_of_long_runs_estimate_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 samples, about 95 % have the count within their margin."""
    rng = np.random.default_rng(5)
    reader = planted_index(tmp_path, lengths=rng.integers(1_000, 900_000, 2_000).tolist())
    train = TrainConfig(steps=300)
    counted = run_reading(reader, train)
    monkeypatch.setattr(reading_module, "MAX_COUNTED", 0)
    monkeypatch.setattr(reading_module, "SAMPLE", 400)
    default_rng, within = np.random.default_rng, 0
    for seed in range(200):
        monkeypatch.setattr(np.random, "default_rng", lambda _, seed=seed: default_rng(seed))
        estimated = run_reading(reader, train)
        assert estimated.read_bytes.margin is not None and counted.read_bytes.margin is None
        within += abs(estimated.read_bytes.value - counted.read_bytes.value) <= estimated.read_bytes.margin
        assert estimated.read_bytes.margin < 0.1 * counted.read_bytes.value
        assert estimated.requests.value == pytest.approx(
            counted.requests.value, rel=0.01
        )  # few are read twice at a time
    assert 180 <= within <= 198


@pytest.mark.parametrize(("steps", "every", "micro_batches"), [(6, 3, 2), (7, 3, 2), (7, 0, 2), (7, 3, 0), (2, 3, 2)])
def test_validations_are_those_of_the_schedule(steps: int, every: int, micro_batches: int) -> None:
    train = TrainConfig(steps=steps, validate_every_steps=every, validation_micro_batches=micro_batches)
    for first in range(1, steps + 1):
        items = list(Schedule(train, BatchConfig(), rank=0, workers=1))
        after = {item.step for item in items if item.phase is Phase.VALIDATE and item.step <= first}
        assert validations(train, first) == len(after)


def test_margins_of_independent_amounts_add_in_quadrature() -> None:
    assert Amount(1.0, 3.0) + Amount(2.0, 4.0) == Amount(3.0, 5.0)
    assert Amount(1.0) + Amount(2.0, 4.0) == Amount(3.0, 4.0)
    assert Amount(1.0) + Amount(2.0) == Amount(3.0)
