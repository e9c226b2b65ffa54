"""Tests that JSON-lines files are truncated where a run resumes, and that only complete lines are read, once."""

import json
import uuid
from pathlib import Path

from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog, JsonLinesTail, read_lines


def steps(*numbers: int) -> list[dict[str, object]]:
    return [{"step": number, "name": f"夜曲\n{number}"} for number in numbers]


def test_a_log_is_truncated_to_the_step_of_the_resumption(storage_uri: str) -> None:
    uri = f"{storage_uri}/demo/metrics.jsonl"
    assert read_lines(uri) == []
    log = JsonLinesLog(uri, keep_steps=0)
    log.append(steps(1, 2))
    log.append(steps(3, 3, 4))
    log.flush()
    assert read_lines(uri) == steps(1, 2, 3, 3, 4)
    log = JsonLinesLog(uri, keep_steps=3)
    assert read_lines(uri) == steps(1, 2, 3, 3)
    log.append(steps(4, 5))
    log.flush()
    log.append([])
    log.flush()
    assert read_lines(uri) == steps(1, 2, 3, 3, 4, 5)
    JsonLinesLog(uri, keep_steps=0)
    assert read_lines(uri) == []


def test_a_half_written_last_line_is_ignored_and_then_overwritten(storage_uri: str) -> None:
    uri = f"{storage_uri}/demo/metrics.jsonl"
    whole = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in steps(1, 2, 3)).encode()
    first_two = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for end in range(first_two, len(whole)):  # also within a multi-byte character
        filesystem.write_atomically(uri, whole[:end])
        assert read_lines(uri) == steps(1, 2)
    log = JsonLinesLog(uri, keep_steps=9)
    log.append(steps(3))
    log.flush()
    assert read_lines(uri) == steps(1, 2, 3)


def test_local_logs_are_written_by_line_and_remote_ones_when_flushed(tmp_path: Path) -> None:
    for uri, seen in ((str(tmp_path / "m.jsonl"), steps(1)), (f"memory://{uuid.uuid4().hex}/m.jsonl", [])):
        log = JsonLinesLog(uri, keep_steps=0)
        log.append(steps(1))
        assert read_lines(uri) == seen
        log.flush()
        assert read_lines(uri) == steps(1)


def test_a_tail_reads_each_line_once_and_restarts_after_truncation(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = JsonLinesTail(str(file))
    assert tail.new_lines() == []
    file.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert tail.new_lines() == [{"step": 1}, {"step": 2}]
    assert tail.new_lines() == []
    with file.open("a") as opened:
        opened.write('p": 3}\n')
    assert tail.new_lines() == [{"step": 3}]
    file.write_text('{"step": 1}\n')
    assert tail.new_lines() == [{"step": 1}]
