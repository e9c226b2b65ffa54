"""Tests the licences that folders of pretrained models state."""

from pathlib import Path

import pytest

from mulan.storage.licence import Licence, read_licence


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags:\n- music\n---\n# MERT", "cc-by-nc-4.0"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\nlicense_name: coqui\n---\n", "coqui"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [music]\n---\nlicense: mit\n", ""),
        ("license: mit\n", ""),
        ("---\nlicense: [unclosed\n---\n", ""),
        ("---\n- a list\n---\n", ""),
        ("", ""),
    ],
)
def test_name_in_the_model_card(card: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert read_licence(tmp_path) == Licence(name, "")


def test_text_of_the_file(tmp_path: Path) -> None:
    assert str(read_licence(tmp_path)) == "no licence stated"
    (tmp_path / "LICENSE").write_bytes(b"Do good. \xff")
    licence = read_licence(tmp_path)
    assert (licence.name, licence.text) == ("", "Do good. \N{REPLACEMENT CHARACTER}")
    assert str(licence) == "licence in its file LICENSE"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert str(read_licence(tmp_path)) == "licence mit"
