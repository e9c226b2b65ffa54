"""Tests that invalid paths and URIs are rejected with a remedy, and unusual names are accepted."""

from pathlib import Path

import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.errors import CorpusError
from mulan.model.inference.files import ModelFolderError, open_model_folder
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError

IMPOSSIBLE = {
    "gs://bucket/runs": "gcsfs",
    "GS://bucket/runs": "gcsfs",
    "abfs://container/runs": "adlfs",
    "hdfs://host/runs": "cannot be used",
    "foo://bucket/runs": "the scheme foo:// is not supported",
    "s3://": "the bucket or server is missing",
    "S3:///runs": "the bucket or server is missing",
    "https://": "the bucket or server is missing",
    "s3:/bucket": "neither a URI nor clearly a path",
    "://bucket": "neither a URI nor clearly a path",
    "simplecache::s3://bucket/runs": "neither a URI nor clearly a path",
    "s3://bucket/a::s3://b": "chained URIs are not supported",
    "s3://bucket/a?versionId=1/b": "versionId",
    "s3://key@bucket/runs": "must not contain keys or passwords",
    "file://": "file:///FOLDER",
    "": "the path is empty",
    "caf\udce9": "not valid Unicode",
    "a\0b": "not valid Unicode",
}


@pytest.mark.parametrize("uri", IMPOSSIBLE)
def test_invalid_uris_are_rejected_in_one_line(uri: str, tmp_path: Path) -> None:
    for door in (
        filesystem.exists,
        filesystem.read_bytes,
        filesystem.check_writable,
        filesystem.names_in,
        filesystem.remove_folder,
    ):
        with pytest.raises(StoragePermanentError) as caught:
            door(uri)
        message = str(caught.value)
        assert IMPOSSIBLE[uri] in message
        assert "\n" not in message
        assert len(message) < 500
        assert message.encode()
        assert uri.lower() in message.lower() or not uri.isprintable()


@pytest.mark.parametrize("uri", ["gs://bucket/tones", "foo://tones", "s3:/bucket/tones"])
def test_invalid_uris_of_corpora_and_models_are_named(uri: str) -> None:
    with pytest.raises(CorpusError, match=uri):
        Corpus.open(uri)
    with pytest.raises(ModelFolderError, match=uri), open_model_folder(uri):
        pass


def test_unusual_names_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a::b", "100%25", "a#b?c", "a b", "ü夜", "s3 runs", "12:30", "[x]*{y}", "-", "~"):
        folder = name if name != "~" else "./~"
        filesystem.write_atomically(f"{folder}/file", name.encode())
        assert (tmp_path / name / "file").read_text() == name
        assert filesystem.names_in(folder) == ["file"]
        assert filesystem.read_bytes(f"{tmp_path}/{name}/file") == name.encode()
        filesystem.remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_be_an_object_or_a_uri_of_a_file(tmp_path: Path) -> None:
    filesystem.write_atomically(f"file://{tmp_path}/a/b", b"content")
    assert (tmp_path / "a" / "b").read_bytes() == b"content"
    fs, path = filesystem.url_to_fs(tmp_path / "a" / "b")
    assert fs.cat_file(path) == b"content"
    assert filesystem.url_to_fs("~/x")[1] == str(Path("~/x").expanduser())
