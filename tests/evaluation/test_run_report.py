import base64
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import fsspec
import numpy as np
import pytest
from rich.console import Console

from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe
from mulan.evaluation.control import shuffled_control
from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.run_report import print_summary, write_report
from mulan.recipes.registry import load_recipe
from tests.evaluation.planted import VOCABULARY, planted_evaluation, training_lines

SECONDS = {"corpus": 312.0, "train": 655.25, "evaluate": 48.7}


class Page(HTMLParser):
    """Words, references and tags of an HTML page; void elements aside, every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.references, self.images, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag == "img":
            self.images.append(given)
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return planted_evaluation(recordings=40, noise=2.0)


@pytest.fixture(scope="module")
def run(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_report(str(folder), evaluation, steps=training_lines(120), seconds=SECONDS, recipe_toml=Recipe().to_toml())
    return folder


def test_report_json_holds_the_measured_values(run: Path, evaluation: Evaluation) -> None:
    report = json.loads((run / "report.json").read_text())
    for category, scores in evaluation.zero_shot.items():
        written = report["zero_shot"][category]
        assert written["roc_auc"] == scores.roc_auc
        assert written["map"] == scores.map
        assert (written["num_tags"], written["num_recordings"]) == (len(VOCABULARY[category]), 40)
        assert report["prompts"][category] == list(VOCABULARY[category])
    assert report["retrieval"]["map10"] == evaluation.retrieval.map10
    assert report["retrieval"]["num_queries"] == 40
    assert report["control"]["roc_auc"] == evaluation.control.roc_auc
    assert report["seconds"] == SECONDS
    assert report["training"]["steps"] == 120
    assert report["training"]["loss_of_chance"] == math.log(2 * 63)
    assert report["training"]["validation"]["recall10"] == 0.2
    assert len(report["examples"]) == 5
    assert report["skipped"] == evaluation.recordings.skipped


def test_the_page_fetches_nothing_and_is_small(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.references
    assert all(reference.startswith("data:") for reference in page.references)
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)
    assert len(text) < 2_000_000


def test_every_picture_is_sound_described_and_fetches_nothing(run: Path) -> None:
    images = Page((run / "report.html").read_text()).images
    assert len(images) == 5 + 3  # curves; tags, captions, map
    for image in images:
        svg = ElementTree.fromstring(base64.b64decode(image["src"].partition(",")[2]))
        assert svg.tag == "{http://www.w3.org/2000/svg}svg"
        for node in svg.iter():
            for name, value in node.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:")), value
        assert len(image["alt"]) > 20


def test_the_page_shows_every_tag_and_the_numbers_of_report_json(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    words = {word.strip() for word in Page((run / "report.html").read_text()).words}
    for scores in report["zero_shot"].values():
        assert f"{scores['roc_auc']:.3f}" in words
        for row in scores["per_tag"]:
            assert {row["tag"], f"{row['roc_auc']:.3f}", f"{row['average_precision']:.3f}"} <= words
    assert {f"{report['retrieval'][key]:.3f}" for key in ("map10", "recall10", "mrr")} <= words
    assert f"{report['control']['roc_auc']:.3f}" in words
    assert {f"“{example['text']}”" for example in report["examples"]} <= words


def test_names_are_escaped_and_undefined_numbers_are_null_and_a_dash(tmp_path: Path, evaluation: Evaluation) -> None:
    odd = replace(
        evaluation,
        recordings=replace(evaluation.recordings, skipped={"<b>&": "no <samples>"}),
        control=replace(evaluation.control, roc_auc=float("nan")),
    )
    write_report(str(tmp_path), odd, steps=[], seconds={}, recipe_toml=Recipe().to_toml())
    assert json.loads((tmp_path / "report.json").read_text())["control"]["roc_auc"] is None
    words = [word.strip() for word in Page((tmp_path / "report.html").read_text()).words]
    assert "<b>&" in words
    assert "\N{EN DASH}" in words
    assert "nan" not in words


def test_a_split_without_tags_and_texts_still_has_a_report(tmp_path: Path, evaluation: Evaluation) -> None:
    audio = evaluation.recordings.embeddings
    nothing = np.zeros((0, audio.shape[1]), np.float32)
    bare = replace(
        evaluation,
        recordings=replace(evaluation.recordings, tags=((),) * len(audio), texts=((),) * len(audio)),
        prompts={},
        queries=(),
        query_embeddings=nothing,
        query_gold=(),
        zero_shot={},
        retrieval=None,
        control=shuffled_control(audio, ((),) * len(audio), {}, nothing, ()),
        examples=(),
    )
    write_report(str(tmp_path), bare, steps=[], seconds={}, recipe_toml=Recipe().to_toml())
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["zero_shot"], report["retrieval"], report["roc_auc"]) == ({}, None, None)
    stream = io.StringIO()
    print_summary(bare, "report.html", Console(file=stream))
    assert "nan" not in stream.getvalue()


def test_the_report_goes_to_any_file_system(evaluation: Evaluation) -> None:
    write_report("memory://runs/one", evaluation, steps=[], seconds=SECONDS, recipe_toml=Recipe().to_toml())
    assert fsspec.filesystem("memory").cat_file("/runs/one/report.html").startswith(b"<!doctype html>")


def test_a_tower_that_its_source_pretrains_and_the_run_did_not_is_reported(
    tmp_path: Path, evaluation: Evaluation
) -> None:
    recipe = Recipe().replace({"audio_tower.expects_pretrained": True})
    for number, pretrained in enumerate(["", "runs/trunk/model"]):
        text, folder = recipe.replace({"audio_tower.pretrained": pretrained}).to_toml(), tmp_path / str(number)
        write_report(str(folder), evaluation, steps=training_lines(9), seconds=SECONDS, recipe_toml=text)
        warnings = json.loads((folder / "report.json").read_text())["warnings"]
        words = " ".join(Page((folder / "report.html").read_text()).words)
        assert len(warnings) == (not pretrained)
        assert all("starts from random weights" in warning for warning in warnings)
        assert ("Warning:" in words) == ("starts from random weights" in words) == (not pretrained)


def test_a_recipe_that_is_none_is_refused_before_anything_is_written(tmp_path: Path, evaluation: Evaluation) -> None:
    with pytest.raises(RecipeError):
        write_report(str(tmp_path), evaluation, steps=[], seconds={}, recipe_toml="trian = 1")
    assert list(tmp_path.iterdir()) == []


def test_the_summary_is_plain_text_where_there_is_no_terminal(evaluation: Evaluation) -> None:
    stream = io.StringIO()
    print_summary(evaluation, "runs/a-rather-long-folder-name/" + "x" * 80 + "/report.html", Console(file=stream))
    printed = stream.getvalue()
    assert "\x1b" not in printed
    assert "runs/a-rather-long-folder-name/" + "x" * 80 + "/report.html" in printed
    for scores in evaluation.zero_shot.values():
        assert f"{scores.roc_auc:.3f}" in printed
    for example in evaluation.examples:
        assert f'"{example.text}"' in printed
        assert all(hit.recording_id in printed for hit in example.hits)
    assert "rec-broken" in printed
    assert np.isclose(evaluation.control.roc_auc, 0.5, atol=0.1)


def test_a_loss_whose_value_at_chance_is_unknown_has_no_line_of_it(tmp_path: Path, evaluation: Evaluation) -> None:
    levels = []
    for setting in ("loss.weights.clip=2", "loss.mask_equal_texts=true", "loss.weights.semisupcon=1"):
        recipe = load_recipe("demo", [setting])
        write_report(str(tmp_path), evaluation, steps=training_lines(9), seconds={}, recipe_toml=recipe.to_toml())
        levels.append(json.loads((tmp_path / "report.json").read_text())["training"]["loss_of_chance"])
        assert "Training loss" in (tmp_path / "report.html").read_text()
    pairs = recipe.batch.pairs
    assert levels == [pytest.approx(math.log(2 * (pairs - 1)) + 2 * math.log(pairs)), None, None]


def test_steps_that_updated_nothing_are_left_out_of_the_curves(tmp_path: Path, evaluation: Evaluation) -> None:
    lines = training_lines(12)
    lines[4] |= {"grad_norm": None}
    lines[11] |= {"loss": None, "temperature": None, "grad_norm": None}
    write_report(str(tmp_path), evaluation, steps=lines, seconds={}, recipe_toml=Recipe().to_toml())
    training = json.loads((tmp_path / "report.json").read_text())["training"]
    assert (training["steps"], training["loss"]) == (12, lines[10]["loss"])
