"""Builds the demo corpus: balanced labels, compositions rendered in worker processes, texts with known noise."""

import itertools
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as RenderTimeout
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from mulan.config.errors import MulanError
from mulan.config.parsing import parse_json
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.freed_memory import keep_freed_memory
from mulan.demo.annotations import CURATED, IN_THE_WILD, NoiseCounts, noisy_texts
from mulan.demo.composition import Composition, CompositionLabels, compose
from mulan.demo.genres import GENRES
from mulan.demo.rendering import RenderError, render_flac
from mulan.storage import filesystem


class DemoCorpusError(MulanError):
    """The demo corpus cannot be built."""


MANIFEST_NAME = "corpus.json"
FORMAT = 6
"""Version of the corpus, incremented whenever the same parameters give other recordings."""
SPLIT_SHARES = {"train": 0.8, "validation": 0.08, "test": 0.12}
NOISE = {"train": IN_THE_WILD, "validation": IN_THE_WILD, "test": CURATED}
RENDER_LIMIT_S = 60.0
"""Time limit of a render, hundreds of times its usual duration, so that a busy machine does not change the corpus."""
MAX_ATTEMPTS = 4
"""Maximum number of compositions that are tried for a slot."""
LICENCE = "CC0-1.0 (composition and recording; samples of the TimGM6mb soundfont as shipped with pretty_midi)"

Render = Callable[[Composition], bytes]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A position in the corpus.

    Attempt ``n`` to fill it uses the composition seed ``seed + n * stride``, and its decoy the seed after the last
    attempt: no two slots share a seed.
    """

    number: int
    split: str
    labels: CompositionLabels
    seed: int
    stride: int

    def composition(self, attempt: int) -> Composition:
        return compose(self.labels, seed=self.seed + attempt * self.stride)

    def decoy(self, rng: np.random.Generator) -> Composition:
        """Returns a composition of another genre, which wrong texts describe and which is not rendered."""
        name = str(rng.choice([name for name in GENRES if name != self.labels.genre]))
        labels = CompositionLabels(
            genre=name, mood=str(rng.choice(GENRES[name].moods)), tempo=str(rng.choice(GENRES[name].tempi))
        )
        return compose(labels, seed=self.seed + MAX_ATTEMPTS * self.stride)


@dataclass
class BuildReport:
    """Failed renders and noise counts of a build."""

    failed_renders: list[str] = field(default_factory=list)
    noise: dict[str, NoiseCounts] = field(default_factory=lambda: {split: NoiseCounts() for split in SPLIT_SHARES})


def build_corpus(
    uri: str,
    *,
    tracks: int,
    seed: int,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
    render: Render = render_flac,
    render_limit_s: float = RENDER_LIMIT_S,
) -> None:
    """Writes a corpus of ``tracks`` recordings and its manifest, ``corpus.json``, to ``uri``.

    Returns immediately if a complete corpus with the same parameters exists. The remains of an interrupted build are
    replaced.

    Args:
        uri: Folder of the corpus, a local path or any fsspec URI.
        tracks: Number of recordings.
        seed: Seed of labels, compositions and texts.
        workers: Number of rendering processes.
        on_progress: Called with the numbers of finished and of all recordings after each recording.
        render: Picklable function from a composition to the bytes of an audio file.
        render_limit_s: Time after which a render is killed, and the slot is tried with its next seed.

    Raises:
        DemoCorpusError: The folder contains another corpus, or a slot failed ``MAX_ATTEMPTS`` times.
    """
    parameters = {"format": FORMAT, "tracks": tracks, "seed": seed}
    if _is_complete(uri, parameters):
        return
    _clear(uri)
    _write_manifest(uri, {"parameters": parameters})
    report = BuildReport()
    slots = draw_slots(tracks, seed)
    write_corpus(_recordings(slots, seed, workers, render, render_limit_s, report, on_progress), uri)
    _write_manifest(uri, _manifest(parameters, report))


def draw_slots(tracks: int, seed: int) -> list[Slot]:
    """Draws splits with balanced genres; within each genre of a split, moods and tempi alternate."""
    rng = np.random.default_rng([seed, 0])
    ends = np.round(np.cumsum(list(SPLIT_SHARES.values())) * tracks).astype(int)
    slots: list[Slot] = []
    for split, start, end in zip(SPLIT_SHARES, [0, *ends], ends, strict=False):
        turns = {name: itertools.cycle(_shuffled_labels(name, rng)) for name in GENRES}
        names = list(itertools.islice(itertools.cycle(rng.permutation(list(GENRES)).tolist()), end - start))
        for number, name in enumerate(rng.permutation(names).tolist(), start=int(start)):
            labels = next(turns[name])
            slots.append(Slot(number=number, split=split, labels=labels, seed=seed * 10**6 + number, stride=tracks))
    return slots


def _shuffled_labels(genre: str, rng: np.random.Generator) -> list[CompositionLabels]:
    pairs = list(itertools.product(GENRES[genre].moods, GENRES[genre].tempi))
    return [CompositionLabels(genre=genre, mood=pairs[i][0], tempo=pairs[i][1]) for i in rng.permutation(len(pairs))]


def _recordings(
    slots: list[Slot],
    seed: int,
    workers: int,
    render: Render,
    render_limit_s: float,
    report: BuildReport,
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[Recording]:
    for done, (slot, composition, audio) in enumerate(_rendered(slots, workers, render, render_limit_s, report), 1):
        rng = np.random.default_rng([seed, 1, slot.number])
        texts, counts = noisy_texts(composition, slot.decoy(rng), NOISE[slot.split], rng)
        report.noise[slot.split].add(counts)
        yield Recording(
            recording_id=f"demo-{slot.number:05d}",
            audio=audio,
            extension="flac",
            duration_s=composition.duration_s,
            split=slot.split,
            texts=texts,
            tags=composition.tags,
            provenance=f"mulan demo corpus, composition seed {composition.seed}",
            licence=LICENCE,
        )
        if on_progress is not None:
            on_progress(done, len(slots))


def _rendered(
    slots: list[Slot], workers: int, render: Render, render_limit_s: float, report: BuildReport
) -> Iterator[tuple[Slot, Composition, bytes]]:
    """Yields the rendered slots in order, with only a few finished files in memory.

    The renderer is native code that signal handlers cannot interrupt, so a process that exceeds the limit is killed.
    Processes are spawned, since a fork would not copy the caller's threads (Ray, PyTorch).
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPool(max_workers=workers, context=context, initializer=keep_freed_memory) as pool:

        def submit(slot: Slot, attempt: int) -> ProcessFuture:
            return pool.schedule(_render_slot, args=[slot, attempt, render], timeout=render_limit_s)

        try:
            upcoming = iter(slots)
            waiting = deque((slot, submit(slot, 0)) for slot in itertools.islice(upcoming, 4 * workers))
            while waiting:
                slot, future = waiting.popleft()
                filled = _first_success(slot, future, submit, report)
                waiting.extend((slot, submit(slot, 0)) for slot in itertools.islice(upcoming, 1))
                yield slot, *filled
        finally:
            pool.stop()  # type: ignore[no-untyped-call]


