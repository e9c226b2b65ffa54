import pytest

from mulan.config.errors import RecipeError
from mulan.config.objectives import SelectionMetric
from mulan.recipes.registry import load_recipe

TASKS = 'evaluation.tasks=["tags","captions"]'


def test_without_a_choice_the_objective_determines_the_selection_metric() -> None:
    assert load_recipe("demo", [TASKS]).selection_metric == ("recall10", "recall@10")


@pytest.mark.parametrize("figure", ["zero_shot.genre.roc_auc", "retrieval.captions.long_form.map10"])
def test_a_figure_of_the_evaluation_may_be_the_selection_metric(figure: str) -> None:
    recipe = load_recipe("demo", [TASKS, f"evaluation.select={figure}"])
    assert recipe.selection_metric == SelectionMetric(figure, figure)


@pytest.mark.parametrize(
    ("recipe", "settings", "fault"),
    [
        ("mulap", ['evaluation.tasks=["tags"]'], "evaluation.tasks needs a model that embeds text"),
        (
            "demo",
            [TASKS, "train.validation_micro_batches=0"],
            "set train.validation_micro_batches to a positive number",
        ),
        ("demo", ['evaluation.tasks=["tags","tags"]'], "names tags more than once"),
        ("demo", ['evaluation.tasks=["labels"]'], "'tags', 'captions' or 'playlists'"),
        ("demo", ["evaluation.recordings=0"], "evaluation.recordings"),
        ("demo", ["evaluation.select=loss"], "evaluation.select = loss is not a score of evaluation.tasks"),
        (
            "demo",
            [TASKS, "evaluation.select=probes.genre.map"],
            "is not zero_shot.CATEGORY.SCORE with a SCORE of roc_auc, map, prevalence or "
            "retrieval.captions.long_form.SCORE",
        ),
        ("demo", [TASKS, "evaluation.select=zero_shot.genre.recall10"], "is not zero_shot.CATEGORY.SCORE"),
        ("demo", [TASKS, "evaluation.select=zero_shot.roc_auc"], "is not zero_shot.CATEGORY.SCORE"),
        ("demo", [TASKS, "evaluation.select=retrieval.captions.titles.mrr"], "is not zero_shot."),
        ("demo", [TASKS, "evaluation.select=retrieval.captions.long_form.roc_auc"], "is not zero_shot."),
        (
            "demo",
            ['evaluation.tasks=["tags"]', "evaluation.select=retrieval.captions.long_form.mrr"],
            "is not zero_shot.",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(recipe: str, settings: list[str], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault.replace(".", r"\.")):
        load_recipe(recipe, settings)
