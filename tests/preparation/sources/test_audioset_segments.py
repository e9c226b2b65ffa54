import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.audioset_segments import REMEDY, Segment, SegmentTable, class_names
from tests.public_metadata import unpacked

FaultsOf = Callable[[str], list[str]]

CLASSES = {"/m/1": "Music", "/m/2": "Speech", "/m/3": "Male speech, man speaking"}
HEADER = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=4\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
ROWS = (
    '-0RWZT-miFs, 420.000, 430.000, "/m/1"\n'
    '--4gqARaEJE, 0.000, 9.500, "/m/2,/m/3"\n'
    'zzbTaK7CXJY, 30.000, 40.000, "/m/1"\n'
)
SEGMENTS = [
    Segment("-0RWZT-miFs", 420, 430, ("/m/1",)),
    Segment("--4gqARaEJE", 0, 9.5, ("/m/2", "/m/3")),
    Segment("zzbTaK7CXJY", 30, 40, ("/m/1",)),
]


def table(folder: Path, text: str) -> SegmentTable:
    (folder / "eval_segments.csv").write_bytes(text.encode())
    return SegmentTable("audioset=/d", str(folder / "eval_segments.csv"))


@pytest.fixture
def faults(tmp_path: Path) -> FaultsOf:
    """Returns a function that returns the faults of a table, without its name and the remedy that each ends with."""

    def found(text: str) -> list[str]:
        faults = table(tmp_path, text).faults(CLASSES, set())
        assert all(fault.endswith(f"; {REMEDY}") for fault in faults)
        return [fault.removesuffix(f"; {REMEDY}").removeprefix(f"{tmp_path}/eval_segments.csv, ") for fault in faults]

    return found


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).removesuffix("\n"),
        HEADER.replace("# YTID", "YTID") + ROWS,
        ROWS,
        "YTID,start_seconds,end_seconds,positive_labels\n" + ROWS.replace(", ", ","),
        "# Segments csv,,,\n" + ROWS.replace(', "/m/1"', ",/m/1"),
        HEADER.replace(", num_segs", ",num_segs").replace("labels=4", "labels=4,,,") + ROWS,
        ROWS.replace(".000", ""),
    ],
)
def test_segments_are_read_also_from_copies_that_have_lost_nothing(text: str, faults: FaultsOf, tmp_path: Path) -> None:
    assert faults(text) == []
    assert list(table(tmp_path, text)) == SEGMENTS
    assert list(table(tmp_path, text)) == SEGMENTS


def test_videos_are_remembered_from_table_to_table(tmp_path: Path) -> None:
    seen = {"-0RWZT-miFs"}
    (fault,) = table(tmp_path, HEADER + ROWS).faults(CLASSES, seen)
    assert "line 4: the video was listed before" in fault
    assert seen == {"-0RWZT-miFs", "--4gqARaEJE", "zzbTaK7CXJY"}


TWO_OF_THREE = "the table ends after 2 of the 3 segments that line 2 states: it is truncated"


@pytest.mark.parametrize(
    ("kept", "line"), [("zzbTa", 6), ("zzbTaK7CXJY, 30.0", 6), ("zzbTaK7CXJY, 30.000, 40.000", 6), ("", 5)]
)
def test_a_truncated_table_is_named_with_the_line_where_it_ends(kept: str, line: int, faults: FaultsOf) -> None:
    text = HEADER + "".join(ROWS.splitlines(keepends=True)[:2]) + kept
    assert faults(text) == [f"line {line}: {TWO_OF_THREE}"]


def test_a_table_that_ends_within_quotes_is_damaged(faults: FaultsOf) -> None:
    (fault,) = faults((HEADER + ROWS).removesuffix('1"\n'))
    assert fault.startswith("line 6: damaged row")


