"""Tests the quarantine: one row for each skipped recording, over any number of starts, always readable."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mulan.data.errors import SkippedRecording
from mulan.runs.recorder import SCHEMA, Quarantine, read_quarantine
from mulan.storage.errors import StoragePermanentError

ONE, OTHER, THIRD = (SkippedRecording(f"tone-{number}", "silent", f"detail {number}") for number in range(3))


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "quarantine.parquet")


def listed(uri: str) -> list[tuple[str, int]]:
    return [(row["recording_id"], row["first_step"]) for row in read_quarantine(uri)]


def test_a_recording_has_one_row_with_its_first_step(uri: str) -> None:
    quarantine = Quarantine(uri, keep_steps=0)
    quarantine.add(1, [ONE, OTHER, ONE])
    quarantine.add(2, [SkippedRecording("tone-0", "missing shard", "by now")])
    quarantine.add(3, [THIRD])
    quarantine.flush()
    assert listed(uri) == [("tone-0", 1), ("tone-1", 1), ("tone-2", 3)]
    assert read_quarantine(uri)[0] == {
        "recording_id": "tone-0",
        "reason": "silent",
        "detail": "detail 0",
        "first_step": 1,
    }
    assert pq.read_schema(uri).equals(SCHEMA)


def test_rows_added_after_the_checkpoint_are_dropped(uri: str) -> None:
    first = Quarantine(uri, keep_steps=0)
    first.add(2, [ONE])
    first.add(4, [OTHER])
    first.add(5, [THIRD])
    first.flush()
    resumed = Quarantine(uri, keep_steps=4)
    resumed.flush()
    assert listed(uri) == [("tone-0", 2), ("tone-1", 4)]
    resumed.add(5, [ONE, THIRD])
    resumed.flush()
    assert listed(uri) == [("tone-0", 2), ("tone-1", 4), ("tone-2", 5)]


def test_the_file_is_always_complete(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(uri) == []  # before the first start
    quarantine = Quarantine(uri, keep_steps=0)
    quarantine.flush()
    assert listed(uri) == []  # a run without skipped recordings has an empty file
    assert Path(uri).exists()
    quarantine.add(1, [ONE])
    quarantine.flush()
    written = Path(uri).stat().st_mtime_ns
    quarantine.add(2, [ONE])
    quarantine.flush()  # nothing is new
    assert Path(uri).stat().st_mtime_ns == written
    quarantine.add(3, [OTHER])
    with monkeypatch.context() as full_disk:
        full_disk.setattr("os.replace", _full_disk)
        with pytest.raises(StoragePermanentError, match="No space left"):
            quarantine.flush()
    assert listed(uri) == [("tone-0", 1)]
    quarantine.flush()
    assert listed(uri) == [("tone-0", 1), ("tone-1", 3)]
    assert [path.name for path in Path(uri).parent.iterdir()] == ["quarantine.parquet"]


def _full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_any_detail_can_be_written(uri: str) -> None:
    quarantine = Quarantine(uri, keep_steps=0)
    details = ["", "two\nlines", "🎵 موسيقى \0", "x" * 100_000]
    skipped = [SkippedRecording(f"tone-{number}", "empty text", detail) for number, detail in enumerate(details)]
    quarantine.add(1, skipped)
    quarantine.flush()
    assert [row["detail"] for row in read_quarantine(uri)] == details
