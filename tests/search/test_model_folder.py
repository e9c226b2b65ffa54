"""A folder with another model than that of an index is refused before anything is loaded."""

from pathlib import Path

import pytest

from mulan.evaluation.encoders.registry import open_encoder
from mulan.search.errors import OtherModel, UnusableIndex
from mulan.search.manifest import IndexManifest
from mulan.search.model_folder import check_model_folder
from tests.search.planted import MODEL


def test_only_the_folder_of_the_model_is_accepted(model_uri: str, tmp_path: Path) -> None:
    manifest = IndexManifest(model=MODEL, windows=False, approximate_above=0)
    with pytest.raises(OtherModel, match="the index /index has vectors of /models/planted"):
        check_model_folder(model_uri, manifest, "/index")
    sha256 = open_encoder(model_uri, device="cpu").info.sha256
    check_model_folder(model_uri, manifest.replace(model=MODEL.replace(sha256=sha256)), "/index")
    with pytest.raises(UnusableIndex, match="which does not exist; name the folder of the model"):
        check_model_folder(str(tmp_path / "none"), manifest, "/index")
