"""The files of a lease, ``lease/GENERATION.json`` in the run's folder: one for each driver that the run has had.

The newest generation holds the lease. Only one driver can create a file (:func:`create`), and only that driver writes
it afterwards, so that a generation always belongs to the same driver. The files are few, and they are kept as a record
of which machine drove the run at what time.
"""

import errno
import json
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from mulan.config.parsing import parse_json
from mulan.storage import filesystem, local
from mulan.storage.errors import s3_code

_STATE, _STARTED = 0, 19
"""Indices of the fields of ``/proc/PID/stat`` after the program's name, that is, from the third of proc_pid_stat(5)."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id with the data that make it unique across machines, containers and reboots."""

    host: str
    pid: int
    machine: str
    """Boot id and PID namespace of the process; empty on a system without ``/proc``."""
    started: int
    """Start time of the process in clock ticks since boot, because process ids are reused."""

    @classmethod
    def current(cls) -> "ProcessIdentity":
        """Returns the identity of the calling process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _machine(), int((_status(pid) or {}).get("started", 0)))

    def has_ended(self) -> bool:
        """Returns whether the process is known to have ended; False for a process on another machine or container."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _machine()):
            return False
        status = _status(self.pid)
        if status is None:  # ended, or hidden by the system because it is another user's
            return not _process_exists(self.pid)
        return status["state"] in "ZX" or status["started"] != str(self.started)


def _machine() -> str:
    with suppress(OSError):  # a system without /proc
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # the process is another user's
        pass
    return True


def _status(pid: int) -> dict[str, str] | None:
    """Returns the state and the start time of a process from ``/proc``; None if it has no entry there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return {"state": fields[_STATE], "started": fields[_STARTED]}


def create(uri: str, content: bytes) -> bool:
    """Writes a file unless it exists, and returns whether this call wrote it.

    If several processes call it, exactly one call returns True on a disk (including NFS), S3, GCS and Azure. On other
    storage, and on object stores that ignore S3's ``If-None-Match``, two simultaneous calls may both return True, and
    the content that was written last remains. If the response to a successful write is lost, the call returns False, so
    callers should read the content.

    Raises:
        StorageError, StoragePermanentError: The file could not be written.
    """
    fs, path = filesystem.url_to_fs(uri)
    written = True

    def write() -> None:
        nonlocal written
        if isinstance(fs, LocalFileSystem):
            written = local.create(path, content)
            return
        try:
            fs.pipe_file(path, content, mode="create")
        except OSError as error:
            if error.errno == errno.ENOSYS:  # an object store without conditional writes
                written = not filesystem.exists(uri)
                if written:
                    fs.pipe_file(path, content)
            elif isinstance(error, FileExistsError) or s3_code(error) == "PreconditionFailed":
                written = False
            else:
                raise

    filesystem.write_with_retries(uri, write)
    return written


@dataclass(frozen=True)
class Holder:
    """A driver and the state of its lease, which are the content of a lease file."""

    process: ProcessIdentity
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Id that is unique to the lease, even among several leases of one process."""
    since: float = field(default_factory=time.time)
    """Start of the lease as a Unix time in seconds, by the driver's clock."""
    renewed: float = field(default_factory=time.time)
    """Time of the last renewal as a Unix time in seconds, by the driver's clock. It is only for people who read the
    file: clocks of different hosts are never compared."""
    renewals: int = 0
    """Number of renewals, each of which changes the file."""
    released: bool = False
    """Whether the driver has released the lease."""

    def renewal(self, *, released: bool = False) -> "Holder":
        """Returns the holder after another renewal, with which the content of the file changes."""
        return replace(self, renewals=self.renewals + 1, renewed=time.time(), released=released)

    def describe(self) -> str:
        """Returns a description of the process and the start of its lease, for messages."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"process {self.process.pid} on {self.process.host}, since {since}"

    def content(self) -> bytes:
        """Returns the content of the lease file."""
        return json.dumps(asdict(self), indent=2).encode()


@dataclass(frozen=True)
class LeaseFile:
    """The newest file of a lease, as it was read."""

    generation: int
    content: bytes

    @property
    def holder(self) -> Holder | None:
        """Holder of the lease; None if the file is damaged or incomplete, for example while it is being written."""
        try:
            values = parse_json(self.content)
            holder = Holder(**(values | {"process": ProcessIdentity(**values["process"])}))
            for moment in (holder.since, holder.renewed):
                time.gmtime(float(moment))  # a time that can be shown
            return holder if isinstance(holder.process.pid, int) else None
        except (ValueError, TypeError, KeyError, OverflowError, OSError):
            return None

    def describe(self) -> str:
        """Returns a description of the holder, for messages."""
        holder = self.holder
        return "a driver that is just starting" if holder is None else holder.describe()


def newest(folder_uri: str) -> LeaseFile | None:
    """Returns the file of the newest generation; None if there is none.

    Raises:
        StorageError: The storage does not respond.
    """
    # listed instead of looked up by name: an NFS client caches that a name does not exist
    names = [name for name in filesystem.names_in(folder_uri) if re.fullmatch(r"\d{9}\.json", name)]
    if not names:
        return None
    name = max(names)
    try:
        return LeaseFile(int(name.removesuffix(".json")), filesystem.read_bytes(filesystem.join(folder_uri, name)))
    except FileNotFoundError:  # the run's folder is being removed
        return None


def file_uri(folder_uri: str, generation: int) -> str:
    """Returns the URI of the file of a generation."""
    return filesystem.join(folder_uri, f"{generation:09d}.json")
