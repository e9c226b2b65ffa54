"""Tests that finite, ordered iterables are accepted as collections of items, and anything else is rejected."""

import array
import io
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mulan.model.inference.inputs import EmbeddingInputError, as_list, checked_texts


@pytest.mark.parametrize(
    "items",
    [
        ["b", "a"],
        ("b", "a"),
        (text for text in "ba"),
        {"b": 1, "a": 2}.keys(),
        {1: "b", 2: "a"}.values(),
        np.array(["b", "a"]),
        np.array(["b", "a"], object),
        map(str, "ba"),
        pa.array(["b", "a"]).to_pandas(),
        pa.array(["b", "a"]),
        pa.chunked_array([["b"], ["a"]]),
        pa.array(["b", "a"]).dictionary_encode(),
        np.array(["b", "a"], np.dtypes.StringDType()),
    ],
    ids=lambda items: type(items).__name__,
)
def test_any_iterable_is_consumed_once_and_in_order(items: Any) -> None:
    texts = checked_texts(items)
    assert texts == ["b", "a"]
    assert all(isinstance(text, str) for text in texts)


def test_empty_collections_are_accepted() -> None:
    for items in ([], (), iter([]), np.array([], str), pa.array([], pa.string())):
        assert checked_texts(items) == []


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("slow piano", "put a single one in a list"),
        (b"slow piano", "put a single one in a list"),
        (Path("song.wav"), "put a single one in a list"),
        (np.zeros(100, np.int16), "put a single one in a list"),
        (np.zeros((2, 100)), "put a single one in a list"),
        (np.array(3.0), "put a single one in a list"),
        (np.zeros((8, 100)), r"convert a stack of several with list\(\.\.\.\)"),
        (torch.zeros(100), "not a Tensor; put a single one in a list"),
        (array.array("h", [0] * 100), "put a single one in a list"),
        ([0.0] * 100, "not a list of numbers"),
        (range(100), "not a range of numbers"),
        (io.StringIO("a"), "not an open file; pass its path"),
        (io.BytesIO(), "not an open file; pass its path"),
        ({"a": 1}, r"not a dict; pass its keys\(\) or values\(\)"),
        ({"a", "b"}, "not a set, which is unordered; sort it"),
        (frozenset("ab"), "not a frozenset, which is unordered; sort it"),
        (np.array([["a", "b"]]), "not a 2-dimensional ndarray"),
        (torch.zeros(2, 3), "not a Tensor; put a single one in a list, or convert a stack of several"),
        (None, "not a NoneType"),
        (3, "not a int"),
        (print, "not a builtin_function_or_method"),
        (np.ndarray, "not a type"),
    ],
)
def test_anything_but_a_collection_is_rejected(items: Any, words: str) -> None:
    with pytest.raises(EmbeddingInputError, match=f"f takes a list of things.*{words}"):
        as_list(items, "f", "things")


def test_temporary_files_are_open_files_too() -> None:
    for open_file in (tempfile.TemporaryFile, tempfile.NamedTemporaryFile, tempfile.SpooledTemporaryFile):
        with open_file() as file, pytest.raises(EmbeddingInputError, match="not an open file; pass its path"):
            as_list(file, "f", "things")


def test_all_invalid_texts_are_listed() -> None:
    with pytest.raises(EmbeddingInputError) as caught:
        checked_texts(["one", None, "caf\udce9", b"two", np.str_("three"), pa.scalar("four")])  # type: ignore[list-item]
    assert caught.value.faults == (
        "texts[1] is a NoneType, not a string",
        "texts[2] contains a lone surrogate, which is not valid Unicode: 'caf\\udce9'",
        "texts[3] is a bytes, not a string; decode it",
        "texts[5] is a StringScalar, not a string",
    )
    str(caught.value).encode()


def test_a_message_lists_twenty_faults_and_counts_the_others() -> None:
    with pytest.raises(EmbeddingInputError, match=r"texts\[19\] is a list, not a string; and 30 more$"):
        checked_texts([[]] * 50)  # type: ignore[list-item]


def test_an_error_is_one_line_and_can_be_pickled() -> None:
    error = EmbeddingInputError(["on\ne", "two"])
    assert str(error) == "on e; two"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.faults) == ("on e; two", ("on e", "two"))
