"""Tests jobs.prepare on folders as people have them: what is found, what is refused, and interrupted calls."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mulan.data.corpus.index import Corpus
from tests.jobs.called import Job, assert_refused
from tests.preparation.sources_of_tests import tones
from tests.preparation.test_prepare import corpus_of
from tests.sounds import tone


def write_folder(folder: Path) -> None:
    """Writes what people have: several formats with tags, a video with a cover, and files that cannot be used."""
    for number, extension in enumerate(["mp3", "flac", "ogg", "wav"] * 4):
        path = folder / f"artist {number % 5}" / f"{number:02d} - A+B 100% {number}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(150 + 20 * number, 3.0, rate_hz=44_100, seed=number), 44_100)
    _encode(folder / "song ünïcode.m4a", "aac", {"title": "Blue in m4a", "artist": "Somebody", "genre": "Jazz"})
    _encode(folder / "with video.mp4", "aac", {"title": "A film"}, video=True)
    (folder / "broken.mp3").write_bytes(bytes(range(256)) * 20)
    (folder / "empty.ogg").touch()
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")


def _encode(path: Path, codec: str, metadata: dict[str, str], *, video: bool = False) -> None:
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=44_100)
        pictures = container.add_stream("mpeg4", rate=5) if video else None
        if pictures is not None:
            pictures.width = pictures.height = 64
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        sound = tone(1000 if video else 700, 2.0, rate_hz=44_100)[None]
        audio = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        audio.sample_rate = 44_100
        container.mux(stream.encode(audio))
        container.mux(stream.encode(None))


def test_a_dry_run_says_what_would_be_made_and_writes_nothing(job: Job, tmp_path: Path) -> None:
    write_folder(tmp_path / "music")
    code, out, err = job("prepare", "--source", "folder=music", "--out", "corpus", "--dry-run")
    assert (code, err) == (0, "")
    assert f"source  folder={tmp_path}/music: 19 recordings" in out
    assert "left out, empty file: 1" in out
    assert f"{tmp_path}/music/empty.ogg" in out
    assert f"would write 19 recordings to {tmp_path}/corpus: 1 of 1 shards are missing" in out
    assert not (tmp_path / "corpus").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_mixed_folder_becomes_a_corpus(job: Job, tmp_path: Path) -> None:
    write_folder(tmp_path / "music")
    code, out, err = job("prepare", "--source", "folder=music", "--out", "corpus")
    assert (code, err) == (0, "")
    corpus = Corpus.open(str(tmp_path / "corpus"))
    assert corpus.table.num_rows == 18
    assert "left out, undecodable audio: 1" in out
    assert "broken" in out
    assert "\ncorpus  18 recordings, " in out
    assert "song ünïcode" in corpus.table["recording_id"].to_pylist()
    assert "genre:jazz" in [tag for tags in corpus.table["tags"].to_pylist() for tag in tags]
    report = json.loads((tmp_path / "corpus/preparation/report.json").read_text(encoding="utf-8"))
    assert report["recordings"] == 18
    code, out, _ = job("prepare", "--source", "folder=music", "--out", "corpus")
    assert code == 0
    assert "prepare  already there" in out


def test_faults_of_the_command_line_are_listed_at_once(job: Job) -> None:
    assert_refused(
        job("prepare", "--source", "foldr=music", "--source", "tabel=x.csv", "--out", "corpus"),
        "did you mean folder?",
        "did you mean table?",
    )
    assert_refused(job("prepare", "--source", "folder=m", "--out", "c", "--set", "clip.start=0"), "clip.start")
    assert_refused(job("prepare", "--source", "folder=nowhere", "--out", "corpus", "--dry-run"), "nowhere")
    assert_refused(
        job("prepare", "--source", "folder=.", "--out", "/dev/null", "--dry-run"), "/dev/null cannot be written"
    )


def test_a_corpus_from_other_sources_is_not_replaced_by_accident(job: Job, tmp_path: Path) -> None:
    (tmp_path / "corpus/preparation").mkdir(parents=True)
    (tmp_path / "corpus/index.parquet").write_bytes(b"the only copy")
    code, _, err = job("prepare", "--source", "folder=music", "--out", "corpus")
    assert code == 2
    assert "name another folder by --out" in err
    assert (tmp_path / "corpus/index.parquet").read_bytes() == b"the only copy"


@pytest.mark.long(group="jobs")
@pytest.mark.processes
def test_a_command_that_is_killed_three_times_makes_the_same_bytes(tmp_path: Path) -> None:
    tones(tmp_path / "music", 600, seconds=20)
    command = [sys.executable, "-m", "jobs.prepare", "--source", f"folder={tmp_path}/music"]
    options = ["--set", "recordings_per_shard=8"]
    begun = time.monotonic()
    subprocess.run([*command, "--out", str(tmp_path / "undisturbed"), *options], check=True, timeout=300)
    seconds = time.monotonic() - begun
    out, generator = tmp_path / "killed", random.Random(7)
    shards = []
    for _ in range(3):
        process = subprocess.Popen([*command, "--out", str(out), *options], stdout=subprocess.DEVNULL)
        _wait_for_a_new_shard(out, len(shards), process)
        time.sleep(generator.uniform(0, seconds / 8))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        shards = list((out / "shards").iterdir())
        assert not (out / "index.parquet").exists()
    subprocess.run([*command, "--out", str(out), *options], check=True, timeout=300)
    assert corpus_of(out) == corpus_of(tmp_path / "undisturbed")
    assert len(corpus_of(out)) > 50
    assert list(out.glob(".being-written-*")) == []


def _wait_for_a_new_shard(out: Path, known: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if len(list((out / "shards").glob("*.tar"))) > known:
            return
        assert process.poll() is None, "the command ended too early to be killed"
        time.sleep(0.1)
    raise AssertionError("no shard was written")
