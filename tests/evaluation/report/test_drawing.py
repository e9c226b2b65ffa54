"""Pictures are SVG whose texts stay texts, and whose bytes depend on nothing but the figure."""

import matplotlib as mpl

from mulan.evaluation.report.drawing import STYLE, new_figure, svg_of


def drawn() -> bytes:
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3, 2)
        axes.plot([0, 1], [1, 0])
        axes.set_title("a title")
        return svg_of(figure)


def test_equal_figures_are_equal_bytes_without_a_date() -> None:
    assert drawn() == drawn()
    assert b">a title<" in drawn()
    assert b"dc:date" not in drawn()
