"""A run whose corpus and storage are a real S3 API, on loopback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from mulan.config.recipe import load_recipe
from mulan.config.recipes import named_recipes
from mulan.data import storage
from mulan.training.run import Run
from tests.processes import run_in_processes
from tests.training.inline import train_inline

SETTINGS = ["train.steps=4", "train.checkpoint_every_steps=2", "train.validation_micro_batches=0"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """A file system on an S3 API of this process, which is also that of processes started from here."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield s3fs.S3FileSystem()
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def job(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *arguments], capture_output=True, text=True, timeout=500
    )


def test_the_same_numbers_on_s3_and_on_disk(tiny_corpus: str, tmp_path: Path, s3: s3fs.S3FileSystem) -> None:
    s3.mkdir("jobs-corpora")
    s3.mkdir("jobs-runs")
    s3.put(f"{tiny_corpus}/", "jobs-corpora/tones/", recursive=True)
    where = ["--storage", "s3://jobs-runs/all", "--name", "first"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    trained = job("train", "--recipe", "demo_miniature", "--data", "s3://jobs-corpora/tones", *where, *settings)
    assert trained.returncode == 0, trained.stdout + trained.stderr

    recipe = load_recipe("demo_miniature", named_recipes(), SETTINGS, data_uri=tiny_corpus)
    local, _ = run_in_processes(train_inline, 1, recipe, str(tmp_path / "run"), folder=tmp_path / "out")[0]
    losses = [line["loss"] for line in Run("s3://jobs-runs/all", "first").metrics()]
    assert len(losses) == 4
    assert losses == pytest.approx([line["loss"] for line in local], rel=1e-5)

    evaluated = job("evaluate", *where)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    for name in ("model/model.safetensors", "report.json", "report.html", "checkpoint_000000004/manifest.json"):
        assert s3.exists(f"jobs-runs/all/first/{name}"), name


@pytest.mark.usefixtures("s3")
def test_a_range_past_the_end_is_what_it_is_on_disk(s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    s3.mkdir("bucket")
    content = bytes(range(100))
    s3.pipe_file("bucket/shard.tar", content)
    (tmp_path / "shard.tar").write_bytes(content)
    for uri in ("s3://bucket/shard.tar", str(tmp_path / "shard.tar")):
        reads = storage.read_ranges([uri] * 5, [0, 90, 100, 10**9, 10], [10, 20, 10, 512, 2**60])
        assert reads == [content[:10], content[90:], b"", b"", content[10:]]
        (absent,) = storage.read_ranges([uri + "s"], [0], [1])
        assert isinstance(absent, FileNotFoundError)


def test_a_bucket_that_is_not_there_is_one_readable_error(tiny_corpus: str) -> None:
    where = ["--storage", "s3://nowhere/runs", "--name", "first"]
    done = job("train", "--recipe", "demo_miniature", "--data", tiny_corpus, *where)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
