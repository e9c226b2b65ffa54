"""The package of a job: a zip of local files that becomes the job's working folder on the cluster."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mulan.storage.filesystem import printable
from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError
from mulan.submission.selection import Selection, select_folder, select_named

MIB = 2**20
MARKER = ".packed-by-mulan"
"""A file at the top of every package; Ray would unpack the only folder of a package that has none there."""
_LARGEST, _NAMED = 10, 5
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can store


@dataclass(frozen=True)
class Package:
    """A packed working folder. Equal files make equal bytes, so that Ray uploads and unpacks them once."""

    content: bytes
    """The zip."""
    paths: tuple[PurePosixPath, ...]
    """Its files, relative to the working folder."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the zip."""
        return hashlib.sha256(self.content).hexdigest()


def packed(command: Command, *, folder: Path | None, max_mib: float) -> tuple[Package | None, list[str]]:
    """Returns the files that a command needs: a folder, or else the files that it names below the current one.

    Args:
        command: The command; its relative paths are relative to the folder.
        folder: The folder of ``--working-dir``; None if only named files are packed.
        max_mib: Limit of the total size of the files in MiB.

    Returns:
        The package, None if the command names no local file; and what was left out and may be missed, in lines.

    Raises:
        SubmissionError: The files are too large or cannot be read; names the largest ones.
    """
    base = folder or Path()
    files, folders = command.named_files(base)
    selection = select_folder(folder, named=files) if folder else select_named(base, files)
    missed = [] if folder else [PurePosixPath(each.as_posix()) for each in folders]
    notes = [*_notes(selection), *_listed(missed, "is a folder here, which is not packed without --working-dir")]
    if not selection.sizes:
        if folder:
            raise SubmissionError([f"--working-dir {folder}: has no file to pack"])
        return None, notes
    if selection.total_bytes > max_mib * MIB:
        raise SubmissionError([_too_large(selection, max_mib)])
    return Package(_zipped(selection), tuple(selection.sizes)), notes


def _too_large(selection: Selection, max_mib: float) -> str:
    largest = ", ".join(f"{path} ({size / MIB:.1f} MiB)" for path, size in selection.largest(_LARGEST))
    return (
        f"the {len(selection.sizes)} files to pack have {selection.total_bytes / MIB:.1f} MiB, more than {max_mib:g}: "
        f"put data in the storage that the cluster reads, leave files out by .gitignore, or raise --max-package-mib; "
        f"the largest: {largest}"
    )


def _notes(selection: Selection) -> Iterator[str]:
    yield from _listed(selection.secrets, "may hold secrets and is left out; give it by --env or on the cluster")
    yield from _listed(selection.links, "is a link that leaves the folder, or to a folder, and is left out")
    yield from _listed(selection.special, "is no regular file and is left out")


def _listed(paths: Sequence[PurePosixPath], why: str) -> Iterator[str]:
    if not paths:
        return
    named = ", ".join(printable(str(path)) for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    yield f"{named}{more}: {why if len(paths) == 1 else 'each ' + why}"


def _zipped(selection: Selection) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(_entry(PurePosixPath(MARKER), executable=False), b"")
        for path in selection.sizes:
            where = selection.folder / path
            try:
                content, mode = where.read_bytes(), where.stat().st_mode
            except OSError as error:
                raise SubmissionError([f"{where}: cannot be read: {error.strerror}"]) from error
            archive.writestr(_entry(path, executable=bool(mode & 0o100)), content)
    return buffer.getvalue()


def _entry(path: PurePosixPath, *, executable: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(str(path), date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    return entry
