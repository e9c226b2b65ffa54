"""Applications of searches that run in this process, on a port of the loopback interface."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from mulan.serving.app import create_app
from mulan.serving.service import SearchService
from mulan.serving.settings import ServerSettings
from tests.serving.collection import TestCollection

_START_S = 60.0


def service_of(collection: TestCollection) -> SearchService:
    settings = ServerSettings(index_uri=collection.index_uri, model=collection.model_uri)
    return SearchService(settings)


@contextmanager
def serving(collection: TestCollection) -> Iterator[str]:
    """Serves a collection in a thread, and yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(create_app(service_of(collection)), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + _START_S
        while not server.started and time.monotonic() < end:
            time.sleep(0.05)
        assert server.started
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(_START_S)
