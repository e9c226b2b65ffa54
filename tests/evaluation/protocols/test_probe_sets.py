import re

import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.protocols.probe_sets import probed_sets
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.probes.planted import embedded

TAGS = [["genre:jazz", "mood:calm"], ["genre:ska"], [], ["mood:dark", "gtzan:blues"]]


@pytest.fixture
def splits() -> ProbeSplits:
    return ProbeSplits.of(
        embedded(np.zeros((4, 1)), splits=["train", "train", "validation", "test"], tags=TAGS), seed=0
    )


def test_sets_are_all_categories_or_one_category_or_a_fixed_list(splits: ProbeSplits) -> None:
    found = {tags.name: tags.tags for tags in probed_sets(None, splits)}
    assert found == {
        "genre": ("genre:jazz", "genre:ska"),
        "gtzan": ("gtzan:blues",),
        "mood": ("mood:calm", "mood:dark"),
    }
    assert [tags.tags for tags in probed_sets("mood:", splits)] == [("mood:calm", "mood:dark")]
    known = vocabulary("gtzan")
    name, tag = known.name, known.tags[0]
    tagged = embedded(np.zeros((3, 1)), splits=["train", "train", "test"], tags=[[tag], [], []])
    (gtzan,) = probed_sets(name, ProbeSplits.of(tagged, seed=0))
    assert gtzan == known
    assert len(gtzan.tags) == 10


@pytest.mark.parametrize(
    ("name", "message"), [("mtat_top50", "a tag of mtat_top50, such as mtat:guitar"), ("key:", "a tag key:…")]
)
def test_a_corpus_without_the_tags_is_refused(name: str, message: str, splits: ProbeSplits) -> None:
    with pytest.raises(EvaluationError, match=re.escape(message)):
        list(probed_sets(name, splits))
    untagged = ProbeSplits.of(embedded(np.zeros((3, 1)), splits=["train", "train", "test"]), seed=0)
    with pytest.raises(EvaluationError, match="no recording has a tag for"):
        list(probed_sets(None, untagged))
