from collections import Counter

import numpy as np
import pytest

from mulan.config.sections import SOURCES, BatchConfig, Source, SourceRatioConfig
from mulan.data.plan import Plan, PlanError
from mulan.data.randomness import Permutation
from mulan.data.streams import Stream, StreamMixture

ROWS: dict[Source, np.ndarray] = {
    "short_form": np.arange(0, 100),
    "long_form": np.arange(50, 90),
    "playlist": np.arange(10, 17),
    "audioset": np.arange(0, 100, 3),
    "short_form_unfiltered": np.arange(0, 100, 2),
    "long_form_unfiltered": np.arange(20, 61),
    "tags": np.arange(3, 99, 5),
}


def mixed(ratio: SourceRatioConfig | None = None, rows: dict[Source, np.ndarray] = ROWS) -> StreamMixture:
    shares = {Stream(source): float(getattr(ratio or SourceRatioConfig(), source)) for source in SOURCES}
    return StreamMixture({Stream(source): of_source for source, of_source in rows.items()}, shares)


def plan(batch: BatchConfig | None = None, ratio: SourceRatioConfig | None = None, seed: int = 1) -> Plan:
    batch = batch or BatchConfig(micro_batches=4, pairs_per_micro_batch=6)
    return Plan(mixed(ratio), batch=batch, seed=seed, split="train")


def pairs_by_source(plan: Plan) -> dict[str, int]:
    return {str(stream): pairs for stream, pairs in plan.pairs_by_stream.items()}


def global_batch(plan: Plan, step: int, micro_batches: int = 4) -> list:
    return [example for k in range(micro_batches) for example in plan.micro_batch(step, k)]


def test_every_batch_has_the_paper_s_proportions() -> None:
    for step in range(20):
        counts = Counter(example.stream.source for example in global_batch(plan(), step))
        assert counts == {"short_form": 8, "long_form": 8, "playlist": 4, "audioset": 4}


def test_each_pair_is_the_one_at_its_position_in_its_stream() -> None:
    """Compares with the definition, pair by pair."""
    pairs, one = 24, plan(seed=5)
    for step in range(6):
        deal = Permutation(pairs, seed=5, purpose="train deal", key=(step,))(np.arange(pairs))
        slots = [(source, n) for source, count in pairs_by_source(one).items() for n in range(count)]
        for slot, example in zip(deal, global_batch(one, step), strict=True):
            source, ordinal = slots[slot]
            epoch, within = divmod(step * pairs_by_source(one)[source] + ordinal, len(ROWS[source]))
            order = Permutation(len(ROWS[source]), seed=5, purpose=f"train {source}", key=(epoch,))
            assert (example.stream.source, example.row) == (source, ROWS[source][order(np.array([within]))[0]])


def test_the_paper_s_batch_splits_evenly() -> None:
    paper = plan(BatchConfig(micro_batches=128, pairs_per_micro_batch=48))
    shares = {"short_form": 2048, "long_form": 2048, "playlist": 1024, "audioset": 1024}
    assert pairs_by_source(paper) == shares | {"short_form_unfiltered": 0, "long_form_unfiltered": 0, "tags": 0}


def test_an_uneven_batch_is_apportioned_to_the_nearest_pair() -> None:
    uneven = plan(BatchConfig(micro_batches=2, pairs_per_micro_batch=32))
    assert list(uneven.pairs_by_stream.values()) == [21, 21, 11, 11, 0, 0, 0]


