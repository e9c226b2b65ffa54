"""Tests that each loss term can be trained and has a metric by which runs are compared."""

import math

from mulan.config.objectives import (
    CROSS_MODAL,
    SELECTION_METRICS,
    TRAINED_TOGETHER,
    LossConfig,
    LossWeightsConfig,
    collapsed_losses,
    selection_metric,
)
from mulan.recipes.registry import named_recipes


def test_every_term_belongs_to_one_group_and_has_a_metric() -> None:
    terms = sorted(LossWeightsConfig.model_fields)
    assert sorted(term for group in TRAINED_TOGETHER for term in group) == terms
    assert sorted(SELECTION_METRICS) == terms


def test_the_properties_of_terms() -> None:
    embedding = {term for term in LossWeightsConfig.model_fields if only(term).embeds_text}
    reading = {term for term in LossWeightsConfig.model_fields if only(term).uses_text}
    assert embedding == set(CROSS_MODAL) == {"contrastive", "clip", "decoupled", "siglip"}
    assert {term for term in LossWeightsConfig.model_fields if only(term).uses_classes} == {"tagging"}
    assert reading == {*CROSS_MODAL, "mlm", "mam", "atm"}


def only(term: str) -> LossWeightsConfig:
    return LossWeightsConfig.model_validate({"contrastive": 0} | {term: 1})


def test_the_first_term_with_a_weight_determines_the_metric() -> None:
    of_mulap = {"contrastive": 0, "mlm": 1, "mam": 9}
    assert selection_metric(LossWeightsConfig()) == ("recall10", "recall@10")
    assert selection_metric(LossWeightsConfig(semisupcon=2)).name == "recall10"
    assert selection_metric(LossWeightsConfig(contrastive=0, siglip=1)).name == "recall10"
    assert selection_metric(LossWeightsConfig.model_validate(of_mulap)).name == "mlm_accuracy"
    assert selection_metric(LossWeightsConfig.model_validate(of_mulap | {"atm": 0.1})).name == "atm_accuracy"
    assert selection_metric(LossWeightsConfig.model_validate(of_mulap | {"mlm": 0})).name == "mam_r2"
    assert selection_metric(LossWeightsConfig(contrastive=0, tagging=1)) == ("map", "mAP")


def test_the_values_of_collapse_are_those_of_the_terms_with_a_weight() -> None:
    softmax = LossWeightsConfig(contrastive=0.5, clip=1, decoupled=2, semisupcon=1)
    assert collapsed_losses(LossConfig(weights=softmax), 9) == {
        "contrastive": math.log(16),
        "clip": math.log(9),
        "decoupled": math.log(8),
    }
    assert collapsed_losses(LossConfig(weights=only("clip")), 9) == {"clip": math.log(9)}
    for term in ("siglip", "semisupcon", "tagging"):
        assert collapsed_losses(LossConfig(weights=only(term)), 9) == {}
    assert collapsed_losses(LossConfig(weights=softmax, mask_equal_texts=True), 9) == {}


def test_every_recipe_has_a_metric_with_a_label() -> None:
    assert all(selection_metric(recipe.loss.weights).label for recipe in named_recipes().values())
