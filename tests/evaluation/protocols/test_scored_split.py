from dataclasses import dataclass

from mulan.evaluation.protocols.scored_split import ScoredSplit


@dataclass(frozen=True)
class Named(ScoredSplit):
    name: str


def test_a_protocol_scores_the_test_split_unless_another_one_is_chosen() -> None:
    named = Named("a")
    assert (named.split, named.splits) == ("test", ("test",))
    assert named.on_split("train") == Named("a", split="train")
    assert named.on_split("train").splits == ("train",)
