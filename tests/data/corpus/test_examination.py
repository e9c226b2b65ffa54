"""Tests that tars are examined in order, several remote ones at once, and that all faults are passed on."""

import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mulan.data.corpus.examination import Examined, examine_shards
from mulan.data.corpus.scanning import ScannedSample
from mulan.data.errors import BadRecording
from mulan.storage.errors import StoragePermanentError
from mulan.storage.ranged_file import RangedFile
from tests.conftest import S3
from tests.data.corpus.tars import write_tar
from tests.s3_proxy import ACCESS_DENIED, EXPIRED_TOKEN


def number_of_files(shard_uri: str, file: RangedFile, scanned: ScannedSample) -> tuple[str, int]:
    if scanned.sample.key == "bad":
        raise BadRecording("unusable", "as planned")
    return scanned.sample.key, len(scanned.sample.members)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[list[str]]:
    """URIs of 40 tars of one recording each, on a storage that counts as remote."""
    fs = fsspec.filesystem("memory")
    content = Path(write_tar(tmp_path / "a.tar", [("k.flac", b"x"), ("k.json", b"{}")])).read_bytes()
    for number in range(40):
        fs.pipe_file(f"/examined/{number}.tar", content)
    yield [f"memory://examined/{number}.tar" for number in range(40)]
    fs.rm("/examined", recursive=True)


def test_remote_tars_are_examined_at_once_and_yielded_in_order(remote: list[str]) -> None:
    """The first one is only finished when the last one that may begin has begun."""
    begun, last = threading.Semaphore(0), threading.Event()

    def use(shard_uri: str, file: RangedFile, scanned: ScannedSample) -> tuple[str, str]:
        if shard_uri == remote[15]:
            last.set()
        elif shard_uri == remote[0]:
            assert last.wait(20)
        begun.release()
        return scanned.sample.key, shard_uri

    examined = examine_shards(remote, use, keys_restart=True)
    assert next(examined) == Examined(remote[0], "0/k", remote[0])
    rest = list(examined)
    assert [each.name for each in rest] == [f"{number}/k" for number in range(1, 40)]
    assert [each.outcome for each in rest] == remote[1:]


def test_what_is_not_needed_is_not_examined(remote: list[str]) -> None:
    seen: list[str] = []

    def use(shard_uri: str, file: RangedFile, scanned: ScannedSample) -> tuple[str, int]:
        seen.append(shard_uri)
        return shard_uri, 0

    examined = examine_shards(remote, use)
    next(examined)
    examined.close()  # type: ignore[attr-defined]
    assert 1 <= len(seen) < 40


def test_every_fault_is_passed_on(tmp_path: Path) -> None:
    one = [("a.flac", b"x"), ("a.json", b"{}"), ("a.txt", b"")]
    uris = [
        write_tar(tmp_path / "0.tar", [*one, ("bad.flac", b"x"), ("c\udce9.flac", b"x")]),
        write_tar(tmp_path / "1.tar", [("a.flac", b"x"), ("b.flac", b"x")]),
        str(tmp_path / "absent.tar"),
        write_tar(tmp_path / "3.tar", [("README", b"x")]),
        str(tmp_path),
    ]
    (tmp_path / "5.tar").write_bytes(b"no tar" * 999)
    examined = list(examine_shards([*uris, tmp_path / "5.tar", uris[1]], number_of_files))
    good = [(each.name, each.outcome) for each in examined if not isinstance(each.outcome, BadRecording)]
    faults = [(each.name, each.outcome.reason) for each in examined if isinstance(each.outcome, BadRecording)]
    assert good == [("a", 3), ("b", 1)]
    assert faults == [
        ("bad", "unusable"),
        ("c\udce9", "name not Unicode"),
        ("a", "duplicate id"),
        (uris[2], "unreadable shard"),
        (uris[3], "no recordings"),
        (uris[4], "unreadable shard"),
        (f"{tmp_path}/5.tar", "truncated shard"),
        ("a", "duplicate id"),
        ("b", "duplicate id"),
    ]


def test_storage_that_fails_for_all_tars_ends_the_examination(s3: S3, tmp_path: Path) -> None:
    s3.files.put_file(write_tar(tmp_path / "a.tar", [("a.flac", b"x")]), f"{s3.uri}/a.tar")
    uris = [f"{s3.uri}/a.tar"]
    assert [each.outcome for each in examine_shards(uris, number_of_files)] == [1]
    s3.proxy.fail(ACCESS_DENIED)
    (denied,) = examine_shards(uris, number_of_files)
    assert isinstance(denied.outcome, BadRecording) and denied.outcome.reason == "unreadable shard"
    s3.proxy.heal()
    s3.proxy.fail(EXPIRED_TOKEN, "GET")  # the answer to HEAD has no code of an error
    with pytest.raises(StoragePermanentError, match="credentials"):
        list(examine_shards(uris, number_of_files))
