"""Tests that Ray Data makes the same shards as a single process, with and without models that judge the recordings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.errors import CorpusError
from mulan.preparation.judges import judges_of
from mulan.preparation.pipeline import ChunkFailed, make_shards, prepare_chunk
from mulan.preparation.plan import plan
from mulan.preparation.prepare import make_corpus
from mulan.preparation.settings import PreparationConfig
from tests.preparation.sources_of_tests import GivenSource, preparation, tones
from tests.preparation.test_prepare import CONFIG, digests, make

pytestmark = pytest.mark.usefixtures("ray_cluster")


def is_high(waveform: np.ndarray, rate_hz: int) -> float:
    """Returns 1 for a tone above 250 Hz, as a detector of music."""
    return float(np.abs(np.fft.rfft(waveform)).argmax() * rate_hz / len(waveform) > 250)


HERE = f"python:{__name__}:is_high"


@pytest.mark.parametrize("tagger", ["", HERE], ids=["no judges", "a music detector"])
def test_shards_and_results_equal_those_of_one_process(tmp_path: Path, tagger: str) -> None:
    config = PreparationConfig.model_validate({"recordings_per_shard": 5, "music": {"tagger": tagger}})
    source = GivenSource(tones(tmp_path / "tones", 24))
    fast, slow = (preparation(tmp_path / name, source, config=config) for name in ("fast", "slow"))
    planned = plan(fast, write=True)
    progress = list(make_shards(planned.missing, fast.workspace, config, restart_actors=False))
    assert sum(each.recordings for each in progress) == 24
    assert sum(each.kept for each in progress) == (8 if tagger else 24)  # 100 to 330 Hz
    for chunk in plan(slow, write=True).missing:
        prepare_chunk(chunk, slow.workspace, config, [spec.load(spec.section) for spec in judges_of(config)])
    files = ("shards/*", "preparation/results/*")
    assert digests(tmp_path / "fast", *files) == digests(tmp_path / "slow", *files)


def test_a_model_that_cannot_be_loaded_is_reported_with_its_own_error(tmp_path: Path) -> None:
    config = PreparationConfig.model_validate({"music": {"tagger": "python:no_such_module:tagger"}})
    prepared = preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 2)), config=config)
    planned = plan(prepared, write=True)
    with pytest.raises(ChunkFailed, match="the module no_such_module cannot be imported") as failed:
        list(make_shards(planned.missing, prepared.workspace, config, restart_actors=False))
    assert failed.value.exit_code == 2


def test_a_failure_of_a_task_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    prepared = preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 4)))
    planned = plan(prepared, write=True)
    (tmp_path / "corpus" / "shards").write_text("a file where a folder is needed", encoding="utf-8")
    with pytest.raises(ChunkFailed, match="shards") as failed:
        list(make_shards(planned.missing, prepared.workspace, prepared.config, restart_actors=False))
    assert failed.value.exit_code == 2


def test_there_is_no_index_while_shards_that_it_names_are_replaced(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 9)
    make(preparation(tmp_path / "corpus", GivenSource(found), config=CONFIG))
    changed = [replace(each, audio=replace(each.audio, version="changed")) for each in found]
    prepared = preparation(tmp_path / "corpus", GivenSource(changed), config=CONFIG)
    planned = plan(prepared, write=False)  # without the descriptions of chunks, which another command has removed
    with pytest.raises(ChunkFailed, match="another command may have prepared the same folder") as failed:
        make_corpus(prepared, planned, on_progress=lambda *_: None)
    assert failed.value.exit_code == 1
    with pytest.raises(CorpusError, match=r"there is no index\.parquet"):
        Corpus.open(str(tmp_path / "corpus"))
    make(prepared)
    assert Corpus.open(str(tmp_path / "corpus")).table.num_rows == 9
