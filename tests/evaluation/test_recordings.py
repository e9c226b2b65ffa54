import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mulan.evaluation import recordings
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, multi_hot


def embedded(counts: list[int], *, is_unit: bool = True) -> EmbeddedRecordings:
    rng = np.random.default_rng(0)
    labelled = tuple(LabelledRecording(f"r{k}", ("train", "test")[k % 2]) for k in range(len(counts)))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return EmbeddedRecordings(labelled, rng.normal(size=(starts[-1], 3)).astype(np.float32), starts, is_unit)


def test_means_are_those_of_each_recording_s_windows() -> None:
    raw, unit = embedded([2, 1, 3], is_unit=False), embedded([2, 1, 3])
    for row, (start, end) in enumerate([(0, 2), (2, 3), (3, 6)]):
        mean = raw.windows[start:end].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(raw.means[row], mean, atol=1e-7)
        np.testing.assert_allclose(unit.means[row], mean / np.linalg.norm(mean), atol=1e-7)


def test_means_in_blocks_are_those_of_all_at_once_in_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(1).integers(1, 40, size=3000).tolist()
    for is_unit in (False, True):
        several, whole = embedded(counts, is_unit=is_unit), embedded(counts, is_unit=is_unit)
        monkeypatch.setattr(recordings, "_WINDOWS_AT_ONCE", len(whole.windows))
        at_once = whole.means
        for windows in (1, 7, 1000, len(whole.windows) - 1):
            monkeypatch.setattr(recordings, "_WINDOWS_AT_ONCE", windows)
            np.testing.assert_array_equal(several.means, at_once)
    monkeypatch.setattr(recordings, "_WINDOWS_AT_ONCE", 1000)
    tracemalloc.start()
    assert several.means.nbytes < several.windows.nbytes / 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < several.windows.nbytes / 2


def test_a_selection_has_the_windows_of_its_recordings_in_its_order() -> None:
    everything = embedded([2, 1, 3, 4])
    chosen = everything.select([3, 0])
    assert [each.recording_id for each in chosen.recordings] == ["r3", "r0"]
    np.testing.assert_array_equal(chosen.windows, everything.windows[[6, 7, 8, 9, 0, 1]])
    np.testing.assert_array_equal(chosen.means, everything.means[[3, 0]])
    assert [each.recording_id for each in everything.of_splits("test").recordings] == ["r1", "r3"]
    assert len(everything.select([]).recordings) == 0
    again = chosen.select([1])
    np.testing.assert_array_equal(again.windows, everything.windows[:2])
    np.testing.assert_array_equal(chosen.windows_at(np.array([5, 0])), everything.windows[[1, 6]])
    assert (chosen.num_windows, chosen.dim) == (6, 3)


def test_parts_share_the_vectors_of_the_whole() -> None:
    everything = embedded([2, 1, 3, 4])
    part = everything.where(lambda recording: recording.recording_id != "r1").of_splits("test")
    assert part.vectors is everything.vectors and len(part.windows) == 4


@pytest.mark.parametrize("is_unit", [True, False])
def test_the_means_of_averaged_recordings_are_those_of_the_windows(is_unit: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    audio = EmbeddedRecordings(
        tuple(LabelledRecording(name, "test") for name in "abc"), vectors, np.array([0, 1, 5, 7]), is_unit
    )
    part = audio.select([2, 1])
    averaged = part.averaged()
    np.testing.assert_allclose(averaged.means, part.means, atol=1e-7)
    assert (averaged.recordings, averaged.num_windows, len(averaged.vectors)) == (part.recordings, 2, 2)


def test_labels_are_true_where_a_recording_has_the_tag() -> None:
    labelled = [LabelledRecording("a", "test", ("genre:rock", "mood:sad")), LabelledRecording("b", "test")]
    assert multi_hot(labelled, ["mood:sad", "genre:jazz"]).tolist() == [[True, False], [False, False]]


def test_a_recording_whose_windows_cancel_is_equally_similar_to_all_texts() -> None:
    audio = replace(embedded([2, 1]), vectors=np.array([[1, 0, 0], [-1, 0, 0], [0, 3, 4]], np.float32))
    np.testing.assert_allclose(audio.means, [[0, 0, 0], [0, 0.6, 0.8]], atol=1e-7)
