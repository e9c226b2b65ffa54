"""What users give to be embedded: a number of things, each of the right kind."""

import array
import io
import os
from collections.abc import Iterable, Mapping, MappingView, Sequence, Set
from numbers import Real
from typing import Any

import pyarrow as pa

from mulan.config.errors import MulanError
from mulan.data.errors import MOST_FAULTS, one_line
from mulan.data.text import is_unicode

_SINGLE = str | bytes | bytearray | memoryview | array.array | os.PathLike
_ARROW = pa.Array | pa.ChunkedArray
_HOLDS_THINGS = {"O", "U", "S", "T"}
"""Kinds of NumPy's dtypes whose arrays are lists of things; any other array is one thing."""


class EmbeddingInputError(MulanError, ValueError):
    """Audio or text that cannot be embedded as it was given. Names all faults found, up to :data:`MOST_FAULTS`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(one_line, faults))
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        super().__init__("; ".join([*self.faults[:MOST_FAULTS], *more]))

    def __reduce__(self) -> tuple[type["EmbeddingInputError"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


def as_list(inputs: Iterable[Any], call: str, what: str) -> list[Any]:
    """All that an iterable gives, once and in order.

    Args:
        inputs: a list, a generator, a column of a table or the like; it must come to an end.
        call: the function that was called, for messages.
        what: what it takes, in the plural, for messages.

    Raises:
        EmbeddingInputError: a single thing, numbers, an open file, or something without an order.
    """
    fault = _fault_of_whole(inputs)
    if not fault:
        # Arrow's own items are no Python objects
        items = inputs.to_pylist() if isinstance(inputs, _ARROW) else list(inputs)
        if len(items) <= MOST_FAULTS or not all(isinstance(item, Real) for item in items):
            return items
        fault = f", not a {type(inputs).__name__} of numbers"  # the samples of a recording, say
    raise EmbeddingInputError([f"{call} takes a list of {what}{fault}"])


def _fault_of_whole(inputs: Any) -> str:
    """Why something is no list of things, in words that follow what is wanted; empty if it is one."""
    kind, dimensions = type(inputs).__name__, getattr(inputs, "ndim", 1)
    dtype_kind = getattr(getattr(inputs, "dtype", None), "kind", "")  # empty with libraries other than NumPy
    if isinstance(inputs, _ARROW):
        return ""
    if isinstance(inputs, _SINGLE):
        return "; put a single one in a list"
    if not isinstance(inputs, Iterable):
        return f", not a {kind}"
    if hasattr(inputs, "__dlpack__") and dtype_kind not in _HOLDS_THINGS:
        several = ", and make a list of several that are stacked: list(...)" if dimensions > 1 else ""
        return f", not a {kind}; put a single one in a list{several}"
    if isinstance(inputs, io.IOBase) or hasattr(inputs, "readline"):
        return ", not an open file; give its path, or what is read from it, in a list"
    if isinstance(inputs, Mapping):
        return f", not a {kind}; give its keys() or values()"
    if isinstance(inputs, Set) and not isinstance(inputs, MappingView):
        return f", not a {kind}, whose order is not known; sort it"
    return "" if dimensions == 1 else f", not a {kind} of {dimensions} dimensions; give one of its columns or rows"


def checked_texts(texts: Iterable[str]) -> list[str]:
    """Texts that can be embedded.

    Raises:
        EmbeddingInputError: something else, or text that is not Unicode; names all of it.
    """
    items = as_list(texts, "embed_text", "strings")
    faults = []
    for place, text in enumerate(items):
        if not isinstance(text, str):
            remedy = "; decode it" if isinstance(text, bytes) else ""
            faults.append(f"texts[{place}] is a {type(text).__name__}, not a string{remedy}")
        elif not is_unicode(text):
            faults.append(f"texts[{place}] has half of a surrogate pair, which is not Unicode: {text!r:.80}")
    if faults:
        raise EmbeddingInputError(faults)
    return items
