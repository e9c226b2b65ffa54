"""Tests that sparse tars are valid, have the sizes that they state, and need little space."""

import json
from pathlib import Path

import webdataset

from mulan.benchmarks.sparse_tars import AUDIO_BYTES, SECONDS, allocated_bytes, write_sparse_tars
from mulan.data.audio.stated_duration import stated_duration_s


def test_the_webdataset_library_reads_every_recording(tmp_path: Path) -> None:
    needed = write_sparse_tars(tmp_path / "tars", recordings=50, recordings_per_tar=20)
    tars = [str(tmp_path / "tars" / f"{number}.tar") for number in range(3)]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [str(number) for number in range(50)]
    assert needed == sum(2 * 512 + len(sample["json"]) for sample in samples)
    for sample in samples:
        audio = sample["flac"]
        assert len(audio) == AUDIO_BYTES
        assert stated_duration_s(lambda start, size, audio=audio: audio[start : start + size], len(audio)) == SECONDS
        assert 5 <= len(json.loads(sample["json"])["text"][0].split()) <= 60
    assert allocated_bytes(tmp_path / "tars") < 50 * AUDIO_BYTES / 4
