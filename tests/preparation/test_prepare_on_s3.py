"""Tests preparations whose sources and corpora are on S3: names, listings, what is read of files, and failures."""

import csv
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.pipeline import prepare_chunk
from mulan.preparation.plan import plan
from mulan.preparation.sources.folder import FolderConfig, FolderSource
from mulan.storage import filesystem, retries
from mulan.storage.errors import StoragePermanentError
from tests.conftest import S3
from tests.data.corpus.tars import write_tar
from tests.preparation.prepared import contents, corpus_in, make, requested
from tests.preparation.sources.test_mtat import small_clips, written
from tests.preparation.sources_of_tests import tones
from tests.preparation.tagged_audio import write_tagged
from tests.s3_proxy import ACCESS_DENIED, INTERNAL_ERROR, SLOW_DOWN, Cut, Delay
from tests.sounds import flac, tone

NAMES = [
    "#1.flac", "&amp;<b>.flac", "1+1=2.flac", "100%.flac", "100%20.flac", "Artist :: Title.flac", "[live]*{x}.flac",
    "a b/c d.flac", "a=b;c,d@e:f.flac", "back\\slash.flac", "caf\u00e9.flac", "cafe\u0301.flac", "deep/1/2/3/4.flac",
    "quote'\".flac", "trailing .flac", "what?.flac", "~.flac", "日本/歌.flac",
]  # fmt: skip
"""Names of files that are special somewhere between a command line and a request."""
SOUNDS = [flac(tone(200 + 20 * number, 1.0, seed=number)) for number in range(len(NAMES))]
NOISE = np.random.default_rng(0)
SMALL_SHARDS = "recordings_per_shard=4"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)


def put(s3: S3, files: dict[str, bytes]) -> None:
    s3.files.pipe({f"{s3.uri}/{name}": content for name, content in files.items()})


def read_bytes_of(s3: S3, name: str) -> int:
    """Returns how many bytes of files whose URLs contain a name were sent, in whatever requests."""
    return sum(size for request, size in s3.proxy.sent.items() if name in request)


def test_a_folder_with_any_names_gives_the_same_bytes_as_a_local_one(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "7")  # the server lists 1000 at once, and then in further pages
    music = dict(zip(NAMES, SOUNDS, strict=True))
    for name, content in music.items():
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).write_bytes(content)
    put(s3, {f"my music+%20/{name}": content for name, content in music.items()})
    put(s3, {"my music+%202/other.flac": SOUNDS[0], "my music+%20.flac": SOUNDS[0]})  # the same prefix
    for placeholder in ("my music+%20/", "my music+%20/a b/", "my music+%20/empty/"):  # as consoles of S3 make them
        s3.files.call_s3("put_object", Bucket=s3.uri.removeprefix("s3://"), Key=placeholder, Body=b"")
    report = make(requested([f"folder={s3.uri}/my music+%20//"], f"{s3.uri}/my corpus+%20/", SMALL_SHARDS))
    assert report["recordings"] == len(NAMES)
    assert report["left_out"] == {}
    make(requested([f"folder={tmp_path}/music"], f"{tmp_path}/corpus", SMALL_SHARDS))
    assert corpus_in(f"{s3.uri}/my corpus+%20") == corpus_in(f"{tmp_path}/corpus")
    corpus = Corpus.open(f"{s3.uri}/my corpus+%20/")
    assert corpus.table["recording_id"].to_pylist() == [name.removesuffix(".flac") for name in sorted(NAMES)]
    assert len([request for request in s3.proxy.requests if "continuation-token" in request]) >= 3
    again = requested([f"folder={s3.uri}/my music+%20"], f"{s3.uri}/my corpus+%20", SMALL_SHARDS)
    again.workspace.check(again.settings)
    assert plan(again, write=False).missing == []


def test_names_of_objects_do_not_lead_to_local_files(s3: S3, tmp_path: Path) -> None:
    for number, name in enumerate((f"/{tmp_path}/secret.flac", f"{tmp_path}/secret.flac", "/x.flac", "a//b.flac")):
        put(s3, {f"odd/{name}": SOUNDS[number]})
    (tmp_path / "secret.flac").write_bytes(flac(tone(999, 1.0)))
    report = make(requested([f"folder={s3.uri}/odd"], f"{s3.uri}/corpus"))
    assert (report["recordings"], report["left_out"]) == (4, {})
    hashes = {row["sha256"] for row in _recordings(f"{s3.uri}/corpus")}
    make(requested([f"folder={tmp_path}"], str(tmp_path / "corpus")))
    assert not hashes & {row["sha256"] for row in _recordings(str(tmp_path / "corpus"))}


