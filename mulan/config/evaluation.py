"""The evaluation of a model while it trains."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator

from mulan.config.base import PositiveInt, Section, distinct
from mulan.config.objectives import LossWeightsConfig
from mulan.config.sections import TrainConfig

EvaluatedTask = Literal["tags", "captions", "playlists"]
"""Names of the tasks of :mod:`mulan.evaluation.tasks` that need no other corpus than that of the run."""

SECTION_OF_TASK = MappingProxyType({
    "tags": "zero_shot",
    "captions": "retrieval.captions",
    "playlists": "retrieval.playlists",
})  # fmt: skip
"""Section of a report with the scores of each task."""

SCORES_OF_TASK: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "tags": ("roc_auc", "map", "prevalence"),
    "captions": ("recall1", "recall5", "recall10", "median_rank", "map10", "mrr"),
    "playlists": ("roc_auc", "map", "recall10", "prevalence"),
})  # fmt: skip
"""Names of the scores of each task."""
SET_OF_TASK = MappingProxyType({"captions": "long_form", "playlists": "titles"})
"""Name of the only set of each task, other than ``tags``, whose sets are the categories of the corpus."""


class EvaluationConfig(Section):
    """Evaluation of the model in each validation, by the functions of ``jobs.evaluate``; for models that embed text."""

    tasks: Annotated[tuple[EvaluatedTask, ...], AfterValidator(distinct)] = ()
    """What is evaluated: zero-shot tagging by the categories of the corpus's tags, and retrieval by captions and by
    playlist titles. Empty evaluates nothing."""
    recordings: PositiveInt = 128
    """Maximum number of recordings of the validation split, evenly spaced by their ids; all of their audio is embedded
    in each validation."""
    select: str = ""
    """The figure by which checkpoints, and the trials of a sweep, are compared, as its path in ``report.json``:
    ``zero_shot.genre.roc_auc`` or ``retrieval.captions.long_form.recall10``. Empty uses the selection metric of the
    objective."""


def evaluation_faults(evaluation: EvaluationConfig, weights: LossWeightsConfig, train: TrainConfig) -> Iterator[str]:
    """Yields an error for each unmet requirement of evaluation during training."""
    if evaluation.tasks and not weights.embeds_text:
        yield (
            "evaluation.tasks needs a model that embeds text, which none of the weights in loss.weights trains; leave "
            "it empty, and evaluate the exported model with jobs.evaluate"
        )
    if evaluation.tasks and not train.validation_micro_batches:
        yield "evaluation.tasks needs validations; set train.validation_micro_batches to a positive number"
    if evaluation.select and not is_evaluated(evaluation.select, evaluation):
        yield f"evaluation.select = {evaluation.select} is not {describe_figures(evaluation)}"


def is_evaluated(path: str, evaluation: EvaluationConfig) -> bool:
    """Returns whether a path in ``report.json`` is that of a score of ``evaluation.tasks``."""
    return any(_is_figure(path, task) for task in evaluation.tasks)


def describe_figures(evaluation: EvaluationConfig) -> str:
    """Describes the paths of the scores of ``evaluation.tasks``, for messages."""
    figures = [
        f"{SECTION_OF_TASK[task]}.{SET_OF_TASK.get(task, 'CATEGORY')}.SCORE with a SCORE of "
        f"{', '.join(SCORES_OF_TASK[task])}"
        for task in evaluation.tasks
    ]
    return " or ".join(figures) or "a score of evaluation.tasks"


def _is_figure(path: str, task: EvaluatedTask) -> bool:
    """Returns whether a path in ``report.json`` is that of a score of a task; categories are known to the corpus."""
    section, _, rest = path.partition(f"{SECTION_OF_TASK[task]}.")
    name, _, score = rest.rpartition(".")
    return not section and bool(name) and name == SET_OF_TASK.get(task, name) and score in SCORES_OF_TASK[task]
