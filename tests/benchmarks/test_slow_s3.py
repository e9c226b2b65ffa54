"""Tests that the slow server is read by s3fs as S3 is, after its delay, and ends with its context."""

import os
import socket
import time
from pathlib import Path

import pytest

from mulan.benchmarks.slow_s3 import slow_s3
from mulan.storage import filesystem

DELAY_S = 0.1


@pytest.mark.processes
def test_files_are_served_after_the_delay(tmp_path: Path) -> None:
    """A process of its own is what is tested: it must be reachable by others and must end."""
    content = bytes(range(256)) * 40
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a b.tar").write_bytes(content)
    before = dict(os.environ)
    with slow_s3(str(tmp_path), delay_s=DELAY_S) as uri:
        shard = f"{uri}/shards/a b.tar"
        assert filesystem.read_bytes(shard) == content
        assert filesystem.size(shard) == len(content)
        begun = time.monotonic()
        parts = filesystem.read_ranges([shard] * 3, [5, 9_000, 999_999], [10, 10_000, 1])
        assert time.monotonic() - begun >= DELAY_S
        assert parts == [content[5:15], content[9_000:], b""]
        (absent,) = filesystem.read_ranges([f"{uri}/absent"], [0], [1])
        assert isinstance(absent, FileNotFoundError)
        port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
    assert dict(os.environ) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
