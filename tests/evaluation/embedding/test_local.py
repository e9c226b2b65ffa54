"""The vectors of a corpus are those of its windows one by one, whatever the order of its files."""

from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.windows import decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embedding import local
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.encoders.encoder import EncoderError
from mulan.evaluation.encoders.exported import open_exported
from mulan.evaluation.errors import EvaluationError
from tests.conftest import tone_recording
from tests.evaluation.embedding.damaged_recordings import recordings, write
from tests.evaluation.embedding.stub_encoder import INFO, NotFinite, Quieter, StubEncoder, WrongShape

READABLE = [number for number in range(20) if number not in (3, 7)]


def expected_windows(corpus: Corpus, row: int) -> np.ndarray:
    """The windows of a recording from its start to its end, each embedded alone."""
    samples = decode_recording(read_record(corpus, row).audio, sample_rate_hz=INFO.sample_rate_hz)
    count = -(-len(samples) // INFO.window_samples)
    starts = [round(k * (len(samples) - INFO.window_samples) / max(1, count - 1)) for k in range(count)]
    windows = [samples[start : start + INFO.window_samples] for start in starts]
    return np.concatenate([StubEncoder().embed_audio(window[None]) for window in windows])


@pytest.fixture(scope="module")
def embedded(damaged: Corpus) -> CorpusEmbeddings:
    return embed_here(StubEncoder(), damaged, ["test", "train"], max_skipped_share=0.1)


def test_each_window_has_the_vector_that_it_has_alone(damaged: Corpus, embedded: CorpusEmbeddings) -> None:
    found = embedded.embedded
    rows = dict(zip(damaged.recording_ids(range(20)), range(20), strict=True))
    assert [each.recording_id for each in found.recordings] == [f"tone-{number:03d}" for number in READABLE]
    for number, each in enumerate(found.recordings):
        vectors = found.windows[found.starts[number] : found.starts[number + 1]]
        np.testing.assert_allclose(vectors, expected_windows(damaged, rows[each.recording_id]), atol=1e-6)
    assert len(np.unique(found.means.round(5), axis=0)) == 18  # the comparison could tell recordings apart
    assert (found.windows.dtype, found.is_unit) == (np.float32, True)


def test_recordings_have_what_the_corpus_states(embedded: CorpusEmbeddings) -> None:
    made = recordings()
    for number, found in zip(READABLE, embedded.embedded.recordings, strict=True):
        assert (found.split, found.tags) == (made[number].split, tuple(made[number].tags))
        assert found.texts == {source: tuple(texts) for source, texts in made[number].texts.items()}
    assert embedded.embedded.recordings[READABLE.index(11)].texts_of("long_form") == ()


def test_skipped_recordings_are_named_with_the_reason(damaged: Corpus, embedded: CorpusEmbeddings) -> None:
    assert list(embedded.skipped) == ["tone-003", "tone-007"]
    assert embedded.skipped["tone-003"].startswith("undecodable audio")
    assert embedded.skipped["tone-007"].startswith("truncated audio")
    assert embedded.is_lasting
    with pytest.raises(
        TooManySkippedRecordings, match=r"(?s)2 of the 14 .*'test' of .* 0\.14: .*tone-003: .*tone-007: "
    ):
        embed_here(StubEncoder(), damaged, ["test"], max_skipped_share=0.14)


def test_the_order_of_files_changes_no_vector(damaged: Corpus, embedded: CorpusEmbeddings, tmp_path: Path) -> None:
    made = recordings()
    other = write(str(tmp_path), made[::2] + made[1::2])
    assert other.index_sha256 != damaged.index_sha256
    again = embed_here(StubEncoder(), other, ["train", "test"], max_skipped_share=0.1)
    np.testing.assert_array_equal(again.embedded.windows, embedded.embedded.windows)
    assert again.embedded.recordings == embedded.embedded.recordings


def test_batches_of_another_size_change_no_vector_of_a_network(
    damaged: Corpus, model_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = open_exported(model_uri, name="network", device="cpu")
    expected = embed_here(encoder, damaged, ["test", "train"], max_skipped_share=0.1).embedded
    for windows in (1, 5):
        monkeypatch.setattr(local, "windows_of_a_pass", lambda *_, count=windows: count)
        found = embed_here(encoder, damaged, ["test", "train"], max_skipped_share=0.1).embedded
        np.testing.assert_allclose(found.windows, expected.windows, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found.starts, expected.starts)
    assert np.abs(expected.windows[1:] - expected.windows[:-1]).max() > 1e-3


def test_progress_counts_skipped_recordings_too(damaged: Corpus) -> None:
    seen: list[tuple[int, int]] = []
    embed_here(StubEncoder(), damaged, ["test"], max_skipped_share=1, on_progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (14, 14) and sorted(seen) == seen and len(seen) > 2


def test_a_corrupted_recording_is_its_corrupted_first_minute(tmp_path: Path) -> None:
    corpus = write(str(tmp_path), [tone_recording(0, "test")])
    plain = embed_here(StubEncoder(), corpus, ["test"], max_skipped_share=0)
    none = embed_here(StubEncoder(), corpus, ["test"], max_skipped_share=0, corruption=Quieter(0))
    much = embed_here(StubEncoder(), corpus, ["test"], max_skipped_share=0, corruption=Quieter(99))
    np.testing.assert_array_equal(none.embedded.windows, plain.embedded.windows)
    assert np.abs(much.embedded.windows - plain.embedded.windows).max() > 0.01


def test_without_recordings_there_is_nothing_to_evaluate(damaged: Corpus) -> None:
    with pytest.raises(EvaluationError, match="no recordings in the split 'validation'"):
        embed_here(StubEncoder(), damaged, ["validation"], max_skipped_share=1)


def test_what_an_encoder_must_not_return_is_refused(damaged: Corpus) -> None:
    with pytest.raises(EncoderError, match=r"stub/1: embed_audio returned float32 \[15, 6\] for 16 windows"):
        embed_here(WrongShape(), damaged, ["test"], max_skipped_share=1)
    with pytest.raises(EvaluationError, match="stub/1 are not finite"):
        embed_here(NotFinite(), damaged, ["test"], max_skipped_share=1)
