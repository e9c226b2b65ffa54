"""Small valid inputs."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index_rows import SCHEMA
from tests.audio_files import apev2, id3v1, id3v2, mp3
from tests.encodings import by_ffmpeg, by_libsndfile
from tests.fuzz.checksums import correct_ogg
from tests.sounds import flac, tone

SECONDS, RATE_HZ = 0.2, 16_000

BY_LIBSNDFILE = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ALAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_16"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("W64", "GSM610"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("AIFF", "IMA_ADPCM"),
    ("AU", "PCM_16"),
    ("AU", "G723_24"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("NIST", "PCM_16"),
    ("IRCAM", "PCM_16"),
    ("VOC", "PCM_16"),
    ("SVX", "PCM_16"),
    ("PAF", "PCM_16"),
    ("SDS", "PCM_16"),
    ("XI", "DPCM_16"),
)

BY_FFMPEG = (
    ("adts", "aac"),
    ("latm", "aac"),
    ("mpegts", "aac"),
    ("mp4", "aac"),
    ("matroska", "aac"),
    ("mp4", "alac"),
    ("mp4", "flac"),
    ("mp4", "libopus"),
    ("webm", "libopus"),
    ("ogg", "flac"),
    ("mov", "pcm_s16be"),
    ("ac3", "ac3"),
    ("wv", "wavpack"),
    ("tta", "tta"),
    ("mp2", "mp2"),
    ("avi", "mp3"),
    ("nut", "pcm_f32le"),
)


def audio_files() -> list[bytes]:
    """Returns a tone in every format that the installed libraries write."""
    mono, stereo = tone(440, SECONDS)[:, None], tone(440, SECONDS, rate_hz=44_100)[:, None].repeat(2, axis=1)
    files = [by_libsndfile(mono, RATE_HZ, container, subtype) for container, subtype in BY_LIBSNDFILE]
    files += [by_libsndfile(stereo, 44_100, container, "PCM_16") for container in ("WAV", "FLAC", "AIFF")]
    files += [by_ffmpeg(stereo, 44_100, container, codec) for container, codec in BY_FFMPEG if codec != "libopus"]
    files += [by_ffmpeg(mono, RATE_HZ, container, codec) for container, codec in BY_FFMPEG if codec == "libopus"]
    files += [
        mp3(samples, rate_hz, variable=variable, announced=announced)
        for samples, rate_hz in ((mono, RATE_HZ), (stereo, 44_100))
        for variable in (False, True)
        for announced in (False, True)
    ]
    files += [id3v2(300) + files[-1], files[-1] + apev2() + id3v1(), id3v2(64) + files[0]]
    return [_reproducible(content) for content in files]


def _reproducible(content: bytes) -> bytes:
    """Returns a file without its creation time and random numbers."""
    fixed = bytearray(content)
    peak = content.find(b"PEAK")  # of WAV and AIFF of floats: size, version, time
    if peak >= 0:
        fixed[peak + 12 : peak + 16] = bytes(4)
    page = content.find(b"OggS")
    while page >= 0:
        fixed[page + 14 : page + 18] = (1).to_bytes(4)
        page = content.find(b"OggS", page + 4)
    return correct_ogg(bytes(fixed))


METADATA: tuple[Mapping[str, object], ...] = (
    {"texts": {"long_form": ["a low tone"], "playlist": ["tones", "quiet"]}, "split": "test", "duration_s": 0.05},
    {"texts": {"short_form": ["ein tiefer Ton, überaus leise"]}, "tags": ["genre:jazz", "mood:calm"]},
    {"texts": {}, "split": "validation", "duration_s": 3, "tags": [], "provenance": "here", "licence": "CC0"},
)


def records() -> list[list[tuple[str, bytes]]]:
    """Returns the members of several recordings, each with name and content."""
    audio = flac(tone(440, 0.05))
    names = ("one", "folder/two", "ünï")
    of_others = json.dumps({"text": ["a low tone"], "tag": ["tone"], "duration": 0.05, "original_data": {}}).encode()
    return [
        *(
            [(f"{name}.flac", audio), (f"{name}.json", json.dumps(metadata).encode())]
            for name, metadata in zip(names, METADATA, strict=True)
        ),
        [("v1.0.flac", audio), ("v1.0.json", of_others), ("v1.1.flac", audio), ("v1.1.json", of_others)],
        [("k.json", of_others), ("k.wav", by_libsndfile(tone(440, 0.05), RATE_HZ, "WAV")), ("k.cls", b"3")],
        [("t.txt", b"a low tone"), ("t.mp3", mp3(tone(440, 0.1), RATE_HZ, variable=False, announced=False))],
    ]


def tar(members: Sequence[tuple[str, bytes]], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Returns an archive with its final blocks of zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def indices() -> list[bytes]:
    """Returns indices of three recordings as Parquet files."""
    table = pa.Table.from_pylist(
        [
            {
                "recording_id": f"id{number}",
                "uri": "shards/00000.tar",
                "offset": 2048 * number,
                "length": 2048,
                "duration_s": 1.5 + number,
                "split": split,
                "sources": ["long_form"],
                "tags": ["genre:jazz"] * number,
                "fields": Fields(tags=("mood",)).to_json() * (number // 2),
                "further_ranges": [8192, 1024] * number,
            }
            for number, split in enumerate(("train", "validation", "test"))
        ],
        SCHEMA,
    )
    return [
        _parquet(table, compression="zstd"),
        _parquet(table, compression="none"),
        _parquet(table, compression="snappy", data_page_version="2.0", use_dictionary=False),
        _parquet(table, compression="gzip", row_group_size=1, store_schema=False),
    ]


def _parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()
