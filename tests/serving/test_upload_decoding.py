"""The decoder of uploads writes windows or a reason, within limits of memory and time, and no files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.windows import decode_recording
from tests.sounds import flac, tone

pytestmark = pytest.mark.processes


def decode(content: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mulan.serving.upload_decoding", "16000", "8000"]
    return subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)


def test_the_windows_of_a_sound_are_written(tmp_path: Path) -> None:
    content = flac(tone(440.0, 1.0))
    done = decode(content)
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_array_equal(
        np.frombuffer(done.stdout, np.int16), decode_recording(content, sample_rate_hz=16_000)
    )


@pytest.mark.parametrize("content", [b"", b"no sound", flac(tone(440.0, 1.0))[:500]])
def test_the_reason_is_written_if_it_cannot_be_decoded(content: bytes) -> None:
    done = decode(content)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.strip()
    assert b"Traceback" not in done.stderr
