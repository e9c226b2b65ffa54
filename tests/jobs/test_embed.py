"""Tests jobs.embed: what is refused, what it prints, and that killed calls are continued to the same rows."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch

from mulan.collection.embeddings import CollectionEmbeddings
from mulan.recipes.miniature import MINILM
from mulan.tasks.joint import JointTask
from tests.evaluation.small_model import RECIPE
from tests.jobs.called import Job, assert_refused
from tests.preparation.sources_of_tests import tones
from tests.search.planted import planted_vectors, write_planted
from tests.sounds import flac, tone


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported") / "model"
    folder.mkdir()
    JointTask(RECIPE).export(JointTask(RECIPE).build_model(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of six recordings, of which one is damaged and one is empty."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(5):
        soundfile.write(folder / f"{number}.wav", tone(200 + 50 * number, 1.2, seed=number), 16_000)
    (folder / "4.wav").rename(folder / "4.flac")
    (folder / "4.flac").write_bytes(flac(tone(500, 1.2))[:12_000])
    (folder / "5.mp3").touch()
    return folder


def test_vectors_of_another_collection_are_not_replaced(job: Job, model_uri: str, music: Path, tmp_path: Path) -> None:
    out = write_planted(tmp_path / "vectors", planted_vectors(3)).uri
    manifest = Path(out, "embeddings.json")
    manifest.write_text(manifest.read_text().replace('"data": ""', '"data": "folder=/other"'))
    code, _, err = job("embed", "--model", model_uri, "--data", str(music), "--out", out, "--dry-run")
    assert code == 2
    assert f"{out} has the vectors of folder=/other, which those of folder={music} would replace" in err
    manifest.unlink()
    assert job("embed", "--model", model_uri, "--data", str(music), "--out", out, "--dry-run")[0] == 0


def test_a_dry_run_says_what_would_be_embedded_and_writes_nothing(
    job: Job, model_uri: str, music: Path, tmp_path: Path
) -> None:
    code, out, err = job("embed", "--model", model_uri, "--data", str(music), "--out", "vectors", "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"model   {Path(model_uri).parent.name}: vectors of 8 numbers, windows of 0.5 s",
        f"source  folder={music}: 5 recordings",
        "        left out, empty file: 1",
        f"          5: {music}/5.mp3",
        "parts   1 of 1 are missing, with 5 recordings",
        f"would embed 5 recordings, and write them to {tmp_path}/vectors",
    ]
    again = ("--data", str(music), "--out", "vectors", "--dry-run", "--max-skipped-share", "0")
    code, out, err = job("embed", "--model", model_uri, *again)
    assert (code, out.splitlines()[-1]) == (2, f"          5: {music}/5.mp3")
    assert f"1 of the 6 recordings of folder={music} cannot be embedded" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ray_cluster")
def test_skipped_recordings_are_named_and_the_others_stay(
    job: Job, model_uri: str, music: Path, tmp_path: Path
) -> None:
    command = ("embed", "--model", model_uri, "--data", str(music), "--out", "vectors", "--max-actors", "1")
    code, out, err = job(*command)
    assert code == 2
    assert err.startswith(f"error: 2 of the 6 recordings of folder={music} cannot be embedded; repair or remove them,")
    assert "  - 4: truncated audio: " in err
    assert f"  - empty file: 5: {music}/5.mp3" in err
    assert "next" not in out
    assert not (tmp_path / "vectors/embeddings.json").exists()
    code, out, err = job(*command, "--max-skipped-share", "0.4")
    assert (code, err) == (0, "")
    assert "parts   0 of 1 are missing, with 0 recordings" in out
    assert "embed  already there" in out
    assert f"next    python -m jobs.index --embeddings {tmp_path}/vectors --out FOLDER" == out.splitlines()[-1]
    found = CollectionEmbeddings.open("vectors")
    assert found.manifest.skipped == {"truncated audio": 1, "empty file": 1}
    ((ids, uris),) = [(batch["recording_id"], batch["uri"]) for batch in found.batches()]
    assert ids.to_pylist() == ["0", "1", "2", "3"]
    assert uris.to_pylist() == [f"{music}/{number}.wav" for number in range(4)]


def test_faults_are_listed_at_once(job: Job, model_uri: str) -> None:
    wrong = (
        "--data",
        "s3:/x",
        "--out",
        "nowhere://y",
        "--set",
        "table.audo=x",
        "--min-actors",
        "3",
        "--max-actors",
        "2",
    )
    named = ("--data 's3:/x'", "--out 'nowhere://y'", "table.audo", "--max-actors 2 is less than --min-actors 3")
    assert_refused(job("embed", "--model", model_uri, *wrong), *named)
    out = ("--out", "vectors")
    assert_refused(
        job("embed", "--model", "nomodel", "--data", "nodata", *out),
        "nomodel: there is no such folder",
        "there is no folder",
    )
    assert_refused(job("embed", "--model", model_uri, "--data", ".", *out), "contains no audio files")
    assert_refused(job("embed", "--model", model_uri, "--data", "a.csv", *out), "a.csv is no table")
    assert_refused(
        job("embed", "--model", model_uri, "--data", ".", "--out", "/dev/null"), "/dev/null cannot be written"
    )


def test_an_encoder_of_text_alone_is_refused(job: Job, music: Path) -> None:
    arguments = ("--model", f"text={MINILM}", "--data", str(music), "--out", "vectors")
    assert_refused(job("embed", *arguments), "it embeds no audio; name another model")


@pytest.mark.parametrize(
    ("option", "value"), [("--max-skipped-share", "2"), ("--min-actors", "0"), ("--dtype", "int8")]
)
def test_values_out_of_range_are_refused(job: Job, option: str, value: str) -> None:
    code, _, err = job("embed", "--model", "m", "--data", "d", "--out", "o", option, value)
    assert code == 2
    assert option in err


@pytest.mark.long(group="jobs")
@pytest.mark.processes
def test_a_command_that_is_killed_three_times_gives_the_same_rows(tmp_path: Path, model_uri: str) -> None:
    tones(tmp_path / "music", 600, seconds=30)
    command = [sys.executable, "-m", "jobs.embed", "--model", model_uri, "--data", str(tmp_path / "music")]
    command += ["--windows", "--recordings-per-part", "8", "--out"]
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True, timeout=500)
    out, generator = tmp_path / "killed", random.Random(7)
    known = 0
    for _ in range(3):
        process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL)
        _wait_for_a_new_part(out, known, process)
        time.sleep(generator.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        known = len(list(out.glob("part-*")))
        assert not (out / "embeddings.json").exists()
    subprocess.run([*command, str(out)], check=True, timeout=500)
    found = [CollectionEmbeddings.open(str(folder)) for folder in (out, tmp_path / "undisturbed")]
    assert found[0].manifest == found[1].manifest
    assert found[0].count == 600
    for one, other in zip(*(each.batches() for each in found), strict=True):
        assert one.equals(other)
    names = [sorted(path.name for path in folder.iterdir()) for folder in (out, tmp_path / "undisturbed")]
    assert names[0] == names[1]
    shutil.rmtree(tmp_path / "music")


def _wait_for_a_new_part(out: Path, known: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(3000):
        if len(list(out.glob("part-*"))) > known:
            return
        assert process.poll() is None, "the command ended too early to be killed"
        time.sleep(0.05)
    raise AssertionError("no part was written")
