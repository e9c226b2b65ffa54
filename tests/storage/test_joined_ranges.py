"""Tests that joined reads return what single reads return, in fewer requests."""

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mulan.storage.joined_ranges import MAX_GAP_BYTES, MAX_JOINED_BYTES, read_joined

SIZE = 2**20


class Counting(MemoryFileSystem):
    """A file system in memory that records the ranges which are requested."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.requested: list[tuple[str, int, int]] = []

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        self.requested.append((path, start or 0, end or 0))
        content: bytes = super().cat_file(path, start=start, end=end)
        return content


@pytest.fixture
def fs() -> Counting:
    made = Counting()
    for name in ("a", "b"):
        made.pipe_file(f"/joined/{name}", np.random.default_rng(ord(name)).bytes(SIZE))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_any_ranges_are_those_of_single_reads(fs: Counting, seed: int) -> None:
    """Also if they overlap, are empty, are repeated, or begin or end beyond the file."""
    rng = np.random.default_rng(seed)
    spread = int(rng.choice([1_000, 200_000, 2 * SIZE]))
    count = int(rng.integers(1, 40))
    paths = [f"/joined/{name}" for name in rng.choice(["a", "b"], count)]
    ranges = list(
        zip(paths, rng.integers(0, spread, count).tolist(), rng.integers(0, spread, count).tolist(), strict=True)
    )
    read = read_joined(fs, [*ranges, ranges[0]])
    assert read[:-1] == [fs.cat_file(path)[start : start + length] for path, start, length in ranges]
    assert read[-1] == read[0]


def test_near_ranges_are_one_request_and_far_ones_are_not(fs: Counting) -> None:
    far = 600 + MAX_GAP_BYTES + 1
    ranges = [("/joined/a", 500, 100), ("/joined/a", far, 50), ("/joined/b", 0, 9), ("/joined/a", 0, 400)]
    read_joined(fs, ranges)
    assert fs.requested == [("/joined/a", 0, 600), ("/joined/a", far, far + 50), ("/joined/b", 0, 9)]


def test_a_request_for_several_ranges_has_a_maximum_size(fs: Counting) -> None:
    """A single range may be larger."""
    third, large = MAX_JOINED_BYTES // 3 + 1, 2 * MAX_JOINED_BYTES
    read_joined(fs, [("/joined/a", number * third, third) for number in range(4)] + [("/joined/b", 0, large)])
    assert [end - start for _, start, end in fs.requested] == [2 * third, 2 * third, large]


def test_an_error_is_that_of_each_range_of_the_request(fs: Counting) -> None:
    absent, there = "/joined/absent", "/joined/a"
    read = read_joined(fs, [(absent, 0, 10), (there, 5, 1), (absent, 20, 10)])
    assert [type(content) for content in read] == [FileNotFoundError, bytes, FileNotFoundError]
