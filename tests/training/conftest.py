"""Fixtures of the tests of training."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from mulan.config.miniature import MINILM
from mulan.config.pretrained import pretrained_folder


@pytest.fixture(params=["local", "memory"])
def storage_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage of runs on this machine's disk, and one on another file system."""
    if request.param == "local":
        yield str(tmp_path / "runs")
        return
    uri = f"memory://runs-{uuid.uuid4().hex}"
    yield uri
    fs, path = fsspec.core.url_to_fs(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def save_bert(folder: Path, **sizes: int) -> str:
    """A text encoder with drawn weights and the tokenizer of the pretrained one; the folder's path."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(**sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(pretrained_folder(MINILM), local_files_only=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def narrow_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a text encoder of two layers of 12 features. Most of the time of a step of the pretrained one goes into
    its token embeddings, which are copied and added up between workers whatever is trained."""
    # a matrix of each layer is larger than what DeepSpeed at stage 3 keeps whole, 100,000 numbers: it is gathered for
    # every use and given up again
    sizes = {"hidden_size": 12, "intermediate_size": 8400, "num_attention_heads": 2, "num_hidden_layers": 2}
    return save_bert(tmp_path_factory.mktemp("bert"), **sizes)
