"""Tests that AudioSet's ontology is read, and that its damaged copies are named."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.ontology import described_classes
from mulan.storage.text_file import UnusableTextFile
from mulan.vocabularies.audioset_classes import class_list
from tests.public_metadata import unpacked

GENRES = class_list("gen_25").classes


def entries() -> list[dict[str, Any]]:
    described = [{"id": mid, "name": name, "description": f"About {name}. "} for mid, name in GENRES.items()]
    return [{"id": "/m/0", "name": "Speech", "description": ""}, *described]


def written(folder: Path, content: Any) -> str:
    path = folder / "ontology.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_classes_have_the_descriptions_of_the_ontology(tmp_path: Path) -> None:
    uri = written(tmp_path, entries())
    described = described_classes(uri, "gen_25")
    assert next(iter(described.descriptions.items())) == ("Pop music", "About Pop music.")
    assert len(described.descriptions) == 25
    assert described.sha256 == hashlib.sha256(Path(uri).read_bytes()).hexdigest()


def test_a_truncated_ontology_is_named_with_the_line_and_the_remedy(tmp_path: Path) -> None:
    text = json.dumps(entries(), indent=1)
    with pytest.raises(EvaluationError, match=r"ontology\.json, line \d+: not JSON, .* truncated .*; download"):
        described_classes(written(tmp_path, text[: len(text) // 2]), "gen_25")
    with pytest.raises(EvaluationError, match=r"- it is not a list of classes$"):
        described_classes(written(tmp_path, {"classes": entries()}), "gen_25")
    with pytest.raises(UnusableTextFile, match="Git LFS"):
        described_classes(written(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "gen_25")
    with pytest.raises(UnusableTextFile, match=r"there is no file .*; download ontology"):
        described_classes(str(tmp_path / "absent.json"), "gen_25")


def test_all_faults_are_named_at_once_and_at_most_twenty(tmp_path: Path) -> None:
    damaged = [*entries()[:3], {"id": "/m/0", "name": "Speech", "description": ""}, {"name": 1}, "x"]
    with pytest.raises(EvaluationError) as caught:
        described_classes(written(tmp_path, damaged), "gen_25")
    assert str(caught.value).splitlines()[1:] == [
        "  - class 4 has the id /m/0 of another one",
        "  - class 5 lacks id, name, description",
        "  - class 6 lacks id, name, description",
    ]
    with pytest.raises(EvaluationError) as caught:
        described_classes(written(tmp_path, entries()[:3]), "gen_25")
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[1].startswith("  - the class ") and lines[1].endswith(" is missing")
    assert lines[-1] == "  and 3 more"


def test_a_class_with_another_name_or_without_a_description_is_named(tmp_path: Path) -> None:
    changed = entries()
    changed[1]["name"], changed[2]["description"] = "Popular", " "
    with pytest.raises(EvaluationError) as caught:
        described_classes(written(tmp_path, changed), "gen_25")
    assert str(caught.value).splitlines()[1:] == [
        "  - the class Pop music (/m/064t9) is named Popular",
        "  - the class Hip hop music (/m/0glt670) has no description",
    ]


def test_the_genuine_ontology_describes_all_classes(tmp_path: Path) -> None:
    uri = str(unpacked("audioset/ontology/ontology.json", tmp_path))
    for name in ("gen_25", "mu_141_without_roles", "mu_141_without_moods"):
        described = described_classes(uri, name).descriptions  # type: ignore[arg-type]
        assert len(set(described.values())) == len(described) == len(class_list(name).classes)  # type: ignore[arg-type]
