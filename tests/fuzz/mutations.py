"""Mutates valid inputs, like faults of storage, of programs that write files, and of people."""

import random
from collections.abc import Callable, Sequence

MAX_MUTATIONS = 4
"""Maximum number of mutations of an input. Most inputs have one: a file with several is refused at the first."""

MAX_BYTES = 2**18
"""Maximum size of an input, since repeated parts make it grow."""

HEADER_BYTES = 512
"""Size of the header, which contains half of all positions: most formats describe their content there."""

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
"""Numbers at which sums overflow or signs change."""


def mutated(draw: random.Random, seeds: Sequence[bytes], *, words: Sequence[bytes] = ()) -> bytes:
    """Returns one of the valid inputs with one to four mutations.

    Args:
        draw: The generator, which determines the result.
        seeds: Valid inputs.
        words: Byte strings with a meaning in the format, which may be inserted.
    """
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 3, MAX_MUTATIONS))):
        draw.choice(MUTATIONS)(content, draw, seeds, words)
        del content[MAX_BYTES:]
    return bytes(content)


def _place(content: bytearray, draw: random.Random) -> int:
    """Returns the position of a byte or of the end, in half of all cases in the header."""
    return draw.randint(0, min(len(content), draw.choice((HEADER_BYTES, MAX_BYTES))))


def _range(content: bytearray, draw: random.Random) -> slice:
    """Returns a range, usually a short one."""
    start = _place(content, draw)
    return slice(start, start + int(2 ** draw.uniform(0, 14)))


_Mutation = Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], None]


def _flip_bits(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    for _ in range(int(2 ** draw.uniform(0, 6))):
        place = _place(content, draw)
        content[place : place + 1] = bytes(byte ^ 1 << draw.randrange(8) for byte in content[place : place + 1])


def _put_number(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    width = draw.choice((1, 2, 3, 4, 8))
    place, number = _place(content, draw), draw.choice(NUMBERS) + draw.choice((0, 0, -1, 1))
    content[place : place + width] = (number % 2 ** (8 * width)).to_bytes(width, draw.choice(("little", "big")))


def _add_to_number(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    place = _place(content, draw)
    content[place : place + 1] = bytes((byte + draw.randint(-4, 4)) % 256 for byte in content[place : place + 1])


def _put_noise(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    part = _range(content, draw)
    content[part] = draw.randbytes(len(content[part]))


def _put_same(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    part = _range(content, draw)
    content[part] = bytes((draw.choice((0, 0x20, 0x7F, 0xFF)),)) * len(content[part])


def _put_word(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if words:
        place, word = _place(content, draw), draw.choice(words)
        content[place : place + draw.choice((0, len(word)))] = word


def _insert(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    place = _place(content, draw)
    content[place:place] = draw.randbytes(int(2 ** draw.uniform(0, 10)))


def _remove(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    del content[_range(content, draw)]


def _repeat(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    part = _range(content, draw)
    content[part.stop : part.stop] = bytes(content[part]) * draw.choice((1, 1, 2, 50))


def _move(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    part = bytes(content[_range(content, draw)])
    place = _place(content, draw)
    content[place : place + len(part)] = part


def _cut(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    del content[_place(content, draw) :]


def _behead(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    del content[: _place(content, draw)]


def _splice(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    other = draw.choice(seeds)
    content[_place(content, draw) :] = other[draw.randint(0, len(other)) :]


def _append(content: bytearray, draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    content += draw.choice(seeds)


MUTATIONS: tuple[_Mutation, ...] = (
    _flip_bits,
    _flip_bits,
    _put_number,
    _put_number,
    _put_number,
    _add_to_number,
    _put_noise,
    _put_same,
    _put_word,
    _insert,
    _remove,
    _repeat,
    _move,
    _cut,
    _behead,
    _splice,
    _append,
)
