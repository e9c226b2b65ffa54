"""The report's pictures: sound SVG that fetches nothing, is described, and shows what was measured."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mulan.evaluation import figures
from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.figures import caption_similarity, curve, embedding_map, tag_similarity
from mulan.evaluation.report.drawing import Picture
from tests.evaluation.planted import VOCABULARY, planted_evaluation, training_lines

EVALUATION = planted_evaluation(recordings=40, noise=2.0)


def texts_of(picture: Picture) -> list[str]:
    """All that is written in a picture, which must be an SVG that needs nothing else."""
    svg = ElementTree.fromstring(picture.svg)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    for node in svg.iter():
        assert all(not name.endswith("href") or value.startswith(("#", "data:")) for name, value in node.attrib.items())
    return ["".join(node.itertext()).strip() for node in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_a_curve_says_where_it_begins_and_what_its_running_mean_ends_at() -> None:
    lines = training_lines(400)
    lines = [line for line in lines if "loss" in line]
    picture = curve(lines, "loss", title="Loss", unit="nats", level=(4.8, "no skill"))
    last = np.mean([float(str(line["loss"])) for line in lines[-10:]])  # a fortieth of the steps
    assert picture.alt == f"Loss over 400 steps: {lines[0]['loss']:.4g} at the first, {last:.4g} at the end."
    assert {"Loss", "step", "nats", "no skill"} <= set(texts_of(picture))


def test_a_curve_of_one_step_is_drawn() -> None:
    assert (
        "over 7 steps: 3 at the first, 3 at the end" in curve([{"step": 7, "loss": 3}], "loss", title="L", unit="").alt
    )


def test_tags_are_grouped_by_category_and_recordings_by_genre() -> None:
    texts = texts_of(tag_similarity(EVALUATION))
    tags = [text for texts_of_category in VOCABULARY.values() for text in texts_of_category]
    assert [text for text in texts if text in VOCABULARY] == list(VOCABULARY)
    assert sorted(text for text in texts if text in tags) == sorted(
        [*tags, *VOCABULARY["genre"]]
    )  # genres on both axes


def test_captions_are_those_of_recordings_that_have_one() -> None:
    few = replace(EVALUATION, query_gold=EVALUATION.query_gold[:30], query_embeddings=EVALUATION.query_embeddings[:30])
    assert "of 30 recordings" in caption_similarity(few).alt
    assert "of 40 recordings" in caption_similarity(EVALUATION).alt


@pytest.mark.parametrize("draw", [tag_similarity, caption_similarity, embedding_map])
def test_the_same_evaluation_gives_the_same_bytes(draw: Callable[[Evaluation], Picture]) -> None:
    assert draw(EVALUATION).svg == draw(EVALUATION).svg


def test_the_map_names_every_genre_and_recordings_without_one() -> None:
    tags = [() if number < 5 else of_one for number, of_one in enumerate(EVALUATION.recordings.tags)]
    some = replace(EVALUATION, recordings=replace(EVALUATION.recordings, tags=tuple(tags)))
    assert set(texts_of(embedding_map(some))) >= {*VOCABULARY["genre"], "no genre"}


def test_many_recordings_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_MAX_POINTS", 20)
    picture = embedding_map(EVALUATION)
    assert "Map of 20 audio embeddings" in picture.alt
    assert all(genre in picture.alt for genre in VOCABULARY["genre"])
    svg = picture.svg.decode()
    assert len(re.findall("<use ", svg)) == 20
