"""Recordings that repeat others: the same decoded audio, or nearly the same texts.

Of copies, one in ``test`` is kept rather than one in ``validation``, and that rather than one in ``train``, so that no
copy of an evaluated recording is trained on, whichever a source yields first. Of copies in one split, the first is
kept.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from datasketch import MinHash, MinHashLSH

from mulan.preparation.found import FoundRecording
from mulan.preparation.names import main_artist, normalised, normalised_name
from mulan.preparation.settings import DuplicateConfig

_RANKS: Mapping[str, int] = {"test": 0, "validation": 1, "train": 2}
"""Splits in the order in which their recordings are preferred."""

SHINGLE_CHARACTERS = 5
"""Number of characters in a shingle. A shorter text is a single shingle."""

MIN_WORDS = 8
"""Minimum number of words in the texts of recordings that are compared whatever their titles and artists are."""

_PERMUTATIONS = 128
_MAX_MISSED = 1e-3
"""Maximum probability that two recordings are not compared whose similarity is the minimum; it is less for others."""

_EMPTY = MinHash(num_perm=_PERMUTATIONS, seed=1, scheme="affine32")
"""The MinHash of no shingles. Its hashes are SHA-1, so that they are the same in all processes."""


def exact_duplicates(recordings: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Returns the ids of recordings to leave out, each with the id of the recording that is kept in its place.

    Needs about 250 bytes of memory for each recording, and the length of its id.

    Args:
        recordings: Id, split and ``sha256`` of the clip (:attr:`mulan.preparation.clips.Clip.sha256`) of each
            recording, in order.
    """
    kept: dict[bytes, tuple[int, str]] = {}
    left_out: dict[str, bytes] = {}
    for recording_id, split, sha256 in recordings:
        digest, rank = bytes.fromhex(sha256), _RANKS[split]
        other = kept.get(digest)
        if other is not None and other[0] <= rank:
            left_out[recording_id] = digest
            continue
        if other is not None:
            left_out[other[1]] = digest
        kept[digest] = rank, recording_id
    return {recording_id: kept[digest][1] for recording_id, digest in left_out.items()}


def near_duplicates(
    recordings: Callable[[], Iterable[tuple[FoundRecording, str]]], config: DuplicateConfig
) -> dict[str, str]:
    """Returns the ids of recordings to leave out, each with the id of a recording that is kept and has similar texts.

    Two recordings are similar if the sets of shingles of their normalised texts have a Jaccard similarity of at least
    ``config.similarity``; texts that only repeat the title or the artist do not count. No two recordings that are kept
    are similar. Of pairs at the minimum similarity, less than one in a thousand is missed, since MinHash and LSH select
    the pairs to compare; they are always the same ones.

    With ``titled``, only recordings with the same title and artist are compared, both known. Everything is read twice,
    and needs about 180 bytes of memory for each recording with a title and an artist; those whose title and artist
    occur again need about 200 bytes more, and their texts. With ``all``, everything is read once, and each recording
    with at least :data:`MIN_WORDS` words needs its texts and, if it is kept, about 6 kB.

    Args:
        recordings: Yields all recordings with their splits, the same ones in the same order whenever it is called.
        config: Which recordings are compared, and their minimum similarity.
    """
    if config.texts == "off":
        return {}
    left_out: dict[str, str] = {}
    for group in _groups(recordings, titled=config.texts == "titled"):
        left_out |= _similar(group, config.similarity)
    return left_out


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A recording that may have near duplicates."""

    rank: int
    recording_id: str
    texts: str
    """Normalised texts, one per line."""

    def shingles(self) -> set[str]:
        found: set[str] = set()
        for text in self.texts.split("\n"):
            found.update(text[at : at + SHINGLE_CHARACTERS] for at in range(max(1, len(text) - SHINGLE_CHARACTERS + 1)))
        return found


def _groups(
    recordings: Callable[[], Iterable[tuple[FoundRecording, str]]], *, titled: bool
) -> Iterable[list[_Candidate]]:
    """Returns groups of recordings that are compared with each other."""
    repeated: set[bytes] = set()
    if titled:
        seen: set[bytes] = set()
        for recording, _ in recordings():
            key = _title_key(recording)
            (repeated if key in seen else seen).add(key)
    groups: dict[bytes, list[_Candidate]] = {}
    for recording, split in recordings():
        key = _title_key(recording) if titled else b""
        if titled and (not key or key not in repeated):
            continue
        texts = _compared_texts(recording)
        if texts and (titled or len(texts.split()) >= MIN_WORDS):
            groups.setdefault(key, []).append(_Candidate(_RANKS[split], recording.recording_id, texts))
    return groups.values()


def _title_key(recording: FoundRecording) -> bytes:
    """Returns what stands for the title and the artist of a recording; empty if one of them is unknown."""
    title, artist = normalised_name(recording.title), main_artist(recording.artist)
    if not title or not artist:
        return b""
    return blake2b(f"{title}\n{artist}".encode(errors="surrogatepass"), digest_size=16).digest()


def _compared_texts(recording: FoundRecording) -> str:
    names = {normalised(recording.title), normalised(recording.artist), ""}
    texts = {normalised(text) for texts in recording.texts.values() for text in texts}
    return "\n".join(sorted(texts - names))


def _similar(candidates: list[_Candidate], similarity: float) -> dict[str, str]:
    """Returns the ids of candidates to leave out, each with the id of a similar one that is kept."""
    left_out: dict[str, str] = {}
    if len(candidates) < 2:
        return left_out
    kept: list[_Candidate] = []
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=bands_and_rows(similarity))
    for candidate in sorted(candidates, key=lambda candidate: candidate.rank):
        shingles, signature = candidate.shingles(), _EMPTY.copy()
        signature.update_batch([shingle.encode(errors="surrogatepass") for shingle in shingles])
        for number in sorted(index.query(signature)):
            if _jaccard(shingles, kept[number].shingles()) >= similarity:
                left_out[candidate.recording_id] = kept[number].recording_id
                break
        else:
            index.insert(len(kept), signature)
            kept.append(candidate)
    return left_out


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def bands_and_rows(similarity: float) -> tuple[int, int]:
    """Returns how many bands of how many of the permutations find nearly all pairs of a similarity.

    Two sets agree in all ``r`` rows of at least one of ``b`` bands with the probability 1 - (1 - similarity^r)^b. The
    largest ``r`` is returned that misses few enough, because it selects the fewest other pairs.
    """
    choices = ((_PERMUTATIONS // rows, rows) for rows in range(_PERMUTATIONS // 2, 0, -1))
    return next((bands, rows) for bands, rows in choices if (1 - similarity**rows) ** bands <= _MAX_MISSED)
