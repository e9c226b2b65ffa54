"""Tests the names of scalars, and what becomes of a line of metrics.jsonl."""

import re
import time

import pytest
from mlflow.utils.validation import _validate_metric_name

from mulan.tracking.scalars import scalar_name, step_scalars
from mulan.tracking.tracker import StepScalars

LINE = {
    "step": 120,
    "time": 1_700_000_000.5,
    "loss": 4.5,
    "loss_contrastive": 4.0,
    "temperature": 0.1,
    "grad_norm": None,  # not finite
    "learning_rate": 1e-3,
    "pairs_per_s": 64.0,
    "step_s": 2.0,
    "data_wait_s": 0.5,
    "model_flops": 1e12,
    "mfu": 0.4,
    "data_cpus": 3,
    "recordings_checksum": 12345,
    "skipped_recordings": {"no samples": 2},
    "validation": {"recall10": 0.25, "zero_shot.pitch.roc_auc": 0.75, "undefined": None},
    "note": "text is no scalar",
}


def test_a_line_in_groups() -> None:
    assert step_scalars(LINE) == StepScalars(
        120,
        1_700_000_000.5,
        {
            "train/loss": 4.5,
            "train/loss_contrastive": 4.0,
            "train/temperature": 0.1,
            "train/learning_rate": 1e-3,
            "speed/pairs_per_s": 64.0,
            "speed/step_s": 2.0,
            "speed/model_flops": 1e12,
            "speed/mfu": 0.4,
            "speed/data_cpus": 3,
            "speed/data_wait_ratio": 0.25,
            "health/skipped_no samples": 2,
            "validation/recall10": 0.25,
            "validation/zero_shot.pitch.roc_auc": 0.75,
        },
    )


def test_numbers_that_are_no_floats_have_no_scalar() -> None:
    scalars = step_scalars({"step": 1, "time": 2.0, "huge": 10**400, "inf": float("inf"), "nan": float("nan"), "x": 1})
    assert scalars == StepScalars(1, 2.0, {"train/x": 1})


def test_a_line_without_its_time_has_the_present_one() -> None:
    before = time.time()
    scalars = step_scalars({"step": 1, "loss": 2.0})
    assert scalars is not None and before <= scalars.time_s <= time.time()


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"step": "1"},
        {"step": None, "loss": 1.0},
        {"event": "begun"},
        {"step": 10**400},
        {"step": -1},
        {"step": True},
    ],
)
def test_a_line_of_no_step_has_no_scalars(line: dict[str, object]) -> None:
    assert step_scalars(line) is None


@pytest.mark.parametrize(
    "part", ["R@1", "..", ".", "", "a/b", "rock'n'roll", "日本", "x" * 400, "drum & bass", "new\nline"]
)
def test_every_name_is_one_that_mlflow_accepts(part: str) -> None:
    name = scalar_name("evaluation", part)
    _validate_metric_name(name)
    assert len(name) <= 250 and re.fullmatch(r"evaluation/[^/\n]+", name)
