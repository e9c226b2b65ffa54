"""Tests that paths are normalised to a form that does not depend on the working directory."""

from pathlib import Path

import pytest

from mulan.config.paths import absolute, has_password, is_mistyped, redacted


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a@b", "s3://***@b"),
        ("--source folder=s3://KEY:SE/CR+ET=@bucket/x y: fault", "--source folder=s3://***@bucket/x y: fault"),
        ("s3://KEY:SECRET/x", "s3://***/x"),
        ("s3:/KEY:SECRET@bucket", "s3:/***@bucket"),
        ("sftp://user:word@host/x and gs://b/x", "sftp://***@host/x and gs://b/x"),
        ("https://user:123,word@host/x; https://user:123)word@host", "https://***@host/x; https://***@host"),
        ("https://b/x?a=1&X-Amz-Signature=abc&b=2", "https://b/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://b/x?sv=1&sig=abc%3D", "https://b/x?sv=1&sig=***"),
    ],
)
def test_credentials_are_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://bucket/a:b@c",
        "s3://bucket/a::b",
        "http://localhost:9000/a@b",
        "http://[::1]:80/x",
        "http://head:8265 does not answer; http://head:8265: refused, see ray://head:8265.",
        "'http://head:8265': refused (http://head:8265), http://head:1",
        "s3://arn:aws:s3:eu-west-1:1:accesspoint/name/x",
        "abfs://container@account.dfs.core.windows.net/x",
        "sftp://user@host/x",
        "a:b@c",
        "/data/a:b@c",
    ],
)
def test_nothing_else_is_redacted(text: str) -> None:
    assert redacted(text) == text
    assert not has_password(text)


@pytest.mark.parametrize(
    "uri", ["s3://K:S@b/x", "s3a://K:S/T@b", "s3://K@b", "s3://K:S", "https://u:p@h/x", "https://u:1;p@h/x"]
)
def test_passwords_in_uris_are_found(uri: str) -> None:
    assert has_password(uri)
