"""The split of a recording: the official one, or one by its artist, whose recordings are then all in it."""

import hashlib

from mulan.data.corpus.metadata import SPLITS
from mulan.preparation.found import FoundRecording
from mulan.preparation.names import main_artist
from mulan.preparation.settings import SplitConfig


def split_of(recording: FoundRecording, config: SplitConfig) -> str:
    """Returns the split of a recording: ``train``, ``validation`` or ``test``.

    If its source has no split, the SHA-256 of its main artist (:func:`mulan.preparation.names.main_artist`) or, if the
    artist is unknown, of its id decides: the shares of ``config`` are those of artists, and not of recordings. A split
    depends on nothing else, so that it is the same in every source and stays the same as sources grow. Recordings that
    have an official split keep it, whichever splits others of their artist have.

    Raises:
        ValueError: The recording has an official split of another name.
    """
    if recording.split:
        if recording.split not in SPLITS:
            raise ValueError(f"{recording.recording_id}: the split {recording.split!r} is none of {', '.join(SPLITS)}")
        return recording.split
    artist = main_artist(recording.artist)
    key = f"artist {artist}" if artist else f"recording {recording.recording_id}"
    drawn = int.from_bytes(hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:8]) / 2**64
    if drawn < config.test:
        return "test"
    return "validation" if drawn < config.test + config.validation else "train"
