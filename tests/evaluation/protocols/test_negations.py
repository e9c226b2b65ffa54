from mulan.evaluation.protocols.negations import negation_pairs
from mulan.vocabularies.vocabulary import vocabulary


def test_negations_are_found_in_singular_and_plural_and_within_a_category() -> None:
    tags = ["a:voice", "a:no voices", "a:vocals", "a:no vocal", "b:no voice", "a:not rock", "a:rock", "a:nova", "a:va"]
    pairs = {(pair.tag, pair.negation) for pair in negation_pairs(tags)}
    assert pairs == {("a:voice", "a:no voices"), ("a:vocals", "a:no vocal"), ("a:rock", "a:not rock")}


def test_the_negations_of_magnatagatune() -> None:
    pairs = {(pair.tag, pair.negation) for pair in negation_pairs(vocabulary("mtat_top50").tags)}
    assert pairs == {
        ("mtat:vocal", "mtat:no vocal"),
        ("mtat:vocals", "mtat:no vocal"),
        ("mtat:vocal", "mtat:no vocals"),
        ("mtat:vocals", "mtat:no vocals"),
        ("mtat:voice", "mtat:no voice"),
    }
    assert len(negation_pairs(vocabulary("mtat_188").tags)) > 15
