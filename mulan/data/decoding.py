"""What decoders of whole files have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mulan.data.encoded import Encoded
from mulan.data.samples import Block

FRAMES_AT_ONCE = 2**17
"""What is decoded at a time: what is done with a block has its price, and memory must not depend on a file's length."""


@dataclass
class Decoding:
    """How a file's decoding ended; told while its blocks are taken."""

    seconds: float = 0.0
    """Seconds of sound that were decoded until now."""
    fault: str = ""
    """What kept it from going on; empty where it came to the end without a fault."""
    damaged: bool = False
    """Whether more is lost in the middle than can be passed over."""


Decoder = Callable[[Encoded, Decoding], Iterator[Block]]
"""Blocks of a file. What is wrong with the file ends them and stands in the Decoding; samples that are not numbers and
rates that no sound has are raised as a DecodeError."""
