"""What users give to be embedded: a number of things, each of the right kind."""

import os
from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from typing import Any

import numpy as np

from mulan.config.errors import MulanError
from mulan.data.errors import MOST_FAULTS
from mulan.data.text import is_unicode


class EmbeddingInputError(MulanError, ValueError):
    """Audio or text that cannot be embedded as it was given. All faults found are named, up to a number."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        super().__init__("; ".join([*faults[:MOST_FAULTS], *more]))


def as_list(inputs: Iterable[Any], call: str, what: str) -> list[Any]:
    """All that an iterable gives, once and in order.

    Args:
        inputs: a list, a generator, a column of a table or the like.
        call: the function that was called, for messages.
        what: what it takes, in the plural, for messages.

    Raises:
        EmbeddingInputError: a single thing, or something without an order.
    """
    kind = type(inputs).__name__
    takes = f"{call} takes a list of {what}"
    single = str | bytes | bytearray | memoryview | os.PathLike
    if isinstance(inputs, single) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "UO"):
        raise EmbeddingInputError([f"{takes}; put a single one in a list"])
    if isinstance(inputs, Mapping):
        raise EmbeddingInputError([f"{takes}, not a {kind}; give its keys() or values()"])
    if isinstance(inputs, Set) and not isinstance(inputs, KeysView):
        raise EmbeddingInputError([f"{takes}, not a {kind}, whose order is not known; sort it"])
    if getattr(inputs, "ndim", 1) != 1:
        raise EmbeddingInputError([f"{takes}, not a {kind} of {inputs.ndim} dimensions"])  # type: ignore[attr-defined]
    if not isinstance(inputs, Iterable):
        raise EmbeddingInputError([f"{takes}, not a {kind}"])
    return list(inputs)


def checked_texts(texts: Iterable[str]) -> list[str]:
    """Texts that can be embedded.

    Raises:
        EmbeddingInputError: something else, or text that is not Unicode; names all of it.
    """
    items = as_list(texts, "embed_text", "strings")
    faults = []
    for place, text in enumerate(items):
        if not isinstance(text, str):
            faults.append(f"texts[{place}] is a {type(text).__name__}")
        elif not is_unicode(text):
            faults.append(f"texts[{place}] has half of a surrogate pair: {text!r:.80}")
    if faults:
        raise EmbeddingInputError(faults)
    return items
