"""Tests search spaces by name and from files."""

from pathlib import Path

import pytest

from mulan.recipes.registry import load_recipe
from tests.tune.sweeps import SPACE
from tune.domains import NumberInterval, Values
from tune.space import SpaceError, load_space, space_from_toml


def test_a_file_gives_domains_by_quoted_or_nested_paths(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(SPACE)
    space = load_space(str(file), load_recipe("demo"))
    assert dict(space.domains) == {
        "audio_tower.stem_channels": Values("choice", (4, 8)),
        "optim.lr": NumberInterval("loguniform", 1e-4, 1e-2),
        "optim.warmup_steps": NumberInterval("randint", 0, 3),
    }
    assert list(space.domains) == sorted(space.domains)
    assert space.to_json()["optim.warmup_steps"] == {"randint": [0, 3]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", r"has no table \[space\]"),
        ("[space]\n", r"has no table \[space\]"),
        ("space = 3", r"has no table \[space\]"),
        ("[space", "is not TOML"),
        ('[space]\n"optim.lr" = 0.1', r"optim.lr = 0.1 is not a domain"),
        ('[space]\n"a.b" = { grid = [1] }\na.b = { grid = [2] }', "a.b is given twice"),
        ('[space]\n"train.steps=9#" = { grid = [1] }', "'train.steps=9#' is not the path of a field"),
        ('[space]\n"optim.lr " = { grid = [1] }', "'optim.lr ' is not the path of a field"),
        ('[space]\n"a\\u001b[31m" = { grid = [1] }', "is not the path of a field"),
        (f"[space]\n{'.'.join('a' * 5000)} = {{ grid = [1] }}", "is not a domain"),
        (f"[space]\na = {{ grid = [{'9' * 5000}] }}", "is not TOML"),
        ('[trials]\n[space]\n"a" = { grid = [1] }', r"trials is not a table of a space; give \[space\]"),
    ],
)
def test_invalid_files_are_explained(text: str, fault: str) -> None:
    with pytest.raises(SpaceError, match=fault):
        space_from_toml(text, name="s.toml")


def test_all_faults_are_listed_up_to_a_bound() -> None:
    with pytest.raises(SpaceError) as raised:
        space_from_toml("[space]\na = 1\nb = { uniform = [1, 1] }", name="s.toml")
    assert str(raised.value).startswith(
        "space s.toml has 2 errors:\n  - a = 1 is not a domain\n  - b: uniform = [1, 1]"
    )
    many = SpaceError("s", [f"fault {number}" for number in range(30)])
    assert len(many.faults) == 30
    assert str(many).splitlines()[-2:] == ["  - fault 19", "  - and 10 more"]


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe("demo")
    with pytest.raises(SpaceError, match="no such space; did you mean loss_weights"):
        load_space("loss_weight", recipe)
    with pytest.raises(SpaceError, match="cannot be read: No such file"):
        load_space(str(tmp_path / "none.toml"), recipe)
    with pytest.raises(SpaceError, match="is not a local file"):
        load_space("s3://bucket/space.toml", recipe)
    with pytest.raises(SpaceError, match="this recipe has nothing to vary in it"):
        load_space("loss_weights", recipe)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(SpaceError, match="is not TOML"):
        load_space(str(tmp_path / "latin.toml"), recipe)
