"""What training on a new corpus needs to be told, since recipes expect texts of all sources of the paper."""

import shlex

import numpy as np

from mulan.config.recipe import Recipe
from mulan.config.sections import SOURCES
from mulan.data.corpus.index import Corpus


def training_settings(corpus: Corpus, recipe: Recipe) -> list[str]:
    """Returns the settings with which a joint recipe can train on a corpus, each ``section.field=value``.

    Sources that no training recording has get no share. Tags get the share of another source if there are any, because
    they are what a collection is searched by. Without enough recordings to validate on, there is no validation.
    """
    train, ratio = corpus.rows_by_source("train"), recipe.data.source_ratio
    shares = {source: getattr(ratio, source) for source in SOURCES}
    settings = [f"data.source_ratio.{source}=0" for source in SOURCES if shares[source] and not len(train[source])]
    if len(train["tags"]) and not shares["tags"]:
        settings.append("data.source_ratio.tags=1")
    with_text = [rows for rows in corpus.rows_by_source("validation").values() if len(rows)]
    validated = len(np.unique(np.concatenate(with_text))) if with_text else 0
    if recipe.train.validation_micro_batches and validated < recipe.batch.pairs_per_micro_batch:
        settings.append("train.validation_micro_batches=0")
    return settings


def training_command(corpus: Corpus, name: str, recipe: Recipe) -> str:
    """Returns a command that trains a recipe on a corpus; empty if no training recording has a text or tag.

    Args:
        corpus: The corpus.
        name: Name of the recipe.
        recipe: The recipe.
    """
    if not any(len(rows) for rows in corpus.rows_by_source("train").values()):
        return ""
    settings = [word for setting in training_settings(corpus, recipe) for word in ("--set", setting)]
    command = [
        "python",
        "-m",
        "jobs.train",
        "--recipe",
        name,
        "--data",
        corpus.uri,
        "--storage",
        "runs",
        "--name",
        "first",
    ]
    return shlex.join([*command, *settings])
