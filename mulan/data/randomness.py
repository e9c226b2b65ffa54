"""Stateless randomness: every draw is a pure function of the seed, a purpose and a key.

Only the raw output of counter-based generators is used, which NumPy guarantees never to change.
"""

import zlib
from collections.abc import Sequence

import numpy as np


def uniforms(count: int, *, seed: int, purpose: str, key: tuple[int, ...]) -> np.ndarray:
    """Returns float64 [count] in [0, 1), equal for equal arguments on every machine."""
    words = np.random.Philox(_sequence(seed, purpose, key)).random_raw(count)
    return (np.asarray(words, np.uint64) >> np.uint64(11)) * 2.0**-53


def torch_seed(*, seed: int, purpose: str, key: tuple[int, ...]) -> int:
    """Returns a 63-bit seed for a generator that takes no key."""
    return int(_sequence(seed, purpose, key).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Permutation:
    """A pseudo-random permutation of ``range(size)`` in O(1) memory: a Feistel network with cycle walking.

    The network permutes the next power of four; a value that falls outside ``range(size)`` is permuted again until it
    falls inside (Black and Rogaway 2002), at most four times on average.

    Example:
        >>> order = Permutation(5, seed=0, purpose="example", key=(0,))
        >>> order(np.arange(5)).tolist()
        [3, 0, 2, 4, 1]
    """

    _ROUNDS = 6

    def __init__(self, size: int, *, seed: int, purpose: str, key: tuple[int, ...]) -> None:
        assert size >= 1
        self.size = size
        self.half_bits = max(1, (max(1, size - 1).bit_length() + 1) // 2)
        self.round_keys = _sequence(seed, purpose, key).generate_state(self._ROUNDS, np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Maps distinct positions, int64 [n] in ``range(size)``, to distinct values, int64 [n] in ``range(size)``."""
        return permute([self], np.zeros(len(positions), np.int64), positions)


def permute(permutations: Sequence[Permutation], indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Applies several permutations at the cost of one, which is determined by the number of array operations.

    Args:
        permutations: Permutations that are applied.
        indices: Index of the permutation of each position, int64 [n].
        positions: Positions to permute, int64 [n], each in the range of its permutation.

    Returns:
        Permuted positions, int64 [n].
    """
    sizes = np.array([permutation.size for permutation in permutations], np.uint64)[indices]
    half_bits = np.array([permutation.half_bits for permutation in permutations], np.uint64)[indices]
    round_keys = np.array([permutation.round_keys for permutation in permutations], np.uint64)[indices]
    values = _network(positions.astype(np.uint64), half_bits, round_keys)
    while len(outside := np.flatnonzero(values >= sizes)):
        values[outside] = _network(values[outside], half_bits[outside], round_keys[outside])
    return values.astype(np.int64)


def _network(values: np.ndarray, half_bits: np.ndarray, round_keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for round_key in round_keys.T:
        left, right = right, left ^ (mix(right ^ round_key) & mask)
    return (left << half_bits) | right


_SHIFTS = [np.array(bits, np.uint64) for bits in (30, 27, 31)]
_FACTORS = [np.array(factor, np.uint64) for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]
"""Constants as arrays, because NumPy takes as long to convert a number to an array as to mix a micro-batch's words."""


def mix(words: np.ndarray) -> np.ndarray:
    """Applies the finaliser of SplitMix64 (Steele et al. 2014): every input bit changes half of the output bits."""
    words = (words ^ (words >> _SHIFTS[0])) * _FACTORS[0]
    words = (words ^ (words >> _SHIFTS[1])) * _FACTORS[1]
    return words ^ (words >> _SHIFTS[2])


def _sequence(seed: int, purpose: str, key: tuple[int, ...]) -> np.random.SeedSequence:
    # SeedSequence takes no negative words, and treats keys that differ in trailing zeros alike: add sign and length
    return np.random.SeedSequence([abs(seed), int(seed < 0), zlib.crc32(purpose.encode()), len(key), *key])
