import os
import uuid
from pathlib import Path

import pytest

from mulan.data.errors import BadRecording
from mulan.preparation.found import AudioLocation
from mulan.preparation.locations import read_audio
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError
from tests.conftest import S3
from tests.preparation.tables import FORMATS, audio_table, write_table
from tests.s3_proxy import ACCESS_DENIED, EXPIRED_TOKEN

CONTENT = bytes(range(256))


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri = f"{tmp_path}/a.wav" if request.param == "local" else f"memory://{uuid.uuid4().hex}/a.wav"
    filesystem.write_atomically(uri, CONTENT)
    return uri


def test_a_whole_local_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(CONTENT)
    assert read_audio(AudioLocation(uri=f"{tmp_path}/a.wav")) == f"{tmp_path}/a.wav"


def test_a_whole_remote_file_is_read() -> None:
    uri = f"memory://{uuid.uuid4().hex}/a.wav"
    filesystem.write_atomically(uri, CONTENT)
    assert read_audio(AudioLocation(uri=uri)) == CONTENT


def test_ranges_are_read(uri: str) -> None:
    assert read_audio(AudioLocation(uri=uri, offset=3, length=7)) == CONTENT[3:10]
    assert read_audio(AudioLocation(uri=uri, length=7)) == CONTENT[:7]
    assert read_audio(AudioLocation(uri=uri, offset=250)) == CONTENT[250:]
    for offset, length in ((250, 7), (256, 1), (300, None)):
        with pytest.raises(BadRecording, match=r"truncated file: .*a.wav ends before byte"):
            read_audio(AudioLocation(uri=uri, offset=offset, length=length))


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_read_in_any_order(kind: str, tmp_path: Path) -> None:
    contents = [os.urandom(50 + index) for index in range(40)]
    uris = [write_table(audio_table(list(contents)), tmp_path / name, kind, rows=7) for name in "ab"]
    rows = [*range(40), 39, 0, 13, 12, 38]
    for uri in uris * 2:
        found = [read_audio(AudioLocation(uri=uri, row=row, column="audio")) for row in rows]
        assert found == [contents[row] for row in rows]
    with pytest.raises(BadRecording, match=r"missing row: .* has no row 40, counted from 0"):
        read_audio(AudioLocation(uri=uris[0], row=40, column="audio"))
    with pytest.raises(BadRecording, match=r"damaged table: .* there is no column sound"):
        read_audio(AudioLocation(uri=uris[0], row=0, column="sound"))


def test_a_column_of_bytes_is_read(tmp_path: Path) -> None:
    table = audio_table([b"x", b"y"], content=[b"first", None])
    uri = write_table(table, tmp_path, "parquet", rows=1)
    assert read_audio(AudioLocation(uri=uri, row=0, column="content")) == b"first"
    with pytest.raises(BadRecording, match=r"no audio: .* row 1: column content has no bytes of audio"):
        read_audio(AudioLocation(uri=uri, row=1, column="content"))


def test_rows_without_bytes_are_named(tmp_path: Path) -> None:
    uri = write_table(audio_table([b"x", None]), tmp_path, "parquet", rows=2)
    with pytest.raises(BadRecording, match="no audio"):
        read_audio(AudioLocation(uri=uri, row=1, column="audio"))


def test_a_table_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    uri = write_table(audio_table([b"old"]), tmp_path, "parquet", rows=1)
    assert read_audio(AudioLocation(uri=uri, row=0, column="audio", version="1")) == b"old"
    write_table(audio_table([b"new"]), tmp_path, "parquet", rows=1)
    assert read_audio(AudioLocation(uri=uri, row=0, column="audio", version="2")) == b"new"


@pytest.mark.parametrize("place", [{}, {"offset": 3}, {"length": 3}, {"row": 0, "column": "audio"}])
def test_missing_files_are_named(place: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for missing in (f"{tmp_path}/b.parquet", f"{tmp_path}/b.parquet/c.wav", f"memory://{uuid.uuid4().hex}/b.parquet"):
        with pytest.raises(BadRecording, match=f"missing file: there is no file {missing}"):
            read_audio(AudioLocation(uri=missing, **place))  # type: ignore[arg-type]


def test_what_is_not_a_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name in ("pipe.wav", "folder.wav"):
        with pytest.raises(BadRecording, match="missing file"):
            read_audio(AudioLocation(uri=f"{tmp_path}/{name}"))


def test_one_forbidden_file_is_a_bad_recording_and_bad_credentials_are_not(s3: S3, tmp_path: Path) -> None:
    uri = f"{s3.uri}/table.parquet"
    s3.files.put_file(write_table(audio_table([b"x"]), tmp_path, "parquet", rows=1), uri)
    locations = [AudioLocation(uri=uri), AudioLocation(uri=uri, length=3)]
    locations.append(AudioLocation(uri=uri, row=0, column="audio"))
    for location in locations:
        s3.proxy.fail(ACCESS_DENIED)
        with pytest.raises(BadRecording, match="unreadable file"):
            read_audio(location)
        s3.proxy.heal()
        s3.proxy.fail(EXPIRED_TOKEN)
        with pytest.raises(StoragePermanentError, match="credentials"):
            read_audio(location)
        s3.proxy.heal()
        assert read_audio(location)
