"""Tests that ids which occur more than once are found by their hashes, and that all faults are counted."""

import numpy as np
import pyarrow as pa
import pytest

from mulan.data.corpus import index_checks
from mulan.data.corpus.index_checks import RowChecks, converted, text_hashes
from mulan.data.corpus.index_rows import SCHEMA
from tests.data.corpus.indexed import row


def checks_of(*batches: list[dict[str, object]]) -> tuple[RowChecks, pa.RecordBatch]:
    rows = [converted(pa.RecordBatch.from_pylist(batch, SCHEMA), SCHEMA.names) for batch in batches]
    checks = RowChecks(sum(batch.num_rows for batch in rows))
    for batch in rows:
        checks.add(batch)
    return checks, pa.concat_batches([batch.select(["recording_id"]) for batch in rows])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_only_equal_texts_have_equal_hashes(kind: pa.DataType) -> None:
    rng = np.random.default_rng(0)
    texts = sorted({"".join(rng.choice(list("ab\0ü"), rng.integers(0, 40))) for _ in range(5000)})
    hashes = text_hashes(pa.array(texts, kind))
    assert len(set(hashes.tolist())) == len(texts)
    assert np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16).min() > len(texts) / 16 * 0.7
    order = rng.permutation(len(texts))
    assert (text_hashes(pa.array([texts[row] for row in order], kind)) == hashes[order]).all()
    assert (text_hashes(pa.array(texts, kind).slice(7, 100)) == hashes[7:107]).all()
    assert text_hashes(pa.array([], kind)).tolist() == []


def test_repeated_ids_are_found_in_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_checks, "_BLOCK", 3)
    checks, ids = checks_of([row(n) for n in range(5)], [row(4), row(7), row(0)], [row(9), row(0)])
    assert checks.faults(ids) == ["2 recording ids occur more than once (r0, r4)"]


def test_ids_with_equal_hashes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_checks, "text_hashes", lambda array: np.zeros(len(array), np.uint64))
    assert checks_of([row(n) for n in range(5)])[0].faults(checks_of([row(n) for n in range(5)])[1]) == []
    checks, ids = checks_of([row(0), row(1), row(0)])
    assert checks.faults(ids) == ["1 recording ids occur more than once (r0)"]


def test_faults_of_all_batches_are_counted() -> None:
    checks, ids = checks_of(
        [row(0, offset=-1), row(1)], [row(2, offset=-1), row(3, offset=2**62 + 1, length=2**62 + 1)]
    )
    assert checks.faults(ids) == [
        "2 recordings have a negative offset (r0, r2)",
        "1 recordings have an offset that is too large (r3)",
        "1 recordings have a length that is too large (r3)",
    ]


def test_columns_with_nulls_are_named() -> None:
    schema = pa.schema([field.with_nullable(True) for field in SCHEMA])
    batch = pa.RecordBatch.from_pylist([row(0, tags=[None], uri=None)], schema)
    checks = RowChecks(1)
    assert not checks.add(converted(batch, SCHEMA.names))
    assert checks.with_nulls == ["uri", "tags"]
