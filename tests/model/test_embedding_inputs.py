import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mulan.model.embedding_inputs import EmbeddingInputError, as_list, checked_texts


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
        io.StringIO("b"),
    ],
    ids=lambda items: type(items).__name__,
)
def test_any_iterable_is_taken_once_and_in_order(items: Any) -> None:
    given = checked_texts(items)
    assert given in (["b", "a"], ["b"])
    assert all(isinstance(text, str) for text in given)


def test_nothing_is_nothing() -> None:
    for items in ([], (), iter([]), np.array([], str)):
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
        ({"a": 1}, r"not a dict; give its keys\(\) or values\(\)"),
        ({"a", "b"}, "not a set, whose order is not known; sort it"),
        (frozenset("ab"), "not a frozenset, whose order is not known; sort it"),
        (np.array([["a", "b"]]), "not a ndarray of 2 dimensions"),
        (torch.zeros(2, 3), "not a Tensor of 2 dimensions"),
        (None, "not a NoneType"),
        (3, "not a int"),
        (print, "not a builtin_function_or_method"),
    ],
)
def test_what_is_not_a_number_of_things_is_refused(items: Any, words: str) -> None:
    with pytest.raises(EmbeddingInputError, match=f"f takes a list of things.*{words}"):
        as_list(items, "f", "things")


def test_texts_of_another_kind_are_all_named() -> None:
    with pytest.raises(EmbeddingInputError) as caught:
        checked_texts(["one", None, "caf\udce9", b"two", np.str_("three"), pa.scalar("four")])  # type: ignore[list-item]
    assert caught.value.faults == (
        "texts[1] is a NoneType",
        "texts[2] has half of a surrogate pair: 'caf\\udce9'",
        "texts[3] is a bytes",
        "texts[5] is a StringScalar",
    )
    str(caught.value).encode()


def test_a_message_names_twenty_faults_and_counts_the_others() -> None:
    with pytest.raises(EmbeddingInputError, match=r"texts\[19\] is a int; and 30 more$"):
        checked_texts(range(50))  # type: ignore[arg-type]
