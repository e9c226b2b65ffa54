"""Common fixtures: one Ray cluster for the whole test run, small corpora of tones, and S3 with failures."""

import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# before DeepSpeed is imported or a worker starts; --gpu removes it
os.environ.setdefault("DS_ACCELERATOR", "cpu")
# before torch is imported, for all processes of tests: on busy cores, the threads of a process would spin while they
# wait for another thread that is not running
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_AUTH_MODE"] = "disabled"
# before Ray is imported: code that needs Ray fails without one, instead of starting one or joining another's
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

import fsspec
import s3fs
import torch

from mulan.config.sections import ScaleConfig
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.launch.cluster import connect
from mulan.storage.machine_cache import CACHE_VARIABLE
from tests.evaluation.small_model import RECIPE
from tests.s3_proxy import FaultyS3
from tests.sounds import flac, tone

pytest_plugins = ["tests.selection", "tests.summary", "pytester"]


def pytest_configure() -> None:
    # background processes of shell scripts ignore SIGINT, and processes that tests start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs a GPU, and --gpu"))


PITCHES = {"low": 110.0, "middle": 440.0, "high": 1760.0, "very high": 3520.0}
"""Frequencies in Hz of the tones of the test corpora, by name."""


def tone_recording(number: int, split: str, *, unfiltered: bool = False) -> Recording:
    names = list(PITCHES)
    name = names[number % len(names)]
    seconds = 2.0 + number % 3
    noise = {f"{form}_unfiltered": [f"{name} tone, subscribe!", name] for form in ("short_form", "long_form")}
    return Recording(
        recording_id=f"tone-{number:03d}",
        audio=flac(tone(PITCHES[name] * (1 + 0.01 * (number % 7)), seconds, seed=number)),
        extension="flac",
        duration_s=seconds,
        split=split,
        texts={
            "short_form": [f"{name} tone", name],
            "long_form": [f"A steady {name} tone with a little noise, take {number}."],
            "playlist": [f"{name} tones for testing"],
            "audioset": ["Sine wave", name.capitalize()],
            **(noise if unfiltered else {}),
        },
        tags=[f"pitch:{name}", "genre:tone" if number % 2 else "genre:drone"],
        provenance=f"synthesized, seed {number}",
        licence="CC0-1.0",
    )


@pytest.fixture(scope="session", autouse=True)
def _weights_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sets a weights cache of the test run, also for the processes that it starts."""
    os.environ[CACHE_VARIABLE] = str(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the URI of a corpus of 48 tones: 32 for training, 8 for validation, 8 for test."""
    uri = str(tmp_path_factory.mktemp("tones") / "corpus")
    splits = ["train"] * 32 + ["validation"] * 8 + ["test"] * 8
    write_corpus((tone_recording(i, split) for i, split in enumerate(splits)), uri, recordings_per_shard=20)
    return uri


@pytest.fixture(scope="session")
def tiny_corpus_with_unfiltered_texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the URI of a corpus of 32 tones for training that has texts of all sources."""
    uri = str(tmp_path_factory.mktemp("tones") / "unfiltered")
    write_corpus((tone_recording(i, "train", unfiltered=True) for i in range(32)), uri)
    return uri


@pytest.fixture(scope="session")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the folder of a small exported joint model of no skill."""
    from mulan.tasks.joint import JointTask

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    JointTask(RECIPE).export(JointTask(RECIPE).build_model(), folder)
    return str(folder)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Starts a local Ray cluster for the whole test run."""
    import ray

    connect(ScaleConfig(workers=2, data_cpus=2))
    yield
    ray.shutdown()


@pytest.fixture
def run_folder(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@dataclass(frozen=True)
class S3:
    """A bucket of an S3 API on this machine, behind a proxy that can make it fail."""

    uri: str
    proxy: FaultyS3
    files: s3fs.S3FileSystem
    """File system that bypasses the proxy."""


@pytest.fixture(scope="session")
def faulty_s3() -> Iterator[tuple[FaultyS3, s3fs.S3FileSystem]]:
    """Starts an S3 API and a proxy in this process; yields the proxy, and a file system that bypasses it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with FaultyS3((host, port)) as proxy:
        yield proxy, s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}", use_listings_cache=False)
    server.stop()


@pytest.fixture
def s3(faulty_s3: tuple[FaultyS3, s3fs.S3FileSystem], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Creates an empty bucket; this process and those that it starts access S3 through the proxy."""
    proxy, files = faulty_s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{uuid.uuid4().hex}"
    files.mkdir(bucket)
    for seen in (proxy.requests, proxy.sent, proxy.access_keys):
        seen.clear()
    yield S3(f"s3://{bucket}", proxy, files)
    proxy.heal()


@pytest.fixture(params=["local", "memory"])
def storage_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yields the URI of a storage on the local disk, and of one on another file system."""
    if request.param == "local":
        yield str(tmp_path / "runs")
        return
    uri = f"memory://runs-{uuid.uuid4().hex}"
    yield uri
    fs, path = fsspec.core.url_to_fs(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


@pytest.fixture(scope="session")
def narrow_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the folder of a text encoder of two layers with 12 features.

    With the pretrained encoder, steps spend most of their time on token embeddings, which are copied and summed between
    workers.
    """
    from tests.training.small import save_bert

    # a matrix of each layer has more than 100,000 parameters, so that DeepSpeed at stage 3 gathers it for every use and
    # releases it again
    sizes = {"hidden_size": 12, "intermediate_size": 8400, "num_attention_heads": 2, "num_hidden_layers": 2}
    return save_bert(tmp_path_factory.mktemp("bert"), **sizes)
