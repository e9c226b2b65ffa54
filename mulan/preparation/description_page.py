"""The page of a corpus: its description, and recordings to read and to hear."""

from collections.abc import Mapping, Sequence
from typing import Any

from mulan.pages.rendering import Filters, data_uri, render
from mulan.preparation.description import CorpusExample

_MEDIA_TYPES = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
}
"""Media types by extension of the formats that browsers play."""
MAX_BYTES = 2**21
"""Maximum size in bytes of a sound in a page."""


def render_page(description: Mapping[str, Any], examples: Sequence[CorpusExample]) -> str:
    """Renders the page of a corpus from the results of :func:`mulan.preparation.description.describe`."""
    filters: Filters = {"size": readable_size, "quantile": _quantile, "sound": _sound}
    return render("mulan.preparation", "description_template.html", filters, corpus=description, examples=examples)


def readable_size(count: int) -> str:
    """Returns a number of bytes with a unit: kB, MB, GB or TB of powers of ten."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _quantile(name: str) -> str:
    shares = {"quantile_0": "shortest", "quantile_0.5": "median", "quantile_1": "longest", "mean": "mean"}
    return shares.get(name, f"{100 * float(name.rpartition('_')[2]):g} % are shorter than" if "_" in name else name)


def _sound(example: CorpusExample) -> str:
    media_type = _MEDIA_TYPES.get(example.extension)
    if media_type is None or len(example.audio) > MAX_BYTES:
        return ""
    return data_uri(example.audio, media_type)
