"""Tests that the ends of JSON-lines files are read by ranges, against whole files."""

import json
from pathlib import Path

import pytest

from mulan.monitoring import tail
from mulan.monitoring.tail import read_tails
from mulan.storage import filesystem
from mulan.storage.jsonl import read_lines
from mulan.storage.listing import entries_in


@pytest.mark.parametrize("count", [0, 1, 3, 2000])
def test_the_last_lines_are_those_of_the_whole_file(
    storage_uri: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{storage_uri}/run/metrics.jsonl"
    content = "".join(json.dumps({"step": step, "text": "x" * (step % 50)}) + "\n" for step in range(count))
    filesystem.write_atomically(uri, content.encode())
    lengths: list[int] = []
    read_ranges = filesystem.read_ranges

    def recorded(uris: list[str], starts: list[int], sizes: list[int]) -> list[bytes | Exception]:
        found = read_ranges(uris, starts, sizes)
        lengths.extend(len(each) for each in found if isinstance(each, bytes))
        return found

    monkeypatch.setattr(filesystem, "read_ranges", recorded)
    lines, _ = read_tails(f"{storage_uri}/run", entries_in(f"{storage_uri}/run"), ["metrics"])
    whole = read_lines(uri)
    assert lines["metrics"] == whole[len(whole) - len(lines["metrics"]) :]
    assert len(lines["metrics"]) == count if count < 100 else 400 < len(lines["metrics"]) < count
    assert all(length <= tail._BYTES for length in lengths)


def test_damaged_and_unfinished_lines_are_left_out_and_missing_files_are_empty(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(
        b'{"step": 1}\n{"step\nnull\n\xff\n' + b"[" * 9999 + b'\n{"step": 2}\n{"st'
    )
    (tmp_path / "small.json").write_bytes(b"[]")
    lines, further = read_tails(
        str(tmp_path), entries_in(str(tmp_path)), ["metrics", "events"], ["small.json", "missing/manifest.json"]
    )
    assert lines == {"metrics": [{"step": 1}, {"step": 2}], "events": []}
    assert further == {"small.json": b"[]"}


def test_a_log_is_continued_in_numbered_parts(tmp_path: Path) -> None:
    for name, step in (("metrics", 1), ("metrics.0001", 2), ("metrics.0002", 3), ("metrics.0004", 4), ("metrics.x", 5)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"step": step}) + "\n")
    entries = entries_in(str(tmp_path))
    assert read_tails(str(tmp_path), entries, ["metrics"])[0] == {"metrics": [{"step": 2}, {"step": 3}]}
