"""Tests MuLaP's masks and exchanged captions against loops over pairs and tokens, and the recipe's probabilities."""

from collections import Counter

import numpy as np
import pytest

from mulan.config.objectives import LossWeightsConfig, MulapConfig
from mulan.config.sections import BatchConfig
from mulan.data.batch import Masks
from mulan.data.masking import Masking
from mulan.data.plan import Plan
from mulan.data.streams import Stream, StreamMixture
from mulan.data.text import TokenVocabulary
from mulan.recipes.registry import load_recipe

PAIRS, TOKENS, SEGMENTS = 16, 24, 6
PADDING, UNKNOWN, CLS, SEP, MASK = range(5)
VOCABULARY = TokenVocabulary(size=400, mask_id=MASK, special_ids=(PADDING, CLS, SEP, MASK))

MANY = 300
"""Number of micro-batches over which draws are counted."""


def plan(*, seed: int = 0, pairs: int = PAIRS, split: str = "train") -> Plan:
    stream, batch = Stream("long_form"), BatchConfig(micro_batches=2, pairs_per_micro_batch=pairs)
    return Plan(StreamMixture({stream: np.arange(50)}, {stream: 1.0}), batch=batch, seed=seed, split=split)


def masking(*, mlm: float = 1, mam: float = 1, atm: float = 1, **section: float) -> Masking:
    weights = LossWeightsConfig(contrastive=0, mlm=mlm, mam=mam, atm=atm)
    return Masking(MulapConfig.model_validate(section), weights, SEGMENTS, TOKENS, VOCABULARY)


