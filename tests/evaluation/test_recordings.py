from dataclasses import replace

import numpy as np

from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, multi_hot


def embedded(counts: list[int], *, is_unit: bool = True) -> EmbeddedRecordings:
    rng = np.random.default_rng(0)
    recordings = tuple(LabelledRecording(f"r{k}", ("train", "test")[k % 2]) for k in range(len(counts)))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return EmbeddedRecordings(recordings, rng.normal(size=(starts[-1], 3)).astype(np.float32), starts, is_unit)


def test_means_are_those_of_each_recording_s_windows() -> None:
    raw, unit = embedded([2, 1, 3], is_unit=False), embedded([2, 1, 3])
    for row, (start, end) in enumerate([(0, 2), (2, 3), (3, 6)]):
        mean = raw.windows[start:end].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(raw.means[row], mean, atol=1e-7)
        np.testing.assert_allclose(unit.means[row], mean / np.linalg.norm(mean), atol=1e-7)


def test_a_selection_has_the_windows_of_its_recordings_in_its_order() -> None:
    everything = embedded([2, 1, 3, 4])
    chosen = everything.select([3, 0])
    assert [each.recording_id for each in chosen.recordings] == ["r3", "r0"]
    np.testing.assert_array_equal(chosen.windows, everything.windows[[6, 7, 8, 9, 0, 1]])
    np.testing.assert_array_equal(chosen.means, everything.means[[3, 0]])
    assert [each.recording_id for each in everything.of_splits("test").recordings] == ["r1", "r3"]
    assert len(everything.select([]).recordings) == 0


def test_labels_are_true_where_a_recording_has_the_tag() -> None:
    recordings = [LabelledRecording("a", "test", ("genre:rock", "mood:sad")), LabelledRecording("b", "test")]
    assert multi_hot(recordings, ["mood:sad", "genre:jazz"]).tolist() == [[True, False], [False, False]]


def test_a_recording_whose_windows_cancel_is_equally_similar_to_all_texts() -> None:
    audio = replace(embedded([2, 1]), windows=np.array([[1, 0, 0], [-1, 0, 0], [0, 3, 4]], np.float32))
    np.testing.assert_allclose(audio.means, [[0, 0, 0], [0, 0.6, 0.8]], atol=1e-7)
