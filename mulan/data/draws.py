"""Stateless randomness: every draw is a pure function of the seed and of what it is for.

Only raw words of counter-based generators are used, whose streams NumPy guarantees never to change.
"""

import zlib

import numpy as np


def uniforms(count: int, *, seed: int, purpose: str, key: tuple[int, ...]) -> np.ndarray:
    """float64 [count] in [0, 1), the same for the same arguments on every machine."""
    words = np.random.Philox(_sequence(seed, purpose, key)).random_raw(count)
    return (np.asarray(words, np.uint64) >> np.uint64(11)) * 2.0**-53


def torch_seed(*, seed: int, purpose: str, key: tuple[int, ...]) -> int:
    """A 63-bit seed for a generator that cannot be keyed itself."""
    return int(_sequence(seed, purpose, key).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Permutation:
    """A pseudo-random permutation of ``range(size)`` in O(1) memory: a Feistel network with cycle walking.

    The network permutes the next power of four; a value that falls outside ``range(size)`` is permuted again until it
    falls inside (Black and Rogaway 2002), at most four times on average.
    """

    _ROUNDS = 6

    def __init__(self, size: int, *, seed: int, purpose: str, key: tuple[int, ...]) -> None:
        assert size >= 1
        self.size = size
        self._half_bits = np.uint64(max(1, (max(1, size - 1).bit_length() + 1) // 2))
        self._mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        self._round_keys = _sequence(seed, purpose, key).generate_state(self._ROUNDS, np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """int64 [n] of distinct values for int64 [n] of distinct positions, all in ``range(size)``."""
        values = self._network(positions.astype(np.uint64))
        while (outside := values >= self.size).any():
            values[outside] = self._network(values[outside])
        return values.astype(np.int64)

    def _network(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half_bits, values & self._mask
        for round_key in self._round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & self._mask)
        return (left << self._half_bits) | right


def _mix(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit changes half of the output bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _sequence(seed: int, purpose: str, key: tuple[int, ...]) -> np.random.SeedSequence:
    # SeedSequence takes no negative words and reads a short key as the same key followed by zeros: give sign and length
    return np.random.SeedSequence([abs(seed), int(seed < 0), zlib.crc32(purpose.encode()), len(key), *key])
