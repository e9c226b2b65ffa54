"""Tests which rows a corpus has, and that batches do not depend on its location."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from mulan.config.sections import SOURCES, STORED_SOURCES
from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.index_rows import SCHEMA, write_index
from mulan.data.corpus.metadata import SPLITS
from mulan.data.corpus.records import read_record
from mulan.data.errors import CorpusError
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.recipes.registry import load_recipe
from tests.data.corpus.indexed import corpus_of_table, row


def test_rows_equal_those_of_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(
            number,
            split=str(rng.choice(SPLITS)),
            sources=[source for source in (*STORED_SOURCES, "lyrics") if rng.random() < 0.4],
            tags=["genre:jazz", "夜曲"][: rng.integers(3)],
        )
        for number in range(200)
    ]
    monkeypatch.setattr("mulan.data.corpus.index._BLOCK", 64)  # so that there are several
    write_index(pa.Table.from_pylist(rows, SCHEMA), str(tmp_path))
    corpus = Corpus.open(str(tmp_path))
    assert corpus.recordings == 200
    for split in SPLITS:
        expected = [number for number in range(200) if rows[number]["split"] == split]
        assert corpus.rows(split).tolist() == expected
        by_source = corpus.rows_by_source(split)
        assert list(by_source) == list(SOURCES)
        for source in STORED_SOURCES:
            assert by_source[source].tolist() == [number for number in expected if source in rows[number]["sources"]]
        assert by_source["tags"].tolist() == [number for number in expected if rows[number]["tags"]]
        assert all(found.dtype == np.uint32 for found in by_source.values())
    for part in (corpus, corpus.with_at_most(50, "train")):
        tags = part.table["tags"].to_pylist()
        for prefix in ("", "genre:", "夜", "no"):
            expected_mask = [any(tag.startswith(prefix) for tag in some) for some in tags]
            assert part.has_tag_with(prefix).tolist() == expected_mask
        assert sorted(part.tags()) == sorted({tag for some in tags for tag in some})


@pytest.mark.parametrize(
    ("corpus_uri", "uri", "resolved"),
    [
        ("s3://bucket/tones", "shards/0.tar", "s3://bucket/tones/shards/0.tar"),
        ("s3://bucket/tones/", "shards/0.tar", "s3://bucket/tones/shards/0.tar"),
        ("/data/tones", "shards/0.tar", "/data/tones/shards/0.tar"),
        ("/data/tones", "/elsewhere/0.tar", "/elsewhere/0.tar"),
        ("/data/tones", "s3://bucket/0.tar", "s3://bucket/0.tar"),
    ],
)
def test_uris_of_shards_are_resolved_against_the_index(corpus_uri: str, uri: str, resolved: str) -> None:
    rows = pa.Table.from_pylist([row(0, uri="other"), row(1, uri=uri)], SCHEMA)
    corpus = replace(corpus_of_table(rows), uri=corpus_uri)
    assert corpus.locations([1]) == [Location(resolved, 512, 512)]


def test_a_part_of_a_split_does_not_depend_on_the_order_of_the_index() -> None:
    rows = [row(number, split="test" if number % 5 == 0 else "train") for number in range(100)]
    whole, reversed_ = (corpus_of_table(pa.Table.from_pylist(some, SCHEMA)) for some in (rows, rows[::-1]))
    names = [set(corpus.with_at_most(30, "train").table["recording_id"].to_pylist()) for corpus in (whole, reversed_)]
    assert names[0] == names[1] and len(names[0]) == 30 + 20
    fewer = whole.with_at_most(10, "train")
    assert set(fewer.table["recording_id"].to_pylist()) < names[0]
    assert fewer.table["recording_id"].to_pylist() == sorted(
        fewer.table["recording_id"].to_pylist(), key=whole.table["recording_id"].to_pylist().index
    )
    assert (fewer.at_most, fewer.index_sha256) == ({"train": 10}, whole.index_sha256)
    assert whole.with_at_most(80, "train") is whole


def copy_tree(folder: str, uri: str) -> None:
    fs, target = fsspec.core.url_to_fs(uri)
    for file in Path(folder).rglob("*"):
        if file.is_file():
            fs.pipe_file(f"{target}/{file.relative_to(folder)}", file.read_bytes())


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    """A bucket of a local server with the S3 API."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.delenv("AWS_PROFILE", raising=False)
        s3fs.S3FileSystem.clear_instance_cache()  # which would use an earlier endpoint
        s3fs.S3FileSystem().mkdir("corpora")
        yield "s3://corpora"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def batches(uri: str) -> Iterator[dict[str, Any]]:
    """Yields the columns of all micro-batches of a short run."""
    recipe = load_recipe("demo_miniature", ["train.steps=3", "train.validate_every_steps=0"], data_uri=uri)
    read = MicroBatchReader.from_recipe(recipe)
    schedule = Schedule(recipe.train, recipe.batch, 0, 1)
    return (read(schedule[number]).to_columns() for number in range(len(schedule)))


def test_batches_do_not_depend_on_the_location_of_the_corpus(tiny_corpus: str, s3_bucket: str) -> None:
    """Compares a local disk and S3."""
    memory = "memory://tones"
    for uri in (s3_bucket + "/tones", memory):
        copy_tree(tiny_corpus, uri)
        assert read_record(Corpus.open(uri), 3) == read_record(Corpus.open(tiny_corpus), 3)
    everywhere = (batches(tiny_corpus), batches(s3_bucket + "/tones"), batches(memory))
    count = 0
    for local, on_s3, in_memory in zip(*everywhere, strict=True):
        assert local["about"] == on_s3["about"] == in_memory["about"]
        for name in ("waveform", "token_ids", "attention_mask"):
            assert local[name].dtype == on_s3[name].dtype == in_memory[name].dtype
            assert local[name].tobytes() == on_s3[name].tobytes() == in_memory[name].tobytes()
        count += 1
    assert count == 3 * 2 + 2
    fsspec.filesystem("memory").rm("/tones", recursive=True)


def test_a_missing_bucket_is_named(s3_bucket: str) -> None:
    with pytest.raises(CorpusError, match=r"corpus s3://absent/tones: .*index\.parquet"):
        Corpus.open("s3://absent/tones")
    with pytest.raises(CorpusError, match="there is no index"):
        Corpus.open(f"{s3_bucket}/nothing")
