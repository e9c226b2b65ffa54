import json
import math
from typing import Any

import pytest

from mulan.config.sections import STORED_SOURCES
from mulan.data.corpus.fields import Fields, RecordingFields, as_tag, flattened, map_fields, split_name
from mulan.data.corpus.metadata import check_metadata
from mulan.data.errors import BadRecording


def test_usual_names_are_understood() -> None:
    row = {
        "path": "a.mp3",
        "id": 7,
        "Caption": "A calm harp.",
        "caption2": "Harp strings.",
        "caption_id": 12,
        "title": "Evening",
        "aspect_list": "['calm', \"a harp's strings\"]",
        "playlists": "Quiet nights; Harps",
        "artist": "Ada",
        "album": "Nights",
        "genres": ["folk", "new age"],
        "mood": "calm|tender",
        "tags": "harp; instrument: lyre",
        "split": "Dev",
        "start_s": "1.5",
        "end_s": 9,
        "license": "CC0",
        "provenance": "a field recording",
    }
    assert map_fields(row) == RecordingFields(
        texts={
            "short_form": ("Evening", "calm", "a harp's strings"),
            "long_form": ("A calm harp.", "Harp strings."),
            "playlist": ("Quiet nights", "Harps"),
        },
        tags=("tag:harp", "instrument:lyre", "genre:folk", "genre:new age", "mood:calm", "mood:tender"),
        split="validation",
        recording_id="7",
        title="Evening",
        artist="Ada",
        channel="Nights",
        provenance="a field recording",
        licence="CC0",
        start_s=1.5,
        end_s=9.0,
    )


def test_mulans_own_metadata_are_understood() -> None:
    texts = {source: [f"a text of {source}"] for source in STORED_SOURCES}
    found = map_fields({"texts": texts, "tags": ["genre:jazz", "solo"], "split": "test", "duration_s": 2.0})
    assert found.texts == {source: tuple(values) for source, values in texts.items()}
    assert (found.tags, found.split) == (("genre:jazz", "tag:solo"), "test")
    with pytest.raises(BadRecording, match=r"unknown text source: texts\.longform: the sources are short_form"):
        map_fields({"texts": {"longform": ["a text"]}})


def test_given_names_replace_the_usual_ones() -> None:
    fields = Fields({"long_form": ("meta.note*", "comment")}, ("meta.style",))
    row = {
        "caption": "not asked for",
        "genre": "not asked for",
        "comment": "Third.",
        "meta": {"note1": "First.", "NOTE2": ["Second.", "First."], "style": "swing; bop", "unused": object()},
    }
    found = map_fields(row, fields)
    assert found.texts == {"long_form": ("First.", "Second.", "Third.")}
    assert found.tags == ("style:swing", "style:bop")
    assert map_fields({"caption": "A harp.", "style": "x"}, Fields(tags=("style",))) == RecordingFields(
        texts={"long_form": ("A harp.",)}, tags=("style:x",)
    )


def test_names_with_brackets_are_also_literal() -> None:
    assert map_fields({"note[en]": "A harp."}, Fields({"long_form": ("note[en]",)})).texts == {
        "long_form": ("A harp.",)
    }


