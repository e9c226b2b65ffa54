"""Tests that the bare loop makes the same clips as a preparation, so that the two are comparable."""

import io
from pathlib import Path

import numpy as np
import soundfile

from mulan.benchmarks import preparation_process
from mulan.benchmarks.preparation import write_recordings
from mulan.preparation.clips import make_clip
from mulan.preparation.settings import ClipConfig


def test_clips_of_the_bare_loop_are_those_of_a_preparation(tmp_path: Path) -> None:
    write_recordings(tmp_path / "recordings", 4)
    for path in sorted((tmp_path / "recordings").iterdir()):  # one of each format
        bare, _ = soundfile.read(io.BytesIO(preparation_process.make_clip(str(path))))
        ours, _ = soundfile.read(io.BytesIO(make_clip(str(path), ClipConfig()).flac))
        assert len(ours) == len(bare) == 480_000
        assert np.abs(ours[1000:-1000] - bare[1000:-1000]).max() < 1e-3  # the bare loop resamples the excerpt alone
