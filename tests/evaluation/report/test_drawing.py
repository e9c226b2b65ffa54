"""Pictures are SVG whose texts stay texts, and whose bytes depend on nothing but the figure."""

from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from mulan.evaluation.report.drawing import STYLE, literal, new_figure, svg_of


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"a $\frac$ \$ _", r"a $\frac$ \$ _"),
        ("\ud800\0\x1b\uffff", r"\ud800\x00\x1b\uffff"),
        ("a\u200c é", "a\u200c é"),
    ],
)
def test_any_text_can_be_drawn_literally(text: str, shown: str) -> None:
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3, 2)
        axes.set_title(literal(text))
        assert shown in "".join(ElementTree.fromstring(svg_of(figure)).itertext())
