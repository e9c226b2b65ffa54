"""The check of a search space against the corpus and the weights: readers and models are built as trials build them."""

from collections.abc import Iterator

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.launch.checks import check_buildable
from mulan.recipes.registry import with_settings
from tune.domains import settings
from tune.plan import SweepPlan
from tune.reading import is_read_alike
from tune.space import SpaceError


def check_values(plan: SweepPlan) -> None:
    """Checks that the corpus has what each bound and value of the space needs, and that its model can be built.

    Only values that change what is read or the model are tried, each alone. For one that changes what is read, the
    index of the corpus is loaded again.

    Raises:
        SpaceError: A reader or a model cannot be built; lists all errors.
    """
    faults = list(dict.fromkeys(_faults(plan)))
    if faults:
        raise SpaceError(plan.space.name, faults)


def _faults(plan: SweepPlan) -> Iterator[str]:
    for field, domain in plan.space.domains.items():
        for value in domain.edges:
            (setting,) = settings({field: value})
            varied = with_settings(plan.recipe, [setting], name="sweep")
            try:
                if not is_read_alike(varied, plan.recipe):
                    MicroBatchReader.from_recipe(varied)
                if _model_of(varied) != _model_of(plan.recipe):
                    check_buildable(varied)
            except MulanError as error:
                yield f"{setting}: {error}"


def _model_of(recipe: Recipe) -> tuple[object, ...]:
    """Returns the sections and fields on which the structure of the model depends."""
    terms = frozenset(name for name, weight in recipe.loss.weights if weight > 0)
    head = (recipe.semisupcon.head_hidden_size, recipe.semisupcon.head_dim)
    towers = (recipe.front_end, recipe.audio_tower, recipe.text_tower, recipe.embedding_dim)
    window = (recipe.data.sample_rate_hz, recipe.encoder_window_samples)
    return (*towers, recipe.mulap, recipe.tagging, terms, head, window)
