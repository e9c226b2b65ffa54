"""A proxy on the loopback interface between S3 clients and an S3 API, which injects faults."""

import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import assert_never


@dataclass(frozen=True)
class Answer:
    """An error response of S3; for its codes, see docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

    status: int
    code: str
    message: str

    def xml(self) -> bytes:
        text = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message><RequestId>1</RequestId></Error>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


INTERNAL_ERROR = Answer(500, "InternalError", "We encountered an internal error. Please try again.")
SLOW_DOWN = Answer(503, "SlowDown", "Please reduce your request rate.")
EXPIRED_TOKEN = Answer(400, "ExpiredToken", "The provided token has expired.")
ACCESS_DENIED = Answer(403, "AccessDenied", "Access Denied")
NO_SUCH_BUCKET = Answer(404, "NoSuchBucket", "The specified bucket does not exist")


@dataclass(frozen=True)
class Delay:
    """The correct response after a delay."""

    seconds: float


class Cut(Enum):
    """A reset of the connection, at a time given by the value."""

    BEFORE = "before the request is forwarded"
    WITHIN = "in the middle of the body of the request or, without one, of the response"
    AFTER = "after the request was forwarded, but before the response"


class Silence(Enum):
    """A connection that stays open without a response, as described by the value."""

    NO_ANSWER = "the request is read"
    NO_READING = "the body of the request is not read"


Fault = Answer | Delay | Cut | Silence


@dataclass
class _Plan:
    fault: Fault
    times: float
    until_s: float
    matching: tuple[str, ...]


class FaultyS3(AbstractContextManager["FaultyS3"]):
    """A context manager that runs the proxy.

    Attributes:
        url: URL of the proxy.
        port: Port of the proxy.
        upstream: Host and port of the S3 API.
        requests: The requests so far, each as ``METHOD path?query``.
        sent: Size in bytes of the bodies of all responses, by request.
        access_keys: Ids of the access keys with which requests were signed.
    """

    def __init__(self, upstream: tuple[str, int], *, port: int = 0) -> None:
        """
        Args:
            upstream: Host and port of the S3 API.
            port: Port of the proxy; 0 for any free one.
        """
        self.upstream = upstream
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self.requests: list[str] = []
        self.sent: Counter[str] = Counter()
        self.access_keys: set[str] = set()
        self.connections: set[socket.socket] = set()

        class Handler(_Handler):
            proxy = self

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "FaultyS3":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fail(self, fault: Fault, *matching: str, times: float = float("inf"), seconds: float = float("inf")) -> None:
        """Makes the next requests fail.

        Args:
            fault: The fault to inject.
            matching: Texts that must all occur in the ``METHOD path?query`` of a request.
            times: The maximum number of failing requests.
            seconds: The time after which requests succeed again.
        """
        with self._lock:
            self._plans.append(_Plan(fault, times, time.monotonic() + seconds, matching))

    def heal(self) -> None:
        """Ends all faults, including those of pending requests."""
        with self._lock:
            self._plans.clear()
            self._healed.set()
            self._healed = threading.Event()

    def _fault_of(self, request: str) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            self._plans = [one for one in self._plans if one.times > 0 and time.monotonic() < one.until_s]
            for plan in self._plans:
                if all(part in request for part in plan.matching):
                    plan.times -= 1
                    return plan.fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultyS3

    def _do(self) -> None:
        if signed := re.search(r"Credential=([^/]*)", self.headers.get("Authorization", "")):
            self.proxy.access_keys.add(signed[1])
        fault = self.proxy._fault_of(f"{self.command} {self.path}")
        if fault is Silence.NO_READING:
            self.proxy._healed.wait()
            return self._reset()
        length = int(self.headers.get("Content-Length", 0))
        if fault is Cut.WITHIN and length > 1:
            self.rfile.read(length // 2)
            return self._reset()
        body = self.rfile.read(length)
        match fault:
            case None:
                return self._send(*self._forward(body))
            case Answer():
                content = fault.xml()
                return self._send(fault.status, {"Content-Type": "application/xml"}, content, len(content))
            case Delay():
                self.proxy._healed.wait(fault.seconds)
                return self._send(*self._forward(body))
            case Cut.BEFORE:
                return self._reset()
            case Cut.WITHIN:
                status, headers, content, size = self._forward(body)
                if len(content) > 1:
                    self._send(status, headers, content[: len(content) // 2], size)
                    time.sleep(0.05)  # otherwise the reset would overtake the data
                return self._reset()
            case Cut.AFTER:
                self._forward(body)
                return self._reset()
            case Silence.NO_ANSWER:
                self.proxy._healed.wait()
                return self._reset()
        assert_never(fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _do

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes, int]:
        """Forwards a request, and returns status, headers, content and stated content length of the response."""
        upstream = http.client.HTTPConnection(*self.proxy.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        upstream.request(self.command, self.path, body or None, headers)
        answer = upstream.getresponse()
        content = answer.read()
        size = int(answer.headers.get("Content-Length", len(content)))
        unsent = ("connection", "content-length", "transfer-encoding", "server", "date")
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in unsent}
        upstream.close()
        return answer.status, kept, content, size

    def _send(self, status: int, headers: dict[str, str], content: bytes, size: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            with self.proxy._lock:
                self.proxy.sent[f"{self.command} {self.path}"] += len(content)
            self.wfile.write(content)
        self.wfile.flush()

    def _reset(self) -> None:
        """Closes the connection with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the connection was closed by the client or by the proxy
            self.close_connection = True

    def setup(self) -> None:
        super().setup()
        self.proxy.connections.add(self.connection)

    def finish(self) -> None:
        self.proxy.connections.discard(self.connection)
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass
