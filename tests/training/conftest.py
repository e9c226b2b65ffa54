"""Fixtures of the tests of training."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture(params=["local", "memory"])
def storage_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage of runs on this machine's disk, and one on another file system."""
    if request.param == "local":
        yield str(tmp_path / "runs")
        return
    uri = f"memory://runs-{uuid.uuid4().hex}"
    yield uri
    fs, path = fsspec.core.url_to_fs(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)
