"""Tests which folders of a run count as checkpoints, their order, and their complete removal."""

import hashlib
import json
from pathlib import Path

import pytest

from mulan.runs.checkpoint_list import (
    MANIFEST,
    checkpoint_name,
    checkpoint_names,
    checkpoints,
    is_progress,
    newest_checkpoint,
    part_name,
    progress_name,
    remove_checkpoint,
    remove_unlisted,
    steps_of_checkpoint,
    steps_saved,
)
from mulan.storage import filesystem
from mulan.training.state import Progress
from tests.checkpoints import put, state_of, write_checkpoint
from tests.conftest import S3


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def test_partial_uploads_are_removed_with_their_checkpoint(tmp_path: Path) -> None:
    uri = put(str(tmp_path), 3)
    Path(uri, "state-g0-00000-of-00001-01234567.safetensors.0123.part").write_bytes(b"moved in part")
    remove_checkpoint(uri)
    assert list(tmp_path.iterdir()) == []


def test_what_the_manifest_does_not_list_is_removed_unless_it_is_of_a_later_driver(run_uri: str) -> None:
    uri = put(run_uri, 3)
    listed, later = (
        filesystem.names_in(uri),
        ["state-g3-00000-of-00001-01234567.safetensors", "progress-g12-01234567.json"],
    )
    earlier = [
        part_name(0, 2, 2),
        part_name(1, 2, None),
        progress_name(1),
        f"{part_name(1, 2, 2)}.0123.part",
        "state.safetensors",
        "state-00000-of-00001.safetensors",
        "progress.json",
    ]
    for name in [*earlier, *later, "notes.txt"]:
        filesystem.write_atomically(f"{uri}/{name}", b"-")
    (info,) = checkpoints(run_uri)
    remove_unlisted(info, 2)
    assert sorted(filesystem.names_in(uri)) == sorted([*listed, *later, "notes.txt"])
    remove_unlisted(info, None)
    assert sorted(filesystem.names_in(uri)) == sorted([*listed, *later, "notes.txt"])


def test_names_of_files_are_never_used_again() -> None:
    names = {part_name(0, 1, 1) for _ in range(50)} | {progress_name(1) for _ in range(50)}
    assert len(names) == 100
    assert sum(is_progress(name) for name in names) == 50


def test_names_sort_by_step() -> None:
    names = [checkpoint_name(steps) for steps in (0, 9, 10, 99_999, 100_000, 44_000_000)]
    assert names == sorted(names)


def test_the_newest_checkpoint_is_first_with_the_manifest_s_values(run_uri: str) -> None:
    assert checkpoints(run_uri) == []
    for steps, score in ((900, None), (1000, 0.25), (20, 0.5)):
        write_checkpoint(run_uri, state_of(steps), Progress(steps), score=score)
    listed = checkpoints(run_uri)
    assert [(one.steps_done, one.score) for one in listed] == [(1000, 0.25), (900, None), (20, 0.5)]
    assert [one.uri for one in listed] == [f"{run_uri}/{checkpoint_name(one.steps_done)}" for one in listed]
    for file, about in listed[0].files.items():
        content = filesystem.read_bytes(f"{listed[0].uri}/{file}")
        assert about == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {*listed[0].files, MANIFEST} == {*filesystem.names_in(listed[0].uri)}


@pytest.mark.parametrize("number", [0, 1])
def test_only_sizes_are_checked(number: int, run_uri: str) -> None:
    """Listing must not read checkpoints of many GB."""
    uri = put(run_uri, 3)
    file = sorted({*filesystem.names_in(uri)} - {MANIFEST})[number]
    content = filesystem.read_bytes(f"{uri}/{file}")
    filesystem.write_atomically(f"{uri}/{file}", bytes(len(content)))
    assert [one.uri for one in checkpoints(run_uri)] == [uri]
    for other in (content[:-1], content + b"\0"):
        filesystem.write_atomically(f"{uri}/{file}", other)
        assert checkpoints(run_uri) == []
    assert checkpoint_names(run_uri) == [checkpoint_name(3)]


@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", "3", "null", "{}", '{"files": {}}', '{"files": [1], "score": 1}', '{"files": {"a": 3}}']
)
def test_a_checkpoint_with_a_damaged_manifest_is_not_listed(manifest: str, run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    filesystem.write_atomically(f"{after}/{MANIFEST}", manifest.encode())
    assert [one.uri for one in checkpoints(run_uri)] == [before]


def put_empty(run_uri: str, steps: int, parts: int) -> None:
    """Writes a checkpoint whose parts have no content."""
    uri, about = f"{run_uri}/{checkpoint_name(steps)}", {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    files = {f"state-{rank:05d}-of-{parts:05d}.safetensors": about for rank in range(parts)}
    for file in files:
        filesystem.write_atomically(f"{uri}/{file}", b"")
    filesystem.write_atomically(f"{uri}/{MANIFEST}", json.dumps({"files": files, "score": None}).encode())


def test_the_requests_for_the_newest_checkpoint_depend_on_no_number_of_parts_and_older_ones(s3: S3) -> None:
    counts = []
    for run, parts, older in (("a", 1, 0), ("b", 1, 5), ("c", 24, 0), ("d", 24, 5)):
        for steps in range(1, older + 2):
            put_empty(f"{s3.uri}/{run}", steps, parts)
        s3.proxy.requests.clear()
        newest = newest_checkpoint(f"{s3.uri}/{run}")
        assert newest is not None and (newest.steps_done, len(newest.files)) == (older + 1, parts)
        counts.append(len(s3.proxy.requests))
    # a list of the run's folder, the size and content of the manifest, and a list of the checkpoint's files
    assert counts == [4] * 4


def test_a_newer_checkpoint_that_is_incomplete_is_not_the_newest(run_uri: str) -> None:
    assert newest_checkpoint(run_uri) is None and steps_saved(run_uri) == 0
    uri = put(run_uri, 3)
    filesystem.remove(f"{put(run_uri, 6)}/{MANIFEST}")
    newest = newest_checkpoint(run_uri)
    assert newest is not None and newest.uri == uri
    assert steps_saved(run_uri) == 3


def test_a_partly_removed_checkpoint_is_not_listed(run_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(run_uri, 3)

    def cut_off(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(filesystem, "remove_folder", cut_off)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoint(uri)
    assert len(filesystem.names_in(uri)) == 2
    assert checkpoints(run_uri) == []
    remove_checkpoint(uri)  # the remains
    assert checkpoint_names(run_uri) == []


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint_-5",
        "checkpoint_5",
        f"checkpoint_{200 * '9'}",
        "checkpoint_\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0665",
        "x",
    ],
)
def test_a_folder_of_another_name_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    assert steps_of_checkpoint(name) is None and steps_of_checkpoint(checkpoint_name(5)) == 5
    filesystem.write_atomically(f"{tmp_path}/{name}/manifest.json", b'{"files": {}, "score": 0.9}')
    assert checkpoint_names(str(tmp_path)) == [] == checkpoints(str(tmp_path))
