"""Windows are batched across recordings, streamed, and corrupted before they are cut."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import soundfile

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.writing import Recording
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.windows import CORRUPTED_S, Windowing, read_windows
from tests.evaluation.embedding.damaged_recordings import write
from tests.evaluation.embedding.stub_encoder import Quieter

WINDOWING = Windowing(16_000, 8_000)


def long_recording(name: str, seconds: int) -> Recording:
    """Silence but for a step at each second, which FLAC stores in a few kilobytes."""
    buffer = io.BytesIO()
    samples = np.repeat(np.arange(seconds, dtype=np.int16), 16_000)
    soundfile.write(buffer, samples, 16_000, format="FLAC", subtype="PCM_16")
    return Recording(
        recording_id=name,
        audio=buffer.getvalue(),
        extension="flac",
        split="test",
        texts={"short_form": [name]},
        tags=(),
        provenance="synthesized",
        licence="CC0-1.0",
    )


def test_all_batches_but_the_last_are_full_and_cross_recordings(damaged: Corpus) -> None:
    recordings = indexed_recordings(damaged, ["test"])
    batches = list(read_windows(recordings, WINDOWING, at_once=16))
    assert [len(batch.windows) for batch in batches[:-1]] == [16] * (len(batches) - 1)
    assert len(set(batches[0].positions.tolist())) > 2
    whole = np.concatenate([batch.windows for batch in batches])
    singly = np.concatenate([batch.windows for batch in read_windows(recordings, WINDOWING, at_once=1)])
    np.testing.assert_array_equal(whole, singly)
    assert [position for batch in batches for position, _ in batch.skipped] == [3, 7]
    finished = [position for batch in batches for position, _, _ in batch.finished]
    assert finished == [number for number in range(14) if number not in (3, 7)]


def test_a_recording_of_an_hour_is_never_held_as_a_whole(tmp_path: Path) -> None:
    recordings = indexed_recordings(write(str(tmp_path), [long_recording("hour", 3600)]), ["test"])
    tracemalloc.start()
    windows = sum(len(batch.windows) for batch in read_windows(recordings, WINDOWING, at_once=16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert windows == 7200
    assert peak < 3600 * 16_000 * 2 / 4


def test_the_first_minute_of_a_recording_is_corrupted(tmp_path: Path) -> None:
    recordings = indexed_recordings(write(str(tmp_path), [long_recording("a", 90), long_recording("b", 7)]), ["test"])
    (batch,) = read_windows(recordings, Windowing(16_000, 8_000, Quieter(1)), at_once=1000)
    sizes = np.bincount(batch.positions).tolist()
    assert sizes == [round(CORRUPTED_S) * 2, 7 * 2]
    np.testing.assert_array_equal(batch.windows[:120, 0], np.arange(120) // 2 // 2)
    np.testing.assert_array_equal(batch.windows[120:, -1], np.arange(14) // 2 // 2)
