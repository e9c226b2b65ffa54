"""Tests that tars in the layouts of others are adopted in place, and that their texts are read from them later."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import webdataset

from mulan.data.corpus.adoption import adopt, index_shards
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.corpus.records import read_record
from mulan.data.errors import BadRecording, CorpusError
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.data.text import tokenize
from mulan.recipes.registry import load_recipe
from tests.data.corpus.tars import FORMATS, write_tar
from tests.sounds import flac, tone

AUDIO = [flac(tone(220.0 * (1 + number), 2.5 + number / 10, seed=number)) for number in range(12)]


def as_json(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode()


def laion(number: int) -> dict[str, bytes]:
    """Returns the members of a recording by extension, as LAION-CLAP's documentation defines them."""
    text: Any = [f"a tone number {number}", "a steady sound"] if number % 2 else f"a tone number {number}"
    original = {"title": f"Tone {number}", "text": "not this one", "split": "none", "id": number}
    return {"flac": AUDIO[number], "json": as_json(text=text, tag=["drone", "sine wave"], original_data=original)}


def adopted(folder: Path, members: list[tuple[str, bytes]], fields: Fields | None = None, **how: Any) -> Corpus:
    shard = write_tar(folder / "a.tar", members, **how)
    index_shards([shard], str(folder / "corpus"), fields=fields)
    return Corpus.open(str(folder / "corpus"))


def texts_of(corpus: Corpus, row: int) -> dict[str, list[str]]:
    record = read_record(corpus, row)
    return {source: record.texts(source) for source in corpus.table["sources"][row].as_py()}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("folder", ["", "set/" * 25])
def test_texts_and_tags_of_laion_clap_are_read(form: int, folder: str, tmp_path: Path) -> None:
    members = [
        (f"{folder}{number}.{extension}", content)
        for number in range(4)
        for extension, content in laion(number).items()
    ]
    corpus = adopted(tmp_path, members, Fields(texts={"long_form": ("text",)}), format=form)
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode())
    rows = corpus.table.to_pylist()
    assert [row["recording_id"] for row in rows] == [sample["__key__"] for sample in theirs]
    for number, (row, sample) in enumerate(zip(rows, theirs, strict=True)):
        text = sample["json"]["text"]
        assert texts_of(corpus, number) == {"long_form": text if isinstance(text, list) else [text]}
        assert row["tags"] == [f"tag:{tag}" for tag in sample["json"]["tag"]]
        assert (row["sources"], row["split"]) == (["long_form"], "train")
        assert row["duration_s"] == pytest.approx(2.5 + number / 10)
        assert read_record(corpus, number).audio == AUDIO[number]
        assert read_record(corpus, number).texts("tags") == sample["json"]["tag"]
    assert "further_ranges" not in corpus.table.column_names
    assert corpus.table["fields"].unique().to_pylist() == [Fields(texts={"long_form": ("text",)}).to_json()]


