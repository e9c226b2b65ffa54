"""Tests the plan of a preparation: which chunks there are, and which are missing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.pipeline import prepare_chunk
from mulan.preparation.plan import Preparation, PreparationPlan, plan
from mulan.preparation.report import plan_lines
from mulan.preparation.scan import NamedSource
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.webdataset import WebDataset, WebDatasetConfig
from tests.data.corpus.tars import write_tar
from tests.preparation.sources_of_tests import GivenSource, preparation, tones
from tests.sounds import flac, tone

CONFIG = PreparationConfig(recordings_per_shard=4)


def do(prepared: Preparation, planned: PreparationPlan, count: int) -> None:
    for chunk in planned.missing[:count]:
        prepare_chunk(chunk, prepared.workspace, prepared.config)


@pytest.fixture
def prepared(tmp_path: Path) -> Preparation:
    return preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 20)), config=CONFIG)


def test_all_chunks_are_missing_at_first(prepared: Preparation) -> None:
    planned = plan(prepared, write=True)
    assert planned.recordings == 20
    assert planned.missing == planned.chunks
    assert 3 <= len(planned.chunks) <= 8


def test_nothing_is_written_without_leave(prepared: Preparation) -> None:
    plan(prepared, write=False)
    assert not Path(prepared.workspace.uri).exists()


def test_only_missing_chunks_are_planned_again(prepared: Preparation) -> None:
    first = plan(prepared, write=True)
    do(prepared, first, 2)
    second = plan(prepared, write=True)
    assert second.chunks == first.chunks
    assert second.missing == first.missing[2:]
    do(prepared, second, len(second.missing))
    assert plan(prepared, write=True).missing == []


def test_a_changed_file_is_prepared_again(prepared: Preparation, tmp_path: Path) -> None:
    first = plan(prepared, write=True)
    do(prepared, first, len(first.missing))
    found = list(prepared.sources[0].source.found)
    found[7] = replace(found[7], audio=replace(found[7].audio, version="changed"))
    changed = preparation(tmp_path / "corpus", GivenSource(found), config=CONFIG)
    second = plan(changed, write=True)
    assert len(second.missing) == 1
    assert [chunk.name for chunk in second.chunks] == [chunk.name for chunk in first.chunks]


def test_an_added_recording_is_prepared_with_its_neighbours_only(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 40)
    before = preparation(tmp_path / "corpus", GivenSource([*found[:17], *found[18:]]), config=CONFIG)
    first = plan(before, write=True)
    do(before, first, len(first.missing))
    after = plan(preparation(tmp_path / "corpus", GivenSource(found), config=CONFIG), write=True)
    assert 1 <= len(after.missing) <= 3
    assert after.recordings == 40


def tars(folder: Path, usable: int, broken: int) -> NamedSource:
    """Writes a tar with recordings, and others that have no texts."""
    members = [(f"{number}.json", json.dumps({"text": "a tone"}).encode()) for number in range(usable)]
    members += [(f"{number}.flac", flac(tone(100 + number, 0.5))) for number in range(usable + broken)]
    folder.mkdir()
    write_tar(folder / "0.tar", members)
    return NamedSource(f"webdataset={folder}", "tars/", WebDataset(str(folder), WebDatasetConfig()))


def test_adopted_tars_have_rows_without_those_that_are_excluded(tmp_path: Path) -> None:
    (tmp_path / "evaluated.txt").write_text("1\ntars/2\n", encoding="utf-8")
    adopting = preparation(
        tmp_path / "corpus", adopted=[tars(tmp_path / "a", 4, 1)], exclude=[str(tmp_path / "evaluated.txt")]
    )
    planned = plan(adopting, write=False)
    assert [name for rows in planned.rows for name in rows["recording_id"].to_pylist()] == ["tars/0", "tars/3"]
    assert list(plan_lines(planned, "/corpus")) == ["would index 2 recordings where they are, in /corpus"]
    (faults,) = planned.adoption_faults.values()
    assert (faults.found, faults.counts) == (2, {"excluded": 2, "no metadata": 1})


def test_too_many_unusable_recordings_of_adopted_tars_are_an_error(tmp_path: Path) -> None:
    adopting = preparation(tmp_path / "corpus", adopted=[tars(tmp_path / "a", 1, 2)])
    with pytest.raises(SourceError, match=r"2 of 3 recordings cannot be used \(no metadata: 2\); --set max_left_out"):
        plan(adopting, write=False)


def test_other_settings_make_other_shards(prepared: Preparation, tmp_path: Path) -> None:
    first = plan(prepared, write=True)
    shorter = CONFIG.replace({"clip.duration_s": 1.0})
    other = plan(replace(prepared, config=shorter), write=True)
    assert not {chunk.name for chunk in first.chunks} & {chunk.name for chunk in other.chunks}


def test_other_weights_of_a_model_make_other_shards(prepared: Preparation) -> None:
    names = [
        {chunk.name for chunk in plan(replace(prepared, models_sha256=digest), write=False).chunks}
        for digest in ("a" * 64, "b" * 64)
    ]
    assert not names[0] & names[1]


def test_what_is_found_is_reported_while_sources_are_read(prepared: Preparation) -> None:
    found: list[tuple[int, str]] = []
    plan(prepared, write=False, on_found=lambda *so_far: found.append(so_far))
    assert found == [(number + 1, "tones=0") for number in range(20)]
