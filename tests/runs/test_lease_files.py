"""Tests that a single process can create a lease file: on a disk, in memory, and on failing S3."""

import threading
from pathlib import Path

import pytest

from mulan.runs.lease_files import create
from mulan.storage import filesystem, retries
from mulan.storage.errors import StoragePermanentError
from tests.conftest import S3
from tests.s3_proxy import EXPIRED_TOKEN, Answer, Cut


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)


def check_made_once(uri: str) -> None:
    assert create(uri, b"first")
    assert not create(uri, b"second")
    assert filesystem.read_bytes(uri) == b"first"


def test_a_file_is_created_once(tmp_path: Path, s3: S3) -> None:
    for folder in (str(tmp_path), f"memory://{tmp_path.name}", s3.uri):
        check_made_once(f"{folder}/new/lease")
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["lease"]


def test_one_of_many_threads_creates_the_file(tmp_path: Path) -> None:
    for turn in range(50):
        uri, made, start = f"{tmp_path}/{turn}/lease", [], threading.Barrier(8)

        def race(number: int, uri: str = uri, made: list[int] = made, start: threading.Barrier = start) -> None:
            start.wait()
            if create(uri, str(number).encode()):
                made.append(number)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = made
        assert filesystem.read_bytes(uri) == str(winner).encode()


def test_the_content_decides_if_the_response_was_lost(s3: S3) -> None:
    s3.proxy.fail(Cut.AFTER, "PUT", times=1)
    assert not create(f"{s3.uri}/lease", b"mine")
    assert filesystem.read_bytes(f"{s3.uri}/lease") == b"mine"


def test_an_undecided_race_on_s3_is_retried(s3: S3) -> None:
    s3.proxy.fail(Answer(409, "ConditionalRequestConflict", "A conflicting conditional operation"), "PUT", times=1)
    check_made_once(f"{s3.uri}/lease")


def test_stores_without_conditional_writes_are_used_without_them(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.proxy.fail(Answer(501, "NotImplemented", "A header implies functionality"), "PUT", times=1)
    assert create(f"{s3.uri}/lease", b"first")
    s3.proxy.fail(Answer(501, "NotImplemented", "A header implies functionality"), "PUT", times=1)
    assert not create(f"{s3.uri}/lease", b"second")
    assert filesystem.read_bytes(f"{s3.uri}/lease") == b"first"


def test_permanent_errors_are_raised(s3: S3, tmp_path: Path) -> None:
    s3.proxy.fail(EXPIRED_TOKEN)
    with pytest.raises(StoragePermanentError, match="renew the credentials"):
        create(f"{s3.uri}/lease", b"mine")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoragePermanentError, match="cannot be written"):
        create(f"{tmp_path}/file/lease", b"mine")
