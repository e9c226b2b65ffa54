"""Text sampling: the text of a pair, formed from the recording's texts of one source."""

from collections.abc import Sequence

import numpy as np

from mulan.config.sections import TextSampling
from mulan.data.randomness import uniforms

SEPARATOR = ", "
"""Separator of joined texts."""


def sample_text(texts: Sequence[str], sampling: TextSampling, *, draw: float) -> str:
    """Returns the text of a pair by the rule ``data.text_sampling``.

    Args:
        texts: Texts of one source of a recording, at least one.
        sampling: ``one`` of the texts at random; a ``subset`` of k distinct ones in random order, k uniform from 1 to
            their number; or ``all`` distinct ones in their order.
        draw: Draw of the pair in [0, 1), which determines the result: ``one`` scales it, and ``subset`` derives as many
            draws from its 53 bits as it needs.

    Example:
        >>> sample_text(["calm", "piano", "calm"], "all", draw=0.0)
        'calm, piano'
    """
    if sampling == "one":
        return texts[int(draw * len(texts))]
    distinct = list(dict.fromkeys(texts))
    if sampling == "subset":
        # seed 0, because the draw depends on the run's seed already
        size, *keys = uniforms(1 + len(distinct), seed=0, purpose="text subset", key=(int(draw * 2**53),))
        order = np.argsort(keys, kind="stable")[: 1 + int(size * len(distinct))]
        distinct = [distinct[index] for index in order]
    return SEPARATOR.join(distinct)
