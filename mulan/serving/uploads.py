"""Sounds that clients send: received within limits of size and time, and decoded in processes that may die."""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np

from mulan.config.errors import MulanError
from mulan.data.errors import one_line
from mulan.serving.settings import MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S

MAX_DECODING = 2
"""Number of sounds that a server process decodes at once."""
MAX_WAITING = 32
"""Number of sounds that a server process holds at once."""
DECODE_TIMEOUT_S = 30.0
"""Maximum time in seconds in which a sound has to be decoded."""
_COMMAND = (sys.executable, "-m", "mulan.serving.upload_decoding")


class UploadRefused(MulanError, ValueError):
    """A sound from a client cannot be used; ``status`` is the HTTP status that says so."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)


class UploadDecoder:
    """Receives and decodes sounds, a few at a time. It belongs to one event loop."""

    def __init__(self) -> None:
        self._held = 0
        self._decoding = asyncio.Semaphore(MAX_DECODING)

    async def windows(
        self, body: AsyncIterator[bytes], stated_bytes: int | None, *, sample_rate_hz: int, window_samples: int
    ) -> np.ndarray:
        """Returns the windows that cover the beginning of a sound, int16 [n, window_samples].

        Args:
            body: The encoded sound, as it arrives.
            stated_bytes: Its size in bytes, if the client states it.
            sample_rate_hz: Sample rate of the windows.
            window_samples: Length of a window in samples.

        Raises:
            UploadRefused: The sound is too large or too slow, cannot be decoded, or the server has enough of them.
        """
        if self._held >= MAX_WAITING:
            raise UploadRefused("the server is busy with other sounds; try again in a few seconds", status=503)
        self._held += 1
        try:
            content = await _received(body, stated_bytes)
            async with self._decoding:
                return await _decoded(content, sample_rate_hz, window_samples)
        finally:
            self._held -= 1


async def _received(body: AsyncIterator[bytes], stated_bytes: int | None) -> bytes:
    too_large = UploadRefused(f"the sound is larger than {MAX_UPLOAD_BYTES // 10**6} MB; send a part of it", status=413)
    if stated_bytes is not None and stated_bytes > MAX_UPLOAD_BYTES:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            async for chunk in body:
                content += chunk
                if len(content) > MAX_UPLOAD_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise UploadRefused(f"the sound did not arrive within {UPLOAD_TIMEOUT_S:g} s", status=408) from error
    if not content:
        raise UploadRefused("no sound was sent: the body of the request is empty", status=422)
    return bytes(content)


async def _decoded(content: bytes, sample_rate_hz: int, window_samples: int) -> np.ndarray:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, str(sample_rate_hz), str(window_samples),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DECODE_TIMEOUT_S):
            samples, message = await process.communicate(content)
    except TimeoutError as error:
        raise UploadRefused(f"the sound could not be decoded within {DECODE_TIMEOUT_S:g} s", status=422) from error
    finally:
        if process.returncode is None:  # also if the request was cancelled
            process.kill()
            await process.wait()
    if process.returncode == 2:
        raise UploadRefused(f"the sound cannot be decoded: {one_line(message.decode(errors='replace'))}", status=422)
    if process.returncode or not samples or len(samples) % (2 * window_samples):
        raise UploadRefused("the sound cannot be decoded: the decoder failed", status=422)
    return np.frombuffer(samples, np.int16).reshape(-1, window_samples)
