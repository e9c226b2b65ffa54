"""Tests a run whose corpus, weights and storage are on a real S3 API, on loopback, with occasional failures."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.hub import pretrained_folder
from tests.conftest import S3
from tests.preparation.prepared import make, requested
from tests.preparation.sources_of_tests import tones
from tests.processes import run_in_processes
from tests.s3_proxy import INTERNAL_ERROR, SLOW_DOWN, Cut, Delay, FaultyS3
from tests.training.inline import train_inline

pytestmark = pytest.mark.processes

SETTINGS = ["train.steps=4", "train.checkpoint_every_steps=2", "train.validation_micro_batches=0"]


def job(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *arguments], capture_output=True, text=True, timeout=500
    )


@contextmanager
def bursts_of_faults(proxy: FaultyS3) -> Iterator[None]:
    """Makes requests fail for one of every three seconds during the block, in changing ways."""
    faults = itertools.cycle([INTERNAL_ERROR, Cut.BEFORE, SLOW_DOWN, Delay(0.5), Cut.WITHIN, Cut.AFTER])
    over = threading.Event()

    def burst() -> None:
        while not over.wait(2.0):
            proxy.fail(next(faults), seconds=1.0)

    thread = threading.Thread(target=burst, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        proxy.heal()


@pytest.mark.long(group="jobs")
def test_losses_on_s3_with_occasional_failures_equal_those_on_disk(tiny_corpus: str, tmp_path: Path, s3: S3) -> None:
    s3.files.put(f"{tiny_corpus}/", f"{s3.uri}/tones/", recursive=True)
    where = ["--storage", f"{s3.uri}/all", "--name", "first"]
    weights = f"{s3.uri}/weights/minilm"
    s3.files.put(f"{pretrained_folder(MINILM)}/", f"{weights}/", recursive=True)
    all_settings = [*SETTINGS, f"text_tower.pretrained={weights}"]
    settings = [word for setting in all_settings for word in ("--set", setting)]
    # the first two requests for each of these also fail, so that failures do not depend on how long the start takes
    for file in (
        "index.parquet",
        ".tar",
        "model.safetensors",
        "metrics.jsonl",
        "events.jsonl",
        "-00000-of-00002-",
        "manifest.json",
    ):
        s3.proxy.fail(INTERNAL_ERROR, file, times=2)
        s3.proxy.fail(Cut.WITHIN, file, times=2)
    with bursts_of_faults(s3.proxy):
        trained = job("train", "--recipe", "demo_miniature", "--data", f"{s3.uri}/tones", *where, *settings)
    assert trained.returncode == 0, trained.stdout + trained.stderr

    recipe = load_recipe("demo_miniature", SETTINGS, data_uri=tiny_corpus)
    local, _ = run_in_processes(train_inline, 1, recipe, str(tmp_path / "run"), folder=tmp_path / "out")[0]
    losses = [line["loss"] for line in Run(f"{s3.uri}/all", "first").metrics()]
    assert len(losses) == 4
    assert losses == [line["loss"] for line in local]

    evaluated = job("evaluate", *where)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    for name in ("model/model.safetensors", "report.json", "report.html", "checkpoint_000000004/manifest.json"):
        assert s3.files.exists(f"{s3.uri}/all/first/{name}"), name


@pytest.mark.long(group="jobs")
def test_a_corpus_prepared_on_s3_with_occasional_failures_equals_a_local_one(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of Ray, which decode and write, take the credentials from the file that the command takes them."""
    tones(tmp_path / "music", 24)
    s3.files.put(f"{tmp_path}/music/", f"{s3.uri}/my music/", recursive=True)
    (tmp_path / "credentials").write_text("[music]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "music")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3.proxy.access_keys.clear()
    for file in ("settings.json", "index.parquet", ".tar", "/results/", "/chunks/"):
        s3.proxy.fail(INTERNAL_ERROR, file, times=2)
        s3.proxy.fail(Cut.WITHIN, file, times=2)
    small = "recordings_per_shard=4"
    arguments = ["--source", f"folder={s3.uri}/my music/", "--out", f"{s3.uri}/corpus/", "--set", small]
    with bursts_of_faults(s3.proxy):
        prepared = job("prepare", *arguments)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    make(requested([f"folder={tmp_path}/music"], f"{tmp_path}/corpus", small))
    assert s3.proxy.access_keys == {"KEY"}
    monkeypatch.undo()
    local = {path.relative_to(tmp_path / "corpus").as_posix(): path.read_bytes() for path in corpus_files(tmp_path)}
    assert len(local) > 4
    assert {name: s3.files.cat_file(f"{s3.uri}/corpus/{name}") for name in local} == local


def corpus_files(folder: Path) -> list[Path]:
    return [folder / "corpus/index.parquet", *(folder / "corpus/shards").iterdir()]


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_one_readable_error(tiny_corpus: str) -> None:
    where = ["--storage", "s3://nowhere/runs", "--name", "first"]
    done = job("train", "--recipe", "demo_miniature", "--data", tiny_corpus, *where)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
