"""Tests which class of a tagger is that of music, and the messages if there is none or more than one."""

import pickle

import pytest

from mulan.preparation.music_class import MusicDetectorError, music_class


@pytest.mark.parametrize(
    "name", ["Music", "audioset:Music", "/m/04rlf", "audioset:/m/04rlf", "music", "type:MUSIC", " Music"]
)
def test_the_class_is_found_by_its_name_or_id(name: str) -> None:
    others = ["audioset:Musical instrument", "Background music", "Music of Africa", "/m/04rlg", "Muse"]
    for place in range(len(others) + 1):
        assert music_class("model", [*others[:place], name, *others[place:]]) == place


def test_several_classes_are_named() -> None:
    with pytest.raises(MusicDetectorError) as caught:
        music_class("s3://bucket/model", ["audioset:Music", "Speech", "mood:music"])
    assert str(caught.value) == (
        "music.tagger 's3://bucket/model': it has several classes of music: 'audioset:Music', 'mood:music'. "
        "Set music.tagger to a tagger with one class named Music."
    )


def test_near_names_are_listed_if_there_is_no_class_of_music() -> None:
    names = ["Speech", "genre:Musical", "audioset:Msuic", "Silence", *(f"Music of region {k}" for k in range(20))]
    with pytest.raises(MusicDetectorError) as caught:
        music_class("model", names)
    message = str(caught.value)
    assert "it has no class named Music; of its 24 classes, the nearest are 'genre:Musical', 'Music of region 0'" in (
        message
    )
    assert "and 12 more" in message
    assert "'Speech'" not in message
    with pytest.raises(MusicDetectorError, match="the nearest are 'audioset:Msuic'"):
        music_class("model", names[:1] + names[2:4])


def test_all_names_are_listed_if_none_is_near() -> None:
    with pytest.raises(MusicDetectorError, match="it has no class named Music; it has 'LABEL_0', 'LABEL_1'"):
        music_class("model", ["LABEL_0", "LABEL_1"])


def test_errors_can_be_sent_between_processes_and_are_one_line() -> None:
    error = MusicDetectorError("a\nb", "x\ny", "Do this.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "\n" not in str(error)
