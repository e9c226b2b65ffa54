"""Tests the listing of the audio folders of public data sets."""

from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.official_audio import list_audio


def test_the_audio_of_a_folder_is_listed(tmp_path: Path) -> None:
    for name in ("b/2.mp3", "1.wav", "1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(list_audio("kind=path", str(tmp_path), remedy="unpack it")) == ["1.wav", "b/2.mp3"]


@pytest.mark.parametrize("name", ["absent", "file", "file/below"])
def test_a_missing_folder_is_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=f"source kind=path: there is no folder .*/{name}; unpack it"):
        list_audio("kind=path", str(tmp_path / name), remedy="unpack it")
