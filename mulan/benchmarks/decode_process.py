"""A process that times the decoding of windows, with the version of mulan on its path.

Its argument is the decoder, ``decode_window`` or ``soundfile``. For each format on a line of standard input it prints
the CPU milliseconds per window.
"""

import io
import sys
import time
from collections.abc import Callable

import numpy as np
import soundfile
import soxr

try:
    from mulan.data.audio.windows import decode_window
except ModuleNotFoundError:  # versions before audio was a package
    from mulan.data.audio import decode_window  # type: ignore[attr-defined, no-redef]

RATE_HZ = 16_000
SECONDS, WINDOW_S = 30, 10
WINDOWS_A_READING = 40
FORMATS = {
    "FLAC, 16 kHz": ("FLAC", 16_000, 1),
    "MP3, 44.1 kHz": ("MP3", 44_100, 1),
    "FLAC, 44.1 kHz, stereo": ("FLAC", 44_100, 2),
    "MP3, 44.1 kHz, stereo": ("MP3", 44_100, 2),
    "Ogg Vorbis, 44.1 kHz": ("OGG", 44_100, 1),
}
"""Container name of libsndfile, sample rate in Hz, and number of channels by format."""

Decode = Callable[[bytes, np.ndarray, float], None]


def encoded(container: str, rate_hz: int, channels: int, *, seconds: int = SECONDS) -> bytes:
    """Returns an encoded recording of amplitude-modulated harmonics with weak noise."""
    times = np.arange(seconds * rate_hz) / rate_hz
    sound = np.random.default_rng(0).normal(0, 0.01, (len(times), channels))
    for number, pitch_hz in enumerate((220, 330, 440, 880, 1760)):
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * (0.2 + 0.1 * number) * times)
        sound += (0.1 * swell * np.sin(2 * np.pi * pitch_hz * times))[:, None]
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate_hz, format=container)
    return buffer.getvalue()


def by_soundfile(audio: bytes, window: np.ndarray, draw: float) -> None:
    """Decodes with the minimum of work: seek, read, downmix, resample and round, trusting the header."""
    with soundfile.SoundFile(io.BytesIO(audio)) as file:
        count = len(window) * file.samplerate // RATE_HZ
        file.seek(int(draw * (file.frames - count + 1)))
        mono = file.read(count, "float32", always_2d=True).mean(axis=1)
        if file.samplerate != RATE_HZ:
            mono = soxr.resample(mono, file.samplerate, RATE_HZ)
    window[: len(mono)] = np.rint(mono * 32767).astype(np.int16)


def by_mulan(audio: bytes, window: np.ndarray, draw: float) -> None:
    """Decodes with the function that training uses."""
    decode_window(audio, window, draw=draw, sample_rate_hz=RATE_HZ)


def main() -> None:
    decode: Decode = {"decode_window": by_mulan, "soundfile": by_soundfile}[sys.argv[1]]
    files: dict[str, bytes] = {}
    window, draws = np.zeros(WINDOW_S * RATE_HZ, np.int16), [0.618 * number % 1 for number in range(WINDOWS_A_READING)]
    for form in map(str.strip, sys.stdin):
        if form not in files:
            files[form] = encoded(*FORMATS[form])
        started = time.process_time()
        for draw in draws:
            decode(files[form], window, draw)
        print(1000 * (time.process_time() - started) / len(draws), flush=True)


if __name__ == "__main__":
    main()
