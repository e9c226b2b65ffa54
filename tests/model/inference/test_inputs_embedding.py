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
def test_any_iterable_is_taken_once_and_in_order(items: Any) -> None:
    given = checked_texts(items)
    assert given == ["b", "a"]
    assert all(isinstance(text, str) for text in given)


def test_nothing_is_nothing() -> None:
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
        (np.zeros((8, 100)), r"make a list of several that are stacked: list\(\.\.\.\)"),
        (torch.zeros(100), "not a Tensor; put a single one in a list"),
        (array.array("h", [0] * 100), "put a single one in a list"),
        ([0.0] * 100, "not a list of numbers"),
        (range(100), "not a range of numbers"),
        (io.StringIO("a"), "not an open file; give its path"),
        (io.BytesIO(), "not an open file; give its path"),
        ({"a": 1}, r"not a dict; give its keys\(\) or values\(\)"),
        ({"a", "b"}, "not a set, whose order is not known; sort it"),
        (frozenset("ab"), "not a frozenset, whose order is not known; sort it"),
        (np.array([["a", "b"]]), "not a ndarray of 2 dimensions"),
        (torch.zeros(2, 3), "not a Tensor; put a single one in a list, and make a list of several"),
        (None, "not a NoneType"),
        (3, "not a int"),
        (print, "not a builtin_function_or_method"),
        (np.ndarray, "not a type"),
    ],
)
def test_what_is_not_a_number_of_things_is_refused(items: Any, words: str) -> None:
    with pytest.raises(EmbeddingInputError, match=f"f takes a list of things.*{words}"):
        as_list(items, "f", "things")


def test_temporary_files_are_open_files_too() -> None:
    for open_file in (tempfile.TemporaryFile, tempfile.NamedTemporaryFile, tempfile.SpooledTemporaryFile):
        with open_file() as file, pytest.raises(EmbeddingInputError, match="not an open file; give its path"):
            as_list(file, "f", "things")


def test_texts_of_another_kind_are_all_named() -> None:
    with pytest.raises(EmbeddingInputError) as caught:
        checked_texts(["one", None, "caf\udce9", b"two", np.str_("three"), pa.scalar("four")])  # type: ignore[list-item]
    assert caught.value.faults == (
        "texts[1] is a NoneType, not a string",
        "texts[2] has half of a surrogate pair, which is not Unicode: 'caf\\udce9'",
        "texts[3] is a bytes, not a string; decode it",
        "texts[5] is a StringScalar, not a string",
    )
    str(caught.value).encode()


def test_a_message_names_twenty_faults_and_counts_the_others() -> None:
    with pytest.raises(EmbeddingInputError, match=r"texts\[19\] is a list, not a string; and 30 more$"):
        checked_texts([[]] * 50)  # type: ignore[list-item]


def test_an_error_is_one_line_and_the_same_in_another_process() -> None:
    error = EmbeddingInputError(["on\ne", "two"])
    assert str(error) == "on e; two"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.faults) == ("on e; two", ("on e", "two"))
