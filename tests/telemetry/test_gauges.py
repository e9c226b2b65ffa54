"""Tests the readings of a step, and that every gauge is documented and has a name that Prometheus accepts."""

import re

from mulan.telemetry.gauges import GAUGES, Reading, step_readings

LINE = {
    "step": 30,
    "loss": 2.5,
    "loss_contrastive": 2.0,
    "loss_semisupcon": 1.0,
    "temperature": 0.07,
    "grad_norm": 3.0,
    "learning_rate": 1e-4,
    "pairs_per_s": 64.0,
    "step_s": 2.0,
    "data_wait_s": 0.5,
    "model_flops": 4e12,
    "mfu": 0.4,
    "recordings_checksum": "00",
    "skipped_recordings": {"silent": 3, "truncated audio": 1},
    "collapsed_steps": 7,
    "validation": {"recall10": 0.25},
    "time": 1000.5,
    "data_cpus": None,
}


def test_every_field_of_a_line_is_read() -> None:
    assert sorted(step_readings(LINE, pairs=128)) == sorted(
        [
            Reading("mulan_step", 30),
            Reading("mulan_last_step_time_seconds", 1000.5),
            Reading("mulan_pairs", 30 * 128),
            Reading("mulan_pairs_per_second", 64),
            Reading("mulan_step_seconds", 2),
            Reading("mulan_data_wait_ratio", 0.25),
            Reading("mulan_loss", 2.5),
            Reading("mulan_loss_term", 2, "contrastive"),
            Reading("mulan_loss_term", 1, "semisupcon"),
            Reading("mulan_temperature", 0.07),
            Reading("mulan_gradient_norm", 3),
            Reading("mulan_learning_rate", 1e-4),
            Reading("mulan_validation_score", 0.25, "recall10"),
            Reading("mulan_skipped_recordings", 3, "silent"),
            Reading("mulan_skipped_recordings", 1, "truncated audio"),
            Reading("mulan_model_flops_per_second", 2e12),
            Reading("mulan_mfu", 0.4),
            Reading("mulan_collapsed_steps", 7),
        ]
    )


def test_values_that_are_not_finite_are_left_out() -> None:
    diverged = {"step": 3, "loss": None, "grad_norm": None, "validation": {"recall10": float("nan"), "map": 0.5}}
    assert sorted(step_readings(diverged, pairs=2)) == [
        Reading("mulan_pairs", 6),
        Reading("mulan_step", 3),
        Reading("mulan_validation_score", 0.5, "map"),
    ]


def test_gauges_have_valid_names_and_descriptions() -> None:
    for name, gauge in GAUGES.items():
        assert re.fullmatch(r"mulan_[a-z_]+[a-z]", name)
        assert gauge.description.endswith(".") and "\n" not in gauge.description
    labels = {gauge.label for gauge in GAUGES.values() if gauge.label}
    assert labels == {"term", "score", "reason", "rank"}
    assert {reading.gauge for reading in step_readings(LINE, pairs=128)} < GAUGES.keys()
