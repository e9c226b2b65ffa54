"""Tests the published figures: that they are those of the papers' tables, and that a wrong file is refused."""

from dataclasses import replace
from typing import Any

import pytest

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.published import PublishedFigure, parse, published_figures

TABLE = """
[[table]]
section = "probes"
sets = ["one", "two"]
source = "Paper, table 1"
protocol = "as here"
recordings = 10
[table.values]
"A" = { roc_auc = 0.25, map = 0.5 }
"B" = { roc_auc = 0.75 }
"""


def figures_of(section: str, name: str, score: str) -> list[PublishedFigure]:
    key = (section, name, score)
    return [each for each in published_figures() if (each.section, each.set_name, each.score) == key]


def values(section: str, name: str, score: str) -> dict[str, float]:
    return {figure.model: figure.value for figure in figures_of(section, name, score)}


def test_a_table_is_read_for_each_of_its_sets() -> None:
    figures = parse(TABLE)
    assert len(figures) == 6
    assert figures[1] == PublishedFigure("probes", "one", "map", "A", 0.5, "Paper, table 1", "as here", recordings=10)
    assert {figure.set_name for figure in figures} == {"one", "two"}
    assert {figure.difference for figure in figures} == {""}


def test_differences_may_be_of_one_table_or_of_several() -> None:
    own = TABLE.replace("[table.v", 'difference = "no"\n[table.v')
    both = '[differences]\nmulap = "another head"' + own.replace("[table.v", 'shared_difference = "mulap"\n[table.v')
    assert {figure.difference for figure in parse(own)} == {"no"}
    assert {figure.difference for figure in parse(both)} == {"no; another head"}


MEASURED = PublishedFigure(
    "zero_shot", "mtat_top50_annotated", "roc_auc", "A", 0.8, "Paper", "cosine", recordings=5329, templates=("{}",)
)
SAME = {"recordings": 5329, "tags": 50, "scored_tags": 50}


@pytest.mark.parametrize(
    ("counts", "details", "reasons"),
    [
        (SAME, {"templates": {"mtat": ["{}"]}, "split": "test"}, ()),
        ({}, {}, ()),
        (SAME | {"recordings": 15}, {}, ("ours is of 15 recordings, not 5,329",)),
        (SAME | {"scored_tags": 4}, {}, ("ours is of 4 of 50 tags",)),
        (
            SAME,
            {"templates": {"mtat": ["This is a sound of {}."]}},
            ("our prompts are “This is a sound of {}.”, not “{}”",),
        ),
        (SAME, {"split": "validation"}, ("ours is of the split validation",)),
    ],
)
def test_a_figure_says_what_it_was_not_measured_on(
    counts: dict[str, int], details: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert MEASURED.differences_from(counts, details) == reasons
    of_others = replace(MEASURED, difference="other clips")
    assert of_others.differences_from(counts, details) == ("other clips", *reasons)
    unknown = replace(MEASURED, recordings=None, templates=None)
    assert all("tags" in each or "split" in each for each in unknown.differences_from(counts, details))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"probes"', '"probe"', "there is no section probe"),
        ("0.75", "75", "less than or equal to 1"),
        ("0.75", "nan", "finite|less than or equal to 1|greater than"),
        ('protocol = "as here"', "", "protocol"),
        ('"Paper, table 1"', '""', "source"),
        ('"as here"', '"as here"\nprompt = "this is"', "prompt"),
        ('"as here"', '"as here"\nshared_difference = "mulap"', "there is no shared difference mulap"),
        ("recordings = 10", "recordings = 0", "recordings"),
        ("recordings = 10", "", "Paper, table 1 needs recordings, since it states no difference"),
        ('"probes"', '"zero_shot"', "Paper, table 1 needs templates"),
        ('["one", "two"]', "[]", "sets"),
        ('["one", "two"]', '["one", "one"]', "probes one roc_auc B is listed 2 times"),
        ("{ roc_auc = 0.75 }", "{ }", "values.B"),
    ],
)
def test_a_wrong_file_is_refused(old: str, new: str, message: str) -> None:
    assert old in TABLE
    with pytest.raises(ValueError, match=message):
        parse(TABLE.replace(old, new))


