"""Groups are the most frequent tags of one category, whatever the order of the recordings."""

import random

from mulan.evaluation.report.tag_groups import MAX_GROUPS, tag_groups


def test_genres_are_preferred_and_rare_ones_are_no_groups() -> None:
    tags = [["mood:calm", f"genre:g{number % 13:02d}"] for number in range(39)] + [["mood:calm"]]
    category, groups = tag_groups(tags)
    assert category == "genre"
    assert set(groups) == {f"g{number:02d}" for number in range(MAX_GROUPS)} | {""}
    assert groups[-1] == ""
    order = random.Random(0).sample(range(40), 40)
    assert tag_groups([tags[row] for row in order]) == ("genre", [groups[row] for row in order])


def test_the_category_of_most_recordings_is_taken_without_genres() -> None:
    assert tag_groups([["mood:calm"], ["mood:sad", "key:c"], ["loud"]]) == ("mood", ["calm", "sad", ""])
    assert tag_groups([[], []]) == ("", ["", ""])


def test_long_names_are_shortened() -> None:
    assert tag_groups([["genre:" + "x" * 30]])[1] == ["x" * 23 + "…"]
