"""Tests what jobs.prepare and jobs.describe say about S3, and that credentials are in no file, line or error."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from mulan.config.errors import MulanError
from mulan.storage import filesystem, retries
from tests.conftest import S3
from tests.jobs.called import Job, assert_refused
from tests.preparation.prepared import contents, leaking, make, requested
from tests.preparation.sources_of_tests import tones
from tests.s3_proxy import ACCESS_DENIED, EXPIRED_TOKEN, NO_SUCH_BUCKET, SLOW_DOWN, Answer

KEY, SECRET, TOKEN = "AKIASENTINELKEY", "sentinel/secret+word=", "sentinel-session-token"
SECRETS = (KEY, SECRET, TOKEN)
WRONG_KEY = Answer(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
WRONG_SECRET = Answer(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")


@pytest.fixture(params=["environment", "profile"])
def credentials(
    request: pytest.FixtureRequest, s3: S3, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Sets credentials in the environment or in a file of profiles, for new connections."""
    values = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    if request.param == "environment":
        for name, value in values.items():
            monkeypatch.setenv(name, value)
    else:
        file = tmp_path_factory.mktemp("aws") / "credentials"
        file.write_text("[music]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in values.items()))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        monkeypatch.setenv("AWS_PROFILE", "music")
        for name in values:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def put_tones(s3: S3, folder: Path) -> str:
    tones(folder / "music", 4, seconds=1.0)
    s3.files.put(f"{folder}/music/", f"{s3.uri}/my music/", recursive=True)
    return f"folder={s3.uri}/my music/"


@pytest.mark.usefixtures("credentials")
def test_the_usual_credentials_are_used_and_are_nowhere_in_a_corpus(job: Job, s3: S3, tmp_path: Path) -> None:
    source, out = put_tones(s3, tmp_path), f"{s3.uri}/corpus"
    s3.proxy.access_keys.clear()
    code, printed, errors = job("prepare", "--source", source, "--out", out, "--dry-run")
    assert (code, errors) == (0, "")
    assert f"source  folder={s3.uri}/my music: 4 recordings" in printed
    assert f"would write 4 recordings to {out}: 1 of 1 shards are missing" in printed
    assert s3.files.ls(s3.uri, detail=False) == [f"{s3.uri.removeprefix('s3://')}/my music"]
    prepared = requested([source], out)
    s3.proxy.fail(SLOW_DOWN, times=2)
    make(prepared)
    code, described, errors = job("describe", out, "--page", f"{s3.uri}/page.html")
    assert (code, errors) == (0, "")
    assert "4 recordings" in described
    code, as_json, _ = job("describe", f"{out}/", "--json")
    assert json.loads(as_json)["recordings"] == 4
    files = contents(s3.uri)
    assert {"corpus/preparation/settings.json", "corpus/preparation/recordings.parquet", "page.html"} < files.keys()
    assert leaking(SECRETS, files | {"printed": (printed + described + as_json).encode()}) == []
    assert s3.proxy.access_keys == {KEY}


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (WRONG_KEY, "credentials"),
        (WRONG_SECRET, "credentials"),
        (EXPIRED_TOKEN, "credentials"),
        (ACCESS_DENIED, "access is denied"),
        (NO_SUCH_BUCKET, "the bucket does not exist"),
    ],
)
def test_errors_name_the_cause_and_no_credentials(
    answer: Answer, named: str, job: Job, s3: S3, caplog: pytest.LogCaptureFixture
) -> None:
    s3.proxy.fail(answer)
    source = f"folder={s3.uri}/music"
    for arguments in (["--dry-run"], []):
        code, out, err = job("prepare", "--source", source, "--out", f"{s3.uri}/corpus", *arguments)
        assert code == 2
        assert re.match(rf"error: .*{re.escape(s3.uri)}", err)
        assert named in err
        assert "Traceback" not in err
        assert len(err.splitlines()) == 1
        assert leaking(SECRETS, {"printed": (out + err + caplog.text).encode()}) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://{KEY}:{SECRET}@bucket/music",
        f"s3://{KEY}:{SECRET}@bucket",
        f"s3a://{KEY}:{SECRET}@bucket/my music",
        f"s3:/{KEY}:{SECRET}@bucket/music",
        f"https://{KEY}:{SECRET}@host/music",
        f"s3://{KEY}:{SECRET}/music",
    ],
)
def test_uris_with_credentials_are_refused_without_repeating_them(uri: str, job: Job) -> None:
    calls = [
        ["prepare", "--source", f"folder={uri}", "--out", "corpus"],
        ["prepare", "--source", uri, "--out", "corpus"],
        ["prepare", "--source", f"folder={uri}/a", "--source", f"table={uri}/b", "--out", uri],
        ["prepare", "--source", "folder=music", "--out", uri],
        ["prepare", "--source", "folder=music", "--out", "corpus", "--exclude", uri],
        ["prepare", "--source", "table=x.csv", "--out", "corpus", "--set", f"table.audio_folder={uri}"],
        ["prepare", "--source", "table=x.csv", "--out", "corpus", "--set", f'text.filter="{uri}"'],
        ["describe", uri],
        ["train", "--recipe", "demo_miniature", "--data", uri, "--name", "first", "--dry-run"],
        ["train", "--recipe", "demo_miniature", "--data", "corpus", "--storage", uri, "--name", "first"],
        ["train", "--recipe", "demo_miniature", "--set", f"data.uri={uri}", "--name", "first", "--dry-run"],
        ["export", "--storage", uri, "--name", "first"],
        ["evaluate", "--storage", uri, "--name", "first"],
    ]
    for call in calls:
        refused = job(*call)
        assert_refused(refused, "***")
        assert leaking(SECRETS, {" ".join(call): (refused[1] + refused[2]).encode()}) == []


def test_credentials_in_a_table_are_not_repeated(job: Job, tmp_path: Path) -> None:
    tones(tmp_path / "music", 4)
    rows = [f"s3://{KEY}:{SECRET}@bucket/x.flac", "tone-000.flac", "tone-001.flac", "tone-002.flac"]
    (tmp_path / "music/table.csv").write_text("path\n" + "\n".join(rows))
    code, out, err = job("prepare", "--source", "table=music/table.csv", "--out", "corpus", "--dry-run")
    assert (code, err) == (0, "")
    assert "s3://***@bucket/x.flac: a URI must not contain keys" in out
    make(requested([f"table={tmp_path}/music/table.csv"], str(tmp_path / "corpus")))
    files = contents(str(tmp_path / "corpus"))
    assert "preparation/report.json" in files
    assert leaking(SECRETS, files | {"printed": out.encode()}) == []


def test_an_error_may_quote_a_presigned_url() -> None:
    signed = f"https://b/x.flac?X-Amz-Credential={KEY}%2F1&X-Amz-Date=1&X-Amz-Signature={TOKEN}"
    assert str(MulanError(f"{signed} is gone")) == (
        "https://b/x.flac?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=*** is gone"
    )
