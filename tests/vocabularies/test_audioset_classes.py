import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

from mulan.vocabularies.audioset_classes import ClassListName, class_list
from tests.public_metadata import unpacked

MUSIC, GENRE, ROLE, MOOD = "/m/04rlf", "/m/0kpv1t", "/t/dd00028", "/t/dd00030"
INSTRUMENT, CONCEPTS = "/m/04szw", "/t/dd00027"


@pytest.mark.parametrize(
    ("name", "count"), [("music", 150), ("gen_25", 25), ("mu_141_without_roles", 141), ("mu_141_without_moods", 141)]
)
def test_lists_have_their_number_of_classes(name: ClassListName, count: int) -> None:
    found = class_list(name)
    assert len(found.classes) == len(set(found.tags)) == count
    assert found.definition.endswith(".")
    assert found.classes.items() <= class_list("music").classes.items()


GENRES = (
    "Pop music, Hip hop music, Rock music, Rhythm and blues, Soul music, Reggae, Country, Funk, Folk music, "
    "Middle Eastern music, Jazz, Disco, Classical music, Electronic music, Music of Latin America, Blues, "
    "Music for children, New-age music, Vocal music, Music of Africa, Christian music, Music of Asia, Ska, "
    "Traditional music, Independent music"
)


def test_the_25_genres_are_those_below_music_genre() -> None:
    assert set(class_list("gen_25").classes.values()) == set(GENRES.split(", "))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("music", "baba9714c4261891"),
        ("gen_25", "8417a37a101b5a50"),
        ("mu_141_without_roles", "8514193237567d6e"),
        ("mu_141_without_moods", "bda295d49c7e5340"),
    ],
)
def test_lists_do_not_change_because_scores_are_compared_over_them(name: ClassListName, digest: str) -> None:
    lines = [f"{mid} {display_name}" for mid, display_name in class_list(name).classes.items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(digest)


def test_tags_are_the_display_names_with_the_prefix_of_the_tagging_recipe() -> None:
    assert class_list("gen_25").tags[:3] == ("audioset:Pop music", "audioset:Hip hop music", "audioset:Rock music")


def test_the_two_readings_of_mu_141_differ_in_roles_moods_concepts_and_the_root() -> None:
    without_roles, without_moods = class_list("mu_141_without_roles"), class_list("mu_141_without_moods")
    only_there = {*without_roles.classes.values()} - {*without_moods.classes.values()}
    assert {"Music", "Song", "Happy music"} <= only_there
    assert "Theme music" in {*without_moods.classes.values()} - {*without_roles.classes.values()}
    assert len(only_there) == 9


def test_every_list_is_in_the_file() -> None:
    assert {len(class_list(name).classes) for name in get_args(ClassListName)} == {25, 141, 150}


class Ontology:
    """The genuine ontology, read without the code under test."""

    def __init__(self, folder: Path) -> None:
        path = unpacked("audioset/ontology", folder) / "ontology.json"
        self.nodes: dict[str, Any] = {node["id"]: node for node in json.loads(path.read_text(encoding="utf-8"))}
        with unpacked("audioset/class_labels_indices.csv", folder).open(newline="") as file:
            self.labelled = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}

    def subtree(self, root: str) -> set[str]:
        found, waiting = set[str](), [root]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += self.nodes[node]["child_ids"]
        return found

    def names(self, mids: Iterable[str]) -> list[tuple[str, str]]:
        """Returns the labelled ones among nodes with their names, in the order of the table of classes."""
        wanted = set(mids)
        return [(mid, name) for mid, name in self.labelled.items() if mid in wanted]


@pytest.fixture
def ontology(tmp_path: Path) -> Ontology:
    return Ontology(tmp_path)


def test_the_lists_follow_from_the_genuine_ontology(ontology: Ontology) -> None:
    music = ontology.subtree(MUSIC)
    expected = {
        "music": music,
        "gen_25": {*ontology.nodes[GENRE]["child_ids"]},
        "mu_141_without_roles": music - ontology.subtree(ROLE),
        "mu_141_without_moods": music - {MUSIC} - ontology.subtree(MOOD) - ontology.subtree(CONCEPTS),
    }
    for name in get_args(ClassListName):
        assert list(class_list(name).classes.items()) == ontology.names(expected[name]), name
    assert all(ontology.nodes[mid]["name"] == name for mid, name in class_list("music").classes.items())


def test_the_genuine_ontology_has_the_known_numbers(ontology: Ontology) -> None:
    parents = Counter(child for node in ontology.nodes.values() for child in node["child_ids"])
    assert len(ontology.nodes) == 632
    assert sum(count > 1 for count in parents.values()) == 38
    restrictions = Counter(tuple(sorted(node["restrictions"])) for node in ontology.nodes.values())
    assert restrictions == {(): 543, ("abstract",): 22, ("blacklist",): 66, ("abstract", "blacklist"): 1}
    sizes = {}
    for root in (MUSIC, INSTRUMENT, GENRE, CONCEPTS, ROLE, MOOD):
        nodes = ontology.subtree(root)
        sizes[root] = len(nodes), len(ontology.names(nodes))
    assert sizes == {
        MUSIC: (189, 150),
        INSTRUMENT: (92, 80),
        GENRE: (66, 52),
        CONCEPTS: (11, 1),
        ROLE: (11, 9),
        MOOD: (8, 7),
    }
    assert sum(nodes for root, (nodes, _) in sizes.items() if root != MUSIC) + 1 == 189  # no node is in two of them


@pytest.mark.parametrize(("name", "count"), [("gen_25", 1288), ("music", 7848)])
def test_the_genuine_evaluation_table_has_the_known_number_of_clips(
    name: ClassListName, count: int, tmp_path: Path
) -> None:
    classes = set(class_list(name).classes)
    with unpacked("audioset/eval_segments.csv", tmp_path).open(newline="") as file:
        rows = list(csv.reader(file, skipinitialspace=True))[3:]
    assert sum(not classes.isdisjoint(row[3].split(",")) for row in rows) == count
