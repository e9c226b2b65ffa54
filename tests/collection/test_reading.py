"""Recordings are read from tars, files and ranges of files, with the place of their bytes."""

import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from mulan.collection.reading import CollectionReading, ReadAudio
from mulan.collection.recordings import CollectionRecording, open_collection
from mulan.data.audio.windows import decode_recording, evenly_spaced_windows
from mulan.evaluation.embedding.windows import WindowBatch, read_windows
from mulan.preparation.found import AudioLocation
from mulan.preparation.settings import PreparationConfig
from tests.collection.conftest import Places
from tests.collection.test_waveform import naive

READING = CollectionReading(16_000, 8_000)


def read(recordings: list[CollectionRecording]) -> list[WindowBatch]:
    from_zero = [
        CollectionRecording(**{**{name: getattr(each, name) for name in each.__slots__}, "position": number})
        for number, each in enumerate(recordings)
    ]
    return list(read_windows(from_zero, READING, at_once=16))


def labels_of(batches: list[WindowBatch]) -> dict[int, ReadAudio]:
    return {position: labels for batch in batches for position, labels, _ in batch.finished}


@pytest.mark.parametrize("kind", ["corpus", "folder"])
def test_the_named_bytes_are_the_audio_of_the_recording(places: Places, kind: str) -> None:
    found = open_collection(str(getattr(places, kind)), PreparationConfig()).recordings
    audio = {each.recording_id: each.audio for each in places.recordings}
    batches = read(list(found))
    assert [found[position].recording_id.split("/")[-1] for batch in batches for position, _ in batch.skipped] == [
        "tone-005"
    ]
    labels = labels_of(batches)
    assert len(labels) == len(found) - 1
    for position, each in labels.items():
        expected = audio[found[position].recording_id.split("/")[-1]]
        columns = each.columns
        offset, length = columns["offset"], columns["length"]
        assert Path(columns["uri"]).read_bytes()[offset : offset + length] == expected
        samples = decode_recording(expected, sample_rate_hz=16_000)
        assert list(columns["waveform"]) == naive(samples)
        assert columns["duration_s"] == len(samples) / 16_000
        assert columns["extension"] == "flac"
        assert each.window_starts_s.tolist() == (evenly_spaced_windows(len(samples), 8_000) / 16_000).tolist()


def _at(place: AudioLocation, **fields: Any) -> CollectionRecording:
    return CollectionRecording(recording_id="r", place=place, version="", **fields)


def test_remote_files_and_ranges_of_files_are_read(places: Places) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    fs, path = fsspec.core.url_to_fs(folder)
    contents = [each.audio for each in places.recordings[6:]]
    fs.pipe_file(f"{path}/all", b"".join(contents))
    wanted, at = [], 0
    for number, content in enumerate(contents):
        fs.pipe_file(f"{path}/{number}.flac", content)
        wanted.append(_at(AudioLocation(uri=f"{folder}/{number}.flac"), title=str(number)))
        wanted.append(_at(AudioLocation(uri=f"{folder}/all", offset=at, length=len(content))))
        at += len(content)
    wanted.append(_at(AudioLocation(uri=f"{folder}/none.flac")))
    batches = read(wanted)
    labels = labels_of(batches)
    assert [error.reason for batch in batches for _, error in batch.skipped] == ["missing file"]
    assert len(labels) == 2 * len(contents)
    for number in range(len(contents)):
        whole, part = labels[2 * number].columns, labels[2 * number + 1].columns
        assert (whole["title"], whole["extension"], part["extension"]) == (str(number), "flac", "")
        assert (whole["offset"], whole["length"], part["length"]) == (0, len(contents[number]), len(contents[number]))
        assert whole["waveform"] == part["waveform"]
    fs.rm(path, recursive=True)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.5, 1.7), (0.5, None), (None, 1.0), (1.0, 99.0)])
def test_a_part_of_a_file_is_a_recording(places: Places, start_s: float | None, end_s: float | None) -> None:
    place = AudioLocation(uri=str(places.folder / f"{places.recordings[0].recording_id}.FLAC"))
    batches = read([_at(place, start_s=start_s, end_s=end_s)])
    samples = decode_recording(places.recordings[0].audio, sample_rate_hz=16_000)
    part = samples[round((start_s or 0) * 16_000) : None if end_s is None else round(end_s * 16_000)]
    windows = np.concatenate([batch.windows for batch in batches])
    starts = evenly_spaced_windows(len(part), 8_000).tolist()
    np.testing.assert_array_equal(windows, [part[start : start + 8_000] for start in starts])
    columns = labels_of(batches)[0].columns
    assert (columns["start_s"], columns["duration_s"]) == (start_s or 0.0, len(part) / 16_000)
    assert columns["length"] == len(places.recordings[0].audio)
    assert list(columns["waveform"]) == naive(part)


def test_a_part_beyond_the_end_is_skipped(places: Places) -> None:
    place = AudioLocation(uri=str(places.folder / f"{places.recordings[0].recording_id}.FLAC"))
    ((_, error),) = read([_at(place, start_s=50.0)])[0].skipped
    assert str(error).startswith("no samples: ")
