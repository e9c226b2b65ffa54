"""Tests that a JSON-lines file in an object store grows by parts, which read, follow and resume like one list."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulan.storage import filesystem, jsonl
from mulan.storage.jsonl import JsonLinesLog, JsonLinesTail, part_uris, read_lines
from tests.conftest import S3

PART_BYTES = 200


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "PART_BYTES", PART_BYTES)


def lines_of(steps: Iterator[int] | range, length: int = 10) -> list[dict[str, Any]]:
    return [{"step": step, "text": "é" * length} for step in steps]


def names(uri: str) -> list[str]:
    return sorted(filesystem.names_in(uri.rpartition("/")[0]))


def new_uri() -> str:
    return f"memory://{uuid.uuid4().hex}/metrics.jsonl"


class Ended(Exception):
    """Stands for the end of a process, or of the patience with a storage."""


@contextmanager
def ending_after(writes: int) -> Iterator[None]:
    """Lets the storage perform a number of writes and removals; the next one raises instead."""
    left = writes

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Ended
            real(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_atomically", "remove"):
            patch.setattr(filesystem, name, counted(getattr(filesystem, name)))
        yield


def write(uri: str, lines: list[dict[str, Any]], *, keep_steps: int | None = None) -> JsonLinesLog:
    log = JsonLinesLog(uri, keep_steps=keep_steps)
    log.append(lines)
    log.flush()
    return log


def test_only_the_newest_part_is_written_again(s3: S3) -> None:
    uri = f"{s3.uri}/demo/metrics.jsonl"
    log, written = JsonLinesLog(uri, keep_steps=0), []
    for step in range(1, 31):
        s3.proxy.requests.clear()
        log.append(lines_of(range(step, step + 1), length=20))
        log.flush()
        written += [[each.rpartition("/")[2] for each in s3.proxy.requests if each.startswith("PUT")]]
    sizes = {name: s3.files.size(f"{s3.uri}/demo/{name}") for name in names(uri)}
    assert list(sizes)[:2] == ["metrics.0001.jsonl", "metrics.0002.jsonl"]
    in_order = [sizes.pop("metrics.jsonl"), *sizes.values()]
    longest = len(json.dumps(lines_of(range(30, 31), length=20)[0])) + 1
    assert all(PART_BYTES <= size < PART_BYTES + longest for size in in_order[:-1])
    assert 0 < in_order[-1] < PART_BYTES + longest
    assert all(len(one) == 1 for one in written)
    assert [one[0] for one in written] == sorted((one[0] for one in written), key=lambda name: (len(name), name))
    assert read_lines(uri) == lines_of(range(1, 31), length=20)
    s3.proxy.requests.clear()
    log.flush()
    assert s3.proxy.requests == []  # there is nothing new


def test_a_local_file_has_one_part(tmp_path: Path) -> None:
    uri = str(tmp_path / "metrics.jsonl")
    write(uri, lines_of(range(1, 50)))
    assert names(uri) == ["metrics.jsonl"]
    write(uri, lines_of(range(50, 60)), keep_steps=60)
    assert read_lines(uri) == lines_of(range(1, 60))


def test_a_local_copy_of_parts_is_continued_in_its_newest_part(tmp_path: Path) -> None:
    remote, local = new_uri(), str(tmp_path / "metrics.jsonl")
    write(remote, lines_of(range(1, 20)))
    assert len(names(remote)) > 2
    for name in names(remote):
        (tmp_path / name).write_bytes(filesystem.read_bytes(f"{remote.rpartition('/')[0]}/{name}"))
    write(local, lines_of(range(16, 40)), keep_steps=15)
    assert read_lines(local) == lines_of(range(1, 40))
    tail = JsonLinesTail(local)
    assert tail.new_lines() == lines_of(range(1, 40))


def test_a_large_file_of_an_earlier_version_is_continued_by_a_part() -> None:
    uri = new_uri()
    old = "".join(json.dumps(line) + "\n" for line in lines_of(range(1, 50))).encode()
    filesystem.write_atomically(uri, old)
    write(uri, lines_of(range(50, 53)), keep_steps=60)
    assert filesystem.read_bytes(uri) == old
    assert names(uri) == ["metrics.0001.jsonl", "metrics.jsonl"]
    assert read_lines(uri) == lines_of(range(1, 53))


def test_other_files_of_the_folder_are_no_parts() -> None:
    uri = new_uri()
    write(uri, lines_of(range(1, 3)))
    folder = uri.rpartition("/")[0]
    others = [
        "metrics.01.jsonl",
        "metrics.0001.json",
        "metrics.0001.jsonl.tmp",
        "other.0001.jsonl",
        "metricsX0001.jsonl",
    ]
    for name in others:
        filesystem.write_atomically(f"{folder}/{name}", b"none of its lines\n")
    JsonLinesLog(uri, keep_steps=9)
    assert read_lines(uri) == lines_of(range(1, 3))
    assert set(names(uri)) == {"metrics.jsonl", *others}


def test_parts_after_a_missing_one_are_ignored_and_removed_by_the_next_run() -> None:
    uri = new_uri()
    write(uri, lines_of(range(1, 30)))
    parts = part_uris(uri)
    before = [line for part in parts[:2] for line in jsonl._read_part(part, False)]
    filesystem.remove(parts[2])
    assert read_lines(uri) == before
    JsonLinesLog(uri, keep_steps=99)
    assert part_uris(uri) == parts[:2] and len(names(uri)) == 2


def test_a_part_that_another_run_removes_while_it_is_read_ends_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = new_uri()
    write(uri, lines_of(range(1, 30)))
    listed = part_uris(uri)
    write(uri, [], keep_steps=1)
    monkeypatch.setattr(jsonl, "part_uris", lambda uri: listed)  # a list from before the removal
    assert read_lines(uri) == lines_of(range(1, 2))


def test_lines_that_could_not_be_written_are_written_by_the_next_flush() -> None:
    lines, num_failures = lines_of(range(1, 30)), 0
    for writes in range(20):  # the first, a later one, and the last write of the flush fail
        log = JsonLinesLog(uri := new_uri())
        log.append(lines)
        with ending_after(writes), suppress(Ended):
            log.flush()
            break
        num_failures += 1
        written = read_lines(uri)
        assert written == lines[: len(written)] and len(written) < len(lines)
        log.flush()
        assert read_lines(uri) == lines
    assert num_failures > 3


APPEND = st.tuples(st.just("append"), st.lists(st.integers(0, 150), max_size=8))
RESUME = st.tuples(st.just("resume"), st.integers(0, 15))
DYING = st.tuples(st.just("die while resuming"), st.integers(0, 15), st.integers(0, 4))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(APPEND, st.just(("flush",)), RESUME, DYING), min_size=5, max_size=20))
def test_any_history_reads_like_a_list(history: list[tuple[Any, ...]]) -> None:
    uri, tail = new_uri(), None
    log = JsonLinesLog(uri, keep_steps=0)
    flushed: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for action, *values in history:
        if action == "append":
            first = ([*flushed, *new] or [{"step": 0}])[-1]["step"] + 1
            lines = [{"step": first + i, "text": "x" * length} for i, length in enumerate(values[0])]
            log.append(lines)
            new += lines
        elif action == "flush":
            log.flush()
            flushed, new = flushed + new, []
        else:
            if action == "die while resuming":
                with ending_after(values[1]), suppress(Ended):
                    JsonLinesLog(uri, keep_steps=values[0])
                left = read_lines(uri)  # no gap: nothing is lost that the resumed run keeps, nor is any line twice
                kept = [line for line in flushed if line["step"] <= values[0]]
                assert left == flushed[: len(left)] and left[: len(kept)] == kept
            log = JsonLinesLog(uri, keep_steps=values[0])
            flushed, new, tail = [line for line in flushed if line["step"] <= values[0]], [], None
        assert read_lines(uri, require_step=True) == flushed
        if tail is None:
            tail, followed = JsonLinesTail(uri), []
        followed += tail.new_lines()
        assert followed == flushed
        parts = part_uris(uri)
        assert len(parts) == len(names(uri))
        assert all(filesystem.size(part) >= PART_BYTES for part in parts[:-1])


def test_a_tail_restarts_when_parts_are_removed() -> None:
    uri = new_uri()
    write(uri, lines_of(range(1, 30)))
    tail = JsonLinesTail(uri)
    assert tail.new_lines() == lines_of(range(1, 30))
    write(uri, lines_of(range(3, 4)), keep_steps=2)
    assert tail.new_lines() == lines_of(range(1, 4))


def test_a_tail_misses_no_line_that_is_written_while_it_looks_for_the_next_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = new_uri()
    monkeypatch.setattr(jsonl, "PART_BYTES", 1)  # each line of its own flush completes a part
    log = write(uri, lines_of(range(1, 2)))
    tail, real = JsonLinesTail(uri), filesystem.read_new
    assert tail.new_lines() == lines_of(range(1, 2))

    def written_meanwhile(uri: str, start: int) -> tuple[bytes, int]:
        content = real(uri, start)
        monkeypatch.setattr(filesystem, "read_new", real)
        # the part grows, and the next one begins, after the part has been read for the last time
        with filesystem.url_to_fs(uri)[0].open(uri, "ab") as file:
            file.write(b'{"step": 2}\n')
        log.append(lines_of(range(3, 4)))
        log.flush()
        return content

    monkeypatch.setattr(filesystem, "read_new", written_meanwhile)
    assert [line["step"] for line in tail.new_lines()] == [2, 3]
