"""Which files of a folder are packed for a job, and which are left out and why."""

import codecs
import os
import re
import stat
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from pathspec import GitIgnoreSpec

from mulan.submission.errors import SubmissionError

JUNK = frozenset(
    {
        *(".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "node_modules", ".idea", ".vscode", ".DS_Store"),
        *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".cache", ".ipynb_checkpoints", ".hypothesis"),
    }
)
"""Names of files and folders that no job needs: histories, environments and caches."""
RESULTS = frozenset({"runs", "wandb", "mlruns"})
"""Names of folders of results, at the top only: packages of Python have such names too."""
JUNK_PATTERNS = ("*.pyc", "*.pyo", "*.egg-info", "*~", "*.swp")
SECRETS = (
    *(
        "*.env",
        "*.env.*",
        "*.pem",
        "*.key",
        "*.p12",
        "*.pfx",
        "*.jks",
        "id_rsa*",
        "id_dsa*",
        "id_ecdsa*",
        "id_ed25519*",
    ),
    *(".netrc", ".pgpass", ".npmrc", ".pypirc", ".aws", ".ssh", ".gnupg", ".kube", ".docker", "kubeconfig*"),
    *("credentials", "*service-account*.json", "*service_account*.json", "*-key.json"),
    *(".git-credentials", ".boto", ".s3cfg", ".htpasswd", ".vault-token"),
    *(f"*credentials*.{kind}" for kind in ("csv", "ini", "json", "toml", "txt", "yaml", "yml")),
    *("secrets.csv", "secrets.ini", "secrets.toml", "secrets.txt", "*secret*.json", "*secret*.yaml", "*secret*.yml"),
)
"""Patterns of names, whatever their case, of files and folders that hold secrets."""
SECRET_FILES = ("token",)
"""Further patterns, of files only: a folder of such a name is more likely code."""
NO_SECRETS = (
    *("*.example", "*.sample", "*.template", "*.dist"),
    *("*.py", "*.pyi", "*.js", "*.ts", "*.go", "*.rs", "*.md", "*.rst"),
)
"""Patterns of names that hold no secret even if a pattern of secrets matches: templates of secrets, code and texts."""
IGNORE_FILE = ".gitignore"


@dataclass
class Selection:
    """The files that are packed, and what was left out for reasons that a user may not expect."""

    folder: Path
    sizes: dict[PurePosixPath, int] = field(default_factory=dict)
    """Sizes in bytes by path relative to the folder, in the order of the paths."""
    secrets: list[PurePosixPath] = field(default_factory=list)
    links: list[PurePosixPath] = field(default_factory=list)
    """Links that lead out of the folder, to folders, or to nothing."""
    special: list[PurePosixPath] = field(default_factory=list)
    """Sockets, pipes and devices."""

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes.values())

    def largest(self, count: int) -> list[tuple[PurePosixPath, int]]:
        """Returns the paths and sizes of the largest files, the largest first."""
        return sorted(self.sizes.items(), key=lambda item: (-item[1], item[0]))[:count]


def select_named(folder: Path, files: Iterable[Path]) -> Selection:
    """Returns the selection of single files that a command names, relative to a folder.

    Raises:
        SubmissionError: A file is a link that leads out of the folder, or cannot be read.
    """
    selection, faults = Selection(folder), []
    for file in sorted(files):
        path = PurePosixPath(file.as_posix())
        if not _is_within(folder / file, folder):
            faults.append(f"{folder / file}: is a link to a file outside of {folder}; copy the file into the folder")
        elif fault := _fault(folder, path):
            faults.append(f"{folder / file}: {fault}")
        else:
            selection.sizes[path] = (folder / file).stat().st_size
    if faults:
        raise SubmissionError(faults)
    return selection


def select_folder(folder: Path, *, named: Sequence[Path] = ()) -> Selection:
    """Returns the selection of a whole folder, without junk, secrets, what its ``.gitignore`` files ignore, and links
    that leave it.

    The ``.gitignore`` files of the folders above it count up to the root of the repository that it is in.

    Args:
        folder: The folder.
        named: Files, relative to the folder, that are packed in any case because the command names them.

    Raises:
        SubmissionError: The folder does not exist, or files or folders cannot be read; lists them.
    """
    if not os.path.isdir(folder):  # Path's method raises for names that are too long
        raise SubmissionError([f"--working-dir {folder}: is not a folder"])
    selection, faults = Selection(folder), []
    sizes = dict(select_named(folder, named).sizes)
    walk = os.walk(folder, onerror=lambda error: faults.append(f"{error.filename}: {error.strerror}"))
    ignored = _Ignored(folder)
    for place, folders, files in walk:
        here = PurePosixPath(Path(place).relative_to(folder).as_posix())
        for name in files:
            try:
                if _is_selected(selection, ignored, here / name, is_folder=False):
                    if fault := _fault(folder, here / name):
                        faults.append(f"{folder / here / name}: {fault}")
                    else:
                        sizes[here / name] = (folder / here / name).stat().st_size
            except FileNotFoundError:
                pass  # removed meanwhile
            except OSError as error:
                faults.append(f"{folder / here / name}: {error.strerror}")
        folders[:] = [name for name in folders if _is_selected(selection, ignored, here / name, is_folder=True)]
    if faults:
        raise SubmissionError(faults)
    selection.sizes = dict(sorted(sizes.items()))
    for paths in (selection.secrets, selection.links, selection.special):
        paths[:] = sorted(set(paths) - set(sizes))
    return selection


