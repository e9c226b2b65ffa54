"""A server of the page without an index or a model, which finds recordings by the words of their titles and tags."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from mulan.serving.page import Query, render_page, render_results
from mulan.serving.schema import Collection, CollectionMap, Fault, Hit, Hits, MapPoint, Recording, TagCount
from tests.sounds import tone, wav

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
DURATION_S = 12.0
HITS = 10
TITLES = (
    ("Low & slow", "The Drones", "drone", "low"),
    ("A steady tone", "The Drones", "tone", "middle"),
    ("高い音", "東京の音", "tone", "high"),
    ('Quote " and </script><b>bold</b>', "", "tone", "low"),
    ("An exceedingly long title that no column of a page has room for, in C minor", "Various", "drone", "middle"),
    ("Night bus", "Ana & the Owls", "tone", "high"),
    ("Glass", "Ana & the Owls", "drone", "low"),
    ("Paper boats", "Ferry", "tone", "middle"),
)  # fmt: skip


def recordings(count: int) -> list[Recording]:
    """Returns recordings, of which some have ids with slashes, spaces, quotes and other scripts."""
    made = []
    for number in range(count):
        title, artist, genre, pitch = TITLES[number % len(TITLES)]
        recording_id = f"folder {number % 3}/{title[:6]} {number}"
        # louder towards the middle, with beats
        seconds = np.linspace(0, 1, 200)
        loud = 255 * np.sin(np.pi * seconds) ** 0.5 * (0.45 + 0.4 * np.abs(np.sin(40 * seconds + number)))
        made.append(
            Recording(
                recording_id=recording_id,
                title=title if number < len(TITLES) else f"{title}, take {number}",
                artist=artist,
                duration_s=DURATION_S,
                tags=[f"genre:{genre}", f"pitch:{pitch}"],
                waveform=[int(value) for value in loud],
                audio=f"/audio/{quote(recording_id, safe='')}",
            )
        )
    return made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "StubServer"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        folder, _, name = path[1:].partition("/")
        if path in ("/", "/results"):
            render = render_page if path == "/" else render_results
            asked = self._query(query)
            self._answer(
                200, "text/html; charset=utf-8", render(self.server.collection, asked, self.server.find(asked))
            )
        elif folder == "static":
            package = "mulan.pages" if name == "style.css" else "mulan.serving"
            file = resources.files(package).joinpath(name if name == "style.css" else f"static/{name}")
            self._answer(200, TYPES[name.rpartition(".")[2]], file.read_bytes())
        elif path == "/api/map":
            self._answer(200, "application/json", self.server.map().model_dump_json())
        elif path.startswith("/api/recordings/"):
            found = self.server.by_id[unquote(path.removeprefix("/api/recordings/"))]
            self._answer(200, "application/json", found.model_dump_json())
        elif folder == "audio":
            self._stream(self.server.sound)
        else:
            self._answer(404, "application/json", json.dumps({"detail": "There is no such page."}))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self._query(parse_qs(urlsplit(self.path).query))
        is_sound = content.startswith((b"RIFF", b"\x1aE\xdf\xa3"))  # WAV, WebM
        outcome = self.server.find(asked) if is_sound else Fault(detail="The sound cannot be decoded: give a WAV.")
        page = render_results(self.server.collection, asked, outcome)
        self._answer(200 if is_sound else 422, "text/html; charset=utf-8", page)

    def _query(self, query: dict[str, list[str]]) -> Query:
        like, sound = query.get("like", [""])[0], query.get("sound", [""])[0]
        texts, unwanted, tags = (tuple(query.get(name, ())) for name in ("q", "not", "tag"))
        title = self.server.by_id[like].title if like else ""
        return Query(texts=texts, unwanted=unwanted, like=like, like_title=title, tags=tags, sound=sound)

    def _answer(self, status: int, media_type: str, content: str | bytes, **headers: str) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        headers |= {"Content-Type": media_type, "Content-Length": str(len(body)), "Content-Security-Policy": POLICY}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, sound: bytes) -> None:
        asked = self.headers.get("Range")
        if not asked:
            self._answer(200, "audio/wav", sound, Accept_Ranges="bytes")
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(sound) - 1), len(sound) - 1)
        place = f"bytes {begin}-{end}/{len(sound)}"
        self._answer(206, "audio/wav", sound[begin : end + 1], Accept_Ranges="bytes", Content_Range=place)


class StubServer(ThreadingHTTPServer):
    """A server of a number of recordings on a free port of this machine."""

    daemon_threads = True

    def __init__(self, count: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.by_id = {recording.recording_id: recording for recording in recordings(count)}
        self.sound = wav(tone(220, DURATION_S, rate_hz=8_000), rate_hz=8_000)
        tags = [tag for recording in self.by_id.values() for tag in recording.tags]
        counted = sorted({tag: tags.count(tag) for tag in tags}.items(), key=lambda item: -item[1])
        self.collection = Collection(
            recordings=count,
            windows=3 * count,
            model="runs/demo/export",
            model_sha256="0123456789abcdef" * 4,
            tags=[TagCount(tag=tag, recordings=number) for tag, number in counted],
            examples=["a low drone", "bright bells", "fast drums & bass", "静かなピアノ"] if count else [],
        )

    def find(self, query: Query) -> Hits | None:
        if not (query.texts or query.unwanted or query.like or query.sound or query.tags):
            return None
        words = " ".join(query.texts).lower().split()
        found = [
            Hit(**recording.model_dump(), score=0.0, start_s=1.5 + number % 7)
            for number, recording in enumerate(self.by_id.values())
            if set(query.tags) <= set(recording.tags) and recording.recording_id != query.like
        ]
        text = {hit.recording_id: f"{hit.title} {hit.tags}".lower() for hit in found}
        found.sort(key=lambda hit: -sum(word in text[hit.recording_id] for word in words))
        scored = [Hit(**{**hit.model_dump(), "score": 0.62 - 0.031 * rank}) for rank, hit in enumerate(found[:HITS])]
        return Hits(hits=scored)

    def map(self) -> CollectionMap:
        places = np.random.default_rng(0).normal(size=(len(self.by_id), 2))
        groups = [recording.tags[0].partition(":")[2] for recording in self.by_id.values()]
        places[:, 0] += [2 * (group == "drone") for group in groups]
        x, y = ((places - places.min(0)) / np.ptp(places, 0)).T if self.by_id else ([], [])
        points = [
            MapPoint(recording_id=recording.recording_id, title=recording.title, x=a, y=b, group=group)
            for recording, a, b, group in zip(self.by_id.values(), x, y, groups, strict=True)
        ]
        return CollectionMap(category="genre", points=points)


@contextlib.contextmanager
def serving(count: int) -> Iterator[str]:
    """Serves a number of recordings; yields the address."""
    with StubServer(count) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
