"""Scores of classes as a table with intervals, where each recording is of one class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling, bounds_of


def class_rows(
    truth: np.ndarray, credit: np.ndarray, votes: np.ndarray, classes: Sequence[str], resampling: Resampling
) -> list[dict[str, Any]]:
    """Returns the recall of each class that occurs, and the class that it is most often mistaken for.

    Args:
        truth: Number of the class of each recording, int [recordings].
        credit: Probability that a recording counts as right, [recordings].
        votes: How often each class was chosen for a recording, [recordings, classes].
        classes: Names of the classes.
        resampling: Draws of the recordings; without replicates no intervals are computed.

    Returns:
        Values of JSON: ``tag``, ``recall``, ``recall_interval`` as ``[low, high]`` or None, ``recordings``, and
        ``mistaken_for``, None if the class is never mistaken.
    """
    occurring = np.unique(truth)
    of_class = truth[:, None] == occurring
    draws = resampling.means(np.where(of_class, credit[:, None], np.nan))
    rows = []
    for column, number in enumerate(occurring.tolist()):
        own = of_class[:, column]
        chosen = votes[own].sum(axis=0)
        chosen[number] = 0
        recall = float(credit[own].mean())
        rows.append(
            {
                "tag": classes[number],
                "recall": recall,
                "recall_interval": bounds_of(draws[:, column], recall),
                "recordings": int(own.sum()),
                "mistaken_for": classes[int(chosen.argmax())] if chosen.any() else None,
            }
        )
    return rows
