"""Digests of the content of encoders, by which their vectors are cached."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Returns the SHA-256 of the content of a local file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(folder: Path, names: Iterable[str]) -> str:
    """Returns the SHA-256 of files, of their names and their content, in hexadecimal.

    Args:
        folder: Local folder.
        names: Paths of the files relative to the folder, in any order.
    """
    return text_sha256(*(part for name in sorted(names) for part in (name, file_sha256(folder / name))))


def folder_sha256(folder: Path) -> str:
    """Returns the SHA-256 of all files in a local folder and its subfolders, except hidden ones, in hexadecimal."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return files_sha256(folder, (name for name in names if not any(part.startswith(".") for part in name.split("/"))))


def text_sha256(*parts: str) -> str:
    """Returns the SHA-256 of texts, which differs if one of them does, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode()
        digest.update(f"{len(content)}\n".encode() + content)
    return digest.hexdigest()
