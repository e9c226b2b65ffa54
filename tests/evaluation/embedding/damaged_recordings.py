"""Recordings of which some cannot be decoded."""

from collections.abc import Sequence
from dataclasses import replace

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.writing import Recording, write_corpus
from tests.conftest import tone_recording

SPLITS = ["test"] * 14 + ["train"] * 6


def recordings() -> list[Recording]:
    """Twenty recordings; number 3 is not audio, number 7 is cut, and number 11 has texts of one source only."""
    made = [tone_recording(number, split) for number, split in enumerate(SPLITS)]
    made[3] = replace(made[3], audio=b"not audio at all")
    made[7] = replace(made[7], audio=made[7].audio[: len(made[7].audio) // 2])
    made[11] = replace(made[11], texts={"short_form": ["only this"]})
    return made


def write(uri: str, made: Sequence[Recording]) -> Corpus:
    write_corpus(made, uri, recordings_per_shard=7)
    return Corpus.open(uri)
