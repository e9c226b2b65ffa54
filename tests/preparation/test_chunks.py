"""Tests the grouping of recordings into chunks, and the names of chunks."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mulan.preparation.chunks import describe_chunk, from_json, in_chunks, to_json
from mulan.preparation.found import AudioLocation, FoundRecording


def recordings(names: Sequence[str], folder: str = "/music") -> list[FoundRecording]:
    return [
        FoundRecording(
            recording_id=name,
            audio=AudioLocation(uri=f"{folder}/{name}.mp3", version="12-34"),
            split="train",
            texts={"short_form": ["Übung", "🎵"]},
            tags=["genre:jazz"],
            targets={"arousal": 4.5},
        )
        for name in names
    ]


def ids(chunk: Sequence[FoundRecording]) -> list[str]:
    return [recording.recording_id for recording in chunk]


NAMES = [f"{number:05d}" for number in range(5000)]


@pytest.mark.parametrize("mean", [1, 2, 7, 64, 128])
def test_chunks_have_the_wanted_size_on_average_and_lose_nothing(mean: int) -> None:
    chunks = list(in_chunks(recordings(NAMES), mean))
    assert [name for chunk in chunks for name in ids(chunk)] == NAMES
    assert max(map(len, chunks)) <= max(2 * mean, 1)
    assert min(map(len, chunks[:-1])) > mean // 2 - 1
    assert 0.8 * mean <= len(NAMES) / len(chunks) <= 1.2 * mean + 1


def test_no_recordings_are_no_chunks() -> None:
    assert list(in_chunks([], 8)) == []


@pytest.mark.parametrize("changed", [0, 2500, 4999])
def test_an_added_or_removed_recording_changes_only_the_chunks_beside_it(changed: int) -> None:
    before = {tuple(ids(chunk)) for chunk in in_chunks(recordings(NAMES), 64)}
    added = {tuple(ids(chunk)) for chunk in in_chunks(recordings([*NAMES[:changed], "new", *NAMES[changed:]]), 64)}
    removed = {tuple(ids(chunk)) for chunk in in_chunks(recordings([*NAMES[:changed], *NAMES[changed + 1 :]]), 64)}
    assert 1 <= len(before - added) <= 4
    assert 1 <= len(before - removed) <= 4


def test_the_name_of_a_shard_does_not_depend_on_the_place_or_time_of_the_audio() -> None:
    here, there = recordings(["a", "b"]), recordings(["a", "b"], folder="s3://bucket")
    first, second = describe_chunk(here, "settings"), describe_chunk(there, "settings")
    assert first.shard_name == second.shard_name
    assert first.file_name != second.file_name
    assert first.recordings == 2


def test_the_name_of_a_shard_depends_on_all_else() -> None:
    (one,) = recordings(["a"])
    others = [
        replace(one, recording_id="b"),
        replace(one, split="test"),
        replace(one, texts={"short_form": ["Übung"]}),
        replace(one, tags=()),
        replace(one, start_s=1.0),
        replace(one, licence="CC0"),
    ]
    names = {describe_chunk([recording], "settings").name for recording in [one, *others]}
    assert len(names) == 1 + len(others)
    assert describe_chunk([one], "other settings").name not in names


def test_recordings_survive_json() -> None:
    found = recordings(NAMES[:3])
    restored = from_json(to_json(found))
    assert [recording.audio for recording in restored] == [recording.audio for recording in found]
    assert describe_chunk(restored, "") == describe_chunk(found, "")
