"""Tests the tables of a text ablation against those of the paper, and what they say where there is no score."""

import io
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.published import published_figures
from mulan.evaluation.report.ablation_table import Ablation, AblationVariant, ablation_tables
from mulan.evaluation.report.console import print_report
from mulan.evaluation.report.page import PageContent, render_page
from mulan.evaluation.report.summary import LeftOut, TaskFacts, summarize
from tests.evaluation.report.planted_report import encoder_info

ROBUSTNESS = {"section": "zero_shot", "set": "genre", "score": "roc_auc", "corruption": "noise"}
NAMES = ("full", "aset_sf_lf", "aset_sf", "aset", "unfiltered")
TEXTS = ("ASET + SF + LF + PL", "ASET + SF + LF", "ASET + SF", "ASET", "SF/LF unfiltered")

PAPER = {
    "4b": {
        "audioset_gen25": (0.840, 0.839, 0.839, 0.886, 0.845),
        "audioset_mu141_without_roles": (0.899, 0.907, 0.885, 0.942, 0.908),
        "mtat_top50_annotated": (0.782, 0.760, 0.754, 0.753, 0.774),
        "mtat_188_annotated": (0.772, 0.756, 0.747, 0.771, 0.766),
    },
    "4c": {
        "audioset_gen25": (0.910, None, None, None, None),
        "audioset_mu141_without_roles": (0.940, None, None, None, None),
        "mtat_top50_annotated": (0.927, None, None, None, None),
        "mtat_188_annotated": (0.954, None, None, None, None),
    },
    "5": {
        "titles roc_auc": (0.931, 0.917, 0.913, 0.626, 0.933),
        "titles map": (0.104, 0.101, 0.089, 0.005, 0.111),
        "descriptions roc_auc": (0.901, 0.892, 0.867, 0.688, 0.897),
        "descriptions map": (0.084, 0.077, 0.060, 0.009, 0.081),
    },
    "6": {
        "playlists": (0.945, 0.935, 0.910, 0.693, 0.949),
        "audioset_ontology": (0.951, 0.952, 0.938, 0.818, 0.959),
    },
}
"""Tables 4, 5 and 6 of Huang et al. 2022, in the order of :data:`NAMES`."""


def ablation_of(*, missing: dict[str, str] | None = None) -> Ablation:
    reasons = missing or {}
    model = "MuLan M-Resnet-50"
    return Ablation(
        "m_resnet50",
        tuple(
            AblationVariant(
                name,
                texts,
                model if name == "full" else f"{model}, {texts}",
                f"runs/{name}",
                None if name in reasons else 6,
                reasons.get(name, ""),
            )
            for name, texts in zip(NAMES, TEXTS, strict=True)
        ),
    )


def score(section: str, name: str, **scores: float) -> SetScores:
    return SetScores(section, name, scores)


def reported(scores: dict[str, list[SetScores]], *tasks: TaskFacts, missing: dict[str, str] | None = None) -> Any:
    models = [encoder_info(name) for name in scores]
    summary = summarize(scores, models=models, tasks=tasks, published=published_figures())
    summary["ablation"] = ablation_tables(summary, ablation_of(missing=missing), published_figures())
    return summary


@pytest.fixture(scope="module")
def summary() -> Any:
    """Two variants with tags and triplets of a corpus of their own, and MTAT; playlists had too few recordings."""
    found = {
        name: [
            score("zero_shot", "genre", roc_auc=0.6 + number / 100, map=0.2),
            score("zero_shot", "mtat_top50_tagged", roc_auc=0.7 + number / 100, map=0.2),
            score("probes", "mtat_top50_tagged_mlp", roc_auc=0.81, map=0.2),
            score("retrieval.captions", "captions", recall1=0.1, recall10=0.31, map10=0.21),
            score("triplets", "playlists", accuracy=0.5),
            SetScores("robustness", "zero_shot.genre.noise", {"strength_0": 0.5}, details=ROBUSTNESS),
        ]
        for number, name in enumerate(("full", "aset"))
    }
    tasks = [
        TaskFacts("mtat", "MagnaTagATune", "", "mtat", "", {}),
        TaskFacts(
            "playlists",
            "Playlists",
            "",
            "corpus",
            "",
            {},
            left_out=(LeftOut("full", "playlist retrieval", "all are too short"),),
        ),
        TaskFacts("triplets", "Triplets", "", "corpus", "", {}),
    ]
    reasons = {name: "it is not trained" for name in NAMES if name not in ("full", "aset")}
    return reported(found, *tasks, missing=reasons)


def table(summary: Any, paper: str) -> Any:
    (found,) = (each for each in summary["ablation"]["tables"] if each["paper"] == paper)
    return found


