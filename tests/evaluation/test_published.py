"""Tests the published figures: that they are those of the papers' tables, and that a wrong file is refused."""

import pytest

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.published import PublishedFigure, figures_of, parse, published_figures

TABLE = """
[[table]]
section = "probes"
sets = ["one", "two"]
source = "Paper, table 1"
protocol = "as here"
[table.values]
"A" = { roc_auc = 0.25, map = 0.5 }
"B" = { roc_auc = 0.75 }
"""


def values(section: str, name: str, score: str) -> dict[str, float]:
    return {figure.model: figure.value for figure in figures_of(section, name, score)}


def test_a_table_is_read_for_each_of_its_sets() -> None:
    figures = parse(TABLE)
    assert len(figures) == 6
    assert figures[1] == PublishedFigure("probes", "one", "map", "A", 0.5, "Paper, table 1", "as here", "")
    assert {figure.set_name for figure in figures} == {"one", "two"}
    assert all(figure.is_comparable for figure in figures)
    assert not any(figure.is_comparable for figure in parse(TABLE.replace("[table.v", 'difference = "no"\n[table.v')))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"probes"', '"probe"', "there is no section probe"),
        ("0.75", "75", "less than or equal to 1"),
        ("0.75", "nan", "finite|less than or equal to 1|greater than"),
        ('protocol = "as here"', "", "protocol"),
        ('"Paper, table 1"', '""', "source"),
        ('"as here"', '"as here"\nprompt = "this is"', "prompt"),
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
            assert not figure.is_comparable, figure


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


def test_the_two_test_sets_of_magnatagatune_are_not_mixed() -> None:
    """Average precision differs by 4 to 8 percent between the sets."""
    model = "TTMR contrastive, stochastic"
    assert values("zero_shot", "mtat_top50_annotated", "map")[model] == 0.212
    assert values("zero_shot", "mtat_top50_tagged", "map")[model] == 0.252


def test_comparable_figures_are_first_and_then_the_highest() -> None:
    found = figures_of("zero_shot", "mtat_top50_annotated", "roc_auc")
    keys = [(not figure.is_comparable, -figure.value) for figure in found]
    assert keys == sorted(keys) and found[0].is_comparable and not found[-1].is_comparable
    assert figures_of("zero_shot", "unknown", "roc_auc") == ()
