"""Tests that what is printed and written is what was calculated, with units."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from mulan.benchmarks.synthetic import synthetic_batch
from mulan.planning.model_needs import ModelNeeds
from mulan.planning.needs import CheckpointNeeds, NodeNeeds, RunNeeds
from mulan.planning.prices import read_prices
from mulan.planning.reading import Amount, RunReading, StreamReading
from mulan.planning.reading_cost import ReadingCost
from mulan.planning.speed import Speed, TrainingTime
from mulan.planning.table import duration, needs_json, needs_table
from mulan.recipes.registry import load_recipe

TEXTS = synthetic_batch(load_recipe("demo_miniature"), step=0, micro_batch=0, tokens=7)
NEEDS = RunNeeds(
    recipe="m_ast",
    corpus="s3://bucket/corpus",
    on_gpu=True,
    workers=16,
    workers_per_node=8,
    steps=1_000,
    reading=RunReading(
        streams=(StreamReading("playlist", 2_000, 5_000_000),),
        validations=4,
        validation_pairs=20_000,
        requests=Amount(5_020_000.0),
        read_bytes=Amount(8.03e11, 4e9),
    ),
    cost_of_reading=ReadingCost(400, 0.02, 0.015, "Abacus, 2 cores", (TEXTS,)),
    speed=Speed(100.0, "given"),
    time=TrainingTime(3125.0, 4.0, None),
    data_cpus=32,
    has_data_cpus=16,
    model=ModelNeeds(195_000_000, 190_000_000, 2_300_000_000, {"weights": 780_000_000, "moments of Adam": 95_000_000}),
    checkpoints=CheckpointNeeds(written=2, kept=2, each_bytes=2_300_000_000),
    node=NodeNeeds(1_000_000, 51_200_000, 1_229_800_000, 102_400_000, 3_000_000_000),
    worker_hours=13.9,
    prices=read_prices(None),
    cost={"GPUs": 55.6, "CPUs of workers": 0.0, "requests": 0.004, "total": 57.25},
)


def printed(needs: RunNeeds) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(needs_table(needs))
    return str(console.file.getvalue())


@pytest.mark.parametrize(
    "cells",
    [
        ("steps", "1,000"),
        ("epochs of playlist", "2500", "2,000 recordings"),
        ("validations", "4", "20,000 pairs in total"),
        ("pairs/s of 16 GPUs", "1,600"),
        ("time of steps", "52.08 min"),
        ("pauses for checkpoints", "unknown"),
        ("time in total", "52.15 min"),
        ("GPU hours", "13.9"),
        ("CPUs that read and decode", "32", "20 ms for a pair, of which 15 ms of CPU time: measured on 400 pairs"),
        ("… of the recipe", "16", "scale.data_cpus: too few, training would take 2 times as long"),
        ("requests for recordings", "5,020,000", "counted"),
        ("bytes of recordings", "803 GB", "± 4 GB (95 %), from the byte ranges of a sample"),
        ("object store of a training node", "1.23 GB", "for each of 8 GPUs groups of 51.2 MB"),
        ("object store for each data CPU", "102 MB"),
        ("memory of a training node", "3 GB"),
        ("memory of a GPU", "875 MB", "weights 780 MB, moments of Adam 95 MB"),
        ("a checkpoint", "2.3 GB", "195,000,000 parameters, of which 190,000,000 are trained"),
        ("checkpoints written", "2", "4.6 GB in total"),
        ("cost of GPUs", "55.60 USD"),
        ("cost in total", "57.25 USD", "examples, not an offer"),
    ],
)
def test_lines_of_the_table(cells: tuple[str, ...]) -> None:
    lines = " ".join(printed(NEEDS).replace("│", " ").split())
    first = lines.index(f" {cells[0]} {cells[1]}")
    for cell in cells[2:]:
        assert cell in lines[first : first + 250]


def test_what_costs_nothing_and_what_suffices_has_no_line() -> None:
    text = printed(replace(NEEDS, has_data_cpus=64))
    assert "cost of CPUs of workers" not in text and "cost of requests" not in text
    assert "too few" not in text


def test_json_has_the_numbers_and_derived_ones() -> None:
    found = json.loads(json.dumps(needs_json(NEEDS)))
    assert found["time"] == {"steps_s": 3125.0, "validations_s": 4.0, "checkpoints_s": None, "total_s": 3129.0}
    assert found["checkpoints"]["written_bytes"] == found["checkpoints"]["kept_bytes"] == 4_600_000_000
    assert found["reading"]["streams"][0]["epochs"] == 2500
    assert found["reading"]["read_bytes"] == {"value": 8.03e11, "margin": 4e9}
    assert found["cost_of_reading"]["mean_tokens"] == 7
    assert "batches" not in found["cost_of_reading"]
    assert found["prices"]["date"] == str(NEEDS.prices.date)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (864_000.0, "10 days")]
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
