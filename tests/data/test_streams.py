"""Tests streams of recordings against a loop over the index, and the batches that are mixed from them."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from mulan.config.objectives import SemiSupConConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import SOURCES, STORED_SOURCES
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import SCHEMA
from mulan.data.corpus.metadata import SPLITS
from mulan.data.labels import tag_names
from mulan.data.plan import Plan, PlanError
from mulan.data.streams import Stream, StreamMixture, build_mixture, labels_used
from mulan.recipes.registry import load_recipe
from tests.data.corpus.indexed import corpus_of_table

TAGS = ("genre:jazz", "genre:rock", "mood:calm", "夜曲", "instrument:koto")

Row = tuple[str, list[str], list[str]]
"""Split, sources and tags of a recording."""


def drawn_rows(count: int = 300, seed: int = 0) -> list[Row]:
    """Returns recordings of all splits, some without texts and many without tags."""
    rng = np.random.default_rng(seed)
    return [
        (
            SPLITS[rng.choice(3, p=(0.7, 0.2, 0.1))],
            [source for source in STORED_SOURCES if rng.random() < 0.3],
            [tag for tag in TAGS if rng.random() < 0.15],
        )
        for _ in range(count)
    ]


ROWS = drawn_rows()
ALL_TAGS = "semisupcon.tag_prefix="


def corpus_of(rows: list[Row]) -> Corpus:
    common = {"uri": "shards/0.tar", "offset": 0, "length": 512, "duration_s": 1.0}
    columns = [
        {"recording_id": f"r{number}", "split": split, "sources": sources, "tags": tags} | common
        for number, (split, sources, tags) in enumerate(rows)
    ]
    return corpus_of_table(pa.Table.from_pylist(columns, pa.schema(list(SCHEMA)[:8])))


def recipe(name: str, *settings: str) -> Recipe:
    return load_recipe(name, settings)


def mixture_of(corpus: Corpus, recipe: Recipe, split: str) -> StreamMixture:
    weights, ratio = recipe.loss.weights, recipe.data.source_ratio
    return build_mixture(corpus, split, weights, ratio, recipe.semisupcon, seed=recipe.train.seed)


def as_lists(mix: StreamMixture) -> dict[Stream, list[int]]:
    return {stream: rows.tolist() for stream, rows in mix.rows.items()}


def of_source(source: str, split: str = "train") -> list[int]:
    """Returns the recordings with a stored source, or with any tag."""
    named = [[*sources, "tags"] if tags else sources for _, sources, tags in ROWS]
    return [number for number, (its, _, _) in enumerate(ROWS) if its == split and source in named[number]]


def of_split(split: str) -> list[int]:
    return [number for number, (its, _, _) in enumerate(ROWS) if its == split]


def labelled_rows(prefix: str = "") -> list[int]:
    return [
        n for n, (its, _, tags) in enumerate(ROWS) if its == "train" and any(tag.startswith(prefix) for tag in tags)
    ]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", ["m_resnet50", "m_resnet50_audioset", "mulap"])
def test_with_texts_each_source_is_a_stream(name: str, split: str) -> None:
    mixture = mixture_of(corpus_of(ROWS), recipe(name), split)
    assert as_lists(mixture) == {Stream(source): of_source(source, split) for source in SOURCES}
    ratio = recipe(name).data.source_ratio
    assert mixture.shares == {Stream(source): getattr(ratio, source) for source in SOURCES}


def test_without_texts_all_recordings_are_one_stream() -> None:
    mixture = mixture_of(corpus_of(ROWS), recipe("semisupcon", "semisupcon.labelled_share=0.25"), "train")
    labelled = labelled_rows()
    unlabelled = sorted(set(of_split("train")) - set(labelled))
    assert as_lists(mixture) == {Stream(None, True): labelled, Stream(None, False): unlabelled}
    assert mixture.shares == {Stream(None, True): 0.25, Stream(None, False): 0.75}
    assert any(not ROWS[number][1] for number in labelled) and any(not ROWS[number][1] for number in unlabelled)


def test_with_texts_each_source_is_divided_by_labels() -> None:
    mixture = mixture_of(corpus_of(ROWS), recipe("mulan_semi", "semisupcon.labelled_share=0.25", ALL_TAGS), "train")
    labelled, ratio = set(labelled_rows()), recipe("mulan_semi").data.source_ratio
    assert as_lists(mixture) == {
        Stream(source, wanted): [number for number in of_source(source) if (number in labelled) == wanted]
        for source in SOURCES
        for wanted in (True, False)
    }
    for source in SOURCES:
        assert mixture.shares[Stream(source, True)] == getattr(ratio, source) * 0.25
        assert mixture.shares[Stream(source, False)] == getattr(ratio, source) * 0.75


def test_a_recording_with_unused_labels_is_unlabelled() -> None:
    some = recipe("semisupcon", "semisupcon.labels_used=0.3", "semisupcon.tag_prefix=genre:")
    corpus = corpus_of(ROWS)
    used = labels_used(corpus, some.semisupcon, seed=some.train.seed)
    mixture = mixture_of(corpus, some, "train")
    assert mixture.rows[Stream(None, True)].tolist() == np.flatnonzero(used).tolist()
    assert sorted(np.concatenate(list(mixture.rows.values())).tolist()) == of_split("train")
    assert set(mixture.rows[Stream(None, False)].tolist()) & set(labelled_rows("genre:"))


def test_as_found_does_not_divide_streams() -> None:
    corpus, as_found = corpus_of(ROWS), "semisupcon.labelled_share=as_found"
    alone = mixture_of(corpus, recipe("semisupcon", as_found), "train")
    assert as_lists(alone) == {Stream(None): of_split("train")}
    assert set(alone.shares) == {Stream(None)} and alone.shares[Stream(None)] > 0
    beside, plain = (mixture_of(corpus, recipe(name), "train") for name in ("mulan_semi", "m_resnet50"))
    assert recipe("mulan_semi").semisupcon.labelled_share == "as_found"
    assert (as_lists(beside), beside.shares) == (as_lists(plain), plain.shares)


def test_a_term_of_weight_0_does_not_divide_streams() -> None:
    off = recipe("mulan_semi", "loss.weights.semisupcon=0", "semisupcon.labelled_share=0.5", ALL_TAGS)
    assert set(mixture_of(corpus_of(ROWS), off, "train").rows) == {Stream(source) for source in SOURCES}


@pytest.mark.parametrize("name", ["semisupcon", "mulan_semi"])
def test_validation_is_never_divided_by_labels(name: str) -> None:
    divided = recipe(name, "semisupcon.labelled_share=0.5", ALL_TAGS)
    mixture = mixture_of(corpus_of(ROWS), divided, "validation")
    if name == "semisupcon":
        assert as_lists(mixture) == {Stream(None): of_split("validation")}
    else:
        assert as_lists(mixture) == {Stream(source): of_source(source, "validation") for source in SOURCES}


def used_rows(*, seed: int = 0, rows: list[Row] = ROWS, **section: float | str) -> list[int]:
    used = labels_used(corpus_of(rows), SemiSupConConfig.model_validate(section), seed=seed)
    assert used.dtype == bool and used.shape == (len(rows),)
    return np.flatnonzero(used).tolist()


@pytest.mark.parametrize("prefix", ["", "genre:", "genre:jazz", "夜", "jazz", "absent:"])
def test_all_labelled_training_recordings_are_used_by_default(prefix: str) -> None:
    assert used_rows(tag_prefix=prefix) == labelled_rows(prefix)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_the_share_of_labels_used_is_exact_to_the_nearest_recording(share: float) -> None:
    used, every = used_rows(labels_used=share), labelled_rows()
    assert set(used) <= set(every)
    assert abs(len(used) - share * len(every)) <= 0.5


def test_fewer_labels_are_a_subset_of_more() -> None:
    chosen = [set(used_rows(labels_used=share / 20, seed=3)) for share in range(21)]
    for fewer, more in pairwise(chosen):
        assert fewer < more
    assert chosen[-1] == set(labelled_rows())


def test_the_seed_determines_which_labels_are_used() -> None:
    halves = [used_rows(labels_used=0.5, seed=seed) for seed in range(40)]
    assert halves[7] == used_rows(labels_used=0.5, seed=7)
    assert len(set(map(tuple, halves))) == 40
    # each recording in half of the draws, regardless of its row in the index
    times = Counter(number for half in halves for number in half)
    assert set(times) == set(labelled_rows())
    assert all(6 <= count <= 34 for count in times.values())  # 4.4 standard deviations from 20
    early, late = np.array_split(labelled_rows(), 2)
    assert sum(times[n] for n in early) / len(early) == pytest.approx(sum(times[n] for n in late) / len(late), rel=0.1)


@pytest.mark.parametrize("rows", [[("train", [], [])] * 4, [("validation", [], ["genre:jazz"])]])
def test_without_tags_in_training_no_labels_are_used(rows: list[Row]) -> None:
    assert used_rows(rows=rows) == []


def test_labels_are_the_tags_with_the_prefix_of_all_splits() -> None:
    rare: list[Row] = [*ROWS, ("test", [], ["genre:only in the test split", "genre:jazz"])]
    for prefix in ("", "genre:", "mood:", "夜", "jazz", "absent:"):
        expected = sorted({tag for _, _, tags in rare for tag in tags if tag.startswith(prefix)})
        assert tag_names(corpus_of(rare), prefix) == tuple(expected)
    assert tag_names(corpus_of([("train", [], [])]), "") == ()


def plan_of(rows: list[Row], recipe: Recipe, split: str = "train") -> Plan:
    return Plan(mixture_of(corpus_of(rows), recipe, split), batch=recipe.batch, seed=recipe.train.seed, split=split)


@pytest.mark.parametrize(("share", "labelled"), [(0.5, 8), (0.25, 4), (1.0, 16), (0.0, 0), (0.3, 5)])
def test_every_batch_has_its_share_of_labelled_recordings(share: float, labelled: int) -> None:
    divided = recipe("semisupcon_miniature", f"semisupcon.labelled_share={share}")
    used = set(used_rows(labels_used=0.5))
    plan = plan_of(ROWS, divided)
    for step in range(12):
        examples = [example for k in range(2) for example in plan.micro_batch(step, k)]
        assert [example.stream.labelled for example in examples] == [example.row in used for example in examples]
        assert sum(example.row in used for example in examples) == labelled
        assert {example.stream.source for example in examples} == {None}


def test_every_batch_has_its_share_of_labelled_recordings_of_each_source() -> None:
    settings = ["semisupcon.labelled_share=0.25", "semisupcon.labels_used=1", "batch.pairs_per_micro_batch=24"]
    plan, labelled = plan_of(ROWS, recipe("mulan_semi_miniature", *settings)), set(labelled_rows())
    for step in range(6):
        examples = [example for k in range(2) for example in plan.micro_batch(step, k)]
        assert all(example.row in of_source(str(example.stream.source)) for example in examples)
        assert Counter((example.stream.source, example.row in labelled) for example in examples) == {
            ("short_form", True): 4,
            ("short_form", False): 12,
            ("long_form", True): 4,
            ("long_form", False): 12,
            ("playlist", True): 2,
            ("playlist", False): 6,
            ("audioset", True): 2,
            ("audioset", False): 6,
        }


def test_streams_keep_the_names_that_key_their_draws() -> None:
    """Other names would give other batches from the same seed."""
    assert str(Stream("short_form")) == "short_form"
    assert str(Stream("short_form", True)) == "short_form labelled"
    assert str(Stream(None, False)) == "unlabelled"
    assert str(Stream(None)) == ""


LABELLED: list[Row] = [("train", ["short_form"], ["a"])] * 6
UNLABELLED: list[Row] = [("train", ["short_form"], [])] * 6
ONLY_SHORT = "data.source_ratio={short_form=1, long_form=0, playlist=0, audioset=0}"
ALL_USED = "semisupcon.labels_used=1"
NO_LABEL = "no train recording has a label that is used; set semisupcon.labelled_share=0"


@pytest.mark.parametrize(
    ("name", "rows", "settings", "message"),
    [
        ("semisupcon_miniature", UNLABELLED, [], NO_LABEL),
        ("semisupcon_miniature", LABELLED, ["semisupcon.labels_used=0"], NO_LABEL),
        (
            "semisupcon_miniature",
            LABELLED,
            [ALL_USED],
            "no train recording is unlabelled; set semisupcon.labelled_share=1",
        ),
        (
            "mulan_semi_miniature",
            UNLABELLED,
            ["semisupcon.labelled_share=0.5", ONLY_SHORT],
            "no train recording with short_form texts has a label that is used; set semisupcon.labelled_share=0",
        ),
        (
            "mulan_semi_miniature",
            LABELLED,
            ["semisupcon.labelled_share=0.5", ALL_USED, ONLY_SHORT],
            "no train recording with short_form texts is unlabelled; set semisupcon.labelled_share=1",
        ),
        (
            "semisupcon_miniature",
            [("validation", [], ["a"])],
            ["semisupcon.labelled_share=as_found"],
            "there is no train recording; set data.uri to a corpus that has some",
        ),
    ],
)
def test_missing_labels_are_reported_with_a_remedy(
    name: str, rows: list[Row], settings: list[str], message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(rows, recipe(name, *settings))
    assert str(caught.value) == message


def test_the_remedies_work() -> None:
    for rows, share in ((UNLABELLED, 0), (LABELLED, 1)):
        plan = plan_of(rows, recipe("semisupcon_miniature", ALL_USED, f"semisupcon.labelled_share={share}"))
        assert len(plan.micro_batch(0, 0)) == 8


@pytest.mark.parametrize(("name", "faults"), [("semisupcon_miniature", 1), ("mulan_semi_miniature", 4)])
def test_missing_recordings_are_reported_once_for_each_source(name: str, faults: int) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of([("test", [], [])], recipe(name, "semisupcon.labelled_share=0.5"))
    assert str(caught.value).count("no train recording") == faults


@pytest.mark.parametrize(("share", "remedy"), [(0.01, 0), (0.99, 1)])
def test_a_batch_too_small_for_its_share_of_labels_is_rejected(share: float, remedy: int) -> None:
    with pytest.raises(PlanError, match=rf"is too small for .*labelled.*; set semisupcon\.labelled_share={remedy} or"):
        plan_of(LABELLED + UNLABELLED, recipe("semisupcon_miniature", f"semisupcon.labelled_share={share}"))


def test_validation_requires_recordings_but_no_labels() -> None:
    divided, rows = recipe("semisupcon_miniature"), LABELLED + UNLABELLED
    with pytest.raises(PlanError) as caught:
        plan_of(rows, divided, "validation")
    assert str(caught.value) == "there is no validation recording; set data.uri to a corpus that has some"
    assert plan_of([*rows, ("validation", [], [])], divided, "validation").micro_batch(0, 0)
