"""Any finite vectors have positions on a map, also those of a model that ignores its input."""

import numpy as np
import pytest

from mulan.evaluation.report.plane import on_plane


def test_vectors_of_a_group_are_close_to_each_other() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(30) % 2
    points = on_plane(np.eye(2)[group][:, [0, 1, 1]] + 0.01 * rng.normal(size=(30, 3)))
    middles = np.stack([points[group == number].mean(axis=0) for number in (0, 1)])
    nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, group)
    np.testing.assert_array_equal(on_plane(np.ones((5, 3)) * 0.1), np.zeros((5, 2)))


@pytest.mark.parametrize("scale", [1e-44, 1.0, 3e38])
@pytest.mark.parametrize("dim", [1, 2])
def test_vectors_of_any_size_have_positions(dim: int, scale: float) -> None:
    drawn = np.random.default_rng(0).uniform(-1, 1, (20, dim)).astype(np.float32)
    points = on_plane((np.ceil(drawn * 8) * np.float32(scale)).astype(np.float32) if scale < 1 else drawn * scale)
    assert points.shape == (20, 2)
    assert np.isfinite(points).all()
    assert (points.std(axis=0) > 0).any()
