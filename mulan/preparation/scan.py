"""The passes over the sources, before any audio is read: which recordings are prepared, and with which texts."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from mulan.data.text import is_unicode
from mulan.preparation.duplicates import near_duplicates
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording, Source
from mulan.preparation.names import main_artist
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.splits import split_of
from mulan.preparation.spool import RecordingSpool
from mulan.preparation.texts.filtering import TextFilters

EXCLUDED, DUPLICATE_ID, EMPTY_FILE, NEAR_DUPLICATE = "excluded", "duplicate id", "empty file", "near duplicate"
NOT_UNICODE = "not Unicode"
"""The reasons of a scan for leaving out recordings; sources have further ones."""

_SHOWN = 5
_WRITTEN = ("recording_id", "title", "artist", "channel", "provenance", "licence")


@dataclass(frozen=True)
class NamedSource:
    """A source with the name by which messages and the report call it."""

    name: str
    """``KIND=PATH``."""
    prefix: str
    """What the ids of its recordings begin with; empty for the only source."""
    source: Source


@dataclass
class Scan:
    """A scan of sources. The counts are complete once :meth:`recordings` has been consumed."""

    sources: Sequence[NamedSource]
    config: PreparationConfig
    exclusions: Exclusions
    texts: TextFilters
    on_found: Callable[[int, str], None] = lambda found, source: None
    """Called with the number of recordings that have been found in a source so far, and its name."""
    faults: dict[str, Faults] = field(default_factory=dict)
    """What is left out of each source, by its name."""
    splits: Counter[str] = field(default_factory=Counter)
    """Number of recordings by split."""
    artists_in_several_splits: int = 0
    """Number of artists with recordings in several splits, which only official splits can cause."""

    def recordings(self) -> Iterator[FoundRecording]:
        """Yields the recordings to prepare, with splits and filtered texts, in an order that only the sources decide.

        Raises:
            SourceError: A source cannot be used, or more of its recordings are missing than ``max_left_out`` allows.
        """
        with RecordingSpool() as spool:
            self._read(spool)
            originals = near_duplicates(lambda: ((each, each.split) for _, each in spool), self.config.duplicates)
            split_by_artist: dict[bytes, str] = {}
            mixed: set[bytes] = set()
            for number, recording in spool:
                original = originals.get(recording.recording_id)
                if original is not None:
                    faults = self.faults[self.sources[number].name]
                    faults.found -= 1
                    faults.add(NEAR_DUPLICATE, f"{recording.recording_id}: of {original}")
                    continue
                self.splits[recording.split] += 1
                artist = main_artist(recording.artist)
                if artist and split_by_artist.setdefault(_digest(artist), recording.split) != recording.split:
                    mixed.add(_digest(artist))
                yield replace(recording, texts=self.texts.filtered(recording))
            self.artists_in_several_splits = len(mixed)

    def _read(self, spool: RecordingSpool) -> None:
        """Reads the sources once, counts what is left out, and adds the other recordings to a spool."""
        ids: set[bytes] = set()
        for number, named in enumerate(self.sources):
            faults = self.faults[named.name] = Faults()
            for recording in self._usable(named, faults, ids):
                faults.found += 1
                if self.texts.needs_observation:
                    self.texts.observe(recording)
                spool.add(number, recording)
                self.on_found(faults.found, named.name)
            check_left_out(named.name, faults, self.config.max_left_out)

    def _usable(self, named: NamedSource, faults: Faults, ids: set[bytes]) -> Iterator[FoundRecording]:
        """Yields the recordings of a source that are not excluded, with their final ids and splits."""
        for recording in usable_recordings(named, faults, ids, self.exclusions):
            yield replace(recording, split=split_of(recording, self.config.splits))


def usable_recordings(
    named: NamedSource, faults: Faults, ids: set[bytes], exclusions: Exclusions | None = None
) -> Iterator[FoundRecording]:
    """Yields the recordings of a source that are not excluded, with their final ids.

    Args:
        named: The source.
        faults: Takes what is left out.
        ids: Digests of the ids of all recordings so far, to which theirs are added: 100 bytes for each recording.
        exclusions: Recordings that are left out.

    Raises:
        SourceError: The source cannot be used.
    """
    for found in named.source.recordings(faults):
        recording_id = named.prefix + found.recording_id
        if exclusions and (exclusions.excludes_id(found.recording_id) or exclusions.excludes_id(recording_id)):
            faults.add(EXCLUDED, recording_id)
        elif _digest(recording_id) in ids:
            faults.add(DUPLICATE_ID, recording_id)
        elif wrong := _not_unicode(found):
            faults.add(NOT_UNICODE, f"{recording_id!r}: lone surrogates in {', '.join(wrong)}; write them again")
        elif found.audio.version.startswith("0-"):
            faults.add(EMPTY_FILE, f"{recording_id}: {found.audio.uri}")
        else:
            ids.add(_digest(recording_id))
            yield replace(found, recording_id=recording_id)


def check_left_out(source: str, faults: Faults, max_left_out: float) -> None:
    """Checks that enough recordings of a source can be used.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        faults: What was found and left out. Recordings that are excluded or near duplicates are left out on purpose.
        max_left_out: Maximum share of the others that may be left out, in [0, 1].

    Raises:
        SourceError: More are left out, which it names, or the source has no recordings at all.
    """
    bad = sum(count for reason, count in faults.counts.items() if reason not in (EXCLUDED, NEAR_DUPLICATE))
    found = faults.found + bad
    if not found and not faults.left_out:
        raise SourceError(source, ["there are no recordings; is this the folder that the kind expects?"])
    if bad > max_left_out * found:
        counts = ", ".join(f"{reason}: {count}" for reason, count in faults.counts.most_common())
        examples = [detail for details in faults.named.values() for detail in details[:_SHOWN]]
        limit = f"{bad} of {found} recordings cannot be used ({counts}); --set max_left_out=SHARE allows more"
        raise SourceError(source, [limit, *examples])


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _not_unicode(recording: FoundRecording) -> list[str]:
    """Returns the fields that cannot be written, but for the texts, which are filtered one by one."""
    fields = {
        "the path of the audio": recording.audio.uri,
        "the tags": "".join(recording.tags),
        **{name: getattr(recording, name) for name in _WRITTEN},
    }
    return [name for name, text in fields.items() if not is_unicode(text)]
