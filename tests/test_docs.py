"""Tests that the paths, modules, commands, recipe fields and links in the README files and in .github/ exist."""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from mulan.config.recipe import Recipe

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", ".github", ".make", "cluster", "jobs", "mulan", "tests", "tune")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
CHANGELOG = ".github/CHANGELOG.md"

CREATED_BY_RUNS = re.compile(
    r"runs(/(demo|first|fuzz|music)(/.*)?)?/?|(lease|anomalies|profile|hangs|trackers|tensorboard|wandb)/"
    r"|preparation/results/"
)
"""Paths that the documents name and that commands create."""
OF_OTHERS = {"config/prometheus/podMonitor.yaml": "a file of KubeRay's repository"}
"""Paths that the documents name and that belong to other projects."""

PATH = re.compile(
    r"(?:[\w.-]+/)*(?:[\w.-]+\.(?:py|md|yaml|yml|lock)|Makefile|Dockerfile|pyproject\.toml)|(?:[\w.-]+/)+"
)
DOTTED = re.compile(r"(?<![\w./-])(?:mulan|jobs|tune|tests)(?:\.\w+)+")
PLACEHOLDER = re.compile(r"(?!README|CONTRIBUTING|CHANGELOG)(?<![a-z])[A-Z]{2,}")


def quoted(markdown: str) -> list[str]:
    """Returns the contents of code blocks and code spans."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", markdown, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^ *```\w*\n.*?^ *```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return blocks + [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", rest)]


def current(markdown: str) -> str:
    """Returns a changelog without the names of the past: of the tables only the last column, with whole names."""
    rows = [
        line.rstrip().rstrip("|").rpartition("|")[2] if line.startswith("|") else line for line in markdown.split("\n")
    ]
    package = ""

    def whole(span: re.Match[str]) -> str:
        nonlocal package
        name = span[1]
        if name.startswith("mulan."):
            package = name.rpartition(".")[0]
        elif re.fullmatch(r"\.\w+", name):
            name = package + name
        return f"`{name.removesuffix('.*')}`"

    return re.sub(r"`([^`\n]+)`", whole, "\n".join(rows))


@functools.cache
def existing_paths() -> frozenset[str]:
    """Returns all paths of the tree and all their endings from a folder on; those of folders end with a slash."""
    paths = [path for folder in FOLDERS for path in [ROOT / folder, *(ROOT / folder).rglob("*")]]
    endings = set()
    for path in [*ROOT.glob("*.*"), ROOT / "Makefile", *paths]:
        parts = path.relative_to(ROOT).parts
        endings |= {"/".join(parts[start:]) + "/" * path.is_dir() for start in range(len(parts))}
    return frozenset(endings)


def missing_paths(text: str) -> Iterator[str]:
    """Yields the paths in a text with which no path of the tree ends: documents also name files by their package."""
    for word in (word.strip("(),;:'\"") for word in text.split()):
        excluded = PLACEHOLDER.search(word) or CREATED_BY_RUNS.fullmatch(word) or word in OF_OTHERS
        if PATH.fullmatch(word) and not excluded and word.removeprefix("../") not in existing_paths():
            yield word


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """Returns the names that a module defines or imports, and its string constants, which name lazy imports."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return frozenset(names | {str(node.value) for node in nodes if isinstance(node, ast.Constant)})


def module_file(name: str) -> Path | None:
    """Returns the file of a module, or of a package's ``__init__``."""
    path = ROOT / name.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def is_defined(name: str) -> bool:
    """Returns whether a dotted name is that of a module or package, or of something that a module defines."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        if file := module_file(".".join(parts[:count])):
            return count == len(parts) or parts[count] in names_in(file)
    return False


def missing_names(text: str) -> Iterator[str]:
    """Yields the dotted names of this project's modules, and of what is imported from them, that are not defined."""
    names = DOTTED.findall(text)
    for module, imported in re.findall(
        r"^ *from ((?:mulan|jobs|tune|tests)[\w.]*) import ([\w, ]+)", text, re.MULTILINE
    ):
        names += [f"{module}.{name.strip()}" for name in imported.split(",")]
    yield from (name for name in names if not any(map(str.isupper, name.split("."))) and not is_defined(name))