def _first_success(
    slot: Slot, future: ProcessFuture, submit: Callable[[Slot, int], ProcessFuture], report: BuildReport
) -> tuple[Composition, bytes]:
    """Returns the result of the first successful attempt, starting the next one after each failure."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            return slot.composition(attempt), future.result()
        except (RenderTimeout, ProcessExpired, RenderError) as error:
            name = f"composition seed {slot.composition(attempt).seed}"
            report.failed_renders.append(f"{name}: {type(error).__name__}: {error}")
        if attempt + 1 < MAX_ATTEMPTS:
            future = submit(slot, attempt + 1)
    raise DemoCorpusError(
        f"demo recording {slot.number} could not be rendered; try another seed: "
        + "; ".join(report.failed_renders[-MAX_ATTEMPTS:])
    )


def _render_slot(slot: Slot, attempt: int, render: Render) -> bytes:
    return render(slot.composition(attempt))


def _is_complete(uri: str, parameters: dict[str, int]) -> bool:
    """Returns True if a complete corpus with these parameters exists.

    Raises:
        DemoCorpusError: The folder contains another corpus.
    """
    manifest_uri, has_index = filesystem.join(uri, MANIFEST_NAME), filesystem.exists(filesystem.join(uri, INDEX_NAME))
    if not filesystem.exists(manifest_uri):
        if has_index:
            raise DemoCorpusError(f"{uri} contains a corpus that is not a demo corpus; choose another folder")
        return False
    try:
        manifest = parse_json(filesystem.read_bytes(manifest_uri))
        existing = manifest["parameters"]
    except (ValueError, KeyError, TypeError) as error:
        raise DemoCorpusError(f"{manifest_uri} is damaged; delete {uri} or choose another folder") from error
    if existing != parameters:
        raise DemoCorpusError(
            f"{uri} contains a demo corpus with {existing}, not {parameters}; delete it or choose another folder"
        )
    return has_index and "noise" in manifest


def _clear(uri: str) -> None:
    """Removes the remains of an interrupted build."""
    filesystem.remove(filesystem.join(uri, INDEX_NAME))
    filesystem.remove_folder(filesystem.join(uri, "shards"))


def _manifest(parameters: dict[str, int], report: BuildReport) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "licence": LICENCE,
        "noise": {
            split: {"stated": asdict(NOISE[split]), "found": asdict(report.noise[split].shares())}
            for split in SPLIT_SHARES
        },
        "failed_renders": report.failed_renders,
    }


def _write_manifest(uri: str, manifest: dict[str, Any]) -> None:
    filesystem.write_atomically(filesystem.join(uri, MANIFEST_NAME), json.dumps(manifest, indent=2).encode())