@pytest.mark.parametrize("source", SOURCES)
def test_each_epoch_of_a_source_visits_each_of_its_recordings_once(source: Source) -> None:
    every = plan(ratio=SourceRatioConfig(short_form_unfiltered=1, long_form_unfiltered=1, tags=1))
    a_step = pairs_by_source(every)[source]
    size = len(ROWS[source])
    whole = np.lcm(size, a_step)  # where the end of a step is the end of an epoch
    stream = [e.row for step in range(whole // a_step) for e in global_batch(every, step) if e.stream.source == source]
    assert Counter(stream) == dict.fromkeys(ROWS[source].tolist(), whole // size)


def test_epochs_have_different_orders() -> None:
    only = SourceRatioConfig(short_form=0, long_form=0, playlist=1, audioset=0)
    seven = plan(BatchConfig(micro_batches=1, pairs_per_micro_batch=7), only)
    epochs = [frozenset(enumerate(e.row for e in seven.micro_batch(step, 0))) for step in range(20)]
    assert all(len({row for _, row in epoch}) == 7 for epoch in epochs)
    assert len(set(epochs)) > 15


def test_a_plan_has_no_state() -> None:
    one, other = plan(), plan()
    forwards = [one.micro_batch(step, k) for step in range(5) for k in range(4)]
    backwards = [other.micro_batch(step, k) for step in reversed(range(5)) for k in reversed(range(4))]
    assert forwards == backwards[::-1]
    assert plan(seed=2).micro_batch(0, 0) != forwards[0]


def test_micro_batches_are_shares_of_one_global_batch() -> None:
    """Splitting a global batch into more micro-batches changes neither its rows nor their order."""
    coarse = plan(BatchConfig(micro_batches=2, pairs_per_micro_batch=12))
    fine = plan(BatchConfig(micro_batches=4, pairs_per_micro_batch=6))
    assert [(e.row, e.stream) for e in global_batch(coarse, 3, 2)] == [
        (e.row, e.stream) for e in global_batch(fine, 3, 4)
    ]


def test_sources_are_mixed_within_micro_batches() -> None:
    first = [Counter(e.stream.source for e in plan().micro_batch(step, 0))["short_form"] for step in range(200)]
    assert min(first) < 2 < max(first)
    assert np.mean(first) == pytest.approx(2.0, abs=0.2)


def test_draws_keep_their_bits() -> None:
    """A run that is resumed with another version would have other data."""
    chosen = plan()
    examples = [*chosen.micro_batch(3, 2)[:2], chosen.replacement(3, 2, 0, Stream("playlist"), 1)]
    assert [(example.row, str(example.stream), example.window_draw, example.text_draw) for example in examples] == [
        (12, "playlist", 0.055762935791100365, 0.8915593737327074),
        (59, "short_form", 0.6784595156579081, 0.15847093391163924),
        (11, "playlist", 0.6420716750185227, 0.6447985778194515),
    ]


def test_replacements_are_of_the_same_source_and_differ_by_attempt() -> None:
    chosen = plan()
    for source in SOURCES:
        replacements = [chosen.replacement(5, 1, position, Stream(source), 1).row for position in range(6)]
        assert set(replacements) <= set(ROWS[source].tolist())
    attempts = [chosen.replacement(5, 1, 0, Stream("short_form"), attempt) for attempt in range(1, 30)]
    assert len({example.row for example in attempts}) > 15
    assert chosen.replacement(5, 1, 0, Stream("short_form"), 2) == attempts[1]


def test_everything_that_a_corpus_lacks_is_named() -> None:
    rows = ROWS | {source: np.array([], np.int64) for source in ("playlist", "audioset", "tags")}
    with pytest.raises(PlanError) as caught:
        Plan(mixed(SourceRatioConfig(tags=1), rows), batch=BatchConfig(), seed=0, split="validation")
    assert "no validation recording has playlist texts; set data.source_ratio.playlist=0" in str(caught.value)
    assert "audioset" in str(caught.value)
    assert "no validation recording has tags; set data.source_ratio.tags=0" in str(caught.value)


def test_the_only_source_is_to_be_replaced() -> None:
    only = dict.fromkeys(SOURCES, 0.0) | {"tags": 1.0}
    rows = ROWS | {"tags": np.array([], np.int64)}
    with pytest.raises(PlanError) as caught:
        Plan(mixed(SourceRatioConfig(**only), rows), batch=BatchConfig(), seed=0, split="train")
    assert str(caught.value) == (
        "no train recording has tags; set data.source_ratio.tags=0 and that of another source above 0"
    )


def test_a_batch_too_small_for_a_source_is_rejected() -> None:
    with pytest.raises(PlanError, match="too small for playlist"):
        plan(BatchConfig(micro_batches=1, pairs_per_micro_batch=2))
