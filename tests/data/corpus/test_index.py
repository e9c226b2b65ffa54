"""Tests that all faults of an index are listed, and that batches do not depend on the location of the corpus."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from mulan.config.sections import SOURCES, STORED_SOURCES
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index import INDEX_NAME, SCHEMA, SPLITS, Corpus, Location, index_row, index_table, write_index
from mulan.data.corpus.records import read_record
from mulan.data.errors import CorpusError
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.recipes.registry import load_recipe


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "recording_id": f"r{number}",
        "uri": "shards/0.tar",
        "offset": 512 * number,
        "length": 512,
        "duration_s": 1.0,
        "split": "train",
        "sources": ["short_form"],
        "tags": [],
        "fields": "",
        "further_ranges": [],
    } | changes


def faults_of(folder: Path, content: bytes | pa.Table | None = None) -> str:
    folder.mkdir(exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, folder / INDEX_NAME)
    elif content is not None:
        (folder / INDEX_NAME).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        Corpus.open(str(folder))
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_copies_have_the_same_digest_and_other_corpora_do_not(tmp_path: Path) -> None:
    rows = {"one": [row(0), row(1)], "other": [row(0), row(2)]}
    for name, content in rows.items():
        write_index(pa.Table.from_pylist(content, SCHEMA), str(tmp_path / name))
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    one, other, copy = (Corpus.open(str(tmp_path / name)).index_sha256 for name in ("one", "other", "copy"))
    assert one == copy != other
    assert len(one) == 64


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=rf"{tmp_path}/nowhere: there is no index\.parquet"):
        Corpus.open(str(tmp_path / "nowhere"))
    assert "there is no index.parquet" in faults_of(tmp_path / "empty")
    with pytest.raises(CorpusError, match="there is no index"):
        Corpus.open("memory://no-such-corpus")
    with pytest.raises(CorpusError, match="nosuchprotocol"):
        Corpus.open("nosuchprotocol://corpus")
    (tmp_path / "folder" / INDEX_NAME).mkdir(parents=True)
    assert "cannot be read" in faults_of(tmp_path / "folder")


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    whole = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row(0)], SCHEMA), whole)
    for content in (b"", b"recording_id,uri\n", whole.getvalue()[:-9]):
        assert "index.parquet is not a Parquet file" in faults_of(tmp_path, content)


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0)], SCHEMA).drop_columns(["uri", "split", "tags"])
    assert "lacks columns: uri, split, tags" in faults_of(tmp_path, table)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("offset", pa.array(["here"])),
        ("sources", pa.array(["short_form"])),
        ("duration_s", pa.array([{"s": 1}])),
        ("uri", pa.array([None], pa.string())),
        ("length", pa.array([0.5])),
    ],
)
def test_a_column_of_the_wrong_type_is_named(column: str, values: pa.Array, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0)], SCHEMA)
    table = table.set_column(SCHEMA.names.index(column), column, values)
    assert "has a column of the wrong type" in faults_of(tmp_path, table)


def test_all_invalid_rows_are_listed(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)]
    rows += [row(20 + number, offset=-1) for number in range(4)]
    rows += [row(30, length=0), row(31, length=-512), row(40, duration_s=0.0), row(41, duration_s=float("nan"))]
    rows += [
        row(50, split="dev"),
        row(7),
        row(8),
        row(60, further_ranges=[512]),
        row(61, further_ranges=[0, 512, -1, 9]),
    ]
    rows += [row(62, fields="{}"), row(63, fields='{"texts": {"lyrics": ["x"]}, "tags": []}')]
    message = faults_of(tmp_path, pa.Table.from_pylist(rows, SCHEMA))
    for fault in (
        "4 recordings have a negative offset (r20, r21, r22, ...)",
        "2 recordings have a length that is not positive (r30, r31)",
        "2 recordings have a duration that is not positive (r40, r41)",
        "1 recordings have a split other than train, validation, test (r50)",
        "2 recording ids occur more than once (r7, r8)",
        "1 recordings have half a range (r60)",
        "further_ranges has negative, too large or empty ranges",
        "fields has '{}': not the names of fields",
        "unknown text sources: lyrics",
    ):
        assert fault in message
    assert "the index has no rows" in faults_of(tmp_path, pa.Table.from_pylist([], SCHEMA))


def test_rows_equal_those_of_a_loop(tmp_path: Path) -> None:
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
    write_index(pa.Table.from_pylist(rows, SCHEMA), str(tmp_path))
    corpus = Corpus.open(str(tmp_path))
    for split in SPLITS:
        expected = [number for number in range(200) if rows[number]["split"] == split]
        assert corpus.rows(split).tolist() == expected
        by_source = corpus.rows_by_source(split)
        assert list(by_source) == list(SOURCES)
        for source in STORED_SOURCES:
            assert by_source[source].tolist() == [number for number in expected if source in rows[number]["sources"]]
        assert by_source["tags"].tolist() == [number for number in expected if rows[number]["tags"]]


def test_other_integer_types_and_column_orders_are_accepted(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0), row(1)], SCHEMA)
    offsets = table["offset"].cast(pa.int32())
    table = table.set_column(2, "offset", offsets).append_column("comment", pa.array(["a", "b"]))
    pq.write_table(table.select([*reversed(SCHEMA.names), "comment"]), tmp_path / INDEX_NAME)
    corpus = Corpus.open(str(tmp_path))
    assert corpus.table.schema == SCHEMA
    assert corpus.locations([1]) == [Location(f"{tmp_path}/shards/0.tar", 512, 512)]


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
    corpus = Corpus(corpus_uri, pa.Table.from_pylist([row(0, uri="other"), row(1, uri=uri)], SCHEMA), "")
    assert corpus.locations([1]) == [Location(resolved, 512, 512)]


def test_columns_that_an_index_lacks_are_the_defaults_and_are_not_written(tmp_path: Path) -> None:
    """So that an index without them keeps its bytes, by which a run recognizes its corpus."""
    fields, old = Fields(tags=("t",)).to_json(), pa.schema(list(SCHEMA)[:8])
    for number, (first, second, written) in enumerate(
        (
            (row(0), row(1), old.names),
            (row(0), row(1, fields=fields), [*old.names, "fields"]),
            (row(0), row(1, further_ranges=[0, 512, 4096, 512]), [*old.names, "further_ranges"]),
        )
    ):
        folder = tmp_path / str(number)
        write_index(pa.Table.from_pylist([first, second], SCHEMA), str(folder))
        assert pq.read_schema(folder / INDEX_NAME).names == written
        corpus = Corpus.open(str(folder))
        assert corpus.table.schema == SCHEMA
        assert corpus.table.to_pylist() == [first, second]
        further = tuple(second["further_ranges"])
        assert corpus.locations([1]) == [Location(f"{folder}/shards/0.tar", 512, 512, further, second["fields"])]
        ranges = [(512, 512), (0, 512), (4096, 512)] if further else [(512, 512)]
        assert corpus.locations([1])[0].ranges == ranges
    write_index(pa.Table.from_pylist([row(0), row(1)], old), str(tmp_path / "old"))
    assert Corpus.open(str(tmp_path / "old")).index_sha256 == Corpus.open(str(tmp_path / "0")).index_sha256


def test_a_part_of_a_split_does_not_depend_on_the_order_of_the_index() -> None:
    rows = [row(number, split="test" if number % 5 == 0 else "train") for number in range(100)]
    whole, reversed_ = (
        Corpus("c", pa.Table.from_pylist(some, SCHEMA), digest) for some, digest in ((rows, "a"), (rows[::-1], "b"))
    )
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


def test_an_index_is_written_atomically(tmp_path: Path) -> None:
    write_index(pa.Table.from_pylist([row(0)], SCHEMA), str(tmp_path))
    before = (tmp_path / INDEX_NAME).read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        write_index(pa.Table.from_pylist([row(0)], SCHEMA).set_column(2, "offset", pa.array(["x"])), str(tmp_path))
    assert (tmp_path / INDEX_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_NAME]


def test_a_table_of_many_rows_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulan.data.corpus.index._ROWS_AT_ONCE", 2)
    metadata = {"duration_s": 1.0, "texts": {"short_form": ["x"]}}
    rows = [index_row(f"{n}", "a.tar", [(n, 1)], metadata, fields=f"{{{n % 3}}}") for n in range(5)]
    table = index_table(iter(rows))
    assert table.schema == SCHEMA
    assert table.to_pylist() == rows
    assert index_table([]).num_rows == 0
