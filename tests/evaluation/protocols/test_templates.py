import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.templates import TAGS_ALONE, PromptTemplates


def test_templates_are_those_of_the_category_or_the_general_ones() -> None:
    templates = PromptTemplates.parsed(["{} music", "genre={} song", "a song with {}", "genre=a={}"])
    assert templates == PromptTemplates(("{} music", "a song with {}"), {"genre": ("{} song", "a={}")})
    assert templates.prompts_of("genre:jazz") == ["jazz song", "a=jazz"]
    assert templates.prompts_of("mood:calm") == ["calm music", "a song with calm"]
    assert templates.prompts_of("mood:a: {} b") == ["a: {} b music", "a song with a: {} b"]


def test_without_general_templates_other_tags_are_their_own_prompts() -> None:
    assert PromptTemplates.parsed(["genre={} song"]).prompts_of("mood:calm") == ["calm"]
    assert PromptTemplates.parsed([]) == TAGS_ALONE


def test_all_wrong_templates_are_named() -> None:
    with pytest.raises(
        EvaluationError, match=r"need one \{\} .*: 'music' has no \{\}; '\{\} or \{\}' has 2 \{\}; 'x' has no"
    ):
        PromptTemplates.parsed(["music", "{}", "{} or {}", "genre=x"])
    with pytest.raises(EvaluationError, match="there are none; the category mood has none"):
        PromptTemplates((), {"mood": ()})
    with pytest.raises(EvaluationError, match="and 5 more"):
        PromptTemplates(tuple("x" * 25))
