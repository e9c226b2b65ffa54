"""Tests the registry of rules: unique names, and settings that name rules."""

import pytest

from mulan.config.errors import RecipeError
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.texts.rules import FURTHER_RULES, LONG_FORM, RULE_NAMES, SHORT_FORM


def test_names_are_unique_and_complete() -> None:
    for rules in (SHORT_FORM, LONG_FORM):
        assert len({rule.name for rule in rules}) == len(rules)
        assert {rule.name for rule in rules} | {*FURTHER_RULES} <= {*RULE_NAMES}
    assert len(RULE_NAMES) == len({*RULE_NAMES})
    assert all(rule.description for rule in (*SHORT_FORM, *LONG_FORM))


def test_rules_are_switched_off_by_known_names() -> None:
    config = PreparationConfig().replace({"text.off": list(RULE_NAMES)})
    assert config.text.off == RULE_NAMES
    with pytest.raises(RecipeError, match="no rule is called caps, shout; the rules are normalize, promotion, urls"):
        PreparationConfig().replace({"text.off": ["shout", "emoji", "caps"]})
