"""Recordings and tars for tests of a corpus."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import tone_recording

SPLITS = ["train"] * 5 + ["validation", "test"]
RECORDINGS = [tone_recording(number, split) for number, split in enumerate(SPLITS)]

PLAIN_IDS = ["Für Elise (1810)", "夜曲", "n" * 200, "rock/01", "jazz/01", "a_b", "two words"]
ODD_IDS = {
    "02. Intro": "02%2E Intro",
    "a.b.c": "a%2Eb%2Ec",
    "../../etc/passwd": "%2E%2E/%2E%2E/etc/passwd",
    "/root": "%2Froot",
    "a//b": "a%2F%2Fb",
    "a/": "a%2F",
    "._a": "%2E_a",
    "50%": "50%25",
    "50%25": "50%2525",
    "line\nbreak": "line%0Abreak",
    "c:\\music": "c:%5Cmusic",
    "__key__": "%5F_key__",
}
"""Ids that are not valid keys of WebDataset, with the keys under which they are written."""

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def recording_in_tar(stem: str, form: int, **header: object) -> bytes:
    """Returns the tar members of a recording without an end mark."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for extension, content in (("flac", b"sound" * 300), ("json", b'{"texts": {}}')):
            member = tarfile.TarInfo(f"{stem}.{extension}")
            member.size = len(content)
            for name, value in header.items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(content))
        return buffer.getvalue()[: tar.offset]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], **how: Any) -> str:
    with tarfile.open(path, "w", **how) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)
