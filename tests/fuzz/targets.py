"""The fuzz targets: generators of inputs, functions that read them, documented errors, and assertions on results."""

import io
import math
import random
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulan.config.sections import SOURCES
from mulan.data.audio.windows import decode_recording, decode_window, duration_s
from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.corpus.metadata import SPLITS
from mulan.data.corpus.records import Record, parse_record, read_record
from mulan.data.errors import BadRecording, CorpusError, DecodeError
from tests.fuzz import seeds
from tests.fuzz.checksums import correct_ogg, correct_tar
from tests.fuzz.mutations import mutated

RATE_HZ = 16_000
WINDOW_SAMPLES = 1600
MAX_DISAGREEMENT_S = 0.05
"""Maximum difference of stated and decoded durations: the codec delay and part of a frame."""


@dataclass(frozen=True)
class Target:
    """A function under test."""

    make: Callable[[random.Random], bytes]
    """Returns an input, which depends only on the generator."""
    read: Callable[[bytes], object]
    """Reads an input and checks the result; an AssertionError is a finding as well."""
    refusals: tuple[type[Exception], ...]
    """Documented errors."""


def decoding() -> Target:
    """Decodes a window, the whole and the duration of audio files."""
    files = seeds.audio_files()
    words = [b"RIFF", b"RIFX", b"data", b"fmt ", b"LIST", b"fLaC", b"OggS", b"ID3\4", b"TAG", b"APETAGEX", b"Xing"]
    words += [b"Info", b"VBRI", b"moov", b"mdat", b"stsz", b"\xff\xfb\x90\x64", b"ffconcat version 1.0\n", b"#EXTM3U\n"]

    def make(draw: random.Random) -> bytes:
        content = mutated(draw, files, words=words)
        return correct_ogg(content) if draw.random() < 0.7 else content

    return Target(make, _decode, (DecodeError,))


def _decode(audio: bytes) -> None:
    window = np.full(WINDOW_SAMPLES, 12_345, np.int16)
    outcomes: dict[str, str] = {}
    filled, whole, seconds = 0, np.zeros(0, np.int16), 0.0
    try:
        filled = decode_window(audio, window, draw=0.7, sample_rate_hz=RATE_HZ)
    except DecodeError as error:
        outcomes["window"] = error.reason
    try:
        whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    except DecodeError as error:
        outcomes["recording"] = error.reason
    try:
        seconds = duration_s(audio)
    except DecodeError as error:
        outcomes["duration"] = error.reason
    if "window" not in outcomes:
        assert 0 < filled <= WINDOW_SAMPLES, "a window without samples"
        assert not window[filled:].any(), "no silence after a short recording"
    if "recording" not in outcomes:
        assert whole.dtype == np.int16 and whole.ndim == 1 and len(whole), "a recording without samples"
        assert "window" not in outcomes, "a recording that is decoded, and a window of it that is refused"
        assert filled == min(WINDOW_SAMPLES, len(whole)), "a window that is shorter than the recording"
        assert "duration" not in outcomes, "a recording that is decoded and has no duration"
        # it may be shorter: decoding may recover more of a damaged file
        assert seconds < len(whole) / RATE_HZ + MAX_DISAGREEMENT_S, "a duration that is more than the recording's"
    if outcomes:
        raise DecodeError(outcomes.popitem()[1])


def records() -> Target:
    """Parses the bytes of one recording in a shard."""

    def read(fragment: bytes) -> None:
        _read_texts(parse_record(fragment))
        _read_texts(parse_record(fragment, Fields().to_json()))

    return Target(_tars_of(seeds.records()), read, (BadRecording,))


def _read_texts(record: Record) -> None:
    for source in SOURCES:
        try:
            texts = record.texts(source)
        except BadRecording:
            continue
        assert texts and all(isinstance(text, str) for text in texts), "texts that are not strings"
    assert record.recording_id, "a recording without a name"


_Members = list[tuple[str, bytes]]

