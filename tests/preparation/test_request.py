"""Tests that the faults of a command line are reported at once, each with a remedy."""

from pathlib import Path

import pytest

from mulan.preparation.faults import SettingsError
from mulan.preparation.request import load_settings, open_sources, workspace_of
from mulan.preparation.settings import PreparationConfig


def test_settings_and_fields_are_applied() -> None:
    config = load_settings(
        ["clip.duration_s=0", "text.off=['urls']"], texts=["long_form=caption"], tags=["tag", "mood"]
    )
    assert config.clip.duration_s == 0
    assert config.text.off == ("urls",)
    assert config.fields.texts == {"long_form": ("caption",)}
    assert config.fields.tags == ("tag", "mood")


def test_several_fields_of_a_source_are_all_read() -> None:
    config = load_settings([], texts=["long_form=caption", "short_form=title", "long_form=description"])
    assert config.fields.texts == {"long_form": ("caption", "description"), "short_form": ("title",)}


def test_all_faulty_settings_are_listed() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(["clip.duraton_s=3", "clip", "splits.test=7"], texts=["long_form", "lyrics=words"])
    lines = str(error.value).splitlines()
    assert lines[0] == "5 faults:"
    assert any("clip.duraton_s" in line and "duration_s" in line for line in lines)
    assert any("splits.test" in line for line in lines)
    assert any("--text long_form: must have the form SOURCE=FIELD" in line for line in lines)
    assert any("lyrics" in line for line in lines)


def test_paths_of_models_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_settings(["music.tagger=tagger", "text.filter=filter", "text.playlists=s3://b/lists.csv"])
    assert config.music.tagger == f"{tmp_path}/tagger"
    assert (config.text.filter, config.text.playlists) == (f"{tmp_path}/filter", "s3://b/lists.csv")
    for tagger in ("hub:MIT/ast", "python:module:function", ""):
        assert load_settings([f"music.tagger={tagger!r}"]).music.tagger == tagger


def test_sources_have_prefixes_if_there_are_several(tmp_path: Path) -> None:
    config = PreparationConfig()
    (one,), adopted = open_sources([f"folder={tmp_path}"], config)
    assert (one.name, one.prefix, adopted) == (f"folder={tmp_path}", "", [])
    requests = [f"folder={tmp_path}/a", f"folder={tmp_path}/b", f"webdataset={tmp_path}/c"]
    copied, adopted = open_sources(requests, config)
    assert [named.prefix for named in copied] == ["folder/", "folder-2/"]
    assert [named.prefix for named in adopted] == ["webdataset/"]


def test_tars_are_copied_on_request(tmp_path: Path) -> None:
    config = load_settings(["webdataset.copies=true"])
    copied, adopted = open_sources([f"webdataset={tmp_path}"], config)
    assert (len(copied), len(adopted)) == (1, 0)


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (one,), _ = open_sources(["folder=music"], PreparationConfig())
    assert one.name == f"folder={tmp_path}/music"
    assert workspace_of("corpus").uri == f"{tmp_path}/corpus"


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ("music", "'music' is not a kind"),
        ("./music", "must have the form KIND=PATH, such as folder=./music"),
        ("foldr=/music", "did you mean folder?"),
        ("folder=", "such as folder=music"),
        ("folder=nowhere://x", "nowhere"),
    ],
)
def test_a_faulty_source_is_named_with_the_remedy(request_: str, named: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_sources([request_], PreparationConfig())
    assert f"--source {request_}: " in str(error.value)
    assert named in str(error.value)


def test_all_faulty_sources_are_listed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        open_sources(["foldr=/a", "tabel=/b", f"folder={tmp_path}", f"folder={tmp_path}"], PreparationConfig())
    assert str(error.value).startswith("3 faults:")
    assert f"given twice: folder={tmp_path}" in str(error.value)


def test_a_source_that_is_spelled_in_two_ways_is_given_twice(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"given twice: folder={tmp_path}$"):
        open_sources([f"folder={tmp_path}/", f"folder=file://{tmp_path}"], PreparationConfig())
    open_sources([f"folder={tmp_path}", f"table={tmp_path}"], PreparationConfig())


def test_fields_are_refused_for_sources_that_have_none(tmp_path: Path) -> None:
    for settings in ({"texts": ["long_form=caption"]}, {"tags": ["style"]}):
        config = load_settings([], **settings)
        with pytest.raises(SettingsError, match=r"--text and --tags name fields of hf, table, webdataset, .*folder"):
            open_sources([f"folder={tmp_path}"], config)
        open_sources([f"folder={tmp_path}", f"table={tmp_path}"], config)


def test_an_unusable_folder_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"--out 'nowhere://x'"):
        workspace_of("nowhere://x")
