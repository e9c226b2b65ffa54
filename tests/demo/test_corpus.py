"""Tests that a built corpus is readable and reproducible, and that a hanging render does not stop the build."""

import io
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.demo.composition import Composition
from mulan.demo.corpus import MAX_ATTEMPTS, DemoCorpusError, build_corpus, draw_slots
from mulan.demo.rendering import RenderError, render_flac

pytestmark = pytest.mark.processes

TRACKS, SEED = 12, 5
HUNG_SEED = SEED * 10**6 + 3


def hang_once(composition: Composition) -> bytes:
    if composition.seed == HUNG_SEED:
        time.sleep(600)
    return render_flac(composition)


def always_fail(composition: Composition) -> bytes:
    raise RenderError(f"composition {composition.seed}: no sound")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build_corpus(str(folder), tracks=TRACKS, seed=SEED, workers=1)
    return folder


def test_splits_share_no_composition_seed_even_after_failed_renders() -> None:
    slots = draw_slots(1200, 0)
    seeds = [slot.seed + attempt * slot.stride for slot in slots for attempt in range(MAX_ATTEMPTS)]
    seeds += [slot.decoy(np.random.default_rng(0)).seed for slot in slots]
    assert len(seeds) == len(set(seeds)) == 1200 * (MAX_ATTEMPTS + 1)
    assert Counter(slot.split for slot in slots) == {"train": 960, "validation": 96, "test": 144}
    assert slots == draw_slots(1200, 0)
    assert slots != draw_slots(1200, 1)


def test_every_tag_has_several_test_recordings() -> None:
    test = [slot for slot in draw_slots(1200, 0) if slot.split == "test"]
    tags = Counter(tag for slot in test for tag in slot.composition(0).tags)
    genres = [count for tag, count in tags.items() if tag.startswith("genre:")]
    assert len(genres) == 10
    assert max(genres) - min(genres) <= 1
    assert len([tag for tag in tags if tag.startswith("instrument:")]) >= 24
    assert min(tags.values()) >= 5


def test_the_corpus_can_be_read(built: Path) -> None:
    corpus = Corpus.open(str(built))
    assert len(corpus.table) == TRACKS
    for row in range(TRACKS):
        record = read_record(corpus, row)
        audio = soundfile.info(io.BytesIO(record.audio))
        assert (audio.samplerate, audio.channels) == (16_000, 1)
        assert audio.duration == pytest.approx(record.metadata["duration_s"], abs=1e-3)
        assert audio.duration >= 20
        assert "composition seed" in record.metadata["provenance"]
        assert {tag.partition(":")[0] for tag in record.metadata["tags"]} == {"genre", "mood", "tempo", "instrument"}


def test_a_complete_corpus_is_left_unchanged(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    calls: list[tuple[int, int]] = []
    build_corpus(
        str(built), tracks=TRACKS, seed=SEED, workers=1, on_progress=lambda done, total: calls.append((done, total))
    )
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_other_parameters_and_other_corpora_are_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DemoCorpusError, match="'seed': 5"):
        build_corpus(str(built), tracks=TRACKS, seed=SEED + 1, workers=1)
    (tmp_path / "index.parquet").write_bytes(b"somebody else's")
    with pytest.raises(DemoCorpusError, match="choose another folder"):
        build_corpus(str(tmp_path), tracks=TRACKS, seed=SEED, workers=1)
    assert files(tmp_path) == {"index.parquet": b"somebody else's"}


def test_an_interrupted_build_starts_again_and_gives_the_same_corpus(built: Path, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        assert total == TRACKS
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        build_corpus(str(tmp_path), tracks=TRACKS, seed=SEED, workers=1, on_progress=interrupt)
    assert not (tmp_path / "index.parquet").exists()
    (tmp_path / "shards").mkdir(exist_ok=True)
    (tmp_path / "shards" / "00009.tar").write_bytes(b"left over")
    build_corpus(str(tmp_path), tracks=TRACKS, seed=SEED, workers=2)
    assert files(tmp_path) == files(built)


def test_a_hanging_render_is_killed_listed_and_replaced(tmp_path: Path, built: Path) -> None:
    build_corpus(str(tmp_path), tracks=4, seed=SEED, workers=1, render=hang_once, render_limit_s=5)
    (failure,) = json.loads((tmp_path / "corpus.json").read_text())["failed_renders"]
    assert str(HUNG_SEED) in failure
    assert "Timeout" in failure
    provenances = [read_record(Corpus.open(str(tmp_path)), row).metadata["provenance"] for row in range(4)]
    seeds = [int(provenance.rpartition(" ")[2]) for provenance in provenances]
    assert seeds == [SEED * 10**6, SEED * 10**6 + 1, SEED * 10**6 + 2, HUNG_SEED + 4]
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_slot_whose_renders_all_fail_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(DemoCorpusError, match="no sound"):
        build_corpus(str(tmp_path), tracks=2, seed=SEED, workers=1, render=always_fail)
    assert not (tmp_path / "index.parquet").exists()