def some_captions(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns token ids and attention mask of captions of all lengths, from an empty one to one of full length."""
    rng = np.random.default_rng(seed)
    token_ids = np.full((PAIRS, TOKENS), PADDING, np.int64)
    for caption, words in zip(token_ids, np.linspace(0, TOKENS - 2, PAIRS).round().astype(int), strict=True):
        caption[: words + 2] = [CLS, *rng.choice([UNKNOWN, *range(5, 400)], words), SEP]
    return token_ids, (token_ids != PADDING).astype(np.int64)


TOKEN_IDS, ATTENTION = some_captions()
WORDS = np.array([[token not in (PADDING, CLS, SEP) for token in caption] for caption in TOKEN_IDS])


def hide(
    made: Masking, step: int = 0, micro_batch: int = 0, *, by: Plan | None = None, matched: np.ndarray | None = None
) -> tuple[np.ndarray, Masks]:
    return made(
        by or plan(),
        step,
        micro_batch,
        token_ids=TOKEN_IDS,
        attention_mask=ATTENTION,
        matched=np.ones(PAIRS, bool) if matched is None else matched,
    )


def as_bytes(hidden: tuple[np.ndarray, Masks]) -> list[bytes]:
    token_ids, masks = hidden
    return [token_ids.tobytes(), *(array.tobytes() for array in vars(masks).values())]


def assert_share(hits: int, of: int, probability: float) -> None:
    """Asserts that a count is within four standard deviations of its binomial distribution."""
    assert abs(hits - of * probability) < 4 * np.sqrt(of * probability * (1 - probability)), hits / of


def test_special_tokens_and_padding_are_never_masked() -> None:
    for step in range(MANY):
        token_ids, masks = hide(masking(token_mask_probability=0.9), step)
        assert np.array_equal(token_ids[~WORDS], TOKEN_IDS[~WORDS])
        assert set(masks.token_targets[~WORDS].tolist()) == {-100}


def test_masks_do_not_depend_on_the_padding() -> None:
    """The masks equal those of the full length, truncated to the tokens of the longest text."""
    for step, length in zip(range(10), range(8, 18), strict=True):
        fits = ATTENTION.sum(axis=1) <= length
        token_ids, attention = np.where(fits[:, None], TOKEN_IDS, PADDING), ATTENTION * fits[:, None]
        matched = np.ones(PAIRS, bool)
        whole, masks = masking()(plan(), step, 1, token_ids=token_ids, attention_mask=attention, matched=matched)
        cut, cut_masks = masking()(
            plan(), step, 1, token_ids=token_ids[:, :length], attention_mask=attention[:, :length], matched=matched
        )
        assert np.array_equal(cut, whole[:, :length])
        assert np.array_equal(cut_masks.token_targets, masks.token_targets[:, :length])
        assert (masks.token_targets[:, length:] == -100).all()
        assert np.array_equal(cut_masks.segment_hidden, masks.segment_hidden)


def test_targets_are_the_original_ids() -> None:
    for step in range(MANY):
        token_ids, masks = hide(masking(), step)
        predicted = masks.token_targets != -100
        assert np.array_equal(masks.token_targets[predicted], TOKEN_IDS[predicted])
        assert np.array_equal(token_ids[~predicted], TOKEN_IDS[~predicted])
        assert token_ids.dtype == masks.token_targets.dtype == np.int64


def test_tokens_are_selected_and_masked_with_bert_s_probabilities() -> None:
    counts = Counter[str]()
    by_place = np.zeros(TOKENS, int)
    at_random: list[int] = []
    for step in range(MANY):
        for micro_batch in range(2):
            token_ids, masks = hide(masking(), step, micro_batch)
            predicted = masks.token_targets != -100
            by_place += predicted.sum(axis=0)
            for now, before in zip(token_ids[predicted].tolist(), TOKEN_IDS[predicted].tolist(), strict=True):
                kind = "stays" if now == before else "masked" if now == MASK else "random"
                counts[kind] += 1
                at_random += [now] if kind == "random" else []
    chosen = counts.total()
    assert_share(chosen, 2 * MANY * WORDS.sum(), 0.15)
    for hits, words in zip(by_place.tolist(), (2 * MANY * WORDS.sum(axis=0)).tolist(), strict=True):
        assert_share(hits, words, 0.15) if words else None
    # a random token is sometimes the original one, or [MASK]
    assert_share(counts["masked"], chosen, 0.8 + 0.1 / VOCABULARY.size)
    assert_share(counts["stays"], chosen, 0.1 + 0.1 / VOCABULARY.size)
    assert_share(counts["random"], chosen, 0.1 * (1 - 2 / VOCABULARY.size))
    assert 0 <= min(at_random) < 20 and VOCABULARY.size - 20 < max(at_random) < VOCABULARY.size
    for low in range(0, VOCABULARY.size, 100):
        assert_share(sum(low <= token < low + 100 for token in at_random), len(at_random), 1 / 4)


def test_each_token_is_masked_according_to_its_two_draws() -> None:
    """Compares with the definition, token by token."""
    for step, micro_batch in ((0, 0), (3, 1), (70, 0)):
        chosen, fate = (
            plan(seed=5)
            .uniforms(2 * PAIRS * TOKENS, purpose="tokens", step=step, micro_batch=micro_batch)
            .reshape(2, PAIRS, TOKENS)
        )
        expected, targets = TOKEN_IDS.tolist(), np.full(TOKEN_IDS.shape, -100).tolist()
        for pair, place in zip(*np.nonzero(WORDS), strict=True):
            if chosen[pair, place] < 0.15:
                targets[pair][place] = expected[pair][place]
                if fate[pair, place] < 0.8:
                    expected[pair][place] = MASK
                elif fate[pair, place] < 0.9:
                    expected[pair][place] = int((fate[pair, place] - 0.8) * 10 * VOCABULARY.size)
        token_ids, masks = hide(masking(), step, micro_batch, by=plan(seed=5))
        assert token_ids.tolist() == expected
        assert masks.token_targets.tolist() == targets


def test_tokens_outside_the_attention_mask_are_not_masked() -> None:
    attention_mask = ATTENTION * (np.arange(TOKENS) < 9)
    token_ids, masks = masking(token_mask_probability=1)(
        plan(), 0, 0, token_ids=TOKEN_IDS, attention_mask=attention_mask, matched=np.ones(PAIRS, bool)
    )
    assert np.array_equal(masks.token_targets != -100, WORDS & (attention_mask == 1))
    assert np.array_equal(token_ids[:, 9:], TOKEN_IDS[:, 9:])


def test_an_exchanged_caption_has_masked_tokens_and_no_targets() -> None:
    matched = np.arange(PAIRS) % 3 > 0
    for step in range(20):
        all_ids, all_masks = hide(masking(), step)
        token_ids, masks = hide(masking(), step, matched=matched)
        assert np.array_equal(token_ids, all_ids)
        assert np.array_equal(masks.token_targets[matched], all_masks.token_targets[matched])
        assert (masks.token_targets[~matched] == -100).all()
        assert masks.matched.tolist() == matched.astype(int).tolist()
        assert np.array_equal(masks.segment_hidden, all_masks.segment_hidden)
    assert (token_ids[~matched] != TOKEN_IDS[~matched]).any()


def test_segments_are_masked_with_their_probability() -> None:
    for probability in (0.15, 0.6):
        hidden = np.stack(
            [hide(masking(segment_mask_probability=probability), n)[1].segment_hidden for n in range(MANY)]
        )
        assert hidden.shape == (MANY, PAIRS, SEGMENTS)
        assert hidden.dtype == np.uint8
        assert set(np.unique(hidden).tolist()) == {0, 1}
        assert_share(int(hidden.sum()), hidden.size, probability)
        for segment in range(SEGMENTS):
            assert_share(int(hidden[:, :, segment].sum()), MANY * PAIRS, probability)


def test_each_segment_is_masked_according_to_its_draw() -> None:
    draws = plan(seed=5).uniforms(PAIRS * SEGMENTS, purpose="segments", step=3, micro_batch=1)
    expected = [[int(draws[pair * SEGMENTS + n] < 0.15) for n in range(SEGMENTS)] for pair in range(PAIRS)]
    assert hide(masking(), 3, 1, by=plan(seed=5))[1].segment_hidden.tolist() == expected


def test_probability_zero_masks_nothing_and_one_masks_everything() -> None:
    names = ("token_mask_probability", "segment_mask_probability", "mismatch_probability")
    nothing, everything = (masking(**dict.fromkeys(names, share)) for share in (0, 1))
    for step in range(20):
        token_ids, masks = hide(nothing, step)
        assert np.array_equal(token_ids, TOKEN_IDS)
        assert (masks.token_targets == -100).all()
        assert not masks.segment_hidden.any()
        assert exchange(nothing, step).tolist() == list(range(PAIRS))
        token_ids, masks = hide(everything, step)
        assert np.array_equal(masks.token_targets, np.where(WORDS, TOKEN_IDS, -100))
        assert (masks.segment_hidden == 1).all()
        assert (exchange(everything, step) != np.arange(PAIRS)).all()
    assert set(masks.token_targets[0].tolist()) == {-100}  # the empty caption


TEXTS = [f"caption {number}" for number in range(PAIRS)]
NAMES = [f"recording {number}" for number in range(PAIRS)]


def exchange(
    made: Masking,
    step: int = 0,
    micro_batch: int = 0,
    *,
    texts: list[str] = TEXTS,
    names: list[str] = NAMES,
    by: Plan | None = None,
) -> np.ndarray:
    order = made.captions(by or plan(pairs=len(texts)), step, micro_batch, texts, names)
    assert order.dtype == np.int64 and order.shape == (len(texts),)
    return order


def test_half_of_the_captions_are_exchanged_for_random_others() -> None:
    distances = Counter[int]()
    for step in range(MANY):
        distances.update(((exchange(masking(), step) - np.arange(PAIRS)) % PAIRS).tolist())
    assert_share(distances[0], MANY * PAIRS, 0.5)
    for distance in range(1, PAIRS):
        assert_share(distances[distance], MANY * PAIRS, 0.5 / (PAIRS - 1))


def test_a_caption_is_never_exchanged_for_an_equal_text_or_the_same_recording() -> None:
    """Compares with the definition, pair by pair, for captions of which few may be exchanged."""
    rng = np.random.default_rng(1)
    skipped = 0
    for step in range(MANY):
        texts = [TEXTS[number] for number in rng.choice(3, PAIRS)]
        names = [NAMES[number] for number in rng.choice(4, PAIRS)]
        exchanged, choice = plan().uniforms(2 * PAIRS, purpose="mismatches", step=step, micro_batch=1).reshape(2, PAIRS)
        order = exchange(masking(), step, 1, texts=texts, names=names)
        for pair in range(PAIRS):
            others = [(pair + turn) % PAIRS for turn in range(1, PAIRS)]
            first = int(choice[pair] * (PAIRS - 1))
            fitting = [
                n for n in others[first:] + others[:first] if texts[n] != texts[pair] and names[n] != names[pair]
            ]
            assert order[pair] == (fitting[0] if fitting and exchanged[pair] < 0.5 else pair)
            skipped += exchanged[pair] < 0.5 and order[pair] != others[first]
    assert skipped > MANY


@pytest.mark.parametrize(
    ("texts", "names"), [(["the same"] * PAIRS, NAMES), (TEXTS, ["the same"] * PAIRS)], ids=["texts", "recordings"]
)
def test_captions_without_a_valid_replacement_are_kept(texts: list[str], names: list[str]) -> None:
    order = exchange(masking(mismatch_probability=1), texts=texts, names=names)
    assert order.tolist() == list(range(PAIRS))


def test_two_captions_may_be_exchanged_for_each_other() -> None:
    orders = Counter(tuple(exchange(masking(), step, texts=TEXTS[:2], names=NAMES[:2])) for step in range(MANY))
    assert set(orders) == {(0, 1), (1, 0), (0, 0), (1, 1)}
    for count in orders.values():
        assert_share(count, MANY, 0.25)


def test_a_term_of_weight_0_masks_nothing_and_does_not_change_other_masks() -> None:
    for step in range(10):
        whole_ids, whole = hide(masking(), step)
        token_ids, masks = hide(masking(mlm=0), step)
        assert np.array_equal(token_ids, TOKEN_IDS)
        assert masks.token_targets.shape == (PAIRS, 0) and masks.token_targets.dtype == np.int64
        assert np.array_equal(masks.segment_hidden, whole.segment_hidden)
        token_ids, masks = hide(masking(mam=0), step)
        assert masks.segment_hidden.shape == (PAIRS, SEGMENTS) and not masks.segment_hidden.any()
        assert np.array_equal(token_ids, whole_ids) and np.array_equal(masks.token_targets, whole.token_targets)
        assert exchange(masking(atm=0), step).tolist() == list(range(PAIRS))
        assert exchange(masking(mlm=0, mam=0), step).tolist() == exchange(masking(), step).tolist()
        assert as_bytes(hide(masking(atm=0), step)) == as_bytes((whole_ids, whole))


def test_the_masks_of_an_item_do_not_depend_on_earlier_items() -> None:
    def all_of(step: int, micro_batch: int, by: Plan) -> list[bytes]:
        order = exchange(masking(), step, micro_batch, by=by)
        return [*as_bytes(hide(masking(), step, micro_batch, by=by)), order.tobytes()]

    items = [(step, micro_batch) for step in range(5) for micro_batch in range(2)]
    forwards, backwards = plan(), plan()
    there = [all_of(*item, forwards) for item in items]
    assert there == [all_of(*item, backwards) for item in reversed(items)][::-1]
    others = [all_of(0, 0, plan(seed=1)), all_of(0, 0, plan(split="validation"))]
    for kind in (0, 1, 2, 4):  # token ids, targets, segments, order
        assert len({masks[kind] for masks in there + others}) == len(items) + 2


def test_a_recipe_without_mulap_has_no_masking_and_loads_no_vocabulary() -> None:
    for name in ("m_resnet50", "semisupcon", "m_resnet50_audioset"):
        recipe = load_recipe(name, ["text_tower.pretrained=/nowhere"])
        made = Masking.from_sections(recipe.mulap, recipe.loss.weights, recipe.text_tower, segments=recipe.segments)
        assert made is None