def _is_selected(selection: Selection, ignored: "_Ignored", path: PurePosixPath, *, is_folder: bool) -> bool:
    """Returns whether a file is packed or a folder entered; keeps the path if its absence could surprise."""
    where = selection.folder / path
    if _is_junk(path, is_folder) or ignored(path, is_folder):
        return False
    is_link = os.path.islink(where)
    # not that of a link to itself, or to a name that is too long, for which Path's method raises
    has_target = os.path.exists(where)
    # a link to a secret is packed as a file with its content
    if _is_secret(path.name, is_folder) or (is_link and has_target and _leads_to_secret(where, is_folder)):
        selection.secrets.append(path)
        return False
    if is_link and (is_folder or not has_target or not _is_within(where, selection.folder)):
        selection.links.append(path)
        return False
    if not is_folder and not stat.S_ISREG(where.stat().st_mode):
        selection.special.append(path)
        return False
    return True


def _is_junk(path: PurePosixPath, is_folder: bool) -> bool:
    if path.name in JUNK or (is_folder and len(path.parts) == 1 and path.name in RESULTS):
        return True
    return any(fnmatch(path.name.lower(), pattern) for pattern in JUNK_PATTERNS)


def _is_secret(name: str, is_folder: bool) -> bool:
    if any(fnmatch(name.lower(), pattern) for pattern in NO_SECRETS):
        return False
    return any(fnmatch(name.lower(), pattern) for pattern in (*SECRETS, *(() if is_folder else SECRET_FILES)))


def _leads_to_secret(link: Path, is_folder: bool) -> bool:
    target = link.resolve()
    return _is_secret(target.name, is_folder) or any(_is_secret(each.name, True) for each in target.parents)


def _fault(folder: Path, path: PurePosixPath) -> str:
    """Returns why a file cannot be packed; empty if it can."""
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        return "its name is not UTF-8; rename it"
    if "\\" in str(path):
        return "its name contains a backslash, which Ray does not unpack; rename it"
    return "" if os.access(folder / path, os.R_OK) else "cannot be read by this user"


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


class _Ignored:
    """Whether git ignores a path, by the ``.gitignore`` files of its folders, of which the innermost decides."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        above = [self._folder, *self._folder.parents]
        roots = [count for count, each in enumerate(above) if os.path.exists(each / ".git")]
        self._above = above[1 : roots[0] + 1] if roots else []

    def __call__(self, path: PurePosixPath, is_folder: bool) -> bool:
        where = self._folder / path
        inside = [self._folder / parent for parent in path.parents]
        for place in [*inside, *self._above]:
            if spec := self._spec(place):
                text = where.relative_to(place).as_posix() + "/" * is_folder
                decision = spec.check_file(text).include
                if decision is not None:
                    return decision
        return False

    def _spec(self, place: Path) -> GitIgnoreSpec | None:
        if place not in self._specs:
            self._specs[place] = _spec_of(place / IGNORE_FILE)
        return self._specs[place]


def _spec_of(file: Path) -> GitIgnoreSpec | None:
    """Returns what a ``.gitignore`` file ignores, read as git reads it; None if it does not exist.

    Raises:
        SubmissionError: The file cannot be read: what it ignores would be packed.
    """
    if not os.path.isfile(file):
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SubmissionError([f"{file}: cannot be read: {error.strerror}"]) from error
    patterns: list[Any] = []
    for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        # to git, a line ends where a string of C does; bytes that are not UTF-8 match those of names
        text = os.fsdecode(line.removesuffix(b"\r").partition(b"\0")[0])
        # to git, a pattern that means nothing, such as "!", matches nothing
        with suppress(ValueError, re.error), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of expressions made from patterns such as [[
            patterns += GitIgnoreSpec.from_lines([text]).patterns
    return GitIgnoreSpec(patterns)