def test_an_incomplete_row_is_named_without_statements_about_the_table(faults: FaultsOf) -> None:
    incomplete = "fewer than 4 fields: the row is incomplete"
    assert faults(ROWS.replace(', "/m/2,/m/3"', "")) == [f"line 2: {incomplete}"]
    assert faults(ROWS.replace(', 30.000, 40.000, "/m/1"', "")) == [f"line 3: {incomplete}"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("-0RWZT-miFs", "#NAME?", "a spreadsheet has replaced the id, which began with a hyphen, by #NAME?"),
        ("-0RWZT-miFs", "0RWZT-miFs", "the first field is not the id of a YouTube video"),
        ("-0RWZT-miFs", "../../etc/x", "the first field is not the id of a YouTube video"),
        ("420.000", "start", "start and end are not numbers of seconds"),
        ("420.000, 430.000", "420000, 430000", "start and end are not those of at most 10 s"),
        ("420.000", "430.000", "start and end are not those of at most 10 s"),
        ("420.000", "-1", "start and end are not those of at most 10 s"),
        ("420.000", "nan", "start and end are not those of at most 10 s"),
        ("430.000", "inf", "start and end are not those of at most 10 s"),
        ('430.000, "/m/1"', '430.000, ""', "it has no label, or an empty one"),
        ('430.000, "/m/1"', '430.000, "/m/1,"', "it has no label, or an empty one"),
        ('430.000, "/m/1"', "430.000, /m/1,/m/2", "more than 4 fields: the quotes around its labels are lost"),
        ('430.000, "/m/1"', '430.000, "/m/9"', "its label /m/9 is not in class_labels_indices.csv"),
        ("zzbTaK7CXJY", "-0RWZT-miFs", "the video was listed before"),
    ],
)
def test_a_damaged_row_is_named(old: str, new: str, fault: str, faults: FaultsOf) -> None:
    (found,) = faults(HEADER + ROWS.replace(old, new, 1))
    line = 6 if old.startswith("zz") else 4
    assert found.startswith(f"line {line}: {fault}")


def test_all_damaged_rows_are_named_by_fault(faults: FaultsOf) -> None:
    text = ROWS.replace("-0RWZT-miFs", "#NAME?").replace("--4gqARaEJE", "#NAME?").replace("/m/1", "/m/7")
    spreadsheet, label = faults(HEADER + text)
    assert spreadsheet.startswith("lines 4, 5: a spreadsheet")
    assert label == "line 6: its label /m/7 is not in class_labels_indices.csv"


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ("num_ytids=4", "num_ytids=4, but the table has 3"),
        ("num_segs=2", "num_segs=2, but the table has 3"),
        ("num_unique_labels=2", "num_unique_labels=2, but the table has 3"),
        ("num_positive_labels=5", "num_positive_labels=5, but the table has 4"),
    ],
)
def test_a_table_has_what_its_comments_state(claim: str, fault: str, faults: FaultsOf) -> None:
    name = claim.partition("=")[0]
    text = re.sub(rf"{name}=\d+", claim, HEADER)
    assert faults(text + ROWS) == [f"line 2: {fault}"]


def test_a_table_without_rows_is_damaged(faults: FaultsOf) -> None:
    assert faults("YTID, start_seconds, end_seconds, positive_labels\n") == ["line 1: the table has no rows"]


NAMES = 'index,mid,display_name\n0,/m/1,"Music"\n1,/m/2,Speech\n2,/m/3,"Male speech, man speaking"\n'


@pytest.mark.parametrize("text", [NAMES, NAMES.replace("\n", "\r\n"), NAMES.replace("index,mid", "index, mid")])
def test_class_names_are_read_in_their_order(text: str) -> None:
    names = class_names("audioset=/d", "labels.csv", text)
    assert list(names.items()) == list(CLASSES.items())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"Male speech, man speaking"', "Male_speech,_man_speaking", "line 4: not 3 fields"),
        ("1,/m/2", "0,/m/2", "line 3: the index does not follow"),
        ("/m/2,Speech", "/m/1,Speech", "line 3: the class is listed a second time"),
        ("Speech\n", "Music\n", "line 3: the class is listed a second time"),
        ("index,mid", "index,id", "line 1: the header is not index,mid,display_name"),
        ('man speaking"\n', "man speaking", "line 4: damaged row"),
    ],
)
def test_a_damaged_table_of_classes_is_named(old: str, new: str, fault: str) -> None:
    with pytest.raises(SourceError) as error:
        class_names("audioset=/d", "/d/labels.csv", NAMES.replace(old, new))
    assert str(error.value).startswith(f"source audioset=/d: /d/labels.csv, {fault}")
    assert REMEDY in str(error.value)


