"""The weighted score of predicted keys (MIREX, as computed by mir_eval)."""

from collections.abc import Sequence

import numpy as np
from mir_eval.key import weighted_score


def weighted_key_scores(truth: Sequence[str], predicted: Sequence[str]) -> np.ndarray:
    """Returns the score of each recording, float64 [recordings]; their mean is the score of the set.

    It is 1 for the right key, 0.5 for a key a perfect fifth above, 0.3 for the relative and 0.2 for the parallel key,
    and otherwise 0.

    Args:
        truth: Keys such as ``Eb minor``.
        predicted: Keys such as ``Eb minor``.

    Example:
        >>> weighted_key_scores(["C major", "C major", "C major"], ["C major", "G major", "A minor"]).tolist()
        [1.0, 0.5, 0.3]
    """
    pairs = zip(truth, predicted, strict=True)
    return np.array([weighted_score(key, other) for key, other in pairs], dtype=np.float64)
