"""A server of the files of a folder with the interface of S3, which answers each request after a delay.

``python -m mulan.benchmarks.slow_s3 FOLDER DELAY_S`` prints its port, and ends with its standard input. It holds all
files in memory and answers only what reads need, so that it takes little of the processor that it shares.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import fsspec

BUCKET = "corpus"

_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


@contextmanager
def slow_s3(folder: str, *, delay_s: float) -> Iterator[str]:
    """Serves a folder by a process of its own and yields its URI, for this process and those that it starts meanwhile.

    Args:
        folder: Local folder.
        delay_s: Time in seconds before each answer.
    """
    command = [sys.executable, "-m", __name__, folder, str(delay_s)]
    before = dict(os.environ)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            port = int(server.stdout.readline())
            os.environ.update(_ENVIRONMENT, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
            fsspec.get_filesystem_class(
                "s3"
            ).clear_instance_cache()  # its instances keep the endpoint that they were created with
            yield f"s3://{BUCKET}"
        finally:
            os.environ.clear()
            os.environ.update(before)
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            server.stdin.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    files: Mapping[str, bytes]
    delay_s: float

    def do_GET(self) -> None:
        time.sleep(self.delay_s)
        content = self.files.get(unquote(self.path.partition("?")[0]))
        if content is None:
            self._answer(404, _ERROR.format(code="NoSuchKey").encode())
        elif asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            if first > last:
                self._answer(416, _ERROR.format(code="InvalidRange").encode())
            else:
                self._answer(206, memoryview(content)[first : last + 1], f"bytes {first}-{last}/{len(content)}")
        else:
            self._answer(200, content)

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes | memoryview, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string(0))
        self.send_header("ETag", '"0"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has ended
            super().handle()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _serve(folder: str, delay_s: float) -> None:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    _Handler.files = {f"/{BUCKET}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}
    _Handler.delay_s = delay_s
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.block_on_close = True, False
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()  # ends with the process that started this one


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]))
