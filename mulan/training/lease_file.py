"""What the files of a lease say: one for each driver that a run has had, ``lease/GENERATION.json`` in its folder.

The newest generation holds the run. A file is made by one driver alone (:mod:`mulan.data.exclusive`) and written by
none but that one afterwards, so a generation belongs to a driver for good. They stay: they are few, and they tell which
machine had the run when.
"""

import json
import re
import time
import uuid
from dataclasses import asdict, dataclass, field, replace

from mulan.data import storage
from mulan.training.process_identity import ProcessIdentity


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

    def in_words(self) -> str:
        """Who it is, and since when."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"process {self.process.pid} on {self.process.host}, since {since}"

    def content(self) -> bytes:
        """The file's."""
        return json.dumps(asdict(self), indent=2).encode()


@dataclass(frozen=True)
class Seen:
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

    def in_words(self) -> str:
        """Who holds it, and since when."""
        holder = self.holder
        return "a driver that is just starting" if holder is None else holder.in_words()


def newest(folder_uri: str) -> Seen | None:
    """The newest generation's file, or None where there is none.

    Raises:
        StorageError: storage does not answer.
    """
    # listed, and not asked for by name: an NFS client answers from its cache that a name is not there
    names = [name for name in storage.names_in(folder_uri) if re.fullmatch(r"\d{9}\.json", name)]
    if not names:
        return None
    name = max(names)
    try:
        return Seen(int(name.removesuffix(".json")), storage.read_bytes(storage.join(folder_uri, name)))
    except FileNotFoundError:  # somebody removes the run's folder
        return None


def file_uri(folder_uri: str, generation: int) -> str:
    """Where a generation's file stands."""
    return storage.join(folder_uri, f"{generation:09d}.json")
