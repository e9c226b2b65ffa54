"""A folder with another model than that of an index is refused before anything is loaded."""

from pathlib import Path

import pytest

from mulan.evaluation.encoders.registry import open_encoder
from mulan.search.errors import OtherModel, UnusableIndex
from mulan.search.manifest import IndexManifest
from mulan.search.model_spec import check_model_folder, query_model
from tests.search.planted import MODEL


def test_only_the_folder_of_the_model_is_accepted(model_uri: str, tmp_path: Path) -> None:
    manifest = IndexManifest(model=MODEL, windows=False, approximate_above=0)
    with pytest.raises(OtherModel, match="the index /index has vectors of /models/planted"):
        check_model_folder(model_uri, manifest, "/index")
    sha256 = open_encoder(model_uri, device="cpu").info.sha256
    check_model_folder(model_uri, manifest.replace(model=MODEL.replace(sha256=sha256)), "/index")
    with pytest.raises(UnusableIndex, match="which does not exist; give the folder of the model"):
        check_model_folder(str(tmp_path / "none"), manifest, "/index")


def test_code_that_an_index_names_is_not_run() -> None:
    manifest = IndexManifest(model=MODEL.replace(uri="python=other:functions"), windows=False, approximate_above=0)
    with pytest.raises(UnusableIndex, match="which is code; if you trust it, give it by --model"):
        query_model(None, manifest, "/index")
    assert query_model("python=other:functions", manifest, "/index") == "python=other:functions"
    assert query_model(None, manifest.replace(model=MODEL), "/index") == "/models/planted"
    assert query_model("exported=s3://bucket/model", manifest, "/index") == "exported=s3://bucket/model"
    assert query_model("clap=model", manifest, "/index") == f"clap={Path.cwd() / 'model'}"
    assert query_model("hub:laion/clap", manifest, "/index") == "hub:laion/clap"
