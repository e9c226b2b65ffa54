"""What the files of a lease say: one for each driver that a run has had, ``lease/GENERATION.json`` in its folder.

The newest generation holds the run. A file is made by one driver alone (:mod:`mulan.runs.lease_files`) and written by
none but that one afterwards, so a generation belongs to a driver for good. They stay: they are few, and they tell which
machine had the run when.
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

from mulan.storage import filesystem, local
from mulan.storage.errors import s3_code

_STATE, _STARTED = 0, 19
"""Places in ``/proc/PID/stat`` behind the program's name, as proc_pid_stat(5) counts them from the third."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by its number, and by what makes the number unique."""

    host: str
    pid: int
    machine: str
    """The boot and the PID namespace in which the number holds; empty where the system tells neither."""
    started: int
    """Clock ticks from the boot to the process's start: numbers are used again."""

    @classmethod
    def of_this_one(cls) -> "ProcessIdentity":
        """The process that calls."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _machine(), int((_status(pid) or {}).get("started", 0)))

    def has_ended(self) -> bool:
        """Whether it is known to have ended; False of one of another machine or container."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _machine()):
            return False
        status = _status(self.pid)
        if status is None:  # not there, or another user's, of whom this system may tell nothing
            return not _is_there(self.pid)
        return status["state"] in "ZX" or status["started"] != str(self.started)


def _machine() -> str:
    with suppress(OSError):  # a system without /proc
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _status(pid: int) -> dict[str, str] | None:
    """Returns what the system tells of a process, or None where it tells nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return {"state": fields[_STATE], "started": fields[_STARTED]}


def create(uri: str, content: bytes) -> bool:
    """Writes a file unless one of that name is there; whether this call wrote it.

    Of several processes one alone is told that it did: on a disk (NFS included), on S3, GCS and Azure. Other storage,
    and object stores that do not keep to S3's ``If-None-Match``, may tell it to two that come at the same moment; then
    the content of the last stays. Where the answer was lost the call is told that it did not, so it should look whose
    content is there.

    Raises:
        StorageError, StoragePermanentError: it could not be written.
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
            if error.errno == errno.ENOSYS:  # an object store that refuses the condition
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
    """A driver, and how it stands with the run's lease."""

    process: ProcessIdentity
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Unlike that of any other, also of the same process."""
    since: float = field(default_factory=time.time)
    """Seconds since 1970, by its own clock."""
    renewed: float = field(default_factory=time.time)
    """The same; for whoever reads the file. Two hosts' clocks are never compared."""
    renewals: int = 0
    released: bool = False

    def renewal(self, *, released: bool = False) -> "Holder":
        """Returns what the same driver writes a while later."""
        return replace(self, renewals=self.renewals + 1, renewed=time.time(), released=released)

    def describe(self) -> str:
        """Who it is, and since when."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"process {self.process.pid} on {self.process.host}, since {since}"

    def content(self) -> bytes:
        """The file's."""
        return json.dumps(asdict(self), indent=2).encode()


@dataclass(frozen=True)
class LeaseFile:
    """The newest file as it was found."""

    generation: int
    content: bytes

    @property
    def holder(self) -> Holder | None:
        """None where the file is not whole: it may be on its way."""
        try:
            values = json.loads(self.content)
            return Holder(**(values | {"process": ProcessIdentity(**values["process"])}))
        except (ValueError, TypeError, KeyError):
            return None

    def describe(self) -> str:
        """Who holds it, and since when."""
        holder = self.holder
        return "a driver that is just starting" if holder is None else holder.describe()


def newest(folder_uri: str) -> LeaseFile | None:
    """The newest generation's file, or None where there is none.

    Raises:
        StorageError: storage does not answer.
    """
    # listed, and not asked for by name: an NFS client answers from its cache that a name is not there
    names = [name for name in filesystem.names_in(folder_uri) if re.fullmatch(r"\d{9}\.json", name)]
    if not names:
        return None
    name = max(names)
    try:
        return LeaseFile(int(name.removesuffix(".json")), filesystem.read_bytes(filesystem.join(folder_uri, name)))
    except FileNotFoundError:  # somebody removes the run's folder
        return None


def file_uri(folder_uri: str, generation: int) -> str:
    """Where a generation's file stands."""
    return filesystem.join(folder_uri, f"{generation:09d}.json")
