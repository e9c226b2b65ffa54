"""The manifest of an index is read back, and its faults are named."""

from pathlib import Path

import pytest

from mulan.search.errors import OtherModel, UnusableIndex
from mulan.search.manifest import MANIFEST_NAME, IndexManifest
from tests.search.planted import MODEL

MANIFEST = IndexManifest(model=MODEL, windows=True, approximate_above=10)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(str(tmp_path))
    assert IndexManifest.read(str(tmp_path)) == MANIFEST


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "cannot be read"),
        ("[]", "damaged, or of another version"),
        ("{}", "model"),
        (MANIFEST.model_dump_json().replace("index-v1", "index-v2"), "format"),
        (MANIFEST.model_dump_json().replace('"dim":8', '"dim":0'), "dim"),
        ("\ud800".encode(errors="surrogatepass"), "cannot be read"),
    ],
)
def test_a_damaged_manifest_is_named_with_its_fault(tmp_path: Path, content: str | bytes, named: str) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UnusableIndex, match=r"make it with jobs\.index") as caught:
        IndexManifest.read(str(tmp_path))
    assert named in str(caught.value)
    assert MANIFEST_NAME in str(caught.value)


def test_only_the_model_of_the_index_is_accepted() -> None:
    MANIFEST.check_model(MODEL.sha256, "/elsewhere", "/index")
    with pytest.raises(OtherModel, match="the index /index has vectors of /models/planted"):
        MANIFEST.check_model("cd" * 32, "/elsewhere", "/index")
