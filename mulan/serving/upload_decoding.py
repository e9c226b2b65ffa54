"""A process that decodes a sound from outside, and may die of it: python -m mulan.serving.upload_decoding RATE SAMPLES

Reads the encoded sound from standard input, and writes the windows of its beginning to standard output, as int16. If it
cannot be decoded, the reason is written to standard error and the exit code is 2.
"""

import resource
import sys

import numpy as np

from mulan.data.audio.windows import decode_window
from mulan.data.errors import DecodeError
from mulan.model.inference.inputs import windows_of_samples

MAX_SECONDS = 60.0
"""How much of a sound is searched for."""
MAX_MEMORY_BYTES = 2 * 2**30
"""Maximum address space, with that of the libraries."""
MAX_CPU_S = 20
"""Maximum CPU time in seconds."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no files
    rate_hz, window_samples = map(int, sys.argv[1:])
    beginning = np.empty(round(MAX_SECONDS * rate_hz), np.int16)
    try:
        count = decode_window(sys.stdin.buffer.read(), beginning, draw=0.0, sample_rate_hz=rate_hz)
    except DecodeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for window in windows_of_samples(beginning[:count], window_samples):
        sys.stdout.buffer.write(window.tobytes())


if __name__ == "__main__":
    main()
