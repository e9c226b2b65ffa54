"""Tests data sets that Hugging Face's library writes, which is not used by what reads them."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.locations import read_audio
from mulan.preparation.sources.hf_dataset import HfConfig, HuggingFaceDataset, split_of
from tests.preparation.tables import write_audio, write_files

FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(decode=False),
        "caption": datasets.Value("string"),
        "genre": datasets.ClassLabel(names=["jazz", "rock"]),
    }
)


def dataset(name: str, rows: int) -> datasets.Dataset:
    """Returns a data set whose audio is not really audio, which its library does not notice."""
    columns = {
        "audio": [{"bytes": f"audio {name} {row}".encode(), "path": f"{name}{row}.wav"} for row in range(rows)],
        "caption": [f"Caption {name} {row}." for row in range(rows)],
        "genre": [row % 2 for row in range(rows)],
    }
    return datasets.Dataset.from_dict(columns).cast(FEATURES)


def found(folder: str | Path, **settings: Any) -> tuple[list[FoundRecording], Faults]:
    faults, source = Faults(), HuggingFaceDataset(str(folder), HfConfig().replace(settings))
    recordings = list(source.recordings(faults))
    assert list(source.recordings(Faults())) == recordings  # it can be called again
    return recordings, faults


def expect(recordings: list[FoundRecording], names: dict[str, tuple[str, int]]) -> None:
    """Checks the recordings of data sets by name: the split of each and its number of rows."""
    rows = [(name, split, row) for name, (split, count) in names.items() for row in range(count)]
    for (name, split, row), each in zip(rows, recordings, strict=True):
        assert each.recording_id == f"{name}{row}"
        assert each.split == split
        assert each.texts == {"long_form": (f"Caption {name} {row}.",)}
        assert each.tags == (f"genre:{['jazz', 'rock'][row % 2]}",)
        assert read_audio(each.audio) == f"audio {name} {row}".encode()
        assert each.audio.version


@pytest.mark.parametrize("place", ["local", "memory"])
def test_a_saved_dictionary_of_splits(place: str, tmp_path: Path) -> None:
    splits = {"train": dataset("a", 7), "val": dataset("b", 2), "other": dataset("c", 3)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path), num_shards={"train": 3, "val": 1, "other": 1})
    folder = str(tmp_path)
    if place == "memory":
        folder = f"memory://{uuid.uuid4().hex}"
        files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        write_files(folder, files)
    recordings, faults = found(folder)
    expect(recordings, {"a": ("train", 7), "b": ("validation", 2), "c": ("", 3)})
    assert faults.left_out == 0
    assert found(folder, split="test")[0][-1].split == "test"


def test_one_saved_data_set(tmp_path: Path) -> None:
    dataset("a", 5).save_to_disk(str(tmp_path))
    expect(found(tmp_path)[0], {"a": ("", 5)})
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"_split": "test"}))
    expect(found(tmp_path)[0], {"a": ("test", 5)})


def test_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("A data set.")
    dataset("a", 3).to_parquet(str(tmp_path / "data" / "train-00000-of-00002.parquet"))
    dataset("b", 4).to_parquet(str(tmp_path / "data" / "train-00001-of-00002.parquet"))
    dataset("c", 2).to_parquet(str(tmp_path / "data" / "validation-00000-of-00001.parquet"))
    expect(found(tmp_path)[0], {"a": ("train", 3), "b": ("train", 4), "c": ("validation", 2)})


def test_equal_names_in_several_files_give_other_ids(tmp_path: Path) -> None:
    for split in ("test", "train"):
        dataset("a", 2).to_parquet(str(tmp_path / f"{split}.parquet"))
    recordings, _ = found(tmp_path)
    assert [each.recording_id for each in recordings] == [f"{s}-00000{i}" for s in ("test", "train") for i in (0, 1)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_audio_folder(kind: str, tmp_path: Path) -> None:
    for split, names in (("train", ["a.mp3", "sub/b.mp3"]), ("test", ["c.mp3"])):
        write_audio(tmp_path / split, names)
        rows = [{"file_name": name, "caption": f"Of {name}."} for name in [*names, "../../x.mp3", "none.mp3"]]
        if kind == "csv":
            content = "file_name,caption\n" + "".join(f"{row['file_name']},{row['caption']}\n" for row in rows)
            write_files(tmp_path / split, {"metadata.csv": content})
        elif kind == "jsonl":
            write_files(tmp_path / split, {"metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
        else:
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / split / "metadata.parquet")
    recordings, faults = found(tmp_path)
    assert [(each.recording_id, each.split, Path(str(read_audio(each.audio)))) for each in recordings] == [
        ("test/c", "test", tmp_path / "test" / "c.mp3"),
        ("train/a", "train", tmp_path / "train" / "a.mp3"),
        ("train/sub/b", "train", tmp_path / "train" / "sub" / "b.mp3"),
    ]
    assert recordings[2].texts == {"long_form": ("Of sub/b.mp3.",)}
    assert faults.counts == {"path outside the folder": 2, "missing audio": 2}


def test_paths_without_bytes_are_files_of_the_folder(tmp_path: Path) -> None:
    write_audio(tmp_path, ["music/a.wav"])
    paths = ["music/a.wav", "/etc/hostname", "../a.wav", "memory://x/a.wav"]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    audio = pa.array([{"bytes": None, "path": path} for path in paths], kind)
    pq.write_table(pa.table({"audio": audio}), tmp_path / "train.parquet")
    recordings, faults = found(tmp_path)
    assert [(each.recording_id, read_audio(each.audio)) for each in recordings] == [
        ("music/a", str(tmp_path / "music" / "a.wav"))
    ]
    assert faults.counts == {"path outside the folder": 3}


def test_damaged_data_sets_are_refused(tmp_path: Path) -> None:
    datasets.DatasetDict(train=dataset("a", 4), test=dataset("b", 4)).save_to_disk(str(tmp_path / "whole"))

    def damaged(name: str) -> Path:
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        return tmp_path / name

    folder = damaged("no shard")
    (folder / "train" / "data-00000-of-00001.arrow").unlink()
    shutil.rmtree(folder / "test")
    with pytest.raises(SourceError) as caught:
        found(folder)
    assert caught.value.count == 2
    assert f"there is no {folder}/train/data-00000-of-00001.arrow, which train/state.json names" in str(caught.value)
    assert f"there is no {folder}/test/state.json; download or save" in str(caught.value)

    folder = damaged("cut")
    path = folder / "test" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SourceError, match=r"test/data-00000-of-00001\.arrow is damaged: "):
        found(folder)

    folder = damaged("escaping")
    (folder / "test" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../whole/test/x.arrow"}]}))
    with pytest.raises(SourceError, match=r"there is no .*/x\.arrow, which test/state\.json names"):
        found(folder)

    folder = damaged("no names")
    for content in ({"_data_files": 5}, {"_data_files": ["x.arrow"]}, {}):
        (folder / "test" / "state.json").write_text(json.dumps(content))
        with pytest.raises(SourceError, match=r"test/state\.json names no files; download or save"):
            found(folder)

    folder = damaged("no json")
    (folder / "dataset_dict.json").write_text('{"splits": [')
    with pytest.raises(SourceError, match=r"dataset_dict\.json is not JSON: "):
        found(folder)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.mp3": "x", "table.csv": "path\na.mp3\n"})
    with pytest.raises(SourceError, match=r"is no data set of Hugging Face; .* for plain audio files use folder=PATH"):
        found(tmp_path)
    with pytest.raises(SourceError, match="there is no folder"):
        found(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("default/validation/0000.parquet", "validation"),
        ("name-test.arrow", "test"),
        ("test/train-00000.parquet", "train"),
        ("eval/metadata.csv", "test"),
        ("latest/trained.parquet", ""),
        ("full-00000-of-00001.parquet", ""),
    ],
)
def test_splits_of_names(name: str, split: str) -> None:
    assert split_of(name) == split


def test_the_tables_of_a_corpus_in_the_folder_are_not_read(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    write_files(tmp_path, {"metadata.csv": "file_name,caption\na.wav,A harp.\n"})
    for folder in (tmp_path, tmp_path / "corpus"):
        write_files(folder, dict.fromkeys(["index.parquet", "preparation/settings.json"], "not read"))
    recordings, _ = found(tmp_path)
    assert [each.texts for each in recordings] == [{"long_form": ("A harp.",)}]
