"""The candidates of the data benchmark: endless streams of windows and tokens from a corpus.

All use the same tokenizer and files, and the same decode function, except where other loaders decode whole recordings
as is usual with them. ``decode_alone`` and ``reader_alone`` run in every process independently; the others deliver
their micro-batches to one process, as in training.
"""

import importlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import fsspec
import numpy as np
import ray
import soundfile
import torch
import torchaudio
from torch.utils.data import DataLoader, Dataset, RandomSampler

from mulan.config.recipe import Recipe
from mulan.config.sections import STORED_SOURCES
from mulan.data.audio.windows import decode_window
from mulan.data.batch import Batch
from mulan.data.corpus.records import read_record
from mulan.data.planned_batches import planned_batches, start_batch_service
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase, Schedule
from mulan.data.text import TextTokenizer, tokenize

WEBDATASET_SHUFFLE = 100
"""Size of the shuffle buffer of each WebDataset worker in encoded recordings."""


@dataclass(frozen=True)
class Loaded:
    """A micro-batch of any candidate."""

    recording_id: Sequence[str]
    """Ids of the m recordings."""
    windows: Any
    """Audio windows, int16 [m, samples] or m arrays [samples]."""
    token_ids: Any = None
    """Token ids, int64 [m, L], padded with 0; None for the decode function alone."""
    item: Item | None = None
    """Item of the plan that determined the windows; None if :func:`draw_of` did."""


def draw_of(recording_id: str) -> float:
    """Returns the relative position in [0, 1) of the window that loaders without a plan read."""
    return zlib.crc32(recording_id.encode()) / 2**32


def window_of(audio: bytes, recording_id: str, recipe: Recipe) -> np.ndarray:
    """Decodes the window at :func:`draw_of`, int16 [samples]."""
    window = np.empty(recipe.data.window_samples, np.int16)
    decode_window(audio, window, draw=draw_of(recording_id), sample_rate_hz=recipe.data.sample_rate_hz)
    return window


def window_of_whole(audio: bytes, recording_id: str, recipe: Recipe) -> np.ndarray:
    """Decodes and resamples a whole recording, and returns the window at :func:`draw_of`, int16 [samples].

    This is what loaders usually do, for example that of LAION-CLAP: soundfile, the mean of the channels, and
    torchaudio's resampling. Lengths and damage are not checked.
    """
    samples, rate_hz = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples).mean(dim=1)
    sound = torchaudio.functional.resample(mono, rate_hz, recipe.data.sample_rate_hz).numpy()
    window = np.zeros(recipe.data.window_samples, np.int16)
    start = int(draw_of(recording_id) * (max(0, len(sound) - len(window)) + 1))
    part = sound[start : start + len(window)]
    window[: len(part)] = np.clip(np.rint(part * 32768), -32768, 32767)
    return window


WindowFunction = Callable[[bytes, str, Recipe], np.ndarray]
"""A function that returns a window of an encoded recording with an id: :func:`window_of` or :func:`window_of_whole`."""


def decode_alone(recipe: Recipe, reader: MicroBatchReader) -> Iterator[Loaded]:
    """Decodes recordings from memory, an upper bound for every other stream."""
    recordings = [read_record(reader.corpus, row) for row in reader.corpus.rows("train").tolist()]
    endless = cycle(recordings)  # all recordings, as in the other streams: a few would stay in the processor's cache
    while True:
        part = list(islice(endless, recipe.batch.pairs_per_micro_batch))
        windows = [window_of(recording.audio, recording.recording_id, recipe) for recording in part]
        yield Loaded([recording.recording_id for recording in part], windows)


def reader_alone(recipe: Recipe, reader: MicroBatchReader) -> Iterator[Loaded]:
    """Runs mulan's reader without Ray: plan, ranged reads, decoding and tokenization."""
    for step in range(recipe.train.steps):
        yield _of_batch(reader(Item(Phase.TRAIN, step, 0)))


