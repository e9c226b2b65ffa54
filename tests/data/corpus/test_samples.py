"""Tests which files of a tar belong together, against the webdataset library, and in which ranges of bytes they are."""

import io
import random
import tarfile
from pathlib import Path

import pytest
import webdataset

from mulan.data.corpus.samples import Sample, samples
from mulan.data.corpus.tar_members import iter_entries
from mulan.data.errors import BadRecording
from tests.data.corpus.tars import write_tar


def samples_of(path: Path, names: list[str]) -> list[Sample]:
    write_tar(path, [(name, name.encode() * 50) for name in names])
    with path.open("rb") as file:
        return list(samples(iter_entries(file)))


def grouped(path: Path, names: list[str]) -> list[tuple[str, list[str]]]:
    return [(sample.key, [entry.name for _, entry in sample.members]) for sample in samples_of(path, names)]


def test_shuffled_files_are_grouped_like_sorted_ones_by_the_webdataset_library(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(20):
        keys = draw.sample([f"{folder}{stem}" for folder in ("", "a/", "a.b/c/") for stem in "xyz"], 6)
        names = [
            f"{key}.{extension}"
            for key in sorted(keys)
            for extension in draw.sample(("flac", "json", "txt", "cls", "seg.npy", "cover.jpg"), draw.randint(1, 5))
        ]
        sorted_tar = write_tar(tmp_path / "sorted.tar", [(name, b"x") for name in names])
        theirs = {
            sample["__key__"]: {name for name in sample if not name.startswith("__")}
            for sample in webdataset.WebDataset(sorted_tar, shardshuffle=False)
        }
        draw.shuffle(names)
        ours = samples_of(tmp_path / "shuffled.tar", names)
        assert {sample.key: {extension for extension, _ in sample.members} for sample in ours} == theirs
        assert [sample.key for sample in ours] == list(dict.fromkeys(name_key(name) for name in names))


def name_key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["v1.0.flac", "v1.0.json", "v1.1.flac", "v1.1.json"],
            [("v1.0", ["v1.0.flac", "v1.0.json"]), ("v1.1", ["v1.1.flac", "v1.1.json"])],
        ),
        (
            ["s/v1.0.flac", "s/v1.1.flac", "s/v1.0.json", "s/v1.json"],
            [("s/v1.0", ["s/v1.0.flac", "s/v1.0.json"]), ("s/v1.1", ["s/v1.1.flac"]), ("s/v1", ["s/v1.json"])],
        ),
        (["v1.0.flac", "v1.0.json"], [("v1", ["v1.0.flac", "v1.0.json"])]),
        (["a.flac", "a.mp3", "a.json"], [("a", ["a.flac", "a.mp3", "a.json"])]),
        (["a.flac", "a.json", "a.flac", "a.json"], [("a", ["a.flac", "a.json", "a.flac", "a.json"])]),
        (
            ["a.flac", "a.json", "b.flac", "a.FLAC", "a.json"],
            [("a", ["a.flac", "a.json"]), ("a", ["a.FLAC", "a.json"]), ("b", ["b.flac"])],
        ),
        (
            ["v.1.flac", "v.2.flac", "x.flac", "v.1.flac"],
            [("v.1", ["v.1.flac"]), ("v.1", ["v.1.flac"]), ("v.2", ["v.2.flac"]), ("x", ["x.flac"])],
        ),
    ],
    ids=["dots", "a common text", "one with dots", "formats", "repeated", "repeated later", "dots repeated"],
)
def test_names_with_dots_and_repeated_names_are_divided(
    names: list[str], expected: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    assert grouped(tmp_path / "a.tar", names) == expected


@pytest.mark.parametrize(
    ("names", "ranges"),
    [
        (["a.flac", "a.json"], [["a.flac", "a.json"]]),
        (["a.jpg", "a.flac", "README", "a.npy", "a.json", "a.png"], [["a.flac", "README", "a.npy", "a.json"]]),
        (["a.json", "b.flac", "a.jpg", "a.flac", "b.json", "a.txt"], [["a.json"], ["a.flac"], ["a.txt"]]),
        (["a.flac", "b.flac", "a.npy", "b.txt", "a.json"], [["a.flac"], ["a.json"]]),
    ],
)
def test_the_concatenated_ranges_are_a_tar_of_what_is_needed(
    names: list[str], ranges: list[list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    first = next(sample for sample in samples_of(path, names) if sample.key == "a")
    found, content = first.ranges(first.audio()), path.read_bytes()
    parts = [content[offset : offset + length] for offset, length in found]
    together = [name for some in ranges for name in some]
    for part, expected in zip([*parts, b"".join(parts)], [*ranges, together], strict=True):
        with tarfile.open(fileobj=io.BytesIO(part + bytes(1024))) as tar:
            assert tar.getnames() == expected
            for name in expected:
                member = tar.extractfile(name)
                assert member is not None and member.read() == name.encode() * 50


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.json", "a.txt"], "no audio: a needs one audio member and has none"),
        (["a.flac", "a.mp3"], "has several: flac, mp3"),
        (["a.bin", "a.dat"], "has several: bin, dat"),
        (["a.flac", "a.json", "a.json"], r"not one recording: there are several a\.json"),
    ],
)
def test_recordings_without_one_audio_file_are_bad(names: list[str], words: str, tmp_path: Path) -> None:
    (sample,) = samples_of(tmp_path / "a.tar", names)
    with pytest.raises(BadRecording, match=words):
        sample.audio()


def test_the_only_other_file_is_audio_of_an_unknown_format(tmp_path: Path) -> None:
    (sample,) = samples_of(tmp_path / "a.tar", ["a.json", "a.bin", "a.cls", "a.caption.txt"])
    assert sample.audio().name == "a.bin"
    assert [extension for extension, _ in sample.texts()] == ["json", "cls", "caption.txt"]
