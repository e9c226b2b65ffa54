"""Tests the forms of names that Kubernetes accepts."""

from collections.abc import Callable

import pytest

from mulan.submission.kubernetes_names import (
    checked_image,
    checked_key,
    checked_labels,
    checked_name,
    checked_namespace,
    checked_resource,
)


@pytest.mark.parametrize(
    ("check", "valid"),
    [
        (checked_namespace, ["a", "team-1", "0", "x" * 63]),
        (checked_name, ["a", "my-secret", "a.b-c.0", "x" * 253]),
        (checked_key, ["a", "kubernetes.io/arch", "Some_Key.x", f"example.com/{'x' * 63}"]),
        (
            checked_image,
            [
                *("mulan", "mulan:0.1", "library/a__b:x", "localhost:5000/a/b-c:L_1.0-x", "[::1]:5000/a"),
                *("Registry.example.com/mulan:1@sha256:" + "0a" * 32, "123.dkr.ecr.us-west-2.amazonaws.com/a/b:1"),
            ],
        ),
        (checked_resource, ["nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.10gb"]),
    ],
)
def test_names_that_kubernetes_accepts(check: Callable[[str], str], valid: list[str]) -> None:
    assert [check(text) for text in valid] == valid


@pytest.mark.parametrize(
    ("check", "invalid"),
    [
        (checked_namespace, ["", "-", "a.b", "Team", "x" * 64, "a\n", "é"]),
        (checked_name, ["", "A B", "../x", "a..b", ".a", "a-", "a_b", "x" * 254, "a\n"]),
        (checked_key, ["", "a b", "/a", "a/", "A.com/x", "a/b/c", "-a", "x" * 64, "a\n"]),
        (checked_image, ["", "a b", "../../x@y", "a:", "a@sha256:0", "a/B", "http://a/b", "/a", "a/", "a:x:y", "a\n"]),
        (checked_resource, ["", "gpu", "nvidia.com/", "nvidia.com/a b"]),
    ],
)
def test_names_that_kubernetes_refuses(check: Callable[[str], str], invalid: list[str]) -> None:
    for text in invalid:
        with pytest.raises(ValueError, match=r"letters|PREFIX/NAME|REGISTRY"):
            check(text)


def test_all_faults_of_labels_are_named() -> None:
    assert checked_labels({"a": "", "b.c/d": "E_f.0"}) == {"a": "", "b.c/d": "E_f.0"}
    with pytest.raises(ValueError, match=r"(?s)'a b' is not the key.*'c d' is not the value.*'-' is not the value"):
        checked_labels({"a b": "c d", "x": "-"})
