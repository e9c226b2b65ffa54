"""Tests that JSON-lines files are truncated where a run resumes, and that only complete lines are read, once."""

import json
import uuid
from pathlib import Path

import pytest

from mulan.storage import filesystem, jsonl
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


@pytest.mark.parametrize(
    "damaged", [b"{", b"", b"[1, 2]", b"3", b"null", b"\xff\xfe", b"\0\0\0", b'{"a": 1}\r{', b"[" * 9999]
)
def test_a_damaged_line_hides_no_others_from_a_tail(
    tmp_path: Path, damaged: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = JsonLinesTail(str(file))
    file.write_bytes(b'{"step": 1}\n' + damaged + b'\n{"step": 2}\n{"st')
    assert tail.new_lines() == [{"step": 1}, {"step": 2}]
    with file.open("ab") as opened:
        opened.write(b'ep": 3}\n' + damaged + b"\n")
    assert tail.new_lines() == [{"step": 3}]
    read: list[bytes] = []
    read_new = filesystem.read_new

    def recorded(uri: str, start: int) -> tuple[bytes, int]:
        content, size = read_new(uri, start)
        read.append(content)
        return content, size

    monkeypatch.setattr(filesystem, "read_new", recorded)
    assert tail.new_lines() == []
    assert len(b"".join(read)) <= 2  # nothing is read again


def test_a_file_that_was_truncated_and_has_grown_since_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = JsonLinesTail(str(file))
    file.write_text('{"step": 1}\n{"step": 2}\n')
    assert len(tail.new_lines()) == 2
    file.write_text('{"step": 1, "of": "another attempt"}\n{"step": 2}\n')
    assert tail.new_lines() == [{"step": 1, "of": "another attempt"}, {"step": 2}]


def test_parts_after_damaged_lines_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "PART_BYTES", 8)
    for name, content in (("m", b"{}\nbroken line\n"), ("m.0001", b"[broken line\n"), ("m.0002", b'{"step": 3}\n')):
        (tmp_path / f"{name}.jsonl").write_bytes(content)
    tail = JsonLinesTail(str(tmp_path / "m.jsonl"))
    assert [line for _ in range(3) for line in tail.new_lines()] == [{}, {"step": 3}]
