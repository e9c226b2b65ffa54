"""Tests access to files by URI while S3 fails temporarily, permanently or beyond the timeout, and on a full disk."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import s3fs

from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError, StoragePermanentError
from tests.conftest import S3
from tests.s3_proxy import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    Answer,
    Cut,
    Delay,
    Fault,
    FaultyS3,
    Silence,
)

CONTENT = bytes(range(256)) * 64


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "SILENCE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)


def _upload(uri: str, folder: Path) -> object:
    (folder / "local").write_bytes(CONTENT)
    return filesystem.upload(str(folder / "local"), f"{uri}/new")


OPERATIONS: dict[str, tuple[Callable[[str, Path], object], object]] = {
    "exists": (lambda uri, _: (filesystem.exists(f"{uri}/there"), filesystem.exists(f"{uri}/absent")), (True, False)),
    "remove": (lambda uri, _: filesystem.remove(f"{uri}/there"), None),
    "read_bytes": (lambda uri, _: filesystem.read_bytes(f"{uri}/there"), CONTENT),
    "read_ranges": (
        lambda uri, _: filesystem.read_ranges([f"{uri}/there"] * 3, [0, 7, 100], [5, 300, 1]),
        [CONTENT[:5], CONTENT[7:307], CONTENT[100:101]],
    ),
    "write_atomically": (lambda uri, _: filesystem.write_atomically(f"{uri}/new", CONTENT), None),
    "upload": (_upload, None),
    "check_writable": (lambda uri, _: filesystem.check_writable(uri), None),
    "local_copy": (lambda uri, to: Path(filesystem.local_copy(f"{uri}/there", str(to))).read_bytes(), CONTENT),
    "size": (lambda uri, _: filesystem.size(f"{uri}/there"), len(CONTENT)),
    "names_in": (lambda uri, _: filesystem.names_in(uri), ["folder", "there"]),
}
PASSING: dict[str, Fault] = {
    "500": INTERNAL_ERROR,
    "503": SLOW_DOWN,
    "a code that nobody knows": Answer(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive"),
    "reset before": Cut.BEFORE,
    "reset within": Cut.WITHIN,
    "reset after": Cut.AFTER,
    "silence": Silence.NO_ANSWER,
}
LASTING: dict[str, tuple[Fault, str]] = {
    "token": (EXPIRED_TOKEN, "AWS_SESSION_TOKEN"),
    "denied": (ACCESS_DENIED, "access is denied"),
}


@pytest.fixture
def uri(s3: S3) -> str:
    """A folder on S3 that contains a file and a folder."""
    s3.files.pipe_file(f"{s3.uri}/data/there", CONTENT)
    s3.files.pipe_file(f"{s3.uri}/data/folder/below", b"")
    return f"{s3.uri}/data"


def check_left(operation: str, uri: str, s3: S3) -> None:
    left = {
        "remove": {"folder"},
        "write_atomically": {"folder", "there", "new"},
        "upload": {"folder", "there", "new"},
    }.get(operation, {"folder", "there"})
    assert {name.rpartition("/")[2] for name in s3.files.ls(uri, detail=False)} == left
    if "new" in left:
        assert s3.files.cat_file(f"{uri}/new") == CONTENT


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_transient_errors_are_retried(operation: str, fault: str, uri: str, s3: S3, tmp_path: Path) -> None:
    function, expected = OPERATIONS[operation]
    s3.proxy.fail(PASSING[fault], times=2)
    assert function(uri, tmp_path) == expected
    check_left(operation, uri, s3)


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_permanent_errors_are_raised_at_once(operation: str, fault: str, uri: str, s3: S3, tmp_path: Path) -> None:
    function, _ = OPERATIONS[operation]
    answer, remedy = LASTING[fault]
    s3.proxy.fail(answer)
    if (operation, fault) == ("read_ranges", "denied"):  # returned for each range, because others may be readable
        results = filesystem.read_ranges([f"{uri}/there"] * 2, [0, 1], [1, 1])
        assert [type(result) for result in results] == [PermissionError] * 2
    else:
        with pytest.raises(StoragePermanentError, match=rf"{uri}.* cannot be .*{remedy}.*run the same command again"):
            function(uri, tmp_path)
    assert len(s3.proxy.requests) <= 3
    s3.proxy.heal()
    s3.files.pipe_file(f"{uri}/there", CONTENT)
    assert filesystem.read_bytes(f"{uri}/there") == CONTENT


def test_a_missing_bucket_is_named_by_every_write(s3: S3, tmp_path: Path) -> None:
    nowhere = "s3://nowhere-at-all/run"
    (tmp_path / "file").write_bytes(CONTENT)
    for write in (
        lambda: filesystem.write_atomically(f"{nowhere}/x", CONTENT),
        lambda: filesystem.upload(str(tmp_path / "file"), f"{nowhere}/x"),
        lambda: filesystem.check_writable(f"{nowhere}/x"),
    ):
        with pytest.raises(
            StoragePermanentError, match=f"{nowhere}/x cannot be written: .*the bucket does not exist: create"
        ):
            write()
    assert not filesystem.exists(f"{nowhere}/x")
    assert filesystem.names_in(nowhere) == []
    with pytest.raises(FileNotFoundError):
        filesystem.read_bytes(f"{nowhere}/x")
    s3.proxy.fail(NO_SUCH_BUCKET)  # it has been removed in the meantime
    with pytest.raises(StoragePermanentError, match="the bucket does not exist"):
        filesystem.write_atomically(f"{s3.uri}/x", CONTENT)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "http://no-such-host.invalid", "the server is unknown: check AWS_ENDPOINT_URL"),
        ("AWS_ENDPOINT_URL", "localhost:9000", "the server is unknown: check AWS_ENDPOINT_URL"),
        ("AWS_ACCESS_KEY_ID", "", "the credentials are rejected: renew"),
    ],
)
def test_a_wrong_environment_is_reported_at_once(
    variable: str,
    value: str,
    message: str,
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()  # as in a process that starts
    request.addfinalizer(s3fs.S3FileSystem.clear_instance_cache)
    for operation in (
        lambda: filesystem.exists(f"{s3.uri}/x"),
        lambda: filesystem.read_ranges([f"{s3.uri}/x"], [0], [1]),
        lambda: filesystem.write_atomically(f"{s3.uri}/x", b""),
    ):
        with pytest.raises(StoragePermanentError, match=rf"{s3.uri}/x cannot be .*{message}"):
            operation()


def test_retries_time_out_with_an_error_that_states_the_duration(
    uri: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.3)
    s3.proxy.fail(SLOW_DOWN)
    message = rf"{uri}/there cannot be read: \d+ attempts in \d+ s failed, the last with .*same command"
    for operation in (
        lambda: filesystem.read_bytes(f"{uri}/there"),
        lambda: filesystem.read_ranges([f"{uri}/absent", f"{uri}/there"], [0, 0], [1, 1]),
    ):
        with pytest.raises(StorageError, match=message) as caught:
            operation()
        assert not isinstance(caught.value, StoragePermanentError)
        s3.proxy.heal()
        s3.proxy.fail(SLOW_DOWN, "/there")
    assert len(s3.proxy.requests) > 4


def test_an_outage_is_waited_for(uri: str, s3: S3) -> None:
    s3.proxy.fail(INTERNAL_ERROR, seconds=0.5)
    s3.proxy.fail(Cut.BEFORE, seconds=1.0)
    s3.proxy.fail(Delay(0.05), seconds=1.5)
    filesystem.write_atomically(f"{uri}/new", CONTENT)
    check_left("write_atomically", uri, s3)


def test_a_restarting_server_is_waited_for(uri: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has restarted, its port refuses connections."""
    with FaultyS3(s3.proxy.upstream) as first:
        monkeypatch.setenv("AWS_ENDPOINT_URL", first.url)
        s3fs.S3FileSystem.clear_instance_cache()
        assert filesystem.read_bytes(f"{uri}/there") == CONTENT
    done: list[bytes] = []
    reader = threading.Thread(target=lambda: done.append(filesystem.read_bytes(f"{uri}/there")), daemon=True)
    reader.start()
    reader.join(0.5)
    assert reader.is_alive() and not done
    with FaultyS3(s3.proxy.upstream, port=first.port):
        reader.join(30)
        assert done == [CONTENT]
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_that_accepts_no_bytes_times_out(uri: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content exceeds the buffers of the sockets."""
    monkeypatch.setattr(filesystem, "SILENCE_TIMEOUT_S", 3.0)
    s3.proxy.fail(Silence.NO_READING, "PUT", times=1)
    large = bytes(2**24)
    filesystem.write_atomically(f"{uri}/new", large)
    assert s3.files.size(f"{uri}/new") == len(large)


@pytest.fixture
def _parts_of_5_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the minimum size of parts on S3, instead of the 50 MiB of s3fs."""
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)
    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", 5 * 2**20)
    monkeypatch.setattr(filesystem, "SILENCE_TIMEOUT_S", 15.0)


