"""The one score of a validation that runs of a recipe are compared by."""

from mulan.config.recipe import Recipe


def headline(recipe: Recipe) -> tuple[str, str]:
    """The score that runs are compared by, higher being better: its name among the scores of a validation, and as a
    person reads it."""
    weights = recipe.loss.weights
    if weights.tagging:
        return "map", "mAP"
    if weights.atm:
        return "atm_accuracy", "matching accuracy"
    if weights.mlm:
        return "mlm_accuracy", "masked-token accuracy"
    return ("mam_r2", "masked-audio R2") if weights.mam else ("recall10", "recall@10")
