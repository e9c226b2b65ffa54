"""The recordings of a corpus, a folder and a table are found in the order of their ids, and what is not is counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.collection.recordings import open_collection, shown_faults
from mulan.data.corpus.index import Location
from mulan.data.errors import CorpusError
from mulan.preparation.faults import SourceError
from mulan.preparation.found import AudioLocation
from mulan.preparation.settings import PreparationConfig
from tests.collection.conftest import Places

CONFIG = PreparationConfig()


def test_a_corpus_has_the_recordings_of_its_index(places: Places) -> None:
    found = open_collection(places.corpus, CONFIG)
    assert found.name == f"corpus={places.corpus}"
    assert [each.recording_id for each in found.recordings] == sorted(each.recording_id for each in places.recordings)
    for each, other in zip(found.recordings, places.recordings, strict=True):
        assert isinstance(each.place, Location)
        assert each.tags == tuple(other.tags)
        size = Path(each.place.uri).stat().st_size
        assert each.version.startswith(f"{size}-")
        assert 2 <= each.duration_s <= 4


def test_a_shard_that_is_missing_has_no_version(places: Places, tmp_path: Path) -> None:
    table = pq.read_table(Path(places.corpus) / "index.parquet")
    elsewhere = pa.array(["/nowhere/00.tar"] * table.num_rows, pa.string())
    table = table.set_column(table.column_names.index("uri"), "uri", elsewhere)
    pq.write_table(table, tmp_path / "index.parquet")
    assert {each.version for each in open_collection(str(tmp_path), CONFIG).recordings} == {""}


def test_a_folder_has_its_audio_files_in_the_order_of_their_ids(places: Places) -> None:
    found = open_collection(str(places.folder), CONFIG)
    names = [each.recording_id for each in found.recordings]
    assert names == sorted(names)
    assert set(names) == {
        f"{'a b/' * (number % 2)}{each.recording_id}" for number, each in enumerate(places.recordings)
    }
    assert all(isinstance(each.place, AudioLocation) for each in found.recordings)
    assert all(0.1 < each.duration_s < 10 for each in found.recordings)


def test_a_table_names_files_and_parts_of_them(tmp_path: Path, places: Places) -> None:
    name = f"{places.recordings[0].recording_id}.FLAC"
    rows = [f"whole,{places.folder}/{name},,", f"part,{places.folder}/{name},0.5,1.5", "gone,/nowhere/a.wav,,"]
    (tmp_path / "t.csv").write_text("\n".join(["id,path,start_s,end_s", *rows]))
    seen: list[int] = []
    found = open_collection(str(tmp_path / "t.csv"), CONFIG, on_found=lambda count, _: seen.append(count))
    assert [(each.recording_id, each.start_s, each.end_s) for each in found.recordings] == [
        ("part", 0.5, 1.5),
        ("whole", None, None),
    ]
    assert seen == [1, 2]
    assert dict(found.faults.counts) == {"missing audio": 1}
    assert list(shown_faults(found.faults, 1)) == [
        "        left out, missing audio: 1",
        "          gone: there is no /nowhere/a.wav",
    ]


def test_many_faults_are_counted_and_some_are_named(tmp_path: Path, places: Places) -> None:
    name = f"{places.folder}/{places.recordings[0].recording_id}.FLAC"
    (tmp_path / "t.csv").write_text("\n".join(["path", name, *(f"/nowhere/{k}.wav" for k in range(9))]))
    lines = list(shown_faults(open_collection(str(tmp_path / "t.csv"), CONFIG).faults, 2))
    assert len(lines) == 4
    assert lines[-1].strip() == "and 7 more"


def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no folder"):
        open_collection(str(tmp_path / "none"), CONFIG)
    (tmp_path / "index.parquet").write_bytes(b"no")
    with pytest.raises(CorpusError, match="is not a Parquet file"):
        open_collection(str(tmp_path), CONFIG)
    (tmp_path / "t.csv").write_text("path\n/nowhere/a.wav\n")
    with pytest.raises(SourceError, match=r"(?s)none of its recordings can be used \(missing audio: 1\).*nowhere/a"):
        open_collection(str(tmp_path / "t.csv"), CONFIG)


def test_a_table_that_contains_the_audio_is_refused_with_the_way_out(tmp_path: Path, places: Places) -> None:
    audio = [{"bytes": places.recordings[0].audio, "path": "a.flac"}]
    pq.write_table(pa.table({"audio": audio, "text": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"contains the audio itself.*jobs\.prepare --source table="):
        open_collection(str(tmp_path / "t.parquet"), CONFIG)
