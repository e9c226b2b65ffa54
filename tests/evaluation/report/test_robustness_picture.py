"""The picture of robustness names its corruptions and sets, and there is none without scores."""

import xml.etree.ElementTree as ElementTree

from mulan.evaluation.report.robustness_picture import robustness_picture
from mulan.evaluation.report.summary import summarize
from tests.evaluation.report.planted_report import MODELS, encoder_info, planted_scores


def test_corruptions_and_sets_are_named_on_the_picture() -> None:
    made = summarize(planted_scores(MODELS[:1]), models=[encoder_info(MODELS[0])], tasks=[])
    picture = robustness_picture(made)
    assert picture is not None
    assert picture.alt == "Scores over the strength of corruption, from 0 to 5: low-pass, noise; dashed: chance."
    svg = ElementTree.fromstring(picture.svg)
    words = {"".join(node.itertext()).strip() for node in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"low-pass", "noise", "Zero-shot tagging: mtat_top50_tagged", "ROC-AUC"} <= words
    assert picture == robustness_picture(made)


def test_undefined_scores_are_left_out_and_reports_without_scores_have_no_picture() -> None:
    sets = [each for each in planted_scores(MODELS[:1])[MODELS[0]] if each.section == "robustness"]
    sets[0].scores["strength_3"] = float("nan")  # type: ignore[index]
    assert robustness_picture(summarize({"one": sets}, models=[encoder_info("one")], tasks=[])) is not None
    assert robustness_picture(summarize({}, models=[encoder_info("one")], tasks=[])) is None
