"""The page parses, fetches nothing, escapes names, shows every number, and stays small."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile

from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.published import published_figures
from mulan.evaluation.recordings import LabelledRecording
from mulan.evaluation.report.drawing import Picture
from mulan.evaluation.report.examples import heard_recordings
from mulan.evaluation.report.page import PageContent, render_page, write_report
from mulan.evaluation.report.sounds import excerpts
from mulan.evaluation.report.summary import summarize
from mulan.evaluation.report.training import TrainingReport
from tests.evaluation.protocols.planted_model import evaluated, random_text_vector, unit
from tests.evaluation.report.planted_report import (
    MODELS,
    ODD,
    TAGS,
    encoder_info,
    planted_audio,
    planted_scores,
    planted_tasks,
)

VOID = ("img", "meta", "br", "link", "wbr")
PICTURE = Picture(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "A picture of something.")

TRAINING = {
    "steps": 4800,
    "pairs_per_batch": 128,
    "loss": 1.5,
    "loss_of_chance": 5.5,
    "temperature": None,
    "validation": None,
    "warnings": ["the tower starts from random weights <b>"],
    "seconds": {"train": 75.0},
}


class Page(HTMLParser):
    """Words, references, ids and tags of an HTML page; void elements aside, every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.references: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.is_continued = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.is_continued = tag == "wbr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """A word may be broken, which it is not if it fits."""
        if self.is_continued:
            self.words[-1] += data.rstrip()
        else:
            self.words.append(data.strip())
        self.is_continued = False


def planted_summary(**given: Any) -> dict[str, Any]:
    models = [encoder_info(name) for name in MODELS]
    return summarize(
        planted_scores(**given), models=models, tasks=planted_tasks(), published=published_figures(), seconds={"a": 75}
    )


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return planted_summary()


@pytest.fixture(scope="module")
def text(summary: dict[str, Any]) -> str:
    sounds = excerpts(heard_recordings(summary)[:3], lambda each: planted_audio(each.recording_id))
    training = TrainingReport(TRAINING, (PICTURE,), "[train]\nsteps = 480 # <b>\n")
    content = PageContent(sounds, space=(PICTURE,), training=training)
    return render_page(summary, content)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_fetches_nothing_and_its_links_lead_somewhere(page: Page, text: str) -> None:
    assert text.startswith("<!doctype html>")
    targets = [value.get("id") for _, value in page.elements]
    own = [target for target in targets if target]
    assert len(own) == len(set(own))
    inside = [reference for reference in page.references if reference.startswith("#")]
    assert {reference[1:] for reference in inside} <= set(own)
    assert len(inside) > 8
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert not re.search(r"@import|url\(|<script|<link|src=\"http|href=\"http", text)


def test_the_page_says_how_to_search_the_collection_if_there_is_an_index(summary: dict[str, Any], text: str) -> None:
    assert "jobs.serve" not in text
    found = Page(render_page(summary, PageContent(index_uri="/runs/my <b>/index")))
    assert "Search this collection" in found.words
    assert "python -m jobs.serve --index '/runs/my <b>/index'" in found.words
    assert [each for each in found.references if each.startswith("http")] == ["http://127.0.0.1:8000/"]
    assert "#search" in found.references


def test_every_score_interval_and_name_is_on_the_page(page: Page, summary: dict[str, Any]) -> None:
    words = set(page.words)
    for row in summary["comparison"]:
        digits = 1 if row["score"] == "median_rank" else 3
        if row["score"] != "prevalence":
            assert {
                "\N{EN DASH}" if value is None else f"{value:.{digits}f}" for value in row["values"].values()
            } <= words
    low, high = summary["zero_shot"]["gtzan"]["intervals"]["accuracy"]
    assert f"{low:.3f}\N{EN DASH}{high:.3f}" in words
    assert {
        "instrument",
        "song_describer",
        "audioset_ontology",
        "noise",
        *MODELS,
        *TAGS,
    } <= words
    for figure in summary["published"]:
        assert {figure["model"], f"{figure['value']:.3f}"} <= words
    joined = " ".join(page.words)
    assert "4,800 steps of 128 pairs. Time: train 1 min 15 s." in " ".join(joined.split())
    assert "the tower starts from random weights <b>." in joined
    assert "steps = 480 # <b>" in joined
    assert "Not measured as ours: " in joined
    assert "the cosine similarity of their prompts is 0.970" in joined
    assert "it embeds no text, which zero-shot tagging needs" in joined
    assert "test 5,329, train 18,706; test 17" in " ".join(joined.split()), "those that differ"
    assert "and 11 more, in report.json" in joined
    assert summary["models"][0]["sha256"][:16] in joined
    assert "nan" not in joined.lower().split()


def test_names_are_escaped_everywhere(page: Page, text: str) -> None:
    assert ODD in page.words
    assert "<b>é" not in text
    assert not [tag for tag, _ in page.elements if tag in ("red", "samples")]
    assert "no <samples>" in page.words


def test_pictures_are_described_and_icons_have_labels(page: Page) -> None:
    images = [given for tag, given in page.elements if tag == "img"]
    robustness, *others = [image["alt"] or "" for image in images]
    assert robustness.startswith(f"Scores of {MODELS[0]}, {MODELS[1]} over the strength of corruption")
    assert others == [PICTURE.alt] * 2
    assert all(given.get("aria-label") for _, given in page.elements if given.get("role") == "img")
    assert all(given.get("aria-hidden") for tag, given in page.elements if tag == "svg")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_scrolls_in_its_box(text: str) -> None:
    assert text.count("<table") == len(re.findall(r'<div class="scroll"><table', text)) > 10


def test_bars_lie_where_the_scores_are(text: str, summary: dict[str, Any]) -> None:
    bars = re.findall(r'<rect x="([\d.]+)" y="3" width="([\d.]+)"', text)
    whiskers = re.findall(r'<path class="whisker" d="M([\d.]+) 7H([\d.]+)M', text)
    sets = summary["zero_shot"]
    rows = [
        (110, row["roc_auc"], row["roc_auc_interval"])
        for name in ("mtat_top50_annotated", "mtat_top50_tagged")
        for row in sorted(sets[name]["details"]["tags"], key=lambda row: -row["roc_auc"])
    ]
    classes = sorted(sets["gtzan"]["details"]["classes"], key=lambda row: -row["recall"])
    rows += [(0, row["recall"], row["recall_interval"]) for row in classes]
    assert len(rows) == 2 * len(TAGS) + 3
    for (x, width), line, (origin, score, interval) in zip(bars, whiskers, rows, strict=True):
        assert sorted([float(x), float(x) + float(width)]) == pytest.approx(sorted([origin, 220 * score]), abs=0.11)
        assert [float(end) for end in line] == pytest.approx([220 * end for end in interval], abs=0.06)


def test_classes_are_a_table_and_not_json(page: Page, text: str) -> None:
    assert {"blues", "jazz", "metal", "most mistaken for"} <= set(page.words)
    assert "mistaken_for" not in text


def test_the_card_of_robustness_is_of_corrupted_recordings(page: Page) -> None:
    # (0.82 - 5 * 0.05 + 0.82 - 5 * 0.02) / 2
    card = page.words.index("0.645")
    assert (
        "mean ROC-AUC at strength 5 of 2 corruptions, 0.820 without; mtat_top50_tagged" in page.words[card : card + 4]
    )


def test_names_break_after_their_parts(text: str) -> None:
    assert "audioset_<wbr>ontology" in text
    assert "zero_<wbr>shot.<wbr>mtat_<wbr>top50_<wbr>tagged.<wbr>noise" in text
    assert "encoder/<wbr>laion-clap" in text
    assert "<wbr>" not in text.partition("</title>")[0]


def test_how_recordings_get_their_vectors_is_stated(page: Page, summary: dict[str, Any]) -> None:
    assert summary["windows"]["seconds"] == dict.fromkeys(MODELS, 10.0)
    joined = " ".join(page.words)
    assert "the fewest evenly spaced windows that cover it" in summary["windows"]["rule"]
    assert summary["windows"]["rule"] in joined
    assert "windows of 10.0 s" in joined


def test_sounds_decode_and_are_labelled(page: Page) -> None:
    sounds = [given for tag, given in page.elements if tag == "audio"]
    assert len(sounds) == 3
    for sound in sounds:
        source = sound["src"] or ""
        assert source.startswith("data:audio/mpeg;base64,")
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert 6 < len(samples) / rate < 8
        assert np.abs(samples).max() > 0.2
        assert (sound["aria-label"] or "").startswith(("excerpt of rec-", "excerpt of A song"))


def test_greys_and_links_have_enough_contrast(text: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    colours = re.findall(r"--(?:ink|grey): (#[0-9a-f]{6})", text) + re.findall(r"(?<![-\w])color: (#[0-9a-f]{6})", text)
    assert len(colours) >= 3
    assert min(1.05 / (luminance(colour) + 0.05) for colour in colours) >= 4.5


def test_188_tags_of_three_models_stay_small() -> None:
    tags = [f"tag number {number} {ODD}" for number in range(188)]
    text = render_page(planted_summary(tags=tags), PageContent())
    page = Page(text)
    assert set(tags) <= set(page.words)
    assert len(text.encode()) < 3_000_000


def test_a_report_of_one_model_without_scores_is_a_page() -> None:
    text = render_page(summarize({}, models=[encoder_info("alone")], tasks=[]), PageContent())
    assert "Evaluation of alone" in Page(text).words
    assert "Differences" not in text


def test_what_the_protocols_return_is_shown() -> None:
    rng = np.random.default_rng(0)
    names = ("genre:rock", "genre:not rock", "genre:jazz")
    recordings = [
        LabelledRecording(f"r{number:02d}", "test", (names[number % 3],), {"long_form": (f"caption {number}",)})
        for number in range(30)
    ]
    model = evaluated(recordings, unit(rng.normal(size=(30, 16))), random_text_vector)
    sets = [each for run in (ZeroShotTagging("all"), CaptionRetrieval("captions")) for each in run.evaluate(model)]
    made = summarize({"planted": sets}, models=[model.encoder.info], tasks=[])
    page = Page(render_page(made, PageContent()))
    example, *_ = made["retrieval"]["captions"]["captions"]["details"]["examples"]
    assert {"rock", "not rock", "jazz", example["query"], "mAP@10", "median rank"} <= {
        word.strip("“”") for word in page.words
    }
    assert f"{made['zero_shot']['genre']['roc_auc']:.3f}" in page.words
    assert any("“rock” " in word and "“not rock” " in word for word in page.words)


def test_page_and_results_go_to_any_file_system(summary: dict[str, Any], tmp_path: Path) -> None:
    for folder in ("memory://reports/one", str(tmp_path)):
        write_report(folder, summary, PageContent())
    assert fsspec.filesystem("memory").cat_file("/reports/one/report.html").startswith(b"<!doctype html>")
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(summary))
