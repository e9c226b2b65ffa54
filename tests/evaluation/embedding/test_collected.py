"""Batches that arrive in any order give the same vectors; splits are taken apart and joined again."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from mulan.data.corpus.index import Location
from mulan.data.errors import BadRecording, TooManySkippedRecordings
from mulan.evaluation.embedding.collected import CorpusEmbeddings, EmbeddingCollector, joined
from mulan.evaluation.embedding.indexed import IndexedRecording
from mulan.evaluation.embedding.windows import WindowBatch
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.recordings import LabelledRecording

INFO = EncoderInfo("stub", "stub", "", "0", 8000, 8000, 3, False, False)
SIZES = [2, 1, 4, 3, 1]
RECORDINGS = [
    IndexedRecording(position, f"r{position}", "train" if position % 2 else "test", (), 1.0, Location("", 0, 1))
    for position in range(5)
]


def window_batches() -> list[WindowBatch]:
    """Batches of three windows with vectors 10 * position + number; the third recording fails after two windows."""
    places = [(position, number) for position, size in enumerate(SIZES) for number in range(size)]
    places = [place for place in places if place not in ((2, 2), (2, 3))]
    batches = []
    for first in range(0, len(places), 3):
        some = np.array(places[first : first + 3])
        vectors = np.repeat(10.0 * some[:, :1] + some[:, 1:], 3, axis=1).astype(np.float32)
        last = [position for position, number in some.tolist() if number == SIZES[position] - 1]
        labels = [LabelledRecording(RECORDINGS[k].recording_id, RECORDINGS[k].split) for k in last]
        skipped = ((2, BadRecording("truncated audio", "it ends")),) if (2, 1) in map(tuple, some.tolist()) else ()
        finished = tuple(zip(last, labels, [SIZES[position] for position in last], strict=True))
        batches.append(WindowBatch(vectors, some[:, 0], some[:, 1], finished, skipped))
    return batches


def collected(batches: Sequence[WindowBatch]) -> CorpusEmbeddings:
    collector = EmbeddingCollector(RECORDINGS, INFO)
    arrived: list[tuple[int, int]] = []
    for batch in batches:
        collector.add(batch)
        arrived += zip(batch.positions.tolist(), batch.numbers.tolist(), strict=True)
        missing = {(k, number) for k in (0, 1, 3, 4) for number in range(SIZES[k])} - set(arrived)
        assert collector.is_complete == (not missing and collector.done == 5)
    assert collector.is_complete
    return collector.finish()


@pytest.mark.parametrize("seed", range(5))
def test_batches_may_arrive_in_any_order(seed: int) -> None:
    batches = window_batches()
    random.Random(seed).shuffle(batches)
    result = collected(batches)
    assert [each.recording_id for each in result.embedded.recordings] == ["r0", "r1", "r3", "r4"]
    assert result.embedded.windows[:, 0].tolist() == [0, 1, 10, 30, 31, 32, 40]
    assert result.embedded.starts.tolist() == [0, 2, 3, 6, 7]
    assert (dict(result.skipped), result.is_lasting) == ({"r2": "truncated audio: it ends"}, True)


def test_splits_are_taken_apart_and_joined_again() -> None:
    whole = collected(window_batches())
    parts = [whole.of_split("train", {}), whole.of_split("test", whole.skipped)]
    assert [len(part.embedded.recordings) for part in parts] == [2, 2]
    for order in (parts, parts[::-1], [whole]):
        again = joined(order)
        assert np.shares_memory(again.embedded.vectors, whole.embedded.vectors)  # which are not copied
        np.testing.assert_array_equal(again.embedded.windows, whole.embedded.windows)
        np.testing.assert_array_equal(again.embedded.starts, whole.embedded.starts)
        assert (again.embedded.recordings, again.skipped) == (whole.embedded.recordings, whole.skipped)


def test_bytes_that_could_not_be_read_are_not_lasting() -> None:
    collector = EmbeddingCollector(RECORDINGS[:1], INFO)
    nothing = np.zeros(0, np.int64)
    error = BadRecording("missing shard", "00000.tar")
    collector.add(WindowBatch(np.zeros((0, 3), np.float32), nothing, nothing, skipped=((0, error),)))
    result = collector.finish()
    assert not result.is_lasting
    with pytest.raises(TooManySkippedRecordings, match="1 of the 1 recordings in it cannot be read"):
        result.check("it", max_skipped_share=1.0)


def test_the_allowed_share_is_allowed() -> None:
    result = collected(window_batches())
    result.check("it", max_skipped_share=0.2)
    with pytest.raises(
        TooManySkippedRecordings, match=r"(?s)1 of the 5 .* 0\.19: --max-skipped-share .*r2: truncated audio"
    ):
        result.check("it", max_skipped_share=0.19)
