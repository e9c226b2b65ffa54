"""The picture of robustness names its corruptions, sets and models, and there is none without scores."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np

from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.report.drawing import Picture
from mulan.evaluation.report.robustness_picture import robustness_picture
from mulan.evaluation.report.summary import summarize
from tests.evaluation.report.planted_report import MODELS, encoder_info, planted_scores


def picture_of(scores: dict[str, list[SetScores]]) -> Picture | None:
    return robustness_picture(summarize(scores, models=[encoder_info(name) for name in scores], tasks=[]))


def words_of(picture: Picture) -> list[str]:
    svg = ElementTree.fromstring(picture.svg)
    return ["".join(node.itertext()).strip() for node in svg.iter("{http://www.w3.org/2000/svg}text")]


def corrupted_sets() -> list[SetScores]:
    return [each for each in planted_scores(MODELS[:1])[MODELS[0]] if each.section == "robustness"]


def test_corruptions_sets_and_models_are_named_on_the_picture() -> None:
    scores = planted_scores(MODELS[:2])
    picture = picture_of(scores)
    assert picture is not None
    assert picture.alt == (
        f"Scores of {MODELS[0]}, {MODELS[1]} over the strength of corruption, from 0 to 5, with 95 % intervals at "
        "strength 5: low-pass, noise; grey: chance."
    )
    words = words_of(picture)
    assert {"low-pass", "noise", "ROC-AUC", MODELS[0], f"…{MODELS[1][-43:]}"} <= set(words)
    assert words.count("Zero-shot tagging: mtat_top50_tagged") == 2
    assert picture == picture_of(scores)


def test_lines_differ_without_colours() -> None:
    sets = [replace(corrupted_sets()[0], name=f"set {number}",
                    details={**corrupted_sets()[0].details, "corruption": f"kind {number}"})
            for number in range(7)]  # fmt: skip
    picture = picture_of({"one": sets})
    assert picture is not None
    styles = re.findall(rb'<path d="[^"]{60,}"[^>]*style="fill: none;( stroke-dasharray: [\d., ]+;)?', picture.svg)
    assert len(set(styles)) >= 6


def test_intervals_are_drawn_at_the_last_strength() -> None:
    without = [replace(each, draws={}) for each in corrupted_sets()]
    around = np.linspace(-0.02, 0.02, 100)
    having = [replace(each, draws={"strength_5": each.scores["strength_5"] + around}) for each in without]
    plain, whiskers = picture_of({"one": without}), picture_of({"one": having})
    assert plain is not None and whiskers is not None
    # one line for each corruption is added
    assert whiskers.svg.count(b'<g id="line2d_') == plain.svg.count(b'<g id="line2d_') + len(without)


def test_undefined_scores_are_left_out_and_reports_without_scores_have_no_picture() -> None:
    sets = corrupted_sets()
    sets[0].scores["strength_3"] = float("nan")  # type: ignore[index]
    assert picture_of({"one": sets}) is not None
    assert picture_of({"one": []}) is None
