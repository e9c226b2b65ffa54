"""Tests the micro-batch reader against a slow twin that reads one pair at a time, with and without bad recordings."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from mulan.config.recipe import Recipe
from mulan.config.sections import Source
from mulan.data.audio.windows import decode_window
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME, write_index
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.errors import SkippedRecording, TooManySkippedRecordings
from mulan.data.plan import Example, PlanError
from mulan.data.reader import MAX_REPLACEMENTS, MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.data.text_sampling import sample_text
from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.storage.hub import pretrained_folder
from tests.conftest import tone_recording

PLANTED = {
    "tone-000": "undecodable audio",
    "tone-003": "truncated audio",
    "tone-005": "missing shard",
    "tone-007": "truncated shard",
    "tone-010": "text of the wrong type",
}
WRONG_TEXT_SOURCE = "short_form"
"""The only source whose texts are bad in the last of the planted recordings."""


def planted_recording(number: int) -> Recording:
    recording = tone_recording(number, "validation" if number >= 12 else "train")
    match PLANTED.get(recording.recording_id):
        case "undecodable audio":
            return replace(recording, audio=b"not audio at all" * 100)
        case "truncated audio":  # every window of the length of the whole recording meets the cut
            return replace(recording, audio=recording.audio[: len(recording.audio) // 2])
        case "text of the wrong type":
            return replace(recording, texts=dict(recording.texts) | {WRONG_TEXT_SOURCE: "not a list"})
    return recording


@pytest.fixture(scope="module")
def planted_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of 12 training recordings, 5 of them with different faults, and 4 validation recordings."""
    uri = str(tmp_path_factory.mktemp("planted") / "corpus")
    with mock.patch("mulan.data.corpus.writing.check_metadata"):  # which would refuse what is planted
        write_corpus(map(planted_recording, range(16)), uri, recordings_per_shard=5)
    rows = Corpus.open(uri).table.to_pylist()
    for row in rows:
        match PLANTED.get(row["recording_id"]):
            case "missing shard":
                row["uri"] = "shards/99999.tar"
            case "truncated shard":
                row["offset"] = 10**9
    write_index(pa.Table.from_pylist(rows), uri)
    return uri


def recipe(uri: str, *settings: str, name: str = "demo_miniature") -> Recipe:
    common = ["data.window_s=2.0", "batch.micro_batches=3", "batch.pairs_per_micro_batch=6", "train.steps=12"]
    common += ["scale.workers=1", "text_tower.max_tokens=12", "train.validation_micro_batches=2"]
    return load_recipe(name, [*common, *settings], data_uri=uri)


def reader_of(recipe: Recipe) -> MicroBatchReader:
    return MicroBatchReader.from_recipe(recipe)


def is_bad(name: str, source: str | None) -> bool:
    return name in PLANTED and (PLANTED[name] != "text of the wrong type" or source == WRONG_TEXT_SOURCE)


def source_of(example: Example) -> Source:
    assert example.stream.source is not None
    return example.stream.source


def slow_twin(reader: MicroBatchReader, item: Item) -> tuple[list[Example], list[str], Counter[tuple[str, str]]]:
    """Returns the examples and names of a micro-batch, and the name and reason of each skipped recording."""
    plan, step = reader.plans[item.phase], item.step if item.phase is Phase.TRAIN else 0
    examples, names, skipped = [], [], Counter[tuple[str, str]]()
    ids = reader.corpus.table["recording_id"].to_pylist()
    for position, planned in enumerate(plan.micro_batch(step, item.micro_batch)):
        example, attempt = planned, 0
        while is_bad(ids[example.row], planned.stream.source):
            skipped[ids[example.row], PLANTED[ids[example.row]]] += 1
            attempt += 1
            example = plan.replacement(step, item.micro_batch, position, planned.stream, attempt)
        examples.append(example)
        names.append(ids[example.row])
    return examples, names, skipped


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(pretrained_folder(MINILM))


def tokens(text: str, tokenizer: Any, *, max_tokens: int) -> tuple[list[int], list[int]]:
    """Returns token ids and mask of one text, truncated and padded without the tokenizer."""
    ids = tokenizer(text)["input_ids"]
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    return ids + [0] * (max_tokens - len(ids)), [1] * len(ids) + [0] * (max_tokens - len(ids))


TRAINING = [Item(Phase.TRAIN, step, micro_batch) for step in range(12) for micro_batch in range(3)]


