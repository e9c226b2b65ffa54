from mulan.evaluation.protocols.templates import PromptTemplates
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.tasks.playlists import PLAYLISTS
from mulan.evaluation.tasks.robustness import ROBUSTNESS
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


def test_templates_are_those_of_the_protocols_with_prompts() -> None:
    templates = PromptTemplates(("{} music",))
    zero_shot, probe = TAGS.prompted(templates).protocols
    assert zero_shot == ZeroShotTagging("tagged", templates=templates) and probe is TAGS.protocols[1]
    robust = [vars(each)["base"] for each in ROBUSTNESS.prompted(templates).protocols]
    assert zero_shot in robust and len(robust) == 3
