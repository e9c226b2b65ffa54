"""Tests the messages about faults of sources, and their bounds."""

import pickle

from mulan.config.errors import MulanError
from mulan.preparation.faults import NAMED, Faults, SourceError, at_line


def test_a_single_fault_is_one_line() -> None:
    error = SourceError("mtat=/data", ["a.csv, line 3: damaged; download it again"])
    assert str(error) == "source mtat=/data: a.csv, line 3: damaged; download it again"
    assert isinstance(error, MulanError) and isinstance(error, ValueError) and error.exit_code == 2


def test_several_faults_are_listed_up_to_a_limit() -> None:
    faults = [f"fault {number}" for number in range(25)]
    lines = str(SourceError("mtat=/data", faults)).split("\n")
    assert lines == [
        "source mtat=/data has 25 faults:",
        *(f"  - fault {number}" for number in range(20)),
        "  and 5 more",
    ]
    assert "more" not in str(SourceError("mtat=/data", faults[:20]))
    assert str(SourceError("mtat=/data", faults[:1], count=7)).split("\n")[-1] == "  and 6 more"


def test_names_from_outside_cannot_forge_lines() -> None:
    message = str(SourceError("mtat=/da\nta", ["x\r\n\x1b[2Jsource ok", "\ud800" + "y" * 5000]))
    assert len(message.split("\n")) == 3 and "\x1b" not in message and "\r" not in message
    assert message.encode() and len(message) < 2500


def test_an_error_can_be_sent_between_processes() -> None:
    error = SourceError("mtat=/data", [f"fault {number}" for number in range(25)])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.source, copy.faults, copy.count) == (str(error), "mtat=/data", error.faults, 25)


def test_a_fault_has_its_file_and_line() -> None:
    assert at_line("s3://b/a.csv", 7, "cut") == "s3://b/a.csv, line 7: cut"


def test_all_recordings_are_counted_and_the_first_ones_named() -> None:
    faults = Faults()
    assert faults.left_out == 0 and not faults.named
    for number in range(1000):
        faults.missing(f"id {number}", f"/music/{number}.mp3")
    faults.add("known to be corrupt", "6/a\nb.mp3")
    assert faults.left_out == 1001
    assert faults.counts == {"missing audio": 1000, "known to be corrupt": 1}
    assert faults.named["known to be corrupt"] == ["6/a b.mp3"]
    named = faults.named["missing audio"]
    assert named == [f"id {number}: there is no /music/{number}.mp3" for number in range(NAMED)]