@pytest.mark.parametrize("missing", [None, math.nan, "", "  ", [], [None, ""], "[]"])
def test_missing_values_give_nothing(missing: Any) -> None:
    names = ("caption", "title", "tags", "genre", "split", "artist", "id", "start_s", "end_s")
    assert map_fields(dict.fromkeys(names, missing)) == RecordingFields()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"split": "holdout"}, "unknown split: split is 'holdout', not one of train, validation, test, training, val"),
        ({"caption": {"en": b"x"}}, None),  # a nested name without a meaning
        ({"caption": b"x"}, "field of the wrong type: caption is b'x', neither a text nor a list of texts"),
        ({"caption": True}, "field of the wrong type: caption is True"),
        ({"tags": [{"name": "x"}]}, "field of the wrong type: tags is "),
        ({"title": object()}, "field of the wrong type: title is "),
        ({"start_s": "1:30"}, "field of the wrong type: start_s is '1:30', not a time in seconds"),
        ({"end_s": -1}, "field of the wrong type: end_s is '-1', not a time in seconds"),
        ({"end_s": "inf"}, "field of the wrong type: end_s is 'inf'"),
    ],
)
def test_values_of_the_wrong_type_are_named(row: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        assert map_fields(row) == RecordingFields()
    else:
        with pytest.raises(BadRecording) as caught:
            map_fields(row)
        assert str(caught.value).startswith(reason)


def test_fields_without_a_meaning_may_have_any_type() -> None:
    assert map_fields({"embedding": [1.0], "blob": b"x", "nested": {"deep": object()}, "note": True}) == (
        RecordingFields()
    )


@pytest.mark.parametrize(
    ("category", "text", "tag"),
    [
        ("genre", "hard rock", "genre:hard rock"),
        ("genre", "mood: calm", "mood:calm"),
        ("tag", "12:8 time", "tag:12:8 time"),
        ("tag", "like:", "tag:like"),
        ("tag", " : ", ""),
        ("mood/theme", "happy", "mood/theme:happy"),
        ("tag", "mood/theme:happy", "mood/theme:happy"),
    ],
)
def test_tags_have_one_category(category: str, text: str, tag: str) -> None:
    assert as_tag(category, text) == tag
    if tag:
        check_metadata({"texts": {}, "tags": [tag], "duration_s": 1.0})  # accepts what a corpus may contain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a; b", "c"]', ("a; b", "c")),  # a list is not separated further
        ("['violin, fiddle']", ("violin, fiddle",)),
        ("violin, fiddle", ("violin, fiddle",)),
        ("[untitled]", ("[untitled]",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[__import__('os').getcwd()]", ("[__import__('os').getcwd()]",)),
        ("[" * 9_000 + "]" * 9_000, ("[" * 9_000 + "]" * 9_000,)),
    ],
)
def test_strings_that_are_lists(text: str, expected: tuple[str, ...]) -> None:
    assert map_fields({"keywords": text}).texts == {"short_form": expected}


def test_split_names() -> None:
    names = ["train", "training", "validation", "valid", "val", "DEV", "test", "eval", " evaluation ", ""]
    expected = ["train"] * 2 + ["validation"] * 4 + ["test"] * 3 + [""]
    assert [split_name(name) for name in names] == expected


def test_deeply_nested_objects_are_flattened() -> None:
    nested: dict[str, Any] = {"end": 1}
    for _ in range(5_000):
        nested = {"a": nested}
    assert flattened(nested) == {"a." * 5_000 + "end": 1}


def test_names_survive_json() -> None:
    fields = Fields({"long_form": ("é*", "b"), "playlist": ()}, ("x",))
    assert Fields.from_json(fields.to_json()) == fields
    assert Fields.from_json(Fields().to_json()) == Fields()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "not the names of fields"),
        ("{}", "not the names of fields"),
        (json.dumps({"texts": {}, "tags": "genre"}), "not the names of fields"),
        (json.dumps({"texts": {"x": []}, "tags": []}), "unknown text sources: x"),
    ],
)
def test_other_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Fields.from_json(text)


def test_patterns_that_match_nothing_are_found() -> None:
    fields = Fields({"long_form": ("note*", "Comment"), "playlist": ("list",)}, ("style",))
    assert fields.missing(["NOTE7", "comment", "path"]) == ["list", "style"]
    assert Fields().missing([]) == []


def test_halves_of_emojis_are_replaced() -> None:
    """Programs cut texts by UTF-16 units; a whole recording is not left out because of that."""
    row = json.loads(
        r'{"caption": "A harp \ud83c", "title": "\udfb5 Song \ud83c\udfb5", "genre": "\ud800folk", "id": "a\ud800"}'
    )
    assert map_fields(row) == RecordingFields(
        texts={"short_form": ("? Song \N{MUSICAL NOTE}",), "long_form": ("A harp ?",)},
        tags=("genre:?folk",),
        title="? Song \N{MUSICAL NOTE}",
        recording_id="a?",
    )