@pytest.mark.usefixtures("_parts_of_5_mib")
def test_any_part_of_a_large_upload_may_fail(uri: str, s3: S3, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(11 * 2**20)
    (tmp_path / "large").write_bytes(content)
    s3.proxy.fail(SLOW_DOWN, "POST", "uploads", times=1)
    s3.proxy.fail(Cut.WITHIN, "partNumber=2", times=1)
    s3.proxy.fail(Cut.AFTER, "POST", "uploadId=", times=1)  # the upload is complete, but the response is lost
    filesystem.upload(str(tmp_path / "large"), f"{uri}/new")
    assert s3.files.cat_file(f"{uri}/new") == content
    s3.proxy.fail(Cut.WITHIN, "GET", times=2)
    assert Path(filesystem.local_copy(f"{uri}/new", str(tmp_path))).read_bytes() == content


@pytest.mark.usefixtures("_parts_of_5_mib")
def test_a_request_is_retried_before_the_upload_is(
    uri: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 3)
    (tmp_path / "large").write_bytes(bytes(11 * 2**20))
    s3.proxy.fail(INTERNAL_ERROR, "partNumber=2", times=1)
    filesystem.upload(str(tmp_path / "large"), f"{uri}/new")
    parts = [number for number in "123" for one in s3.proxy.requests if f"partNumber={number}" in one]
    assert parts == ["1", "2", "2", "3"]


def test_attempts_do_not_multiply(uri: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore, s3fs and mulan each have retries."""
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 3)
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.0)
    for fault in (INTERNAL_ERROR, SLOW_DOWN):
        s3.proxy.requests.clear()
        s3.proxy.fail(fault)
        with pytest.raises(StorageError, match="1 attempts"):
            filesystem.write_atomically(f"{uri}/new", CONTENT)
        assert len(s3.proxy.requests) == 3
        s3.proxy.heal()


def test_changes_by_other_processes_are_visible(uri: str, s3: S3) -> None:
    assert filesystem.names_in(uri) == ["folder", "there"]
    s3.files.pipe_file(f"{uri}/there", b"short")
    s3.files.pipe_file(f"{uri}/new", b"")
    assert filesystem.size(f"{uri}/there") == 5
    assert filesystem.exists(f"{uri}/new")
    assert filesystem.names_in(uri) == ["folder", "new", "there"]
    s3.files.rm_file(f"{uri}/there")
    assert not filesystem.exists(f"{uri}/there")
    assert filesystem.names_in(uri) == ["folder", "new"]


def test_new_bytes_are_requested_once(uri: str, s3: S3) -> None:
    assert filesystem.read_new(f"{uri}/there", 100) == (CONTENT[100:], len(CONTENT))
    assert filesystem.read_new(f"{uri}/there", len(CONTENT) + 1) == (b"", len(CONTENT))
    assert filesystem.read_new(f"{uri}/absent", 0) == (b"", 0)
    num_requests = len(s3.proxy.requests)
    s3.proxy.fail(INTERNAL_ERROR)
    with pytest.raises(StoragePermanentError, match=f"{uri}/there cannot be read"):
        filesystem.read_new(f"{uri}/there", 0)
    assert len(s3.proxy.requests) == num_requests + 1


ON_A_FULL_DISK = """
import resource, sys
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
target, moved = sys.argv[1:]
for write in (lambda: filesystem.write_atomically(target, bytes(5000)), lambda: filesystem.upload(moved, target)):
    try:
        write()
    except StoragePermanentError as error:
        print(error)
"""


@pytest.mark.processes
def test_the_old_file_is_kept_on_a_full_disk(tmp_path: Path) -> None:
    """``/dev/shm`` is a different file system, from which a file cannot be moved by renaming."""
    target = tmp_path / "runs" / "old"
    filesystem.write_atomically(str(target), b"old")
    moved = Path("/dev/shm") / f"mulan-{tmp_path.name}-{id(target)}"
    moved.write_bytes(bytes(5000))
    try:
        arguments = [sys.executable, "-c", ON_A_FULL_DISK, str(target), str(moved)]
        message = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()
    finally:
        assert moved.stat().st_size == 5000
        moved.unlink()
    assert len(message) == 2
    for line in message:
        assert re.fullmatch(rf"{target} cannot be written: File too large; allow larger files .*", line), line
    assert [path.name for path in target.parent.iterdir()] == ["old"]
    assert target.read_bytes() == b"old"


def test_ranges_beyond_the_end_are_as_on_a_local_disk(s3: S3, tmp_path: Path) -> None:
    content = bytes(range(100))
    s3.files.pipe_file(f"{s3.uri}/shard.tar", content)
    (tmp_path / "shard.tar").write_bytes(content)
    for uri in (f"{s3.uri}/shard.tar", str(tmp_path / "shard.tar")):
        reads = filesystem.read_ranges([uri] * 5, [0, 90, 100, 10**9, 10], [10, 20, 10, 512, 2**60])
        assert reads == [content[:10], content[90:], b"", b"", content[10:]]
        (absent,) = filesystem.read_ranges([uri + "s"], [0], [1])
        assert isinstance(absent, FileNotFoundError)