JSON_WORDS = [b"null", b"[]", b"{}", b"true", b"-1", b"1e999", b"NaN", b'"\\ud800"', b'""', b"9" * 5000, b"[" * 5000]
JSON_WORDS += [b'"text":', b'"caption":', b'"duration":']
JSON_WORDS += [b'"texts":', b'"split":', b'"duration_s":', b'"tags":', b'"train"', b'"long_form":', b",", b'"']


def _tars_of(recordings: list[_Members]) -> Callable[[random.Random], bytes]:
    """Returns a generator of mutated tars and of valid tars with mutated members."""
    valid = [
        seeds.tar(members, form=form) for members in recordings for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    fragments = [archive[: -(-_content_bytes(archive) // 512) * 512] for archive in valid]

    def make(draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            content = mutated(draw, [*valid, *fragments], words=JSON_WORDS)
            return correct_tar(content) if draw.random() < 0.7 else content
        members = list(draw.choice(recordings))
        for _ in range(draw.choice((1, 1, 2))):
            _mutate_member(members, draw)
        archive = seeds.tar(members, form=draw.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
        return archive[: _content_bytes(archive)] if draw.random() < 0.7 else archive

    return make


def _content_bytes(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        opened.getmembers()
        return opened.offset


def _mutate_member(members: _Members, draw: random.Random) -> None:
    number = draw.randrange(len(members))
    name, content = members[number]
    kind = draw.randrange(5)
    if kind == 0:
        members.append(members[number])
    elif kind == 1 and len(members) > 1:
        del members[number]
    elif kind == 2:
        mutation = mutated(
            draw, [name.encode(errors="surrogateescape")], words=[b"/", b".", b"../", b"._", b".json", b".JSON"]
        )
        members[number] = mutation.replace(b"\0", b"")[:90].decode(errors="surrogateescape") or "x", content
    else:
        members[number] = name, mutated(draw, [content], words=JSON_WORDS)


def tars() -> Target:
    """Indexes a shard as a corpus, and reads all its recordings."""
    alone = seeds.records()
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    shard = Path(folder.name, "shard.tar")

    def read(archive: bytes) -> None:
        shard.write_bytes(archive)
        Path(folder.name, INDEX_NAME).unlink(missing_ok=True)
        index_shards([str(shard)], folder.name)
        try:
            corpus = Corpus.open(folder.name)
            for row in range(corpus.table.num_rows):
                record = read_record(corpus, row)
                assert record.recording_id, "a recording without a name"
        except (CorpusError, BadRecording) as error:
            why = error.reason if isinstance(error, BadRecording) else error.faults[0].partition("(")[0]
            raise AssertionError(f"an indexed recording cannot be read: {why}") from error

    return Target(
        _tars_of([*alone, alone[0] + alone[1], alone[1] + alone[2] + alone[0], alone[4] + alone[5]]),
        read,
        (CorpusError,),
    )


def indices() -> Target:
    """Opens the index of a corpus, and calls all its methods."""
    valid = seeds.indices()
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    index = Path(folder.name, INDEX_NAME)

    def make(draw: random.Random) -> bytes:
        return mutated(draw, valid, words=[b"PAR1", b"PARE", b"train", b"\xff\xfe", b"\xed\xa0\x80"])

    def read(content: bytes) -> None:
        index.write_bytes(content)
        corpus = Corpus.open(folder.name)
        rows = range(corpus.table.num_rows)
        assert sum(len(corpus.rows(split)) for split in SPLITS) == len(rows), "rows without a split"
        for split in SPLITS:
            corpus.rows_by_source(split)
        assert len(set(corpus.recording_ids(rows))) == len(rows), "duplicate recording ids"
        ranges = [each for location in corpus.locations(rows) for each in location.ranges]
        corpus.table.to_pylist()
        assert all(offset >= 0 and length > 0 for offset, length in ranges), "invalid byte ranges"
        assert all(0 < seconds < math.inf for seconds in corpus.table["duration_s"].to_pylist()), "no duration"

    return Target(make, read, (CorpusError,))


TARGETS: dict[str, Callable[[], Target]] = {
    "decode_window": decoding,
    "parse_record": records,
    "index_shards": tars,
    "Corpus.open": indices,
}
"""Targets by the name of the function that reads an input first."""