@pytest.mark.parametrize("number", PAPER)
def test_published_figures_are_those_of_the_paper_s_tables(number: str) -> None:
    found = table(reported({"full": []}), number)
    columns = {
        each["set"] if number != "5" else f"{each['set']} {each['score']}": place
        for place, each in enumerate(found["columns"])
    }
    assert list(columns) == list(PAPER[number])
    assert [row["variant"] for row in found["rows"]] == list(NAMES)
    for name, place in columns.items():
        assert tuple(row["cells"][place]["published"] for row in found["rows"]) == PAPER[number][name]
        assert found["columns"][place]["published"].startswith("MuLan (Huang et al. 2022), table")
        assert {row["cells"][place]["ours"] for row in found["rows"]} == {None}


def test_columns_are_the_evaluated_sets_in_the_paper_s_order(summary: Any) -> None:
    tagging = table(summary, "4b")
    assert [(each["label"], each["set"], bool(each["empty"])) for each in tagging["columns"]] == [
        ("AudioSet Gen-25", "audioset_gen25", True),
        ("AudioSet Mu-141", "audioset_mu141_without_roles", True),
        ("MTAT Top-50", "mtat_top50_tagged", False),
        ("MTAT All-188", "mtat_188_annotated", True),
    ]
    assert [row["cells"][2]["ours"] for row in tagging["rows"]] == [0.7, None, None, 0.71, None]
    assert [row["cells"][2]["published"] for row in tagging["rows"]] == [0.782, 0.760, 0.754, 0.753, 0.774]


def test_both_readings_of_a_column_are_shown() -> None:
    sets = [score("zero_shot", name, roc_auc=0.5) for name in ("mtat_188_tagged", "mtat_188_annotated")]
    columns = table(reported({"full": sets}), "4b")["columns"]
    assert [each["set"] for each in columns if each["label"] == "MTAT All-188"] == [
        "mtat_188_annotated",
        "mtat_188_tagged",
    ]


def test_sets_that_the_paper_has_not_are_in_tables_of_their_own(summary: Any) -> None:
    own = {each["title"]: each for each in summary["ablation"]["tables"] if not each["paper"]}
    assert {title: [(each["set"], each["score"]) for each in found["columns"]] for title, found in own.items()} == {
        "Zero-shot tagging, other sets": [("genre", "roc_auc")],
        "Probes on frozen vectors, other sets": [("mtat_top50_tagged_mlp", "roc_auc")],
        "Captions to music, other sets": [("captions", "recall10"), ("captions", "map10")],
    }
    cells = [row["cells"][0] for row in own["Captions to music, other sets"]["rows"]]
    assert [cell["ours"] for cell in cells] == [0.31, None, None, 0.31, None]
    assert {cell["published"] for cell in cells} == {None}


def test_a_figure_of_other_recordings_than_ours_is_not_comparable() -> None:
    sets = [SetScores("zero_shot", "mtat_top50_annotated", {"roc_auc": 0.7}, details={"split": "validation"})]
    (note,) = (each for each in table(reported({"full": sets}), "4b")["published"] if each.startswith("MTAT Top-50"))
    assert "Not comparable: " in note and "ours is of the split validation" in note


def test_an_empty_column_says_why(summary: Any) -> None:
    assert "--task audioset=CORPUS" in table(summary, "4b")["columns"][0]["empty"]
    assert table(summary, "4b")["columns"][3]["empty"] == "the corpus has nothing of it"
    assert {each["empty"] for each in table(summary, "5")["columns"]} == {"playlist retrieval: all are too short"}
    assert table(summary, "5")["empty"] == ["Title, Description: playlist retrieval: all are too short"]
    assert len(table(summary, "4b")["published"]) == 3, "both columns of MTAT have one source"
    assert table(summary, "6")["columns"][0]["empty"] == ""
    assert table(summary, "6")["columns"][1]["empty"] == "not requested: --task ontology=FILE evaluates it"


def test_tables_without_a_score_come_last(summary: Any) -> None:
    assert [each["paper"] for each in summary["ablation"]["tables"]] == ["4b", "6", "", "", "", "4c", "5"]


class Cells(HTMLParser):
    """The cells of the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def test_the_page_has_the_tables_with_published_figures_and_reasons(summary: Any) -> None:
    text = render_page(summary, PageContent())
    assert "<title>Text ablation of m_resnet50</title>" in text
    cells = Cells(text).cells
    assert "0.710paper 0.753" in cells and "\N{EN DASH}paper 0.774" in cells
    assert "MTAT Top-50ROC-AUC, mtat_top50_tagged" in cells
    assert "all are too short" in text
    assert text.count("is missing: it is not trained") == 3
    assert "ablation" not in render_page(
        {name: value for name, value in summary.items() if name != "ablation"}, PageContent()
    )


def test_the_console_has_the_tables_with_a_score_and_the_reasons_of_the_others(summary: Any) -> None:
    stream = io.StringIO()
    print_report(summary, "report.html", Console(file=stream, width=160))
    text = stream.getvalue()
    assert "Table 4b: zero-shot tagging, ours (published)" in text
    assert "0.710 (0.753)" in text and "\N{EN DASH} (0.774)" in text
    assert "Table 5: music retrieval by playlists: Title, Description: playlist retrieval: all are too short\n" in text
    assert "Table 5: music retrieval by playlists, ours" not in text
    assert text.count("is missing: it is not trained") == 3