def genuine_names(folder: Path) -> dict[str, str]:
    path = unpacked("audioset/class_labels_indices.csv", folder)
    return class_names("audioset=/d", str(path), path.read_text(encoding="utf-8"))


def genuine_table(name: str, folder: Path) -> SegmentTable:
    return SegmentTable("audioset=/d", str(unpacked(f"audioset/{name}", folder)))


def test_the_genuine_classes_are_those_of_csv(tmp_path: Path) -> None:
    names = genuine_names(tmp_path)
    with (tmp_path / "class_labels_indices.csv").open(newline="") as file:
        assert names == {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    assert len(names) == len(set(names.values())) == 527
    assert sum("," in name for name in names.values()) == 75


def test_the_genuine_tables_have_the_published_numbers(tmp_path: Path) -> None:
    names, seen = genuine_names(tmp_path), set[str]()
    tables = [genuine_table(f"{part}_segments.csv", tmp_path) for part in ("eval", "balanced_train")]
    assert [table.faults(names, seen) for table in tables] == [[], []]
    evaluation, training = map(list, tables)
    assert (len(evaluation), len(training), len(seen)) == (20371, 22160, 20371 + 22160)
    assert [sum(len(segment.labels) for segment in part) for part in (evaluation, training)] == [51804, 52882]
    assert [len({label for segment in part for label in segment.labels}) for part in (evaluation, training)] == [
        527,
        527,
    ]
    whole = [
        sum(round(segment.end_s - segment.start_s, 3) == 10 for segment in part) for part in (evaluation, training)
    ]
    assert whole == [20010, 21815]
    assert sum(segment.youtube_id.startswith("-") for segment in evaluation) == 392


@pytest.mark.parametrize("copy", ["header_no_hash", "no_header_comma"])
def test_genuine_copies_with_another_header_are_read_like_the_original(copy: str, tmp_path: Path) -> None:
    names, original = genuine_names(tmp_path), genuine_table("eval_segments.csv", tmp_path)
    changed = genuine_table(f"damaged_copies/{copy}/eval_segments.csv", tmp_path)
    assert changed.faults(names, set()) == []
    assert list(changed) == list(original)


@pytest.mark.parametrize(
    ("copy", "fault"),
    [
        (
            "truncated/eval_segments.csv",
            "eval_segments.csv, line 14036: the table ends after 14032 of the 20371 segments that line 2 states: it is "
            f"truncated; {REMEDY}",
        ),
        (
            "spreadsheet_name_error/balanced_train_segments.csv",
            "balanced_train_segments.csv, lines 3, 4, 5, 6, 7, 8, 9, 39, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, "
            "96 and 351 more: a spreadsheet has replaced the id, which began with a hyphen, by #NAME?; " + REMEDY,
        ),
        (
            "locale_thousands/balanced_train_segments.csv",
            f"balanced_train_segments.csv, lines {', '.join(map(str, range(4, 24)))} and 22140 more: start and end are "
            "not those of at most 10 s; with 30000 for 30.000, a spreadsheet took the point for a separator of "
            f"thousands; {REMEDY}",
        ),
    ],
)
def test_genuine_damaged_copies_have_one_fault(copy: str, fault: str, tmp_path: Path) -> None:
    names = genuine_names(tmp_path)
    (found,) = genuine_table(f"damaged_copies/{copy}", tmp_path).faults(names, set())
    assert found == f"{tmp_path}/{fault}"


def test_a_genuine_copy_of_the_classes_without_quotes_is_damaged(tmp_path: Path) -> None:
    path = unpacked("audioset/damaged_copies/underscored/class_labels_indices.csv", tmp_path)
    lines = path.read_text().splitlines()
    ragged = [number for number, line in enumerate(lines, 1) if line.count(",") != 2]
    with pytest.raises(SourceError) as error:
        class_names("audioset=/d", "labels.csv", path.read_text())
    named = ", ".join(map(str, ragged[:20]))
    assert error.value.faults == (
        f"labels.csv, lines {named} and {len(ragged) - 20} more: not 3 fields: the quotes around names with commas are "
        f"lost; {REMEDY}",
    )