LAYOUTS: dict[str, tuple[dict[str, bytes], Mapping[str, list[str]], list[str]]] = {
    "captions": (
        {"json": as_json(caption1="one", caption2="two", caption10="ten", other=3)},
        {"long_form": ["one", "two", "ten"]},
        [],
    ),
    "a list of captions": (
        {"json": as_json(captions=["one", "two"], text="x")},
        {"long_form": ["x", "one", "two"]},
        [],
    ),
    "a caption": ({"json": as_json(caption=" one ", genre="jazz")}, {"long_form": [" one "]}, ["genre:jazz"]),
    "a text": ({"txt": "\ufeffein leiser Ton, tief\n".encode()}, {"long_form": ["ein leiser Ton, tief"]}, []),
    "a text and a class": ({"txt": b"one", "cls": b"3\n"}, {"long_form": ["one"]}, ["class:3"]),
    "a class": ({"cls": b"violin"}, {}, ["class:violin"]),
    "several texts": ({"a.txt": b"one", "b.txt": b"two"}, {"long_form": ["one", "two"]}, []),
    "all": (
        {"json": as_json(caption="one", tag="rock"), "txt": b"two", "cls": b"7"},
        {"long_form": ["one", "two"]},
        ["tag:rock", "class:7"],
    ),
    "mulan": (
        {"json": as_json(texts={"playlist": ["one"]}, tags=["a:b"], caption="not this"), "txt": b"x"},
        {"playlist": ["one"]},
        ["a:b"],
    ),
}
"""Contents of members with texts by extension, their texts by source, and their tags."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_usual_fields_are_recognized(name: str, tmp_path: Path) -> None:
    texts, expected, tags = LAYOUTS[name]
    corpus = adopted(tmp_path, [("k.flac", AUDIO[0]), *((f"k.{kind}", content) for kind, content in texts.items())])
    assert texts_of(corpus, 0) == expected
    assert corpus.table["tags"].to_pylist() == [tags]
    assert read_record(corpus, 0).audio == AUDIO[0]
    assert ("fields" not in corpus.table.column_names) == (name == "mulan")


def test_members_may_be_in_any_order(tmp_path: Path) -> None:
    apart = [(f"s/{number}.{kind}", laion(number)[kind]) for kind in ("json", "flac") for number in range(5)]
    corpus = adopted(tmp_path, [*apart, *((f"s/{number}.txt", b"more %d" % number) for number in range(4, -1, -1))])
    assert corpus.table["recording_id"].to_pylist() == [f"s/{number}" for number in range(5)]
    assert [len(ranges) for ranges in corpus.table["further_ranges"].to_pylist()] == [4, 4, 4, 4, 2]
    for number in range(5):
        assert read_record(corpus, number).audio == AUDIO[number]
        texts = texts_of(corpus, number)["long_form"]
        assert (texts[0], texts[-1]) == (f"a tone number {number}", f"more {number}")


def test_a_shard_that_has_been_cut_is_not_half_read(tmp_path: Path) -> None:
    """The bytes of one range must not take the place of another's."""
    corpus = adopted(
        tmp_path, [("a.json", laion(1)["json"]), ("b.flac", AUDIO[0]), ("a.flac", AUDIO[1]), ("b.txt", b"x")]
    )
    shard = tmp_path / "a.tar"
    (location,) = corpus.locations([corpus.recording_ids(range(2)).index("b")])
    shard.write_bytes(shard.read_bytes()[: location.offset + location.length - 600])
    with pytest.raises(BadRecording, match="truncated shard"):
        read_record(corpus, corpus.recording_ids(range(2)).index("b"))


def test_names_with_dots_are_separate_recordings(tmp_path: Path) -> None:
    members = [
        (f"mix/v1.{number}.{extension}", content) for number in range(3) for extension, content in laion(number).items()
    ]
    corpus = adopted(tmp_path, [*members[::2], *members[1::2]])
    assert corpus.table["recording_id"].to_pylist() == ["mix/v1.0", "mix/v1.1", "mix/v1.2"]
    for number in range(3):
        record = read_record(corpus, number)
        assert (record.recording_id, record.audio) == (f"mix/v1.{number}", AUDIO[number])
        assert record.texts("long_form")[0] == f"a tone number {number}"


def test_recordings_without_audio_or_text_are_named_and_may_be_skipped(tmp_path: Path) -> None:
    members = [
        *[(f"good.{kind}", content) for kind, content in laion(0).items()],
        ("mute.json", laion(1)["json"]),
        ("nothing.flac", AUDIO[1]),
        *[("blank.flac", AUDIO[2]), ("blank.json", as_json(text=["", " "], tag=[], original_data={}))],
        *[("wrong.flac", AUDIO[3]), ("wrong.json", as_json(text={"en": ["x"]}, caption=[["nested"]]))],
        *[("bytes.flac", AUDIO[4]), ("bytes.txt", b"caf\xe9")],
        *[("odd.flac", AUDIO[5]), ("odd.json", as_json(caption="x", split="fold 3"))],
    ]
    shard = write_tar(tmp_path / "a.tar", members)
    expected = {
        "mute": "no audio",
        "nothing": "no metadata",
        "blank": "no text",
        "wrong": "field of the wrong type",
        "bytes": "unreadable metadata",
        "odd": "unknown split",
    }
    with pytest.raises(CorpusError) as caught:
        index_shards([shard], str(tmp_path / "corpus"))
    assert caught.value.count == len(expected)
    skipped = index_shards([shard], str(tmp_path / "corpus"), on_error="skip")
    assert {item.name: item.reason for item in skipped} == expected
    assert Corpus.open(str(tmp_path / "corpus")).recording_ids([0]) == ["good"]


