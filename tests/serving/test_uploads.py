"""Sounds from clients are bounded in size, time and number, and decoded in processes whose end ends nothing else."""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np
import pytest

from mulan.data.audio.windows import covering_windows
from mulan.serving import uploads
from mulan.serving.settings import MAX_UPLOAD_BYTES
from mulan.serving.uploads import UploadDecoder, UploadRefused
from tests.sounds import flac, tone

pytestmark = pytest.mark.processes  # decoders

CONTENT = flac(tone(440.0, 2.3))


async def body(content: bytes, *, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 10_000):
        await asyncio.sleep(pause_s)
        yield content[start : start + 10_000]


def windows(content: bytes, *, stated: int | None = None, pause_s: float = 0.0) -> np.ndarray:
    decoding = UploadDecoder().windows(
        body(content, pause_s=pause_s), stated, sample_rate_hz=16_000, window_samples=8000
    )
    return asyncio.run(decoding)


def refusal(content: bytes, **named: object) -> tuple[int, str]:
    with pytest.raises(UploadRefused) as caught:
        windows(content, **named)  # type: ignore[arg-type]
    return caught.value.status, str(caught.value)


def test_the_windows_are_those_of_the_sound() -> None:
    expected = np.stack(list(covering_windows(CONTENT, 8000, sample_rate_hz=16_000)))
    np.testing.assert_array_equal(windows(CONTENT), expected)


def test_only_the_first_minute_is_used() -> None:
    assert len(windows(flac(tone(440.0, 70.0)))) == 120


def test_a_sound_that_is_too_large_is_refused_as_soon_as_that_is_known() -> None:
    assert refusal(CONTENT, stated=MAX_UPLOAD_BYTES + 1)[0] == 413
    assert refusal(bytes(MAX_UPLOAD_BYTES + 1)) == (413, "the sound is larger than 20 MB; send a part of it")


def test_a_sound_that_does_not_arrive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_TIMEOUT_S", 0.1)
    assert refusal(CONTENT, pause_s=5.0) == (408, "the sound did not arrive within 0.1 s")


def test_a_decoder_that_hangs_or_dies_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "DECODE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(uploads, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    assert refusal(CONTENT) == (422, "the sound could not be decoded within 0.3 s")
    monkeypatch.setattr(uploads, "DECODE_TIMEOUT_S", 30.0)
    monkeypatch.setattr(uploads, "_COMMAND", (sys.executable, "-c", "import os; os.abort()"))
    assert refusal(CONTENT) == (422, "the sound cannot be decoded: the decoder failed")


def test_a_sound_beyond_the_limit_of_waiting_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_WAITING", 2)

    async def send(decoder: UploadDecoder) -> int:
        try:
            found = await decoder.windows(body(CONTENT), None, sample_rate_hz=16_000, window_samples=8000)
        except UploadRefused as error:
            return error.status
        return len(found)

    async def send_all() -> list[int]:
        decoder = UploadDecoder()
        statuses = await asyncio.gather(*(send(decoder) for _ in range(4)))
        return [*statuses, await send(decoder)]

    assert asyncio.run(send_all()) == [5, 5, 503, 503, 5]
