"""Tests the reading of labelled texts and the faults of their files."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from mulan.preparation.faults import SourceError
from mulan.preparation.texts.labels import read_labels


def test_labels_are_written_in_several_ways(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    words = ["1", "true", "Music", "YES", "0", "False", "other", " no "]
    table.write_text("text,label\n" + "".join(f"text {word.strip()},{word}\n" for word in words))
    labelled = read_labels(str(table), min_of_each=4)
    assert labelled.texts[2] == "text Music"
    assert labelled.labels == (True,) * 4 + (False,) * 4
    assert labelled.counts == {"music": 4, "other": 4}


def test_labels_may_be_numbers_and_booleans(tmp_path: Path) -> None:
    lines = tmp_path / "labels.jsonl"
    lines.write_text('{"text": "a", "label": true}\n{"text": "b", "label": 0}\n{"text": "c", "label": 1.0}\n')
    assert read_labels(str(lines), min_of_each=1).labels == (True, False, True)
    path = str(tmp_path / "labels.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [1.0, 0.0]}), path)
    assert read_labels(path, min_of_each=1).labels == (True, False)


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("text,label\na,1\n a ,music\nb,0\n")
    labelled = read_labels(str(table), min_of_each=1)
    assert (labelled.texts, labelled.labels) == (("a", "b"), (True, False))


def test_all_faults_are_listed_with_their_lines(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("text,label\na,1\n,0\nb,maybe\na,0\nc,\nb,0\n")
    with pytest.raises(SourceError) as raised:
        read_labels(str(table), min_of_each=1)
    assert raised.value.faults == (
        f"{table}, line 3: has no text, or one that is not Unicode; write it or remove the row",
        f"{table}, line 4: label 'maybe' is unknown; write 1 for texts that describe music and 0 for others",
        f"{table}, line 5: the same text has the other label in line 2; decide for one",
        f"{table}, line 6: label '' is unknown; write 1 for texts that describe music and 0 for others",
    )


def test_texts_of_other_types_are_faults(tmp_path: Path) -> None:
    lines = tmp_path / "labels.jsonl"
    rows = ['{"text": 5, "label": 1}', '{"label": 1}', '{"text": "\\ud800", "label": 1}', '{"text": "a", "label": [1]}']
    lines.write_text("\n".join(rows))
    with pytest.raises(SourceError) as raised:
        read_labels(str(lines), min_of_each=1)
    assert [fault.partition(": ")[0].rpartition(" ")[2] for fault in raised.value.faults] == ["1", "2", "3", "4"]


def test_too_few_texts_of_a_label_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("text,label\na,1\nb,1\nc,1\n")
    with pytest.raises(SourceError, match=r"0 texts are labelled other \(0\); label at least 2, better hundreds"):
        read_labels(str(table), min_of_each=2)