def _recordings(uri: str) -> list[dict[str, str]]:
    return pq.read_table(io.BytesIO(contents(uri)["preparation/recordings.parquet"])).to_pylist()


def test_an_empty_prefix_and_a_missing_bucket_are_named(s3: S3) -> None:
    put(s3, {"music2/a.flac": SOUNDS[0]})
    for uri, fault in {f"{s3.uri}/music": "there is no folder", "s3://nowhere/music": "there is no folder"}.items():
        with pytest.raises(SourceError, match=f"{uri}: {fault} {uri}"):
            plan(requested([f"folder={uri}"], f"{s3.uri}/corpus"), write=False)


@pytest.mark.parametrize("extension", ["mp3", "flac", "m4a", "opus", "wav"])
def test_tags_are_read_without_the_audio(extension: str, s3: S3, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    write_tagged(path, {"title": "Evening", "artist": "Ada", "genre": "Jazz"})
    content, audio = path.read_bytes(), NOISE.bytes(4 * 2**20)
    if extension == "m4a":  # the tags follow the audio
        (start,) = struct.unpack(">I", content[:4])
        content = content[:start] + struct.pack(">I4s", 8 + len(audio), b"free") + audio + content[start:]
    else:
        content += audio
    put(s3, {f"music/a.{extension}": content})
    (recording,) = FolderSource(f"{s3.uri}/music", FolderConfig()).recordings(Faults())
    assert (recording.title, recording.artist) == ("Evening", "Ada")
    assert 0 < read_bytes_of(s3, f"a.{extension}") < 0.05 * len(content)


@pytest.fixture
def _parts_of_5_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the minimum size of parts on S3, instead of the 50 MiB of s3fs."""
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)


@pytest.mark.usefixtures("_parts_of_5_mib")
def test_a_shard_of_several_parts_is_written_whole_or_not_at_all(s3: S3, tmp_path: Path) -> None:
    for number in range(3):
        samples = NOISE.uniform(-1, 1, 44 * 48_000).astype(np.float32)
        (tmp_path / f"{number}.flac").write_bytes(flac(samples, rate_hz=48_000))
    settings = ["clip.sample_rate_hz=48000", "clip.duration_s=0"]
    uri, bucket = f"{s3.uri}/corpus", s3.uri.removeprefix("s3://")
    prepared = requested([f"folder={tmp_path}"], uri, *settings)
    s3.proxy.fail(ACCESS_DENIED, "PUT", "partNumber=2")
    with pytest.raises(StoragePermanentError, match=r"/shards/[^ ]*\.tar cannot be written: .*access is denied"):
        make(prepared)
    assert {name.partition("/")[0] for name in contents(uri)} == {"preparation"}
    assert s3.files.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", []) == []
    s3.proxy.heal()
    s3.proxy.fail(SLOW_DOWN, "POST", "uploads", times=1)
    s3.proxy.fail(Cut.WITHIN, "partNumber=2", times=2)
    s3.proxy.fail(Cut.AFTER, "POST", "uploadId=", times=1)
    assert make(prepared)["recordings"] == 3
    make(requested([f"folder={tmp_path}"], f"{tmp_path}/corpus", *settings))
    assert corpus_in(uri) == corpus_in(f"{tmp_path}/corpus")
    assert any("partNumber=3" in request for request in s3.proxy.requests)
    assert s3.files.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", []) == []


def test_a_preparation_continues_after_failures_with_the_same_bytes(s3: S3, tmp_path: Path) -> None:
    tones(tmp_path / "music", 10, seconds=1.0)
    s3.files.put(f"{tmp_path}/music/", f"{s3.uri}/music/", recursive=True)
    uri = f"{s3.uri}/corpus"
    prepared = requested([f"folder={s3.uri}/music"], uri, "recordings_per_shard=2")
    prepared.workspace.begin(prepared.settings)
    missing = plan(prepared, write=True).missing
    assert len(missing) >= 4
    for chunk in missing[:2]:
        prepare_chunk(chunk, prepared.workspace, prepared.config)
    s3.proxy.fail(ACCESS_DENIED, "PUT", "/preparation/results/")  # after the third shard, before its result
    with pytest.raises(StoragePermanentError, match="access is denied"):
        prepare_chunk(missing[2], prepared.workspace, prepared.config)
    s3.proxy.heal()
    assert [chunk.name for chunk in plan(prepared, write=True).missing] == [chunk.name for chunk in missing[2:]]
    s3.proxy.requests.clear()
    for fault in (INTERNAL_ERROR, SLOW_DOWN, Cut.BEFORE, Cut.WITHIN, Cut.AFTER, Delay(0.05)):
        for request in ("GET", "PUT", "HEAD", "list-type"):
            s3.proxy.fail(fault, request, times=1)
    make(prepared)
    assert {one.split("/shards/")[1] for one in s3.proxy.requests if one.startswith("PUT") and "/shards/" in one} == {
        f"{chunk.name}.tar" for chunk in missing[2:]
    }
    make(requested([f"folder={tmp_path}/music"], f"{tmp_path}/corpus", "recordings_per_shard=2"))
    assert corpus_in(uri) == corpus_in(f"{tmp_path}/corpus")
    assert not any(name.startswith("preparation/chunks/") for name in contents(uri))


def test_tars_are_adopted_by_reading_their_headers_and_texts_alone(s3: S3, tmp_path: Path) -> None:
    sound = flac(NOISE.uniform(-1, 1, 5 * 16_000).astype(np.float32))
    for number in range(2):
        members = []
        for key in (f"{number}{letter}" for letter in "abcdefgh"):
            texts = {"text": [f"noise {key}"], "tag": ["noise"]}
            members += [(f"{key}.flac", sound), (f"{key}.json", json.dumps(texts).encode())]
        write_tar(tmp_path / f"{number}.tar", members)
        s3.files.put_file(f"{tmp_path}/{number}.tar", f"{s3.uri}/my tars+%/{number}.tar")
    adopted = requested([f"webdataset={s3.uri}/my tars+%/"], f"{s3.uri}/adopted")
    plan(adopted, write=False)
    size = sum((tmp_path / f"{number}.tar").stat().st_size for number in range(2))
    assert 0 < read_bytes_of(s3, "tars") < 16 * 2304 < 0.03 * size  # for a recording, two headers and a JSON
    make(adopted)
    corpus = Corpus.open(f"{s3.uri}/adopted")
    assert set(corpus.table["uri"].to_pylist()) == {f"{s3.uri}/my tars+%/{number}.tar" for number in range(2)}
    assert read_record(corpus, 9).audio == sound
    make(requested([f"webdataset={tmp_path}/{{0..1}}.tar"], f"{tmp_path}/adopted"))
    local = Corpus.open(f"{tmp_path}/adopted").table
    assert corpus.table.drop_columns("uri") == local.drop_columns("uri")
    report = make(requested([f"webdataset={s3.uri}/my tars+%/*.tar"], f"{s3.uri}/copied", "webdataset.copies=true"))
    assert report["left_out"]["duplicate audio"]["count"] == 15


def test_tables_name_audio_by_relative_paths_and_uris(s3: S3) -> None:
    uris = [
        "audio/a b.flac",
        "audio/100%+.flac",
        f"{s3.uri}/other/c.flac",
        "audio/gone.flac",
        f"{s3.uri}/other/gone.flac",
    ]
    table = io.StringIO()
    csv.writer(table).writerows([["path", "caption", "split"], *([uri, f"Sound of {uri}", "test"] for uri in uris)])
    put(s3, dict(zip(("t/audio/a b.flac", "t/audio/100%+.flac", "other/c.flac"), SOUNDS, strict=False)))
    put(s3, {"t/table.csv": table.getvalue().encode()})
    report = make(requested([f"table={s3.uri}/t/table.csv"], f"{s3.uri}/corpus"))
    assert Corpus.open(f"{s3.uri}/corpus").table["split"].to_pylist() == ["test"] * 3
    source = report["sources"][f"table={s3.uri}/t/table.csv"]
    assert [reason["count"] for reason in source["left_out"].values()] == [1]
    assert [reason["count"] for reason in report["left_out"].values()] == [1]
    assert f"{s3.uri}/other/gone.flac" in str(report["left_out"])


def test_a_public_data_set_is_imported(s3: S3, tmp_path: Path) -> None:
    clips = small_clips()
    for place in (str(tmp_path), s3.uri):
        written(f"{place}/mtat", clips)
    for number, (path, _) in enumerate(clips.values()):
        (tmp_path / "mtat" / path).write_bytes(SOUNDS[number])
    put(s3, {f"mtat/{path}": SOUNDS[number] for number, (path, _) in enumerate(clips.values())})
    for place in (str(tmp_path), s3.uri):
        make(requested([f"mtat={place}/mtat/"], f"{place}/corpus/"))
    assert corpus_in(f"{s3.uri}/corpus") == corpus_in(f"{tmp_path}/corpus")
    assert Corpus.open(f"{s3.uri}/corpus").table.num_rows == len(clips)
