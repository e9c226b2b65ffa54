"""Tests that every kind of bad recording is replaced by the plan and named with its reason, regardless of the number of
workers, and that recordings which are only unusual are used."""

import io
import json
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from mulan.config.recipe import Recipe
from mulan.data.audio.windows import decode_window
from mulan.data.corpus.index_rows import write_index
from mulan.data.corpus.writing import write_corpus
from mulan.data.errors import DecodeError
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase, Schedule
from mulan.recipes.registry import load_recipe
from tests.conftest import tone_recording
from tests.sounds import flac, tone

SOUND = tone(440, 2.0)
"""Duration of the recordings: that of the window, so that every window contains every fault."""


def wav(samples: np.ndarray, rate_hz: int = 16_000, *, container: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def with_nan() -> np.ndarray:
    samples = SOUND.copy()
    samples[16_000] = np.nan
    return samples


BAD_AUDIO: dict[str, tuple[str, bytes]] = {
    "undecodable": ("undecodable audio", b"not audio at all" * 100),
    "zero-length": ("undecodable audio", b""),
    "truncated": ("truncated audio", flac(SOUND)[: len(flac(SOUND)) // 2]),
    "frameless": ("no samples", wav(SOUND[:0])),
    "silent": ("silent", flac(np.zeros_like(SOUND))),
    "nearly-silent": ("silent", wav(np.full_like(SOUND, 1e-6), subtype="FLOAT")),  # nothing is left of it in 16 bits
    "too-short": ("too short", flac(SOUND[:7999])),
    "too-short-at-48-kHz": ("too short", flac(SOUND[:23_999], rate_hz=48_000)),
    "not-numbers": ("samples not finite", wav(with_nan(), subtype="FLOAT")),
    "1-Hz": ("impossible sample rate", wav(SOUND, 1)),
    "100-MHz": ("impossible sample rate", wav(SOUND, 100_000_000)),
}
GOOD_AUDIO: dict[str, bytes] = {
    "stereo": flac(np.stack([SOUND, SOUND], axis=1)),
    "8-channels": flac(np.stack([SOUND] * 8, axis=1)),
    "64-channels": wav(np.stack([SOUND] * 64, axis=1)),
    "44.1-kHz": flac(tone(440, 2.0, rate_hz=44_100), rate_hz=44_100),
    "just-long-enough": flac(SOUND[:8000]),
}


def text(*texts: object) -> bytes:
    return json.dumps({"texts": {"short_form": texts}}).encode()


BAD_METADATA: dict[str, tuple[str, bytes]] = {
    "text-empty": ("empty text", text("")),
    "text-blank": ("empty text", text(" \n\t", "\u00a0", "\u200b\0\x07\ufeff")),
    "text-missing": ("empty text", b'{"texts": {"long_form": ["a tone"]}}'),
    "texts-missing": ("empty text", b'{"tags": []}'),
    "text-half-an-emoji": ("text not Unicode", text("a tone \ud83c")),
    "text-of-numbers": ("text of the wrong type", text(1, 2)),
    "text-null": ("text of the wrong type", b'{"texts": {"short_form": null}}'),
    "texts-in-a-list": ("text of the wrong type", b'{"texts": ["a tone"]}'),
    "json-cut": ("unreadable metadata", text("a tone")[:-3]),
    "json-endless": ("unreadable metadata", b"[" * 100_000),
    "json-latin-1": ("unreadable metadata", '{"texts": {"short_form": ["Für Elise"]}}'.encode("latin-1")),
    "json-a-list": ("no metadata", b"[]"),
}
GOOD_METADATA: dict[str, bytes] = {
    "emoji": text("🎵🎹 👩🏽‍🎤", "🔥"),
    "right-to-left": text("موسيقى هادئة", "מוזיקה שקטה"),
    "long": text("a calm koto " * 9000),
    "long-without-space": text("音" * 100_000),
    "control-characters": text("a\0 tone\x07\x1b[31m"),
    "some-blank": text("", "a tone", "  "),
}

BAD_PLACES = {
    "past-the-end": "truncated shard",
    "far-past-the-end": "truncated shard",
    "two-in-one": "not one recording",
    "cut-shard-1": "truncated shard",
    "cut-shard-2": "truncated shard",
    "deleted-shard": "missing shard",
}
GOOD_PLACES = ("cut-shard-0", "row-too-long")

VALIDATION = {"validation-silent": "silent", "validation-short": "too short"}

REASONS = {
    **{name: reason for name, (reason, _) in (BAD_AUDIO | BAD_METADATA).items()},
    **BAD_PLACES,
    **VALIDATION,
}
PLAIN = [f"tone-{number}" for number in range(12)] + [f"validation-{number}" for number in range(6)]


def write_shard(path: Path, recordings: dict[str, tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """Writes a shard of audio and JSON by name; returns index rows, all of which declare two seconds and a text."""
    rows = []
    with tarfile.open(path, "w") as tar:
        for name, contents in recordings.items():
            key, offset = name.replace(".", "-"), tar.offset
            for extension, content in zip(("audio", "json"), contents, strict=True):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            split = "validation" if name.startswith("validation") else "train"
            place = {"recording_id": name, "uri": path.name, "offset": offset, "length": tar.offset - offset}
            rows.append({**place, "duration_s": 2.0, "split": split, "sources": ["short_form"], "tags": []})
    return rows


@pytest.fixture(scope="module")
def corpus_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bad-data")
    sound, words = flac(SOUND), text("a tone")
    contents = dict.fromkeys(PLAIN, (sound, words))
    contents |= {name: (content, words) for name, (_, content) in BAD_AUDIO.items()}
    contents |= {name: (content, words) for name, content in GOOD_AUDIO.items()}
    contents |= {name: (sound, content) for name, (_, content) in BAD_METADATA.items()}
    contents |= {name: (sound, content) for name, content in GOOD_METADATA.items()}
    contents |= {"validation-silent": (flac(0 * SOUND), words), "validation-short": (flac(SOUND[:100]), words)}
    contents |= dict.fromkeys(("past-the-end", "far-past-the-end", "two-in-one", "row-too-long"), (sound, words))
    rows = write_shard(folder / "whole.tar", contents)
    for row in rows:
        match row["recording_id"]:
            case "past-the-end":
                row["offset"] = (folder / "whole.tar").stat().st_size + 512
            case "far-past-the-end":
                row["offset"] = 2**62
            case "two-in-one":
                row["length"] *= 2
            case "row-too-long":  # it is the last one
                row["length"] = 2**62
    cut = write_shard(folder / "cut.tar", {f"cut-shard-{number}": (sound, words) for number in range(3)})
    (folder / "cut.tar").write_bytes((folder / "cut.tar").read_bytes()[: cut[1]["offset"] + 5000])
    deleted = write_shard(folder / "deleted.tar", {"deleted-shard": (sound, words)})
    (folder / "deleted.tar").unlink()
    write_index(pa.Table.from_pylist([*rows, *cut, *deleted]), str(folder))
    return str(folder)


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["data.window_s=2.0", "batch.micro_batches=2", "batch.pairs_per_micro_batch=8", "train.steps=8"]
    common += ["data.source_ratio={short_form=1, long_form=0, playlist=0, audioset=0}", "scale.workers=1"]
    common += ["train.validation_micro_batches=2", "train.validate_every_steps=0"]
    return load_recipe("demo_miniature", [*common, *settings], data_uri=uri)


def items(recipe: Recipe, workers: int, rank: int) -> list[Item]:
    schedule = Schedule(recipe.train, recipe.batch, rank, workers)
    return [schedule[number] for number in range(len(schedule))]


def test_bad_recordings_are_replaced_and_named_and_all_others_are_used(corpus_uri: str) -> None:
    run = recipe(corpus_uri)
    reader = MicroBatchReader.from_recipe(run)
    names = reader.corpus.table["recording_id"].to_pylist()
    used, met = set[str](), dict[str, str]()
    for item in items(run, 1, 0):
        plan, step = reader.plans[item.phase], item.step if item.phase is Phase.TRAIN else 0
        expected, skipped = [], Counter[tuple[str, str]]()
        for position, example in enumerate(plan.micro_batch(step, item.micro_batch)):
            name, attempt = names[example.row], 0
            while name in REASONS:
                skipped[name, REASONS[name]] += 1
                attempt += 1
                name = names[plan.replacement(step, item.micro_batch, position, example.stream, attempt).row]
            expected.append(name)
        batch = reader(item)
        assert Counter((bad.name, bad.reason) for bad in batch.skipped) == skipped
        assert list(batch.recording_id) == expected
        assert all(bad.detail for bad in batch.skipped)
        assert batch.waveform.any(axis=2).all() and (batch.attention_mask.sum(axis=1) > 2).all()
        used.update(expected)
        met.update(skipped.keys())
    assert met == REASONS
    assert used == {*PLAIN, *GOOD_AUDIO, *GOOD_METADATA, *GOOD_PLACES}


def test_two_workers_read_the_batches_of_one(corpus_uri: str) -> None:
    run = recipe(corpus_uri)

    def read(workers: int) -> dict[Item, dict[str, bytes]]:
        return {
            item: {name: np.asarray(values).tobytes() for name, values in reader(item).to_columns().items()}
            for rank in range(workers)
            for reader in [MicroBatchReader.from_recipe(run)]
            for item in items(run, workers, rank)
        }

    alone, together = read(1), read(2)
    assert len(alone) == 18
    assert together == alone


def test_the_minimum_duration_is_that_of_the_recipe(tmp_path: Path) -> None:
    """The duration is that of the audio; the index declares two seconds."""
    short = {f"short-{number}": (flac(tone(440, 0.2, seed=number)), text("a tone")) for number in range(2)}
    write_index(pa.Table.from_pylist(write_shard(tmp_path / "a.tar", short)), str(tmp_path))

    def skipped(min_duration_s: float) -> set[str]:
        run = recipe(str(tmp_path), f"data.min_duration_s={min_duration_s}", "train.validation_micro_batches=0")
        return {bad.reason for bad in MicroBatchReader.from_recipe(run)(Item(Phase.TRAIN, 0, 0)).skipped}

    assert skipped(0) == skipped(0.2) == set()
    with pytest.raises(Exception, match=r"16 recordings in a row cannot be used; the last: short-.: too short: 0\.2 s"):
        skipped(0.201)


def test_a_recording_is_silent_if_all_of_its_views_are(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(33_075, np.float32), tone(440, 1.0, rate_hz=22_050)])  # of views of 1 s each
    good = tone_recording(0, "train")
    parts = {"silent": sound[:33_075], "late": sound}
    fields = [vars(good) | {"recording_id": name, "audio": flac(part, rate_hz=22_050)} for name, part in parts.items()]
    write_corpus((type(good)(**of_one) for of_one in fields), str(tmp_path))
    settings = ["train.validation_micro_batches=0", "semisupcon.labelled_share=as_found"]
    run = load_recipe("semisupcon_miniature", settings, data_uri=str(tmp_path))
    batches = [MicroBatchReader.from_recipe(run)(Item(Phase.TRAIN, step, 0)) for step in range(2)]
    assert {(bad.name, bad.reason) for batch in batches for bad in batch.skipped} == {("silent", "silent")}
    views = np.concatenate([batch.waveform for batch in batches])
    assert views.any(axis=(1, 2)).all()
    assert not views.any(axis=2).all()  # one of two may be


ENCODED: dict[str, Callable[[], bytes]] = {
    "FLAC": lambda: flac(SOUND),
    "WAV": lambda: wav(SOUND),
    "float WAV": lambda: wav(np.stack([SOUND, SOUND], axis=1), 22_050, subtype="FLOAT"),
    "OGG": lambda: wav(np.stack([SOUND, SOUND], axis=1), 22_050, container="OGG", subtype="VORBIS"),
    "MP3": lambda: wav(np.stack([SOUND, SOUND], axis=1), 44_100, container="MP3"),
}


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED)
def test_damaged_files_fill_the_window_or_are_rejected(encoded: Callable[[], bytes]) -> None:
    whole, rng, outcomes = encoded(), np.random.default_rng(0), Counter[str]()
    tracemalloc.start()
    try:
        for _ in range(200):
            damaged = bytearray(whole)
            headers = rng.random() < 0.5  # where damage does the most
            for place in rng.integers(min(200, len(whole)) if headers else len(whole), size=rng.integers(1, 20)):
                damaged[place] = rng.integers(256)
            if rng.random() < 0.3:
                del damaged[rng.integers(len(damaged)) :]
            window = np.full(32_000, 12_345, np.int16)
            try:
                filled = decode_window(
                    bytes(damaged), window, draw=rng.random(), sample_rate_hz=16_000, min_duration_s=0.5
                )
            except DecodeError as error:
                outcomes[error.reason] += 1
            else:
                outcomes["filled"] += 1
                assert not window[filled:].any()
                assert (window == 12_345).sum() < 100  # nothing is left of what was there
        assert tracemalloc.get_traced_memory()[1] < 100 * len(whole) + 2**26
    finally:
        tracemalloc.stop()
    assert outcomes["filled"] > 0 and outcomes.total() - outcomes["filled"] > 20
    assert len(outcomes) > 2