@pytest.mark.parametrize(
    ("folder", "values", "split"),
    [
        ("train", {}, "train"),
        ("valid", {}, "validation"),
        ("test", {}, "test"),
        ("test", {"split": "dev"}, "validation"),
        ("music", {}, "train"),
    ],
)
def test_the_split_is_stated_or_that_of_the_folder(
    folder: str, values: dict[str, str], split: str, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    corpus = adopted(tmp_path / folder, [("k.flac", AUDIO[0]), ("k.json", as_json(caption="x", **values))])
    assert corpus.table["split"].to_pylist() == [split]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"duration": 9.5}, 9.5),
        ({"duration_s": 3, "duration": 4}, 3.0),
        ({"duration": 2500.0}, 2.5),
        ({"length": 40_000}, 2.5),
        ({"duration": "2:30"}, 2.5),
        ({"duration": True}, 2.5),
        ({"duration": float("nan")}, 2.5),
        ({"duration": 10**400}, 2.5),
    ],
    ids=["stated", "the first", "milliseconds", "samples", "a string", "true", "NaN", "beyond floats"],
)
def test_durations_are_stated_or_those_of_the_audio(values: dict[str, Any], seconds: float, tmp_path: Path) -> None:
    corpus = adopted(tmp_path, [("k.flac", AUDIO[0]), ("k.json", as_json(caption="x", **values))])
    assert corpus.table["duration_s"].to_pylist() == [pytest.approx(seconds)]


def test_an_index_from_before_these_columns_is_opened(tmp_path: Path) -> None:
    members = [("k.flac", AUDIO[0]), ("k.json", as_json(texts={"playlist": ["one"]}))]
    corpus = adopted(tmp_path, members)
    assert pq.read_schema(tmp_path / "corpus" / INDEX_NAME).names == corpus.table.schema.names[:8]
    assert texts_of(corpus, 0) == {"playlist": ["one"]}


def test_shards_on_other_storage_are_adopted_in_order(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    uris = []
    for number in range(9):
        shard = write_tar(tmp_path / "x.tar", [(f"k.{kind}", content) for kind, content in laion(number).items()])
        fs.pipe_file(f"/adoption/{number}.tar", Path(shard).read_bytes())
        uris.append(f"memory://adoption/{number}.tar")
    index_shards(reversed(uris), "memory://adoption/corpus", keys_restart=True)
    corpus = Corpus.open("memory://adoption/corpus")
    assert corpus.table["recording_id"].to_pylist() == [f"{number}/k" for number in range(8, -1, -1)]
    assert [read_record(corpus, 8 - number).audio for number in range(9)] == AUDIO[:9]
    (fault,) = [found.outcome for found in adopt([uris[0], uris[1]]) if isinstance(found.outcome, BadRecording)]
    assert "pass keys_restart=True" in str(fault)
    fs.rm("/adoption", recursive=True)


def test_training_reads_an_adopted_corpus(tmp_path: Path) -> None:
    """Half of the recordings have their members in two places."""
    members = [(f"{number}.{kind}", content) for number in range(6) for kind, content in laion(number).items()]
    apart = [(f"{number}.{kind}", laion(number)[kind]) for kind in ("flac", "json") for number in range(6, 12)]
    corpus = adopted(tmp_path, [*members, *apart])
    ratios = [
        f"data.source_ratio.{source}={int(source == 'tags')}" for source in ("short_form", "playlist", "audioset")
    ]
    settings = [*ratios, "data.source_ratio.long_form=1", "data.source_ratio.tags=1", "data.window_s=2.0"]
    settings += ["batch.micro_batches=2", "batch.pairs_per_micro_batch=6", "train.steps=2", "scale.workers=1"]
    settings += ["train.validate_every_steps=0", "train.validation_micro_batches=0"]
    reader = MicroBatchReader.from_recipe(load_recipe("demo_miniature", settings, data_uri=corpus.uri))
    assert reader.tokenizer is not None
    seen = set()
    for item in (Item(Phase.TRAIN, step, micro_batch) for step in range(2) for micro_batch in range(2)):
        batch = reader(item)
        assert batch.skipped == () and batch.waveform.any(axis=(1, 2)).all()
        for name, ids in zip(batch.recording_id, batch.token_ids, strict=True):
            texts = [f"a tone number {name}", "a steady sound", "drone", "sine wave"]
            known = [tokenize([text], reader.tokenizer)[0][0].tolist() for text in texts]
            assert ids.tolist() in known
            seen.add(name)
    assert seen == {str(number) for number in range(12)}
