"""The positions of vectors on a map of two dimensions."""

import numpy as np
from sklearn.manifold import TSNE


def on_plane(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Returns t-SNE positions of vectors, float [vectors, 2]; equal vectors alone are all at the origin.

    scikit-learn divides by the deviation of the first principal component, and its compiled code ends the process if
    that is 0, as it is for a model that gives all recordings the same vector, or if squares overflow.

    Args:
        vectors: Finite vectors [vectors, d], at least four.
        seed: Seed of the positions.
    """
    spread = vectors.astype(np.float64) - vectors[0]  # exactly 0 for equal vectors, unlike differences to the mean
    largest = np.abs(spread).max()
    if not largest:
        return np.zeros((len(vectors), 2))
    spread /= largest
    if spread.shape[1] < 2:
        spread = np.pad(spread, ((0, 0), (0, 1)))
    perplexity = min(30.0, (len(spread) - 1) / 3)
    points: np.ndarray = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(spread)
    return points
