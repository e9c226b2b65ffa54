"""Tests that a ranged file reads what a file reads, in few and small requests, and with retries."""

import io
import random
from pathlib import Path

import pytest

from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError
from mulan.storage.ranged_file import RangedFile
from tests.conftest import S3
from tests.s3_proxy import SLOW_DOWN

CONTENT = random.Random(0).randbytes(100_000)


def stored(storage_uri: str, content: bytes = CONTENT) -> str:
    uri = f"{storage_uri}/file"
    filesystem.write_atomically(uri, content)
    return uri


def test_it_reads_what_a_file_in_memory_reads(storage_uri: str) -> None:
    draw, twin = random.Random(1), io.BytesIO(CONTENT)
    with RangedFile(stored(storage_uri)) as file:
        assert (file.size, file.readable(), file.seekable()) == (len(CONTENT), True, True)
        for _ in range(2000):
            size, whence = draw.choice((0, 1, 100, 512, 5000)), draw.choice((io.SEEK_SET, io.SEEK_CUR, io.SEEK_END))
            offset = draw.choice((draw.randrange(110_000), draw.randrange(1000)))
            offset -= {io.SEEK_SET: 0, io.SEEK_CUR: twin.tell(), io.SEEK_END: len(CONTENT)}[whence]
            assert file.seek(offset, whence) == twin.seek(offset, whence)
            for _ in range(draw.randrange(4)):
                assert file.read(size) == twin.read(size)
                assert file.tell() == twin.tell()
        assert file.read_at(50, 10) == CONTENT[50:60] and file.read_at(99_990, 99) == CONTENT[99_990:]
        assert file.tell() == twin.tell()
        file.seek(99_000)
        buffer = bytearray(2000)
        assert (file.readinto(memoryview(buffer)), buffer[:1000]) == (1000, CONTENT[99_000:])
        file.seek(0)
        assert file.read() == CONTENT
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)


def test_equal_parts_cost_one_request_each_and_few_bytes(storage_uri: str) -> None:
    """As in a tar: in each part of 10,000 bytes, a header, a text after it and the next header are read."""
    with RangedFile(stored(storage_uri)) as file:
        for start in range(0, 100_000, 10_000):
            file.seek(start)
            assert file.read(512) == CONTENT[start : start + 512]
            assert file.read(700) == CONTENT[start + 512 : start + 1212]
            file.seek(start + 1536)
            assert file.read(512) == CONTENT[start + 1536 : start + 2048]
            assert file.buffered(start + 2048, 99) == CONTENT[start + 2048 : start + 2147]
        assert file.buffered(5000, 10) == b""
        assert file.requests <= 13  # ten, and some until it has learned how far to read ahead
        assert file.bytes_read < 10 * (2048 + 256)


def test_a_missing_file_is_named(storage_uri: str) -> None:
    with pytest.raises(FileNotFoundError):
        RangedFile(f"{storage_uri}/absent")


def test_a_read_beyond_the_end_of_a_file_that_has_shrunk_is_short(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with RangedFile(str(path)) as file:
        path.write_bytes(CONTENT[:700])
        file.seek(600)
        assert file.read(512) == CONTENT[600:700]
        file.seek(800)
        assert file.read(512) == b""


def test_transient_errors_of_the_storage_are_retried(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)
    s3.files.pipe_file(f"{s3.uri}/file", CONTENT)
    with RangedFile(f"{s3.uri}/file") as file:
        assert file.read(10) == CONTENT[:10]
        s3.proxy.fail(SLOW_DOWN, times=5)
        file.seek(70_000)
        assert file.read(10) == CONTENT[70_000:70_010]
        monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.1)
        s3.proxy.fail(SLOW_DOWN)
        file.seek(20_000)
        with pytest.raises(StorageError, match=r"cannot be read: .* attempts"):
            file.read(10)
