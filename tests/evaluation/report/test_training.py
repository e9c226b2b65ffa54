"""The part of a report about training states what the metrics of the run do, also where values are missing."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mulan.config.recipe import Recipe
from mulan.evaluation.report.drawing import Picture
from mulan.evaluation.report.training import training_report
from mulan.recipes.registry import load_recipe
from tests.evaluation.report.training_lines import training_lines


def texts_of(picture: Picture) -> set[str]:
    svg = ElementTree.fromstring(picture.svg)
    return {"".join(node.itertext()).strip() for node in svg.iter("{http://www.w3.org/2000/svg}text")}


def test_the_last_values_of_a_run_are_stated() -> None:
    lines, recipe = training_lines(120), load_recipe("demo")
    report = training_report(lines, recipe, {"corpus": 312.0, "train": 655.25})
    last = next(line for line in reversed(lines) if "loss" in line)
    assert (report.facts["steps"], report.facts["pairs_per_batch"]) == (120, recipe.batch.pairs)
    assert (report.facts["loss"], report.facts["temperature"]) == (last["loss"], last["temperature"])
    assert report.facts["loss_of_chance"] == math.log(2 * (recipe.batch.pairs - 1))
    assert report.facts["validation"]["recall10"] == 0.2
    assert report.facts["seconds"] == {"corpus": 312.0, "train": 655.25}
    assert report.recipe_toml == recipe.to_toml()


def test_curves_say_where_they_begin_and_what_their_running_mean_ends_at() -> None:
    lines = training_lines(400)
    curves = training_report(lines, load_recipe("demo"), {}).curves
    losses = [float(str(line["loss"])) for line in lines if "loss" in line]
    end = np.mean(losses[-10:])  # a fortieth of the steps
    assert curves[0].alt == f"Training loss over 400 steps: {losses[0]:.4g} at the first, {end:.4g} at the end."
    assert {"Training loss", "step", "nats", "all similarities equal"} <= texts_of(curves[0])
    titles = [curve.alt.partition(" over ")[0] for curve in curves]
    assert titles[1:] == ["Temperature", "Gradient norm before clipping", "Throughput", "Validation recall@10"]


def test_values_that_a_run_lacks_are_left_out() -> None:
    nothing = training_report([], Recipe(), {})
    assert (nothing.facts["steps"], nothing.facts["loss"], nothing.curves) == (0, None, ())
    lines = [{"step": 7, "loss": 3.0}, {"step": 8, "loss": None}, {"step": 8, "validation": {"accuracy": 0.5}}]
    report = training_report(lines, load_recipe("semisupcon"), {})
    assert (report.facts["steps"], report.facts["loss"], report.facts["temperature"]) == (8, 3.0, None)
    (curve,) = report.curves
    assert "over 7 steps: 3 at the first, 3 at the end" in curve.alt


@pytest.mark.parametrize(
    ("setting", "factor"),
    [("loss.weights.clip=2", 2), ("loss.mask_equal_texts=true", None), ("loss.weights.semisupcon=1", None)],
)
def test_a_loss_whose_value_at_chance_is_unknown_has_no_line_of_it(setting: str, factor: int | None) -> None:
    recipe = load_recipe("demo", [setting])
    report = training_report(training_lines(9), recipe, {})
    chance = report.facts["loss_of_chance"]
    if factor is None:
        assert chance is None
    else:
        pairs = recipe.batch.pairs
        assert chance == pytest.approx(math.log(2 * (pairs - 1)) + factor * math.log(pairs))
    assert ("all similarities equal" in texts_of(report.curves[0])) == (chance is not None)


@pytest.mark.parametrize("pretrained", ["", "runs/trunk/model"])
def test_a_tower_that_its_source_pretrains_and_the_run_did_not_is_reported(pretrained: str) -> None:
    recipe = Recipe().replace({"audio_tower.expects_pretrained": True, "audio_tower.pretrained": pretrained})
    warnings = training_report([], recipe, {}).facts["warnings"]
    assert len(warnings) == (not pretrained)
    assert all(re.search("starts from random weights", warning) for warning in warnings)
