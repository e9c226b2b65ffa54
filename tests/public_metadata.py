"""The official metadata files of public data sets, unpacked.

Their folder is named by MULAN_PUBLIC_METADATA; they are not part of this project because of their different licences.
"""

import fnmatch
import json
import lzma
import os
import shutil
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "MULAN_PUBLIC_METADATA"


def unpacked(name: str, folder: Path, *, pattern: str = "*") -> Path:
    """Copies a file or folder of the metadata to a folder, decompressed, and returns its path; skips without them.

    Args:
        name: Path of a file without ``.xz``, or of a folder, relative to the folder of the metadata.
        folder: Existing folder for the copy.
        pattern: Of a folder that is stored as one tar, only the files of which the paths match are copied.
    """
    root = _root()
    source, target = root / name, folder / Path(name).name
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                _copy(path, target / path.relative_to(source))
    elif (tar := root / f"{name}.tar.xz").is_file():
        with tarfile.open(tar) as content:
            members = [member for member in content if fnmatch.fnmatch(member.name.removeprefix("./"), pattern)]
            content.extractall(folder, members, filter="data")
    else:
        packed = source.with_name(f"{source.name}.xz")
        _copy(*((source, target) if source.is_file() else (packed, folder / packed.name)))
    return target


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".xz":
        shutil.copyfile(path, target)
    elif not path.name.endswith(".tar.xz"):
        target.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))


@cache
def expected_counts() -> dict[str, Any]:
    """Returns the numbers of recordings, artists and tags by data set and split, counted by another program."""
    return json.loads((_root() / "EXPECTED_COUNTS.json").read_text(encoding="utf-8"))


def _root() -> Path:
    root = os.environ.get(VARIABLE)
    if not root:
        pytest.skip(f"{VARIABLE} names no folder with the metadata of public data sets")
    return Path(root)
