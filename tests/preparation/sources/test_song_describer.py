import csv
from pathlib import Path

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.registry import KINDS
from mulan.preparation.sources.song_describer import REMEDY, SongDescriberConfig, SongDescriberSource, captioned_tracks
from tests.public_metadata import expected_counts, unpacked

HEADER = "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration\n"
ROWS = (
    '1,1009671,"A rock song,\nwith drums",,0,7063,118858,71/1009671.mp3,160.1\n'
    "2,1004034,Electronic music,True,0,368880,118196,34/1004034.mp3,202.5\n"
    "3,1009671,Fast blues,True,2,7063,118858,71/1009671.mp3,160.1\n"
    "4,1000005,Sad piano,False,1,12,34,05/1000005.mp3,60.0\n"
)


def song_describer(folder: Path, text: str = HEADER + ROWS) -> Path:
    """Writes a table, and empty audio files of two of its three tracks, to a folder."""
    (folder / "song_describer.csv").write_text(text)
    touch(folder, "audio/71/1009671.2min.mp3", "audio/34/1004034.2min.flac")
    return folder


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, faults: Faults | None = None, **options: bool) -> list[FoundRecording]:
    source = SongDescriberSource(str(folder), SongDescriberConfig(**options))
    recordings = list(source.recordings(Faults() if faults is None else faults))
    assert list(source.recordings(Faults())) == recordings
    return recordings


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_captions_of_a_track_belong_to_one_recording(end: str, tmp_path: Path) -> None:
    faults = Faults()
    first, second = found(song_describer(tmp_path, (HEADER + ROWS).replace("\n", end)), faults)
    assert first.recording_id == "1009671"
    assert first.texts == {"long_form": ["A rock song,\nwith drums", "Fast blues"]}
    assert first.audio.uri == f"{tmp_path}/audio/71/1009671.2min.mp3"
    assert (first.split, first.artist, first.channel) == ("test", "artist_007063", "album_118858")
    assert (first.tags, first.start_s, first.end_s) == ((), None, None)
    assert first.provenance == "Song Describer, MTG-Jamendo 71/1009671.mp3"
    assert "CC BY-SA 4.0" in first.licence
    assert second.audio.uri == f"{tmp_path}/audio/34/1004034.2min.flac"
    assert faults.counts == {"missing audio": 1}
    assert f"1000005: there is no {tmp_path}/audio/05/1000005.2min.mp3" in faults.named["missing audio"]


def test_only_valid_captions_and_tracks_with_one(tmp_path: Path) -> None:
    faults = Faults()
    recordings = found(song_describer(tmp_path), faults, valid_only=True)
    assert [(recording.recording_id, *recording.texts["long_form"]) for recording in recordings] == [
        ("1004034", "Electronic music"),
        ("1009671", "Fast blues"),
    ]
    assert faults.left_out == 0


def test_the_kind_has_a_section(tmp_path: Path) -> None:
    config = PreparationConfig().replace({"song_describer.valid_only": True}).song_describer
    source = KINDS["song_describer"](str(song_describer(tmp_path)), config)
    assert len(list(source.recordings(Faults()))) == 2


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("2,1004034,", "2,x,", "line 4: track_id, artist_id or album_id is not a number"),
        ("368880", "-1", "line 4: track_id, artist_id or album_id is not a number"),
        ("34/1004034.mp3", "../1004034.mp3", "line 4: path is not made of the last two digits"),
        ("34/1004034.mp3", "34/1004035.mp3", "line 4: path is not made of the last two digits"),
        ("music,True", "music,yes", "line 4: is_valid_subset is neither True nor False nor empty"),
        ("2,7063", "2,7064", "line 5: artist_id, album_id or path is not that of the track's first row"),
        (",12,34,05/1000005.mp3,60.0", ",12", "line 6: 6 fields instead of 9"),
        ('with drums"', "with drums", "line 2: damaged row"),
        ("track_id", "track", "line 1: the header lacks track_id"),
        (ROWS, "", "line 1: the table has no usable rows"),
    ],
)
def test_a_damaged_row_is_named(old: str, new: str, fault: str, tmp_path: Path) -> None:
    song_describer(tmp_path, (HEADER + ROWS).replace(old, new, 1))
    with pytest.raises(SourceError) as error:
        found(tmp_path)
    assert str(error.value).startswith(f"source song_describer={tmp_path}: {tmp_path}/song_describer.csv, {fault}")
    assert REMEDY in str(error.value)


def test_all_damaged_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        found(song_describer(tmp_path, HEADER + ROWS.replace(",71/", ",17/").replace("False", "no")))
    assert "song_describer.csv, lines 2, 5: path is not" in str(error.value)
    assert "song_describer.csv, line 6: is_valid_subset is" in str(error.value)


def test_the_genuine_table_has_the_published_numbers(tmp_path: Path) -> None:
    path, expected = unpacked("song_describer/song_describer.csv", tmp_path), expected_counts()["song_describer"]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    touch(tmp_path, *(f"audio/{row['path'].removesuffix('.mp3')}.2min.mp3" for row in rows))
    faults = Faults()
    everything, valid = found(tmp_path, faults), found(tmp_path, faults, valid_only=True)
    captions = [sorted(text for track in part for text in track.texts["long_form"]) for part in (everything, valid)]
    assert captions[0] == sorted(row["caption"] for row in rows)
    assert captions[1] == sorted(row["caption"] for row in rows if row["is_valid_subset"] == "True")
    assert (len(everything), len(captions[0])) == (expected["tracks"], expected["rows"]) == (706, 1106)
    assert (len(valid), len(captions[1])) == (expected["valid_tracks"], expected["valid_rows"]) == (547, 746)
    assert len({track.artist for track in everything}) == 191
    assert {track.split for track in everything} == {"test"}
    assert faults.left_out == 0


def test_the_genuine_variant_without_singing_is_read(tmp_path: Path) -> None:
    path = unpacked("song_describer/variants/song_describer-nosinging.csv", tmp_path)
    tracks = captioned_tracks("song_describer=/d", path.name, path.read_bytes().decode())
    assert (len(tracks), sum(len(track.captions) for track in tracks)) == (446, 586)
