"""The names of parts depend on all that decides their rows; parts that are there are not made again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.collection.part import part_table
from mulan.collection.plan import EmbeddingPlan, Settings, plan_parts, read_finished, write_finished
from mulan.collection.recordings import AudioCollection, CollectionRecording
from mulan.preparation.faults import Faults
from mulan.preparation.found import AudioLocation
from tests.collection.test_part import DIM, columns
from tests.evaluation.embedding.stub_encoder import INFO

SETTINGS = Settings(replace(INFO, dim=DIM))
SKIPPED = {"recording_id": "bad", "uri": "/bad", "reason": "damaged audio", "detail": "why"}


def collection(count: int = 200, **changes: str) -> AudioCollection:
    recordings = [
        CollectionRecording(
            recording_id=f"r{number:04d}", place=AudioLocation(uri=f"/{number}", version="1-1"), version="1-1"
        )
        for number in range(count)
    ]
    if changes:
        recordings[100] = replace(recordings[100], **changes)
    return AudioCollection("folder=/", recordings, Faults())


def planned(folder: Path, found: AudioCollection, settings: Settings = SETTINGS) -> EmbeddingPlan:
    return plan_parts(found, settings, str(folder), recordings_per_part=16)


def test_parts_are_ranges_of_ids_with_positions(tmp_path: Path) -> None:
    plan = planned(tmp_path, collection())
    assert [each.recording_id for part in plan.parts for each in part.recordings] == [
        f"r{number:04d}" for number in range(200)
    ]
    assert all([each.position for each in part.recordings] == [*range(len(part.recordings))] for part in plan.parts)
    assert max(len(part.recordings) for part in plan.parts) <= 32
    assert plan.missing == list(plan.parts)
    assert len(plan.parts) > 5


@pytest.mark.parametrize("changes", [{"version": "2-1"}, {"title": "other"}, {"artist": "other"}])
def test_a_changed_recording_changes_its_part_alone(tmp_path: Path, changes: dict[str, str]) -> None:
    before = {part.name for part in planned(tmp_path, collection()).parts}
    after = {part.name for part in planned(tmp_path, collection(**changes)).parts}
    assert (len(before - after), len(after - before)) == (1, 1)


def test_further_recordings_change_the_last_part_alone(tmp_path: Path) -> None:
    before = [part.name for part in planned(tmp_path, collection()).parts]
    after = [part.name for part in planned(tmp_path, collection(230)).parts]
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTINGS, dtype="float16"),
        replace(SETTINGS, windows=True),
        Settings(replace(SETTINGS.info, sha256="cd" * 32)),
    ],
)
def test_other_settings_change_all_parts_and_make_the_others_stale(tmp_path: Path, other: Settings) -> None:
    plan = planned(tmp_path, collection())
    for part in plan.parts:
        write_finished(str(tmp_path), part.name, part_table(columns(2), SETTINGS.schema), [])
    (tmp_path / "part-of-something-else.parquet").touch()
    assert (planned(tmp_path, collection()).missing, planned(tmp_path, collection()).stale) == ([], [])
    changed = planned(tmp_path, collection(), other)
    assert changed.stale == sorted(part.name for part in plan.parts)
    assert changed.missing == list(changed.parts)


def test_what_is_known_of_a_part_is_read_from_its_end(storage_uri: str) -> None:
    table = part_table(columns(3), SETTINGS.schema)
    written = write_finished(storage_uri, "part-00.parquet", table, [SKIPPED])
    assert read_finished(storage_uri, "part-00.parquet") == written
    assert (written.rows, written.skipped, written.is_lasting) == (3, [SKIPPED], True)
    assert read_finished(storage_uri, "part-01.parquet") is None


@pytest.mark.parametrize("reason", ["missing file", "unreadable file", "missing shard", "unreadable shard"])
def test_parts_with_bytes_that_could_not_be_read_are_missing(tmp_path: Path, reason: str) -> None:
    name = planned(tmp_path, collection()).parts[0].name
    for skipped, missing in (([SKIPPED], False), ([SKIPPED, {**SKIPPED, "reason": reason}], True)):
        write_finished(str(tmp_path), name, part_table(columns(2), SETTINGS.schema), skipped)
        assert (name in [part.name for part in planned(tmp_path, collection()).missing]) == missing


def test_damaged_parts_are_missing(tmp_path: Path) -> None:
    name = planned(tmp_path, collection()).parts[0].name
    for content in (b"", b"PAR1" * 20, np.random.default_rng(0).bytes(2000)):
        (tmp_path / name).write_bytes(content)
        assert name in [part.name for part in planned(tmp_path, collection()).missing]
