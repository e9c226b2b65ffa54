"""What values of a recipe change for the data that its trials read, and for the scores that they are compared by."""

from collections.abc import Hashable

from mulan.config.recipe import Recipe


def is_read_alike(first: Recipe, second: Recipe) -> bool:
    """Returns whether a reader (:class:`mulan.data.reader.MicroBatchReader`) of one recipe reads what the other needs.

    Fields that the reader might use count as if it did: the trial then opens the corpus itself.
    """
    return _read_by(first) == _read_by(second)


def is_judged_alike(first: Recipe, second: Recipe) -> bool:
    """Returns whether the scores of two recipes' validations are over the same recordings, windows and texts.

    This is about the scores of validation batches; those of ``evaluation.tasks`` are always over the same recordings.
    """
    return _judged_by(first) == _judged_by(second)


def _read_by(recipe: Recipe) -> Hashable:
    text = recipe.text_tower.model_dump_json(include={"pretrained", "max_tokens", "prefix", "pooling"})
    labels = recipe.semisupcon.model_dump_json(include={"views", "tag_prefix", "labelled_share", "labels_used"})
    return _judged_by(recipe), recipe.data.model_dump_json(), text, labels


def _judged_by(recipe: Recipe) -> Hashable:
    weights = recipe.loss.weights
    masked = (weights.mlm > 0, weights.mam > 0, weights.atm > 0)
    mulap = recipe.mulap.model_dump_json() if weights.uses_mulap else ""
    return (
        recipe.selection_metric,
        recipe.data.model_dump_json(exclude={"text_sampling", "max_skipped_share"}),
        recipe.batch.model_dump_json(),
        (recipe.train.seed, recipe.train.validation_micro_batches),
        (weights.uses_text, weights.uses_classes, recipe.views, masked, mulap, recipe.tagging.model_dump_json()),
    )
