"""Tests patterns of names against those of the webdataset library's braces and of pathlib."""

from pathlib import Path, PurePosixPath

import braceexpand
import pytest

from mulan.preparation.sources.tar_patterns import (
    MAX_NAMES,
    expand_braces,
    has_wildcards,
    is_pattern,
    matches,
    split_pattern,
)


@pytest.mark.parametrize(
    "pattern",
    [
        "a-{000..012}.tar",
        "{train,test}/{8..11}.tar",
        "a.tar",
        "{a,b,}{0..1}",
        "x{07..9}y",
        "{1..1}",
        "a{b}c",
        "é{0..2}",
    ],
)
def test_braces_stand_for_the_names_of_braceexpand(pattern: str) -> None:
    expected = list(braceexpand.braceexpand(pattern))
    assert expand_braces(pattern) == ([pattern.replace("{b}", "b")] if pattern == "a{b}c" else expected)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("{5..1}", "empty range"), ("{0..999999999999}", f"more than {MAX_NAMES:,}"), ("{0..9999}" * 2, "more than")],
)
def test_impossible_ranges_are_refused(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        expand_braces(pattern)


def test_wildcards_match_within_a_component() -> None:
    for path in ("a.tar", "b/a.tar", "b/c/a.tar", "b/x.tar", "b/a.json"):
        for pattern in ("*.tar", "b/*.tar", "?/a.*", "*/*/*.tar", "[ab]/a.tar", "b/a.tar"):
            expected = PurePosixPath("/" + path).match("/" + pattern)
            assert matches(path, pattern) == expected, (path, pattern)


def test_the_folder_before_a_pattern_is_split_off() -> None:
    assert split_pattern("/music/a-{0..9}.tar") == ("/music", "a-{0..9}.tar")
    assert split_pattern("s3://b/*/x/a.tar") == ("s3://b", "*/x/a.tar")
    assert split_pattern("/music/tars") == ("/music/tars", "")
    assert [is_pattern(path) for path in ("a{0..1}", "a*", "a?", "[a]", "a", "a{", str(Path("b")))] == [True] * 4 + [
        False
    ] * 3
    assert [has_wildcards(path) for path in ("a{0..1}", "a*")] == [False, True]
