"""Tests the fixed lists of tags, against the official files where those are there."""

import csv
import hashlib
from pathlib import Path

import pytest

from mulan.vocabularies.audioset_classes import class_list
from mulan.vocabularies.vocabulary import vocabulary, vocabulary_names
from tests.public_metadata import expected_counts, unpacked

SIZES = {
    "audioset_gen25": 25,
    "audioset_mu141_without_moods": 141,
    "audioset_mu141_without_roles": 141,
    "fma_medium": 16,
    "fma_small": 8,
    "gtzan": 10,
    "jamendo_all": 183,
    "jamendo_genre": 87,
    "jamendo_instrument": 40,
    "jamendo_moodtheme": 56,
    "jamendo_top50": 50,
    "keys": 24,
    "mtat_188": 188,
    "mtat_top50": 50,
    "nsynth_families": 11,
    "nsynth_pitches": 128,
}


def test_each_list_has_its_number_of_distinct_tags_with_categories() -> None:
    assert vocabulary_names() == tuple(SIZES)
    for name, size in SIZES.items():
        tags = vocabulary(name).tags
        assert len(tags) == len(set(tags)) == size, name
        assert all(all(part.strip() == part != "" for part in tag.partition(":")) for tag in tags), name


def test_lists_contain_their_parts() -> None:
    tags = {name: set(vocabulary(name).tags) for name in SIZES}
    assert tags["mtat_top50"] < tags["mtat_188"]
    assert tags["fma_small"] < tags["fma_medium"]
    assert tags["jamendo_all"] == tags["jamendo_genre"] | tags["jamendo_instrument"] | tags["jamendo_moodtheme"]
    assert tags["jamendo_top50"] < tags["jamendo_all"]
    assert vocabulary("audioset_gen25").tags == class_list("gen_25").tags


def test_the_digest_is_that_of_the_file() -> None:
    file = Path(str(vocabulary.__globals__["__file__"])).parent / "lists" / "gtzan.txt"
    assert vocabulary("gtzan").sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert vocabulary("audioset_gen25").sha256 != vocabulary("gtzan").sha256


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="top40"):
        vocabulary("top40")


def test_tags_of_magnatagatune_are_those_of_its_table() -> None:
    counts = expected_counts()["magnatagatune"]
    assert vocabulary("mtat_188").tags == tuple(f"mtat:{tag}" for tag in counts["column_order_188"])
    assert set(vocabulary("mtat_top50").tags) == {f"mtat:{tag}" for tag in counts["top50_by_count_then_name"]}


@pytest.mark.parametrize("part", ["all", "top50", "genre", "instrument", "moodtheme"])
def test_tags_of_jamendo_are_those_of_the_official_split(part: str, tmp_path: Path) -> None:
    infix = {"all": "", "top50": "_top50tags"}.get(part, f"_{part}")
    name = f"autotagging{infix}-test.tsv"
    with unpacked(f"mtg_jamendo/data/splits/split-0/{name}", tmp_path).open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    tags = {tag.replace("---", ":") for row in rows for tag in row[5:] if tag}
    assert set(vocabulary(f"jamendo_{part}").tags) == tags


def test_genres_of_fma_are_the_roots_of_its_table(tmp_path: Path) -> None:
    with unpacked("fma/fma_metadata/genres.csv", tmp_path).open(newline="") as file:
        roots = {f"genre:{row['title']}" for row in csv.DictReader(file) if row["parent"] == "0"}
    assert set(vocabulary("fma_medium").tags) == roots


def test_genres_of_gtzan_are_those_of_its_lists() -> None:
    assert {f"genre:{genre}" for genre in expected_counts()["gtzan_filtered"]["test"]["per_genre"]} == set(
        vocabulary("gtzan").tags
    )