def ray_data(recipe: Recipe, reader: MicroBatchReader, processes: int) -> Iterator[Loaded]:
    """Runs the full data path of a training worker (``mulan/launch/fit.py``)."""
    schedule = Schedule(recipe.train, recipe.batch, rank=0, workers=1)
    source = start_batch_service(ray.put(reader), cpus=processes)
    return map(_of_batch, planned_batches(source, source.begin(schedule), schedule))


def torch_dataloader(
    recipe: Recipe, reader: MicroBatchReader, processes: int, *, decode: WindowFunction = window_of
) -> Iterator[Loaded]:
    """Runs PyTorch's DataLoader: randomly sampled recordings, ranged reads, collation in its workers."""
    recordings = _Recordings(recipe, reader, decode)
    return iter(
        DataLoader(
            recordings,
            batch_size=recipe.batch.pairs_per_micro_batch,
            sampler=RandomSampler(recordings, replacement=True, num_samples=recipe.train.steps * recipe.batch.pairs),
            num_workers=processes,
            collate_fn=_Collate(reader.tokenizer),
        )
    )


def webdataset(
    recipe: Recipe, reader: MicroBatchReader, processes: int, *, decode: WindowFunction = window_of
) -> Iterator[Loaded]:
    """Runs WebDataset: randomly sampled shards, sequential reads, a shuffle buffer, the same work in its workers."""
    wds = importlib.import_module("webdataset")
    # it has no function for S3 and would start a command; s3fs reads a shard of this size in one request
    importlib.import_module("webdataset.gopen").gopen_schemes["s3"] = lambda url, *_: fsspec.open(url).open()
    samples = wds.WebDataset(reader.corpus.shards(), resampled=True, shardshuffle=False).shuffle(WEBDATASET_SHUFFLE)
    pairs = samples.map(_Decode(recipe, decode)).batched(
        recipe.batch.pairs_per_micro_batch, collation_fn=_Collate(reader.tokenizer)
    )
    return iter(wds.WebLoader(pairs, batch_size=None, num_workers=processes))


def _of_batch(batch: Batch) -> Loaded:
    return Loaded(batch.recording_id, batch.waveform[:, 0], batch.token_ids, batch.item)


_Pair = tuple[str, np.ndarray, str]
"""Recording id, window and text."""


class _Recordings(Dataset[_Pair]):
    def __init__(self, recipe: Recipe, reader: MicroBatchReader, decode: WindowFunction) -> None:
        self._recipe, self._corpus, self._rows = recipe, reader.corpus, reader.corpus.rows("train")
        self._decode = decode

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> _Pair:
        record = read_record(self._corpus, int(self._rows[number]))
        window = self._decode(record.audio, record.recording_id, self._recipe)
        return record.recording_id, window, _text_of(record.metadata)


@dataclass(frozen=True)
class _Decode:
    """Converts a WebDataset sample, a map from extension to content, to a pair."""

    recipe: Recipe
    decode: WindowFunction

    def __call__(self, sample: Mapping[str, Any]) -> _Pair:
        audio = next(content for name, content in sample.items() if name != "json" and not name.startswith("__"))
        metadata = json.loads(sample["json"])
        return sample["__key__"], self.decode(audio, sample["__key__"], self.recipe), _text_of(metadata)


@dataclass(frozen=True)
class _Collate:
    """Collates pairs to the tensors of a micro-batch, in the worker."""

    tokenizer: TextTokenizer | None

    def __call__(self, pairs: Sequence[_Pair]) -> Loaded:
        names, windows, texts = zip(*pairs, strict=True)
        token_ids, _ = tokenize(list(texts), self.tokenizer)
        return Loaded(names, torch.from_numpy(np.stack(windows)), torch.from_numpy(token_ids))


def _text_of(metadata: Mapping[str, Any]) -> str:
    texts = next(metadata["texts"][source] for source in STORED_SOURCES if metadata["texts"].get(source))
    return str(texts[0])
