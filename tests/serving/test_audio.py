"""Ranges of bytes are parsed as RFC 9110 says, and files that are not as the index says are reported."""

import asyncio
import threading
from pathlib import Path

import pytest

from mulan.search.rows import IndexedRow
from mulan.serving import audio
from mulan.serving.answers import status_of
from mulan.serving.audio import (
    ByteRange,
    UnansweredRead,
    UnavailableAudio,
    UnsatisfiableRange,
    media_type,
    read_audio,
)
from tests.search.test_rows import DETAILS, ROW


@pytest.mark.parametrize(
    ("header", "start", "end", "is_part"),
    [
        (None, 0, 100, False),
        ("bytes=0-", 0, 100, True),
        ("bytes=10-19", 10, 20, True),
        (" Bytes=99-99 ", 99, 100, True),
        ("bytes=90-1000", 90, 100, True),
        ("bytes=-10", 90, 100, True),
        ("bytes=-1000", 0, 100, True),
        # what is not understood is ignored (RFC 9110 §14.2)
        ("bytes=-", 0, 100, False),
        ("bytes=20-10", 0, 100, False),
        ("bytes=0-1,5-6", 0, 100, False),
        ("lines=0-1", 0, 100, False),
        ("bytes=0x1-2", 0, 100, False),
        ("bytes=" + "9" * 30 + "-", 0, 100, False),
        ("bytes=٣-", 3, 100, True),
    ],
)
def test_a_range_is_parsed(header: str | None, start: int, end: int, is_part: bool) -> None:
    assert ByteRange.parsed(header, 100) == ByteRange(start, end, is_part)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_after_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRange, match="the audio has 100 bytes"):
        ByteRange.parsed(header, 100)


def read(row: IndexedRow, start: int, end: int) -> bytes:
    async def collect() -> bytes:
        return b"".join([chunk async for chunk in read_audio(row, ByteRange(start, end, is_part=True))])

    return asyncio.run(collect())


def row_of(path: Path, offset: int, length: int) -> IndexedRow:
    return IndexedRow.of({**ROW, "details": {**DETAILS, "uri": str(path), "offset": offset, "length": length}})


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_only_the_bytes_of_the_recording_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(audio, "CHUNK_BYTES", chunk)
    content = bytes(range(100))
    (tmp_path / "a.tar").write_bytes(content)
    row = row_of(tmp_path / "a.tar", 20, 50)
    assert read(row, 0, 50) == content[20:70]
    assert read(row, 10, 13) == content[30:33]


def test_a_file_that_is_gone_or_shorter_is_reported_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(40))
    for row in (row_of(tmp_path / "a.tar", 20, 50), row_of(tmp_path / "none", 20, 50)):
        with pytest.raises(UnavailableAudio) as caught:
            read(row, 0, 50)
        assert "'a'" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_a_storage_that_does_not_answer_delays_neither_the_client_nor_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "READ_TIMEOUT_S", 0.2)
    answered = threading.Event()
    monkeypatch.setattr(audio, "_read", lambda row, position, count: bytes([answered.wait(60)]))

    async def read_all() -> list[bytes | BaseException]:
        row, one = row_of(Path("/a.tar"), 0, 1), ByteRange(0, 1, is_part=True)
        reads = [asyncio.create_task(anext(read_audio(row, one))) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "searched") == "searched"
        assert not any(read.done() for read in reads)
        return await asyncio.gather(*reads, return_exceptions=True)

    try:
        outcomes = asyncio.run(read_all())
    finally:
        answered.set()
    assert [type(each) for each in outcomes] == 100 * [UnansweredRead]
    assert status_of(UnansweredRead("")) == 503


def test_no_file_is_sent_as_something_that_a_browser_would_run() -> None:
    assert [media_type(each) for each in ("flac", "mp3", "html", "svg", "js", "")] == [
        "audio/flac", "audio/mpeg", *4 * ["application/octet-stream"]
    ]  # fmt: skip
