"""Reading of text files that others publish, whose damaged copies are named instead of being half read."""

from mulan.config.errors import MulanError
from mulan.storage import filesystem

LFS_POINTER = "version https://git-lfs.github.com/spec/"
"""Beginning of what is there instead of a file that Git LFS has not fetched."""
IS_LFS_POINTER = "is the pointer of a Git LFS file, not the file, which git lfs pull fetches"
"""What is wrong with such a file."""


class UnusableTextFile(MulanError, ValueError):
    """There is no such text file, or it is damaged. The message names the file, the line if it is known, and the
    remedy."""


def read_text_file(uri: str, *, remedy: str) -> str:
    """Reads a text file, without its byte order mark.

    Args:
        uri: Path or URI of the file.
        remedy: Where to get the file, for messages.

    Raises:
        UnusableTextFile: There is no such file, or it is empty, is the pointer of a file that Git LFS has not fetched,
            is the target of a symbolic link that was copied as text, is a web page, or is not UTF-8.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    try:
        content = filesystem.read_bytes(uri)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UnusableTextFile(f"there is no file {uri}; {remedy}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        fault = "not UTF-8: it is compressed, or another program changed it"
        raise UnusableTextFile(f"{uri}, line {line}: {fault}; {remedy}") from error
    if (other := _stands_in(text)) is not None:
        raise UnusableTextFile(f"{uri} {other}; {remedy}")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnusableTextFile(f"{uri}, line {line}: zeros instead of text, the file is damaged; {remedy}")
    return text


def _stands_in(text: str) -> str | None:
    """Returns what is there instead of a file; None if it may be the file."""
    beginning = text[:200].strip()
    if not text.strip():
        return "is empty"
    if beginning.startswith(LFS_POINTER):
        return IS_LFS_POINTER
    if beginning.lower().startswith(("<!doctype html", "<html")):
        return "is a web page, not the file"
    if len(text) < 200 and "\n" not in beginning and beginning.endswith((".tsv", ".csv", ".json", ".txt")):
        return f"is a symbolic link that was copied as text, not the file, which is {beginning}"
    return None