def can_be_run(module: str) -> bool:
    """Returns whether ``python -m`` can run a module; of those of others, whether they are installed."""
    file = module_file(f"{module}.__main__") or module_file(module)
    if file is None:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    return file.stem == "__main__" or "__main__" in names_in(file)


def missing_commands(text: str) -> Iterator[str]:
    """Yields the ``python -m`` modules that cannot be run, and the make targets that the Makefile lacks."""
    for module in re.findall(r"python\S* -m ([\w.]+)", text):
        if not can_be_run(module):
            yield f"python -m {module}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in re.findall(r"(?:^|\s)make((?: +(?:[A-Z]+=\S+|[a-z-]+))+)", text, re.MULTILINE):
        target = next((word for word in words.split() if "=" not in word), None)
        if target not in {*targets, None}:
            yield f"make {target}"


def has_field(annotation: Any, names: Sequence[str]) -> bool:
    """Returns whether a section of a recipe, or one of a union of sections, has a field; a map has every key."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return not names or (names[0] in fields and has_field(fields[names[0]].annotation, names[1:]))
    return not names or get_origin(annotation) is dict or any(has_field(each, names) for each in get_args(annotation))


def missing_fields(text: str) -> Iterator[str]:
    """Yields the fields that recipes lack, of those after ``--set`` and of texts that are the name of a field alone."""
    fields = re.findall(r"--set ([\w.]+)=", text) + re.findall(r"^(\w+(?:\.\w+)+)(?:=.*)?$", text)
    for field in fields:
        names = [name for name in field.split(".") if not PLACEHOLDER.search(name)]
        if names[0] in Recipe.model_fields and names[-1] != "py" and not has_field(Recipe, names):
            yield field


def anchors(markdown: str) -> set[str]:
    """Returns the anchors of the headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    """Yields the relative links of a document whose file or heading does not exist."""
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8")):
        file = document.parent / target if target else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            yield f"{target}#{anchor}"


def missing(markdown: str) -> Iterator[str]:
    """Yields what the code blocks and code spans of a document name and what does not exist."""
    for text in quoted(markdown):
        for check in (missing_paths, missing_names, missing_commands, missing_fields):
            yield from check(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document: Path) -> None:
    markdown = document.read_text(encoding="utf-8")
    if document == ROOT / CHANGELOG:
        markdown = current(markdown)
    assert list(missing(markdown)) == []
    assert list(broken_links(document)) == []


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        ("`data/plan.py`, `plan.py` and `data/drawn.py`", ["data/drawn.py"]),
        ("`tests/nowhere/` and `lease/`", ["tests/nowhere/"]),
        ("`mulan.MuLan`, `mulan.data.plan` and `mulan.data.plan.Nothing`", ["mulan.data.plan.Nothing"]),
        ("```python\nfrom mulan.data.plan import Plan, Plans\n```", ["mulan.data.plan.Plans"]),
        ("`python -m jobs.train --recipe demo`, `python -m jobs.joining`", ["python -m jobs.joining"]),
        ("`make PYTHON=python3.12 demo`, `make everything`", ["make everything"]),
        ("`train.steps`, `scale.env.ANY=1`, `audio_tower.pretrained`, `--set optim.rate=1`", ["optim.rate"]),
    ],
)
def test_what_does_not_exist_is_reported(text: str, stale: list[str]) -> None:
    assert list(missing(text)) == stale


def test_names_of_the_past_in_a_changelog_are_left_out() -> None:
    table = (
        "Renamed `mulan.data.plan`:\n| before | now |\n|---|---|\n| `mulan.a.b`, `.c` | `mulan.data.reader`, `.plan` |"
    )
    assert quoted(current(table)) == ["mulan.data.plan", "mulan.data.reader", "mulan.data.plan"]
