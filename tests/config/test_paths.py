"""Tests that paths are normalised to a form that does not depend on the working directory."""

from pathlib import Path

import pytest

from mulan.config.paths import absolute, is_mistyped


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("runs", "{here}/runs"),
        ("./runs/../runs/", "{here}/runs"),
        ("~/runs/", "{home}/runs"),
        ("~", "{home}"),
        ("/data//tones/", "/data/tones"),
        ("/", "/"),
        ("a::b", "{here}/a::b"),
        ("100%20 [1]?*#é", "{here}/100%20 [1]?*#é"),
        ("runs/a://b", "{here}/runs/a:/b"),
        ("./s3:/bucket", "{here}/s3:/bucket"),
        ("s3://bucket/runs/", "s3://bucket/runs"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://Bucket/Runs", "s3://Bucket/Runs"),
        ("s3://bucket/~/a b", "s3://bucket/~/a b"),
        ("file:///data/tones/", "/data/tones"),
        ("file:///", "/"),
        ("memory://", "memory://"),
        ("", ""),
        ("s3:/bucket", "s3:/bucket"),
        ("://bucket", "://bucket"),
        (Path("runs"), "{here}/runs"),
        (Path("~/runs"), "{home}/runs"),
        (Path("s3:/bucket"), "{here}/s3:/bucket"),
    ],
)
def test_absolute_does_not_depend_on_the_working_directory(
    written: str | Path, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    expected = meant.format(here=tmp_path, home="/home/someone")
    assert absolute(written) == expected
    assert absolute(expected) == expected


@pytest.mark.parametrize("path", ["s3:/bucket", "S3:bucket", "://x", "a b://x", "zip::s3://b/x.zip", "gs:", "file:/x"])
def test_mistyped_uris_are_detected(path: str) -> None:
    assert is_mistyped(path)
    assert not is_mistyped(f"./{path}")
    assert not is_mistyped(f"/data/{path}")


@pytest.mark.parametrize("path", ["s3://bucket", "a:b", "a::b", "12:30 runs", "runs", "", "~/a:b"])
def test_unusual_paths_are_not_mistyped_uris(path: str) -> None:
    assert not is_mistyped(path)
