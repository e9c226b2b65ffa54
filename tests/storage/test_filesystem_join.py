"""Tests that paths are joined literally."""

import pytest

from mulan.storage import filesystem


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://bucket", ["a", "b c"], "s3://bucket/a/b c"),
        ("s3://bucket/a", ["/etc/x"], "s3://bucket/a//etc/x"),
        ("/a", ["/etc/x"], "/a//etc/x"),
        ("/", ["a"], "/a"),
        ("memory://", ["a"], "memory://a"),
        ("", ["a"], "a"),
        ("a", ["", "b"], "a/b"),
    ],
)
def test_no_part_of_a_path_replaces_what_is_before_it(uri: str, parts: list[str], joined: str) -> None:
    assert filesystem.join(uri, *parts) == joined
