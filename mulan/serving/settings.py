"""What a search server is started with."""

from dataclasses import dataclass

MAX_CHARACTERS = 500
"""Maximum length of a text that is searched for."""
MAX_UPLOAD_BYTES = 20_000_000
"""Maximum size of a sound that is sent to the server."""
UPLOAD_TIMEOUT_S = 60.0
"""Maximum time in which a sound has to arrive."""
CPUS = 1
"""Number of CPUs of a server process, and of the threads with which it computes."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a search server is started with. It is sent to its processes."""

    index_uri: str
    """Absolute path or URI of the folder of the index."""
    model: str
    """``[KIND=]URI`` of the model, with an absolute path."""
    use_gpu: bool = False
    """Whether the model computes on a GPU."""
    token: str = ""
    """What clients have to send to be answered; empty if they need not."""
    hosts: tuple[str, ...] = ()
    """Names by which clients may call the server, as a protection against pages that make a browser call it by a name
    of theirs (DNS rebinding); empty for any."""