def test_every_figure_states_where_it_is_from_and_how_it_was_measured() -> None:
    assert len(published_figures()) > 200
    for figure in published_figures():
        assert figure.section in SECTIONS and figure.source and figure.protocol, figure
        # figures of sets that nobody else can have, or that were quoted, are never comparable
        if figure.section in ("retrieval.playlists", "triplets") or "quoted" in figure.source:
            assert figure.difference, figure


def test_figures_of_our_protocol_state_the_numbers_of_recordings_and_the_prompts() -> None:
    """The sizes are those of the test sets in the literature."""
    sizes = {"mtat_top50_annotated": 5329, "mtat_top50_tagged": 4332, "gtzan": 290}
    same = [figure for figure in published_figures() if not figure.difference]
    assert len(same) > 10
    for figure in same:
        assert (figure.section, figure.templates) == ("zero_shot", ("{}",))
        assert figure.recordings == sizes[figure.set_name]


def test_figures_are_those_of_mulans_tables() -> None:
    resnet, ast = "MuLan M-Resnet-50", "MuLan M-AST"
    gen25, mu141 = "audioset_gen25", "audioset_mu141_without_roles"
    top50, all_tags = "mtat_top50_annotated", "mtat_188_annotated"
    columns = (gen25, mu141, top50, all_tags)
    rows = {
        (ast, "zero_shot"): (0.840, 0.909, 0.778, 0.776),
        (resnet, "zero_shot"): (0.840, 0.899, 0.782, 0.772),
        (f"{resnet}, ASET", "zero_shot"): (0.886, 0.942, 0.753, 0.771),
        (ast, "probes"): (0.906, 0.942, 0.925, 0.953),
        (resnet, "probes"): (0.910, 0.940, 0.927, 0.954),
    }
    for (model, section), row in rows.items():
        assert tuple(values(section, name, "roc_auc")[model] for name in columns) == row
    assert values("retrieval.playlists", "titles", "map")[ast] == 0.110
    assert values("retrieval.playlists", "descriptions", "roc_auc")[resnet] == 0.901
    assert values("triplets", "playlists", "accuracy")[f"{resnet}, ASET"] == 0.693


def test_figures_are_those_of_mulaps_tables() -> None:
    assert values("probes", "mtat_top50_tagged_mlp", "map")["MuLaP"] == 0.402
    assert values("probes", "jamendo_top50", "roc_auc")["MuLaP"] == 0.826
    (fma,) = (figure for figure in figures_of("probes", "fma_small", "accuracy") if figure.model == "MuLaP")
    assert fma.value == 0.611 and "validation" in fma.difference
    ours = [figure for figure in published_figures() if figure.model == "MuLaP"]
    assert len(ours) > 8
    for figure in ours:
        assert all(known in figure.difference for known in ("crops of 3 s", "standardised", "decays"))
        assert ("logistic" in figure.difference) == (figure.set_name in ("mtat_top50_tagged", "mtat_top50_annotated"))


def test_mulaps_figure_is_beside_the_logistic_probes_as_in_mulans_table() -> None:
    for name in ("mtat_top50_annotated", "mtat_top50_tagged"):
        assert values("probes", name, "roc_auc")["MuLaP"] == 0.893


def test_the_two_test_sets_of_magnatagatune_are_not_mixed() -> None:
    """Average precision differs by 4 to 8 percent between the sets."""
    model = "TTMR contrastive, stochastic"
    assert values("zero_shot", "mtat_top50_annotated", "map")[model] == 0.212
    assert values("zero_shot", "mtat_top50_tagged", "map")[model] == 0.252
