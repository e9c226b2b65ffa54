"""Tests speeds and times against calculations by hand."""

import pytest

from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.planning.measured import MeasuredSteps
from mulan.planning.reading import Amount, RunReading
from mulan.planning.speed import Speed, SpeedSource, TrainingTime, UnknownSpeed, training_time
from mulan.recipes.registry import load_recipe
from mulan.telemetry.flops import count_flops

NONE = Amount(0.0)
MEASURED = MeasuredSteps(
    run_uri="run",
    steps=10,
    workers=2,
    pairs=16,
    step_s=1.5,
    data_wait_share=0.1,
    between_steps_s=0.5,
    validation_s=3.0,
    checkpoint_s=0.25,
    start_s=20.0,
)
RECIPE = load_recipe("demo_miniature", ["scale.use_gpu=true", "train.precision=bf16"])
H100 = "NVIDIA H100 80GB HBM3"


def source(peak_name: str = H100, **given: object) -> SpeedSource:
    return SpeedSource(**({"pairs_per_s": None, "measured": None} | given), peak_name=peak_name, peak_share=0.5)


def test_a_calculated_speed_is_the_share_of_the_peak_over_the_flops_of_the_texts() -> None:
    model = model_to_measure(RECIPE)
    batches = [synthetic_batch(RECIPE, step=step, micro_batch=0, tokens=0) for step in range(3)]
    flops = count_flops(model, RECIPE)
    mean = sum(map(flops, batches)) / (3 * RECIPE.batch.pairs_per_micro_batch)
    found = source().speed(model, RECIPE, batches)
    assert found.flops_per_pair == pytest.approx(mean)
    assert found.pairs_per_s == pytest.approx(0.5 * 989e12 / mean)
    assert "50% of the peak of NVIDIA H100" in found.basis


def test_a_given_or_measured_speed_needs_no_peak() -> None:
    model = model_to_measure(RECIPE)
    assert source("none", pairs_per_s=12.5).speed(model, RECIPE, []) == Speed(12.5, "given")
    assert source("none", measured=MEASURED).speed(model, RECIPE, []).pairs_per_s == 16 / 2.0 / 2


def test_without_a_peak_the_message_names_what_to_give() -> None:
    model = model_to_measure(RECIPE)
    with pytest.raises(UnknownSpeed, match=r"no peak of 'Abacus' in bf16 is known: give --peak .* or --measured"):
        source("Abacus").speed(model, RECIPE, [])
    with pytest.raises(UnknownSpeed, match=r"CPU workers .*: give --measured RUN_URI or --pairs-per-s"):
        source().speed(model, RECIPE.replace({"scale.use_gpu": False}), [])


def test_times_of_a_measured_run() -> None:
    """4 pairs a second for each of 4 workers: steps of 16 pairs take 1 s; validations take half of the measured."""
    speed = source(measured=MEASURED).speed(model_to_measure(RECIPE), RECIPE, [])
    reading = RunReading((), validations=5, validation_pairs=80, requests=NONE, read_bytes=NONE)
    time = training_time(speed, RECIPE, reading, workers=4, steps=30, checkpoints=6)
    assert time == TrainingTime(steps_s=30.0, validations_s=7.5, checkpoints_s=1.5)
    assert time.total_s == 39.0


def test_times_without_a_measured_run() -> None:
    reading = RunReading((), validations=5, validation_pairs=240, requests=NONE, read_bytes=NONE)
    time = training_time(Speed(4.0, "given"), RECIPE, reading, workers=2, steps=30, checkpoints=6)
    assert (time.steps_s, time.validations_s, time.checkpoints_s) == (60.0, pytest.approx(10.0), None)
    assert time.total_s == pytest.approx(70.0)
