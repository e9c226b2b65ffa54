"""A corpus with a tag that a trained network hears, but of which the vectors of an untrained one tell little."""

import numpy as np

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.writing import Recording, write_corpus
from tests.sounds import flac

RATE_HZ = 16_000
SPLITS = ["train"] * 64 + ["validation"] * 32 + ["test"] * 48
"""Half of the recordings of each split have the tag."""


def _sound(number: int, *, high: bool) -> np.ndarray:
    """Returns float32 [samples]: a tone in one of two bands, beside loud tones and noise of any colour."""
    rng = np.random.default_rng(number)
    time = np.arange(round(0.55 * RATE_HZ)) / RATE_HZ
    loud = sum(
        rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) for hz in rng.uniform(200, 1200, 2)
    )
    low, top = (3000, 3600) if high else (1700, 2100)
    tone = 0.08 * np.sin(2 * np.pi * rng.uniform(low, top) * time)
    noise = rng.uniform(0.001, 0.02) * rng.standard_normal(len(time))
    return (rng.uniform(0.3, 1) * (loud + tone + noise)).clip(-1, 1).astype(np.float32)


def write_hidden_tones(uri: str) -> Corpus:
    """Writes the corpus."""
    recordings = (
        Recording(
            recording_id=f"hidden-{number:03d}",
            audio=flac(_sound(number, high=number % 2 == 1)),
            extension="flac",
            duration_s=0.55,
            split=split,
            texts={},
            tags=["band:high"] if number % 2 else [],
            provenance="synthesized",
            licence="CC0-1.0",
        )
        for number, split in enumerate(SPLITS)
    )
    write_corpus(recordings, uri, recordings_per_shard=40)
    return Corpus.open(uri)
