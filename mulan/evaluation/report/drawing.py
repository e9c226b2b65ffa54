"""What all pictures of reports have in common: self-contained SVG, one style, a palette for colour-blind readers."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mulan.pages.rendering import Filters, data_uri

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Colours of Okabe and Ito, which colour-blind readers can tell apart."""
INK, GREY, FAINT = "#1f2430", "#6b7280", "#d9dde3"
_PNG_DPI = 150
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an SVG document cannot contain: control characters and lone surrogates."""
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, selectable
    "svg.hashsalt": "mulan",  # the same figure gives the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}
"""Settings of matplotlib, within which figures are made and stored."""


@dataclass(frozen=True)
class Picture:
    """A figure of a report."""

    svg: bytes
    """The figure as an SVG document."""
    alt: str
    """Alternative text that describes the figure."""
    figure: Figure | None = field(default=None, repr=False, compare=False)
    """The figure that was drawn, for other formats."""

    def png(self) -> bytes:
        """Returns the figure as a PNG image, for programs that show no SVG."""
        assert self.figure is not None, "the picture was not drawn here"
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE), _without_glyph_warnings():
            self.figure.savefig(buffer, format="png", dpi=_PNG_DPI)
        return buffer.getvalue()


PICTURE_FILTERS: Filters = {"picture": lambda picture: data_uri(picture.svg, "image/svg+xml")}
"""Filters of a page's template: ``picture`` is the address of a picture that the page contains."""


def picture_of(figure: Figure, alt: str) -> Picture:
    """Returns a figure as a picture with its alternative text."""
    return Picture(svg_of(figure), alt, figure)


def new_figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """Returns an empty figure of a size in inches, with one pair of axes."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots()


def label_steps(axes: Axes) -> None:
    """Labels a horizontal axis as that of training steps, with whole numbers only."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))


def svg_of(figure: Figure) -> bytes:
    """Returns a figure as an SVG document without a date, so that equal figures are equal bytes."""
    buffer = io.BytesIO()
    with _without_glyph_warnings():
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), dpi=200)
    return buffer.getvalue()


def literal(text: str) -> str:
    """Returns a text that matplotlib shows as it is, with escapes for what it or an SVG document cannot contain.

    Dollar signs would begin a formula.
    """
    return _NOT_IN_XML.sub(lambda match: ascii(match[0])[1:-1], text).replace("$", r"\$")


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """Silences warnings about characters without a glyph: in SVG, text stays text, and browsers have fonts for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
