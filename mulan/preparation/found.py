"""A recording as a source finds it, before its audio is read and its texts are filtered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mulan.config.sections import StoredSource
from mulan.preparation.faults import Faults


@dataclass(frozen=True, kw_only=True)
class AudioLocation:
    """Where the encoded audio of a recording is: a file, a range of bytes of a file, or a row of a table."""

    uri: str
    """Absolute path or URI of the file."""
    offset: int = 0
    """Offset in bytes of the audio in the file."""
    length: int | None = None
    """Length of the audio in bytes; None if it extends to the end of the file."""
    row: int | None = None
    """Number of the row, from 0, if the file is a table (Parquet or Arrow); None for other files."""
    column: str = ""
    """Name of the column with the audio, if the file is a table."""
    version: str = ""
    """What changes if the content of the file changes, as far as a listing of its folder shows it: size and time."""


@dataclass(frozen=True, kw_only=True)
class FoundRecording:
    """A recording as a source finds it. Everything but the id and the audio may be unknown."""

    recording_id: str
    """Id, unique in the source. It does not depend on where the source is stored."""
    audio: AudioLocation
    split: str = ""
    """Name of the official split: ``train``, ``validation`` or ``test``; empty if the source has none."""
    texts: Mapping[StoredSource, Sequence[str]] = field(default_factory=dict)
    """Texts by source, as they were found: unfiltered."""
    tags: Sequence[str] = ()
    """Tags as ``category:text``."""
    title: str = ""
    """Title of the recording."""
    artist: str = ""
    """Artist: recordings of one artist belong to one split, and their names do not belong in texts."""
    channel: str = ""
    """What published the recording, such as the channel or the album: text that it repeats is boilerplate."""
    start_s: float | None = None
    """Start in seconds of the part of the audio that the texts describe; None for the whole of it."""
    end_s: float | None = None
    """End in seconds of that part; None for the end of the audio."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """Numbers that models are evaluated on, such as ``arousal``."""
    provenance: str = ""
    """Origin of the recording, as free text."""
    licence: str = ""
    """Licence of the recording, as free text."""


class Source(Protocol):
    """A source of recordings. It is created with its path or URI, and with its section of the configuration."""

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings in an order that depends only on the content of the source, in bounded memory.

        It can be called again, and then yields the same. Recordings whose audio is missing are passed to
        :meth:`Faults.missing`, and what else cannot be used to :meth:`Faults.add`.

        Raises:
            SourceError: The source cannot be used: its layout is another one, or a file of it is damaged.
        """