@pytest.mark.parametrize("sampling", ["one", "subset", "all"])
def test_batches_equal_those_of_the_slow_twin(planted_corpus: str, tokenizer: Any, sampling: Any) -> None:
    section = recipe(planted_corpus, f"data.text_sampling={sampling}", "text_tower.max_tokens=20")
    reader = reader_of(section)
    seen = Counter[str]()
    for item in [*TRAINING, Item(Phase.VALIDATE, 3, 0), Item(Phase.VALIDATE, 6, 1)]:
        examples, names, skipped = slow_twin(reader, item)
        batch = reader(item)
        assert batch.item == item
        assert batch.pairs == 6
        assert list(batch.recording_id) == names
        assert Counter((bad.name, bad.reason) for bad in batch.skipped) == skipped
        assert all(isinstance(bad, SkippedRecording) and bad.detail for bad in batch.skipped)
        seen.update(bad.reason for bad in batch.skipped)
        whole = []
        for place, example in enumerate(examples):
            record = read_record(reader.corpus, example.row)
            window = np.empty(32_000, np.int16)
            decode_window(record.audio, window, draw=example.window_draw, sample_rate_hz=16_000)
            assert np.array_equal(batch.waveform[place], window[None])
            texts = record.texts(source_of(example))
            if item.phase is Phase.VALIDATE or sampling == "one":
                text = texts[int(example.text_draw * len(texts))]
            else:
                text = sample_text(texts, sampling, draw=example.text_draw)
            whole.append(tokens(text, tokenizer, max_tokens=20))
        kept = min(20, -(-max(sum(mask) for _, mask in whole) // 8) * 8)
        assert batch.token_ids.tolist() == [ids[:kept] for ids, _ in whole]
        assert batch.attention_mask.tolist() == [mask[:kept] for _, mask in whole]
    assert set(seen) == set(PLANTED.values())  # every fault was met


def test_replacements_are_usable_and_of_the_same_source(planted_corpus: str) -> None:
    reader = reader_of(recipe(planted_corpus))
    ids = np.array(reader.corpus.table["recording_id"].to_pylist())
    by_source = reader.corpus.rows_by_source("train")
    for item in TRAINING:
        planned = reader.plans[Phase.TRAIN].micro_batch(item.step, item.micro_batch)
        for example, name in zip(planned, reader(item).recording_id, strict=True):
            source = source_of(example)
            assert name in ids[by_source[source]]
            assert not is_bad(name, source)
            assert name == ids[example.row] or is_bad(ids[example.row], source)


def content(reader: MicroBatchReader, item: Item) -> dict[str, bytes]:
    return {name: np.asarray(values).tobytes() for name, values in reader(item).to_columns().items()}


@pytest.mark.parametrize("sampling", ["one", "subset"])
def test_the_same_item_gives_the_same_batch(planted_corpus: str, sampling: str) -> None:
    one, other = (reader_of(recipe(planted_corpus, f"data.text_sampling={sampling}")) for _ in range(2))
    forwards = [content(one, item) for item in TRAINING[:6]]
    assert [content(other, item) for item in reversed(TRAINING[:6])] == forwards[::-1]
    reseeded = recipe(planted_corpus, f"data.text_sampling={sampling}", "train.seed=1")
    assert content(reader_of(reseeded), TRAINING[0]) != forwards[0]


def test_every_validation_repeats_the_same_pairs(planted_corpus: str) -> None:
    reader = reader_of(recipe(planted_corpus))
    validations = [[reader(Item(Phase.VALIDATE, step, part)) for part in range(2)] for step in (3, 6, 12)]
    names = {name for repeated in validations for batch in repeated for name in batch.recording_id}
    assert names <= {f"tone-{number:03d}" for number in range(12, 16)}
    for repeated in validations[1:]:
        for batch, first in zip(repeated, validations[0], strict=True):
            assert batch.recording_id == first.recording_id
            assert np.array_equal(batch.waveform, first.waveform)
            assert np.array_equal(batch.token_ids, first.token_ids)
    assert not np.array_equal(validations[0][0].waveform, validations[0][1].waveform)


def test_a_corpus_without_usable_recordings_fails_with_the_last_reason(planted_corpus: str, tmp_path: Path) -> None:
    shutil.copy(Path(planted_corpus) / INDEX_NAME, tmp_path)
    reader = reader_of(recipe(str(tmp_path)))
    with pytest.raises(TooManySkippedRecordings) as caught:
        reader(TRAINING[0])
    assert str(tmp_path) in str(caught.value)
    assert f"{MAX_REPLACEMENTS} recordings in a row" in str(caught.value)
    assert "missing shard" in str(caught.value)


def test_validation_requires_a_validation_split(tmp_path: Path) -> None:
    write_corpus((tone_recording(number, "train") for number in range(3)), str(tmp_path))
    with pytest.raises(PlanError, match="no validation recording has short_form texts"):
        reader_of(recipe(str(tmp_path)))
    assert set(reader_of(recipe(str(tmp_path), "train.validation_micro_batches=0")).plans) == {Phase.TRAIN}


@pytest.fixture(scope="module")
def textless_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus without texts of 24 training recordings, every third without tags, and 6 validation recordings."""
    uri = str(tmp_path_factory.mktemp("textless") / "corpus")
    tones = (tone_recording(number, "validation" if number >= 24 else "train") for number in range(30))
    write_corpus((replace(one, texts={}, tags=one.tags if n % 3 else []) for n, one in enumerate(tones)), uri)
    return uri


def tags_by_name(uri: str, classes: tuple[str, ...]) -> dict[str, list[int]]:
    return {
        row["recording_id"]: [int(tag in row["tags"]) for tag in classes] for row in Corpus.open(uri).table.to_pylist()
    }


LABELS = ("genre:drone", "genre:tone", "pitch:high", "pitch:low", "pitch:middle", "pitch:very high")


def test_without_texts_only_used_labels_are_in_batches(textless_corpus: str) -> None:
    reader = reader_of(load_recipe("semisupcon_miniature", data_uri=textless_corpus))
    assert reader.tokenizer is None
    with_labels, tags_of = set[str](), tags_by_name(textless_corpus, LABELS)
    with_tags = {f"tone-{number:03d}" for number in range(24) if number % 3}
    without_labels = set[str]()
    for step in range(8):
        planned = [example for k in range(2) for example in reader.plans[Phase.TRAIN].micro_batch(step, k)]
        batches = [reader(Item(Phase.TRAIN, step, k)) for k in range(2)]
        names = [name for batch in batches for name in batch.recording_id]
        views = np.concatenate([batch.waveform for batch in batches])
        tags = np.concatenate([batch.tags for batch in batches])
        assert views.shape == (16, 2, 22_050)
        assert [batch.token_ids.shape for batch in batches] == [batch.attention_mask.shape for batch in batches]
        assert {batch.token_ids.shape for batch in batches} == {(8, 0)}
        assert tags.any(axis=1).sum() == 8
        for example, name, view, row in zip(planned, names, views, tags.tolist(), strict=True):
            window = np.empty(44_100, np.int16)  # two views are one window of twice the length
            record = read_record(reader.corpus, example.row)
            decode_window(record.audio, window, draw=example.window_draw, sample_rate_hz=22_050)
            assert np.array_equal(view.reshape(-1), window)
            assert row == (tags_of[name] if example.stream.labelled else [0] * len(LABELS))
            (with_labels if example.stream.labelled else without_labels).add(name)
    assert with_labels < with_tags and len(with_labels) == len(with_tags) / 2
    assert without_labels == {f"tone-{number:03d}" for number in range(24)} - with_labels
    validation = reader(Item(Phase.VALIDATE, 3, 1))
    assert set(validation.recording_id) <= {f"tone-{number:03d}" for number in range(24, 30)}
    assert validation.waveform.shape == (8, 2, 22_050) and not validation.tags.any()


def test_with_texts_recordings_are_sampled_as_found_with_used_labels(tiny_corpus: str) -> None:
    """Texts equal those of the recipe without the term; only windows and tags differ."""
    semi, plain = (
        reader_of(load_recipe(f"{name}_miniature", data_uri=tiny_corpus)) for name in ("mulan_semi", "m_resnet50")
    )
    tags_of, with_labels = tags_by_name(tiny_corpus, LABELS), dict[str, bool]()
    for item in [Item(Phase.TRAIN, step, k) for step in range(6) for k in range(2)]:
        batch, base = semi(item), plain(item)
        assert batch.waveform.shape == (8, 2, 16_000) and base.waveform.shape == (8, 1, 16_000)
        assert (batch.recording_id, base.tags.shape) == (base.recording_id, (8, 0))
        assert np.array_equal(batch.token_ids, base.token_ids) and batch.token_ids.shape == (8, 16)
        for name, tags in zip(batch.recording_id, batch.tags.tolist(), strict=True):
            assert tags in (tags_of[name], [0] * len(LABELS))
            assert with_labels.setdefault(name, any(tags)) == any(tags)
    assert len(with_labels) == 32 and sum(with_labels.values()) == 16  # all have labels, of which half are used


def test_without_the_cross_modal_term_no_text_is_read(textless_corpus: str) -> None:
    settings = ["loss.weights.contrastive=0", "text_tower.pretrained=/nowhere"]
    reader = reader_of(load_recipe("mulan_semi_miniature", settings, data_uri=textless_corpus))
    batch = reader(Item(Phase.TRAIN, 0, 0))
    assert reader.tokenizer is None
    assert batch.token_ids.shape == (8, 0) and batch.waveform.shape == (8, 2, 16_000) and batch.masks is None


def test_mulan_semi_without_its_term_has_the_batches_of_m_resnet50(tiny_corpus: str) -> None:
    settings = {"mulan_semi_miniature": ["loss.weights.semisupcon=0"], "m_resnet50_miniature": []}
    semi, plain = (reader_of(load_recipe(name, off, data_uri=tiny_corpus)) for name, off in settings.items())
    for item in (Item(Phase.TRAIN, 0, 0), Item(Phase.TRAIN, 5, 1), Item(Phase.VALIDATE, 3, 0)):
        assert content(semi, item) == content(plain, item)


def test_captions_are_exchanged_and_masked_according_to_the_masks(planted_corpus: str, tokenizer: Any) -> None:
    settings = ["data.window_s=3.0", "text_tower.max_tokens=16"]
    masked, plain = (
        reader_of(recipe(planted_corpus, *settings, f"mulap.token_mask_probability={share}", name="mulap_miniature"))
        for share in (0.3, 0.0)
    )
    caption = {
        recording.recording_id: recording.texts["long_form"][0] for recording in map(planted_recording, range(16))
    }
    matched = Counter[tuple[int, bool]]()
    items = [*TRAINING, Item(Phase.VALIDATE, 3, 0), Item(Phase.VALIDATE, 3, 1)]
    for item in items:
        batch, seen = masked(item), plain(item)
        assert batch.masks is not None and seen.masks is not None
        assert batch.recording_id == seen.recording_id
        assert batch.waveform.shape == (6, 1, 48_000) and batch.masks.segment_hidden.shape == (6, 3)
        assert np.array_equal(batch.masks.matched, seen.masks.matched)
        length = batch.token_ids.shape[1]
        own = [tokens(caption[name], tokenizer, max_tokens=16)[0][:length] for name in batch.recording_id]
        for pair, name in enumerate(batch.recording_id):
            whole, mask = seen.token_ids[pair].tolist(), batch.attention_mask[pair].tolist()
            owners = {other for other, ids in zip(batch.recording_id, own, strict=True) if ids == whole}
            targets, given = batch.masks.token_targets[pair], batch.token_ids[pair]
            hidden = given != whole
            assert mask == [int(token > 0) for token in whole]
            assert len(owners) == 1 and (owners == {name}) == batch.masks.matched[pair]
            assert np.array_equal(np.where(targets == -100, whole, targets), whole)
            assert not hidden[targets == -100].any() or not batch.masks.matched[pair]
            matched[int(batch.masks.matched[pair]), bool(hidden.any())] += 1
    assert matched.total() == 6 * len(items)
    assert min(matched.values()) > 0 and len(matched) == 4  # of both, some with hidden tokens and some without
    assert 0.35 < (matched[0, True] + matched[0, False]) / matched.total() < 0.6
    for name in ("token_targets", "segment_hidden", "matched"):  # of every validation alike
        again = masked(Item(Phase.VALIDATE, 9, 1)).masks
        assert np.array_equal(getattr(again, name), getattr(batch.masks, name))


def test_a_caption_is_not_exchanged_for_one_of_the_same_recording(tmp_path: Path) -> None:
    write_corpus([tone_recording(1, "train")], str(tmp_path))
    settings = ["data.source_ratio={playlist=0, audioset=0, long_form=0}", "train.validation_micro_batches=0"]
    settings += ["mulap.mismatch_probability=1", "mulap.token_mask_probability=0"]
    batch = reader_of(recipe(str(tmp_path), *settings, name="mulap_miniature"))(TRAINING[0])
    assert len({tuple(caption) for caption in batch.token_ids.tolist()}) == 2
    assert batch.masks is not None and batch.masks.matched.tolist() == [1] * 6
