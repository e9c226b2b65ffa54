import numpy as np
import pytest

from mulan.data.randomness import Permutation, permute, torch_seed, uniforms


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097])
def test_a_permutation_takes_each_value_once(size: int) -> None:
    values = Permutation(size, seed=3, purpose="p", key=(0,))(np.arange(size))
    assert sorted(values.tolist()) == list(range(size))


def test_a_permutation_of_44_million_needs_no_memory() -> None:
    order = Permutation(44_000_000, seed=1, purpose="p", key=(0,))
    positions = np.array([0, 1, 43_999_999])
    assert order(positions).tolist() == [order(np.array([p]))[0] for p in positions]
    assert len(set(order(np.arange(100_000)).tolist())) == 100_000


def test_several_permutations_at_once_equal_separate_ones() -> None:
    several = [Permutation(size, seed=3, purpose="test", key=(size,)) for size in (1, 7, 300, 44_000_000)]
    rng = np.random.default_rng(0)
    which = rng.integers(len(several), size=200)
    positions = np.array([rng.integers(several[number].size) for number in which])
    alone = [int(several[number](np.array([at]))[0]) for number, at in zip(which, positions, strict=True)]
    assert permute(several, which, positions).tolist() == alone


def test_permutations_look_random() -> None:
    """Each value is equally likely at each position, and neighbours are separated (1,000 keys, size 12)."""
    table = np.array([Permutation(12, seed=0, purpose="p", key=(k,))(np.arange(12)) for k in range(2000)])
    counts = np.array([[np.sum(table[:, place] == value) for value in range(12)] for place in range(12)])
    expected = 2000 / 12
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 121 + 5 * np.sqrt(2 * 121)
    together = np.mean(np.abs(np.diff(table, axis=1)) == 1)
    assert together == pytest.approx(2 / 12, abs=0.02)


def test_keys_purposes_and_seeds_give_different_orders() -> None:
    positions = np.arange(50)
    orders = [
        Permutation(50, seed=seed, purpose=purpose, key=key)(positions).tolist()
        for seed in (0, 1, -1)
        for purpose in ("a", "b")
        for key in ((0,), (1,), (0, 0))
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_uniforms_are_uniform_and_never_change() -> None:
    draws = uniforms(10_000, seed=5, purpose="window", key=(7, 1))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.var() == pytest.approx(1 / 12, abs=0.005)
    assert uniforms(3, seed=5, purpose="window", key=(7, 1)).tolist() == draws[:3].tolist()
    # recorded values, which must never change on any machine
    assert uniforms(2, seed=0, purpose="golden", key=(1, 2)).tolist() == GOLDEN_UNIFORMS
    assert torch_seed(seed=0, purpose="golden", key=(1, 2)) == GOLDEN_SEED
    assert Permutation(10, seed=0, purpose="golden", key=(3,))(np.arange(10)).tolist() == GOLDEN_ORDER


GOLDEN_UNIFORMS = [0.4643749743697714, 0.6554994989794386]
GOLDEN_SEED = 5705688381952700196
GOLDEN_ORDER = [6, 3, 2, 9, 8, 0, 5, 4, 7, 1]
