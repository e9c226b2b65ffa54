from mulan.evaluation.tasks.playlists import PLAYLISTS
from mulan.evaluation.tasks.tags import TAGS


def test_all_protocols_of_a_task_score_the_chosen_split() -> None:
    for split in ("train", "validation", "test"):
        task = TAGS.on_split(split)
        assert [vars(protocol)["split"] for protocol in task.protocols] == [split] * len(TAGS.protocols)
        assert task.name == TAGS.name
        assert split in task.splits


def test_the_splits_of_a_task_are_those_that_its_protocols_embed() -> None:
    assert TAGS.splits == ("test", "train", "validation")
    assert TAGS.on_split("validation").splits == ("train", "validation")
    assert PLAYLISTS.on_split("validation").splits == ("validation",)
